//! The left-hand side of an entry: what a map is asked for.

use std::borrow::Borrow;
use std::fmt;

use crate::rhs::fmt_bytes;

/// The left-hand side of an entry, as octets.
///
/// An `Lhs` is stored and asked for exactly as it stands; [`Lhs::folded`] makes
/// the lower-case form that maps built without `-f` hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lhs(Box<[u8]>);

impl Lhs {
    /// Takes the octets as they are.
    #[must_use]
    pub fn new(octets: impl Into<Box<[u8]>>) -> Self {
        Lhs(octets.into())
    }

    /// Folds `octets`: ASCII letters become lower case, everything else stays.
    ///
    /// sendmail folds without regard to the locale (makemap(8), `-f`).
    #[must_use]
    pub fn folded(octets: &[u8]) -> Self {
        Lhs(octets.to_ascii_lowercase().into())
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The octets, given up by their owner.
    #[must_use]
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0
    }
}

impl From<&str> for Lhs {
    fn from(text: &str) -> Self {
        Lhs(text.as_bytes().into())
    }
}

impl From<&[u8]> for Lhs {
    fn from(octets: &[u8]) -> Self {
        Lhs(octets.into())
    }
}

impl From<Vec<u8>> for Lhs {
    fn from(octets: Vec<u8>) -> Self {
        Lhs(octets.into())
    }
}

impl AsRef<[u8]> for Lhs {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Lhs {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Lhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_bytes(&self.0, f)
    }
}

impl fmt::Debug for Lhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lhs({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_ascii_only() {
        assert_eq!(
            Lhs::folded("Connect:ÄRGER.Example".as_bytes()).as_bytes(),
            "connect:Ärger.example".as_bytes()
        );
    }

    #[test]
    fn unprintable_octets_are_shown_escaped() {
        assert_eq!(Lhs::new(&b"a\0\xff"[..]).to_string(), "a\\x00\\xff");
    }
}
