//! The first page of a Berkeley file: what it is and how it is laid out.
//!
//! Offsets: magic 12 (which also tells the byte order), version 16, page size
//! 20, encryption 24, page type 25, meta flags 26, last page 32, partitions 36,
//! flags 48. Hash: highest bucket 72, high mask 76, low mask 80, check value of
//! the hash function 92, 32 spares from 96. Btree: root 88. The sum of a file
//! with checksums stands at 492 and covers 512 octets.

use super::fault::Fault;
use super::page::ByteOrder;

/// The octets of the first page that have a meaning, whatever the page size.
pub(super) const META_OCTETS: usize = 512;
/// Where the checksum of the first page stands.
pub(super) const META_SUM_AT: usize = 492;

const HASH_MAGIC: u32 = 0x0006_1561;
const BTREE_MAGIC: u32 = 0x0005_3162;
const QUEUE_MAGIC: u32 = 0x0004_2253;
const HEAP_MAGIC: u32 = 0x0007_4582;

/// What the first page says.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) order: ByteOrder,
    pub(super) page_octets: u32,
    pub(super) last_page: u32,
    pub(super) sums: Sums,
    pub(super) kind: Kind,
}

/// Whether the pages bear checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sums {
    Absent,
    Present,
}

/// The access method and what it needs.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Hash(HashMeta),
    Btree(BtreeMeta),
}

/// The layout of a hash file.
#[derive(Clone, Debug)]
pub(super) struct HashMeta {
    pub(super) max_bucket: u32,
    pub(super) high_mask: u32,
    pub(super) low_mask: u32,
    pub(super) check_value: u32,
    pub(super) spares: [u32; 32],
    pub(super) duplicates: Duplicates,
}

/// The layout of a btree file.
#[derive(Clone, Debug)]
pub(super) struct BtreeMeta {
    pub(super) root: u32,
    pub(super) duplicates: Duplicates,
}

/// Whether a key may have several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duplicates {
    Refused,
    Allowed,
}

impl Duplicates {
    /// From the flags of a hash or a btree, which have the same bit for it.
    fn of(flags: u32) -> Self {
        const DUP: u32 = 1;
        match flags & DUP {
            0 => Duplicates::Refused,
            _ => Duplicates::Allowed,
        }
    }
}

/// Whether a file that begins like this belongs to the Berkeley family, readable or not.
pub(in crate::store) fn is_berkeley(first: &[u8]) -> bool {
    find_magic(first).is_some()
}

impl Meta {
    /// Reads the first page; `first` has up to [`META_OCTETS`] octets.
    pub(super) fn parse(first: &[u8]) -> Result<Self, Fault> {
        let Some((order, magic)) = find_magic(first) else {
            return Err(unsupported("not a Berkeley DB file of class hash or btree"));
        };
        if magic == QUEUE_MAGIC || magic == HEAP_MAGIC {
            return Err(unsupported(
                "a Berkeley DB queue or heap; only hash and btree are maps",
            ));
        }
        let cut = || Fault::damaged(0, "the first page is cut short");
        if first.len() < META_OCTETS {
            return Err(cut());
        }
        let u32_at = |at| order.u32(first, at).ok_or_else(cut);
        let u8_at = |at: usize| first.get(at).copied().ok_or_else(cut);

        let version = u32_at(16)?;
        let (oldest, page_type, word) = match magic {
            HASH_MAGIC => (8, 8, "hash"),
            _ => (9, 9, "btree"),
        };
        if !(oldest..=10).contains(&version) {
            return Err(Fault::Unsupported(
                format!(
                    "a Berkeley DB {word} of version {version}; versions {oldest} to 10 are read"
                )
                .into(),
            ));
        }
        if u8_at(24)? != 0 {
            return Err(unsupported("an encrypted Berkeley DB file"));
        }
        let found = u8_at(25)?;
        if found != page_type {
            return Err(Fault::damaged(
                0,
                format!("the first page of a {word} has type {page_type}, not {found}"),
            ));
        }
        let page_octets = u32_at(20)?;
        if !(512..=65_536).contains(&page_octets) || !page_octets.is_power_of_two() {
            return Err(Fault::damaged(
                0,
                format!(
                    "a page size of {page_octets} octets; it is a power of two from 512 to 65536"
                ),
            ));
        }
        let meta_flags = u8_at(26)?;
        if meta_flags & !1 != 0 || u32_at(36)? != 0 {
            return Err(unsupported("a partitioned Berkeley DB file"));
        }
        let sums = match meta_flags & 1 {
            0 => Sums::Absent,
            _ => Sums::Present,
        };
        let flags = u32_at(48)?;
        let kind = match magic {
            HASH_MAGIC => Kind::Hash(HashMeta::parse(flags, u32_at)?),
            _ => Kind::Btree(BtreeMeta::parse(flags, u32_at)?),
        };
        Ok(Meta {
            order,
            page_octets,
            last_page: u32_at(32)?,
            sums,
            kind,
        })
    }
}

impl HashMeta {
    fn parse(flags: u32, u32_at: impl Fn(usize) -> Result<u32, Fault>) -> Result<Self, Fault> {
        const SUBDB: u32 = 2;
        if flags & SUBDB != 0 {
            return Err(unsupported("a Berkeley DB file of several named databases"));
        }
        let max_bucket = u32_at(72)?;
        let high_mask = u32_at(76)?;
        let low_mask = u32_at(80)?;
        // The table doubles one bucket at a time: the high mask covers the
        // buckets of the doubling under way, the low mask those before it.
        let covered = max_bucket.checked_next_power_of_two().and_then(|power| {
            if power == max_bucket {
                power.checked_mul(2)
            } else {
                Some(power)
            }
        });
        let expected = covered.map(|power| power.max(2) - 1);
        if expected != Some(high_mask) || low_mask != high_mask >> 1 {
            return Err(Fault::damaged(
                0,
                format!(
                    "{max_bucket} as the highest bucket and masks {high_mask:#x}, {low_mask:#x}"
                ),
            ));
        }
        let mut spares = [0; 32];
        for (index, spare) in spares.iter_mut().enumerate() {
            *spare = u32_at(96 + 4 * index)?;
        }
        Ok(HashMeta {
            max_bucket,
            high_mask,
            low_mask,
            check_value: u32_at(92)?,
            spares,
            duplicates: Duplicates::of(flags),
        })
    }
}

impl BtreeMeta {
    fn parse(flags: u32, u32_at: impl Fn(usize) -> Result<u32, Fault>) -> Result<Self, Fault> {
        const RECNO: u32 = 2;
        const SUBDB: u32 = 0x20;
        const COMPRESSED: u32 = 0x80;
        if flags & RECNO != 0 {
            return Err(unsupported("a Berkeley DB of record numbers, not a map"));
        }
        if flags & SUBDB != 0 {
            return Err(unsupported("a Berkeley DB file of several named databases"));
        }
        if flags & COMPRESSED != 0 {
            return Err(unsupported("a compressed Berkeley DB btree"));
        }
        Ok(BtreeMeta {
            root: u32_at(88)?,
            duplicates: Duplicates::of(flags),
        })
    }
}

fn unsupported(why: &'static str) -> Fault {
    Fault::Unsupported(why.into())
}

fn find_magic(first: &[u8]) -> Option<(ByteOrder, u32)> {
    [ByteOrder::Little, ByteOrder::Big]
        .into_iter()
        .filter_map(|order| Some((order, order.u32(first, 12)?)))
        .find(|(_, magic)| matches!(*magic, HASH_MAGIC | BTREE_MAGIC | QUEUE_MAGIC | HEAP_MAGIC))
}
