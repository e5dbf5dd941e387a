//! Policy: sendmail's rulesets as pure functions, under the same names.
//!
//! Each takes the [`Policy`] (the site and a snapshot of its maps), the
//! [`Session`](facts::Session) so far and the known [`Facts`](facts::Facts), and
//! gives a [`Decision`] or the one [`Need`] it still has. None of them does I/O
//! beyond asking the maps, and none keeps anything.
//!
//! | ruleset | asked |
//! |---|---|
//! | [`check_relay`](check_relay::check_relay) | when a client connects |
//! | [`tls_client`](tls::tls_client) | after STARTTLS |
//! | [`check_mail`](check_mail::check_mail) | at MAIL |
//! | [`trust_auth`](trust_auth::trust_auth) | at MAIL with AUTH= |
//! | [`check_rcpt`](check_rcpt::check_rcpt) | at RCPT |
//! | [`check_compat`](check_compat::check_compat) | before each attempt to deliver a copy |
//! | [`srv_features`](srv_features::srv_features) | when a client connects |
//! | [`try_tls`](try_tls::try_tls), [`tls_server`](tls::tls_server), [`tls_rcpt`](tls::tls_rcpt) | as client |

pub mod alias_text;
mod broken_map;
pub mod canonify;
pub mod check_compat;
pub mod check_mail;
pub mod check_rcpt;
pub mod check_relay;
pub mod dns_lists;
pub mod expand;
pub mod facts;
mod flagged_map;
pub mod live_classes;
pub mod live_maps;
pub mod maps;
pub mod relay_ok;
pub mod rewrite;
pub mod route;
pub mod shared_maps;
pub mod srv_features;
pub mod tls;
pub mod trust_auth;
pub mod try_tls;

use std::borrow::Cow;

use crate::address::AddressError;
use crate::decision::{Decision, Found, LookupError, Trace};
use crate::reply::Reply;
use crate::site::model::{Class, ReplyPiece, ReplyText, Site};
use crate::table::access::{Lookup, Tag, With};
use crate::table::verdict::{Refusal, Verdict};

use facts::{Facts, Need, Session};
use maps::Maps;

/// A site and a snapshot of its maps.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// The configuration.
    pub site: &'a Site,
    /// The maps.
    pub maps: &'a Maps,
}

/// A decision, or what must be found out before there can be one.
pub type Ruling<T = Outcome> = Result<Decision<T>, Need>;

/// What a ruleset decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Accept,
    /// Say yes and drop the message.
    Discard,
    /// Say yes and hold the message, for this reason.
    Quarantine(Box<str>),
    /// Refuse.
    Refuse(Refusal),
    /// FEATURE(delay_checks): the question is left to check_rcpt.
    Delayed,
}

impl Outcome {
    /// The reply to a client that is refused.
    #[must_use]
    pub fn reply(&self) -> Option<Reply> {
        match self {
            Outcome::Refuse(refusal) => Some(refusal.reply()),
            _ => None,
        }
    }

    /// A refusal.
    #[must_use]
    pub fn refuse(at: &str, text: &str) -> Self {
        Outcome::Refuse(Refusal::new(at, text))
    }

    /// The refusal of what is no address: 553, with the parser's reason.
    #[must_use]
    pub fn not_an_address(error: AddressError) -> Self {
        let at = error.status().map(|status| status.to_string());
        Outcome::refuse(&at.unwrap_or_default(), &format!("553 {error}"))
    }
}

/// What a rule left behind, before it is known what it means for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing: the next check counts.
    Continue,
    /// `$# OK`: accepted, and no later check is asked.
    Done,
    /// `$#error`, `$#discard`.
    Stop(Outcome),
}

impl Flow {
    fn outcome(self) -> Outcome {
        match self {
            Flow::Continue | Flow::Done => Outcome::Accept,
            Flow::Stop(outcome) => outcome,
        }
    }

    fn refuse(at: &str, text: &str) -> Self {
        Flow::Stop(Outcome::refuse(at, text))
    }
}

