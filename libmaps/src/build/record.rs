//! Entries on their way to a store, as sorted runs hold them.

/// An entry of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) line: u64,
    pub(super) lhs: &'a [u8],
    pub(super) rhs: &'a [u8],
}

/// Records one behind the other: each is its line and the lengths of its LHS and RHS as
/// LEB128 numbers, then both.
impl<'a> Record<'a> {
    /// The record in front and what stands behind it; `None` where the octets hold no whole one.
    pub(super) fn split(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (line, rest) = number(octets)?;
        let (lhs_len, rest) = number(rest)?;
        let (rhs_len, rest) = number(rest)?;
        let (lhs, rest) = rest.split_at_checked(usize::try_from(lhs_len).ok()?)?;
        let (rhs, rest) = rest.split_at_checked(usize::try_from(rhs_len).ok()?)?;
        Some((Record { line, lhs, rhs }, rest))
    }

    /// How many octets it takes at the most.
    pub(super) fn most_octets(&self) -> usize {
        3 * MAX_NUMBER_OCTETS + self.lhs.len() + self.rhs.len()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.line);
        put_number(out, self.lhs.len() as u64);
        put_number(out, self.rhs.len() as u64);
        out.extend_from_slice(self.lhs);
        out.extend_from_slice(self.rhs);
    }
}

/// A number of 64 bits takes so many octets in LEB128 at the most.
const MAX_NUMBER_OCTETS: usize = 10;

fn number(octets: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, mut rest) = octets.split_first()?;
    let mut number = u64::from(first & 0x7f);
    let (mut more, mut shift) = (first & 0x80 != 0, 7);
    while more {
        let (&next, behind) = rest.split_first()?;
        number |= u64::from(next & 0x7f).checked_shl(shift)?;
        (more, shift, rest) = (next & 0x80 != 0, shift + 7, behind);
    }
    Some((number, rest))
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The first 16 octets of an LHS as a number that sorts the same; equal ones decide nothing.
pub(super) type Prefix = u128;

pub(super) fn prefix_of(lhs: &[u8]) -> Prefix {
    if let Some(whole) = lhs.first_chunk() {
        return u128::from_be_bytes(*whole);
    }
    let mut octets = [0; 16];
    if let Some(to) = octets.get_mut(..lhs.len()) {
        to.copy_from_slice(lhs);
    }
    u128::from_be_bytes(octets)
}
