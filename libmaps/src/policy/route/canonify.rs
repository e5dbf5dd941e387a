//! `canonify` (ruleset 3): any spelling of an address to a local part and a host.
//!
//! Phrases, comments and source routes go; `a!b` and `a%b@c` get their host;
//! the host becomes canonical where the hosts file or DNS knows it.

use crate::decision::{LookupError, Trace};
use crate::map::Map;
use crate::policy::route::strip::{Stripped, strip};
use crate::policy::route::tables::RouteTables;
use crate::site::Site;
use crate::site::hosts::Hosts;
use crate::site::model::Class;
use crate::tokens::{self, TokenError, tidy, tokens};

/// Who knows the canonical names of hosts (`$[name$]`): the hosts file, DNS, or what was asked of it before.
pub trait HostNames: Sync {
    /// The canonical name of a host, which has no quotes, without a final dot; nothing if there is
    /// none such.
    fn canonical(&self, host: &[u8]) -> Option<Vec<u8>>;
}

/// The hosts file and nothing else, as `hosts files` in `service.switch` orders.
#[derive(Clone, Copy)]
pub struct HostsOnly<'a> {
    /// The file.
    pub hosts: &'a Hosts,
    /// `$m`, added to a canonical name without a dot.
    pub domain: &'a str,
}

impl HostNames for HostsOnly<'_> {
    fn canonical(&self, host: &[u8]) -> Option<Vec<u8>> {
        let host = std::str::from_utf8(host).ok()?;
        let name = self.hosts.canonical(host, self.domain)?;
        Some(name.to_ascii_lowercase().into_bytes())
    }
}

/// Nobody: hosts stay as they are written.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl HostNames for NoNames {
    fn canonical(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// The host of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This host, for an address that was written without one (`*LOCAL*` in the rules).
    Here,
    /// A name or a literal.
    Name {
        /// The text, without a final dot.
        text: Vec<u8>,
        /// Whether nothing more can be found out about it (a final dot in the rules).
        canonical: bool,
    },
}

impl Host {
    pub(crate) fn canonical(text: impl Into<Vec<u8>>) -> Self {
        Host::Name {
            text: text.into(),
            canonical: true,
        }
    }

    pub(crate) fn plain(text: impl Into<Vec<u8>>) -> Self {
        Host::Name {
            text: text.into(),
            canonical: false,
        }
    }

    /// The text if the host is canonical.
    pub(crate) fn if_canonical(&self) -> Option<&[u8]> {
        match self {
            Host::Name {
                text,
                canonical: true,
            } => Some(text),
            _ => None,
        }
    }

    /// As the rules see it: with its final dot.
    pub(crate) fn dotted(&self) -> Vec<u8> {
        match self {
            Host::Here => b"*LOCAL*".to_vec(),
            Host::Name { text, canonical } => {
                let dot: &[u8] = if *canonical { b"." } else { b"" };
                [text, dot].concat()
            }
        }
    }
}

/// A local part and perhaps a host; both in tidy spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// What stands before the host.
    pub local: Vec<u8>,
    /// The host.
    pub host: Option<Host>,
}

impl Mailbox {
    pub(crate) fn new(local: impl Into<Vec<u8>>, host: Option<Host>) -> Self {
        Mailbox {
            local: local.into(),
            host,
        }
    }
}

/// An address after ruleset 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Canonical {
    /// The null address `<>`.
    Null,
    /// `list:;`, with the list's name.
    List(Vec<u8>),
    /// An address.
    Mailbox(Mailbox),
}

/// What addresses are read with: the site, its tables and the names of hosts.
pub struct Addressing<'a, M> {
    /// The site.
    pub site: &'a Site,
    /// Its tables.
    pub tables: &'a RouteTables<M>,
    /// Who knows host names.
    pub names: &'a dyn HostNames,
    /// `${daemon_flags}`: `CC` keeps host names as they are, `c` makes them canonical in spite of FEATURE(nocanonify).
    pub daemon_flags: &'a str,
}

impl<M> Clone for Addressing<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Addressing<'_, M> {}

