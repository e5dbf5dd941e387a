//! The envelope of a queued message, as it is kept and shown.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::schedule::Urgency;
use crate::deliver::outcome::Remote;
use crate::session::{BodyKind, ByMode, Notify, Ret};

/// Octets of an address. In JSON each octet is a character, so that nothing is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Octets(pub Vec<u8>);

impl Octets {
    /// For people: UTF-8, with what is not UTF-8 replaced.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Each octet as a character.
    #[must_use]
    pub(crate) fn as_chars(&self) -> String {
        self.0.iter().map(|octet| char::from(*octet)).collect()
    }

    /// The octets that these characters stand for; `None` where one stands for none.
    #[must_use]
    pub(crate) fn of_chars(chars: &str) -> Option<Self> {
        let octets: Result<Vec<u8>, _> = chars.chars().map(u8::try_from).collect();
        octets.ok().map(Octets)
    }
}

impl From<&[u8]> for Octets {
    fn from(octets: &[u8]) -> Self {
        Octets(octets.to_vec())
    }
}

impl From<&str> for Octets {
    fn from(text: &str) -> Self {
        Octets(text.as_bytes().to_vec())
    }
}

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.as_chars())
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Octets::of_chars(&text)
            .ok_or_else(|| serde::de::Error::custom("a character above 255 in an octet string"))
    }
}

/// Why a message is not delivered for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// An administrator holds it.
    Held,
    /// Policy holds it, for this reason.
    Quarantined(String),
}

/// How far a recipient or a target has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Nothing has been tried, or the last try failed for the time being.
    #[default]
    Waiting,
    /// Delivered, and nobody waits to hear of it.
    Done,
    /// Its user forwards his mail: other copies stand for it.
    Forwarded,
    /// Delivered; the sender wants to be told, and has not been.
    Sent,
    /// Will never be delivered; the sender has to be told.
    Failed {
        /// Enhanced status code.
        status: String,
        /// What went wrong.
        text: String,
    },
    /// Will never be delivered, and who had to be told was told.
    Told,
}

/// A recipient as the client gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedRecipient {
    /// The forward-path without brackets.
    pub address: Octets,
    /// NOTIFY.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notify: Option<Notify>,
    /// ORCPT.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub orcpt: Option<Box<str>>,
    /// Whether its targets are known, or why there are none.
    #[serde(default)]
    pub expanded: Expanded,
    /// Why the last try did not come to know his targets; empty once they are known.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub last: String,
    /// The names of hosts that he was accepted by: he is expanded with the same.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub names: Vec<KeptName>,
}

/// What DNS said about a host when a recipient was judged by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptName {
    /// The host.
    pub host: Octets,
    /// Its canonical name, where it has one.
    pub name: Option<Octets>,
}

/// Whether a recipient was expanded to targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expanded {
    /// Not yet.
    #[default]
    No,
    /// It was; its targets stand in the envelope.
    Yes,
    /// It was, to several targets, and the sender wants to know of success: he is told
    /// of that and no more (RFC 3461 section 5.2.7.3).
    List {
        /// Whether he was.
        told: bool,
    },
    /// It can't be, for good; the sender has to be told.
    Failed {
        /// Enhanced status code.
        status: String,
        /// What went wrong.
        text: String,
    },
    /// It can't be, and who had to be told was told.
    Told,
}

/// Where one copy of the message goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedTarget {
    /// Which recipient it came from first.
    pub recipient: usize,
    /// The mailer's name.
    pub mailer: String,
    /// The host, for mailers that have one.
    pub host: Octets,
    /// The user, file, or command.
    pub user: Octets,
    /// The envelope sender of this copy where it is not the message's: the owner of a list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<Octets>,
    /// Whose aliases or `.forward` file named it: it runs with that user's rights.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub controller: Option<String>,
    /// What it is routed by once more, while it waits.
    #[serde(skip_serializing_if = "RoutedBy::is_unknown", default)]
    pub routed_by: RoutedBy,
    /// The address as it was written, where that is neither the recipient's nor what it is routed
    /// by: `bob` in an alias of one member.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub written: Option<Octets>,
    /// Where it went on to, of a user who forwards his mail: local users, with their details.
    #[serde(skip_serializing_if = "<[_]>::is_empty", default)]
    pub onward: Box<[(Octets, Octets)]>,
    /// How far it has come.
    #[serde(default)]
    pub progress: Progress,
    /// What the last try said, if it did not deliver.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub last: String,
    /// The enhanced status code of the last try.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub status: String,
    /// The host that the last try got to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote: Option<Box<Remote>>,
}

/// The address that tells where a copy for another host goes by the tables of another day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutedBy {
    /// Nobody wrote down what: so it is with the copies of earlier releases.
    #[default]
    Unknown,
    /// Nothing: several addresses came to it, and its user by himself may lead elsewhere.
    Shared,
    /// Its user, of whom tables said that he leads to this copy: what several addresses came to
    /// moves with none of them.
    User,
    /// Its recipient, of whom nothing else came.
    Recipient,
    /// This, as an alias, a list or a `.forward` file gave it.
    Address(Octets),
}

impl RoutedBy {
    fn is_unknown(&self) -> bool {
        *self == RoutedBy::Unknown
    }
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// From a client.
    #[default]
    Client,
    /// It is a notice of ours to a sender.
    Notice,
    /// It is a notice of ours to the postmaster: if that can't be delivered, nobody is left.
    LastResort,
}

impl Origin {
    fn is_client(&self) -> bool {
        *self == Origin::Client
    }
}

