//! Envelope addresses: the arguments of MAIL and RCPT, taken apart.
//!
//! Parsing follows sendmail (`prescan` and the site-independent half of rulesets
//! 3 and 0 in proto.m4) where it is more forgiving than RFC 5321 section 4.1.2:
//! angle brackets may be missing, comments and source routes are dropped, blanks
//! within a local part become dots. What depends on the site (the `%` hack, `!`,
//! local names) is left to `policy::canonify`.
//!
//! Every function here is linear in its input and refuses what is longer than
//! [`MAX_ADDRESS_OCTETS`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::reply::Status;
use crate::rhs::fmt_bytes;

/// The longest address, in octets: a path of RFC 5321 section 4.5.3.1.3.
pub const MAX_ADDRESS_OCTETS: usize = 256;

/// A reverse-path: whom errors go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: nobody.
    Null,
    /// An address.
    Address(Address),
}

impl ReversePath {
    /// Parses the argument of MAIL, with or without its angle brackets; nothing at all is the null sender.
    ///
    /// # Errors
    /// When it is no address; the error has the reply's status and text.
    pub fn parse(text: &[u8]) -> Result<Self, AddressError> {
        match parse(text)? {
            Some(address) => Ok(ReversePath::Address(address)),
            None => Ok(ReversePath::Null),
        }
    }
}

/// An address: a local part, and mostly a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    written: Box<[u8]>,
    local: Box<[u8]>,
    domain: Option<Domain>,
}

impl Address {
    /// Parses the argument of RCPT, with or without its angle brackets.
    ///
    /// # Errors
    /// When it is no address, or the empty one.
    pub fn parse(text: &[u8]) -> Result<Self, AddressError> {
        parse(text)?.ok_or(AddressError::NoUser)
    }

    /// What stands before the last `@`, quotes and all; it is never empty.
    #[must_use]
    pub fn local(&self) -> &[u8] {
        &self.local
    }

    /// What stands after the last `@`.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// The text that this was read from. Rules that read addresses on their own read this, so that
    /// what one rule checks is what the next one routes.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// The user and the detail of `user+detail`; the detail may be empty.
    #[must_use]
    pub fn detail(&self) -> Option<(&[u8], &[u8])> {
        split_detail(&self.local)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_bytes(&self.local, f)?;
        match &self.domain {
            Some(domain) => write!(f, "@{domain}"),
            None => Ok(()),
        }
    }
}

/// A domain as it was written: a name, perhaps with a dot at its end, or an address literal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Domain(Box<[u8]>);

impl Domain {
    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The IP address of a literal, in whatever spelling (RFC 5321 section 4.1.3).
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        parse_literal(&self.0)
    }

    /// Whether it is written in brackets, with an IP address inside or not.
    #[must_use]
    pub fn is_bracketed(&self) -> bool {
        self.0.first() == Some(&b'[') && self.0.last() == Some(&b']')
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_bytes(&self.0, f)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({self})")
    }
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than [`MAX_ADDRESS_OCTETS`].
    #[error("Address too long")]
    TooLong,
    /// A NUL, CR, LF or another control octet.
    #[error("Invalid characters in address")]
    Control,
    /// A quote that has no end.
    #[error("Unbalanced '\"'")]
    Quote,
    /// A bracket without its other half.
    #[error("Unbalanced '{0}'")]
    Unbalanced(char),
    /// Nothing before the `@`.
    #[error("User address required")]
    NoUser,
    /// `list:;` cannot be mailed to.
    #[error("List:; syntax illegal for recipient addresses")]
    Group,
    /// More than one `@`, or a stray comma.
    #[error("Invalid route address")]
    Route,
    /// Two dots in a row, or one in front.
    #[error("Invalid host name")]
    Host,
    /// Text after the `]` of a literal.
    #[error("Invalid address")]
    Literal,
    /// A colon in the domain.
    #[error("Colon illegal in host name part")]
    Colon,
}

impl AddressError {
    /// The enhanced status code that sendmail gives; none for errors of the lexer.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            AddressError::Control
            | AddressError::NoUser
            | AddressError::Group
            | AddressError::Route
            | AddressError::Colon => Some(Status::new(5, 1, 3)),
            AddressError::Host | AddressError::Literal => Some(Status::new(5, 1, 2)),
            AddressError::TooLong => Some(Status::new(5, 1, 1)),
            AddressError::Quote | AddressError::Unbalanced(_) => None,
        }
    }
}

