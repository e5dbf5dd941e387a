//! Who hears what: from the state of a message to the notices it calls for.

use libmaps::site::Site;
use libmaps::site::model::options::PrivacyFlag;

use super::Action;
use super::line::{Delayed, Line};
use crate::queue::{Envelope, NOTIFY_BY_DEFAULT, Octets, Origin};
use crate::session::{Notify, Ret};

/// Beyond this a message comes back as its header alone, unless RET=FULL was asked for.
const MAX_RETURNED_OCTETS: u64 = 1024 * 1024;

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something failed.
    Failure,
    /// Something takes long.
    Delay,
    /// Everything that is told of went well.
    Receipt,
}

/// For whom a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The sender, or the owner of a list.
    Sender,
    /// The postmaster.
    Postmaster,
}

/// How much of the message comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// All.
    Full,
    /// Its header.
    Header,
}

/// A notice that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// For whom.
    pub audience: Audience,
    /// To which addresses.
    pub to: Vec<Octets>,
    /// How much of the message comes with it.
    pub returns: Returns,
    /// What is told.
    pub lines: Vec<Line>,
}

/// What is to be done about a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The notices.
    pub notices: Vec<Notice>,
    /// Why failures are told to nobody, where that is so: lines for the log.
    pub silent: Vec<String>,
}

/// That copies which wait are told of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Until when they are tried, in seconds since 1970; `None`: for ever.
    pub until_unix: Option<u64>,
}

/// The notices that the state of this message calls for: of all that failed, of what was
/// delivered where that is wanted, and, if it is `late`, of what still waits.
#[must_use]
pub fn plan(site: &Site, envelope: &Envelope, late: Option<Late>) -> Plan {
    let mut readers: Vec<(Option<Octets>, Vec<Line>)> = Vec::new();
    let mut add = |owner: Option<&Octets>, line: Line| match readers
        .iter_mut()
        .find(|(who, _)| who.as_ref() == owner)
    {
        Some((_, lines)) => lines.push(line),
        None => readers.push((owner.cloned(), vec![line])),
    };
    let receipts = !site.options.greeting.privacy.has(PrivacyFlag::NoReceipts);
    let delayed = late
        .filter(|_| envelope.origin == Origin::Client && envelope.class >= 0)
        .map(|Late { until_unix }| Delayed { until_unix });
    for recipient in &envelope.recipients {
        let notify = recipient.notify.unwrap_or(NOTIFY_BY_DEFAULT);
        if let Some(line) = Line::of_recipient(recipient, delayed)
            && wanted(notify, line.action, receipts)
        {
            add(None, line);
        }
    }
    for target in &envelope.targets {
        let line = Line::of_copy(envelope, target, delayed, &site.host_name);
        if let Some(line) = line
            && wanted(envelope.notify_of(target), line.action, receipts)
        {
            add(target.owner.as_ref(), line);
        }
    }
    let mut plan = Plan::default();
    for (owner, lines) in readers {
        address(site, envelope, owner, lines, &mut plan);
    }
    plan
}

fn wanted(notify: Notify, action: Action, receipts: bool) -> bool {
    match action {
        Action::Failed => notify.failure,
        Action::Delayed => notify.delay,
        Action::Delivered | Action::Expanded => notify.success && receipts,
        // To a host that knows no DELIVERBY it is told whoever hears of anything.
        Action::Relayed => notify != Notify::NEVER && receipts,
    }
}

/// Programs and lists are not told of delays, as with sendmail: nor is anybody of a
/// message that nobody waits for.
fn hears_of_delays(reader: &Octets) -> bool {
    let reader = reader.0.to_ascii_lowercase();
    let local = reader.rsplitn(2, |c| *c == b'@').last().unwrap_or_default();
    !reader.is_empty() && !local.starts_with(b"owner-") && !local.ends_with(b"-request")
}

/// Turns what one reader has to hear into notices.
fn address(
    site: &Site,
    envelope: &Envelope,
    owner: Option<Octets>,
    lines: Vec<Line>,
    plan: &mut Plan,
) {
    let (delayed, rest): (Vec<Line>, Vec<Line>) = lines
        .into_iter()
        .partition(|line| line.action == Action::Delayed);
    let failed = rest.iter().any(|line| line.action == Action::Failed);
    let reader = owner.unwrap_or_else(|| envelope.sender.clone());
    let delayed = if hears_of_delays(&reader) {
        delayed
    } else {
        Vec::new()
    };
    let options = &site.options.delivery;
    if !reader.0.is_empty() {
        for (kind, lines) in [(Kind::Delay, delayed), (kind_of(failed), rest.clone())] {
            if !lines.is_empty() {
                plan.notices.push(Notice {
                    kind,
                    audience: Audience::Sender,
                    to: vec![reader.clone()],
                    returns: returns(site, envelope, kind),
                    lines,
                });
            }
        }
    } else if failed {
        let to = addresses(&options.double_bounce_address);
        if envelope.origin == Origin::LastResort {
            let text =
                "savemail: cannot save rejected email anywhere: a notice to the postmaster failed";
            plan.silent.push(text.into());
        } else if to.is_empty() {
            let text = "savemail: DoubleBounceAddress is empty: the failure of a notice is dropped";
            plan.silent.push(text.into());
        } else {
            plan.notices.push(Notice {
                kind: Kind::Failure,
                audience: Audience::Postmaster,
                to,
                returns: returns(site, envelope, Kind::Failure),
                lines: rest,
            });
        }
        return;
    }
    let copies = addresses(&options.postmaster_copy);
    if failed
        && !copies.is_empty()
        && envelope.origin == Origin::Client
        && envelope.class >= 0
        && let Some(told) = plan.notices.last()
    {
        plan.notices.push(Notice {
            audience: Audience::Postmaster,
            to: copies,
            returns: Returns::Header,
            ..told.clone()
        });
    }
}

fn kind_of(failed: bool) -> Kind {
    if failed { Kind::Failure } else { Kind::Receipt }
}

/// RET, nobodyreturn, precedence and size decide what comes back (RFC 3461 section 4.3).
fn returns(site: &Site, envelope: &Envelope, kind: Kind) -> Returns {
    let private = site.options.greeting.privacy.has(PrivacyFlag::NoBodyReturn);
    let asked = match envelope.ret {
        Some(Ret::Full) => true,
        Some(Ret::Headers) => false,
        None => envelope.size_octets <= MAX_RETURNED_OCTETS,
    };
    if kind == Kind::Receipt || private || envelope.class < 0 || !asked {
        Returns::Header
    } else {
        Returns::Full
    }
}

/// The addresses of an option, separated by commas.
fn addresses(list: &str) -> Vec<Octets> {
    list.split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(Octets::from)
        .collect()
}
