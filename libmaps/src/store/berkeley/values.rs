//! The values of one key: one, several on the page, or a tree of them.

use super::fault::Fault;
use super::file::PageFile;
use super::item::{Item, Presence};
use super::page::Page;
use super::seen::Seen;
use super::tree::{TreeKind, TreeWalk};

/// The values that an item stands for, in stored order.
#[derive(Debug)]
pub(super) enum Values {
    Done,
    /// One value.
    One(Item),
    /// Values packed into a hash item: u16 length, octets, the same u16 again.
    Packed {
        page: Page,
        next_at: usize,
        end: usize,
    },
    /// A tree of duplicates, sorted or by record number.
    Tree {
        walk: TreeWalk,
        leaf: Option<(Page, usize)>,
    },
}

impl Values {
    pub(super) fn of(item: Item) -> Self {
        match item {
            Item::Packed { page, at } => Values::Packed {
                page,
                next_at: at.start,
                end: at.end,
            },
            Item::Tree { root, page } => Values::Tree {
                walk: TreeWalk::new(root, TreeKind::Duplicates, page.number()),
                leaf: None,
            },
            single => Values::One(single),
        }
    }

    /// The next value.
    pub(super) fn next(
        &mut self,
        file: &PageFile,
        seen: &mut Seen,
    ) -> Result<Option<Vec<u8>>, Fault> {
        match self {
            Values::Done => Ok(None),
            Values::One(item) => {
                let value = item.read(file, seen)?;
                *self = Values::Done;
                Ok(Some(value))
            }
            Values::Packed { page, next_at, end } => next_packed(page, next_at, *end),
            Values::Tree { walk, leaf } => loop {
                if let Some((page, index)) = leaf {
                    while *index < page.entries()? {
                        let (item, presence) = Item::on_leaf(page, *index)?;
                        *index += 1;
                        if presence == Presence::Live {
                            return Ok(Some(item.read(file, seen)?));
                        }
                    }
                }
                let Some(page) = walk.next_leaf(file, seen)? else {
                    *self = Values::Done;
                    return Ok(None);
                };
                *leaf = Some((page, 0));
            },
        }
    }
}

fn next_packed(page: &Page, next_at: &mut usize, end: usize) -> Result<Option<Vec<u8>>, Fault> {
    if *next_at == end {
        return Ok(None);
    }
    let wrong = || page.damaged("packed duplicates do not fill their item");
    let octets = page.u16(*next_at)?;
    let start = *next_at + 2;
    let tail = start + usize::from(octets);
    if tail + 2 > end || page.u16(tail)? != octets {
        return Err(wrong());
    }
    *next_at = tail + 2;
    Ok(Some(page.slice(start..tail)?.to_vec()))
}
