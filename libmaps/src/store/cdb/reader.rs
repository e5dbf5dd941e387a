//! Reading a cdb, by position; nothing in the file is believed beyond its end.

use std::fs::File;
use std::path::Path;

use super::contents::{Contents, Window};
use super::entries::CdbEntries;
use super::{HEADER_OCTETS, PAIR_OCTETS, TABLES, hash, pair};
use crate::map::{Entries, Map, MapName, StoreError};
use crate::rhs::Rhs;
use crate::store::open_for_reading;

/// The longest key and value together that are read: a record may claim all of a file that has holes,
/// and costs nothing to send.
const MAX_RECORD_OCTETS: u64 = 64 << 20;
/// What a lookup reads of slots at once: most searches end within these.
const SLOTS_OCTETS: usize = 8 * PAIR_OCTETS;
/// What a lookup reads of a record at once: few are longer.
const RECORD_OCTETS: usize = 256;
/// Writers make so many slots for a record.
const SLOTS_PER_RECORD: u64 = 2;

/// The positions and lengths of the 256 tables, and where the records end.
#[derive(Debug)]
pub(in crate::store) struct Header {
    pub(super) tables: Vec<Table>,
    pub(super) records_end: u64,
}

/// A hash table: so many pairs of a hash and the position of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) position: u64,
    pub(super) slots: u64,
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
    pub(super) contents: Contents,
    pub(super) header: Header,
    slots: u64,
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
        let contents = Contents::new(file, path)?;
        let octets = contents.octets();
        let mut first = vec![0; octets.min(HEADER_OCTETS as u64) as usize];
        contents.read(&mut first, 0)?;
        let header = Header::parse(&first, octets).map_err(|why| corrupt(path, why))?;
        Ok(CdbMap {
            name,
            contents,
            slots: header.slots(),
            header,
        })
    }

    /// Calls `found` with the value of each record of `lhs` until it says stop.
    fn search(&self, lhs: &[u8], mut found: impl FnMut(&[u8]) -> Search) -> Result<(), StoreError> {
        let hash = hash(lhs);
        let Some(table) = self.header.tables.get(hash as usize % TABLES) else {
            return Ok(());
        };
        if table.slots == 0 {
            return Ok(());
        }
        self.contents.note_probe(self.slots / SLOTS_PER_RECORD);
        let end = table.position + table.slots * PAIR_OCTETS as u64;
        let mut slots = self.contents.window(SLOTS_OCTETS, end);
        let mut records = self.contents.window(RECORD_OCTETS, self.header.records_end);
        let start = u64::from(hash >> 8) % table.slots;
        for slot in (start..table.slots).chain(0..start) {
            let at = table.position + slot * PAIR_OCTETS as u64;
            let slot = slots.octets(at, PAIR_OCTETS)?;
            let (slot_hash, position) = pair(slot).unwrap_or_default();
            if position == 0 {
                return Ok(());
            }
            if slot_hash == hash
                && let Some(value) = self.value_if(position.into(), lhs, &mut records)?
                && found(value) == Search::Stop
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The value of the record at `position`, if its key is `lhs`.
    fn value_if<'a>(
        &self,
        position: u64,
        lhs: &[u8],
        records: &'a mut Window<'_>,
    ) -> Result<Option<&'a [u8]>, StoreError> {
        let outside = || self.corrupt(format!("the record at {position} lies outside the records"));
        let start = position + PAIR_OCTETS as u64;
        if position < HEADER_OCTETS as u64 || start > self.header.records_end {
            return Err(outside());
        }
        let lengths = records.octets(position, PAIR_OCTETS)?;
        let (key, value) = pair(lengths).ok_or_else(outside)?;
        let value_at = start + u64::from(key);
        let end = value_at + u64::from(value);
        if end > self.header.records_end {
            return Err(outside());
        }
        self.check_size(position, end - start)?;
        // The lengths were checked against the file, so this is no more than it holds.
        if key as usize != lhs.len() || records.octets(start, lhs.len())? != lhs {
            return Ok(None);
        }
        records.octets(value_at, value as usize).map(Some)
    }

    pub(super) fn check_size(&self, position: u64, octets: u64) -> Result<(), StoreError> {
        if octets <= MAX_RECORD_OCTETS {
            return Ok(());
        }
        Err(self.corrupt(format!(
            "the record at {position} claims {octets} octets, and {MAX_RECORD_OCTETS} are read"
        )))
    }

    pub(super) fn corrupt(&self, why: String) -> StoreError {
        corrupt(self.contents.path(), why)
    }
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
        Box::new(CdbEntries::new(self))
    }

    fn settle(&self) {
        self.contents.settle();
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}

fn corrupt(path: &Path, why: String) -> StoreError {
    StoreError::Corrupt {
        path: path.into(),
        page: None,
        why,
    }
}
