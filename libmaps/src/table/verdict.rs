//! [`Verdict`]: the RHS of an access entry, parsed.
//!
//! The forms are those of cf/README, "ANTI-SPAM CONFIGURATION CONTROL", and the
//! order in which they are told apart is that of the rules in proto.m4. Words are
//! compared without regard to case, as rules compare tokens.

use std::fmt;

use crate::address::is_operator;
use crate::reply::{Reply, Status};
use crate::rhs::Rhs;
use crate::site::model::Class;

/// The RHS of an access entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `OK`: accept, but don't relay.
    Ok,
    /// `RELAY`: accept, and relay.
    Relay,
    /// `REJECT`: refuse with the site's text.
    Reject,
    /// `DISCARD`: accept and drop.
    Discard,
    /// `SKIP`: stop the search; it means something only where the site asked for it.
    Skip,
    /// `QUARANTINE:text`: accept and hold.
    Quarantine(Box<str>),
    /// `ERROR:d.s.n:nnn text`, `ERROR:nnn text`, and anything else: refuse with this text.
    Error(Refusal),
}

impl Verdict {
    /// Parses an RHS. Every RHS is a verdict: what is none of the words is the text of a refusal.
    #[must_use]
    pub fn parse(rhs: &[u8]) -> Self {
        let text = String::from_utf8_lossy(rhs);
        let text = text.trim();
        match word(text) {
            Some(verdict) => verdict,
            None => Verdict::Error(Refusal::new("", text)),
        }
    }

    /// As [`parse`](Verdict::parse); words that the site's class `Accept` holds mean yes as well.
    #[must_use]
    pub fn parse_with(rhs: &[u8], accept: &Class) -> Self {
        let verdict = Verdict::parse(rhs);
        match verdict {
            Verdict::Ok | Verdict::Relay => verdict,
            _ if !accept.is_empty() && accept.contains(rhs.trim_ascii()) => Verdict::Ok,
            _ => verdict,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Ok => f.write_str("OK"),
            Verdict::Relay => f.write_str("RELAY"),
            Verdict::Reject => f.write_str("REJECT"),
            Verdict::Discard => f.write_str("DISCARD"),
            Verdict::Skip => f.write_str("SKIP"),
            Verdict::Quarantine(why) => write!(f, "QUARANTINE:{why}"),
            Verdict::Error(refusal) if refusal.at.is_empty() => write!(f, "ERROR:{}", refusal.text),
            Verdict::Error(refusal) => write!(f, "ERROR:{}:{}", refusal.at, refusal.text),
        }
    }
}

/// Whether an RHS is this one word, in any case.
#[must_use]
pub fn is_word(rhs: &Rhs, word: &str) -> bool {
    rhs.as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(word.as_bytes())
}

/// A refusal as rules state it: `$#error $@ at $: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// An enhanced status code or one of sendmail's words (`nouser`, `tempfail`, ...); empty for none.
    pub at: Box<str>,
    /// Reply code and text, as they stand in the map or the rule, without quotes.
    pub text: Box<str>,
}

impl Refusal {
    /// A refusal; double quotes, which only keep words together in a rule, are dropped. A client's
    /// own words may stand in it: what would control whoever shows them becomes `?`.
    #[must_use]
    pub fn new(at: &str, text: &str) -> Self {
        let text = text.trim().chars().filter(|c| *c != '"');
        let text: String = text
            .map(|c| {
                if c.is_ascii_control() && c != '\t' {
                    '?'
                } else {
                    c
                }
            })
            .collect();
        Refusal {
            at: at.into(),
            text: text.trim().into(),
        }
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.reply().is_temporary()
    }

    /// The reply to send.
    ///
    /// A text without a reply code of its own is sent as 553 5.3.0, whatever the status beside it;
    /// with a code but without a status the reply gets the general one of its class.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let Some((code, text)) = split_code(&self.text) else {
            return Reply::new(553, Some(Status::new(5, 3, 0)), &*self.text);
        };
        let own = self.at.parse().ok().or_else(|| word_status(&self.at));
        let (status, text) = match (own, split_status(text)) {
            (_, Some((status, text))) => (status, text),
            (Some(status), None) => (status, text),
            (None, None) => (Status::new(class_of(code), 0, 0), text),
        };
        Reply::new(code, Some(status), text)
    }
}

fn word(text: &str) -> Option<Verdict> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("OK") {
        return Some(Verdict::Ok);
    }
    if is("RELAY") {
        return Some(Verdict::Relay);
    }
    if is("REJECT") {
        return Some(Verdict::Reject);
    }
    if is("DISCARD") {
        return Some(Verdict::Discard);
    }
    if is("SKIP") {
        return Some(Verdict::Skip);
    }
    if let Some(why) = after_word(text, "QUARANTINE") {
        let why = why.replace('"', "");
        return Some(Verdict::Quarantine(match why.trim() {
            // Nobody is let in for want of a reason.
            "" => "QUARANTINE".into(),
            why => why.into(),
        }));
    }
    let rest = after_word(text, "ERROR").filter(|rest| !rest.is_empty())?;
    Some(Verdict::Error(match status_prefix(rest) {
        Some((at, text)) => Refusal::new(at, text),
        None => Refusal::new("", rest),
    }))
}

/// What follows `word :`.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    if !head.eq_ignore_ascii_case(word) {
        return None;
    }
    let rest = text.get(word.len()..)?.trim_start();
    Some(rest.strip_prefix(':')?.trim())
}

/// Splits `a.b.c:text`; each of the three is one token, as the rules demand.
fn status_prefix(text: &str) -> Option<(&str, &str)> {
    let (at, rest) = text.split_once(':')?;
    let rest = rest.trim();
    let parts = at.trim().split('.');
    let one_token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|octet| !is_operator(octet) && octet != b' ' && octet != b'"')
    };
    if rest.is_empty() || parts.clone().count() != 3 || !parts.into_iter().all(one_token) {
        return None;
    }
    Some((at.trim(), rest))
}

/// Splits `nnn text`.
fn split_code(text: &str) -> Option<(u16, &str)> {
    let digits = text.get(..3)?;
    let code: u16 = digits
        .parse()
        .ok()
        .filter(|code| (400..600).contains(code))?;
    let rest = text.get(3..)?;
    match rest.as_bytes().first() {
        None => Some((code, "")),
        Some(b' ' | b'-') => Some((code, rest.get(1..)?.trim_start())),
        Some(_) => None,
    }
}

/// Splits `d.s.n text`.
fn split_status(text: &str) -> Option<(Status, &str)> {
    let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some((status.parse().ok()?, rest.trim_start()))
}

fn class_of(code: u16) -> u8 {
    if code / 100 == 4 { 4 } else { 5 }
}

/// The status that sendmail gives for the words after `$@` (`exitstat` in parseaddr.c).
fn word_status(word: &str) -> Option<Status> {
    let lower = word.to_ascii_lowercase();
    Some(match lower.as_str() {
        "usage" => Status::new(5, 5, 4),
        "nouser" => Status::new(5, 1, 1),
        "nohost" => Status::new(5, 1, 2),
        "unavailable" => Status::new(5, 0, 0),
        "software" => Status::new(5, 3, 5),
        "tempfail" => Status::new(4, 0, 0),
        "protocol" => Status::new(5, 5, 1),
        "config" => Status::new(5, 3, 5),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