/// An address of an envelope, which is kept without its angle brackets, with them: what stands in
/// brackets is an address from end to end, while the text before a colon may be a phrase elsewhere.
#[must_use]
pub fn in_brackets(bare: &[u8]) -> Vec<u8> {
    [b"<", bare, b">"].concat()
}

/// Splits `user+detail` at the first `+`; the user is never empty.
#[must_use]
pub fn split_detail(local: &[u8]) -> Option<(&[u8], &[u8])> {
    let plus = unquoted(local)
        .find(|&(at, octet)| octet == b'+' && at > 0)?
        .0;
    Some((local.get(..plus)?, local.get(plus + 1..)?))
}

/// The octets that stand neither in quotes nor behind a backslash, with their places.
///
/// The quotes themselves are left out too.
pub fn unquoted(text: &[u8]) -> impl Iterator<Item = (usize, u8)> + '_ {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().enumerate().filter_map(move |(at, &octet)| {
        if escaped {
            escaped = false;
            return None;
        }
        match octet {
            b'\\' => {
                escaped = true;
                None
            }
            b'"' => {
                quoted = !quoted;
                None
            }
            _ if quoted => None,
            _ => Some((at, octet)),
        }
    })
}

/// Whether `text` is one token of sendmail's: no operator in it, or one alone, or a quoted string.
#[must_use]
pub fn is_one_token(text: &[u8]) -> bool {
    match text {
        [] => false,
        [_] => true,
        _ => !unquoted(text).any(|(_, octet)| is_operator(octet)),
    }
}

/// The octets that end a token: `confOPERATORS` of sendmail's configurations and its built-in ones.
#[must_use]
pub fn is_operator(octet: u8) -> bool {
    matches!(
        octet,
        b'.' | b':'
            | b'%'
            | b'@'
            | b'!'
            | b'^'
            | b'/'
            | b'['
            | b']'
            | b'+'
            | b'('
            | b')'
            | b'<'
            | b'>'
            | b','
            | b';'
    )
}

/// The IP address of a bracketed literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
#[must_use]
pub fn parse_literal(domain: &[u8]) -> Option<IpAddr> {
    let inner = domain.strip_prefix(b"[")?.strip_suffix(b"]")?;
    parse_ip(inner)
}

/// An IP address as sendmail writes it: IPv4 in dots, IPv6 with `IPv6:` in front, in any spelling.
#[must_use]
pub fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            text.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn parse(written: &[u8]) -> Result<Option<Address>, AddressError> {
    let text = lex(written)?;
    let text = strip_route(innermost(&text)?);
    if text.is_empty() {
        return Ok(None);
    }
    // A domain literal may hold an `@` no more than a name may: the last one counts.
    let at = unquoted(text).filter(|&(_, octet)| octet == b'@').last();
    let (local, domain) = match at {
        Some((at, _)) => (
            text.get(..at).unwrap_or_default(),
            text.get(at + 1..).unwrap_or_default(),
        ),
        None => (text, &b""[..]),
    };
    check_local(local)?;
    let domain = if domain.is_empty() {
        None
    } else {
        check_domain(domain)?;
        Some(Domain(domain.into()))
    };
    Ok(Some(Address {
        written: written.into(),
        local: local.into(),
        domain,
    }))
}

/// Drops comments, makes blanks between words dots, and checks that quotes and brackets close.
fn lex(text: &[u8]) -> Result<Vec<u8>, AddressError> {
    if text.len() > MAX_ADDRESS_OCTETS {
        return Err(AddressError::TooLong);
    }
    // Nearly all addresses hold nothing that is dropped, or that hides what follows.
    match text.iter().all(|octet| is_simple(*octet)) && is_bracketed_once(text) {
        true => Ok(text.to_vec()),
        false => lex_all(text),
    }
}

/// No control octet, blank, quote, backslash or parenthesis.
fn is_simple(octet: u8) -> bool {
    octet > b' ' && !matches!(octet, b'"' | b'\\' | b'(' | b')' | 0x7f)
}

/// Whether no angle bracket is there but one at each end, or none.
fn is_bracketed_once(text: &[u8]) -> bool {
    let inner = text.strip_prefix(b"<").and_then(|t| t.strip_suffix(b">"));
    let bracket = |octet: &u8| matches!(octet, b'<' | b'>');
    !inner.unwrap_or(text).iter().any(bracket)
}

