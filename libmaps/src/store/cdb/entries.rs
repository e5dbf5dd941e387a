//! All entries of a cdb, in stored order.

use super::contents::{CHUNK_OCTETS, Window};
use super::reader::{CdbMap, Table};
use super::{HEADER_OCTETS, PAIR_OCTETS, TABLES, hash, pair};
use crate::map::{Entry, StoreError};

/// All records that a slot names.
#[derive(Debug)]
pub(super) struct CdbEntries<'a> {
    map: &'a CdbMap,
    window: Window<'a>,
    of_no_octets: Named<'a>,
    position: u64,
    records: u64,
    ended: bool,
}

impl<'a> CdbEntries<'a> {
    pub(super) fn new(map: &'a CdbMap) -> Self {
        CdbEntries {
            map,
            window: map.contents.window(CHUNK_OCTETS, map.header.records_end),
            of_no_octets: Named::new(map, b""),
            position: HEADER_OCTETS as u64,
            records: 0,
            ended: false,
        }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        while self.position < self.map.header.records_end {
            let position = self.position;
            let entry = self.record()?;
            // What was there before `cdb -c -0` added the same key once more is a record of no
            // key and of zeros, and no slot leads to it.
            let zeros =
                entry.lhs.as_bytes().is_empty() && entry.rhs.as_bytes().iter().all(|b| *b == 0);
            if !zeros || self.of_no_octets.has(position)? {
                self.records += 1;
                return Ok(Some(entry));
            }
        }
        self.ended = true;
        self.check_slots().map(|()| None)
    }

    /// The record where we are; then we are behind it.
    fn record(&mut self) -> Result<Entry, StoreError> {
        let records_end = self.map.header.records_end;
        let position = self.position;
        let map = self.map;
        let outside = || {
            map.corrupt(format!(
                "the record at {position} reaches into the hash tables"
            ))
        };
        if position + PAIR_OCTETS as u64 > records_end {
            return Err(outside());
        }
        let lengths = self.window.octets(position, PAIR_OCTETS)?;
        let (key, value) = pair(lengths).unwrap_or_default();
        let start = position + PAIR_OCTETS as u64;
        let end = start + u64::from(key) + u64::from(value);
        if end > records_end {
            return Err(outside());
        }
        map.check_size(position, end - start)?;
        let octets = self.window.octets(start, (end - start) as usize)?;
        let (key, value) = octets.split_at_checked(key as usize).unwrap_or_default();
        let entry = Entry::new(key, value);
        self.position = end;
        Ok(entry)
    }

    fn check_slots(&self) -> Result<(), StoreError> {
        let mut used = 0;
        for table in &self.map.header.tables {
            let mut at = table.position;
            let end = at + table.slots * PAIR_OCTETS as u64;
            let mut window = self.map.contents.window(CHUNK_OCTETS, end);
            while at < end {
                let size = (end - at).min(CHUNK_OCTETS as u64);
                let part = window.octets(at, size as usize)?;
                used += part
                    .chunks_exact(PAIR_OCTETS)
                    .filter_map(pair)
                    .filter(|(_, position)| *position != 0)
                    .count() as u64;
                at += size;
            }
        }
        if used == self.records {
            return Ok(());
        }
        Err(self.map.corrupt(format!(
            "{} records, and {used} slots of the hash tables in use",
            self.records
        )))
    }
}

impl Iterator for CdbEntries<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_entry().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The positions of the records of one key, by the slots that lead to them: in the order in which
/// they were added, so each slot is looked at once for all questions.
#[derive(Debug)]
struct Named<'a> {
    hash: u32,
    table: Option<Table>,
    slots: Window<'a>,
    /// How many slots were passed.
    passed: u64,
}

impl<'a> Named<'a> {
    fn new(map: &'a CdbMap, key: &[u8]) -> Self {
        let hash = hash(key);
        let table = map.header.tables.get(hash as usize % TABLES).copied();
        let end = table.map_or(0, |table| table.position + table.slots * PAIR_OCTETS as u64);
        Named {
            hash,
            table,
            slots: map.contents.window(CHUNK_OCTETS, end),
            passed: 0,
        }
    }

    /// Whether a slot of the key leads to the record at `position`, which is behind all that were
    /// asked for before.
    fn has(&mut self, position: u64) -> Result<bool, StoreError> {
        let Some(table) = self.table else {
            return Ok(false);
        };
        while self.passed < table.slots {
            let slot = (u64::from(self.hash >> 8) + self.passed) % table.slots;
            let at = table.position + slot * PAIR_OCTETS as u64;
            let (hash, to) = pair(self.slots.octets(at, PAIR_OCTETS)?).unwrap_or_default();
            if to == 0 {
                return Ok(false);
            }
            if hash == self.hash && u64::from(to) >= position {
                return Ok(u64::from(to) == position);
            }
            self.passed += 1;
        }
        Ok(false)
    }
}
