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
        let mut octets: Box<[u8]> = octets.into();
        fold(&mut octets);
        Lhs(octets)
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

/// Folds octets where they stand, eight at a time.
pub(crate) fn fold(octets: &mut [u8]) {
    let (words, rest) = octets.as_chunks_mut::<8>();
    for word in words {
        *word = folded(u64::from_ne_bytes(*word)).to_ne_bytes();
    }
    rest.make_ascii_lowercase();
}

/// Eight octets, folded. Of each the lower seven bits are compared by sums that carry into the
/// eighth, and into no other octet.
fn folded(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let seven = word & (EACH * 0x7f);
    let from_a = seven + EACH * (0x80 - b'A' as u64);
    let past_z = seven + EACH * (0x7f - b'Z' as u64);
    let upper = from_a & !past_z & !word & (EACH * 0x80);
    word | (upper >> 2)
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn eight_at_a_time_they_are_folded_as_one_by_one(octets: Vec<u8>) {
            let (folded, lower) = (Lhs::folded(&octets), octets.to_ascii_lowercase());
            prop_assert_eq!(folded.as_bytes(), lower.as_slice());
        }
    }

    #[test]
    fn every_octet_is_folded_at_every_place() {
        for octet in 0..=u8::MAX {
            let all = [octet; 9];
            assert_eq!(Lhs::folded(&all).as_bytes(), all.to_ascii_lowercase());
        }
    }

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
