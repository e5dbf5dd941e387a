//! Classes `hash` and `btree`: redb stores.
//!
//! On disk: a table `map` (octets to octets), or, when duplicates were
//! allowed, a multimap table `map` whose values begin with a big-endian u32
//! that keeps them in the order of the source; a table `meta` (text to octets)
//! that [`Meta`] describes; and a table `filter` (the same) with one row,
//! `filter`, the octets of [`crate::store::filter::Filter`]. A format number
//! other than [`FORMAT`] is an error that names both.

mod draft;
mod draft_file;
mod format;
mod guard;
mod meta;
mod resident;
mod snapshot;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use redb::{
    Builder, ConcurrencyMode, MultimapTableDefinition, ReadOnlyDatabase, ReadOnlyMultimapTable,
    ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition,
};

use crate::lhs::Lhs;
use crate::map::{Entries, Entry, Map, MapName, Sink, StoreError};
use crate::rhs::Rhs;
use crate::store::disk::patiently;
use crate::store::filter::{self, Filter};
use crate::store::residence::Residence;
use resident::Resident;

pub(crate) use draft::{Change, Finish, edit, write};
pub use meta::{Duplicates, FORMAT, Meta};

type Octets = &'static [u8];

const MAP: TableDefinition<Octets, Octets> = TableDefinition::new("map");
const MULTIMAP: MultimapTableDefinition<Octets, Octets> = MultimapTableDefinition::new("map");
const META: TableDefinition<&str, Octets> = TableDefinition::new("meta");
const FILTER: TableDefinition<&str, Octets> = TableDefinition::new("filter");

/// Octets before each value of a multimap that keep its place.
const PLACE_OCTETS: usize = 4;

/// redb's cache for a snapshot, in octets: what one map may hold of its pages in memory.
const SNAPSHOT_CACHE_OCTETS: usize = 64 << 20;

/// The same for a map whose entries are read once, in order: no page is asked for again, and
/// memory that is used again is faster than new.
const SCAN_CACHE_OCTETS: usize = 2 << 20;

/// From this probe on the filter is loaded: a tool that asks once never pays for it.
const FILTER_FROM_PROBE: u32 = 4;

/// A published redb map, open for reading; a snapshot for as long as it lives.
pub struct RedbMap {
    name: MapName,
    store: Arc<Store>,
    meta: Meta,
    filter: OnceLock<Option<Filter>>,
    probes: AtomicU32,
    residence: Arc<Residence<Resident>>,
}

/// The open store.
struct Store {
    table: Table,
    db: ReadOnlyDatabase,
    /// The same file, to read all entries without driving pages out of the cache.
    file: Arc<File>,
}

enum Table {
    Single(ReadOnlyTable<Octets, Octets>),
    Multi(ReadOnlyMultimapTable<Octets, Octets>),
}

impl std::fmt::Debug for RedbMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbMap")
            .field("name", &self.name)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

impl RedbMap {
    /// Opens the store in `file`, which was found at `name`'s path.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a store that is damaged or was not closed
    /// cleanly, [`StoreError::Unsupported`] for another format number.
    pub fn open(file: File, path: &Path, name: MapName) -> Result<Self, StoreError> {
        RedbMap::open_with(file, path, name, SNAPSHOT_CACHE_OCTETS)
    }

    /// As [`RedbMap::open`], of a map whose entries are to be read once, in order.
    ///
    /// # Errors
    /// As [`RedbMap::open`].
    pub(crate) fn open_to_scan(file: File, path: &Path, name: MapName) -> Result<Self, StoreError> {
        RedbMap::open_with(file, path, name, SCAN_CACHE_OCTETS)
    }

    fn open_with(
        file: File,
        path: &Path,
        name: MapName,
        cache_octets: usize,
    ) -> Result<Self, StoreError> {
        guarded(path, || {
            let file = Arc::new(file);
            let backend = snapshot::Snapshot::new(Arc::clone(&file));
            let backend = backend.map_err(|e| from_backend(path, "open", e))?;
            if backend.is_cut_off() {
                let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(from_redb(path, redb::Error::Io(short)));
            }
            let db = Builder::new()
                .set_cache_size(cache_octets)
                // Beside a writer of another process, who isn't there, a reader does not load
                // what tells free pages from others: most of what opening a store would cost.
                .set_concurrency_mode(ConcurrencyMode::SingleWriter)
                .open_read_only_with_backend(backend)
                .map_err(|e| from_redb(path, e))?;
            let read = db.begin_read().map_err(|e| from_redb(path, e))?;
            let meta = read.open_table(META).map_err(|e| from_redb(path, e))?;
            let meta = Meta::read(&meta, path)?;
            let table = match meta.duplicates {
                Duplicates::None => {
                    Table::Single(read.open_table(MAP).map_err(|e| from_redb(path, e))?)
                }
                Duplicates::Kept => Table::Multi(
                    read.open_multimap_table(MULTIMAP)
                        .map_err(|e| from_redb(path, e))?,
                ),
            };
            Ok(RedbMap {
                name,
                store: Arc::new(Store { table, db, file }),
                meta,
                filter: OnceLock::new(),
                probes: AtomicU32::new(0),
                residence: Arc::default(),
            })
        })
    }

