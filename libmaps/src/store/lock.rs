//! Locks between the writers of one map.
//!
//! Two locks are taken, in this order. The lock file `.NAME.lock` beside the
//! map serialises our own writers from draft to rename; redb's lock would not
//! do, since it is gone when the draft is closed. Then flock(2) on the map
//! itself, if there is one, so that other programs that lock the file are
//! waited for. Readers of ours take neither: what they hold never changes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{Disk, patiently};
use super::path::{effective_user, folder_of};
use crate::map::StoreError;

/// How long a writer waits for another before it gives up with [`StoreError::InUse`].
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How long a lock file that can't be opened is tried again.
const PATIENCE_TO_OPEN: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The right to write one map; given up when dropped.
#[derive(Debug)]
pub struct WriterLock {
    disk: Arc<dyn Disk>,
    lock_path: PathBuf,
    _lock: File,
    _target: Option<File>,
}

impl WriterLock {
    /// Waits for the right to write `target`, for [`PATIENCE`] at most.
    ///
    /// # Errors
    /// [`StoreError::InUse`] after that time, and the system's own errors.
    pub fn acquire(
        disk: &Arc<dyn Disk>,
        target: &Path,
        lock_path: &Path,
    ) -> Result<Self, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let lock = loop {
            let file = open_lock_file(disk.as_ref(), lock_path)?;
            wait_for(|| disk.try_lock(&file), target, deadline)?;
            let same = same_file(&file, lock_path);
            if same.map_err(|e| StoreError::io(lock_path, "stat", e))? {
                break file;
            }
            // Its holder removed it while we waited: take part in the new one.
        };
        let mut held = WriterLock {
            disk: Arc::clone(disk),
            lock_path: lock_path.into(),
            _lock: lock,
            _target: None,
        };
        match open_target(target, Writable::No) {
            Ok(mut file) => {
                let lock = || try_lock_target(disk.as_ref(), &mut file, target);
                wait_for(lock, target, deadline)?;
                held._target = Some(file);
            }
            // Nothing to lock; whether a link may stand there is not asked here.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {}
            Err(e) => return Err(StoreError::io(target, "open", e)),
        }
        Ok(held)
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Removed while still locked, so that whoever opens it next makes a new
        // one or sees, in `acquire`, that the one it waited for is gone.
        let _ = self.disk.remove_file(&self.lock_path);
    }
}

/// Waits until no other program holds an exclusive flock(2) on a map that is about to be read.
///
/// # Errors
/// [`StoreError::InUse`] after [`PATIENCE`], and the system's own errors.
pub fn wait_for_writers(file: &File, path: &Path) -> Result<(), StoreError> {
    wait_for(|| file.try_lock_shared(), path, Instant::now() + PATIENCE)?;
    patiently(|| file.unlock()).map_err(|e| StoreError::io(path, "unlock", e))
}

/// Whether a file is opened for writing, too. Nothing is ever written to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writable {
    Yes,
    No,
}

fn open_target(target: &Path, writable: Writable) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(writable == Writable::Yes)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    patiently(|| options.open(target))
}

/// Takes an exclusive lock on the map. On NFS that wants a file that is open for writing, flock(2);
/// elsewhere none is opened so, which would be told to those who watch for changes.
fn try_lock_target(disk: &dyn Disk, file: &mut File, target: &Path) -> Result<(), TryLockError> {
    match disk.try_lock(file) {
        Err(TryLockError::Error(e)) if e.raw_os_error() == Some(libc::EBADF) => {
            *file = open_target(target, Writable::Yes).map_err(TryLockError::Error)?;
            disk.try_lock(file)
        }
        done => done,
    }
}

fn wait_for(
    mut try_lock: impl FnMut() -> Result<(), TryLockError>,
    target: &Path,
    deadline: Instant,
) -> Result<(), StoreError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(e)) => return Err(StoreError::io(target, "lock", e)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(StoreError::InUse {
                    path: target.into(),
                });
            }
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn open_lock_file(disk: &dyn Disk, path: &Path) -> Result<File, StoreError> {
    let deadline = Instant::now() + PATIENCE_TO_OPEN;
    let file = loop {
        // In a folder that others can write to, the name may be a link or a FIFO that somebody
        // left for us: the one is not followed, the other not waited for.
        match disk.open_or_create(path, 0o600) {
            // Its maker may not have shared it yet, or is about to remove it.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && Instant::now() < deadline => {
                std::thread::sleep(FIRST_PAUSE);
            }
            done => break done.map_err(|e| StoreError::io(path, "open", e))?,
        }
    };
    let metadata = patiently(|| file.metadata()).map_err(|e| StoreError::io(path, "stat", e))?;
    if !metadata.is_file() {
        return Err(StoreError::Unsafe {
            path: path.into(),
            why: "Regular files only",
        });
    }
    share(disk, &file, &metadata, path);
    Ok(file)
}

