//! Items: where a key or a value is, in both layouts.
//!
//! A btree item has a u16 length, a u8 type (its high bit: deleted) and its
//! octets at 3; an item kept elsewhere has a page at 4 and a length at 8. A hash
//! item begins with its type, and its length is the distance to the item before.

use std::ops::Range;

use super::fault::Fault;
use super::file::PageFile;
use super::overflow::Overflow;
use super::page::Page;
use super::seen::Seen;

/// A key or a value, not yet read where it stands on other pages.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// On its page.
    Inline { page: Page, at: Range<usize> },
    /// In a chain of overflow pages.
    Overflow(Overflow),
    /// Several values in one item of a hash page.
    Packed { page: Page, at: Range<usize> },
    /// Several values in a tree of their own.
    Tree { root: u32, page: Page },
}

/// Whether a btree item still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Live,
    Deleted,
}

impl Item {
    /// Item `index` of a btree leaf, of a duplicate leaf or of a leaf of records.
    pub(super) fn on_leaf(page: &Page, index: usize) -> Result<(Item, Presence), Fault> {
        const DELETED: u8 = 0x80;
        let at = page.offset(index)?;
        let flags = page.u8(at + 2)?;
        let item = Item::btree(page, at, flags & !DELETED, at + 3)?;
        let presence = match flags & DELETED {
            0 => Presence::Live,
            _ => Presence::Deleted,
        };
        Ok((item, presence))
    }

    /// The key of entry `index` of an inner btree page, and the child below it.
    ///
    /// Layout: u16 length, u8 type, u32 child at 4, the key at 12.
    pub(super) fn on_inner(page: &Page, index: usize) -> Result<(Item, u32), Fault> {
        let at = page.offset(index)?;
        let child = page.u32(at + 4)?;
        let kind = page.u8(at + 2)?;
        let key = match kind & 0x7f {
            3 => Item::btree(page, at + 12, 3, at + 15)?,
            kind => Item::btree(page, at, kind, at + 12)?,
        };
        Ok((key, child))
    }

    fn btree(page: &Page, at: usize, kind: u8, data_at: usize) -> Result<Item, Fault> {
        match kind {
            1 => {
                let range = data_at..data_at + usize::from(page.u16(at)?);
                page.slice(range.clone())?;
                Ok(Item::Inline {
                    page: page.clone(),
                    at: range,
                })
            }
            2 => Ok(Item::Tree {
                root: page.u32(at + 4)?,
                page: page.clone(),
            }),
            3 => Ok(Item::Overflow(Overflow {
                first: page.u32(at + 4)?,
                octets: page.u32(at + 8)?,
                claimed_on: page.number(),
            })),
            4 => Err(external()),
            other => Err(page.damaged(format!("an item of unknown type {other}"))),
        }
    }

    /// Item `index` of a hash page, whose layout was checked when it was read.
    pub(super) fn on_hash(page: &Page, index: usize) -> Result<Item, Fault> {
        let at = page.offset(index)?;
        let end = match index.checked_sub(1) {
            None => page.size(),
            Some(before) => page.offset(before)?,
        };
        match page.u8(at)? {
            1 => Ok(Item::Inline {
                page: page.clone(),
                at: at + 1..end,
            }),
            2 => Ok(Item::Packed {
                page: page.clone(),
                at: at + 1..end,
            }),
            3 => Ok(Item::Overflow(Overflow {
                first: page.u32(at + 4)?,
                octets: page.u32(at + 8)?,
                claimed_on: page.number(),
            })),
            4 => Ok(Item::Tree {
                root: page.u32(at + 4)?,
                page: page.clone(),
            }),
            5 => Err(external()),
            other => Err(page.damaged(format!("an item of unknown type {other}"))),
        }
    }

    /// The octets of a single key or value.
    pub(super) fn read(&self, file: &PageFile, seen: &mut Seen) -> Result<Vec<u8>, Fault> {
        match self {
            Item::Inline { page, at } => Ok(page.slice(at.clone())?.to_vec()),
            Item::Overflow(overflow) => overflow.read(file, seen),
            Item::Packed { page, .. } | Item::Tree { page, .. } => {
                Err(page.damaged("duplicates where a single item must be"))
            }
        }
    }

    /// Whether this key is `lhs`, reading no more than its length of octets.
    pub(super) fn equals(&self, file: &PageFile, lhs: &[u8]) -> Result<bool, Fault> {
        match self {
            Item::Overflow(overflow) if overflow.octets as usize != lhs.len() => Ok(false),
            Item::Inline { page, at } => Ok(page.slice(at.clone())? == lhs),
            _ => Ok(self.read(file, &mut Seen::default())? == lhs),
        }
    }

    /// How this key compares to `lhs`, reading at most one octet more than its length.
    pub(super) fn compare(&self, file: &PageFile, lhs: &[u8]) -> Result<std::cmp::Ordering, Fault> {
        match self {
            Item::Overflow(overflow) => {
                Ok(overflow.prefix(file, lhs.len() + 1)?.as_slice().cmp(lhs))
            }
            Item::Inline { page, at } => Ok(page.slice(at.clone())?.cmp(lhs)),
            _ => Ok(self.read(file, &mut Seen::default())?.as_slice().cmp(lhs)),
        }
    }
}

pub(super) fn external() -> Fault {
    Fault::Unsupported("a Berkeley DB file with items in external files".into())
}
