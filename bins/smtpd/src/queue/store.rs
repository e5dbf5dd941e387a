//! The queue on disk: one redb file for envelopes and small bodies, a file each for
//! large ones.
//!
//! ```text
//! QUEUE/queue.redb     tables `envelopes` (id -> JSON), `bodies` (id -> text), `meta`,
//!                      `progress` (id, number of a copy -> JSON of the copy)
//! QUEUE/large/ID       a large body; durable before its envelope is
//! QUEUE/incoming/ID    a body that is still being received; removed at start
//! ```
//!
//! What becomes of one copy of many goes into `progress`, so that a list of thousands
//! costs a small row a copy, not its whole envelope; the next writing of the envelope
//! takes the rows in.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use libmaps::store::disk::Disk;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::database::open_when_free;
use super::envelope::{Envelope, QueuedTarget};

const ENVELOPES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("envelopes");
const BODIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bodies");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const PROGRESS: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("progress");
/// The format that this program writes.
const FORMAT: u64 = 2;
/// The format without `progress`, which this program takes over.
const FORMAT_WITHOUT_PROGRESS: u64 = 1;

/// Why the queue could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Another server holds the queue.
    #[error("{}: another server has this queue", .0.display())]
    InUse(PathBuf),
    /// The queue was written by a program with another format.
    #[error("{}: format {found}, but this program knows format {FORMAT}", path.display())]
    Format {
        /// The queue's file.
        path: PathBuf,
        /// The number found there.
        found: u64,
    },
    /// There is no such message.
    #[error("{0}: no such message in the queue")]
    Unknown(String),
    /// It is just being tried, and can't be changed.
    #[error("{0}: just being tried; try again in a moment")]
    Busy(String),
    /// An envelope does not read.
    #[error("{id}: damaged envelope: {source}")]
    Envelope {
        /// Whose.
        id: String,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// The store failed.
    #[error("{}: {action}: {source}", path.display())]
    Store {
        /// The queue's file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The store's own error.
        source: Box<redb::Error>,
    },
    /// The operating system refused.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's own error.
        source: io::Error,
    },
    /// The queue's writer has ended because of an earlier error.
    #[error("the queue is closed")]
    Closed,
}

/// The text of a message.
#[derive(Debug)]
pub enum Body {
    /// In memory; stored beside the envelope.
    Small(Vec<u8>),
    /// In `incoming/ID`, synced.
    Large,
}

/// One change.
#[derive(Debug)]
pub(super) enum Change {
    Add(Box<Envelope>, Body),
    Update(Box<Envelope>),
    /// What became of some copies, by their places in the envelope.
    Note(Box<str>, Vec<(u32, QueuedTarget)>),
    Remove(Box<str>),
}

impl QueueError {
    /// Whether the disk failed: full, broken or gone. Another try may do better.
    pub(super) fn is_io(&self) -> bool {
        match self {
            QueueError::Io { .. } => true,
            QueueError::Store { source, .. } => is_io(source),
            _ => false,
        }
    }
}

/// The database answers nothing any more after one of these.
fn is_io(error: &redb::Error) -> bool {
    use redb::Error::{DatabaseClosed, Io, PreviousIo};
    matches!(error, Io(_) | PreviousIo | DatabaseClosed)
}

/// The open store. One process has it at a time.
///
/// A database that has met an error of the disk answers nothing but that error from then
/// on. So it is opened anew before the next use.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// `None` where it could not be opened anew yet.
    database: RwLock<Option<Database>>,
    failed: AtomicBool,
    /// New messages of a commit that the disk broke off. They may be there nevertheless,
    /// while their senders were told otherwise.
    doubtful: Mutex<HashSet<Box<str>>>,
}

/// The database, which stays open while this is held.
struct InUse<'a>(RwLockReadGuard<'a, Option<Database>>);

