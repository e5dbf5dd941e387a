//! The database of the queue: one redb file for envelopes and small bodies.
//!
//! It is behind the journal: it takes in what a file of the journal holds in one
//! transaction, and says up to which frame it has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use libmaps::store::disk::Disk;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::change::Piece;
use super::database::{Opening, open_when_free};
use super::error::{QueueError, is_io};
use super::layer::{Changed, Delta, Layer};

const ENVELOPES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("envelopes");
const BODIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bodies");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const PROGRESS: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("progress");
/// The row of `meta` with the number of the last frame that was taken in.
const TAKEN: &str = "taken";
/// The format that this program writes.
pub(super) const FORMAT: u64 = 3;
/// Formats without `progress`, and without a journal, which this program takes over.
const FORMATS_BEFORE: [u64; 2] = [1, 2];

/// The open database. One process has it at a time.
///
/// A database that has met an error of the disk answers nothing but that error from then
/// on. So it is opened anew before the next use.
#[derive(Debug)]
pub(super) struct Base {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// `None` where it could not be opened anew yet.
    database: RwLock<Option<Database>>,
    failed: AtomicBool,
}

/// What is done with the database of this file; a panic is an error like others.
fn guarded<T>(path: &Path, act: impl FnOnce() -> Result<T, QueueError>) -> Result<T, QueueError> {
    // What it leaves behind is the database, which is not used again.
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "it broke off".to_owned(),
        };
        Err(QueueError::Damaged {
            path: path.into(),
            text,
        })
    })
}

/// The database, which stays open while this is held.
struct InUse<'a>(RwLockReadGuard<'a, Option<Database>>);

/// An envelope as it is stored, and what became of copies since.
pub(super) struct Stored {
    /// JSON.
    pub(super) envelope: Piece,
    /// JSON of copies, by their places.
    pub(super) notes: Vec<(u32, Piece)>,
}

