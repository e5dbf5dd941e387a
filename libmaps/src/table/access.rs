//! The access map: which keys are asked for, in which order.
//!
//! The walks are those of the rulesets D, A, F, E, U and SearchList in proto.m4;
//! each function says which one it is. An entry found ends a walk whatever its
//! RHS says, but for SKIP where the site has it.

use crate::decision::{Step, Trace, Traced};
use crate::map::Map;
use crate::rhs::Rhs;
use crate::site::model::AccessDb;
use crate::table::question::{ask, ask_secret};
use crate::table::verdict::is_word;
use crate::tokens;

pub use crate::table::question::Lookup;

/// The first part of an access LHS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the word itself")]
pub enum Tag {
    Connect,
    From,
    To,
    Spam,
    TlsSrv,
    TlsClt,
    TlsRcpt,
    TryTls,
    SrvFeatures,
    CltFeatures,
    TlsSrvFeatures,
    TlsCltFeatures,
    AuthInfo,
    CertIssuer,
    CertSubject,
    GreetPause,
    ClientRate,
    ClientConn,
    Compat,
    Rhs,
}

impl Tag {
    /// Every tag.
    pub const ALL: [Tag; 20] = [
        Tag::Connect,
        Tag::From,
        Tag::To,
        Tag::Spam,
        Tag::TlsSrv,
        Tag::TlsClt,
        Tag::TlsRcpt,
        Tag::TryTls,
        Tag::SrvFeatures,
        Tag::CltFeatures,
        Tag::TlsSrvFeatures,
        Tag::TlsCltFeatures,
        Tag::AuthInfo,
        Tag::CertIssuer,
        Tag::CertSubject,
        Tag::GreetPause,
        Tag::ClientRate,
        Tag::ClientConn,
        Tag::Compat,
        Tag::Rhs,
    ];

    /// The tag as it is written, without the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Tag::Connect => "Connect",
            Tag::From => "From",
            Tag::To => "To",
            Tag::Spam => "Spam",
            Tag::TlsSrv => "TLS_Srv",
            Tag::TlsClt => "TLS_Clt",
            Tag::TlsRcpt => "TLS_Rcpt",
            Tag::TryTls => "Try_TLS",
            Tag::SrvFeatures => "Srv_Features",
            Tag::CltFeatures => "Clt_Features",
            Tag::TlsSrvFeatures => "TLS_Srv_Features",
            Tag::TlsCltFeatures => "TLS_Clt_Features",
            Tag::AuthInfo => "AuthInfo",
            Tag::CertIssuer => "CERTISSUER",
            Tag::CertSubject => "CERTSUBJECT",
            Tag::GreetPause => "GreetPause",
            Tag::ClientRate => "ClientRate",
            Tag::ClientConn => "ClientConn",
            Tag::Compat => "Compat",
            Tag::Rhs => "rhs",
        }
    }
}

/// With what a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// With its tag, then without one (`+` in the rules).
    TagThenBare,
    /// With its tag only (`!`).
    TagOnly,
}

