//! What redb reads of somebody's file, judged before redb sees it.
//!
//! redb makes room for a page before it reads it, as much as the page's number claims: up to
//! 4 GiB. So the page numbers in a page are judged when that page is read. Each must lead to a
//! place in the file, and no two to the same, as in every store that redb wrote. All pages that
//! redb can be led to are then together no longer than the file (holes count), and no tree goes
//! in a circle or comes to the same leaves again.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::format::{self, BadValue, Header, Layout, Leaf, PAGE_OCTETS, Page, PageNumber, Tree};

/// No map is longer, in octets: a bit or two are kept for each page.
const MOST_OCTETS: u64 = 1 << 40;

/// Judges the pages of one file.
#[derive(Debug)]
pub(super) struct Guard {
    /// `None`: redb refuses the file for its header, before it reads a page.
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    layout: Layout,
    /// The pages that the roots of table trees begin with.
    tables: Vec<u64>,
    notes: Mutex<Notes>,
}

/// What is known of the pages, by the page of order 0 that they begin with.
#[derive(Debug)]
struct Notes {
    /// A page number leads there; this one is kept of all parts of a page.
    taken: Pages,
    judged: Pages,
    /// It belongs to the tree of a multimap table.
    multimap: Pages,
    /// It was written since the file was opened.
    written: Pages,
}

impl Guard {
    /// For the file of `len` octets that begins with `header`.
    ///
    /// # Errors
    /// `InvalidData` where the header leads outside the file.
    pub(super) fn new(header: &[u8], len: u64) -> io::Result<Self> {
        let Some(Header { layout, roots }) = Header::parse(header, len) else {
            return Ok(Guard { known: None });
        };
        if len > MOST_OCTETS {
            return Err(damaged("it is longer than any map"));
        }
        let mut notes = Notes {
            taken: Pages::with_room(layout.pages()),
            judged: Pages::with_room(layout.pages()),
            multimap: Pages::default(),
            written: Pages::default(),
        };
        let table = |root| {
            let place = place(&layout, root, 0)?;
            notes.take(place.clone(), 0)?;
            Ok(place.start)
        };
        let tables = roots.into_iter().map(table).collect::<io::Result<_>>()?;
        Ok(Guard {
            known: Some(Known {
                layout,
                tables,
                notes: Mutex::new(notes),
            }),
        })
    }

    /// Judges what was read at `offset`: a page, or some of the header, which was judged before.
    ///
    /// # Errors
    /// `InvalidData` where it leads outside the file, or to where something else leads.
    pub(super) fn judge(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        match (offset / PAGE_OCTETS, &self.known) {
            (0, _) => Ok(()),
            (at, Some(known)) => known.judge(at, octets),
            (_, None) => Err(damaged("its header is not that of a map")),
        }
    }

    /// Notes that redb wrote to the file: what redb wrote is not judged.
    pub(super) fn note_written(&self, offset: u64, len: usize) {
        if let Some(known) = &self.known {
            let end = offset.saturating_add(len as u64).div_ceil(PAGE_OCTETS);
            known.notes().written.add(offset / PAGE_OCTETS..end);
        }
    }
}

impl Known {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, at: u64, octets: &[u8]) -> io::Result<()> {
        let mut notes = self.notes();
        if notes.written.has(at) {
            return Ok(());
        }
        let is_table_tree = self.tables.contains(&at);
        match Page::parse(octets) {
            Some(Page::Branch(_)) if is_table_tree => {
                return Err(damaged(format!(
                    "page {at} lists more tables than a map has"
                )));
            }
            Some(Page::Branch(numbers)) => {
                let (is_new, is_multimap) = (!notes.judged.has(at), notes.multimap.has(at));
                for child in format::children(numbers) {
                    let place = place(&self.layout, child, at)?;
                    if is_multimap {
                        notes.multimap.add(place.start..place.start + 1);
                    }
                    if is_new {
                        notes.take(place, at)?;
                    }
                }
            }
            Some(Page::Leaf(leaf)) if is_table_tree => {
                self.judge_values(&mut notes, at, &leaf, format::table)?;
            }
            Some(Page::Leaf(leaf)) if notes.multimap.has(at) => {
                self.judge_values(&mut notes, at, &leaf, format::values_tree)?;
            }
            Some(Page::Leaf(_)) => {}
            None => return Err(damaged(format!("page {at} is not one"))),
        }
        notes.judged.add(at..at + 1);
        Ok(())
    }

    fn judge_values(
        &self,
        notes: &mut Notes,
        at: u64,
        leaf: &Leaf<'_>,
        tree: impl Fn(&[u8]) -> Result<Option<Tree>, BadValue>,
    ) -> io::Result<()> {
        let is_new = !notes.judged.has(at);
        for value in leaf.values() {
            let tree = value.ok_or(BadValue).and_then(&tree);
            let root = match tree {
                Ok(Some(Tree::Plain(root) | Tree::Multimap(root))) => root,
                Ok(None) => continue,
                Err(BadValue) => return Err(damaged(format!("page {at} holds no map's values"))),
            };
            let place = place(&self.layout, root, at)?;
            if let Ok(Some(Tree::Multimap(_))) = tree {
                notes.multimap.add(place.start..place.start + 1);
            }
            if is_new {
                notes.take(place, at)?;
            }
        }
        Ok(())
    }
}

