//! Values that stand for other searches: `FILTER`, `DN` and `URL` of sendmail's `-v`.
//!
//! What sendmail does with them (libsm's ldap.c) is done here: a filter is searched for below the
//! map's base, a name with all that is below it, a URL on the map's own server, whatever host it
//! names; an entry counts once, and the attributes that a URL names are values.

use libmaps::site::ldap::MAX_DEPTH;
use libmaps::site::ldap::attributes::Role;

/// The longest text of a search, in octets.
const MAX_TEXT: usize = 64 << 10;

/// A search that a value stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reference {
    /// An entry and those below it.
    Dn(String),
    /// A filter, below the map's base.
    Filter(String),
    /// A URL, with its text.
    Url { text: String, url: Url },
}

/// A search of a URL (RFC 4516).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Url {
    pub(super) base: String,
    pub(super) attributes: Vec<String>,
    pub(super) scope: Scope,
    pub(super) filter: String,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Base,
    OneLevel,
    Subtree,
}

impl Reference {
    /// The search that a value of this role stands for; none: it is a value.
    ///
    /// # Errors
    /// Why it is none that is made.
    pub(super) fn of(role: Role, value: &[u8]) -> Result<Option<Self>, String> {
        if role == Role::Value {
            return Ok(None);
        }
        if value.len() > MAX_TEXT {
            return Err(format!("a search of more than {MAX_TEXT} octets"));
        }
        let text = str::from_utf8(value).map_err(|_| "a search that is no UTF-8")?;
        Ok(Some(match role {
            Role::Value => return Ok(None),
            Role::Dn => Reference::Dn(text.to_owned()),
            Role::Filter => {
                check_nesting(text)?;
                Reference::Filter(text.to_owned())
            }
            Role::Url => Reference::Url {
                text: text.to_owned(),
                url: Url::parse(text)?,
            },
        }))
    }

    /// The search as it stands in the directory.
    pub(super) fn text(&self) -> &str {
        match self {
            Reference::Dn(text) | Reference::Filter(text) | Reference::Url { text, .. } => text,
        }
    }
}

impl Url {
    /// Reads `ldap://host/base?attributes?scope?filter?extensions`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let is_ldap = ["ldap", "ldaps", "ldapi"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        if !is_ldap {
            return Err(format!(
                "{text}: expected ldap:///base?attributes?scope?filter"
            ));
        }
        let path = rest.split_once('/').map_or("", |(_host, path)| path);
        let mut parts = path.splitn(5, '?');
        let mut part = || parts.next().unwrap_or_default();
        let base = decoded(part())?;
        let attributes = decoded(part())?;
        let attributes: Vec<String> = attributes
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        // sendmail would take the values of all attributes for values, `sn` and `userPassword` too.
        if attributes.is_empty() || attributes.iter().any(|name| name == "*") {
            return Err(format!(
                "{text}: it does not name the attributes that are values"
            ));
        }
        let scope = match part().to_ascii_lowercase().as_str() {
            "" | "base" => Scope::Base,
            "one" | "onelevel" => Scope::OneLevel,
            "sub" | "subtree" => Scope::Subtree,
            other => return Err(format!("{text}: expected base, one or sub, not {other}")),
        };
        let filter = match decoded(part())? {
            filter if filter.is_empty() => "(objectClass=*)".to_owned(),
            filter => filter,
        };
        check_nesting(&filter)?;
        if part()
            .split(',')
            .any(|extension| extension.starts_with('!'))
        {
            return Err(format!("{text}: an extension that must be known is not"));
        }
        Ok(Url {
            base,
            attributes,
            scope,
            filter,
        })
    }
}

/// A filter is read by a parser that calls itself: a deep one is none.
pub(super) fn check_nesting(filter: &str) -> Result<(), String> {
    let mut depth = 0u32;
    for octet in filter.bytes() {
        match octet {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err("a filter that is nested too deeply".into());
        }
    }
    Ok(())
}

/// Without percent signs (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let bad = || format!("{text}: expected two hexadecimal digits behind each %");
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        let octet = match octet {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = digit().zip(digit()).ok_or_else(bad)?;
                u8::try_from(high * 16 + low).map_err(|_| bad())?
            }
            octet => octet,
        };
        octets.push(octet);
    }
    String::from_utf8(octets).map_err(|_| format!("{text}: it is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_as_openldap_reads_them() {
        let url = Url::parse("ldap://other:389/ou=a%20b,dc=x?mail,uid?SUB?(cn=%2A)").unwrap();
        let expected = Url {
            base: "ou=a b,dc=x".into(),
            attributes: vec!["mail".into(), "uid".into()],
            scope: Scope::Subtree,
            filter: "(cn=*)".into(),
        };
        assert_eq!(url, expected);
        let url = Url::parse("ldap:///cn=a?mail").unwrap();
        assert_eq!(
            (url.scope, url.filter.as_str()),
            (Scope::Base, "(objectClass=*)")
        );
    }

    #[test]
    fn what_is_none_is_told() {
        let deep = format!("ldap:///dc=x?mail?sub?{}", "(!".repeat(1_000));
        for (text, why) in [
            ("http:///dc=x?mail", "expected ldap:///"),
            ("", "expected ldap:///"),
            ("ldap:///dc=x", "does not name the attributes"),
            ("ldap:///dc=x?*?sub", "does not name the attributes"),
            (
                "ldap:///dc=x?mail?all",
                "expected base, one or sub, not all",
            ),
            ("ldap:///dc=%4?mail", "expected two hexadecimal digits"),
            ("ldap:///dc=%ff?mail", "it is no UTF-8"),
            (
                "ldap:///dc=x?mail???!x=1",
                "an extension that must be known",
            ),
            (&deep, "nested too deeply"),
        ] {
            let found = Url::parse(text).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
        let long = vec![b'x'; MAX_TEXT + 1];
        assert!(Reference::of(Role::Filter, &long).is_err());
        assert!(Reference::of(Role::Dn, b"\xff").is_err());
        assert_eq!(Reference::of(Role::Value, &long), Ok(None));
    }
}