/// One thing to search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// `F:` a local part and a domain, with and without detail.
    Full(&'a [u8], &'a [u8]),
    /// `U:` a local part, with and without detail; the key ends in `@`.
    User(&'a [u8]),
    /// `D:` a domain and its parents, or a literal and its networks.
    Domain(&'a [u8]),
    /// `E:` exactly this; empty for the entry that is a bare tag.
    Exact(&'a [u8]),
    /// `A:` an IP address and its networks.
    Address(&'a [u8]),
}

/// Pieces of the longest key: its tag, a colon, a local part, an `@` and a domain.
const MOST_PIECES: usize = 5;

/// The access map of a site, with the options that change how it is searched.
#[derive(Clone, Copy)]
pub struct AccessMap<'a, M> {
    map: &'a Traced<M>,
    options: &'a AccessDb,
}

impl<'a, M: Map> AccessMap<'a, M> {
    /// The map, and how FEATURE(access_db) says to search it.
    #[must_use]
    pub fn new(map: &'a Traced<M>, options: &'a AccessDb) -> Self {
        AccessMap { map, options }
    }

    /// SearchList: the first of `items` that has an entry.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn search(&self, trace: &mut Trace, tag: Tag, with: With, items: &[Item<'_>]) -> Lookup {
        for item in items {
            let found = match *item {
                Item::Full(local, domain) => self.full(trace, tag, with, local, domain)?,
                Item::User(local) => self.full(trace, tag, with, local, b"")?,
                Item::Domain(name) => self.domain(trace, tag, with, name)?,
                Item::Exact(key) => self.exact(trace, tag, with, key)?,
                Item::Address(address) => self.address(trace, tag, with, address)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// D: a domain, then its parents; a literal in brackets, then its networks.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn domain(&self, trace: &mut Trace, tag: Tag, with: With, name: &[u8]) -> Lookup {
        if name.first() == Some(&b'[') {
            return self.literal(trace, tag, with, name);
        }
        let (mut key, mut up) = (name, 0u8);
        loop {
            let step = match up {
                0 => Step::Domain,
                up => Step::ParentDomain(up),
            };
            let mut found = self.tagged(trace, tag, with, &[key], step)?;
            let parent = dotted_parent(key);
            if found.is_none()
                && self.options.lookup_dot_domain
                && let Some(parent) = parent
            {
                let step = Step::ParentDomain(up.saturating_add(1));
                found = self.tagged(trace, tag, with, &[parent], step)?;
            }
            if let Some(rhs) = found {
                return Ok(self.unless_skip(rhs));
            }
            match parent.and_then(|parent| parent.get(1..)) {
                Some(parent) if up < u8::MAX => key = parent,
                _ => return Ok(None),
            }
            up += 1;
        }
    }

    /// D of a literal: in its brackets, then its networks in theirs.
    fn literal(&self, trace: &mut Trace, tag: Tag, with: With, name: &[u8]) -> Lookup {
        let (mut key, mut step) = (name.to_vec(), Step::Domain);
        // No literal has more octets or groups than a step can tell.
        for _ in 0..=u8::MAX {
            if let Some(rhs) = self.tagged(trace, tag, with, &[&key], step)? {
                return Ok(self.unless_skip(rhs));
            }
            if !cut_literal(&mut key) {
                break;
            }
            step = Step::Network(parts(&key));
        }
        Ok(None)
    }

    /// A: an IP address (`192.0.2.1`, `IPv6:2001:db8::1`), then its networks.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn address(&self, trace: &mut Trace, tag: Tag, with: With, address: &[u8]) -> Lookup {
        let (mut key, mut step) = (address, Step::Exact);
        while !key.is_empty() {
            if let Some(rhs) = self.tagged(trace, tag, with, &[key], step)? {
                return Ok(self.unless_skip(rhs));
            }
            match shorter_address(key) {
                Some(network) => key = network,
                None => break,
            }
            step = Step::Network(parts(key));
        }
        Ok(None)
    }

    /// E: this key and nothing else.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn exact(&self, trace: &mut Trace, tag: Tag, with: With, key: &[u8]) -> Lookup {
        let step = if key.is_empty() {
            Step::Default
        } else {
            Step::Exact
        };
        self.tagged(trace, tag, with, &[key], step)
    }

    /// A key that is taken as it stands: a tag of the administrator's own (`CITag`) before it.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn raw(&self, trace: &mut Trace, key: &[u8]) -> Lookup {
        ask(self.map, trace, &[key], Step::Exact, &[])
    }

    /// F, and U with an empty domain: `user+detail@domain`, `user+*@domain`, `user@domain`.
    fn full(&self, trace: &mut Trace, tag: Tag, with: With, local: &[u8], domain: &[u8]) -> Lookup {
        let exact = if domain.is_empty() {
            Step::User
        } else {
            Step::Exact
        };
        let found = self.tagged(trace, tag, with, &[local, b"@", domain], exact)?;
        if found.is_some() {
            return Ok(found);
        }
        let Some((user, _)) = crate::address::split_detail(local) else {
            return Ok(None);
        };
        let any = [user, b"+*@", domain];
        let found = self.tagged(trace, tag, with, &any, Step::AnyDetail)?;
        if found.is_some() {
            return Ok(found);
        }
        self.tagged(trace, tag, with, &[user, b"@", domain], Step::NoDetail)
    }

    /// The key that the pieces are together, with its tag and without.
    fn tagged<const N: usize>(
        &self,
        trace: &mut Trace,
        tag: Tag,
        with: With,
        key: &[&[u8]; N],
        step: Step,
    ) -> Lookup {
        const { assert!(N + 2 <= MOST_PIECES) };
        let mut tagged = [&b""[..]; MOST_PIECES];
        let word = [tag.as_str().as_bytes(), &b":"[..]];
        for (place, piece) in tagged.iter_mut().zip(word.iter().chain(key)) {
            *place = piece;
        }
        let found = match tag {
            Tag::AuthInfo => ask_secret(self.map, trace, &tagged)?,
            _ => ask(self.map, trace, &tagged, step, &[])?,
        };
        let found = found.filter(is_answer);
        let is_bare = key.iter().all(|piece| piece.is_empty());
        if found.is_some() || with == With::TagOnly || is_bare {
            return Ok(found);
        }
        Ok(ask(self.map, trace, key, step, &[])?.filter(is_answer))
    }

    fn unless_skip(&self, rhs: Rhs) -> Option<Rhs> {
        let skips = self.options.skip && is_word(&rhs, "SKIP");
        (!skips).then_some(rhs)
    }
}

