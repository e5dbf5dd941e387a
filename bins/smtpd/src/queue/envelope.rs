//! The envelope of a queued message, as it is kept and shown.

use serde::{Deserialize, Serialize};

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
        let text: String = self.0.iter().map(|o| char::from(*o)).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octets: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        octets
            .map(Octets)
            .map_err(|_| serde::de::Error::custom("a character above 255 in an octet string"))
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
    /// Delivered.
    Done,
    /// Will never be delivered; the sender has to be told.
    Failed {
        /// Enhanced status code.
        status: String,
        /// What went wrong.
        text: String,
    },
}

/// A recipient as the client gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Whether a recipient was expanded to targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expanded {
    /// Not yet.
    #[default]
    No,
    /// It was; its targets stand in the envelope.
    Yes,
    /// It can't be, for good.
    Failed {
        /// Enhanced status code.
        status: String,
        /// What went wrong.
        text: String,
    },
}

/// Where one copy of the message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How far it has come.
    #[serde(default)]
    pub progress: Progress,
    /// What the last try said, if it failed for the time being.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub last: String,
}

/// The envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The client, as logs name it.
    pub relay: String,
    /// `$r`: SMTP, ESMTP, ESMTPS, ESMTPA, ...
    pub protocol: String,
    /// Received headers counted at arrival.
    #[serde(default)]
    pub hops: u32,
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
}

impl Envelope {
    /// Whether nothing is left to do: every recipient was expanded and every copy delivered.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.recipients.iter().all(|r| r.expanded == Expanded::Yes)
            && self.targets.iter().all(|t| t.progress == Progress::Done)
    }

    /// Whether another try could get anything further: something waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.recipients.iter().any(|r| r.expanded == Expanded::No)
            || self.targets.iter().any(|t| t.progress == Progress::Waiting)
    }

    /// The earliest moment of the next try: at once, then after 1, 2, 4, ... minutes
    /// and half an hour at the most.
    #[must_use]
    pub fn due_unix(&self) -> u64 {
        if self.tries == 0 {
            return 0;
        }
        let minutes = 1u64 << (self.tries - 1).min(5);
        self.tried_unix + minutes.min(30) * 60
    }
}
