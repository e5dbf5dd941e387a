//! Reading a cdb, by position; nothing in the file is believed beyond its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{HEADER_OCTETS, PAIR_OCTETS, TABLES, hash, pair};
use crate::map::{Entries, Entry, Map, MapName, StoreError};
use crate::rhs::Rhs;
use crate::store::disk::patiently;
use crate::store::open_for_reading;

/// The longest key and value together that are read: a record may claim all of a file that has holes,
/// and costs nothing to send.
const MAX_RECORD_OCTETS: u64 = 64 << 20;
/// What an iteration reads at once.
const CHUNK_OCTETS: usize = 256 << 10;
/// The slots that a lookup reads at once: most searches end within these.
const SLOTS_AT_ONCE: usize = 8;

/// The positions and lengths of the 256 tables, and where the records end.
#[derive(Debug)]
pub(in crate::store) struct Header {
    tables: Vec<Table>,
    records_end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Table {
    position: u64,
    slots: u64,
}

impl Header {
    /// Reads the first 2048 octets of a file of `file_octets`; what is wrong if they are no header.
    pub(in crate::store) fn parse(first: &[u8], file_octets: u64) -> Result<Self, String> {
        let Some(header) = first.get(..HEADER_OCTETS) else {
            return Err("it is shorter than the header of a cdb".into());
        };
        let mut tables = Vec::with_capacity(TABLES);
        let mut records_end = None;
        let mut tables_octets = 0;
        for (number, octets) in header.chunks_exact(PAIR_OCTETS).enumerate() {
            let Some((position, slots)) = pair(octets) else {
                break;
            };
            let table = Table {
                position: position.into(),
                slots: slots.into(),
            };
            let octets = table.slots * PAIR_OCTETS as u64;
            if slots > 0 {
                if table.position < HEADER_OCTETS as u64 || table.position + octets > file_octets {
                    return Err(format!(
                        "hash table {number} is at {position} with {slots} slots, the file has {file_octets} octets"
                    ));
                }
                let end = records_end.get_or_insert(table.position);
                *end = table.position.min(*end);
            }
            tables_octets += octets;
            tables.push(table);
        }
        let records_end = records_end.unwrap_or(HEADER_OCTETS as u64);
        if records_end + tables_octets > file_octets {
            return Err("its hash tables overlap".into());
        }
        Ok(Header {
            tables,
            records_end,
        })
    }

    /// Whether the tables end where the file of `file_octets` ends, as every writer leaves it.
    ///
    /// A header of zeros is none: writers give empty tables a position too.
    pub(in crate::store) fn fills(&self, file_octets: u64) -> bool {
        let placed = |table: &Table| table.position >= HEADER_OCTETS as u64;
        self.tables.iter().any(placed)
            && self.records_end + self.slots() * PAIR_OCTETS as u64 == file_octets
    }

    fn slots(&self) -> u64 {
        self.tables.iter().map(|table| table.slots).sum()
    }
}

/// An open cdb.
///
/// ```no_run
/// # fn main() -> Result<(), libmaps::map::StoreError> {
/// use libmaps::map::{Map, MapClass, MapName};
/// use libmaps::store::CdbMap;
///
/// let path = std::path::Path::new("/etc/mail/access.cdb");
/// let map = CdbMap::open(path, MapName::new(MapClass::Cdb, "/etc/mail/access"))?;
/// println!("{:?}", map.get(b"connect:example.org")?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CdbMap {
    name: MapName,
    path: PathBuf,
    file: File,
    header: Header,
}

impl CdbMap {
    /// Opens the file at `path`; `name` is what the administrator wrote.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if its header is not that of a whole cdb.
    pub fn open(path: &Path, name: MapName) -> Result<Self, StoreError> {
        CdbMap::from_file(open_for_reading(path)?, path, name)
    }

