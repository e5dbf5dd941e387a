//! What changes come to, taken together: the newest part of the queue, in memory.
//!
//! The journal makes changes durable; a layer answers for them until they stand in the
//! database. A message that comes and goes within one layer never gets there.

use std::collections::{BTreeMap, HashMap};

use super::change::{Change, Piece, Text};

/// Changes of many messages.
#[derive(Debug, Default)]
pub(super) struct Layer {
    messages: HashMap<Box<str>, Delta>,
}

/// What has become of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    /// It is new, or something of it is.
    Changed(Changed),
    /// It is gone.
    Removed,
}

/// What is new of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    birth: Birth,
    /// Its envelope; notes from before it are void.
    pub(super) envelope: Option<Piece>,
    /// Its text, if that is small and came in this layer.
    pub(super) text: Option<Piece>,
    /// What became of copies since the envelope was written, by their places.
    pub(super) notes: BTreeMap<u32, Piece>,
}

/// Where a message came into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Birth {
    /// In this layer: nothing below it knows the message.
    Here,
    /// Before it.
    Before,
}

impl Changed {
    /// Whether nothing is known of the message below.
    pub(super) fn is_new(&self) -> bool {
        self.birth == Birth::Here
    }

    fn before() -> Self {
        Changed {
            birth: Birth::Before,
            envelope: None,
            text: None,
            notes: BTreeMap::new(),
        }
    }
}

impl Layer {
    /// Whether nothing has changed.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What has become of a message, if anything.
    pub(super) fn get(&self, id: &str) -> Option<&Delta> {
        self.messages.get(id)
    }

    /// All that has changed, in the order of ids.
    pub(super) fn sorted(&self) -> Vec<(&str, &Delta)> {
        let mut all: Vec<_> = self.messages.iter().map(|(id, d)| (&**id, d)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Takes a change in.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Add(id, envelope, text) => {
                // What is below may still have one that was removed here.
                let birth = match self.messages.contains_key(&id) {
                    true => Birth::Before,
                    false => Birth::Here,
                };
                let added = Changed {
                    birth,
                    envelope: Some(envelope),
                    text: match text {
                        Text::Small(text) => Some(text),
                        Text::Large => None,
                    },
                    notes: BTreeMap::new(),
                };
                self.messages.insert(id, Delta::Changed(added));
            }
            Change::Update(id, envelope) => self.change(id, |changed| {
                changed.envelope = Some(envelope);
                changed.notes.clear();
            }),
            Change::Note(id, copies) => self.change(id, |changed| changed.notes.extend(copies)),
            Change::Remove(id) => match self.messages.get(&id) {
                Some(Delta::Changed(changed)) if changed.birth == Birth::Here => {
                    self.messages.remove(&id);
                }
                _ => {
                    self.messages.insert(id, Delta::Removed);
                }
            },
        }
    }

    /// Changes a message; one that is gone stays so.
    fn change(&mut self, id: Box<str>, change: impl FnOnce(&mut Changed)) {
        let before = || Delta::Changed(Changed::before());
        if let Delta::Changed(changed) = self.messages.entry(id).or_insert_with(before) {
            change(changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(text: &str) -> Piece {
        text.as_bytes().into()
    }

    fn add(id: &str) -> Change {
        Change::Add(id.into(), octets("envelope"), Text::Small(octets("text")))
    }

    fn layer(changes: impl IntoIterator<Item = Change>) -> Layer {
        let mut layer = Layer::default();
        changes.into_iter().for_each(|change| layer.apply(change));
        layer
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing() {
        let note = Change::Note("a".into(), vec![(0, octets("sent"))]);
        let update = Change::Update("a".into(), octets("new"));
        let all = [add("a"), note, update, Change::Remove("a".into())];
        assert!(layer(all).is_empty());
    }

    #[test]
    fn what_was_there_before_is_removed() {
        let update = Change::Update("a".into(), octets("new"));
        let layer = layer([update, Change::Remove("a".into())]);
        assert_eq!(layer.get("a"), Some(&Delta::Removed));
        let again = [
            Change::Remove("a".into()),
            add("a"),
            Change::Remove("a".into()),
        ];
        assert_eq!(super::tests::layer(again).get("a"), Some(&Delta::Removed));
    }

    #[test]
    fn an_envelope_takes_notes_in() {
        let note = |at, text| Change::Note("a".into(), vec![(at, octets(text))]);
        let update = Change::Update("a".into(), octets("new"));
        let layer = layer([note(0, "x"), note(1, "y"), update, note(1, "z")]);
        let Some(Delta::Changed(changed)) = layer.get("a") else {
            panic!("it has changed");
        };
        assert_eq!(changed.envelope, Some(octets("new")));
        assert_eq!(changed.notes, BTreeMap::from([(1, octets("z"))]));
    }
}
