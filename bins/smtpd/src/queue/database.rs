//! The database of the queue, on a disk.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libmaps::store::disk::{Disk, DiskFile};
use redb::backends::FileBackend;
use redb::{BackendError, Database, DatabaseError, StorageBackend, StorageError};

use super::error::QueueError;

/// Pages of the store that are kept in memory; redb's own limit is a gigabyte.
const MAX_CACHE_OCTETS: usize = 16 * 1024 * 1024;
/// The length of redb's magic number, which stands at the start.
const MAGIC_OCTETS: usize = 9;
/// A database that was never finished is not longer than this: redb begins with less.
const MAX_UNFINISHED_OCTETS: u64 = 4 * 1024 * 1024;
/// How long a store that is in use is waited for.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Why a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The server starts; it may make one.
    First,
    /// The disk has failed under it. It was there.
    Again,
}

/// Opens the database, or makes it. A server that was killed may have left a child that was
/// just being started and still has the file, for the blink of an eye: that is waited for.
pub(super) fn open_when_free(
    disk: &Arc<dyn Disk>,
    path: &Path,
    opening: Opening,
) -> Result<Database, QueueError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match open(disk, path, opening) {
            Ok(database) => return Ok(database),
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(QueueError::InUse(path.into()));
            }
            Err(other) => {
                return Err(QueueError::Store {
                    path: path.into(),
                    action: "open",
                    source: Box::new(other.into()),
                });
            }
        }
    }
}

fn open(disk: &Arc<dyn Disk>, path: &Path, opening: Opening) -> Result<Database, DatabaseError> {
    let file = disk.open_or_create(path, 0o600)?;
    let _ = disk.set_mode(&file, 0o600);
    // redb takes the same lock once more.
    match disk.try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(TryLockError::Error(e)) => return Err(e.into()),
    }
    // Whoever had it before may have met a sync that failed. Not all file systems can forget.
    let _ = disk.forget(&file);
    if !is_begun(&file)? {
        if opening == Opening::Again || file.metadata()?.len() > MAX_UNFINISHED_OCTETS {
            let text = "it has lost its beginning".to_owned();
            return Err(StorageError::Corrupted(text).into());
        }
        disk.set_len(&file, 0)?;
    }
    let backend = QueueFile {
        read: FileBackend::new(file.try_clone()?)?,
        written: DiskFile::new(Arc::clone(disk), file),
    };
    Database::builder()
        .set_cache_size(MAX_CACHE_OCTETS)
        .create_with_backend(backend)
}

/// Whether redb has ever finished making the database: its magic number is the last thing that
/// it writes then. A server that is killed before that leaves a file that redb refuses, and
/// nobody was told 250 for anything in it.
fn is_begun(file: &File) -> io::Result<bool> {
    let mut first = [0; MAGIC_OCTETS];
    match file.read_exact_at(&mut first, 0) {
        Ok(()) => Ok(first != [0; MAGIC_OCTETS]),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// The file as redb sees it: read and locked as redb does, written through the disk.
#[derive(Debug)]
struct QueueFile {
    read: FileBackend,
    written: DiskFile,
}

impl StorageBackend for QueueFile {
    fn len(&self) -> io::Result<u64> {
        self.read.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.written.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.written.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.read.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.read.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.read.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.read.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.read.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.read.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.read.query_lock_range(start, end)
    }
}
