//! Class btree: descent to a key, and all pairs in LHS order.

use std::cmp::Ordering;

use super::fault::Fault;
use super::file::PageFile;
use super::item::{Item, Presence};
use super::meta::{BtreeMeta, Duplicates};
use super::page::{Page, PageType};
use super::seen::Seen;
use super::tree::{Above, TreeKind, TreeWalk, enter, is_inner};
use super::values::Values;

/// The values of `lhs`, one [`Values`] for each of its items; none if it is absent.
pub(super) fn find(file: &PageFile, meta: &BtreeMeta, lhs: &[u8]) -> Result<Vec<Values>, Fault> {
    let mut leaf = descend(file, meta, lhs)?;
    let mut visited = Seen::default();
    visited.visit(leaf.number())?;
    let mut index = lower_bound(file, &leaf, lhs)?;
    check_place(file, meta, (&leaf, index), lhs)?;
    let mut found = Vec::new();
    loop {
        while index < leaf.entries()? {
            let (key, _) = Item::on_leaf(&leaf, index)?;
            if !key.equals(file, lhs)? {
                return Ok(found);
            }
            let (value, presence) = Item::on_leaf(&leaf, index + 1)?;
            if presence == Presence::Live {
                found.push(Values::of(value));
            }
            if meta.duplicates == Duplicates::Refused {
                return Ok(found);
            }
            index += 2;
        }
        // With duplicates the descent goes left of an equal key, so that its
        // first item may stand on the next leaf; empty leaves are passed.
        let next = leaf.next()?;
        if next == 0 || (meta.duplicates == Duplicates::Refused && leaf.entries()? > 0) {
            return Ok(found);
        }
        leaf = enter_leaf(file, next, &leaf)?;
        visited.visit(next)?;
        index = 0;
    }
}

/// Where a key above the leaves is a wrong one, the descent ends on a leaf where `lhs` is not,
/// though it is on another. The neighbours tell: it stands between their keys, or the tree is damaged.
fn check_place(
    file: &PageFile,
    meta: &BtreeMeta,
    (leaf, index): (&Page, usize),
    lhs: &[u8],
) -> Result<(), Fault> {
    let wrong = || Err(leaf.damaged("a key above it leads to the wrong leaf"));
    let before = leaf.previous()?;
    if index == 0 && before != 0 {
        let before = enter(file, before, TreeKind::Main, Above::Root(leaf.number()))?;
        if before.page_type()? != PageType::BtreeLeaf || before.next()? != leaf.number() {
            return Err(leaf.damaged("the links between the leaves contradict each other"));
        }
        even_entries(&before)?;
        if let Some(last) = before.entries()?.checked_sub(2) {
            let (last, _) = Item::on_leaf(&before, last)?;
            if last.compare(file, lhs)? != Ordering::Less {
                return wrong();
            }
        }
    }
    let after = leaf.next()?;
    if index == leaf.entries()? && after != 0 {
        let after = enter_leaf(file, after, leaf)?;
        if after.entries()? > 0 {
            let (first, _) = Item::on_leaf(&after, 0)?;
            let is_wrong = match first.compare(file, lhs)? {
                Ordering::Less => true,
                Ordering::Equal => meta.duplicates == Duplicates::Refused,
                Ordering::Greater => false,
            };
            if is_wrong {
                return wrong();
            }
        }
    }
    Ok(())
}

fn enter_leaf(file: &PageFile, number: u32, from: &Page) -> Result<Page, Fault> {
    let leaf = enter(file, number, TreeKind::Main, Above::Root(from.number()))?;
    if leaf.page_type()? != PageType::BtreeLeaf || leaf.previous()? != from.number() {
        return Err(leaf.damaged("the links between the leaves contradict each other"));
    }
    even_entries(&leaf)?;
    Ok(leaf)
}

/// The leaf where `lhs` is, if it is anywhere.
fn descend(file: &PageFile, meta: &BtreeMeta, lhs: &[u8]) -> Result<Page, Fault> {
    let mut page = enter(file, meta.root, TreeKind::Main, Above::Root(0))?;
    // Levels fall by one at each step, so this ends.
    while is_inner(&page)? {
        let entries = page.entries()?;
        // The first key counts as lower than any other, whatever it says.
        let (mut low, mut high) = (0, entries);
        while high - low > 1 {
            let middle = low.midpoint(high);
            let (key, _) = Item::on_inner(&page, middle)?;
            let right = match key.compare(file, lhs)? {
                Ordering::Less => true,
                Ordering::Equal => meta.duplicates == Duplicates::Refused,
                Ordering::Greater => false,
            };
            if right { low = middle } else { high = middle }
        }
        let (_, child) = Item::on_inner(&page, low)?;
        page = enter(file, child, TreeKind::Main, Above::of(&page)?)?;
    }
    even_entries(&page)?;
    Ok(page)
}

