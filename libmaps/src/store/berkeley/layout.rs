//! Whether the items of a page fill it from its free offset to its end.
//!
//! Every writer leaves a page like that: what is deleted is closed up at once.
//! So a count, an offset or a length that was damaged is seen, also where what
//! is left would pass for a page of fewer entries.

use super::fault::Fault;
use super::item::external;
use super::page::{Page, PageType};

/// Items of a btree begin at multiples of this.
const ALIGNED_TO: usize = 4;
/// An item kept elsewhere.
const ELSEWHERE_OCTETS: usize = 12;
/// A tree of duplicates, in a hash.
const TREE_OCTETS: usize = 8;
/// What stands before the octets of an item of a leaf.
const LEAF_HEAD: usize = 3;
/// What stands before a key on an inner page.
const INNER_HEAD: usize = 12;
/// An entry of an inner page of records.
const RECNO_OCTETS: usize = 8;

/// Errors if the page holds items and they do not fill it.
pub(super) fn check(page: &Page) -> Result<(), Fault> {
    let page_type = page.page_type()?;
    match page_type {
        PageType::Hash => check_hash(page),
        PageType::BtreeInner
        | PageType::RecnoInner
        | PageType::BtreeLeaf
        | PageType::RecnoLeaf
        | PageType::DuplicateLeaf => check_btree(page, page_type),
        PageType::Invalid | PageType::Overflow | PageType::Other(_) => Ok(()),
    }
}

/// Where the items begin.
fn lowest(page: &Page) -> Result<usize, Fault> {
    Ok(match usize::from(page.free_offset()?) {
        // An empty page of 65536 octets; the number has no room for that.
        0 if page.size() > usize::from(u16::MAX) => page.size(),
        offset => offset,
    })
}

/// Each item ends where the one before it begins.
fn check_hash(page: &Page) -> Result<(), Fault> {
    let mut end = page.size();
    for index in 0..page.entries()? {
        let at = page.offset(index)?;
        if at >= end {
            return Err(page.damaged(format!("item {index} overlaps the one before it")));
        }
        let fits = match page.u8(at)? {
            3 => end - at == ELSEWHERE_OCTETS,
            4 => end - at == TREE_OCTETS,
            _ => true,
        };
        if !fits {
            let octets = end - at;
            return Err(page.damaged(format!(
                "item {index} has {octets} octets, wrong for its type"
            )));
        }
        end = at;
    }
    expect(page, lowest(page)?, end)
}

/// The items stand in any order.
fn check_btree(page: &Page, page_type: PageType) -> Result<(), Fault> {
    let entries = page.entries()?;
    let mut items = Vec::with_capacity(entries);
    for index in 0..entries {
        let at = page.offset(index)?;
        // The duplicates of one key share its octets.
        let before = match (page_type, index.checked_sub(2)) {
            (PageType::BtreeLeaf, Some(before)) if index % 2 == 0 => Some(page.offset(before)?),
            _ => None,
        };
        if before != Some(at) {
            items.push((at, octets(page, page_type, at)?));
        }
    }
    items.sort_unstable();
    let mut end = lowest(page)?;
    for (at, octets) in items {
        expect(page, end, at)?;
        end = at + octets;
    }
    expect(page, end, page.size())
}

fn octets(page: &Page, page_type: PageType, at: usize) -> Result<usize, Fault> {
    let long = |head: usize| Ok((head + usize::from(page.u16(at)?)).next_multiple_of(ALIGNED_TO));
    match page_type {
        PageType::RecnoInner => Ok(RECNO_OCTETS),
        PageType::BtreeInner => long(INNER_HEAD),
        _ => match page.u8(at + 2)? & 0x7f {
            1 => long(LEAF_HEAD),
            2 | 3 => Ok(ELSEWHERE_OCTETS),
            4 => Err(external()),
            other => Err(page.damaged(format!("an item of unknown type {other}"))),
        },
    }
}

/// Where something must begin, and where it does.
fn expect(page: &Page, must: usize, does: usize) -> Result<(), Fault> {
    match must == does {
        true => Ok(()),
        false => Err(page.damaged(format!(
            "its items leave a gap or overlap: one ends at octet {must}, and the next begins at {does}"
        ))),
    }
}
