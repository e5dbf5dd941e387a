//! The recipients of each triple, by which duplicates are found.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::route::MailerTriple;

/// What makes two recipients the same: programs and files are what they are by the user
/// with whose rights they run, too.
pub(super) type Key = (MailerTriple, Option<Arc<str>>);

/// Recipients by their keys, those of a key in the order in which they came. Most expansions
/// have one recipient, which is looked up by nobody and so is not hashed.
#[derive(Default)]
pub(super) struct Queued {
    first: Option<(Key, usize)>,
    more: HashMap<Key, Vec<usize>>,
}

impl Queued {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds a recipient by its number.
    pub(super) fn add(&mut self, key: Key, number: usize) {
        match self.first {
            None => self.first = Some((key, number)),
            Some(_) => self.more.entry(key).or_default().push(number),
        }
    }

    /// The recipients of a key.
    pub(super) fn of(&self, key: &Key) -> impl Iterator<Item = usize> + '_ {
        let first = self.first.as_ref().filter(|(known, _)| known == key);
        let more = self.more.get(key).into_iter().flatten();
        first
            .map(|(_, number)| *number)
            .into_iter()
            .chain(more.copied())
    }
}