/// The index of the first key that is not lower than `lhs`.
fn lower_bound(file: &PageFile, leaf: &Page, lhs: &[u8]) -> Result<usize, Fault> {
    let (mut low, mut high) = (0, leaf.entries()? / 2);
    while low < high {
        let middle = low.midpoint(high);
        let (key, _) = Item::on_leaf(leaf, 2 * middle)?;
        if key.compare(file, lhs)? == Ordering::Less {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(2 * low)
}

fn even_entries(leaf: &Page) -> Result<(), Fault> {
    if leaf.entries()?.is_multiple_of(2) {
        Ok(())
    } else {
        Err(leaf.damaged("an odd number of entries: a key without a value"))
    }
}

/// All pairs of a btree, in LHS order.
#[derive(Debug)]
pub(super) struct BtreeWalk {
    leaves: TreeWalk,
    duplicates: Duplicates,
    leaf: Option<(Page, usize)>,
    /// Where on the leaf the current key is; duplicates share it.
    key_at: Option<usize>,
    key: Option<Vec<u8>>,
}

impl BtreeWalk {
    pub(super) fn new(meta: &BtreeMeta) -> Self {
        BtreeWalk {
            leaves: TreeWalk::new(meta.root, TreeKind::Main, 0),
            duplicates: meta.duplicates,
            leaf: None,
            key_at: None,
            key: None,
        }
    }

    /// The next key, and the values of one of its items.
    pub(super) fn next(
        &mut self,
        file: &PageFile,
        seen: &mut Seen,
    ) -> Result<Option<(Vec<u8>, Values)>, Fault> {
        loop {
            while let Some((leaf, index)) = self.next_on_leaf()? {
                let (value, presence) = Item::on_leaf(&leaf, index + 1)?;
                let values = Values::of(value);
                if presence == Presence::Deleted {
                    visit_deleted(values, file, seen)?;
                    continue;
                }
                let key = self.read_key(file, seen, &leaf, index)?;
                return Ok(Some((key, values)));
            }
            let Some(leaf) = self.leaves.next_leaf(file, seen)? else {
                return Ok(None);
            };
            even_entries(&leaf)?;
            self.leaf = Some((leaf, 0));
            self.key_at = None;
        }
    }

    fn next_on_leaf(&mut self) -> Result<Option<(Page, usize)>, Fault> {
        let Some((leaf, next)) = &mut self.leaf else {
            return Ok(None);
        };
        if *next >= leaf.entries()? {
            return Ok(None);
        }
        let index = *next;
        *next += 2;
        Ok(Some((leaf.clone(), index)))
    }

    fn read_key(
        &mut self,
        file: &PageFile,
        seen: &mut Seen,
        leaf: &Page,
        index: usize,
    ) -> Result<Vec<u8>, Fault> {
        let at = Some(leaf.offset(index)?);
        if at == self.key_at
            && let Some(key) = &self.key
        {
            if self.duplicates == Duplicates::Refused {
                return Err(leaf.damaged("two values of one key in a map without duplicates"));
            }
            return Ok(key.clone());
        }
        let (key, _) = Item::on_leaf(leaf, index)?;
        let key = key.read(file, seen)?;
        let in_order = match self.key.as_ref().map(|last| last.cmp(&key)) {
            None | Some(Ordering::Less) => true,
            Some(Ordering::Equal) => self.duplicates == Duplicates::Allowed,
            Some(Ordering::Greater) => false,
        };
        if !in_order {
            return Err(leaf.damaged(format!("the key of item {index} is out of order")));
        }
        self.key_at = at;
        self.key = Some(key.clone());
        Ok(key)
    }
}

/// A tree of deleted values has pages too; they count as reached.
fn visit_deleted(mut values: Values, file: &PageFile, seen: &mut Seen) -> Result<(), Fault> {
    if matches!(values, Values::Tree { .. }) {
        while values.next(file, seen)?.is_some() {}
    }
    Ok(())
}
