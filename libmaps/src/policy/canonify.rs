//! Canonical addresses: rulesets 3, 96, Parse0, CanonAddr and ParseRecipient.
//!
//! An address that names this host in a roundabout way (`user%other@here`,
//! `@here:user@other`, `"user@other"@here`) is brought to what it will be
//! delivered as, so that a relay check sees the true destination.

use crate::address::{Address, AddressError, dequoted, is_one_token, unquoted};
use crate::decision::{Found, Step, Trace};
use crate::site::model::Bang;
use crate::table::access::{Tag, With};
use crate::table::verdict::Verdict;

use super::facts::{Answer, Need};
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
    Address(AddressError),
    /// No answer yet, or no map.
    Halt(Halt),
}

impl<T: Into<Halt>> From<T> for Trouble {
    fn from(halt: T) -> Self {
        Trouble::Halt(halt.into())
    }
}

impl From<AddressError> for Trouble {
    fn from(error: AddressError) -> Self {
        Trouble::Address(error)
    }
}

/// CanonAddr: the address in canonical form; what is routed through this host is taken for where it goes.
pub(super) fn canon_addr(
    scene: &Scene<'_>,
    trace: &mut Trace,
    address: &Address,
) -> Result<Canonical, Trouble> {
    let mut address = address.clone();
    for _ in 0..MAX_ROUNDS {
        let canonical = focus(scene, trace, &address)?;
        let Some(inner) = inner_address(scene, &canonical)? else {
            return Ok(canonical);
        };
        match inner {
            Inner::Is(canonical) => return Ok(canonical),
            Inner::Again(next) => address = next,
        }
    }
    Err(AddressError::Route.into())
}

/// ParseRecipient: CanonAddr, and hosts that are relayed to are looked through as well.
pub(super) fn parse_recipient(
    scene: &Scene<'_>,
    trace: &mut Trace,
    address: &Address,
) -> Result<Canonical, Trouble> {
    let mut address = address.clone();
    for _ in 0..MAX_ROUNDS {
        let mut canonical = canon_addr(scene, trace, &address)?;
        let Some(domain) = &canonical.domain else {
            return Ok(canonical);
        };
        if let Some(plain) = dequoted(&canonical.local) {
            canonical.local = plain;
        }
        if !has_route(scene, &canonical.local) || !relays_to(scene, trace, domain)? {
            return Ok(canonical);
        }
        address = Address::parse(&bracketed(&canonical.local))?;
    }
    Err(AddressError::Route.into())
}

/// What a local part of this host turns out to be.
enum Inner {
    Is(Canonical),
    Again(Address),
}

/// Parse0, second half: is there an address in the local part of an address of this host?
fn inner_address(scene: &Scene<'_>, canonical: &Canonical) -> Result<Option<Inner>, Trouble> {
    let local_host = match &canonical.domain {
        None => true,
        Some(domain) => {
            canonical.fixed == Fixed::Yes && scene.site().classes.local_hosts.contains(domain)
        }
    };
    if !local_host {
        return Ok(None);
    }
    let plain = dequoted(&canonical.local);
    let local = plain.as_deref().unwrap_or(&canonical.local);
    if has_route(scene, local) {
        return Ok(Some(Inner::Again(Address::parse(&bracketed(local))?)));
    }
    Ok(plain.map(|local| {
        Inner::Is(Canonical {
            local,
            domain: canonical.domain.clone(),
            fixed: canonical.fixed,
        })
    }))
}

/// Ruleset 3: finds the domain, and Canonify2 makes it canonical.
fn focus(scene: &Scene<'_>, trace: &mut Trace, address: &Address) -> Result<Canonical, Trouble> {
    if let Some(domain) = address.domain() {
        return canonify2(scene, trace, address.local(), domain.as_bytes());
    }
    let local = address.local();
    if scene.site().features.nouucp.is_none()
        && let Some((host, user)) = split_bang(local)
    {
        if user.is_empty() || host.is_empty() {
            return Err(AddressError::NoUser.into());
        }
        let mut domain = host.to_vec();
        if !is_dotted(host) {
            domain.extend_from_slice(b".UUCP");
        }
        return canonify2(scene, trace, user, &domain);
    }
    if scene.site().features.nopercenthack.is_none() {
        let percent = unquoted(local).filter(|&(_, octet)| octet == b'%').last();
        if let Some((at, _)) = percent {
            let user = local.get(..at).unwrap_or_default();
            let host = local.get(at + 1..).unwrap_or_default();
            if user.is_empty() {
                return Err(AddressError::NoUser.into());
            }
            if host.is_empty() {
                let again = Address::parse(&bracketed(user))?;
                return focus(scene, trace, &again);
            }
            return canonify2(scene, trace, user, host);
        }
    }
    Ok(Canonical {
        local: local.to_vec(),
        domain: None,
        fixed: Fixed::No,
    })
}