/// Lets those open a lock file of ours who may write the folder. It stays when its maker is killed,
/// and must not shut them out for good; and while it is held they wait instead of failing.
///
/// Who can't do that for a group that he is not in leaves it as it is.
fn share(disk: &dyn Disk, file: &File, ours: &fs::Metadata, path: &Path) {
    let Ok(folder) = patiently(|| fs::metadata(folder_of(path))) else {
        return;
    };
    let group_writes = folder.mode() & 0o020 != 0;
    let shared = ours.uid() == folder.uid()
        && (!group_writes || ours.gid() == folder.gid() && ours.mode() & 0o060 == 0o060);
    let me = effective_user();
    if shared || ours.uid() != me && me != 0 {
        return;
    }
    let owner = (me == 0).then(|| folder.uid());
    if disk.set_owner(file, owner, Some(folder.gid())).is_ok() && group_writes {
        let _ = disk.set_mode(file, 0o660);
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let ours = patiently(|| file.metadata())?;
    match patiently(|| fs::symlink_metadata(path)) {
        Ok(there) => Ok(ours.dev() == there.dev() && ours.ino() == there.ino()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::System;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_writer_at_a_time_and_no_lock_file_left() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(System);
        let (target, lock) = (dir.path().join("m.db"), dir.path().join(".m.db.lock"));
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let held = WriterLock::acquire(&disk, &target, &lock).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert!(!lock.exists());
    }

    #[test]
    fn a_foreign_flock_on_the_map_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(System);
        let (target, lock) = (dir.path().join("m.db"), dir.path().join(".m.db.lock"));
        fs::write(&target, "old").unwrap();
        let foreign = File::open(&target).unwrap();
        foreign.lock_shared().unwrap();
        let (sent, got) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let held = WriterLock::acquire(&disk, &target, &lock);
                sent.send(held.is_ok()).unwrap();
            });
            assert!(got.recv_timeout(Duration::from_millis(200)).is_err());
            foreign.unlock().unwrap();
            assert_eq!(got.recv_timeout(Duration::from_secs(20)), Ok(true));
        });
    }

    /// As on NFS: for an exclusive lock a file must be open for writing.
    #[derive(Debug)]
    struct Nfs;

    impl Disk for Nfs {
        #[allow(unsafe_code)] // fcntl has no safe form in std
        fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
            // SAFETY: the descriptor is open for as long as the call lasts.
            let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
            match flags & libc::O_ACCMODE {
                libc::O_RDONLY => Err(TryLockError::Error(io::Error::from_raw_os_error(
                    libc::EBADF,
                ))),
                _ => System.try_lock(file),
            }
        }
    }

    #[test]
    fn a_map_on_nfs_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Nfs);
        let (target, lock) = (dir.path().join("m.db"), dir.path().join(".m.db.lock"));
        fs::write(&target, "old").unwrap();
        let held = WriterLock::acquire(&disk, &target, &lock).unwrap();
        let other = File::open(&target).unwrap();
        let refused = other.try_lock_shared();
        assert!(
            matches!(refused, Err(TryLockError::WouldBlock)),
            "{refused:?}"
        );
        drop(held);
        other.try_lock_shared().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    #[test]
    fn who_may_write_the_folder_may_open_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (target, lock) = (dir.path().join("m.db"), dir.path().join(".m.db.lock"));
        let disk: Arc<dyn Disk> = Arc::new(System);
        let mode_of_lock = || {
            let held = WriterLock::acquire(&disk, &target, &lock).unwrap();
            let facts = fs::metadata(&lock).unwrap();
            drop(held);
            (facts.mode() & 0o777, facts.uid(), facts.gid())
        };
        let folder = fs::metadata(dir.path()).unwrap();
        assert_eq!(mode_of_lock(), (0o600, folder.uid(), folder.gid()));
        let set_mode = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(dir.path(), mode).unwrap();
        };
        set_mode(0o775);
        assert_eq!(mode_of_lock(), (0o660, folder.uid(), folder.gid()));
        if effective_user() == 0 {
            let (uid, gid) = (61_234, 61_235);
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).unwrap();
            assert_eq!(mode_of_lock(), (0o660, uid, gid));
            set_mode(0o755);
            assert_eq!(mode_of_lock(), (0o600, uid, gid));
        }
    }

    #[test]
    fn a_lock_file_that_a_killed_writer_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (target, lock) = (dir.path().join("m.db"), dir.path().join(".m.db.lock"));
        let disk: Arc<dyn Disk> = Arc::new(System);
        fs::write(&lock, "").unwrap();
        drop(WriterLock::acquire(&disk, &target, &lock).unwrap());
        assert!(!lock.exists());
    }
}