    /// As [`CdbMap::open`], for a file that is open already.
    ///
    /// # Errors
    /// As [`CdbMap::open`].
    pub fn from_file(file: File, path: &Path, name: MapName) -> Result<Self, StoreError> {
        let octets = patiently(|| file.metadata())
            .map_err(|error| StoreError::io(path, "stat", error))?
            .len();
        let mut first = vec![0; octets.min(HEADER_OCTETS as u64) as usize];
        read_exact_at(&file, path, &mut first, 0)?;
        let header = Header::parse(&first, octets).map_err(|why| corrupt(path, why))?;
        Ok(CdbMap {
            name,
            path: path.into(),
            file,
            header,
        })
    }

    /// Calls `found` with the value of each record of `lhs` until it says stop.
    fn search(
        &self,
        lhs: &[u8],
        mut found: impl FnMut(Vec<u8>) -> Search,
    ) -> Result<(), StoreError> {
        let hash = hash(lhs);
        let Some(table) = self.header.tables.get(hash as usize % TABLES) else {
            return Ok(());
        };
        if table.slots == 0 {
            return Ok(());
        }
        let start = u64::from(hash >> 8) % table.slots;
        let mut searched = 0;
        let mut octets = [0; SLOTS_AT_ONCE * PAIR_OCTETS];
        while searched < table.slots {
            let slot = (start + searched) % table.slots;
            let count = (table.slots - slot)
                .min(table.slots - searched)
                .min(SLOTS_AT_ONCE as u64);
            let part = octets
                .get_mut(..count as usize * PAIR_OCTETS)
                .unwrap_or_default();
            self.read(part, table.position + slot * PAIR_OCTETS as u64)?;
            for (slot_hash, position) in part.chunks_exact(PAIR_OCTETS).filter_map(pair) {
                if position == 0 {
                    return Ok(());
                }
                if slot_hash == hash
                    && let Some(value) = self.value_if(position.into(), lhs)?
                    && found(value) == Search::Stop
                {
                    return Ok(());
                }
            }
            searched += count;
        }
        Ok(())
    }

    /// The value of the record at `position`, if its key is `lhs`.
    fn value_if(&self, position: u64, lhs: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let record = self.record(position)?;
        if record.key_octets != lhs.len() as u64 {
            return Ok(None);
        }
        // The lengths were checked against the file, so this is no more than it holds.
        let mut octets = vec![0; lhs.len()];
        self.read(&mut octets, position + PAIR_OCTETS as u64)?;
        if octets != lhs {
            return Ok(None);
        }
        let mut value = vec![0; record.value_octets as usize];
        self.read(&mut value, record.end - record.value_octets)?;
        Ok(Some(value))
    }

    fn record(&self, position: u64) -> Result<Record, StoreError> {
        let outside = || self.corrupt(format!("the record at {position} lies outside the records"));
        let start = position + PAIR_OCTETS as u64;
        if position < HEADER_OCTETS as u64 || start > self.header.records_end {
            return Err(outside());
        }
        let mut lengths = [0; PAIR_OCTETS];
        self.read(&mut lengths, position)?;
        let (key, value) = pair(&lengths).ok_or_else(outside)?;
        let end = start + u64::from(key) + u64::from(value);
        if end > self.header.records_end {
            return Err(outside());
        }
        self.check_size(position, end - start)?;
        Ok(Record {
            key_octets: key.into(),
            value_octets: value.into(),
            end,
        })
    }

    fn check_size(&self, position: u64, octets: u64) -> Result<(), StoreError> {
        if octets <= MAX_RECORD_OCTETS {
            return Ok(());
        }
        Err(self.corrupt(format!(
            "the record at {position} claims {octets} octets, and {MAX_RECORD_OCTETS} are read"
        )))
    }

    fn read(&self, octets: &mut [u8], at: u64) -> Result<(), StoreError> {
        read_exact_at(&self.file, &self.path, octets, at)
    }

    fn corrupt(&self, why: String) -> StoreError {
        corrupt(&self.path, why)
    }
}

