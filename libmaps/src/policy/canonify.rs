//! Canonical addresses: rulesets 3, 96, Parse0, CanonAddr and ParseRecipient.
//!
//! An address that names this host in a roundabout way (`user%other@here`,
//! `@here:user@other`, `"user@other"@here`) is brought to what it will be
//! delivered as, so that a relay check sees the true destination.

use std::sync::{Arc, Mutex, PoisonError};

use crate::address::{Address, unquoted};
use crate::decision::{Found, LookupError, Trace};
use crate::map::Map;
use crate::site::model::Bang;
use crate::table::access::{Tag, With};
use crate::table::domaintable::DomainTable;
use crate::table::verdict::{Refusal, Verdict};
use crate::tokens::{self, TokenError, tidy};

use super::facts::{Answer, Facts, Need};
use super::route::canonify::{Addressing, Canonical as Rewritten, Host, HostNames, Mailbox};
use super::route::parse::{Resolved, Step};
use super::route::tables::RouteTables;
use super::route::{self, dequote};
use super::{Halt, Scene, ends_in};

/// How often an address may turn out to name this host, and be looked into again.
const MAX_ROUNDS: usize = 50;

/// An address in canonical form: `local`, or `local@domain` without the dot at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The local part.
    pub local: Vec<u8>,
    /// The domain, without a dot at its end.
    pub domain: Option<Vec<u8>>,
    /// Whether the domain is known to be canonical (`host.` in sendmail's rules).
    pub fixed: Fixed,
}

/// Whether a domain is known to be canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// It is: local, a pseudo-domain, or DNS said so.
    Yes,
    /// Nothing is known about it.
    No,
}

impl Canonical {
    /// `local@domain`.
    #[must_use]
    pub fn address(&self) -> Vec<u8> {
        let mut text = self.local.clone();
        if let Some(domain) = &self.domain {
            text.push(b'@');
            text.extend_from_slice(domain);
        }
        text
    }
}

/// What stops canonicalisation.
pub(super) enum Trouble {
    /// Not an address after all.
    Refused(Refusal),
    /// No answer yet, or no map.
    Halt(Halt),
}

impl<T: Into<Halt>> From<T> for Trouble {
    fn from(halt: T) -> Self {
        Trouble::Halt(halt.into())
    }
}

impl From<route::parse::Refusal> for Trouble {
    fn from(refusal: route::parse::Refusal) -> Self {
        let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let at = refusal.status.as_deref().map(shown).unwrap_or_default();
        Trouble::Refused(Refusal::new(&at, &shown(&refusal.text)))
    }
}

impl From<TokenError> for Trouble {
    fn from(error: TokenError) -> Self {
        Trouble::Refused(Refusal::new("5.1.3", &format!("553 {error}")))
    }
}

/// CanonAddr: the address in canonical form; what is routed through this host is taken for where it goes.
///
/// The reading is that of `route`, so that what is checked is what is delivered.
pub(super) fn canon_addr(
    scene: &Scene<'_>,
    trace: &mut Trace,
    address: &Address,
) -> Result<Canonical, Trouble> {
    canonical_of(scene, trace, &tidy(address.written())?)
}

/// ParseRecipient: CanonAddr, and hosts that are relayed to are looked through as well.
pub(super) fn parse_recipient(
    scene: &Scene<'_>,
    trace: &mut Trace,
    address: &Address,
) -> Result<Canonical, Trouble> {
    let mut text = tidy(address.written())?;
    for _ in 0..MAX_ROUNDS {
        let mut canonical = canonical_of(scene, trace, &text)?;
        let Some(domain) = &canonical.domain else {
            return Ok(canonical);
        };
        if tokens::is_single(&canonical.local) {
            canonical.local = dequote(&canonical.local);
        }
        if !has_route(scene, &canonical.local) || !relays_to(scene, trace, domain)? {
            return Ok(canonical);
        }
        text = canonical.local;
    }
    Err(Trouble::Refused(Refusal::new(
        "5.1.3",
        "553 Invalid route address",
    )))
}

