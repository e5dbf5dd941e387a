//! Appending to mailbox files, and Maildir folders.
//!
//! A message goes in whole or not at all: on any failure the file is cut back to what
//! it was. This runs as the user whose file it is; where the server is root, in a
//! process of its own (`smtpd deliver-file`).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::dotlock::Dotlock;
use super::safe_folder::Folder;

/// Longest wait for a lock.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How a mailbox is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// fcntl(2) only: files that aliases name.
    Fcntl,
    /// A `.lock` file too, as in /var/mail.
    Dotlock,
}

/// Appends `text` to the file; makes it with mode 0600 where it is not there. What a
/// crash left there without a line end gets one first, so that it takes no separator in.
///
/// # Errors
/// What the system says. The file is then as it was before.
pub fn append(path: &Path, locking: Locking, text: impl Read) -> io::Result<()> {
    append_below(None, path, locking, text)
}

/// As [`append`], to a file below `base`: no link on the way leads elsewhere.
///
/// # Errors
/// As with [`append`].
pub(super) fn append_below(
    base: Option<&Path>,
    path: &Path,
    locking: Locking,
    text: impl Read,
) -> io::Result<()> {
    let (above, name) = parts_of(path)?;
    let folder = Folder::find(base, above)?;
    let path = &folder.join(name);
    let mut dotlock = match locking {
        Locking::Dotlock => Some(Dotlock::take(path)?),
        Locking::Fcntl => None,
    };
    let (mut file, made) = open_locked(path)?;
    // Where everybody may make files in the folder of mailboxes, one of this name need not be
    // its user's.
    let (owner, ours) = (file.metadata()?.uid(), rustix::process::geteuid().as_raw());
    if locking == Locking::Dotlock && owner != ours {
        let text = format!("the mailbox belongs to user {owner}");
        return Err(io::Error::other(text));
    }
    let before = file.metadata()?.len();
    let mut text = Keeping {
        text,
        lock: dotlock.as_mut(),
    };
    let written = end_last_line(&mut file, before)
        .and_then(|()| io::copy(&mut text, &mut file))
        .and_then(|_| file.sync_all())
        .and_then(|()| match made {
            Made::Now => sync_folder_of(path),
            Made::Before => Ok(()),
        });
    if written.is_err() {
        // The reader may have ended early or the disk may be full: nothing half stays.
        file.set_len(before)?;
    }
    written
}

/// The folder of a file, and its name there.
fn parts_of(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let parts = path.parent().zip(path.file_name());
    parts.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no name of a file"))
}

/// Whether a file was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Before,
    Now,
}

/// The file, locked. A reader may take the name away, or give it to another file, while the
/// lock is waited for: what went into the old one would be lost.
fn open_locked(path: &Path) -> io::Result<(File, Made)> {
    let start = Instant::now();
    loop {
        let (file, made) = open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        lock(&file)?;
        match fs::symlink_metadata(path) {
            Ok(now) if is_same(&now, &metadata) => {
                // Only now: whoever removes a mailbox leaves it without a name.
                if now.nlink() != 1 {
                    return Err(io::Error::other("the file has other names (hard links)"));
                }
                return Ok((file, made));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ if start.elapsed() > LOCK_PATIENCE => {
                return Err(io::Error::other("the file is replaced again and again"));
            }
            _ => {}
        }
    }
}

/// Whether both are of one file.
pub(super) fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Opens the file, or makes it with mode 0600.
fn open(path: &Path) -> io::Result<(File, Made)> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => options.read(false).open(path),
        opened => opened,
    };
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return Ok((opened?, Made::Before)),
    }
    match options.read(true).create_new(true).open(path) {
        // Somebody was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((options.create_new(false).open(path)?, Made::Before))
        }
        made => Ok((made?, Made::Now)),
    }
}

/// The text of a message; while it comes, the lock is kept fresh.
struct Keeping<'a, R> {
    text: R,
    lock: Option<&'a mut Dotlock>,
}

impl<R: Read> Read for Keeping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer);
        if let Some(lock) = &mut self.lock {
            lock.keep();
        }
        read
    }
}

