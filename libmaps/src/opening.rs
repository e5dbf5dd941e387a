//! Opening files: by this process, or by another that may more.
//!
//! A server that strangers talk to is an ordinary user, while the site's maps, accounts and keys
//! may be root's alone. What it is denied it has opened by a process that is root's, which
//! decides for itself what it opens: here only the asking is done, where a path is known.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// Who opens what this process is denied.
#[derive(Clone, Copy, Debug)]
pub struct Opener {
    /// Opens a file or a folder for reading.
    pub file: fn(&Path) -> io::Result<File>,
    /// Connects to a socket of this machine.
    pub socket: fn(&Path) -> io::Result<UnixStream>,
}

static OPENER: OnceLock<Opener> = OnceLock::new();

thread_local! {
    static NOTED: RefCell<Option<BTreeSet<PathBuf>>> = const { RefCell::new(None) };
}

/// From here on the opener is asked for what this process is denied. The first one stays.
pub fn ask_when_denied(opener: Opener) {
    let _ = OPENER.set(opener);
}

/// Opens a file for reading; a FIFO does not hold this up.
///
/// # Errors
/// Those of open(2); of a path that is denied, what the opener says.
pub fn file(path: &Path) -> io::Result<File> {
    note(path);
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    opened.or_else(|error| asked(error, |opener| (opener.file)(path)))
}

/// As [`file`], of a file that is no link, if this process may open it: the opener follows where
/// the configuration leads.
///
/// # Errors
/// Those of open(2), ELOOP for a link; of a path that is denied, what the opener says.
pub fn file_without_link(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    opened.or_else(|error| asked(error, |opener| (opener.file)(path)))
}

/// What is at this path, links followed.
///
/// # Errors
/// Those of stat(2); where a folder on the way is denied, what the opener says.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    note(path);
    let found = std::fs::metadata(path);
    found.or_else(|error| asked(error, |opener| (opener.file)(path)?.metadata()))
}

/// What tells a file from what stood there before, or in it: to the nanosecond, and a new mode or
/// owner too, which may decide whether it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    device: u64,
    inode: u64,
    octets: u64,
    changed: (i64, i64),
}

impl Seen {
    /// Looks at the file of this path.
    ///
    /// # Errors
    /// As [`metadata`].
    pub fn of(path: &Path) -> io::Result<Self> {
        metadata(path).map(|found| Seen::in_(&found))
    }

    /// What was found of a file.
    #[must_use]
    pub fn in_(found: &Metadata) -> Self {
        Seen {
            device: found.dev(),
            inode: found.ino(),
            octets: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// All that is in a file.
///
/// # Errors
/// As [`file`], and those of read(2).
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    file(path)?.read_to_end(&mut octets)?;
    Ok(octets)
}

/// Connects to a socket of this machine. The patience is that of writing, too.
///
/// # Errors
/// Those of connect(2), [`io::ErrorKind::WouldBlock`] where the server takes nobody for so long;
/// of a path that is denied, what the opener says.
pub fn socket(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = connect(path, patience);
    let stream = stream.or_else(|error| asked(error, |opener| (opener.socket)(path)))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// As [`socket`], by this process and no other.
///
/// # Errors
/// Those of connect(2), [`io::ErrorKind::WouldBlock`] where the server takes nobody for so long.
pub fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // For UNIX sockets this bounds connect(2), too, while the server's queue is full.
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// Does some work, and says which paths [`file`] and [`metadata`] were asked for meanwhile, by
/// this thread.
pub fn noting<T>(work: impl FnOnce() -> T) -> (T, BTreeSet<PathBuf>) {
    let before = NOTED.replace(Some(BTreeSet::new()));
    let done = work();
    let noted = NOTED.replace(before).unwrap_or_default();
    (done, noted)
}

fn note(path: &Path) {
    NOTED.with_borrow_mut(|noted| {
        if let Some(noted) = noted {
            noted.insert(path.into());
        }
    });
}

fn asked<T>(error: io::Error, ask: impl FnOnce(&Opener) -> io::Result<T>) -> io::Result<T> {
    match OPENER.get() {
        Some(opener) if error.kind() == io::ErrorKind::PermissionDenied => ask(opener),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_noted_by_the_thread_that_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (one, none) = (dir.path().join("one"), dir.path().join("none"));
        std::fs::write(&one, "text").unwrap();
        let (text, noted) = noting(|| {
            let other = std::thread::scope(|s| s.spawn(|| read(&one)).join().unwrap());
            assert_eq!(other.unwrap(), b"text");
            assert!(metadata(&none).is_err());
            read(&one).unwrap()
        });
        assert_eq!(text, b"text");
        assert_eq!(noted, [none, one.clone()].into());
        assert_eq!(noting(|| ()).1, BTreeSet::new());
    }

    #[test]
    fn only_what_is_denied_is_asked_for() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let said = asked::<()>(io::ErrorKind::NotFound.into(), |_| unreachable!());
        assert_eq!(said.unwrap_err().kind(), io::ErrorKind::NotFound);
        // Nobody is there to be asked.
        let said = asked::<()>(denied(), |_| Ok(()));
        assert_eq!(said.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
