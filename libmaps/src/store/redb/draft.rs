//! Filling a draft: a new store from sorted entries, or a copy with a few changes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use redb::{Builder, Database, ReadableTable, WriteTransaction};

use super::draft_file::{DraftFile, Watch};
use super::meta::{Duplicates, FILTER_KEY, Meta};
use super::{FILTER, MAP, META, MULTIMAP, PLACE_OCTETS, from_backend, from_redb, guarded};
use crate::lhs::Lhs;
use crate::map::StoreError;
use crate::rhs::Rhs;
use crate::store::Sink;
use crate::store::disk::DiskFile;
use crate::store::filter::{self, Filter};

/// redb's cache while a draft is filled, in octets; what it writes is held by [`DraftFile`].
const DRAFT_CACHE_OCTETS: usize = 12 << 20;

/// How much of a draft waits in memory to be written, in octets.
const DRAFT_MEMORY_OCTETS: u64 = 16 << 20;

/// A store of fewer entries than this is compacted in any case: that takes no time, and redb
/// begins with a file of a mebioctet.
const ALWAYS_COMPACTED_BELOW: u64 = 10_000;

/// How a store that was filled is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// With few holes in the file: a map that is built once and copied by edits. redb grows a
    /// file in steps and writes to what it needs of it, so that the rest takes no place on the
    /// disk; only where that is much is the store compacted, which has redb look at every page
    /// again.
    FewHoles,
    /// As redb grew it, with holes in the file: a map that is written anew at each change.
    /// Compacting takes a change among 100,000 accounts from 0.17 s to 0.4 s.
    AsGrown,
}

fn open(file: DiskFile, path: &Path) -> Result<(Database, Watch), StoreError> {
    let (backend, watch) =
        DraftFile::new(file, DRAFT_MEMORY_OCTETS).map_err(|e| from_backend(path, "stat", e))?;
    let db = Builder::new()
        .set_cache_size(DRAFT_CACHE_OCTETS)
        .create_with_backend(backend)
        .map_err(|e| from_redb(path, e))?;
    Ok((db, watch))
}

/// Does `work` in the store in `file`, which is closed then. Where redb stopped at something
/// damaged it may stop once more as it closes: that must not come while the first panic is on its
/// way up, which would end the program.
fn in_store<T>(
    file: DiskFile,
    path: &Path,
    work: impl FnOnce(&mut Database, &Watch) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let (mut db, watch) = guarded(path, || open(file, path))?;
    let done = guarded(path, || work(&mut db, &watch));
    let closed = guarded(path, || {
        drop(db);
        watch.check(path)
    });
    let done = done?;
    closed?;
    Ok(done)
}

fn begin(db: &Database, path: &Path) -> Result<WriteTransaction, StoreError> {
    let mut write = db.begin_write().map_err(|e| from_redb(path, e))?;
    write.set_two_phase_commit(true);
    Ok(write)
}

/// Fills the empty `file` with what `fill` hands over, which comes in LHS order.
///
/// An LHS may come several times in a row if `meta` says that duplicates are
/// kept. `meta.entries` is counted here. Returns the number of entries.
pub(crate) fn write(
    file: DiskFile,
    path: &Path,
    meta: &Meta,
    finish: Finish,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    in_store(file, path, |db, watch| {
        let write = begin(db, path)?;
        let mut hashes = Vec::new();
        let entries = match meta.duplicates {
            Duplicates::None => fill_single(&write, path, &mut hashes, fill)?,
            Duplicates::Kept => fill_multi(&write, path, &mut hashes, fill)?,
        };
        let meta = Meta {
            entries,
            ..meta.clone()
        };
        put_meta(&write, path, &meta, &Filter::of(&hashes))?;
        drop(hashes);
        write.commit().map_err(|e| from_redb(path, e))?;
        let wasteful = finish == Finish::FewHoles && watch.is_mostly_holes();
        if wasteful || entries < ALWAYS_COMPACTED_BELOW {
            db.compact().map_err(|e| from_redb(path, e))?;
        }
        Ok(entries)
    })
}

