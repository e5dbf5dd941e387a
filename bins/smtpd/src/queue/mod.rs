//! The queue: what was answered with 250 stands here until it is delivered.
//!
//! [`Queue::add`] returns when the message is durable. All messages that come
//! while one transaction is being synced share the next (group commit), so that
//! many sessions at once cost few syncs.

pub mod control;
mod envelope;
mod id;
mod spool;
mod store;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;

use tokio::sync::{Notify as Wake, oneshot};

use store::{Change, Store};

pub use envelope::{Envelope, Expanded, Hold, Octets, Progress, QueuedRecipient, QueuedTarget};
pub use id::Ids;
pub use spool::Spool;
pub use store::{Body, QueueError, Text};

/// Most changes of one transaction.
const MAX_GROUP: usize = 256;

/// The queue. Dropping the last handle closes the store cleanly.
#[derive(Debug)]
pub struct Queue {
    store: Arc<Store>,
    index: Mutex<BTreeMap<Box<str>, Entry>>,
    changes: Mutex<Option<mpsc::Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    ids: Ids,
    wake: Wake,
}

/// What is kept in memory of a message.
#[derive(Clone, Copy, Debug)]
struct Entry {
    due_unix: u64,
    state: EntryState,
}

/// Whether a message may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryState {
    /// It may.
    Ready,
    /// It is being tried.
    Busy,
    /// It is held, or has nothing left but failures to report.
    Parked,
}

struct Request {
    change: Change,
    done: oneshot::Sender<Result<(), Arc<QueueError>>>,
}

