//! Appending to mailbox files, and Maildir folders.
//!
//! A message goes in whole or not at all: on any failure the file is cut back to what
//! it was. This runs as the user whose file it is; where the server is root, in a
//! process of its own (`smtpd deliver-file`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for a lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// A dotlock older than this was left behind.
const STALE: Duration = Duration::from_secs(300);

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
pub fn append(path: &Path, locking: Locking, mut text: impl Read) -> io::Result<()> {
    let _dotlock = match locking {
        Locking::Dotlock => Some(Dotlock::take(path)?),
        Locking::Fcntl => None,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let mut file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => options.read(false).open(path)?,
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(io::Error::other("the file has other names (hard links)"));
    }
    lock(&file)?;
    let before = file.metadata()?.len();
    let written = end_last_line(&mut file, before)
        .and_then(|()| io::copy(&mut text, &mut file))
        .and_then(|_| file.sync_all());
    if written.is_err() {
        // The reader may have ended early or the disk may be full: nothing half stays.
        file.set_len(before)?;
    }
    written
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
pub fn maildir(folder: &Path, host: &str, mut text: impl Read) -> io::Result<()> {
    make_folder(folder)?;
    for part in ["tmp", "new", "cur"] {
        make_folder(&folder.join(part))?;
    }
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
    let (tmp, new) = (
        folder.join("tmp").join(&name),
        folder.join("new").join(&name),
    );
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
    File::open(folder.join("new"))?.sync_all()
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

/// `FILE.lock`, removed at the end.
struct Dotlock(PathBuf);

impl Dotlock {
    fn take(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let start = Instant::now();
        loop {
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o444)
                .open(&name);
            match made {
                Ok(mut file) => {
                    let _ = write!(file, "{}", std::process::id());
                    return Ok(Dotlock(name));
                }
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                Err(e) if start.elapsed() > LOCK_PATIENCE => return Err(e),
                Err(_) => {}
            }
            let stale = fs::metadata(&name)
                .and_then(|m| m.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STALE));
            if stale {
                let _ = fs::remove_file(&name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dotlock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
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
