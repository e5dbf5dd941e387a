//! A mail transaction: MAIL to the end of DATA.

use std::collections::HashSet;

/// Most octets of the recipients of a transaction, with their parameters: more come in another
/// one, as they do beyond the number of recipients.
const MAX_OCTETS: usize = 2 * 1024 * 1024;

/// Memory that a recipient takes beside the octets of its address and parameters.
const RECIPIENT_OCTETS: usize = 256;

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
    /// Its address.
    pub path: Path,
    /// Its parameters.
    pub params: RcptParams,
}

/// The recipients accepted so far, each once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Recipients {
    all: Vec<Recipient>,
    /// Their paths as they are kept: looking through all of them for each would take a
    /// client's square.
    known: HashSet<Path>,
    octets: usize,
}

impl Recipients {
    /// Adds one, unless its address is there already, whatever stood around that.
    pub(super) fn add(&mut self, Recipient { path, params }: Recipient) {
        let path = path.kept();
        if self.known.insert(path.clone()) {
            let orcpt = params.orcpt.as_ref().map_or(0, |orcpt| orcpt.len());
            self.octets += path.written().len() + orcpt;
            self.all.push(Recipient { path, params });
        }
    }

    /// What they take of memory, about.
    fn held_octets(&self) -> usize {
        self.octets + self.all.len() * RECIPIENT_OCTETS
    }

    /// Whether they take as much room as those of one transaction may.
    pub(super) fn are_too_long(&self) -> bool {
        self.octets >= MAX_OCTETS
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

impl Transaction {
    /// What it takes of memory, about.
    pub(super) fn held_octets(&self) -> u64 {
        let envid = self.params.envid.as_ref().map_or(0, |envid| envid.len());
        let auth = self.params.auth.as_ref().map_or(0, |auth| auth.len());
        let sender = self.sender.written().len();
        (sender + envid + auth + self.recipients.held_octets()) as u64
    }
}

/// Whether HELO or EHLO was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduced {
    /// It was.
    Yes,
    /// It was not.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(path: &str) -> Recipient {
        Recipient {
            path: Path::from(path.as_bytes()),
            params: RcptParams::default(),
        }
    }

    #[test]
    fn what_stands_around_an_address_makes_no_other_recipient() {
        let mut recipients = Recipients::default();
        for around in [
            "<alice>",
            "<alice>.1.yyy",
            "(x)<alice>",
            "<alice>.2.yyy",
            "alice",
        ] {
            recipients.add(recipient(around));
        }
        assert_eq!(recipients.len(), 1);
        assert_eq!(recipients[0].path.written(), b"<alice>");
        recipients.add(recipient("<bob>"));
        assert_eq!(recipients.len(), 2);
    }

    #[test]
    fn the_octets_of_recipients_have_a_limit() {
        let mut recipients = Recipients::default();
        let detail = "x".repeat(1900);
        let mut number = 0;
        while !recipients.are_too_long() {
            number += 1;
            recipients.add(recipient(&format!("<alice+{number}.{detail}>")));
        }
        assert!((1000..1200).contains(&number), "{number}");
    }
}