/// Canonify2 (ruleset 96).
fn canonify2(
    scene: &Scene<'_>,
    trace: &mut Trace,
    local: &[u8],
    domain: &[u8],
) -> Result<Canonical, Trouble> {
    let site = scene.site();
    let done = |domain: &[u8], fixed| Canonical {
        local: local.to_vec(),
        domain: Some(trimmed(domain).to_vec()),
        fixed,
    };
    let here = site.host_name.as_bytes();
    if is_localhost(scene, domain) {
        return Ok(done(here, Fixed::Yes));
    }
    if domain.first() == Some(&b'[') {
        let own = site.classes.local_hosts.contains(domain);
        return Ok(if own {
            done(here, Fixed::Yes)
        } else {
            done(domain, Fixed::No)
        });
    }
    let mapped;
    let mut domain = domain;
    if let Some(table) = &scene.policy.maps.domaintable
        && let Some(rhs) = table.get(trace, domain, Step::Domain)?
    {
        mapped = rhs.into_bytes();
        domain = &mapped;
    }
    if site.features.nouucp.is_none()
        && let Some(host) = strip_suffix(domain, b".UUCP")
    {
        if site.relays.uucp.is_none()
            && site.features.nocanonify.is_none()
            && let Some(name) = host_name(scene, trace, host)?
        {
            return Ok(done(&name, Fixed::Yes));
        }
        return Ok(done(domain, Fixed::Yes));
    }
    let dotted = domain.last() == Some(&b'.');
    if dotted || ends_in(&site.classes.pseudo_domains, domain) {
        return Ok(done(domain, Fixed::Yes));
    }
    let (domain, mut fixed) = ask_name(scene, trace, domain)?;
    let classes = &site.classes;
    let features = &site.features;
    let in_class = |class, entire: bool| {
        if entire {
            ends_in(class, &domain)
        } else {
            class.contains(&domain)
        }
    };
    if fixed == Fixed::No
        && (classes.local_hosts.contains(&domain)
            || in_class(&classes.masquerade_domains, site.masquerade.entire_domain)
            || features.virtusertable.is_some()
                && in_class(&classes.virtual_hosts, features.virtuser_entire_domain)
            || features.genericstable.is_some()
                && in_class(&classes.generics_domains, features.generics_entire_domain))
    {
        fixed = Fixed::Yes;
    }
    Ok(done(&domain, fixed))
}

/// The part of Canonify2 that may ask the resolver.
fn ask_name(
    scene: &Scene<'_>,
    trace: &mut Trace,
    domain: &[u8],
) -> Result<(Vec<u8>, Fixed), Trouble> {
    let site = scene.site();
    let as_is = |fixed| Ok((domain.to_vec(), fixed));
    let asks = match &site.features.nocanonify {
        Some(nocanonify) => {
            ends_in(&site.classes.canonify_domains, domain)
                || scene.session.daemon_flag("c")
                || !is_dotted(domain) && nocanonify.canonify_hosts
        }
        None => !scene.session.daemon_flag("CC"),
    };
    if !asks {
        return as_is(if is_dotted(domain) {
            Fixed::Yes
        } else {
            Fixed::No
        });
    }
    match host_name(scene, trace, domain)? {
        Some(name) => Ok((name, Fixed::Yes)),
        None => as_is(Fixed::No),
    }
}

/// `$[ host $]`: the canonical name, if the resolver knows one; `None` also while it can't tell.
pub(super) fn host_name(
    scene: &Scene<'_>,
    trace: &mut Trace,
    host: &[u8],
) -> Result<Option<Vec<u8>>, Halt> {
    let answer = scene.facts.get(Need::Host(host.into()))?;
    let name = match answer {
        Answer::Found(names) => names.first().map(|name| trimmed(name).to_vec()),
        Answer::NotFound | Answer::Temporary => None,
    };
    let found = match (&name, answer) {
        (Some(name), _) if name.eq_ignore_ascii_case(host) => Found::Yes,
        (Some(name), _) => Found::Text(String::from_utf8_lossy(name).into()),
        (None, Answer::Temporary) => Found::Text("no answer now".into()),
        (None, _) => Found::Nothing,
    };
    trace.fact("canonical name", host, found);
    Ok(name)
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

/// Whether this host is a best mail exchanger of the domain.
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
        Answer::NotFound | Answer::Temporary => false,
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
    let features = &scene.site().features;
    unquoted(local).any(|(_, octet)| match octet {
        b'@' => true,
        b'%' => features.nopercenthack.is_none(),
        b'!' => features.nouucp.is_none(),
        _ => false,
    })
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

fn split_bang(local: &[u8]) -> Option<(&[u8], &[u8])> {
    let bang = unquoted(local).find(|&(_, octet)| octet == b'!')?.0;
    Some((local.get(..bang)?, local.get(bang + 1..)?))
}

fn bracketed(local: &[u8]) -> Vec<u8> {
    [b"<", local, b">"].concat()
}

fn is_dotted(domain: &[u8]) -> bool {
    !is_one_token(domain) && domain.contains(&b'.')
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

fn strip_suffix<'a>(text: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let at = text.len().checked_sub(suffix.len())?;
    let (head, tail) = text.split_at_checked(at)?;
    (tail.eq_ignore_ascii_case(suffix) && !head.is_empty()).then_some(head)
}