/// The domain of `$f`: what ruleset 3 makes of the sender's, `localhost` being this host.
pub(super) fn rewritten_domain(
    scene: &Scene<'_>,
    trace: &mut Trace,
    sender: &Address,
) -> Result<Option<Vec<u8>>, Trouble> {
    let text = tidy(sender.written())?;
    // What is asked for here is asked for again, and noted, when the address is looked for, unless
    // it ends here.
    let mut unnoted = Trace::new();
    let canonical = with_addressing(scene, &mut unnoted, |addressing, trace| {
        addressing.canonify_tidy(&text, trace)
    });
    if canonical.is_err() {
        trace.extend(unnoted);
    }
    Ok(match canonical? {
        Rewritten::Mailbox(Mailbox {
            host: Some(Host::Name { text, .. }),
            ..
        }) => Some(text),
        _ => None,
    })
}

/// CanonAddr of a text in tidy spelling.
fn canonical_of(scene: &Scene<'_>, trace: &mut Trace, text: &[u8]) -> Result<Canonical, Trouble> {
    let step = with_addressing(scene, trace, |addressing, trace| {
        addressing.canon_addr(text, trace)
    })?;
    let mailbox = match step {
        Step::Go(mailbox) => mailbox,
        Step::Done(Resolved::Error(refusal)) => return Err(refusal.into()),
        // Nobody, or an address that leads on for ever.
        Step::Done(Resolved::Triple(_)) => {
            let refusal = Refusal::new("5.1.3", "553 Invalid route address");
            return Err(Trouble::Refused(refusal));
        }
    };
    let (domain, fixed) = match mailbox.host {
        None | Some(Host::Here) => (None, Fixed::No),
        Some(Host::Name { text, canonical }) => {
            let fixed = if canonical { Fixed::Yes } else { Fixed::No };
            (Some(text), fixed)
        }
    };
    Ok(Canonical {
        local: mailbox.local,
        domain,
        fixed,
    })
}

/// Reads an address with the domaintable and the names that are known; the names that it took are
/// noted.
fn with_addressing<T>(
    scene: &Scene<'_>,
    trace: &mut Trace,
    read: impl FnOnce(Addressing<'_, Arc<dyn Map>>, &mut Trace) -> Result<T, LookupError>,
) -> Result<T, Trouble> {
    let names = KnownNames {
        facts: scene.facts,
        asked: Mutex::new(Vec::new()),
    };
    let tables: RouteTables<Arc<dyn Map>> = RouteTables {
        domaintable: scene.policy.maps.domaintable.clone().map(DomainTable::of),
        ..RouteTables::default()
    };
    let addressing = Addressing {
        site: scene.site(),
        tables: &tables,
        names: &names,
        daemon_flags: &scene.session.daemon_flags,
    };
    let done = read(addressing, trace);
    let asked = names.asked.into_inner();
    for (host, known) in asked.unwrap_or_else(PoisonError::into_inner) {
        let answer = known?;
        trace.fact("canonical name", &host, shown_answer(&host, answer));
    }
    Ok(done?)
}

/// Names out of the facts; what was asked is kept, and so is that an answer is lacking.
struct KnownNames<'a> {
    facts: &'a Facts,
    asked: Mutex<Vec<Asked<'a>>>,
}

/// A host, and what is known of it.
type Asked<'a> = (Box<[u8]>, Result<&'a Answer, Need>);

impl HostNames for KnownNames<'_> {
    fn canonical(&self, host: &[u8]) -> Option<Vec<u8>> {
        let answer = self.facts.host(host);
        let name = answer.as_ref().ok().and_then(|answer| name_in(answer));
        let name = name.map(<[u8]>::to_vec);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((host.into(), answer));
        name
    }
}

/// The canonical name that an answer gives.
fn name_in(answer: &Answer) -> Option<&[u8]> {
    match answer {
        Answer::Found(names) => names.first().map(|name| trimmed(name)),
        Answer::NotFound | Answer::Temporary => None,
    }
}

/// The answer about a host, as a trace shows it.
fn shown_answer(host: &[u8], answer: &Answer) -> Found {
    match (name_in(answer), answer) {
        (Some(name), _) if name.eq_ignore_ascii_case(host) => Found::Yes,
        (Some(name), _) => Found::Text(String::from_utf8_lossy(name).into()),
        (None, Answer::Temporary) => Found::Text("no answer now".into()),
        (None, _) => Found::Nothing,
    }
}

