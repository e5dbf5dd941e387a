//! The digest of a generation: what it holds, whatever the order in which it comes.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// The sum, modulo 2^128, of the XXH3-128 digests of all entries, and their number.
///
/// An entry can be taken out again, so that the digest of a generation that
/// differs in few keys needs those keys alone. It finds a generation of which
/// a part is missing or was changed by accident; it is no seal against those
/// who may write to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    sum: u128,
    entries: u64,
}

impl Digest {
    /// Counts the value of an LHS that stands in this place among its values, from 0.
    pub fn add(&mut self, lhs: &[u8], place: u32, rhs: &[u8]) {
        self.sum = self.sum.wrapping_add(of(lhs, place, rhs));
        self.entries = self.entries.wrapping_add(1);
    }

    /// Takes an entry out again.
    pub fn remove(&mut self, lhs: &[u8], place: u32, rhs: &[u8]) {
        self.sum = self.sum.wrapping_sub(of(lhs, place, rhs));
        self.entries = self.entries.wrapping_sub(1);
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads what [`Digest`] prints: 32 hexadecimal digits, with the number of entries beside it.
    #[must_use]
    pub fn parse(text: &str, entries: u64) -> Option<Self> {
        let sum = u128::from_str_radix(text, 16).ok()?;
        Some(Digest { sum, entries })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

fn of(lhs: &[u8], place: u32, rhs: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&(lhs.len() as u64).to_be_bytes());
    hash.update(lhs);
    hash.update(&place.to_be_bytes());
    hash.update(rhs);
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_nothing_and_place_is_something() {
        let of = |entries: &[(&str, u32, &str)]| {
            let mut digest = Digest::default();
            for (lhs, place, rhs) in entries {
                digest.add(lhs.as_bytes(), *place, rhs.as_bytes());
            }
            digest
        };
        let (a, b) = (("a", 0, "1"), ("b", 0, "2"));
        assert_eq!(of(&[a, b]), of(&[b, a]));
        assert_ne!(of(&[a, b]), of(&[a]));
        assert_ne!(of(&[("a", 0, "12")]), of(&[("a1", 0, "2")]));
        assert_ne!(
            of(&[("a", 0, "1"), ("a", 1, "2")]),
            of(&[("a", 0, "2"), ("a", 1, "1")])
        );
        let mut less = of(&[a, b]);
        less.remove(b"b", 0, b"2");
        assert_eq!(less, of(&[a]));
        assert_eq!(Digest::parse(&less.to_string(), 1), Some(less));
    }
}
