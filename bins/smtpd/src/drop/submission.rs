//! What `sendmail` says about a message that it drops.
//!
//! Who submitted it is not among that: only the owner of the file tells. Everything here
//! is a stranger's, and [`Submission::check`] is the border: past it every address is free
//! of control octets, no text is longer than its limit, and there is a recipient.

use serde::{Deserialize, Serialize};

use crate::queue::Octets;
use crate::session::{BodyKind, ByMode, MAX_ENVID_OCTETS, MAX_ORCPT_OCTETS, Notify, Ret};

/// Most recipients of one file.
pub const MAX_RECIPIENTS: usize = 100_000;
/// Longest address, in octets.
pub const MAX_ADDRESS_OCTETS: usize = 2048;
/// Longest full name, in octets.
pub const MAX_NAME_OCTETS: usize = 256;
/// Longest text about a wrong address, in octets.
pub const MAX_FAULT_OCTETS: usize = 512;
/// Longest enhanced status code: `5.` and two numbers of three digits (RFC 3463 section 2).
const MAX_STATUS_OCTETS: usize = 9;
/// A failure of which no more is known (RFC 3463 section 3.1).
const UNKNOWN_STATUS: &str = "5.0.0";
/// Most hops that may be claimed.
pub const MAX_HOPS: u32 = 1000;

/// What is wanted of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// From whom it is to be.
    #[serde(default)]
    pub sender: Sender,
    /// The full name for a From field (`-F`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub full_name: Option<Octets>,
    /// To whom.
    pub recipients: Vec<Wanted>,
    /// Who can't be sent to: the sender is told, and nothing else is done about them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub faulty: Vec<Faulty>,
    /// BODY (`-B`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<BodyKind>,
    /// RET (`-R`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ret: Option<Ret>,
    /// ENVID as xtext (`-V`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub envid: Option<Box<str>>,
    /// DELIVERBY.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<(i64, ByMode)>,
    /// SMTPUTF8.
    #[serde(default)]
    pub smtputf8: bool,
    /// Hops before this one (`-h`).
    #[serde(default)]
    pub hops: u32,
    /// Set where the message came in an SMTP session on standard input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<Spoken>,
}

/// From whom a message is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sender {
    /// From the user who submits it.
    #[default]
    Own,
    /// From this address; empty for the null sender.
    Set {
        /// Without angle brackets.
        address: Octets,
        /// How it was asked for.
        by: SetBy,
    },
}

/// How a sender was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetBy {
    /// `-f`.
    F,
    /// `-r`.
    R,
    /// MAIL in a session on standard input.
    Mail,
}

/// A recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Without angle brackets.
    pub address: Octets,
    /// NOTIFY (`-N`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notify: Option<Notify>,
    /// ORCPT.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub orcpt: Option<Box<str>>,
}

/// A recipient whose address is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faulty {
    /// As far as it can be shown.
    pub address: Octets,
    /// NOTIFY (`-N`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notify: Option<Notify>,
    /// Enhanced status code (RFC 3463), of class 5.
    pub status: Box<str>,
    /// What is wrong with it.
    pub text: Box<str>,
}

/// What was said in a session on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spoken {
    /// The name in HELO or EHLO.
    pub helo: Box<str>,
    /// `SMTP` or `ESMTP`.
    pub protocol: Protocol,
}

/// The protocol of a session on standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HELO was said.
    Smtp,
    /// EHLO was said.
    Esmtp,
}

impl Protocol {
    /// As Received fields have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Smtp => "SMTP",
            Protocol::Esmtp => "ESMTP",
        }
    }
}

/// What is wrong with a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionFault {
    /// There is nobody to send it to.
    #[error("no recipients")]
    NoRecipients,
    /// There are more than [`MAX_RECIPIENTS`].
    #[error("more than {MAX_RECIPIENTS} recipients")]
    TooManyRecipients,
    /// An address is empty, too long or has control octets.
    #[error("an address is empty, too long or has control characters")]
    Address,
    /// A text is too long or has octets that it must not have.
    #[error("{0} is too long or has characters that it must not have")]
    Text(&'static str),
}

impl Submission {
    /// From the user himself, to these.
    #[must_use]
    pub fn to(recipients: Vec<Wanted>) -> Self {
        Submission {
            sender: Sender::Own,
            full_name: None,
            recipients,
            faulty: Vec::new(),
            body: None,
            ret: None,
            envid: None,
            by: None,
            smtputf8: false,
            hops: 0,
            session: None,
        }
    }