type Octets<'a> = Table<'a, &'static str, &'static [u8]>;
type Rows<'a> = Table<'a, (&'static str, u32), &'static [u8]>;

impl Base {
    /// Opens or makes the database of this file, repairing what a crash left.
    pub(super) fn open(path: PathBuf, disk: Arc<dyn Disk>) -> Result<Self, QueueError> {
        guarded(&path.clone(), || {
            let database = open_when_free(&disk, &path, Opening::First)?;
            let base = Base {
                path,
                disk,
                database: RwLock::new(Some(database)),
                failed: AtomicBool::new(false),
            };
            base.check_format()?;
            Ok(base)
        })
    }

    /// Does something with the database. It panics over some of what may be damaged in its
    /// file; then it is opened anew before the next use, which checks it.
    fn guarded<T>(&self, act: impl FnOnce() -> Result<T, QueueError>) -> Result<T, QueueError> {
        let done = guarded(&self.path, act);
        if let Err(QueueError::Damaged { .. }) = done {
            self.failed.store(true, Ordering::Release);
        }
        done
    }

    /// The database, opened anew if the disk has failed under it.
    fn database(&self) -> Result<InUse<'_>, QueueError> {
        if self.failed.load(Ordering::Acquire) {
            self.reopen()?;
        }
        Ok(InUse(
            self.database.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    fn reopen(&self) -> Result<(), QueueError> {
        let write = self.database.write();
        let mut database = write.unwrap_or_else(PoisonError::into_inner);
        // Another may have done it meanwhile.
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        // The old one holds the lock of the file.
        *database = None;
        *database = Some(open_when_free(&self.disk, &self.path, Opening::Again)?);
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    fn begin_read(&self, database: &InUse<'_>) -> Result<ReadTransaction, QueueError> {
        match database.0.as_ref() {
            Some(database) => self.try_redb("begin", database.begin_read()),
            None => self.try_redb("begin", Err(redb::Error::DatabaseClosed)),
        }
    }

    fn begin_write(&self, database: &InUse<'_>) -> Result<WriteTransaction, QueueError> {
        match database.0.as_ref() {
            Some(database) => self.try_redb("begin", database.begin_write()),
            None => self.try_redb("begin", Err(redb::Error::DatabaseClosed)),
        }
    }

    /// A database of this format has all its tables; only a new or an old one is written to,
    /// as a commit waits for the disk.
    fn check_format(&self) -> Result<(), QueueError> {
        match self.number("format")? {
            Some(FORMAT) => Ok(()),
            Some(found) if !FORMATS_BEFORE.contains(&found) => Err(QueueError::Format {
                path: self.path.clone(),
                found,
            }),
            _ => self.lay_out(),
        }
    }

    /// The number of the last frame that was taken in.
    pub(super) fn taken(&self) -> Result<u64, QueueError> {
        self.guarded(|| Ok(self.number(TAKEN)?.unwrap_or(0)))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, QueueError> {
        let database = self.database()?;
        let read = self.begin_read(&database)?;
        let meta = match read.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            opened => self.try_redb("open table", opened)?,
        };
        let number = self.try_redb("read", meta.get(name))?;
        Ok(number.map(|guard| guard.value()))
    }

    fn lay_out(&self) -> Result<(), QueueError> {
        let database = self.database()?;
        let write = self.begin_write(&database)?;
        {
            let mut meta = self.try_redb("open table", write.open_table(META))?;
            self.try_redb("write", meta.insert("format", FORMAT))?;
            self.try_redb("open table", write.open_table(ENVELOPES))?;
            self.try_redb("open table", write.open_table(BODIES))?;
            self.try_redb("open table", write.open_table(PROGRESS))?;
        }
        self.try_redb("commit", write.commit())
    }

    /// Shows every envelope.
    pub(super) fn each(
        &self,
        mut each: impl FnMut(&str, &[u8]) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        self.guarded(|| {
            let database = self.database()?;
            let read = self.begin_read(&database)?;
            let table = self.try_redb("open table", read.open_table(ENVELOPES))?;
            for row in self.try_redb("read", table.iter())? {
                let (id, json) = self.try_redb("read", row)?;
                each(id.value(), json.value())?;
            }
            Ok(())
        })
    }

    /// Takes a layer in, with which all frames up to this number are: wholly or not at all.
    /// When the disk fails at the very end, nobody knows which; done again it comes to the same.
    pub(super) fn take_in(&self, layer: &Layer, number: u64) -> Result<(), QueueError> {
        self.guarded(|| {
            let database = self.database()?;
            let mut write = self.begin_write(&database)?;
            write.set_two_phase_commit(true);
            {
                let mut envelopes = self.try_redb("open table", write.open_table(ENVELOPES))?;
                let mut bodies = self.try_redb("open table", write.open_table(BODIES))?;
                let mut progress = self.try_redb("open table", write.open_table(PROGRESS))?;
                let mut meta = self.try_redb("open table", write.open_table(META))?;
                for (id, delta) in layer.sorted() {
                    match delta {
                        Delta::Removed => {
                            self.clear(&mut progress, id)?;
                            self.try_redb("write", envelopes.remove(id))?;
                            self.try_redb("write", bodies.remove(id))?;
                        }
                        Delta::Changed(changed) => {
                            self.write(&mut envelopes, &mut bodies, &mut progress, id, changed)?;
                        }
                    }
                }
                self.try_redb("write", meta.insert(TAKEN, number))?;
            }
            self.try_redb("commit", write.commit())
        })
    }

    fn write(
        &self,
        envelopes: &mut Octets<'_>,
        bodies: &mut Octets<'_>,
        progress: &mut Rows<'_>,
        id: &str,
        changed: &Changed,
    ) -> Result<(), QueueError> {
        if let Some(envelope) = &changed.envelope {
            if !changed.is_new() {
                self.clear(progress, id)?;
            }
            self.try_redb("write", envelopes.insert(id, &**envelope))?;
        }
        if let Some(text) = &changed.text {
            self.try_redb("write", bodies.insert(id, &**text))?;
        }
        for (at, copy) in &changed.notes {
            self.try_redb("write", progress.insert((id, *at), &**copy))?;
        }
        Ok(())
    }

    fn clear(&self, progress: &mut Rows<'_>, id: &str) -> Result<(), QueueError> {
        let rows = (id, 0)..=(id, u32::MAX);
        self.try_redb("write", progress.retain_in(rows, |_, _| false))
    }

    /// The envelope of this id, if it is there.
    pub(super) fn envelope(&self, id: &str) -> Result<Option<Stored>, QueueError> {
        self.guarded(|| {
            let database = self.database()?;
            let read = self.begin_read(&database)?;
            let table = self.try_redb("open table", read.open_table(ENVELOPES))?;
            let Some(json) = self.try_redb("read", table.get(id))? else {
                return Ok(None);
            };
            let mut stored = Stored {
                envelope: json.value().into(),
                notes: Vec::new(),
            };
            let table = self.try_redb("open table", read.open_table(PROGRESS))?;
            for row in self.try_redb("read", table.range((id, 0)..=(id, u32::MAX)))? {
                let (key, json) = self.try_redb("read", row)?;
                stored.notes.push((key.value().1, json.value().into()));
            }
            Ok(Some(stored))
        })
    }

    /// The small text of this id, if it has one.
    pub(super) fn text(&self, id: &str) -> Result<Option<Vec<u8>>, QueueError> {
        self.guarded(|| {
            let database = self.database()?;
            let read = self.begin_read(&database)?;
            let table = self.try_redb("open table", read.open_table(BODIES))?;
            let text = self.try_redb("read", table.get(id))?;
            Ok(text.map(|text| text.value().to_vec()))
        })
    }

    fn try_redb<T, E: Into<redb::Error>>(
        &self,
        action: &'static str,
        result: Result<T, E>,
    ) -> Result<T, QueueError> {
        result.map_err(|e| {
            let source = Box::new(e.into());
            if is_io(&source) {
                self.failed.store(true, Ordering::Release);
            }
            QueueError::Store {
                path: self.path.clone(),
                action,
                source,
            }
        })
    }
}
