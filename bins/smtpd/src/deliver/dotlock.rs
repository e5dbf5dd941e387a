//! `.lock` files, as mailboxes in /var/mail have them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use super::file::{LOCK_PATIENCE, is_same};

/// A dotlock older than this was left behind; one that is as much younger than now, by a clock that
/// was ahead. Now is what the clock of the folder says, which may be a file server's.
const STALE: Duration = Duration::from_secs(300);

/// `FILE.lock`, removed at the end.
pub(super) struct Dotlock {
    path: PathBuf,
    file: File,
    kept: Instant,
}

impl Dotlock {
    /// Takes the lock of a mailbox; waits with patience.
    ///
    /// # Errors
    /// What the system says, or who has it.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        Dotlock::take_within(path, LOCK_PATIENCE)
    }

    fn take_within(path: &Path, patience: Duration) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let start = Instant::now();
        let mut clock = None;
        loop {
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o444)
                .open(&path);
            match made {
                Ok(mut file) => {
                    let _ = write!(file, "{}", std::process::id());
                    return Ok(Dotlock {
                        path,
                        file,
                        kept: Instant::now(),
                    });
                }
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                Err(_) if start.elapsed() >= patience => return Err(held(&path)),
                Err(_) => {}
            }
            remove_stale(&path, &mut clock);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Touches the lock now and then: one that is old was left behind.
    pub(super) fn keep(&mut self) {
        if self.kept.elapsed() > STALE / 5 {
            // By the clock that others compare it with.
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            };
            let times = Timestamps {
                last_access: now,
                last_modification: now,
            };
            let _ = futimens(&self.file, &times);
            self.kept = Instant::now();
        }
    }
}

impl Drop for Dotlock {
    fn drop(&mut self) {
        // Unless it was taken for one left behind, and the name is another's.
        let own = self.file.metadata();
        let there = fs::symlink_metadata(&self.path);
        if own.is_ok_and(|own| there.is_ok_and(|there| is_same(&own, &there))) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Who has the lock: its file is his, and has the number of his process in it, as a rule.
fn held(path: &Path) -> io::Error {
    let mut who = String::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    if let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) {
        let mut text = String::new();
        let read = file.take(20).read_to_string(&mut text);
        if let Some(process) = read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
            who = format!(" process {process} of");
        }
    }
    let text = match fs::symlink_metadata(path) {
        Ok(metadata) => format!("{} is held by{who} user {}", path.display(), metadata.uid()),
        Err(_) => format!("{} is held by others again and again", path.display()),
    };
    io::Error::new(io::ErrorKind::WouldBlock, text)
}

/// The clock that dates the files of a folder.
#[derive(Clone, Copy)]
struct FolderClock {
    said: SystemTime,
    asked: Instant,
}

impl FolderClock {
    /// As a new file beside this one tells.
    fn beside(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&name);
        // Also one that was left there: the next try finds the place free.
        let _ = fs::remove_file(&name);
        let said = file?.metadata().and_then(|metadata| metadata.modified());
        Ok(FolderClock {
            said: said?,
            asked: Instant::now(),
        })
    }

    fn now(&self) -> SystemTime {
        let now = self.said.checked_add(self.asked.elapsed());
        now.unwrap_or(self.said)
    }
}

/// Whether a dotlock is far from what the clock says, on either side.
fn is_stale(metadata: &fs::Metadata, now: SystemTime) -> bool {
    let age = metadata.modified().map(|at| match now.duration_since(at) {
        Ok(age) => age,
        Err(ahead) => ahead.duration(),
    });
    age.is_ok_and(|age| age > STALE)
}