fn lex_all(text: &[u8]) -> Result<Vec<u8>, AddressError> {
    let mut out = Vec::with_capacity(text.len());
    let (mut quoted, mut escaped, mut blank) = (false, false, false);
    let (mut round, mut angle) = (0usize, 0usize);
    for &octet in text {
        if octet < b' ' && octet != b'\t' || octet == 0x7f {
            return Err(AddressError::Control);
        }
        if escaped {
            escaped = false;
            if round == 0 {
                if octet == b'!' && !quoted {
                    // People wrote `\!` for their shell; sendmail takes it for the operator it looks like.
                    out.pop();
                }
                out.push(octet);
            }
            continue;
        }
        match octet {
            b'\\' => {
                escaped = true;
                if round > 0 {
                    continue;
                }
            }
            b'"' if round == 0 => quoted = !quoted,
            _ if quoted => {}
            b'(' => {
                round += 1;
                continue;
            }
            b')' => {
                round = round.checked_sub(1).ok_or(AddressError::Unbalanced(')'))?;
                continue;
            }
            _ if round > 0 => continue,
            b'<' => angle += 1,
            b'>' => {
                angle = angle.checked_sub(1).ok_or(AddressError::Unbalanced('>'))?;
            }
            b' ' | b'\t' => {
                blank = true;
                continue;
            }
            _ => {}
        }
        if blank {
            blank = false;
            let joins = |octet: &u8| !is_operator(*octet);
            if out.last().is_some_and(joins) && joins(&octet) {
                out.push(b'.');
            }
        }
        out.push(octet);
    }
    if quoted {
        return Err(AddressError::Quote);
    }
    if round > 0 {
        return Err(AddressError::Unbalanced('('));
    }
    if angle > 0 {
        return Err(AddressError::Unbalanced('<'));
    }
    if escaped {
        return Err(AddressError::Control);
    }
    Ok(out)
}

/// What stands in the innermost angle brackets; without any, the text itself.
fn innermost(text: &[u8]) -> Result<&[u8], AddressError> {
    let (mut from, mut to) = (0, text.len());
    for (at, octet) in unquoted(text) {
        match octet {
            b'<' => from = at + 1,
            b'>' => {
                to = at;
                break;
            }
            b';' => return Err(AddressError::Group),
            _ => {}
        }
    }
    Ok(text.get(from..to).unwrap_or_default())
}

/// Drops a source route, `@a,@b:` (RFC 5321 appendix C).
fn strip_route(mut text: &[u8]) -> &[u8] {
    while text.first() == Some(&b'@') {
        let from = if text.get(1) == Some(&b'[') {
            unquoted(text)
                .find(|&(_, octet)| octet == b']')
                .map_or(1, |(at, _)| at)
        } else {
            1
        };
        let next = unquoted(text)
            .find(|&(at, octet)| at > from && matches!(octet, b',' | b':'))
            .and_then(|(at, _)| text.get(at + 1..))
            .filter(|rest| !rest.is_empty());
        match next {
            Some(rest) => text = rest,
            None => return text,
        }
    }
    text
}

fn check_local(local: &[u8]) -> Result<(), AddressError> {
    if local.is_empty() || local == b"\"\"" {
        return Err(AddressError::NoUser);
    }
    for (_, octet) in unquoted(local) {
        match octet {
            b'@' | b',' => return Err(AddressError::Route),
            b'<' | b'>' => return Err(AddressError::Unbalanced(char::from(octet))),
            _ => {}
        }
    }
    Ok(())
}

fn check_domain(domain: &[u8]) -> Result<(), AddressError> {
    if domain.first() == Some(&b'[') {
        return match domain.iter().position(|&octet| octet == b']') {
            Some(end) if end + 1 == domain.len() && end > 1 => Ok(()),
            _ => Err(AddressError::Literal),
        };
    }
    if domain.first() == Some(&b'.') || domain.windows(2).any(|pair| pair == b"..") {
        return Err(AddressError::Host);
    }
    match domain
        .iter()
        .find(|octet| matches!(octet, b':' | b',' | b'<' | b'>'))
    {
        Some(b':') => Err(AddressError::Colon),
        Some(b',') => Err(AddressError::Route),
        Some(_) => Err(AddressError::Literal),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