/// Why a ruleset could not go on.
#[derive(Debug)]
enum Halt {
    /// It lacks a fact.
    Need(Need),
    /// A map can't be read; the trace ends in the reason.
    Lookup,
    /// The resolver has no answer now about who exchanges mail for this domain.
    Exchangers(Box<[u8]>),
}

impl Halt {
    /// What the client is told.
    fn outcome(self) -> Result<Outcome, Need> {
        match self {
            Halt::Need(need) => Err(need),
            Halt::Lookup => Ok(map_unavailable()),
            Halt::Exchangers(domain) => {
                let domain = String::from_utf8_lossy(&domain);
                let text = format!("450 Can not check MX records for recipient host {domain}");
                Ok(Outcome::refuse("4.4.0", &text))
            }
        }
    }
}

impl From<Need> for Halt {
    fn from(need: Need) -> Self {
        Halt::Need(need)
    }
}

impl From<LookupError> for Halt {
    fn from(_: LookupError) -> Self {
        Halt::Lookup
    }
}

/// What every rule works on.
#[derive(Clone, Copy)]
struct Scene<'a> {
    policy: Policy<'a>,
    session: &'a Session,
    facts: &'a Facts,
}

impl<'a> Scene<'a> {
    fn site(&self) -> &'a Site {
        self.policy.site
    }

    /// DeliveryMode `deferred`: nothing is looked up, so nothing is checked.
    fn is_deferred(&self) -> bool {
        self.policy.site.options.delivery.mode.starts_with('d')
    }

    /// The access entry of a host: by its name and the parents of that, then by its address and networks.
    fn look_up_host(
        &self,
        trace: &mut Trace,
        tag: Tag,
        with: With,
        name: &str,
        addr: &str,
    ) -> Lookup {
        let Some(access) = self.policy.maps.access(self.policy.site) else {
            return Ok(None);
        };
        if !name.is_empty() {
            let found = access.domain(trace, tag, with, name.as_bytes())?;
            if found.is_some() {
                return Ok(found);
            }
        }
        access.address(trace, tag, with, addr.as_bytes())
    }

    /// As [`look_up_host`](Self::look_up_host) with the tag only, and then the entry that is a bare tag.
    fn look_up_host_or_default(
        &self,
        trace: &mut Trace,
        tag: Tag,
        name: &str,
        addr: &str,
    ) -> Lookup {
        let found = self.look_up_host(trace, tag, With::TagOnly, name, addr)?;
        match self.policy.maps.access(self.policy.site) {
            Some(access) if found.is_none() => access.exact(trace, tag, With::TagOnly, b""),
            _ => Ok(found),
        }
    }

    /// The text of a reply, with the values of its macros.
    fn text(&self, text: &ReplyText) -> String {
        self.text_with(text, |_| None)
    }

    /// As [`text`](Self::text); `own` knows macros that a rule sets itself.
    fn text_with<'t>(&'t self, text: &ReplyText, own: impl Fn(&str) -> Option<&'t str>) -> String {
        let mut out = String::new();
        for piece in text.pieces() {
            match piece {
                // Blanks between quoted strings and macros only separate them.
                ReplyPiece::Text(text) if text.trim().is_empty() && out.ends_with(' ') => {}
                ReplyPiece::Text(text) if out.ends_with(' ') => out.push_str(text.trim_start()),
                ReplyPiece::Text(text) => out.push_str(text),
                ReplyPiece::Macro(name) => {
                    out.push_str(own(name).unwrap_or_else(|| self.value(name)));
                }
            }
        }
        out
    }

    fn value(&self, name: &str) -> &'a str {
        let (session, site) = (self.session, self.policy.site);
        match name {
            "client_addr" => &session.client_addr,
            "client_name" => &session.client_name,
            "client_ptr" => &session.client_ptr,
            "client_resolve" => session.client_resolve.as_str(),
            "j" => &site.host_name,
            "w" => &site.short_name,
            "m" => &site.domain,
            "f" => &session.sender_text,
            "s" => &session.helo,
            _ => site.macros.get(name).map_or("", String::as_str),
        }
    }
}

