//! A mail transaction: MAIL to the end of DATA.

use std::collections::HashSet;

use super::param::{MailParams, RcptParams};
use super::path::Path;

/// What happens to a message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Fate {
    /// It is delivered.
    #[default]
    Deliver,
    /// It is thrown away.
    Discard,
    /// It is held for the reason given.
    Quarantine(Box<str>),
}

impl Fate {
    /// The stricter of two: discarding beats holding, holding beats delivery.
    #[must_use]
    pub fn and(self, other: Fate) -> Fate {
        match (self, other) {
            (Fate::Discard, _) | (_, Fate::Discard) => Fate::Discard,
            (held @ Fate::Quarantine(_), _) => held,
            (_, other) => other,
        }
    }
}

/// A recipient that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// As the client wrote it.
    pub path: Path,
    /// Its parameters.
    pub params: RcptParams,
}

/// The recipients accepted so far, each once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Recipients {
    all: Vec<Recipient>,
    /// Their paths: looking through all of them for each would take a client's square.
    known: HashSet<Path>,
}

impl Recipients {
    /// Adds one, unless its path is there already.
    pub(super) fn add(&mut self, recipient: Recipient) {
        if self.known.insert(recipient.path.clone()) {
            self.all.push(recipient);
        }
    }
}

impl std::ops::Deref for Recipients {
    type Target = [Recipient];

    fn deref(&self) -> &[Recipient] {
        &self.all
    }
}

/// The envelope while it is being told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The reverse-path.
    pub sender: Path,
    /// The parameters of MAIL.
    pub params: MailParams,
    /// The recipients accepted so far.
    pub recipients: Recipients,
    /// What happens to the message.
    pub fate: Fate,
    /// How many recipients were asked for and not refused by policy: the Received
    /// header names a recipient only when there was exactly one.
    pub attempted: usize,
    /// Whether the client sent HELO or EHLO before MAIL.
    pub introduced: Introduced,
}

/// Whether HELO or EHLO was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduced {
    /// It was.
    Yes,
    /// It was not.
    No,
}