impl<M: Map> Addressing<'_, M> {
    /// Brings an address into canonical form.
    ///
    /// # Errors
    /// When the domaintable can't be read. An address that can't be read is the inner error.
    pub fn canonify(
        &self,
        raw: &[u8],
        trace: &mut Trace,
    ) -> Result<Result<Canonical, TokenError>, LookupError> {
        match tidy(raw) {
            Ok(text) => self.canonify_tidy(&text, trace).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    pub(crate) fn canonify_tidy(
        &self,
        text: &[u8],
        trace: &mut Trace,
    ) -> Result<Canonical, LookupError> {
        let Stripped::Address(text) = strip(text) else {
            return Ok(match strip(text) {
                Stripped::List(name) => Canonical::List(name),
                _ => Canonical::Null,
            });
        };
        let (local, host) = self.split(&text);
        let host = match host {
            Some(host) => Some(self.canonify_host(host, trace)?),
            None => None,
        };
        Ok(Canonical::Mailbox(Mailbox { local, host }))
    }

    /// Finds the host of an address that has neither phrase nor route.
    fn split(&self, text: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        let cut = |start: usize, end: usize| {
            let before = tokens::trim(text.get(..start).unwrap_or_default());
            let after = tokens::trim(text.get(end..).unwrap_or_default());
            (before.to_vec(), after.to_vec())
        };
        if let Some((start, end)) = last_at(text) {
            let (local, host) = cut(start, end);
            return (local, Some(host));
        }
        if self.site.features.nouucp.is_none()
            && let Some((host, local)) = split_bang(text)
        {
            return (local, Some(host));
        }
        let percent = if self.site.features.nopercenthack.is_none() {
            last_operator(text, b"@%")
        } else {
            last_operator(text, b"@")
        };
        let Some((start, end)) = percent else {
            return (text.to_vec(), None);
        };
        let (local, host) = cut(start, end);
        // All but the last become percent signs.
        (replace_operator(&local, b'@', b'%'), Some(host))
    }

    /// The bottom half of ruleset 3: what is known of a host.
    fn canonify_host(&self, host: Vec<u8>, trace: &mut Trace) -> Result<Host, LookupError> {
        let site = self.site;
        let mut host = self.not_localhost(host);
        if is_literal(&host) {
            if site.classes.local_hosts.contains(&host) {
                host = dotted(&site.host_name);
            } else {
                return Ok(Host::plain(host));
            }
        }
        if let Some(table) = &self.tables.domaintable
            && let Some(found) = table.replacement(&host, trace)?
        {
            host = tidy(&found).unwrap_or(found);
        }
        let pseudo = &site.classes.pseudo_domains;
        if site.features.nouucp.is_none()
            && let Some(name) = ends_in_label(&host, b"UUCP")
        {
            if site.relays.uucp.is_some() {
                return Ok(Host::canonical(host));
            }
            if let Some(found) = self.name_of(name) {
                return Ok(Host::canonical(found));
            }
            host.push(b'.');
        }
        let ends_in_pseudo = ends_in(&host, b".") || suffix_in(&host, pseudo);
        let mut canonical = ends_in_pseudo;
        if !ends_in_pseudo && !tokens::is_empty(&host) {
            canonical = self.look_up(&mut host);
        }
        canonical |= ends_in(&host, b".");
        while ends_in(&host, b".") {
            host.pop();
        }
        let in_class = |class: &Class, entire: bool| {
            if entire {
                suffix_in(&host, class)
            } else {
                class.contains(&host)
            }
        };
        let features = &site.features;
        canonical = canonical
            || site.classes.local_hosts.contains(&host)
            || in_class(
                &site.classes.masquerade_domains,
                site.masquerade.entire_domain,
            )
            || (features.virtusertable.is_some()
                && in_class(&site.classes.virtual_hosts, features.virtuser_entire_domain))
            || (features.genericstable.is_some()
                && in_class(
                    &site.classes.generics_domains,
                    features.generics_entire_domain,
                ));
        Ok(Host::Name {
            text: host,
            canonical,
        })
    }

    /// `localhost` and its spellings are this host.
    fn not_localhost(&self, host: Vec<u8>) -> Vec<u8> {
        let Some((first, rest)) = tokens::split_token(&host) else {
            return host;
        };
        if !first.eq_ignore_ascii_case(b"localhost") {
            return host;
        }
        let domain = rest.strip_prefix(b".").unwrap_or_default();
        let uucp = self.site.features.nouucp.is_none() && domain.eq_ignore_ascii_case(b"UUCP");
        let ours = !domain.is_empty() && domain.eq_ignore_ascii_case(self.site.domain.as_bytes());
        if rest.is_empty() || ours || uucp {
            return dotted(&self.site.host_name);
        }
        host
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.daemon_flags
            .split_ascii_whitespace()
            .any(|f| f == flag)
    }

    /// `$[ host $]`: as a key of a map, a host is asked for without quotes and backslashes.
    fn name_of(&self, host: &[u8]) -> Option<Vec<u8>> {
        self.names.canonical(&tokens::strip_quotes(host))
    }

    /// Asks for the canonical name where the site wants that; says whether the host is canonical now.
    fn look_up(&self, host: &mut Vec<u8>) -> bool {
        let qualified = tokens(host).skip(1).any(|token| token.is(b'.'));
        let ask = match &self.site.features.nocanonify {
            None if self.has_flag("CC") => return qualified,
            None => true,
            Some(nocanonify) => {
                if suffix_in(host, &self.site.classes.canonify_domains) || self.has_flag("c") {
                    true
                } else if qualified {
                    return true;
                } else {
                    nocanonify.canonify_hosts
                }
            }
        };
        if !ask {
            return false;
        }
        match self.name_of(host) {
            Some(found) => {
                *host = found;
                true
            }
            None => false,
        }
    }
}

fn dotted(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"."].concat()
}

