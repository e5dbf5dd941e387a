//! The digest of a generation: what it holds, whatever the order in which it comes.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

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

/// What is put together before it is hashed, in octets: nearly every entry, and hashing in pieces
/// costs more than the copy.
const SHORT_OCTETS: usize = 256;

fn of(lhs: &[u8], place: u32, rhs: &[u8]) -> u128 {
    let (lhs_octets, place) = ((lhs.len() as u64).to_be_bytes(), place.to_be_bytes());
    let parts = [&lhs_octets[..], lhs, &place, rhs];
    let mut octets = [0; SHORT_OCTETS];
    let (mut at, mut is_short) = (0, true);
    for part in parts {
        match octets.get_mut(at..at + part.len()) {
            Some(to) => to.copy_from_slice(part),
            None => is_short = false,
        }
        at += part.len();
    }
    match octets.get(..at) {
        Some(octets) if is_short => xxh3_128(octets),
        _ => in_pieces(parts),
    }
}

fn in_pieces(parts: [&[u8]; 4]) -> u128 {
    let mut hash = Xxh3::new();
    for part in parts {
        hash.update(part);
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_entries_and_long_ones_are_hashed_alike() {
        let octets: Vec<u8> = (0..600u32).map(|n| n as u8).collect();
        for lhs_octets in [0, 1, 12, 13, 120, 243, 244, 245, 300] {
            for rhs_octets in [0, 1, 7, 124, 125, 240, 241, 256, 300] {
                let (lhs, rest) = octets.split_at(lhs_octets);
                let rhs = &rest[..rhs_octets];
                let place = 7u32.to_be_bytes();
                let parts = [&(lhs_octets as u64).to_be_bytes()[..], lhs, &place, rhs];
                assert_eq!(
                    of(lhs, 7, rhs),
                    in_pieces(parts),
                    "{lhs_octets} {rhs_octets}"
                );
            }
        }
    }

    #[test]
    fn a_digest_stays_what_it_was_in_older_releases() {
        let mut digest = Digest::default();
        digest.add(b"from:spam.example", 0, b"REJECT");
        digest.add(b"x", 3, &[7; 300]);
        assert_eq!(digest.to_string(), "e66f899e15a6574ff28fa22929310624");
    }

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