impl Queue {
    /// Opens the queue of this folder; what was there is ready to be tried again.
    ///
    /// # Errors
    /// When another server has it, or it can't be read or made.
    pub fn open(folder: &Path) -> Result<Arc<Self>, QueueError> {
        let store = Arc::new(Store::open(folder)?);
        let mut index = BTreeMap::new();
        store.load(|envelope| {
            index.insert(envelope.id.clone(), Entry::of(envelope));
        })?;
        let (sender, receiver) = mpsc::channel();
        let writing = Arc::clone(&store);
        let writer = std::thread::Builder::new()
            .name("queue".into())
            .spawn(move || write_groups(&writing, &receiver))
            .map_err(|source| QueueError::Io {
                path: folder.into(),
                action: "start the writer of",
                source,
            })?;
        Ok(Arc::new(Queue {
            store,
            index: Mutex::new(index),
            changes: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(writer)),
            ids: Ids::new(std::process::id()),
            wake: Wake::new(),
        }))
    }

    /// A new queue id.
    #[must_use]
    pub fn next_id(&self) -> Box<str> {
        loop {
            let id = self.ids.next();
            if !self.entries().contains_key(&id) {
                return id;
            }
        }
    }

    /// Where the text of a message goes while it is received.
    #[must_use]
    pub fn spool(&self, id: &str) -> Spool {
        Spool::new(self.store.incoming(id))
    }

    /// Adds a message; when this returns it is durable.
    ///
    /// # Errors
    /// When it could not be written; then nothing of it stays.
    pub async fn add(&self, envelope: Envelope, body: Body) -> Result<(), Arc<QueueError>> {
        self.add_due(envelope, body, 0).await
    }

    /// Adds a message that is not tried before that moment, in seconds since 1970, unless
    /// the queue is run or the server starts anew.
    ///
    /// # Errors
    /// As [`Queue::add`].
    pub async fn add_due(
        &self,
        envelope: Envelope,
        body: Body,
        due_unix: u64,
    ) -> Result<(), Arc<QueueError>> {
        let (id, mut entry) = (envelope.id.clone(), Entry::of(&envelope));
        entry.due_unix = entry.due_unix.max(due_unix);
        self.change(Change::Add(Box::new(envelope), body)).await?;
        self.entries().insert(id, entry);
        self.wake.notify_one();
        Ok(())
    }

    /// Writes down how far a message has come; a finished one is removed.
    ///
    /// # Errors
    /// When it could not be written; the message will then be tried again.
    pub async fn settle(&self, envelope: Envelope) -> Result<(), Arc<QueueError>> {
        let (id, entry) = (envelope.id.clone(), Entry::of(&envelope));
        if envelope.is_finished() {
            self.change(Change::Remove(id.clone())).await?;
            self.entries().remove(&id);
        } else {
            self.change(Change::Update(Box::new(envelope))).await?;
            self.entries().insert(id, entry);
        }
        Ok(())
    }

    /// Removes a message.
    ///
    /// # Errors
    /// When there is none such, it is just being tried, or the store fails.
    pub async fn remove(&self, id: &str) -> Result<(), Arc<QueueError>> {
        self.take(id)?;
        self.change(Change::Remove(id.into())).await?;
        self.entries().remove(id);
        Ok(())
    }

    /// Holds a message, or releases it (which also ends quarantine).
    ///
    /// # Errors
    /// As [`Queue::remove`].
    pub async fn set_hold(&self, id: &str, hold: Option<Hold>) -> Result<(), Arc<QueueError>> {
        self.take(id)?;
        let changed = async {
            let mut envelope = self.store.envelope(id)?;
            envelope.hold = hold;
            if envelope.hold.is_none() {
                envelope.tries = 0;
            }
            let entry = Entry::of(&envelope);
            self.change(Change::Update(Box::new(envelope))).await?;
            Ok(entry)
        };
        let result: Result<Entry, Arc<QueueError>> = changed.await;
        match result {
            Ok(entry) => {
                self.entries().insert(id.into(), entry);
                self.wake.notify_one();
                Ok(())
            }
            Err(error) => {
                self.give_back(id);
                Err(error)
            }
        }
    }

    /// A message that is due, marked as being tried; [`Queue::settle`] ends that.
    #[must_use]
    pub fn take_due(&self, now_unix: u64) -> Option<Box<str>> {
        let mut entries = self.entries();
        let (id, entry) = entries
            .iter_mut()
            .find(|(_, e)| e.state == EntryState::Ready && e.due_unix <= now_unix)?;
        entry.state = EntryState::Busy;
        Some(id.clone())
    }

    /// Gives a message back that was taken and could not be tried.
    pub fn give_back(&self, id: &str) {
        if let Some(entry) = self.entries().get_mut(id) {
            entry.state = EntryState::Ready;
            entry.due_unix = entry.due_unix.max(crate::clock::now_unix() + 60);
        }
    }

    /// Makes every waiting message due.
    pub fn run_now(&self) {
        for entry in self.entries().values_mut() {
            entry.due_unix = 0;
        }
        self.wake.notify_one();
    }

    /// Waits until something was added or released.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// The ids of all messages, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<Box<str>> {
        self.entries().keys().cloned().collect()
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The envelope of a message.
    ///
    /// # Errors
    /// When there is none such, or the store fails.
    pub fn envelope(&self, id: &str) -> Result<Envelope, QueueError> {
        self.store.envelope(id)
    }

    /// The text of a message.
    ///
    /// # Errors
    /// When there is none such, or the store fails.
    pub fn text(&self, id: &str) -> Result<Text, QueueError> {
        self.store.text(id)
    }

    /// Writes what is still to be written and ends the writer.
    pub fn close(&self) {
        self.changes
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .take();
        let writer = self.writer.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }

    fn take(&self, id: &str) -> Result<(), QueueError> {
        match self.entries().get_mut(id) {
            Some(entry) if entry.state != EntryState::Busy => {
                entry.state = EntryState::Busy;
                Ok(())
            }
            _ => Err(QueueError::Unknown(id.into())),
        }
    }

    async fn change(&self, change: Change) -> Result<(), Arc<QueueError>> {
        let (done, written) = oneshot::channel();
        {
            let changes = self.changes.lock().unwrap_or_else(|e| e.into_inner());
            let sender = changes.as_ref().ok_or(QueueError::Closed)?;
            sender
                .send(Request { change, done })
                .map_err(|_| QueueError::Closed)?;
        }
        written
            .await
            .unwrap_or_else(|_| Err(Arc::new(QueueError::Closed)))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Entry>> {
        self.index.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}

impl Entry {
    fn of(envelope: &Envelope) -> Self {
        let parked = envelope.hold.is_some() || !envelope.is_waiting();
        Entry {
            due_unix: envelope.due_unix(),
            state: if parked {
                EntryState::Parked
            } else {
                EntryState::Ready
            },
        }
    }
}

/// Commits what has come in, group by group. A group that fails is tried change by
/// change, so that one bad message does not take the others with it.
fn write_groups(store: &Store, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let (mut changes, mut waiting) = (vec![first.change], vec![first.done]);
        while changes.len() < MAX_GROUP
            && let Ok(next) = requests.try_recv()
        {
            changes.push(next.change);
            waiting.push(next.done);
        }
        match store.commit(&changes) {
            Ok(()) => waiting.into_iter().for_each(|done| {
                let _ = done.send(Ok(()));
            }),
            Err(error) if waiting.len() == 1 => {
                let error = Arc::new(error);
                waiting.into_iter().for_each(|done| {
                    let _ = done.send(Err(Arc::clone(&error)));
                });
            }
            Err(_) => {
                for (change, done) in changes.into_iter().zip(waiting) {
                    let result = store.commit(std::slice::from_ref(&change));
                    let _ = done.send(result.map_err(Arc::new));
                }
            }
        }
    }
}
