//! Messages that are durable but not yet to be tried: those whose dropped file is still there.
//!
//! A dropped file is removed after the queue holds its message, and delivery starts after
//! the removal is durable. Whatever breaks off in between, the file names the id under
//! which the message stands already.

use std::sync::Arc;

use super::{Body, Envelope, Queue, QueueError};

/// What [`Queue::hold_back`] makes a message wait for.
const HELD_BACK: &str = "its dropped file to be removed";

impl Queue {
    /// Whether there is a message of this id.
    #[must_use]
    pub fn holds(&self, id: &str) -> bool {
        self.index().contains(id)
    }

    /// Adds a message that is not tried before [`Queue::admit`]; when this returns it is durable.
    ///
    /// # Errors
    /// As [`Queue::add`].
    pub async fn add_held_back(
        &self,
        envelope: Envelope,
        body: Body,
    ) -> Result<(), Arc<QueueError>> {
        let listed = self.insert(&envelope, body).await?;
        let mut index = self.index();
        index.put(&listed);
        index.hold_back(&listed.id);
        Ok(())
    }

    /// Keeps a message that is there from being tried before [`Queue::admit`].
    pub fn hold_back(&self, id: &str) {
        self.index().hold_back(id);
    }

    /// What a message that is held back waits for, as people are told.
    #[must_use]
    pub fn waits_for(&self, id: &str) -> Option<&'static str> {
        self.index().is_held_back(id).then_some(HELD_BACK)
    }

    /// Lets a message be tried that was held back.
    pub fn admit(&self, id: &str) {
        match self.store.envelope(id) {
            Ok(envelope) => self.index().put(&envelope),
            Err(_) => self.give_back(id),
        }
        self.wake.notify_one();
    }
}
