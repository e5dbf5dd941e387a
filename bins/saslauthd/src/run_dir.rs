//! The folder that `-m` names, and the files that saslauthd keeps in it.
//!
//! `mux` is the socket, mode 0777: the mode of the folder decides who may ask.
//! `saslauthd.pid` (with `-d`: `saslauthd.pid.lock`) is locked as long as the
//! daemon runs. With `-c` there are also `cache.mmap` and `cache.flock`, empty,
//! for those who look for them: the cache itself is in memory only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::kept;
use crate::log::Log;

/// The pid file's two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidFile {
    /// `saslauthd.pid`: a daemon, whose pid others read there.
    Daemon,
    /// `saslauthd.pid.lock`: in the foreground.
    Foreground,
}

/// What couldn't be done.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {path}")]
pub struct RunDirError {
    what: &'static str,
    path: PathBuf,
    call: &'static str,
    source: io::Error,
}

impl RunDirError {
    /// The lines for the log, in the original's words.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.to_string()];
        if !self.call.is_empty() {
            lines.push(format!("{}: {}", self.call, strerror(&self.source)));
        }
        if matches!(self.call, "" | "chdir") {
            let place = if self.call.is_empty() {
                "parent directory"
            } else {
                "directory"
            };
            lines.push(format!("Check to make sure the {place} exists and is"));
            lines.push("writeable by the user this process runs as.".to_owned());
        }
        lines
    }

    /// True where another saslauthd holds the pid file.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.call == "fcntl"
    }
}

/// The error's words alone, as strerror(3) gives them.
#[must_use]
pub fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// Makes the folder where it is missing (not its parents).
///
/// # Errors
/// The original's `can not mkdir`.
pub fn make(path: &Path) -> Result<(), RunDirError> {
    if path.exists() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .mode(0o755)
        .create(path)
        .map_err(|source| RunDirError {
            what: "can not mkdir",
            path: path.to_owned(),
            call: "",
            source,
        })
}

/// What may be made in it, all of which goes at the end.
pub const FILES: [&str; 5] = [
    "mux",
    "saslauthd.pid",
    "saslauthd.pid.lock",
    "cache.mmap",
    "cache.flock",
];

/// The folder while the daemon runs. Dropping it leaves the files; see [`RunDir::remove`].
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    kind: PidFile,
    pid: File,
    cache_files: bool,
}

impl RunDir {
    /// Goes to the folder and takes the pid file's lock.
    ///
    /// # Errors
    /// No such folder, or another saslauthd runs there.
    pub fn enter(path: &Path, kind: PidFile) -> Result<Self, RunDirError> {
        let failed = |what, path: &Path, call| {
            let path = path.to_owned();
            move |source| RunDirError {
                what,
                path,
                call,
                source,
            }
        };
        std::env::set_current_dir(path).map_err(failed("could not chdir to", path, "chdir"))?;
        let file = path.join(kind.name());
        let (opening, locking) = match kind {
            PidFile::Daemon => ("could not open pid file", "could not lock pid file"),
            PidFile::Foreground => (
                "could not open pid lock file",
                "could not lock pid lock file",
            ),
        };
        let mut pid = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&file)
            .map_err(failed(opening, &file, "open"))?;
        rustix::fs::fcntl_lock(&pid, FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .map_err(failed(locking, &file, "fcntl"))?;
        if kind == PidFile::Daemon {
            pid.set_len(0)
                .and_then(|()| writeln!(pid, "{}", std::process::id()))
                .map_err(failed("could not write to pid file", &file, "write"))?;
        }
        Ok(RunDir {
            path: path.to_owned(),
            kind,
            pid,
            cache_files: false,
        })
    }

    /// Makes the two files that stand for the cache.
    ///
    /// # Errors
    /// The one that can't be made.
    pub fn mark_cache(&mut self, log: &Log) -> Result<(), RunDirError> {
        self.cache_files = true;
        for name in ["cache.mmap", "cache.flock"] {
            let path = self.path.join(name);
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(|source| RunDirError {
                    what: "could not open cache file",
                    path: path.clone(),
                    call: "open",
                    source,
                })?;
        }
        let flock = self.path.join("cache.flock");
        log.debug(format!("flock file opened at {}", flock.display()));
        Ok(())
    }

    /// Binds and opens the socket; one that a dead daemon left is replaced.
    ///
    /// # Errors
    /// The socket can't be bound, or its mode not be set.
    pub fn listen(&self) -> Result<UnixListener, RunDirError> {
        let path = self.socket();
        let failed = |what, call| {
            let path = path.clone();
            move |source| RunDirError {
                what,
                path,
                call,
                source,
            }
        };
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(failed("could not remove old socket", "unlink")(e));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).map_err(failed("could not bind to socket", "bind"))?;
        // std asks for a short backlog; the kernel cuts this to somaxconn.
        rustix::net::listen(&listener, 4096)
            .map_err(io::Error::from)
            .map_err(failed("could not listen on socket", "listen"))?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))
            .map_err(failed("could not chmod socket", "chmod"))?;
        listener
            .set_nonblocking(true)
            .map_err(failed("could not listen on socket", "fcntl"))?;
        Ok(listener)
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("mux")
    }

    /// Removes the files, and says so in the original's order. The pid file is the last that goes:
    /// a daemon that starts meanwhile finds it locked, and loses no socket that it has just made.
    pub fn remove(self, log: &Log) {
        let mut files = vec![match self.kind {
            PidFile::Daemon => ("pid file removed", "saslauthd.pid"),
            PidFile::Foreground => ("pid file lock removed", "saslauthd.pid.lock"),
        }];
        if self.cache_files {
            files.push(("flock file removed", "cache.flock"));
            files.push(("cache mmap file removed", "cache.mmap"));
        }
        files.push(("socket removed", "mux"));
        let remove = |(what, name)| {
            let path = self.path.join(name);
            let removed = kept::remove(&path);
            (what, path, removed)
        };
        let removed: Vec<_> = files.into_iter().rev().map(remove).collect();
        for (what, path, removed) in removed.into_iter().rev() {
            match removed {
                Ok(()) => log.debug(format!("{what}: {}", path.display())),
                Err(error) => log.error(format!("can't remove {}: {error}", path.display())),
            }
        }
        // The lock goes with the last descriptor, after the files.
        drop(self.pid);
    }
}

impl PidFile {
    fn name(self) -> &'static str {
        match self {
            PidFile::Daemon => "saslauthd.pid",
            PidFile::Foreground => "saslauthd.pid.lock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Verbosity;
    use rustix::fs::inotify;
    use std::mem::MaybeUninit;

    #[test]
    fn the_pid_file_is_removed_when_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let pid = File::create(path.join("saslauthd.pid")).unwrap();
        for name in ["cache.flock", "cache.mmap", "mux"] {
            File::create(path.join(name)).unwrap();
        }
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, &path, inotify::WatchFlags::DELETE).unwrap();
        let run_dir = RunDir {
            path,
            kind: PidFile::Daemon,
            pid,
            cache_files: true,
        };
        let log = Log::new(Verbosity::Normal);
        log.detach();
        run_dir.remove(&log);
        let mut room = [const { MaybeUninit::uninit() }; 4096];
        let mut events = inotify::Reader::new(watch, &mut room);
        let mut gone = Vec::new();
        while let Ok(event) = events.next() {
            let name = event.file_name().unwrap();
            gone.push(name.to_str().unwrap().to_owned());
        }
        assert_eq!(gone, ["mux", "cache.mmap", "cache.flock", "saslauthd.pid"]);
    }
}