impl Notes {
    /// Notes that page `from` leads there.
    fn take(&mut self, place: Range<u64>, from: u64) -> io::Result<()> {
        match self.taken.add(place) {
            true => Ok(()),
            false => Err(damaged(format!(
                "page {from} leads where another page does"
            ))),
        }
    }
}

/// Where page `from` leads by a page number; the header is page 0.
fn place(layout: &Layout, number: PageNumber, from: u64) -> io::Result<Range<u64>> {
    layout
        .place(number)
        .ok_or_else(|| damaged(format!("page {from} leads outside the file")))
}

fn damaged(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// A set of pages of order 0, one bit each.
#[derive(Debug, Default)]
struct Pages(Vec<u64>);

impl Pages {
    fn with_room(pages: u64) -> Self {
        // Zeros that nothing was written to take no memory.
        Pages(vec![0; usize::try_from(pages / 64 + 1).unwrap_or_default()])
    }

    fn has(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok();
        let word = word.and_then(|at| self.0.get(at));
        word.is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Adds the pages; whether none of them was there.
    fn add(&mut self, pages: Range<u64>) -> bool {
        // Nearly all are of one page.
        if pages.end - pages.start == 1
            && let Some(word) = self.0.get_mut((pages.start / 64) as usize)
        {
            let bit = 1 << (pages.start % 64);
            let was_none = *word & bit == 0;
            *word |= bit;
            return was_none;
        }
        self.add_many(pages)
    }

    #[cold]
    fn add_many(&mut self, pages: Range<u64>) -> bool {
        let (mut page, mut were_none) = (pages.start, true);
        while page < pages.end {
            let (Ok(at), first) = (usize::try_from(page / 64), page % 64) else {
                return false;
            };
            let count = (pages.end - page).min(64 - first);
            let bits = (u64::MAX >> (64 - count)) << first;
            if at >= self.0.len() {
                self.0.resize(at + 1, 0);
            }
            if let Some(word) = self.0.get_mut(at) {
                were_none &= *word & bits == 0;
                *word |= bits;
            }
            page += count;
        }
        were_none
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const ROOT: u64 = 1;
    const LEN: u64 = 100 * PAGE_OCTETS;

    /// For a file whose table tree is page [`ROOT`].
    fn guard(root: u64) -> io::Result<Guard> {
        let mut header = vec![0; format::HEADER_OCTETS];
        let root = (root - 1).to_le_bytes();
        let fields: [(usize, &[u8]); 6] = [
            (0, b"redb\x1a\x0a\xa9\x0d\x0a\x04"),
            (12, &4096u32.to_le_bytes()),
            (20, &1000u32.to_le_bytes()),
            (64, &[3, 1, 0]),
            (72, &root),
            (192, &[3, 0, 0]),
        ];
        for (at, part) in fields {
            header[at..at + part.len()].copy_from_slice(part);
        }
        Guard::new(&header, LEN)
    }

    fn branch(children: &[u64]) -> Vec<u8> {
        let mut octets = vec![2, 0, children.len() as u8 - 1, 0, 0, 0, 0, 0];
        octets.resize(8 + 16 * children.len(), 0);
        octets.extend(children.iter().flat_map(|page| (page - 1).to_le_bytes()));
        octets
    }

    /// A leaf of these values under empty keys.
    fn leaf(values: &[Vec<u8>]) -> Vec<u8> {
        let mut octets = vec![1, 0, values.len() as u8, 0];
        let mut end = 4 + 8 * values.len() as u32;
        octets.extend(values.iter().flat_map(|_| end.to_le_bytes()));
        for value in values {
            end += value.len() as u32;
            octets.extend(end.to_le_bytes());
        }
        octets.extend(values.concat());
        octets
    }

    fn table(kind: u8, page: u64) -> Vec<u8> {
        let mut definition = vec![0; 60];
        definition[0] = kind;
        definition[9] = 1;
        definition[10..18].copy_from_slice(&(page - 1).to_le_bytes());
        definition
    }

    fn subtree(page: u64) -> Vec<u8> {
        [&[3], &(page - 1).to_le_bytes()[..], &[0; 24]].concat()
    }

    fn judge(guard: &Guard, page: u64, octets: &[u8]) -> bool {
        let result = guard.judge(page * PAGE_OCTETS, octets);
        if let Err(e) = &result {
            assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        }
        result.is_ok()
    }

    #[test]
    fn no_two_page_numbers_lead_to_one_place() {
        let guard = guard(ROOT).unwrap();
        assert!(judge(&guard, ROOT, &leaf(&[table(3, 2), table(3, 3)])));
        assert!(judge(&guard, 2, &branch(&[4, 5])));
        // What was judged is read again when redb has forgotten it.
        assert!(judge(&guard, 2, &branch(&[4, 5])));
        assert!(judge(&guard, ROOT, &leaf(&[table(3, 2), table(3, 3)])));
        for children in [[6, 6], [7, 5], [8, 3], [9, ROOT], [10, 101]] {
            assert!(!judge(&guard, 4, &branch(&children)), "{children:?}");
        }
        // Pages 5 and 6 in one.
        let mut octets = branch(&[11, 12]);
        octets[40..48].copy_from_slice(&(2 | 1u64 << 59).to_le_bytes());
        assert!(!judge(&guard, 3, &octets));
    }

    #[test]
    fn the_table_tree_is_a_leaf_of_definitions() {
        assert!(guard(101).is_err());
        let of_several = branch(&[2, 3]);
        for octets in [
            of_several,
            vec![0; 4096],
            leaf(&[table(5, 2)]),
            leaf(&[vec![3]]),
        ] {
            assert!(!judge(&guard(ROOT).unwrap(), ROOT, &octets), "{octets:?}");
        }
        assert!(judge(&guard(ROOT).unwrap(), ROOT, &leaf(&[])));
    }

    #[test]
    fn values_have_trees_in_multimap_tables_alone() {
        let guard = guard(ROOT).unwrap();
        assert!(judge(&guard, ROOT, &leaf(&[table(3, 2), table(4, 3)])));
        assert!(judge(&guard, 2, &leaf(&[subtree(200), b"any".to_vec()])));
        assert!(judge(&guard, 3, &branch(&[4, 5])));
        assert!(judge(&guard, 4, &leaf(&[subtree(6), vec![1]])));
        assert!(judge(&guard, 6, &leaf(&[subtree(200), b"any".to_vec()])));
        for value in [
            subtree(200),
            subtree(2),
            subtree(6),
            b"any".to_vec(),
            vec![],
        ] {
            assert!(
                !judge(&guard, 5, &leaf(&[vec![1], value.clone()])),
                "{value:?}"
            );
        }
    }

    #[test]
    fn what_redb_wrote_is_not_judged() {
        let guard = guard(ROOT).unwrap();
        guard.note_written(2 * PAGE_OCTETS, 2 * 4096);
        for page in 2..4 {
            assert!(judge(&guard, page, &branch(&[200, 201])));
        }
        assert!(!judge(&guard, 4, &branch(&[200, 201])));
        guard.note_written(1 << 30, 1);
        assert!(judge(&guard, (1 << 30) / PAGE_OCTETS, b"anything"));
    }

    proptest! {
        #[test]
        fn pages_are_a_set(ranges: Vec<(u16, u8)>) {
            let (mut pages, mut want) = (Pages::default(), BTreeSet::new());
            for (start, count) in ranges {
                let range = u64::from(start)..u64::from(start) + u64::from(count);
                let were_none = want.range(range.clone()).next().is_none();
                want.extend(range.clone());
                prop_assert_eq!(pages.add(range.clone()), were_none);
                for page in range.start.saturating_sub(1)..range.end + 1 {
                    prop_assert_eq!(pages.has(page), want.contains(&page));
                }
            }
        }
    }
}