#[derive(Debug)]
struct Record {
    key_octets: u64,
    value_octets: u64,
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    GoOn,
    Stop,
}

impl Map for CdbMap {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        let mut first = None;
        self.search(lhs, |value| {
            first = Some(Rhs::from(value));
            Search::Stop
        })?;
        Ok(first)
    }

    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        let mut all = Vec::new();
        let mut octets = 0;
        let mut whole = true;
        self.search(lhs, |value| {
            octets += value.len() as u64 + lhs.len() as u64 + PAIR_OCTETS as u64;
            // Distinct records fit between the header and the tables.
            whole = octets <= self.header.records_end;
            all.push(Rhs::from(value));
            if whole { Search::GoOn } else { Search::Stop }
        })?;
        if whole {
            Ok(all)
        } else {
            Err(self.corrupt("several slots lead to one record".into()))
        }
    }

    /// The entries in stored order. The number of records must be that of the
    /// slots in use, so that a file cut and mended does not pass for a shorter one.
    fn iter(&self) -> Entries<'_> {
        Box::new(CdbEntries {
            map: self,
            position: HEADER_OCTETS as u64,
            records: 0,
            chunk: Vec::new(),
            chunk_at: 0,
            ended: false,
        })
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}

#[derive(Debug)]
struct CdbEntries<'a> {
    map: &'a CdbMap,
    position: u64,
    records: u64,
    chunk: Vec<u8>,
    /// Where in the file the chunk begins.
    chunk_at: u64,
    ended: bool,
}

impl CdbEntries<'_> {
    fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        let records_end = self.map.header.records_end;
        if self.position == records_end {
            self.ended = true;
            return self.check_slots().map(|()| None);
        }
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
        let lengths = self.octets(position, PAIR_OCTETS)?;
        let (key, value) = pair(lengths).unwrap_or_default();
        let start = position + PAIR_OCTETS as u64;
        let end = start + u64::from(key) + u64::from(value);
        if end > records_end {
            return Err(outside());
        }
        map.check_size(position, end - start)?;
        let octets = self.octets(start, (end - start) as usize)?;
        let (key, value) = octets.split_at_checked(key as usize).unwrap_or_default();
        let entry = Entry::new(key, value);
        self.position = end;
        self.records += 1;
        Ok(Some(entry))
    }

    /// `count` octets of the records, at `at`; the caller has checked that they lie there.
    fn octets(&mut self, at: u64, count: usize) -> Result<&[u8], StoreError> {
        let end = at + count as u64;
        if at < self.chunk_at || end > self.chunk_at + self.chunk.len() as u64 {
            let rest = self.map.header.records_end - at;
            let size = rest.min(count.max(CHUNK_OCTETS) as u64) as usize;
            self.chunk.resize(size, 0);
            self.chunk_at = at;
            self.map.read(&mut self.chunk, at)?;
        }
        let start = (at - self.chunk_at) as usize;
        Ok(self.chunk.get(start..start + count).unwrap_or_default())
    }

    fn check_slots(&self) -> Result<(), StoreError> {
        let mut used = 0;
        let mut octets = vec![0; CHUNK_OCTETS];
        for table in &self.map.header.tables {
            let mut at = table.position;
            let end = at + table.slots * PAIR_OCTETS as u64;
            while at < end {
                let size = (end - at).min(CHUNK_OCTETS as u64);
                let part = octets.get_mut(..size as usize).unwrap_or_default();
                self.map.read(part, at)?;
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

fn read_exact_at(file: &File, path: &Path, octets: &mut [u8], at: u64) -> Result<(), StoreError> {
    file.read_exact_at(octets, at).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            corrupt(path, "it was cut while it was read".into())
        } else {
            StoreError::io(path, "read", error)
        }
    })
}

fn corrupt(path: &Path, why: String) -> StoreError {
    StoreError::Corrupt {
        path: path.into(),
        page: None,
        why,
    }
}