/// Removes a dotlock that was left behind. Of several who see the same old one, only one may:
/// the others would remove the new one of him who was first. The clock of the folder is asked
/// once, and only where our own says that the lock is old.
fn remove_stale(path: &Path, clock: &mut Option<FolderClock>) {
    let is_old = |metadata: &fs::Metadata| is_stale(metadata, SystemTime::now());
    if !fs::symlink_metadata(path).is_ok_and(|metadata| is_old(&metadata)) {
        return;
    }
    let clock = match clock {
        Some(clock) => *clock,
        None => match FolderClock::beside(path) {
            Ok(asked) => *clock.insert(asked),
            Err(_) => return,
        },
    };
    let is_stale = |metadata: &fs::Metadata| is_stale(metadata, clock.now());
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else {
        return;
    };
    if !file.metadata().is_ok_and(|metadata| is_stale(&metadata))
        || matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    {
        return;
    }
    let (Ok(seen), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return;
    };
    if is_same(&seen, &there) && is_stale(&there) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotlock_that_was_left_behind_is_removed_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box");
        let name = dir.path().join("box.lock");
        let old = SystemTime::now() - STALE * 2;
        fs::write(&name, "").unwrap();
        let remove_stale = |name: &Path| super::remove_stale(name, &mut None);
        remove_stale(&name);
        assert!(name.exists(), "it is fresh");
        let left = File::options().write(true).open(&name).unwrap();
        left.set_modified(old).unwrap();
        // Another is about to remove it.
        let other = File::open(&name).unwrap();
        other.lock().unwrap();
        remove_stale(&name);
        assert!(name.exists());
        drop(other);
        drop(Dotlock::take(&path).unwrap());
        assert!(!name.exists());
        // The clock was a year ahead when it was made.
        let left = File::create(&name).unwrap();
        left.set_modified(SystemTime::now() + STALE / 2).unwrap();
        remove_stale(&name);
        assert!(name.exists());
        left.set_modified(SystemTime::now() + STALE * 2).unwrap();
        remove_stale(&name);
        assert!(!name.exists());
        // One's own, once it is old, may be another's by its name.
        let lock = Dotlock::take(&path).unwrap();
        fs::remove_file(&name).unwrap();
        let next = Dotlock::take(&path).unwrap();
        drop(lock);
        assert!(name.exists());
        drop(next);
        assert!(!name.exists());
    }

    #[test]
    fn a_fresh_lock_on_a_server_whose_clock_is_off_is_not_stale() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("box.lock");
        let lock = File::create(&name).unwrap();
        let now = SystemTime::now();
        for (said, modified, stays) in [
            (now + STALE * 2, now + STALE * 2, true),
            (now - STALE * 2, now - STALE * 2, true),
            (now - STALE * 2, now - STALE * 4, false),
        ] {
            let asked = Instant::now();
            let mut clock = Some(FolderClock { said, asked });
            lock.set_modified(modified).unwrap();
            remove_stale(&name, &mut clock);
            assert_eq!(name.exists(), stays, "{said:?} {modified:?}");
        }
        // A local one is as ours, and nothing is left of the question.
        let asked = FolderClock::beside(&name).unwrap().now();
        let off = asked.duration_since(now).unwrap_or_else(|e| e.duration());
        assert!(off < STALE, "{off:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_holds_a_lock_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box");
        let said = || {
            let taken = Dotlock::take_within(&path, Duration::ZERO);
            taken.err().map(|error| error.to_string())
        };
        let lock = Dotlock::take(&path).unwrap();
        let (name, user) = (lock.path.display(), rustix::process::geteuid());
        let (process, user) = (std::process::id(), user.as_raw());
        let want = format!("{name} is held by process {process} of user {user}");
        assert_eq!(said(), Some(want));
        // Some only lie there.
        fs::remove_file(&lock.path).unwrap();
        fs::write(&lock.path, "").unwrap();
        assert_eq!(said(), Some(format!("{name} is held by user {user}")));
    }

    #[test]
    fn a_dotlock_is_kept_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Dotlock::take(&dir.path().join("box")).unwrap();
        let old = SystemTime::now() - STALE * 2;
        lock.file.set_modified(old).unwrap();
        let modified = |lock: &Dotlock| lock.file.metadata().unwrap().modified().unwrap();
        lock.keep();
        assert!(modified(&lock) < SystemTime::now() - STALE);
        lock.kept -= STALE;
        lock.keep();
        assert!(modified(&lock) > SystemTime::now() - STALE);
    }
}