/// The rules write `?` for "not found", and so an RHS of `?` is.
fn is_answer(rhs: &Rhs) -> bool {
    !is_word(rhs, "?")
}

/// `.rest` of a domain, as FEATURE(lookupdotdomain) asks for it.
fn dotted_parent(name: &[u8]) -> Option<&[u8]> {
    let dot = first_dot(name)?;
    name.get(dot..)
}

/// The first dot that has something before and after it.
fn first_dot(name: &[u8]) -> Option<usize> {
    let dot = match tokens::has_quotes(name) {
        // A dot in quotes or behind a backslash is a part of its label.
        true => {
            tokens::tokens(name)
                .skip(1)
                .find(|token| token.is(b'.'))?
                .start
        }
        false => name.iter().skip(1).position(|&octet| octet == b'.')? + 1,
    };
    (dot + 1 < name.len()).then_some(dot)
}

/// Removes the last octet or group of a bracketed literal, and keeps the brackets.
fn cut_literal(key: &mut Vec<u8>) -> bool {
    if key.last() != Some(&b']') || key.first() != Some(&b'[') {
        return false;
    }
    key.pop();
    let inner = key.get(1..).unwrap_or_default();
    // The rules for literals try the dot before the colons, those for addresses the other way round;
    // it is the same for every IP address.
    let shorter = shorter_address(inner).map(<[u8]>::len);
    if let Some(octets) = shorter {
        key.truncate(1 + octets);
    }
    key.push(b']');
    shorter.is_some()
}

/// An IP address without its last octet or group: `::x`, `:x` or `.x`.
fn shorter_address(key: &[u8]) -> Option<&[u8]> {
    let at = key
        .iter()
        .rposition(|&octet| octet == b'.' || octet == b':')
        .filter(|&at| at > 0)?;
    if at + 1 == key.len() {
        // Only a compressed tail ends so: `2001:db8::` loses both colons, `IPv6:` is the last there is.
        return match key.get(at - 1) {
            Some(b':') if at > 1 => key.get(..at - 1),
            _ => None,
        };
    }
    let doubled = key.get(at) == Some(&b':') && key.get(at - 1) == Some(&b':') && at > 1;
    key.get(..if doubled { at - 1 } else { at })
}

/// How many octets or groups stand in the key.
fn parts(key: &[u8]) -> u8 {
    let key = key.strip_prefix(b"[").unwrap_or(key);
    let key = key.strip_suffix(b"]").unwrap_or(key);
    let key = match key.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case(b"ipv6:") => key.get(5..).unwrap_or_default(),
        _ => key,
    };
    let groups = key
        .split(|&octet| octet == b'.' || octet == b':')
        .filter(|part| !part.is_empty())
        .count();
    u8::try_from(groups).unwrap_or(u8::MAX)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
