//! Writing a cdb.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64;

use super::{HEADER_OCTETS, PAIR_OCTETS, TABLES, hash, unique};
use crate::map::StoreError;
use crate::store::disk::DiskFile;
use crate::store::duplicate::{DuplicateList, Keep, OLD_ENTRY};

/// Records go to the file in pieces of this size.
const BUFFER_OCTETS: usize = 256 << 10;

/// Writes a cdb: records as they come, then the hash tables.
///
/// Memory: 16 octets for each entry until [`CdbWriter::finish`], 32 while the
/// tables are laid out, and a buffer of 256 KiB.
///
/// [`CdbWriter::finish`] checks nothing for duplicates: a second value of an LHS
/// is stored after the first, and a lookup gives the first.
/// [`CdbWriter::finish_keeping`] takes them out.
#[derive(Debug)]
pub struct CdbWriter<W> {
    out: W,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Where the next record begins.
    position: u32,
    /// One of each record.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) hash: u32,
    pub(super) position: u32,
    /// A second hash: records that share both are most likely of one LHS.
    pub(super) check: u32,
    /// The line of the source; one past 2^32 - 1 is given as that.
    pub(super) line: u32,
}

impl<W: Write + Seek> CdbWriter<W> {
    /// Begins a cdb at the start of `out`, an empty file; `path` is named in errors.
    pub fn new(out: W, path: impl Into<PathBuf>) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_OCTETS);
        buffer.resize(HEADER_OCTETS, 0);
        CdbWriter {
            out,
            path: path.into(),
            buffer,
            position: HEADER_OCTETS as u32,
            slots: Vec::new(),
        }
    }

    /// Adds an entry after those that are there.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] if the file would pass 4 GiB, tables included;
    /// the entry is then not in it. [`StoreError::Io`] if the file can't be written.
    pub fn add(&mut self, lhs: &[u8], rhs: &[u8]) -> Result<(), StoreError> {
        self.add_from(OLD_ENTRY, lhs, rhs)
    }

    /// As [`CdbWriter::add`], for an entry from `line` of a source.
    ///
    /// # Errors
    /// As [`CdbWriter::add`].
    pub fn add_from(&mut self, line: u64, lhs: &[u8], rhs: &[u8]) -> Result<(), StoreError> {
        let (Ok(lhs_octets), Ok(rhs_octets)) = (u32::try_from(lhs.len()), u32::try_from(rhs.len()))
        else {
            return Err(self.too_large());
        };
        let end = u64::from(self.position)
            + PAIR_OCTETS as u64
            + u64::from(lhs_octets)
            + u64::from(rhs_octets);
        // Each entry takes two slots of a table.
        let tables = (self.slots.len() as u64 + 1) * 2 * PAIR_OCTETS as u64;
        let (Ok(next), Ok(_)) = (u32::try_from(end), u32::try_from(end + tables)) else {
            return Err(self.too_large());
        };
        self.put_pair(lhs_octets, rhs_octets)?;
        self.put(lhs)?;
        self.put(rhs)?;
        self.slots.push(Slot {
            hash: hash(lhs),
            position: self.position,
            check: xxh3_64(lhs) as u32,
            line: u32::try_from(line).unwrap_or(u32::MAX),
        });
        self.position = next;
        Ok(())
    }

    /// Writes the tables and the header, flushes, and gives `out` back.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file can't be written.
    pub fn finish(mut self) -> Result<W, StoreError> {
        let sorted = by_table(std::mem::take(&mut self.slots));
        self.write_tables(&sorted)
    }

    fn write_tables(mut self, sorted: &[Slot]) -> Result<W, StoreError> {
        let counts = counts(sorted);
        let mut header = Vec::with_capacity(HEADER_OCTETS);
        let mut rest = sorted;
        let mut table = Vec::new();
        for count in counts {
            let (own, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = others;
            lay_out(own, &mut table);
            // No table has more octets than the 4 GiB that `add` keeps to.
            let slots = table.len() as u32;
            header.extend_from_slice(&self.position.to_le_bytes());
            header.extend_from_slice(&slots.to_le_bytes());
            for slot in &table {
                self.put_pair(slot.hash, slot.position)?;
            }
            self.position += slots * PAIR_OCTETS as u32;
        }
        self.write_buffer()?;
        let mut out = self.out;
        out.seek(SeekFrom::Start(0))
            .and_then(|_| out.write_all(&header))
            .and_then(|()| out.flush())
            .map_err(|error| StoreError::io(&self.path, "write", error))?;
        Ok(out)
    }

    fn put_pair(&mut self, first: u32, second: u32) -> Result<(), StoreError> {
        let mut octets = [0; PAIR_OCTETS];
        let (left, right) = octets.split_at_mut(4);
        left.copy_from_slice(&first.to_le_bytes());
        right.copy_from_slice(&second.to_le_bytes());
        self.put(&octets)
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        if self.buffer.len() + octets.len() > BUFFER_OCTETS {
            self.write_buffer()?;
            if octets.len() > BUFFER_OCTETS {
                return self
                    .out
                    .write_all(octets)
                    .map_err(|error| self.failed(error));
            }
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), StoreError> {
        self.out
            .write_all(&self.buffer)
            .map_err(|error| StoreError::io(&self.path, "write", error))?;
        self.buffer.clear();
        Ok(())
    }

    fn failed(&self, error: io::Error) -> StoreError {
        StoreError::io(&self.path, "write", error)
    }

    fn too_large(&self) -> StoreError {
        StoreError::TooLarge {
            path: self.path.clone(),
            why: "a cdb ends at 4 GiB; use class hash or btree".into(),
        }
    }
}

impl CdbWriter<DiskFile> {
    /// As [`CdbWriter::finish`], with only those entries of an LHS that `keep` says; gives how
    /// many entries the map holds, and the later entries of an LHS in the order of their lines.
    ///
    /// The file must be open for reading too.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file can't be written or read back.
    pub fn finish_keeping(mut self, keep: Keep) -> Result<(u64, DuplicateList), StoreError> {
        self.write_buffer()?;
        let mut sorted = by_table(std::mem::take(&mut self.slots));
        let found = unique::find(self.out.file(), &sorted, keep)
            .map_err(|e| StoreError::io(&self.path, "read back", e))?;
        if !found.dropped.is_empty() {
            self.position = unique::close_up(&self.out, &found.dropped, &mut sorted, self.position)
                .and_then(|end| self.out.seek(SeekFrom::Start(end.into())).map(|_| end))
                .map_err(|error| self.failed(error))?;
        }
        let entries = sorted.len() as u64;
        self.write_tables(&sorted)?;
        Ok((entries, found.duplicates.into_list()))
    }
}

pub(super) fn table_of(slot: &Slot) -> usize {
    slot.hash as usize % TABLES
}

/// How many slots each table has.
fn counts(slots: &[Slot]) -> [usize; TABLES] {
    let mut counts = [0; TABLES];
    for slot in slots {
        if let Some(count) = counts.get_mut(table_of(slot)) {
            *count += 1;
        }
    }
    counts
}

/// The slots table by table, each table's in the order of its records.
fn by_table(slots: Vec<Slot>) -> Vec<Slot> {
    let mut next = [0_usize; TABLES];
    let mut start = 0;
    for (next, count) in next.iter_mut().zip(counts(&slots)) {
        *next = start;
        start += count;
    }
    let mut sorted = vec![Slot::default(); slots.len()];
    for slot in slots {
        if let Some(at) = next.get_mut(table_of(&slot)) {
            if let Some(place) = sorted.get_mut(*at) {
                *place = slot;
            }
            *at += 1;
        }
    }
    sorted
}

/// Fills `table` with twice as many slots as there are records, half of them empty.
fn lay_out(own: &[Slot], table: &mut Vec<Slot>) {
    let slots = own.len() * 2;
    table.clear();
    table.resize(slots, Slot::default());
    for slot in own {
        let start = (slot.hash >> 8) as usize % slots;
        // Records begin behind the header, so position 0 says empty.
        let (before, after) = table.split_at_mut(start);
        let free = after
            .iter_mut()
            .chain(before)
            .find(|place| place.position == 0);
        if let Some(place) = free {
            *place = *slot;
        }
    }
}