fn fill_single(
    write: &WriteTransaction,
    path: &Path,
    hashes: &mut Vec<u64>,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut table = write.open_table(MAP).map_err(|e| from_redb(path, e))?;
    let mut cursor = table
        .upper_bound_mut(Bound::<&[u8]>::Unbounded)
        .map_err(|e| from_redb(path, e))?;
    let mut entries = 0;
    fill(&mut |lhs, rhs| {
        cursor
            .insert_before(lhs, rhs)
            .map_err(|e| from_cursor(path, e))?;
        hashes.push(filter::hash(lhs));
        entries += 1;
        Ok(())
    })?;
    cursor.close().map_err(|e| from_redb(path, e))?;
    Ok(entries)
}

fn fill_multi(
    write: &WriteTransaction,
    path: &Path,
    hashes: &mut Vec<u64>,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut table = write
        .open_multimap_table(MULTIMAP)
        .map_err(|e| from_redb(path, e))?;
    let (mut entries, mut place) = (0, 0);
    let mut last: Option<Vec<u8>> = None;
    let mut value = Vec::new();
    fill(&mut |lhs, rhs| {
        if last.as_deref() == Some(lhs) {
            place += 1;
        } else {
            place = 0;
            last = Some(lhs.to_vec());
            hashes.push(filter::hash(lhs));
        }
        with_place(place, rhs, &mut value);
        table
            .insert(lhs, value.as_slice())
            .map_err(|e| from_redb(path, e))?;
        entries += 1;
        Ok(())
    })?;
    Ok(entries)
}

fn with_place(place: u32, rhs: &[u8], value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(&place.to_be_bytes());
    value.extend_from_slice(rhs);
}

/// What is to become of one LHS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Exactly this value, whatever stood there.
    Set(Rhs),
    /// One more value; the same as `Set` where duplicates are not kept.
    Add(Rhs),
    /// None at all.
    Remove,
}

/// Applies changes to the copy of a store in `file`, which says what `meta` says afterwards, but
/// for the number of its entries.
pub(crate) fn edit(
    file: DiskFile,
    path: &Path,
    meta: &Meta,
    changes: &BTreeMap<Lhs, Vec<Change>>,
) -> Result<(), StoreError> {
    in_store(file, path, |db, _| {
        let write = begin(db, path)?;
        let entries = match meta.duplicates {
            Duplicates::None => edit_single(&write, path, meta.entries, changes)?,
            Duplicates::Kept => edit_multi(&write, path, meta.entries, changes)?,
        };
        let filter = edited_filter(&write, path, entries, changes)?;
        let meta = Meta {
            entries,
            ..meta.clone()
        };
        put_meta(&write, path, &meta, &filter)?;
        write.commit().map_err(|e| from_redb(path, e))
    })
}

fn edit_single(
    write: &WriteTransaction,
    path: &Path,
    mut entries: u64,
    changes: &BTreeMap<Lhs, Vec<Change>>,
) -> Result<u64, StoreError> {
    let mut table = write.open_table(MAP).map_err(|e| from_redb(path, e))?;
    for (lhs, change) in all(changes) {
        let (before, after) = match change {
            Change::Set(rhs) | Change::Add(rhs) => {
                let old = table.insert(lhs.as_bytes(), rhs.as_bytes());
                (old.map_err(|e| from_redb(path, e))?.is_some(), true)
            }
            Change::Remove => {
                let old = table.remove(lhs.as_bytes());
                (old.map_err(|e| from_redb(path, e))?.is_some(), false)
            }
        };
        entries = entries
            .saturating_add(u64::from(after))
            .saturating_sub(u64::from(before));
    }
    Ok(entries)
}