/// How a message leaves that must leave as it came (daemon modifiers `b` and `h`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Departure {
    /// From this address of ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<IpAddr>,
    /// With this name in HELO.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub helo: Option<String>,
}

impl Departure {
    fn is_free(&self) -> bool {
        *self == Departure::default()
    }
}

/// The envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The queue id.
    pub id: Box<str>,
    /// When it came, in seconds since 1970.
    pub created_unix: u64,
    /// The reverse-path without brackets; empty for the null sender.
    pub sender: Octets,
    /// Octets of the stored message.
    pub size_octets: u64,
    /// BODY.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<BodyKind>,
    /// RET.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ret: Option<Ret>,
    /// ENVID.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub envid: Option<Box<str>>,
    /// BY.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<(i64, ByMode)>,
    /// AUTH=, where it was trusted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth: Option<Octets>,
    /// Whether SMTPUTF8 was asked for.
    #[serde(default)]
    pub smtputf8: bool,
    /// How it leaves, where the listener that took it has a say in that.
    #[serde(skip_serializing_if = "Departure::is_free", default)]
    pub departure: Departure,
    /// `${daemon_flags}` of the listener that took it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub daemon_flags: String,
    /// The client, as logs name it.
    pub relay: String,
    /// `$r`: SMTP, ESMTP, ESMTPS, ESMTPA, ...
    pub protocol: String,
    /// Received headers counted at arrival.
    #[serde(default)]
    pub hops: u32,
    /// The Precedence class, as sendmail numbers it.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub class: i32,
    /// Which time-outs count.
    #[serde(default)]
    pub urgency: Urgency,
    /// Whether it is one of our own notices.
    #[serde(skip_serializing_if = "Origin::is_client", default)]
    pub origin: Origin,
    /// Set where delivery must wait.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hold: Option<Hold>,
    /// The recipients.
    pub recipients: Vec<QueuedRecipient>,
    /// The copies.
    #[serde(default)]
    pub targets: Vec<QueuedTarget>,
    /// How often delivery was tried.
    #[serde(default)]
    pub tries: u32,
    /// When it was tried last, in seconds since 1970; 0 for never.
    #[serde(default)]
    pub tried_unix: u64,
    /// When it is tried next, in seconds since 1970; 0 for at once.
    #[serde(default)]
    pub due_unix: u64,
    /// Its place among those that are due: lower is tried earlier.
    #[serde(default)]
    pub rank: i64,
    /// Whether the sender was warned that it takes long.
    #[serde(default)]
    pub warned: bool,
    /// Whether the sender was told that the DELIVERBY time is over.
    #[serde(default)]
    pub told_by_exceeded: bool,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// What a sender who said nothing hears of (RFC 3461 section 4.1).
pub const NOTIFY_BY_DEFAULT: Notify = Notify {
    success: false,
    failure: true,
    delay: true,
};

impl Envelope {
    /// Whether nothing is left to do: every copy was delivered or given up, and
    /// everybody was told of what he has to hear.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let done = |r: &QueuedRecipient| {
            matches!(
                r.expanded,
                Expanded::Yes | Expanded::Told | Expanded::List { told: true }
            )
        };
        self.recipients.iter().all(done)
            && self.targets.iter().all(|t| {
                matches!(
                    t.progress,
                    Progress::Done | Progress::Forwarded | Progress::Told
                )
            })
    }

    /// Whether another try could get anything further: something waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.recipients.iter().any(|r| r.expanded == Expanded::No)
            || self.targets.iter().any(|t| t.progress == Progress::Waiting)
    }

    /// How much of memory it takes while it is tried: 1 for a common message.
    #[must_use]
    pub fn weight(&self) -> usize {
        1 + (self.targets.len() + self.recipients.len()) / 100
    }

    /// As much of it as the index of the queue needs.
    pub(super) fn listed(&self) -> Envelope {
        Envelope {
            id: self.id.clone(),
            hold: self.hold.clone(),
            due_unix: self.due_unix,
            rank: self.rank,
            ..Envelope::default()
        }
    }

    /// What the sender wants to hear about a copy: what he said of its recipient. Of
    /// the members of a list he hears no success, and the owner of a list (who is the
    /// sender of such a copy) hears what is told by default.
    #[must_use]
    pub fn notify_of(&self, target: &QueuedTarget) -> Notify {
        if target.owner.is_some() {
            return NOTIFY_BY_DEFAULT;
        }
        let Some(recipient) = self.recipients.get(target.recipient) else {
            return NOTIFY_BY_DEFAULT;
        };
        let notify = recipient.notify.unwrap_or(NOTIFY_BY_DEFAULT);
        match recipient.expanded {
            Expanded::List { .. } => Notify {
                success: false,
                ..notify
            },
            _ => notify,
        }
    }

    /// Tells the sender of success too, of recipients for whom he said nothing
    /// (RrtImpliesDsn).
    pub fn ask_for_receipts(&mut self) {
        for recipient in &mut self.recipients {
            recipient.notify.get_or_insert(Notify {
                success: true,
                ..NOTIFY_BY_DEFAULT
            });
        }
    }

    /// What the next host is asked to tell about a copy: the sender's NOTIFY, without
    /// success for the members of a list; nothing for a copy of the owner of a list.
    #[must_use]
    pub fn notify_onward(&self, target: &QueuedTarget) -> Option<Notify> {
        let recipient = self.recipients.get(target.recipient)?;
        if target.owner.is_some() {
            return None;
        }
        recipient.notify.map(|_| self.notify_of(target))
    }
}
