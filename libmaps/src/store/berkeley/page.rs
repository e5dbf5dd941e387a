//! One page: its header and its items, every access checked against its end.
//!
//! The header is 26 octets: page number at 8, previous page 12, next page 16,
//! entries (u16) 20, free offset (u16) 22, level 24, type 25. In a file with
//! checksums it is 32 octets, the sum at 28. The offsets of the items follow.

use std::ops::Range;
use std::sync::Arc;

use super::fault::Fault;

/// The order of the octets in the numbers of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The u16 at `at`, if it lies within `octets`.
    pub(super) fn u16(self, octets: &[u8], at: usize) -> Option<u16> {
        let bytes: [u8; 2] = octets.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match self {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        })
    }

    /// The u32 at `at`, if it lies within `octets`.
    pub(super) fn u32(self, octets: &[u8], at: usize) -> Option<u32> {
        let bytes: [u8; 4] = octets.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        })
    }
}

/// The types of pages that a reader meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageType {
    /// Freed, or never written.
    Invalid,
    /// Hash, sorted (13) or not (2).
    Hash,
    /// Inner page of a btree or of a sorted duplicate tree.
    BtreeInner,
    /// Inner page of a tree by record number: unsorted duplicates.
    RecnoInner,
    /// Leaf of a btree: keys and data.
    BtreeLeaf,
    /// Leaf of unsorted duplicates: data only.
    RecnoLeaf,
    /// Part of an item too long for a page.
    Overflow,
    /// Leaf of sorted duplicates: data only.
    DuplicateLeaf,
    /// Anything else.
    Other(u8),
}

/// A page in memory. Clones share the octets.
#[derive(Clone, Debug)]
pub(super) struct Page {
    number: u32,
    octets: Arc<[u8]>,
    order: ByteOrder,
    header_octets: usize,
}

impl Page {
    pub(super) fn new(
        number: u32,
        octets: Arc<[u8]>,
        order: ByteOrder,
        header_octets: usize,
    ) -> Self {
        Page {
            number,
            octets,
            order,
            header_octets,
        }
    }

    /// The number by which the page was asked for.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn damaged(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
        Fault::damaged(self.number, why)
    }

    /// Whether the page was never written: a hole in the file.
    pub(super) fn is_zeros(&self) -> bool {
        self.octets.iter().all(|&b| b == 0)
    }

    /// The page number that the page itself bears.
    pub(super) fn own_number(&self) -> Result<u32, Fault> {
        self.u32(8)
    }

    pub(super) fn previous(&self) -> Result<u32, Fault> {
        self.u32(12)
    }

    pub(super) fn next(&self) -> Result<u32, Fault> {
        self.u32(16)
    }

    /// How many items the page holds, at most as many as their offsets have room for.
    pub(super) fn entries(&self) -> Result<usize, Fault> {
        let entries = usize::from(self.u16(20)?);
        if self.header_octets + 2 * entries > self.octets.len() {
            return Err(self.damaged(format!("{entries} entries are more than a page can hold")));
        }
        Ok(entries)
    }

    /// The free offset; on overflow pages, the octets used.
    pub(super) fn free_offset(&self) -> Result<u16, Fault> {
        self.u16(22)
    }

    pub(super) fn level(&self) -> Result<u8, Fault> {
        self.u8(24)
    }

    pub(super) fn page_type(&self) -> Result<PageType, Fault> {
        Ok(match self.u8(25)? {
            0 => PageType::Invalid,
            2 | 13 => PageType::Hash,
            3 => PageType::BtreeInner,
            4 => PageType::RecnoInner,
            5 => PageType::BtreeLeaf,
            6 => PageType::RecnoLeaf,
            7 => PageType::Overflow,
            12 => PageType::DuplicateLeaf,
            other => PageType::Other(other),
        })
    }

    /// Where item `index` begins: past the offsets, within the page.
    pub(super) fn offset(&self, index: usize) -> Result<usize, Fault> {
        let entries = self.entries()?;
        if index >= entries {
            return Err(self.damaged(format!("item {index} of {entries}")));
        }
        let at = usize::from(self.u16(self.header_octets + 2 * index)?);
        if at < self.header_octets + 2 * entries || at >= self.octets.len() {
            return Err(self.damaged(format!("item {index} lies outside the page")));
        }
        Ok(at)
    }

    /// The octets after the header: the content of an overflow page.
    pub(super) fn body(&self) -> &[u8] {
        self.octets.get(self.header_octets..).unwrap_or_default()
    }

    /// The octets of a range that an item claimed.
    pub(super) fn slice(&self, range: Range<usize>) -> Result<&[u8], Fault> {
        self.octets
            .get(range)
            .ok_or_else(|| self.damaged("an item is longer than its page"))
    }

    pub(super) fn size(&self) -> usize {
        self.octets.len()
    }

    pub(super) fn u8(&self, at: usize) -> Result<u8, Fault> {
        self.octets
            .get(at)
            .copied()
            .ok_or_else(|| self.damaged("an item is longer than its page"))
    }

    pub(super) fn u16(&self, at: usize) -> Result<u16, Fault> {
        self.order
            .u16(&self.octets, at)
            .ok_or_else(|| self.damaged("an item is longer than its page"))
    }

    pub(super) fn u32(&self, at: usize) -> Result<u32, Fault> {
        self.order
            .u32(&self.octets, at)
            .ok_or_else(|| self.damaged("an item is longer than its page"))
    }
}