fn end_last_line(file: &mut File, octets: u64) -> io::Result<()> {
    let mut last = [b'\n'];
    if octets > 0 && file.read_exact_at(&mut last, octets - 1).is_err() {
        // One that may only be written to.
        return Ok(());
    }
    if last == [b'\n'] {
        return Ok(());
    }
    file.write_all(b"\n\n")
}

/// Adds `text` to a Maildir folder, making it where it is not there. The folder above it
/// is not made: where that is missing, a file system may not be mounted.
///
/// # Errors
/// What the system says.
pub fn maildir(folder: &Path, host: &str, text: impl Read) -> io::Result<()> {
    maildir_below(None, folder, host, text)
}

/// As [`maildir`], for a folder below `base`: no link on the way leads elsewhere.
///
/// # Errors
/// As with [`maildir`].
pub(super) fn maildir_below(
    base: Option<&Path>,
    folder: &Path,
    host: &str,
    mut text: impl Read,
) -> io::Result<()> {
    made_folder(base, folder)?;
    let part = |name| made_folder(base, &folder.join(name));
    let (tmp, new, _) = (part("tmp")?, part("new")?, part("cur")?);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let host: String = host.chars().filter(|c| !matches!(c, '/' | ':')).collect();
    let name = format!(
        "{}.M{}P{}.{host}",
        since.as_secs(),
        since.subsec_nanos(),
        std::process::id()
    );
    let (folder, name) = (new, OsString::from(name));
    let (tmp, new) = (tmp.join(&name), folder.join(&name));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&tmp)?;
    let written = io::copy(&mut text, &mut file)
        .and_then(|_| file.sync_all())
        .and_then(|()| fs::rename(&tmp, &new));
    if let Err(error) = written {
        let _ = fs::remove_file(&tmp);
        return Err(error);
    }
    File::open(folder.path())?.sync_all()
}

/// The folder, made if it is not there.
fn made_folder(base: Option<&Path>, path: &Path) -> io::Result<Folder> {
    match Folder::find(base, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (above, name) = parts_of(path)?;
            make_folder(&Folder::find(base, above)?.join(name))?;
            Folder::find(base, path)
        }
        Ok(found) => {
            make_folder(found.path())?;
            Ok(found)
        }
        failed => failed,
    }
}

/// Makes a folder that is not there; its name is durable when this returns.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // Another delivery was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_folder_of(path)
}

