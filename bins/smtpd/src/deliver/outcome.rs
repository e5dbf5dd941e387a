//! What became of one copy, with all that a log line and a delivery status
//! notification (RFC 3464) say of it.

use std::net::SocketAddr;

use libmaps::site::model::Mailer;
use serde::{Deserialize, Serialize};

use crate::queue::Envelope;

/// What became of one copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it is there, waits, or never will be.
    pub fate: Fate,
    /// Enhanced status code (RFC 3463).
    pub status: String,
    /// What a log says, without the word in front (`Sent`, `Deferred`).
    pub text: String,
    /// The host that took or refused it, where there was one.
    pub remote: Option<Box<Remote>>,
}

/// Where a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Delivered, or taken by the next host.
    Sent,
    /// Not now.
    Deferred,
    /// Never.
    Failed,
}

/// The host that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its name, as MX records or the mailertable give it.
    pub host: String,
    /// Where it was reached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub addr: Option<SocketAddr>,
    /// Its last reply, lines joined by blanks; empty if it gave none.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reply: String,
    /// What becomes of the sender's NOTIFY and RET there.
    pub notifies: Notifies,
    /// What becomes of the sender's BY there.
    #[serde(default)]
    pub keeps_time: KeepsTime,
}

/// Whether the next host knows the DELIVERBY extension (RFC 2852).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeepsTime {
    /// It does, or was not asked to.
    #[default]
    Yes,
    /// It does not: that the message was relayed without it is ours to tell.
    No,
}

/// The port that goes without saying.
const SMTP_PORT: u16 = 25;

impl Remote {
    /// As logs name it: `mx.example. [192.0.2.1]`, with a port that is not SMTP's behind it.
    #[must_use]
    pub fn shown(&self) -> String {
        let dot = match self.host.as_str() {
            "" => "",
            host if host.starts_with(['[', '/']) => "",
            _ => ".",
        };
        match self.addr {
            Some(addr) if addr.port() == SMTP_PORT => {
                format!("{}{dot} [{}]", self.host, addr.ip())
            }
            Some(addr) => format!("{}{dot} [{}]:{}", self.host, addr.ip(), addr.port()),
            None => format!("{}{dot}", self.host),
        }
    }
}

/// Whether the next host knows the DSN extension (RFC 3461).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notifies {
    /// It does: success is its to tell.
    Yes,
    /// It does not: the sender hears from us that the message was relayed.
    No,
}

impl Outcome {
    /// Delivered.
    #[must_use]
    pub fn sent() -> Self {
        Self::new(Fate::Sent, "2.0.0", String::new())
    }

    /// M=: of a message that its mailer does not take.
    pub(crate) fn too_large(mailer: &Mailer, envelope: &Envelope) -> Option<Self> {
        let most = mailer
            .max_octets
            .filter(|most| *most > 0 && *most < envelope.size_octets)?;
        let text = format!("Message is too large; {most} bytes max");
        Some(Outcome::failed("5.2.3", text))
    }

    /// Not now; the text says why.
    #[must_use]
    pub fn deferred(text: impl Into<String>) -> Self {
        Self::new(Fate::Deferred, "4.0.0", text.into())
    }

    /// Never.
    #[must_use]
    pub fn failed(status: &str, text: impl Into<String>) -> Self {
        Self::new(Fate::Failed, status, text.into())
    }

    /// With this status.
    #[must_use]
    pub fn with_status(self, status: &str) -> Self {
        Outcome {
            status: status.into(),
            ..self
        }
    }

    /// As this host said.
    #[must_use]
    pub fn by(self, remote: Remote) -> Self {
        Outcome {
            remote: Some(Box::new(remote)),
            ..self
        }
    }

    fn new(fate: Fate, status: &str, text: String) -> Self {
        Outcome {
            fate,
            status: status.into(),
            text,
            remote: None,
        }
    }
}

/// An enhanced status code (RFC 3463) of the same failure, if it is one for the time being.
pub(crate) fn for_now(status: &str) -> String {
    match status.strip_prefix("5.") {
        Some(rest) => format!("4.{rest}"),
        None => status.to_owned(),
    }
}