/// `$[ host $]`: the canonical name, if the resolver knows one; `None` also while it can't tell.
pub(super) fn host_name(
    scene: &Scene<'_>,
    trace: &mut Trace,
    host: &[u8],
) -> Result<Option<Vec<u8>>, Halt> {
    let answer = scene.facts.host(host)?;
    trace.fact("canonical name", host, shown_answer(host, answer));
    Ok(name_in(answer).map(<[u8]>::to_vec))
}

/// Whether the domain is one that recipients may be relayed to: class R, class m, the access map, MX.
fn relays_to(scene: &Scene<'_>, trace: &mut Trace, domain: &[u8]) -> Result<bool, Halt> {
    let site = scene.site();
    let (classes, features) = (&site.classes, &site.features);
    if features.relay_entire_domain && ends_in(&classes.local_domains, domain) {
        return Ok(true);
    }
    let in_class = if features.relay_hosts_only {
        classes.relay_domains.contains(domain)
    } else {
        ends_in(&classes.relay_domains, domain)
    };
    if in_class {
        return Ok(true);
    }
    if let Some(access) = scene.policy.maps.access(site) {
        let found = if features.relay_hosts_only {
            access.exact(trace, Tag::To, With::TagThenBare, domain)?
        } else {
            access.domain(trace, Tag::To, With::TagThenBare, domain)?
        };
        if let Some(rhs) = found {
            return Ok(Verdict::parse(rhs.as_bytes()) == Verdict::Relay);
        }
    }
    Ok(features.relay_based_on_mx && mx_is_here(scene, trace, domain)?)
}

/// Whether this host is a best mail exchanger of the domain; [`Halt::Exchangers`] while nobody can tell.
pub(super) fn mx_is_here(
    scene: &Scene<'_>,
    trace: &mut Trace,
    domain: &[u8],
) -> Result<bool, Halt> {
    let answer = scene.facts.get(Need::BestMx(domain.into()))?;
    let here = match answer {
        Answer::Found(names) => names
            .iter()
            .any(|name| scene.site().classes.local_hosts.contains(trimmed(name))),
        Answer::NotFound => false,
        Answer::Temporary => {
            let found = Found::Text("no answer now".into());
            trace.fact("this host is the best MX", domain, found);
            return Err(Halt::Exchangers(domain.into()));
        }
    };
    trace.fact(
        "this host is the best MX",
        domain,
        if here { Found::Yes } else { Found::Nothing },
    );
    Ok(here)
}

/// `localhost`, `localhost.DOMAIN` and `localhost.UUCP`.
pub(super) fn is_localhost(scene: &Scene<'_>, domain: &[u8]) -> bool {
    let site = scene.site();
    if domain.eq_ignore_ascii_case(b"localhost") {
        return true;
    }
    let Some(rest) = strip_prefix(domain, b"localhost.") else {
        return false;
    };
    !rest.is_empty()
        && (rest.eq_ignore_ascii_case(site.domain.as_bytes())
            || site.features.nouucp.is_none() && rest.eq_ignore_ascii_case(b"UUCP"))
}

/// Whether a token of the local part names another host: class O.
fn has_route(scene: &Scene<'_>, local: &[u8]) -> bool {
    route::parse::leads_on(scene.site(), local)
}

/// Whether FEATURE(nouucp, reject) or FEATURE(nopercenthack, reject) has a word to say about a local part,
/// and which pseudo-domain it then goes to.
pub(super) fn rejected_route(scene: &Scene<'_>, local: &[u8]) -> Option<&'static [u8]> {
    let features = &scene.site().features;
    let has = |wanted: u8| unquoted(local).any(|(_, octet)| octet == wanted);
    if features.nouucp == Some(Bang::Reject) && has(b'!') {
        return Some(b"BANG_PATH");
    }
    if features.nopercenthack == Some(Bang::Reject) && has(b'%') {
        return Some(b"PERCENT_HACK");
    }
    None
}

/// Without the dots at its end.
fn trimmed(mut domain: &[u8]) -> &[u8] {
    while let Some(rest) = domain.strip_suffix(b".") {
        if rest.is_empty() {
            break;
        }
        domain = rest;
    }
    domain
}

fn strip_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}