impl Store {
    /// Opens or makes the queue of this folder, repairing what a crash left.
    pub(super) fn open(folder: &Path, disk: Arc<dyn Disk>) -> Result<Self, QueueError> {
        for folder in [
            folder.to_path_buf(),
            folder.join("large"),
            folder.join("incoming"),
        ] {
            make_folder(disk.as_ref(), &folder)?;
        }
        let path = folder.join("queue.redb");
        let database = open_when_free(&disk, &path)?;
        let store = Store {
            folder: folder.into(),
            path,
            disk,
            database: RwLock::new(Some(database)),
            failed: AtomicBool::new(false),
            doubtful: Mutex::default(),
        };
        store.check_format()?;
        Ok(store)
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
        *database = Some(open_when_free(&self.disk, &self.path)?);
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

    /// A store of this format has all its tables; only a new or an old one is written to,
    /// as a commit
    /// waits for the disk.
    fn check_format(&self) -> Result<(), QueueError> {
        let found = match self.format()? {
            Some(found) => found,
            None => return self.lay_out(),
        };
        match found {
            FORMAT => return Ok(()),
            FORMAT_WITHOUT_PROGRESS => return self.lay_out(),
            _ => {}
        }
        Err(QueueError::Format {
            path: self.path.clone(),
            found,
        })
    }

    fn format(&self) -> Result<Option<u64>, QueueError> {
        let database = self.database()?;
        let read = self.begin_read(&database)?;
        let meta = match read.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            opened => self.try_redb("open table", opened)?,
        };
        let format = self.try_redb("read", meta.get("format"))?;
        Ok(format.map(|guard| guard.value()))
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

    /// Shows every envelope, and removes the orphans of a crash.
    pub(super) fn load(&self, mut each: impl FnMut(&Envelope)) -> Result<(), QueueError> {
        let database = self.database()?;
        let read = self.begin_read(&database)?;
        let table = self.try_redb("open table", read.open_table(ENVELOPES))?;
        // Files that no envelope claims: nobody was told 250 for them.
        let mut orphans = self.files_in("large")?;
        for row in self.try_redb("read", table.iter())? {
            let (id, json) = self.try_redb("read", row)?;
            let envelope = parse(id.value(), json.value())?;
            orphans.remove(&*envelope.id);
            each(&envelope);
        }
        for id in orphans {
            let _ = self.disk.remove_file(&self.large(&id));
        }
        for id in self.files_in("incoming")? {
            let _ = self.disk.remove_file(&self.incoming(&id));
        }
        Ok(())
    }

    fn files_in(&self, name: &str) -> Result<HashSet<String>, QueueError> {
        let folder = self.folder.join(name);
        let names = fs::read_dir(&folder).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        });
        names.map_err(|source| QueueError::Io {
            path: folder,
            action: "read folder",
            source,
        })
    }

    /// Makes all changes durable in one transaction; all happen or none. When the disk fails
    /// at the very end, nobody knows which: the next commit takes such messages out.
    pub(super) fn commit(&self, changes: &[Change]) -> Result<(), QueueError> {
        let result = self.write(changes);
        let doubtful = self.doubtful.lock();
        let mut doubtful = doubtful.unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(()) => doubtful.clear(),
            Err(error) if error.is_io() => doubtful.extend(added(changes).map(Into::into)),
            Err(_) => {}
        }
        result
    }

    fn write(&self, changes: &[Change]) -> Result<(), QueueError> {
        self.place_large(changes)?;
        let database = self.database()?;
        let mut write = self.begin_write(&database)?;
        write.set_two_phase_commit(true);
        {
            let mut envelopes = self.try_redb("open table", write.open_table(ENVELOPES))?;
            let mut bodies = self.try_redb("open table", write.open_table(BODIES))?;
            let mut progress = self.try_redb("open table", write.open_table(PROGRESS))?;
            // Their large texts stay until the next start: another try may need them.
            for id in self.doubtful() {
                self.try_redb("write", envelopes.remove(&*id))?;
                self.try_redb("write", bodies.remove(&*id))?;
            }
            for change in changes {
                match change {
                    Change::Add(envelope, body) => {
                        let json = json_of(envelope)?;
                        self.try_redb("write", envelopes.insert(&*envelope.id, json.as_slice()))?;
                        if let Body::Small(text) = body {
                            self.try_redb("write", bodies.insert(&*envelope.id, text.as_slice()))?;
                        }
                    }
                    Change::Update(envelope) => {
                        let json = json_of(envelope)?;
                        let rows = (&*envelope.id, 0)..=(&*envelope.id, u32::MAX);
                        self.try_redb("write", progress.retain_in(rows, |_, _| false))?;
                        self.try_redb("write", envelopes.insert(&*envelope.id, json.as_slice()))?;
                    }
                    Change::Note(id, copies) => {
                        for (at, copy) in copies {
                            let json = json(id, copy)?;
                            self.try_redb("write", progress.insert((&**id, *at), &*json))?;
                        }
                    }
                    Change::Remove(id) => {
                        let rows = (&**id, 0)..=(&**id, u32::MAX);
                        self.try_redb("write", progress.retain_in(rows, |_, _| false))?;
                        self.try_redb("write", envelopes.remove(&**id))?;
                        self.try_redb("write", bodies.remove(&**id))?;
                    }
                }
            }
        }
        self.try_redb("commit", write.commit())?;
        for change in changes {
            if let Change::Remove(id) = change {
                let _ = self.disk.remove_file(&self.large(id));
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn doubt(&self, id: &str) {
        self.doubtful.lock().unwrap().insert(id.into());
    }

    fn doubtful(&self) -> Vec<Box<str>> {
        let doubtful = self.doubtful.lock();
        let doubtful = doubtful.unwrap_or_else(PoisonError::into_inner);
        doubtful.iter().cloned().collect()
    }

    /// Large bodies go to their place, and the folder is synced, before an
    /// envelope says that they are there.
    fn place_large(&self, changes: &[Change]) -> Result<(), QueueError> {
        let mut placed = false;
        for change in changes {
            if let Change::Add(envelope, Body::Large) = change {
                let (from, to) = (self.incoming(&envelope.id), self.large(&envelope.id));
                match self.disk.rename(&from, &to) {
                    Ok(()) => {}
                    // A group that failed is tried again, change by change.
                    Err(_) if !from.exists() && to.exists() => {}
                    Err(source) => {
                        return Err(QueueError::Io {
                            path: to,
                            action: "rename",
                            source,
                        });
                    }
                }
                placed = true;
            }
        }
        if placed {
            let folder = self.folder.join("large");
            self.disk
                .sync_folder(&folder)
                .map_err(|source| QueueError::Io {
                    path: folder,
                    action: "fsync",
                    source,
                })?;
        }
        Ok(())
    }

    /// The envelope of this id, with what became of its copies since it was written.
    pub(super) fn envelope(&self, id: &str) -> Result<Envelope, QueueError> {
        let database = self.database()?;
        let read = self.begin_read(&database)?;
        let table = self.try_redb("open table", read.open_table(ENVELOPES))?;
        let mut envelope = match self.try_redb("read", table.get(id))? {
            Some(json) => parse(id, json.value())?,
            None => return Err(QueueError::Unknown(id.into())),
        };
        let table = self.try_redb("open table", read.open_table(PROGRESS))?;
        for row in self.try_redb("read", table.range((id, 0)..=(id, u32::MAX)))? {
            let (key, json) = self.try_redb("read", row)?;
            let at = usize::try_from(key.value().1).unwrap_or(usize::MAX);
            if let Some(target) = envelope.targets.get_mut(at) {
                *target = parse_json(id, json.value())?;
            }
        }
        Ok(envelope)
    }

    /// The text of this id: from the store, or from its file.
    pub(super) fn text(&self, id: &str) -> Result<Text, QueueError> {
        let database = self.database()?;
        let read = self.begin_read(&database)?;
        let table = self.try_redb("open table", read.open_table(BODIES))?;
        if let Some(text) = self.try_redb("read", table.get(id))? {
            return Ok(Text::Memory(text.value().to_vec()));
        }
        let path = self.large(id);
        match fs::File::open(&path) {
            Ok(file) => Ok(Text::File(file)),
            Err(source) => Err(QueueError::Io {
                path,
                action: "open",
                source,
            }),
        }
    }

    /// Removes the files of a large text whose message the store has not taken. Where
    /// nobody can tell, they stay until the next start.
    pub(super) fn discard(&self, id: &str) {
        if matches!(self.envelope(id), Err(QueueError::Unknown(_))) {
            let _ = self.disk.remove_file(&self.incoming(id));
            let _ = self.disk.remove_file(&self.large(id));
        }
    }

    pub(super) fn incoming(&self, id: &str) -> PathBuf {
        self.folder.join("incoming").join(id)
    }

    fn large(&self, id: &str) -> PathBuf {
        self.folder.join("large").join(id)
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

/// Ids of the new messages.
fn added(changes: &[Change]) -> impl Iterator<Item = &str> {
    changes.iter().filter_map(|change| match change {
        Change::Add(envelope, _) => Some(&*envelope.id),
        Change::Update(_) | Change::Note(..) | Change::Remove(_) => None,
    })
}

/// The text of a queued message.
#[derive(Debug)]
pub enum Text {
    /// A small one.
    Memory(Vec<u8>),
    /// A large one.
    File(fs::File),
}

impl Text {
    /// A reader from the start.
    #[must_use]
    pub fn into_reader(self) -> Box<dyn io::Read + Send> {
        match self {
            Text::Memory(octets) => Box::new(io::Cursor::new(octets)),
            Text::File(file) => Box::new(file),
        }
    }
}

/// Makes a folder, and those above it, where they are not there.
fn make_folder(disk: &dyn Disk, path: &Path) -> Result<(), QueueError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(disk, above)?;
    }
    match disk.create_folder(path, 0o700) {
        Err(source) if !path.is_dir() => Err(QueueError::Io {
            path: path.into(),
            action: "make folder",
            source,
        }),
        _ => Ok(()),
    }
}

fn parse(id: &str, json: &[u8]) -> Result<Envelope, QueueError> {
    parse_json(id, json)
}

fn parse_json<T: DeserializeOwned>(id: &str, json: &[u8]) -> Result<T, QueueError> {
    serde_json::from_slice(json).map_err(|source| QueueError::Envelope {
        id: id.into(),
        source,
    })
}

fn json_of(envelope: &Envelope) -> Result<Vec<u8>, QueueError> {
    json(&envelope.id, envelope)
}

fn json(id: &str, value: &impl Serialize) -> Result<Vec<u8>, QueueError> {
    serde_json::to_vec(value).map_err(|source| QueueError::Envelope {
        id: id.into(),
        source,
    })
}
