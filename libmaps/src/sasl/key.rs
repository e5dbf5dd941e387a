//! Who a record of sasldb2 is about: authid NUL realm NUL property.
//!
//! The one place that packs and unpacks these keys. Names are octets and are
//! compared octet for octet, as Cyrus SASL does: `Alice` is not `alice`, and
//! `alice@EXAMPLE.ORG` is not `alice@example.org`.

use std::fmt;

use crate::lhs::Lhs;
use crate::rhs::fmt_bytes;

/// The password in clear text; kept only on request (`saslpasswd2 --plaintext`).
pub const USER_PASSWORD: &[u8] = b"userPassword";
/// Everything derived from the password when it was set, one word for each secret.
pub const HASHED_PASSWORD: &[u8] = b"hashedPassword";
/// SCRAM keys in the form of RFC 5803, which libsasl stores when
/// `scram_secret_generate` is on.
pub const AUTH_PASSWORD: &[u8] = b"authPassword";

/// The longest authid or realm, in octets.
pub const MAX_NAME_OCTETS: usize = 16 * 1024;

/// An account: a name in a realm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId {
    authid: Box<[u8]>,
    realm: Box<[u8]>,
}

/// Why text names no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserIdError {
    /// A NUL, which separates the parts of a key.
    #[error("a user id may not hold a NUL")]
    Nul,
    /// More than [`MAX_NAME_OCTETS`].
    #[error("a user id or realm may have at most {MAX_NAME_OCTETS} octets")]
    TooLong,
}

impl UserId {
    /// An account of these two parts, as they are.
    ///
    /// # Errors
    /// A NUL in a part, or a part that is too long.
    pub fn new(authid: &[u8], realm: &[u8]) -> Result<Self, UserIdError> {
        for part in [authid, realm] {
            if part.contains(&0) {
                return Err(UserIdError::Nul);
            }
            if part.len() > MAX_NAME_OCTETS {
                return Err(UserIdError::TooLong);
            }
        }
        Ok(UserId {
            authid: authid.into(),
            realm: realm.into(),
        })
    }

    /// Reads `user@realm`, or `user` in the default realm.
    ///
    /// libsasl splits at the first `@`: the realm of `a@b@c` is `b@c`, and
    /// `alice@` is alice in the empty realm.
    ///
    /// # Errors
    /// As [`UserId::new`].
    pub fn resolve(text: &[u8], default_realm: &[u8]) -> Result<Self, UserIdError> {
        match text.iter().position(|b| *b == b'@') {
            Some(at) => {
                let (authid, realm) = text.split_at(at);
                UserId::new(authid, realm.get(1..).unwrap_or_default())
            }
            None => UserId::new(text, default_realm),
        }
    }

    /// The name.
    #[must_use]
    pub fn authid(&self) -> &[u8] {
        &self.authid
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// The LHS of this account's record for a property.
    #[must_use]
    pub fn lhs(&self, property: &[u8]) -> Lhs {
        let parts: [&[u8]; 3] = [&self.authid, &self.realm, property];
        Lhs::from(parts.join(&0))
    }

    /// Unpacks an LHS into account and property; `None`: it is none of sasldb's.
    #[must_use]
    pub fn parse(lhs: &[u8]) -> Option<(UserId, &[u8])> {
        let mut parts = lhs.splitn(3, |b| *b == 0);
        let (authid, realm, property) = (parts.next()?, parts.next()?, parts.next()?);
        if property.contains(&0) {
            return None;
        }
        Some((UserId::new(authid, realm).ok()?, property))
    }
}

/// The account and the property, where an LHS is that of an account's record, in whatever map it
/// stands.
#[must_use]
pub fn account_of(lhs: &[u8]) -> Option<(UserId, &[u8])> {
    UserId::parse(lhs).filter(|(_, property)| !property.is_empty())
}

/// Whether it is that of an account's record.
#[must_use]
pub fn is_account(lhs: &[u8]) -> bool {
    account_of(lhs).is_some()
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_bytes(&self.authid, f)?;
        f.write_str("@")?;
        fmt_bytes(&self.realm, f)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_sign_splits() {
        let cases = [
            ("alice", "alice", "host.example"),
            ("alice@example.org", "alice", "example.org"),
            ("alice@", "alice", ""),
            ("@example.org", "", "example.org"),
            ("a@b@c", "a", "b@c"),
            ("", "", "host.example"),
        ];
        for (text, authid, realm) in cases {
            let user = UserId::resolve(text.as_bytes(), b"host.example").unwrap();
            assert_eq!(
                (user.authid(), user.realm()),
                (authid.as_bytes(), realm.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn keys_pack_and_unpack() {
        let user = UserId::new(b"a b", b"").unwrap();
        let lhs = user.lhs(USER_PASSWORD);
        assert_eq!(lhs.as_bytes(), b"a b\0\0userPassword");
        assert_eq!(
            UserId::parse(lhs.as_bytes()),
            Some((user, &b"userPassword"[..]))
        );
        for bad in [&b"alice"[..], b"alice\0realm", b"a\0b\0c\0d"] {
            assert_eq!(UserId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(UserId::resolve(b"a\0b", b"r"), Err(UserIdError::Nul));
        assert_eq!(UserId::new(b"a", b"r\0"), Err(UserIdError::Nul));
    }
}