fn edit_multi(
    write: &WriteTransaction,
    path: &Path,
    mut entries: u64,
    changes: &BTreeMap<Lhs, Vec<Change>>,
) -> Result<u64, StoreError> {
    let mut table = write
        .open_multimap_table(MULTIMAP)
        .map_err(|e| from_redb(path, e))?;
    let mut value = Vec::new();
    for (lhs, change) in all(changes) {
        let rhs = match change {
            Change::Set(rhs) | Change::Add(rhs) => Some(rhs),
            Change::Remove => None,
        };
        let mut place = 0;
        if let Change::Add(_) = change {
            use redb::ReadableMultimapTable;
            let values = table.get(lhs.as_bytes()).map_err(|e| from_redb(path, e))?;
            for value in values {
                let value = value.map_err(|e| from_redb(path, e))?;
                place = place_of(value.value()).saturating_add(1);
            }
        } else {
            let gone = table
                .remove_all(lhs.as_bytes())
                .map_err(|e| from_redb(path, e))?;
            entries = entries.saturating_sub(gone.count() as u64);
        }
        if let Some(rhs) = rhs {
            with_place(place, rhs.as_bytes(), &mut value);
            table
                .insert(lhs.as_bytes(), value.as_slice())
                .map_err(|e| from_redb(path, e))?;
            entries = entries.saturating_add(1);
        }
    }
    Ok(entries)
}

fn all(changes: &BTreeMap<Lhs, Vec<Change>>) -> impl Iterator<Item = (&Lhs, &Change)> {
    changes
        .iter()
        .flat_map(|(lhs, changes)| changes.iter().map(move |change| (lhs, change)))
}

fn place_of(value: &[u8]) -> u32 {
    value
        .first_chunk::<PLACE_OCTETS>()
        .map_or(0, |place| u32::from_be_bytes(*place))
}

/// The stored filter with the new LHSs noted, or a new one where it has become too small. A build
/// makes it of just the size that its entries need, and the new one has every entry read: a
/// quarter more goes into the old one, which lets one absent LHS in 75 pass then.
fn edited_filter(
    write: &WriteTransaction,
    path: &Path,
    entries: u64,
    changes: &BTreeMap<Lhs, Vec<Change>>,
) -> Result<Filter, StoreError> {
    let stored = |table| {
        let table = write.open_table(table).map_err(|e| from_redb(path, e))?;
        let stored = table.get(FILTER_KEY).map_err(|e| from_redb(path, e))?;
        Ok(stored.and_then(|octets| Filter::from_bytes(octets.value())))
    };
    let stored = match stored(FILTER)? {
        Some(filter) => Some(filter),
        None => stored(META)?,
    };
    if let Some(mut filter) = stored
        && filter.room().saturating_add(filter.room() / 4) >= entries
    {
        for lhs in changes.keys() {
            filter.insert(filter::hash(lhs.as_bytes()));
        }
        return Ok(filter);
    }
    let mut filter = Filter::with_room_for(entries.saturating_mul(2));
    let mut note = |lhs: &[u8]| filter.insert(filter::hash(lhs));
    if let Ok(table) = write.open_table(MAP) {
        for item in table.iter().map_err(|e| from_redb(path, e))? {
            let (lhs, _) = item.map_err(|e| from_redb(path, e))?;
            note(lhs.value());
        }
    } else {
        use redb::ReadableMultimapTable;
        let table = write
            .open_multimap_table(MULTIMAP)
            .map_err(|e| from_redb(path, e))?;
        for item in table.iter().map_err(|e| from_redb(path, e))? {
            let (lhs, _) = item.map_err(|e| from_redb(path, e))?;
            note(lhs.value());
        }
    }
    Ok(filter)
}

fn put_meta(
    write: &WriteTransaction,
    path: &Path,
    meta: &Meta,
    filter: &Filter,
) -> Result<(), StoreError> {
    let mut table = write.open_table(META).map_err(|e| from_redb(path, e))?;
    meta.write(&mut table, path)?;
    table.remove(FILTER_KEY).map_err(|e| from_redb(path, e))?;
    let mut table = write.open_table(FILTER).map_err(|e| from_redb(path, e))?;
    table
        .insert(FILTER_KEY, filter.to_bytes().as_slice())
        .map_err(|e| from_redb(path, e))?;
    Ok(())
}

fn from_cursor(path: &Path, error: redb::CursorError) -> StoreError {
    match error {
        redb::CursorError::Storage(e) => from_redb(path, e),
        other => StoreError::Corrupt {
            path: path.into(),
            page: None,
            why: format!("the entries came out of order: {other}"),
        },
    }
}
