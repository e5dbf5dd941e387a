//! The access map: which keys are asked for, in which order.
//!
//! The walks are those of the rulesets D, A, F, E, U and SearchList in proto.m4;
//! each function says which one it is. An entry found ends a walk whatever its
//! RHS says, but for SKIP where the site has it.

use crate::decision::{LookupError, Step, Trace, Traced};
use crate::map::Map;
use crate::rhs::Rhs;
use crate::site::model::AccessDb;
use crate::table::verdict::is_word;

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

/// The access map of a site, with the options that change how it is searched.
#[derive(Clone, Copy)]
pub struct AccessMap<'a, M> {
    map: &'a Traced<M>,
    options: &'a AccessDb,
}

/// An entry's RHS, if there is an entry.
pub type Lookup = Result<Option<Rhs>, LookupError>;

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
        let bracketed = name.first() == Some(&b'[');
        let mut key = name.to_vec();
        let mut up = 0u8;
        loop {
            let step = match (bracketed, up) {
                (_, 0) => Step::Domain,
                (false, up) => Step::ParentDomain(up),
                (true, _) => Step::Network(parts(&key)),
            };
            let mut found = self.tagged(trace, tag, with, &key, step)?;
            if found.is_none()
                && self.options.lookup_dot_domain
                && !bracketed
                && let Some(parent) = dotted_parent(&key)
            {
                found = self.tagged(trace, tag, with, parent, Step::ParentDomain(up + 1))?;
            }
            if let Some(rhs) = found {
                return Ok(self.unless_skip(rhs));
            }
            let more = if bracketed {
                cut_literal(&mut key)
            } else {
                cut_first_label(&mut key)
            };
            if !more || up == u8::MAX {
                return Ok(None);
            }
            up += 1;
        }
    }

    /// A: an IP address (`192.0.2.1`, `IPv6:2001:db8::1`), then its networks.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn address(&self, trace: &mut Trace, tag: Tag, with: With, address: &[u8]) -> Lookup {
        let mut key = address.to_vec();
        let mut step = Step::Exact;
        while !key.is_empty() {
            if let Some(rhs) = self.tagged(trace, tag, with, &key, step)? {
                return Ok(self.unless_skip(rhs));
            }
            if !cut_address(&mut key) {
                break;
            }
            step = Step::Network(parts(&key));
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
        self.tagged(trace, tag, with, key, step)
    }

    /// A key that is taken as it stands: a tag of the administrator's own (`CITag`) before it.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn raw(&self, trace: &mut Trace, key: &[u8]) -> Lookup {
        self.map.get(trace, key, Step::Exact)
    }

    /// F, and U with an empty domain: `user+detail@domain`, `user+*@domain`, `user@domain`.
    fn full(&self, trace: &mut Trace, tag: Tag, with: With, local: &[u8], domain: &[u8]) -> Lookup {
        let whole = |user: &[u8], middle: &[u8]| [user, middle, b"@", domain].concat();
        let exact = if domain.is_empty() {
            Step::User
        } else {
            Step::Exact
        };
        let found = self.tagged(trace, tag, with, &whole(local, b""), exact)?;
        if found.is_some() {
            return Ok(found);
        }
        let Some((user, _)) = crate::address::split_detail(local) else {
            return Ok(None);
        };
        let found = self.tagged(trace, tag, with, &whole(user, b"+*"), Step::AnyDetail)?;
        if found.is_some() {
            return Ok(found);
        }
        self.tagged(trace, tag, with, &whole(user, b""), Step::NoDetail)
    }

    fn tagged(&self, trace: &mut Trace, tag: Tag, with: With, key: &[u8], step: Step) -> Lookup {
        let word = tag.as_str().as_bytes();
        let mut tagged = Vec::with_capacity(word.len() + 1 + key.len());
        tagged.extend_from_slice(word);
        tagged.push(b':');
        tagged.extend_from_slice(key);
        let found = match tag {
            Tag::AuthInfo => self.map.get_secret(trace, &tagged)?,
            _ => self.map.get(trace, &tagged, step)?,
        };
        let found = found.filter(is_answer);
        if found.is_some() || with == With::TagOnly || key.is_empty() {
            return Ok(found);
        }
        Ok(self.map.get(trace, key, step)?.filter(is_answer))
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

/// Removes the first label; false if there is no parent.
fn cut_first_label(name: &mut Vec<u8>) -> bool {
    match first_dot(name) {
        Some(dot) => {
            name.drain(..=dot);
            true
        }
        None => false,
    }
}

/// The first dot that has something before and after it.
fn first_dot(name: &[u8]) -> Option<usize> {
    let dot = name.iter().skip(1).position(|&octet| octet == b'.')? + 1;
    (dot + 1 < name.len()).then_some(dot)
}

/// Removes the last octet or group of a bracketed literal, and keeps the brackets.
fn cut_literal(key: &mut Vec<u8>) -> bool {
    if key.last() != Some(&b']') || key.first() != Some(&b'[') {
        return false;
    }
    key.pop();
    let mut inner = key.split_off(1);
    // The rules for literals try the dot before the colons, those for addresses the other way round;
    // it is the same for every IP address.
    let more = cut_address(&mut inner);
    key.extend_from_slice(&inner);
    key.push(b']');
    more
}

/// Removes the last octet or group of an IP address: `::x`, `:x` or `.x`.
fn cut_address(key: &mut Vec<u8>) -> bool {
    let Some(at) = key
        .iter()
        .rposition(|&octet| octet == b'.' || octet == b':')
        .filter(|&at| at > 0)
    else {
        return false;
    };
    if at + 1 == key.len() {
        // Only a compressed tail ends so: `2001:db8::` loses both colons, `IPv6:` is the last there is.
        return match key.get(at - 1) {
            Some(b':') if at > 1 => {
                key.truncate(at - 1);
                true
            }
            _ => false,
        };
    }
    let doubled = key.get(at) == Some(&b':') && key.get(at - 1) == Some(&b':') && at > 1;
    key.truncate(if doubled { at - 1 } else { at });
    true
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
