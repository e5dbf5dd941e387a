//! Drafts that are finished and wait to become the map.

use super::{Check, Published, Publisher};
use crate::map::StoreError;

/// A finished draft that is not the map yet.
#[must_use = "dropped without being published, the draft is removed"]
#[derive(Debug)]
pub struct Filled {
    publisher: Publisher,
    entries: u64,
}

impl Filled {
    pub(super) fn new(publisher: Publisher, entries: u64) -> Self {
        Filled { publisher, entries }
    }

    /// Makes the draft the map; `check` sees it before it is renamed, and its error keeps the
    /// old map in place.
    ///
    /// # Errors
    /// Any of them leaves the old map in place.
    pub fn publish(self, check: &mut Check<'_>) -> Result<Published, StoreError> {
        check(self.publisher.finished()?.into_map().as_ref())?;
        self.publisher.finish(Some(self.entries), None)
    }
}
