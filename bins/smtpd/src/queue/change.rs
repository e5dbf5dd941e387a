//! Changes of the queue, and how the journal writes them.
//!
//! ```text
//! change   'A' id envelope ('S' body | 'L')       added; a large body has a file of its own
//!          'U' id envelope                        its envelope replaced
//!          'N' id number (place copy)...          what became of so many copies
//!          'R' id                                 removed
//! piece    length, octets                         ids, envelopes (JSON), bodies, copies (JSON)
//! ```
//! Numbers and lengths are eight octets, the least first.

use std::sync::Arc;

use serde::Serialize;

use super::envelope::{Envelope, QueuedTarget};
use super::error::QueueError;

/// Octets that are kept as they are.
pub(super) type Piece = Arc<[u8]>;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new message with its envelope.
    Add(Box<str>, Piece, Text),
    /// Another envelope of a message.
    Update(Box<str>, Piece),
    /// What became of some copies, by their places in the envelope.
    Note(Box<str>, Vec<(u32, Piece)>),
    /// A message is gone.
    Remove(Box<str>),
}

/// Where the text of a new message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Here.
    Small(Piece),
    /// In a file of its own.
    Large,
}

/// The text of a message.
#[derive(Debug)]
pub enum Body {
    /// In memory; stored beside the envelope.
    Small(Vec<u8>),
    /// In `incoming/ID`, synced.
    Large,
}

impl Change {
    /// A new message.
    pub(super) fn add(envelope: &Envelope, body: Body) -> Result<Change, QueueError> {
        let text = match body {
            Body::Small(text) => Text::Small(text.into()),
            Body::Large => Text::Large,
        };
        let json = json(&envelope.id, envelope)?;
        Ok(Change::Add(envelope.id.clone(), json, text))
    }

    /// How far a message has come.
    pub(super) fn update(envelope: &Envelope) -> Result<Change, QueueError> {
        let json = json(&envelope.id, envelope)?;
        Ok(Change::Update(envelope.id.clone(), json))
    }

    /// How far some copies have come.
    pub(super) fn note<'a>(
        id: &str,
        copies: impl Iterator<Item = (u32, &'a QueuedTarget)>,
    ) -> Result<Change, QueueError> {
        let rows: Result<Vec<_>, _> = copies.map(|(at, copy)| Ok((at, json(id, copy)?))).collect();
        Ok(Change::Note(id.into(), rows?))
    }

    /// Writes the change down.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Change::Add(id, envelope, text) => {
                out.push(b'A');
                piece(id.as_bytes(), out);
                piece(envelope, out);
                match text {
                    Text::Small(text) => {
                        out.push(b'S');
                        piece(text, out);
                    }
                    Text::Large => out.push(b'L'),
                }
            }
            Change::Update(id, envelope) => {
                out.push(b'U');
                piece(id.as_bytes(), out);
                piece(envelope, out);
            }
            Change::Note(id, copies) => {
                out.push(b'N');
                piece(id.as_bytes(), out);
                number(copies.len() as u64, out);
                for (at, copy) in copies {
                    number(u64::from(*at), out);
                    piece(copy, out);
                }
            }
            Change::Remove(id) => {
                out.push(b'R');
                piece(id.as_bytes(), out);
            }
        }
    }

    /// Octets that the texts of this change take.
    pub(super) fn octets(&self) -> usize {
        match self {
            Change::Add(_, envelope, Text::Small(text)) => envelope.len() + text.len(),
            Change::Add(_, envelope, Text::Large) | Change::Update(_, envelope) => envelope.len(),
            Change::Note(_, copies) => copies.iter().map(|(_, copy)| copy.len()).sum(),
            Change::Remove(_) => 0,
        }
    }
}

/// Reads changes that were written down; `None` where octets make no sense.
pub(super) fn decode(octets: &[u8]) -> Option<Vec<Change>> {
    let (mut reader, mut changes) = (Reader(octets), Vec::new());
    while !reader.0.is_empty() {
        changes.push(reader.change()?);
    }
    Some(changes)
}

/// The JSON of an envelope or a copy.
fn json(id: &str, value: &impl Serialize) -> Result<Piece, QueueError> {
    let json = serde_json::to_vec(value).map_err(|source| QueueError::Envelope {
        id: id.into(),
        source,
    })?;
    Ok(json.into())
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn piece(octets: &[u8], out: &mut Vec<u8>) {
    number(octets.len() as u64, out);
    out.extend_from_slice(octets);
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn change(&mut self) -> Option<Change> {
        let kind = self.octet()?;
        let id = self.id()?;
        Some(match kind {
            b'A' => {
                let envelope = self.piece()?.into();
                let text = match self.octet()? {
                    b'S' => Text::Small(self.piece()?.into()),
                    b'L' => Text::Large,
                    _ => return None,
                };
                Change::Add(id, envelope, text)
            }
            b'U' => Change::Update(id, self.piece()?.into()),
            b'N' => {
                let mut copies = Vec::new();
                for _ in 0..self.number()? {
                    let at = u32::try_from(self.number()?).ok()?;
                    copies.push((at, self.piece()?.into()));
                }
                Change::Note(id, copies)
            }
            b'R' => Change::Remove(id),
            _ => return None,
        })
    }

    fn id(&mut self) -> Option<Box<str>> {
        Some(std::str::from_utf8(self.piece()?).ok()?.into())
    }

    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn piece(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (piece, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let octets = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Piece::from);
        let id = || "[0-9A-Za-z]{0,16}".prop_map(|id: String| Box::<str>::from(id));
        let text = prop_oneof![octets().prop_map(Text::Small), Just(Text::Large)];
        let change = prop_oneof![
            (id(), octets(), text).prop_map(|(id, json, text)| Change::Add(id, json, text)),
            (id(), octets()).prop_map(|(id, json)| Change::Update(id, json)),
            (id(), prop::collection::vec((any::<u32>(), octets()), 0..4))
                .prop_map(|(id, copies)| Change::Note(id, copies)),
            id().prop_map(Change::Remove),
        ];
        prop::collection::vec(change, 0..6)
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_it_was(changes in changes()) {
            let mut octets = Vec::new();
            changes.iter().for_each(|change| change.encode(&mut octets));
            prop_assert_eq!(decode(&octets), Some(changes));
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&octets);
        }
    }

    #[test]
    fn lengths_that_can_not_be_are_refused() {
        let mut octets = b"N".to_vec();
        piece(b"a", &mut octets);
        number(u64::MAX, &mut octets);
        assert_eq!(decode(&octets), None);
        assert_eq!(decode(b"R\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(decode(b"?"), None);
    }
}