/// Runs a ruleset; a map that can't be read makes a temporary refusal, as `-T<TMPF>` does.
fn rule(
    scene: Scene<'_>,
    body: impl FnOnce(&Scene<'_>, &mut Trace) -> Result<Flow, Halt>,
) -> Ruling {
    let mut trace = Trace::new();
    match body(&scene, &mut trace) {
        Ok(flow) => Ok(Decision::new(flow.outcome(), trace)),
        Err(halt) => Ok(Decision::new(halt.outcome()?, trace)),
    }
}

/// 451 4.3.0: what a client is told when a map can't be read.
#[must_use]
pub fn map_unavailable() -> Outcome {
    Outcome::refuse(
        "4.3.0",
        "451 Temporary system failure. Please try again later.",
    )
}

/// What a verdict of the access map means where OK and RELAY let a sender or client in.
fn admit(scene: &Scene<'_>, rhs: &[u8], trace: &mut Trace) -> Flow {
    match Verdict::parse_with(rhs, &scene.site().classes.accept_words) {
        Verdict::Ok | Verdict::Relay => Flow::Done,
        Verdict::Reject => reject(scene, trace),
        other => refusal(other),
    }
}

/// REJECT: the site's own text, or `5.7.1 Access denied`.
fn reject(scene: &Scene<'_>, trace: &mut Trace) -> Flow {
    let text = &scene.site().messages.reject;
    let own = *text != crate::site::model::Messages::default().reject;
    let at = if own { "" } else { "5.7.1" };
    trace.fact("REJECT", b"", Found::Text(scene.text(text).into()));
    Flow::refuse(at, &scene.text(text))
}

/// Verdicts that mean the same everywhere; SKIP that stopped no search is a text like any other.
fn refusal(verdict: Verdict) -> Flow {
    match verdict {
        Verdict::Ok | Verdict::Relay => Flow::Done,
        Verdict::Reject => Flow::refuse("5.7.1", "550 Access denied"),
        Verdict::Discard => Flow::Stop(Outcome::Discard),
        Verdict::Skip => Flow::refuse("", "SKIP"),
        Verdict::Quarantine(why) => Flow::Stop(Outcome::Quarantine(why)),
        Verdict::Error(refusal) => Flow::Stop(Outcome::Refuse(refusal)),
    }
}

/// Whether `name` or one of its parent domains, with or without a dot before it, is in the class: `$* $=R`.
///
/// The rules would also cut at other operators (`x+example.org` for `example.org`), which no host name has; mail
/// for such a name would leave our domain.
fn ends_in(class: &Class, name: &[u8]) -> bool {
    if class.is_empty() {
        return false;
    }
    let name = lower(name);
    (0..name.len())
        .filter(|&at| at == 0 || name.get(at) == Some(&b'.') || name.get(at - 1) == Some(&b'.'))
        .any(|at| name.get(at..).is_some_and(|tail| class.contains(tail)))
}

/// Whether `name`, or its first tokens, are in the class: `$=R $*`.
fn starts_in(class: &Class, name: &[u8]) -> bool {
    if class.is_empty() {
        return false;
    }
    let name = lower(name);
    (1..=name.len())
        .filter(|&at| at == name.len() || is_boundary(&name, at))
        .any(|at| name.get(..at).is_some_and(|head| class.contains(head)))
}

/// The name in lower case, as classes hold theirs.
fn lower(name: &[u8]) -> Cow<'_, [u8]> {
    match name.iter().any(u8::is_ascii_uppercase) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// Whether a token starts at this place.
fn is_boundary(name: &[u8], at: usize) -> bool {
    let operator = |at: usize| {
        name.get(at)
            .is_some_and(|&o| crate::address::is_operator(o))
    };
    at == 0 || operator(at) || operator(at - 1)
}
