//! What is told of one recipient, or of one copy that came of it.

use crate::deliver::outcome::{KeepsTime, Notifies, Remote};
use crate::queue::{Envelope, Expanded, Octets, Progress, QueuedRecipient, QueuedTarget};

/// What became of it (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will never be delivered.
    Failed,
    /// It is still being tried.
    Delayed,
    /// It is in its mailbox.
    Delivered,
    /// A host has it that will not tell of it.
    Relayed,
    /// It went to the members of a list.
    Expanded,
}

/// What is told of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What became of it.
    pub action: Action,
    /// The recipient as the sender gave it.
    pub recipient: Octets,
    /// ORCPT, as it came.
    pub orcpt: Option<Box<str>>,
    /// Where the copy went, where that is known.
    pub actual: Option<Actual>,
    /// Enhanced status code.
    pub status: String,
    /// What the last try said.
    pub text: String,
    /// The host that the last try got to.
    pub remote: Option<Box<Remote>>,
    /// When it is given up, in seconds since 1970.
    pub until_unix: Option<u64>,
}

/// Where a copy went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actual {
    /// To the recipient himself.
    Recipient(Octets),
    /// To an address that an alias or a `.forward` file gave.
    Member(Octets),
    /// To a file or a program.
    Unix(Octets),
}

impl Line {
    /// What is to be told of a recipient as a whole, if anything.
    pub(super) fn of_recipient(
        recipient: &QueuedRecipient,
        delayed: Option<Delayed>,
    ) -> Option<Line> {
        let (action, status, text) = match (&recipient.expanded, delayed) {
            (Expanded::Failed { status, text }, _) => {
                (Action::Failed, status.clone(), text.clone())
            }
            (Expanded::List { told: false }, _) => {
                (Action::Expanded, "2.0.0".into(), String::new())
            }
            (Expanded::No, Some(_)) => (Action::Delayed, "4.3.0".into(), String::new()),
            _ => return None,
        };
        Some(Line {
            action,
            recipient: recipient.address.clone(),
            orcpt: recipient.orcpt.clone(),
            actual: None,
            status,
            text,
            remote: None,
            until_unix: delayed.and_then(|d| d.until_unix),
        })
    }

    /// What is to be told of a copy, if anything; `delayed` says whether those that wait
    /// are told of, and until when they are tried.
    pub(super) fn of_copy(
        envelope: &Envelope,
        target: &QueuedTarget,
        delayed: Option<Delayed>,
        host: &str,
    ) -> Option<Line> {
        let relayed = |r: &Remote| r.notifies == Notifies::No || r.keeps_time == KeepsTime::No;
        let (action, status, text, until) = match (&target.progress, delayed) {
            (Progress::Failed { status, text }, _) => {
                (Action::Failed, status.clone(), text.clone(), None)
            }
            (Progress::Sent, _) => {
                let action = match &target.remote {
                    Some(remote) if relayed(remote) => Action::Relayed,
                    _ => Action::Delivered,
                };
                (action, target.status.clone(), target.last.clone(), None)
            }
            (Progress::Waiting, Some(Delayed { until_unix })) => {
                let (status, text) = (target.status.clone(), target.last.clone());
                (Action::Delayed, status, text, until_unix)
            }
            _ => return None,
        };
        let recipient = envelope.recipients.get(target.recipient)?;
        Some(Line {
            action,
            recipient: recipient.address.clone(),
            orcpt: recipient.orcpt.clone(),
            actual: Some(actual(target, &recipient.address, host)),
            status,
            text,
            remote: target.remote.clone(),
            until_unix: until,
        })
    }
}

/// Copies that wait are told of; they are tried up to this moment, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delayed {
    pub(super) until_unix: Option<u64>,
}

fn actual(target: &QueuedTarget, recipient: &Octets, host: &str) -> Actual {
    let user = &target.user.0;
    let written = user.strip_prefix(b"\"").unwrap_or(user);
    let is_refused_one = target.mailer == "error" && written.starts_with(b"/");
    let runs = matches!(target.mailer.as_str(), "prog" | "*file*");
    if runs || written.starts_with(b"|") || is_refused_one {
        return Actual::Unix(target.user.clone());
    }
    let has_domain = user.contains(&b'@');
    let full = if has_domain {
        target.user.clone()
    } else {
        Octets([user.as_slice(), b"@", host.as_bytes()].concat())
    };
    let local = recipient.0.rsplitn(2, |c| *c == b'@').last();
    let local = local.unwrap_or_default();
    // user+detail stands in the triple as user and detail.
    let plain = local.split(|c| *c == b'+').next().unwrap_or_default();
    let same = if has_domain {
        recipient.0.eq_ignore_ascii_case(user)
    } else {
        local.eq_ignore_ascii_case(user) || plain.eq_ignore_ascii_case(user)
    };
    if same {
        Actual::Recipient(full)
    } else if has_domain {
        Actual::Member(full)
    } else {
        Actual::Member(target.user.clone())
    }
}
