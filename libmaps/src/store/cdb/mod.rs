//! Class `cdb`: D. J. Bernstein's constant database.
//!
//! The format (<https://cr.yp.to/cdb/cdb.txt>), all numbers u32 little-endian:
//! 256 pairs (position, slots) of hash tables; the records, each key length,
//! value length, key, value; the tables, each slot a pair (hash, position of
//! the record), position 0 for an empty one. Table `h % 256` serves hash `h`,
//! and the search begins at slot `h / 256 % slots`. No file is longer than 4 GiB.

mod contents;
mod entries;
mod reader;
mod unique;
mod writer;

pub use reader::CdbMap;
pub use writer::CdbWriter;

pub(in crate::store) use reader::Header;

/// The octets of the 256 pairs at the beginning.
const HEADER_OCTETS: usize = 2048;
const TABLES: usize = 256;
/// The octets of a slot, and of the lengths before a record.
const PAIR_OCTETS: usize = 8;

/// The hash of a key: from 5381 on, h * 33 xor octet.
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, &octet| {
        hash.wrapping_mul(33) ^ u32::from(octet)
    })
}

/// The pair of numbers in 8 octets.
fn pair(octets: &[u8]) -> Option<(u32, u32)> {
    let (first, rest) = octets.split_first_chunk::<4>()?;
    let second = rest.first_chunk::<4>()?;
    Some((u32::from_le_bytes(*first), u32::from_le_bytes(*second)))
}