/// Makes the name of a new file or folder durable. A folder that may be written to but not
/// read can't be synced.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// A lock on the whole file that lasts until it is closed; waits with patience.
#[allow(unsafe_code)] // fcntl(2) has no safe form in std.
fn lock(file: &File) -> io::Result<()> {
    let start = Instant::now();
    loop {
        // SAFETY: the structure is whole and the descriptor open.
        let locked = unsafe {
            let mut request: libc::flock = std::mem::zeroed();
            request.l_type = libc::F_WRLCK as libc::c_short;
            request.l_whence = libc::SEEK_SET as libc::c_short;
            libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &request) == 0
        };
        if locked {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if start.elapsed() > LOCK_PATIENCE {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("broken"));
            }
            self.0 -= 1;
            buffer[0] = b'x';
            Ok(1)
        }
    }

    #[test]
    fn a_mailbox_that_somebody_else_has_made_is_not_written() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root gives files away");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice");
        fs::write(&path, "").unwrap();
        std::os::unix::fs::chown(&path, Some(54_321), None).unwrap();
        let said = append(&path, Locking::Dotlock, &b"secret\n"[..]).unwrap_err();
        assert_eq!(said.to_string(), "the mailbox belongs to user 54321");
        assert_eq!(fs::read(&path).unwrap(), b"");
        // A file that an alias names may be anybody's that lets us write.
        append(&path, Locking::Fcntl, &b"text\n"[..]).unwrap();
    }

    #[test]
    fn a_message_goes_in_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box");
        append(&path, Locking::Dotlock, &b"one\n"[..]).unwrap();
        assert!(append(&path, Locking::Fcntl, Failing(100)).is_err());
        append(&path, Locking::Fcntl, &b"tw"[..]).unwrap();
        append(&path, Locking::Fcntl, &b"three\n"[..]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntw\n\nthree\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!dir.path().join("box.lock").exists());
    }

    fn in_time(test: impl FnOnce() + Send + 'static) {
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            test();
            let _ = done.send(());
        });
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    /// As another process would lock it: locks of open files conflict with those of processes.
    #[allow(unsafe_code)]
    fn lock_as_another(file: &File) {
        // SAFETY: the structure is whole and the descriptor open.
        let locked = unsafe {
            let mut request: libc::flock = std::mem::zeroed();
            request.l_type = libc::F_WRLCK as libc::c_short;
            libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &request) == 0
        };
        assert!(locked);
    }

    /// How many descriptors of this process the file has.
    fn opened(path: &Path) -> usize {
        let all = fs::read_dir("/proc/self/fd").unwrap().flatten();
        all.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path))
            .count()
    }

    #[test]
    fn a_mailbox_that_is_taken_away_meanwhile_is_not_written_to() {
        in_time(|| {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().canonicalize().unwrap();
            let (path, read) = (folder.join("box"), folder.join("read"));
            fs::write(&path, "old\n").unwrap();
            let reader = File::options().write(true).open(&path).unwrap();
            lock_as_another(&reader);
            let writes = {
                let path = path.clone();
                std::thread::spawn(move || append(&path, Locking::Fcntl, &b"new\n"[..]))
            };
            while opened(&path) < 2 {
                std::thread::yield_now();
            }
            fs::rename(&path, &read).unwrap();
            drop(reader);
            writes.join().unwrap().unwrap();
            assert_eq!(fs::read(&read).unwrap(), b"old\n");
            assert_eq!(fs::read(&path).unwrap(), b"new\n");
        });
    }

    #[test]
    fn links_and_fifos_are_no_mailboxes() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("soft")).unwrap();
        fs::hard_link(&target, dir.path().join("hard")).unwrap();
        for name in ["soft", "hard"] {
            assert!(
                append(&dir.path().join(name), Locking::Fcntl, &b"y"[..]).is_err(),
                "{name}"
            );
        }
        assert_eq!(fs::read(&target).unwrap(), b"x");
    }

    #[test]
    fn below_a_folder_no_link_leads_out() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (safe, away) = (dir.path().join("safe"), dir.path().join("away"));
        for folder in [&safe, &away, &away.join("tmp"), &away.join("new")] {
            fs::create_dir(folder).unwrap();
        }
        symlink(&away, safe.join("link")).unwrap();
        fs::create_dir(safe.join("half")).unwrap();
        for part in ["tmp", "new"] {
            symlink(away.join(part), safe.join("half").join(part)).unwrap();
        }
        let base = Some(safe.as_path());
        let append = |name: &str| append_below(base, &safe.join(name), Locking::Fcntl, &b"x\n"[..]);
        let maildir = |name: &str| maildir_below(base, &safe.join(name), "mx", &b"x\n"[..]);
        append("box").unwrap();
        append("box").unwrap();
        maildir("folder").unwrap();
        maildir("folder").unwrap();
        assert_eq!(fs::read(safe.join("box")).unwrap(), b"x\nx\n");
        assert_eq!(fs::read_dir(safe.join("folder/new")).unwrap().count(), 2);
        assert!(append("link/box").is_err());
        for name in ["link", "link/folder", "half"] {
            assert!(maildir(name).is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(&away).unwrap().count(), 2);
        assert_eq!(fs::read_dir(away.join("new")).unwrap().count(), 0);
    }

    #[test]
    fn maildir_has_the_message_under_new() {
        let dir = tempfile::tempdir().unwrap();
        maildir(&dir.path().join("Maildir"), "mx/ex:ample", &b"hello"[..]).unwrap();
        let new: Vec<_> = fs::read_dir(dir.path().join("Maildir/new"))
            .unwrap()
            .collect();
        assert_eq!(new.len(), 1);
        assert_eq!(fs::read(new[0].as_ref().unwrap().path()).unwrap(), b"hello");
        assert_eq!(
            fs::read_dir(dir.path().join("Maildir/tmp"))
                .unwrap()
                .count(),
            0
        );
        let unmounted = dir.path().join("home/bob");
        let error = maildir(&unmounted.join("Maildir"), "mx", &b"hello"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