    /// What the map says of itself.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether the filter rules out the LHS of this hash.
    fn surely_absent(&self, hash: u64) -> bool {
        let filter = match self.filter.get() {
            Some(loaded) => loaded,
            None if self.probes.fetch_add(1, Ordering::Relaxed) < FILTER_FROM_PROBE => {
                return false;
            }
            None => self.filter.get_or_init(|| self.load_filter()),
        };
        filter.as_ref().is_some_and(|f| !f.may_contain(hash))
    }

    /// Has a thread read all entries into memory; without one redb goes on answering.
    fn read_entries(&self) {
        let Table::Single(_) = &self.store.table else {
            return;
        };
        let store = Arc::clone(&self.store);
        let (name, count) = (self.name.clone(), self.meta.entries);
        self.residence.fill(move || {
            let path = name.path.clone();
            let file = patiently(|| store.file.try_clone()).ok()?;
            let map = RedbMap::open_to_scan(file, &path, name).ok()?;
            // Too many entries, or one that can't be read, and all are left to the store; and
            // nobody wants them who does not hold the map any more.
            Resident::of(&map, count, || Arc::strong_count(&store) > 1).ok()
        });
    }

    /// The stored filter; `None`, and so no help, where it cannot be read.
    fn load_filter(&self) -> Option<Filter> {
        guarded(&self.name.path, || {
            let path = &self.name.path;
            let read = self.store.db.begin_read().map_err(|e| from_redb(path, e))?;
            let table = match read.open_table(FILTER) {
                Err(redb::TableError::TableDoesNotExist(_)) => read.open_table(META),
                found => found,
            };
            let table = table.map_err(|e| from_redb(path, e))?;
            let stored = table
                .get(meta::FILTER_KEY)
                .map_err(|e| from_redb(path, e))?;
            Ok(stored.and_then(|octets| Filter::from_bytes(octets.value())))
        })
        .ok()
        .flatten()
    }
}

impl Map for RedbMap {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        let hash = filter::hash(lhs);
        if self.surely_absent(hash) {
            return Ok(None);
        }
        if let Some(entries) = self.residence.get() {
            return Ok(entries.get(lhs, hash).map(Rhs::from));
        }
        if self.residence.is_time(self.meta.entries) {
            self.read_entries();
        }
        let path = &self.name.path;
        guarded(path, || match &self.store.table {
            Table::Single(table) => {
                let found = table.get(lhs).map_err(|e| from_redb(path, e))?;
                Ok(found.map(|v| Rhs::from(v.value())))
            }
            Table::Multi(table) => {
                let mut all = table.get(lhs).map_err(|e| from_redb(path, e))?;
                match all.next() {
                    Some(first) => {
                        let first = first.map_err(|e| from_redb(path, e))?;
                        Ok(Some(without_place(first.value())))
                    }
                    None => Ok(None),
                }
            }
        })
    }

    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        let Table::Multi(table) = &self.store.table else {
            return Ok(self.get(lhs)?.into_iter().collect());
        };
        let path = &self.name.path;
        guarded(path, || {
            let all = table.get(lhs).map_err(|e| from_redb(path, e))?;
            all.map(|value| {
                let value = value.map_err(|e| from_redb(path, e))?;
                Ok(without_place(value.value()))
            })
            .collect()
        })
    }

    fn iter(&self) -> Entries<'_> {
        let path = &self.name.path;
        let opened: Result<Entries<'_>, StoreError> = guarded(path, || match &self.store.table {
            Table::Single(table) => {
                let entries = table.iter().map_err(|e| from_redb(path, e))?;
                Ok(Box::new(entries.map(move |item| {
                    let (lhs, rhs) = item.map_err(|e| from_redb(path, e))?;
                    Ok(Entry::new(lhs.value(), rhs.value()))
                })) as Entries<'_>)
            }
            Table::Multi(table) => {
                use redb::ReadableMultimapTable;
                let groups = table.iter().map_err(|e| from_redb(path, e))?;
                Ok(Box::new(groups.flat_map(move |group| values_of(group, path))) as Entries<'_>)
            }
        });
        match opened {
            Ok(entries) => Box::new(Guarded {
                entries: Some(entries),
                path,
            }),
            Err(e) => Box::new(std::iter::once(Err(e))),
        }
    }

    fn for_each(&self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        let path = &self.name.path;
        guarded(path, || match &self.store.table {
            Table::Single(table) => {
                for item in table.iter().map_err(|e| from_redb(path, e))? {
                    let (lhs, rhs) = item.map_err(|e| from_redb(path, e))?;
                    sink(lhs.value(), rhs.value())?;
                }
                Ok(())
            }
            Table::Multi(table) => {
                use redb::ReadableMultimapTable;
                for group in table.iter().map_err(|e| from_redb(path, e))? {
                    let (lhs, values) = group.map_err(|e| from_redb(path, e))?;
                    for value in values {
                        let value = value.map_err(|e| from_redb(path, e))?;
                        sink(lhs.value(), after_place(value.value()))?;
                    }
                }
                Ok(())
            }
        })
    }

    fn settle(&self) {
        self.residence.settle();
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}

