//! All entries of a Berkeley file, up to its end or to the first damage.

use crate::map::{Entry, StoreError};

use super::btree::BtreeWalk;
use super::fault::Fault;
use super::hash::HashWalk;
use super::page::PageType;
use super::seen::Seen;
use super::values::Values;
use super::{BerkeleyMap, Kind};

/// Duplicates repeat their key. With keys of up to a few KiB, as any mail map
/// has, that makes the entries less than this many times longer than the file;
/// beyond it the file was made to keep its reader busy.
const MOST_OCTETS_PER_FILE_OCTET: u64 = 1024;

/// A traversal: each page at most once, then a look at the pages that were not
/// reached, so that entries which nothing leads to are an error and not missing.
#[derive(Debug)]
pub(super) struct BerkeleyEntries<'a> {
    map: &'a BerkeleyMap,
    state: State,
    seen: Seen,
    key: Vec<u8>,
    values: Values,
    produced_octets: u64,
}

#[derive(Debug)]
enum State {
    Hash(HashWalk),
    Btree(BtreeWalk),
    Ended,
}

impl<'a> BerkeleyEntries<'a> {
    pub(super) fn new(map: &'a BerkeleyMap) -> Self {
        BerkeleyEntries {
            map,
            state: match &map.kind {
                Kind::Hash(meta) => State::Hash(HashWalk::new(meta, map.function)),
                Kind::Btree(meta) => State::Btree(BtreeWalk::new(meta)),
            },
            seen: Seen::default(),
            key: Vec::new(),
            values: Values::Done,
            produced_octets: 0,
        }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, Fault> {
        let file = &self.map.file;
        loop {
            if let Some(value) = self.values.next(file, &mut self.seen)? {
                self.produced_octets += (self.key.len() + value.len()) as u64;
                if self.produced_octets / MOST_OCTETS_PER_FILE_OCTET > file.octets() {
                    return Err(Fault::damaged(
                        0,
                        "duplicates of long keys make its entries a thousand times longer than the file",
                    ));
                }
                return Ok(Some(Entry::new(self.key.clone(), value)));
            }
            let pair = match &mut self.state {
                State::Hash(walk) => walk.next(file, &mut self.seen)?,
                State::Btree(walk) => walk.next(file, &mut self.seen)?,
                State::Ended => return Ok(None),
            };
            let Some((key, values)) = pair else {
                self.state = State::Ended;
                self.look_for_lost_entries()?;
                return Ok(None);
            };
            self.key = key;
            self.values = values;
        }
    }

    fn look_for_lost_entries(&self) -> Result<(), Fault> {
        let file = &self.map.file;
        for number in (1..file.pages()).filter(|&number| !self.seen.contains(number)) {
            let page = file.read(number)?;
            let holds_entries = matches!(
                page.page_type()?,
                PageType::Hash
                    | PageType::BtreeLeaf
                    | PageType::RecnoLeaf
                    | PageType::DuplicateLeaf
            );
            if holds_entries && page.entries()? > 0 {
                return Err(page.damaged("a page with entries that no other page leads to"));
            }
        }
        Ok(())
    }
}

impl Iterator for BerkeleyEntries<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_entry() {
            Ok(entry) => entry.map(Ok),
            Err(fault) => {
                self.state = State::Ended;
                self.values = Values::Done;
                Some(Err(fault.at(&self.map.path)))
            }
        }
    }
}