    /// Whether everything is within its limits.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), SubmissionFault> {
        match self.recipients.len().saturating_add(self.faulty.len()) {
            0 => return Err(SubmissionFault::NoRecipients),
            1..=MAX_RECIPIENTS => {}
            _ => return Err(SubmissionFault::TooManyRecipients),
        }
        if let Sender::Set { address, .. } = &self.sender
            && !is_address(&address.0)
            && !address.0.is_empty()
        {
            return Err(SubmissionFault::Address);
        }
        for recipient in &self.recipients {
            if !is_address(&recipient.address.0) {
                return Err(SubmissionFault::Address);
            }
            printable("ORCPT", recipient.orcpt.as_deref(), MAX_ORCPT_OCTETS)?;
        }
        for faulty in &self.faulty {
            faulty.check()?;
        }
        printable("the envelope id", self.envid.as_deref(), MAX_ENVID_OCTETS)?;
        let helo = self.session.as_ref().map(|s| &*s.helo);
        printable("the name in HELO", helo, MAX_NAME_OCTETS)?;
        if let Some(name) = &self.full_name
            && (name.0.len() > MAX_NAME_OCTETS || name.0.iter().any(u8::is_ascii_control))
        {
            return Err(SubmissionFault::Text("the full name"));
        }
        if self.hops > MAX_HOPS {
            return Err(SubmissionFault::Text("the hop count"));
        }
        Ok(())
    }
}

impl Faulty {
    /// With as much of its address and of what is wrong as may stand in an envelope.
    #[must_use]
    pub fn fitting(address: &[u8], notify: Option<Notify>, status: &str, text: &str) -> Self {
        let fit = |c: &u8| if c.is_ascii_control() { b'?' } else { *c };
        let address = address.iter().take(MAX_ADDRESS_OCTETS).map(fit).collect();
        let mut fitting = String::new();
        for c in text.chars().filter(|c| !c.is_control()) {
            if fitting.len() + c.len_utf8() > MAX_FAULT_OCTETS {
                break;
            }
            fitting.push(c);
        }
        let mut faulty = Faulty {
            address: Octets(address),
            notify,
            status: status.into(),
            text: fitting.into(),
        };
        if faulty.check().is_err() {
            faulty.status = UNKNOWN_STATUS.into();
        }
        faulty
    }

    fn check(&self) -> Result<(), SubmissionFault> {
        if !is_address(&self.address.0) {
            return Err(SubmissionFault::Address);
        }
        printable("a status", Some(&self.status), MAX_STATUS_OCTETS)?;
        if !self.status.starts_with("5.") {
            return Err(SubmissionFault::Text("a status"));
        }
        if self.text.len() > MAX_FAULT_OCTETS || self.text.chars().any(char::is_control) {
            return Err(SubmissionFault::Text("what is wrong with an address"));
        }
        Ok(())
    }
}

/// Whether this may stand in an envelope; what it means is found out later.
#[must_use]
pub fn is_address(octets: &[u8]) -> bool {
    !octets.is_empty()
        && octets.len() <= MAX_ADDRESS_OCTETS
        && !octets.iter().any(u8::is_ascii_control)
}

fn printable(
    what: &'static str,
    text: Option<&str>,
    max_octets: usize,
) -> Result<(), SubmissionFault> {
    match text {
        Some(text) if text.len() > max_octets || !text.bytes().all(|c| c.is_ascii_graphic()) => {
            Err(SubmissionFault::Text(what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(address: &[u8]) -> Submission {
        Submission::to(vec![Wanted {
            address: address.into(),
            notify: None,
            orcpt: None,
        }])
    }

    #[test]
    fn a_wrong_address_is_made_to_fit() {
        let long = ("\u{e9}".repeat(2000), "x".repeat(3000));
        for (address, status, text) in [
            ("zoe@", "5.1.3", "Hostname required"),
            ("a\r\nb", "5.1.3.4.5.6.7", "a\r\nb\u{85}"),
            (&long.1, "2.0.0", &long.0),
            (&long.0, "", ""),
        ] {
            let submission = Submission {
                faulty: vec![Faulty::fitting(address.as_bytes(), None, status, text)],
                ..Submission::to(vec![])
            };
            assert_eq!(submission.check(), Ok(()), "{address}");
        }
        let one = Faulty::fitting(b"zoe@", None, "5.1.3", "Hostname required");
        assert_eq!((&*one.status, &*one.text), ("5.1.3", "Hostname required"));
    }

    #[test]
    fn limits_hold() {
        assert_eq!(to(b"ann").check(), Ok(()));
        let cases: [(&str, Submission, SubmissionFault); 7] = [
            (
                "nobody",
                Submission::to(vec![]),
                SubmissionFault::NoRecipients,
            ),
            ("empty", to(b""), SubmissionFault::Address),
            (
                "line end",
                to(b"a\r\nRCPT TO:<b>"),
                SubmissionFault::Address,
            ),
            ("long", to(&[b'a'; 2049]), SubmissionFault::Address),
            (
                "envid",
                Submission {
                    envid: Some("a b".into()),
                    ..to(b"a")
                },
                SubmissionFault::Text("the envelope id"),
            ),
            (
                "name",
                Submission {
                    full_name: Some(Octets(b"a\nBcc: b".to_vec())),
                    ..to(b"a")
                },
                SubmissionFault::Text("the full name"),
            ),
            (
                "sender",
                Submission {
                    sender: Sender::Set {
                        address: Octets(b"a\n".to_vec()),
                        by: SetBy::F,
                    },
                    ..to(b"a")
                },
                SubmissionFault::Address,
            ),
        ];
        for (name, submission, want) in cases {
            assert_eq!(submission.check(), Err(want), "{name}");
        }
    }
}