type Group<'a> = (
    redb::AccessGuard<'a, Octets>,
    redb::MultimapValue<'a, Octets>,
);

fn values_of<'a>(
    group: Result<Group<'a>, redb::StorageError>,
    path: &'a Path,
) -> Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'a> {
    match group {
        Ok((lhs, values)) => {
            let lhs = Lhs::from(lhs.value());
            Box::new(values.map(move |value| {
                let value = value.map_err(|e| from_redb(path, e))?;
                Ok(Entry {
                    lhs: lhs.clone(),
                    rhs: without_place(value.value()),
                })
            }))
        }
        Err(e) => Box::new(std::iter::once(Err(from_redb(path, e)))),
    }
}

/// An iteration that ends with the first error, a stopped store library included.
struct Guarded<'a> {
    entries: Option<Entries<'a>>,
    path: &'a Path,
}

impl Iterator for Guarded<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut entries = self.entries.take()?;
        let next = match guarded(self.path, || Ok(entries.next())) {
            Ok(next) => next?,
            Err(e) => return Some(Err(e)),
        };
        if next.is_ok() {
            self.entries = Some(entries);
        }
        Some(next)
    }
}

fn without_place(value: &[u8]) -> Rhs {
    Rhs::from(after_place(value))
}

fn after_place(value: &[u8]) -> &[u8] {
    value.get(PLACE_OCTETS..).unwrap_or_default()
}

/// Runs what calls into redb. redb stops with a panic on some damaged files;
/// to our callers that is one more kind of damage.
fn guarded<T>(path: &Path, f: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        Err(StoreError::Corrupt {
            path: path.into(),
            page: None,
            why: "the store library stopped reading it".into(),
        })
    })
}

/// An error of a file before redb has it: the system's, or damage that the header shows.
fn from_backend(path: &Path, action: &'static str, error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::InvalidData => from_redb(path, redb::Error::Io(error)),
        _ => StoreError::io(path, action, error),
    }
}

/// redb's errors in our words.
fn from_redb(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    let damaged = |why: String| StoreError::Corrupt {
        path: path.into(),
        page: None,
        why,
    };
    match error.into() {
        redb::Error::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            damaged("the file is shorter than it says".into())
        }
        redb::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => damaged(e.to_string()),
        redb::Error::Io(source) => StoreError::io(path, "read or write", source),
        redb::Error::PreviousIo => damaged("what is in it could not be read before".into()),
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path: path.into() },
        redb::Error::RepairAborted => damaged("it was not closed cleanly".into()),
        redb::Error::TableDoesNotExist(name) => damaged(format!("there is no table {name:?}")),
        redb::Error::UpgradeRequired(found) => StoreError::Unsupported {
            path: path.into(),
            why: format!("a redb file of version {found}, which this program does not read"),
        },
        redb::Error::ValueTooLarge(octets) => StoreError::TooLarge {
            path: path.into(),
            why: format!("an entry of {octets} octets does not fit"),
        },
        other => damaged(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