/// The last `@` with something before and behind it.
fn last_at(text: &[u8]) -> Option<(usize, usize)> {
    let (mut last, mut perhaps) = (None, None);
    for (number, token) in tokens(text).enumerate() {
        last = perhaps.take().or(last);
        if number > 0 && token.is(b'@') {
            perhaps = Some((token.start, token.end));
        }
    }
    last
}

/// Host and local part of `host!user`.
fn split_bang(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let all: Vec<_> = tokens(text).collect();
    let uucp = |host: &[u8]| [host, b".UUCP"].concat();
    let bang = |at: usize| {
        let token = all.get(at).filter(|token| token.is(b'!'))?;
        let before = tokens::trim(text.get(..token.start)?);
        let after = tokens::trim(text.get(token.end..)?);
        (at > 0 && !after.is_empty()).then_some((before, after))
    };
    if let Some((host, user)) = bang(1) {
        return Some((uucp(host), user.to_vec()));
    }
    // A domain before the bang needs no .UUCP.
    for at in 3..all.len() {
        if all.get(at - 2).is_some_and(|token| token.is(b'.'))
            && let Some((host, user)) = bang(at)
        {
            return Some((host.to_vec(), user.to_vec()));
        }
    }
    (1..all.len())
        .find_map(bang)
        .map(|(host, user)| (uucp(host), user.to_vec()))
}

fn last_operator(text: &[u8], operators: &[u8]) -> Option<(usize, usize)> {
    tokens(text)
        .filter(|token| operators.iter().any(|operator| token.is(*operator)))
        .last()
        .map(|token| (token.start, token.end))
}

fn replace_operator(text: &[u8], from: u8, to: u8) -> Vec<u8> {
    let mut out = text.to_vec();
    for token in tokens(text).filter(|token| token.is(from)) {
        if let Some(octet) = out.get_mut(token.start) {
            *octet = to;
        }
    }
    out
}

/// `[...]` and nothing else.
pub(crate) fn is_literal(host: &[u8]) -> bool {
    host.len() > 2 && host.starts_with(b"[") && host.ends_with(b"]")
}

/// Whether the last token is this operator.
pub(super) fn ends_in(text: &[u8], operator: &[u8; 1]) -> bool {
    text.ends_with(operator)
        && (!text.iter().any(|octet| matches!(octet, b'\\' | b'"'))
            || tokens(text)
                .last()
                .is_some_and(|token| token.is(operator[0])))
}

/// What stands before `.label` at the end; a final dot after it is allowed.
fn ends_in_label<'a>(host: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    let at = host.len().checked_sub(label.len() + 1)?;
    let (name, last) = host.split_at_checked(at)?;
    let is_label = last.first() == Some(&b'.') && last.get(1..)?.eq_ignore_ascii_case(label);
    (is_label && !name.is_empty()).then_some(name)
}

/// Whether the class holds the host or a part of it that starts at a token.
pub(crate) fn suffix_in(host: &[u8], class: &Class) -> bool {
    !class.is_empty()
        && tokens(host).any(|token| class.contains(host.get(token.start..).unwrap_or_default()))
}

#[cfg(test)]
#[path = "canonify_tests.rs"]
mod tests;
