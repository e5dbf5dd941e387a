//! The starter: a small process that keeps the rights of the start, and with them starts
//! and ends worker processes, and does what only root may with a few files.
//!
//! The server that strangers talk to is confined and can start nothing. So before that it
//! starts this program anew as its starter, with one socket between them:
//!
//! ```text
//! server -> starter    `S`, four octets of nothing, and a descriptor: start a worker on it
//!                      `E` and a process number (4 octets, big-endian): end that worker
//!                      `K`, `R`, `F` and the place of a file in the list of [`crate::kept`]:
//!                      it is the server's; remove it; open it
//! starter -> server    `O` and the process number, or the status it ended with (wait(2)),
//!                      and a descriptor after `F`
//!                      `F` and the number of the system's error
//! ```
//!
//! It starts one program with one command line, and ends what it has started. When the
//! server's end closes it ends, and its workers with it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use confine::passing;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::kept::{Duty, Keeping, Kept};

/// First argument of the starter; how its workers speak to standard error follows, then the
/// number of files that it keeps, these, and the arguments of a worker, if there are to be any.
pub(crate) const STARTER: &str = "--starter";

/// What workers write to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// It is seen.
    Shown,
    /// It is lost.
    Lost,
}

impl Stderr {
    fn word(self) -> &'static str {
        match self {
            Stderr::Shown => "shown",
            Stderr::Lost => "lost",
        }
    }

    fn of(word: &OsString) -> Self {
        match word == "shown" {
            true => Stderr::Shown,
            false => Stderr::Lost,
        }
    }

    fn stdio(self) -> Stdio {
        match self {
            Stderr::Shown => Stdio::inherit(),
            Stderr::Lost => Stdio::null(),
        }
    }
}

/// How a worker is started: with the socket as its standard input.
pub(crate) fn command(
    program: &PathBuf,
    arguments: &[OsString],
    socket: OwnedFd,
    stderr: Stderr,
) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("saslauthd")
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(stderr.stdio());
    command
}

/// The server's end of the starter.
#[derive(Debug)]
pub struct Starter {
    channel: Mutex<OwnedFd>,
    kept: Vec<Kept>,
}

impl Starter {
    /// Starts the starter of these workers, if there are to be any, with the rights that this
    /// process has now; it keeps these files.
    ///
    /// # Errors
    /// It can't be started.
    pub fn launch(
        program: &PathBuf,
        arguments: &[OsString],
        stderr: Stderr,
        kept: Vec<Kept>,
    ) -> io::Result<Self> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let count = kept.len().to_string();
        let mut all = vec![OsString::from(STARTER), stderr.word().into(), count.into()];
        all.extend(kept.iter().map(Kept::to_argument));
        all.extend_from_slice(arguments);
        // Its end is seen by the socket; init waits for it when the server has gone.
        command(program, &all, theirs, stderr).spawn()?;
        Ok(Starter {
            channel: Mutex::new(ours),
            kept,
        })
    }

    /// Another descriptor of the channel, by which it is seen that the starter has gone.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub fn watched(&self) -> io::Result<OwnedFd> {
        let channel = self.channel.lock().map_err(|_| io::ErrorKind::BrokenPipe)?;
        channel.try_clone()
    }

    /// Starts a worker on this socket; its process number.
    ///
    /// # Errors
    /// It can't be started, or the starter has gone.
    pub fn start(&self, socket: OwnedFd) -> io::Result<u32> {
        let (worker, _) = self.ask(b'S', 0, Some(socket.as_fd()))?;
        Ok(worker)
    }

    /// Ends a worker, if it has not ended by itself; how it ended.
    ///
    /// # Errors
    /// It is not known, or the starter has gone.
    pub fn end(&self, worker: u32) -> io::Result<ExitStatus> {
        let (status, _) = self.ask(b'E', worker, None)?;
        Ok(ExitStatus::from_raw(status.cast_signed()))
    }

    /// Tells which of the files that are removed at the end stand there now: those are ours.
    pub(crate) fn claim(&self) {
        for (at, _) in (0..)
            .zip(&self.kept)
            .filter(|(_, k)| k.duty == Duty::Remove)
        {
            // One that this server does not make is not removed.
            let _ = self.ask(b'K', at, None);
        }
    }

    /// Removes a file that it keeps for that.
    ///
    /// # Errors
    /// Those of unlink(2); it is no such file, or not ours.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let at = self.place(path, |duty| duty == Duty::Remove)?;
        self.ask(b'R', at, None).map(drop)
    }

    /// Opens a file that it keeps for that, or for a look.
    ///
    /// # Errors
    /// Those of open(2); it is no such file.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        let at = self.place(path, |duty| duty != Duty::Remove)?;
        match self.ask(b'F', at, None)? {
            (_, Some(file)) => Ok(File::from(file)),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn place(&self, path: &Path, fits: impl Fn(Duty) -> bool) -> io::Result<u32> {
        let mut all = (0..).zip(&self.kept);
        let found = all.find(|(_, kept)| fits(kept.duty) && kept.path == path);
        found.map_or_else(
            || Err(io::ErrorKind::PermissionDenied.into()),
            |(at, _)| Ok(at),
        )
    }

    fn ask(
        &self,
        verb: u8,
        number: u32,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<(u32, Option<OwnedFd>)> {
        let channel = self.channel.lock().map_err(|_| io::ErrorKind::BrokenPipe)?;
        send(channel.as_fd(), verb, number, fd)?;
        match receive(channel.as_fd())? {
            Some((b'O', number, fd)) => Ok((number, fd)),
            Some((b'F', number, _)) => Err(io::Error::from_raw_os_error(number.cast_signed())),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// The life of the starter; the arguments are those after `--starter`.
///
/// # Errors
/// The socket fails.
pub(crate) fn serve(args: &[OsString]) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let (stderr, rest) = args.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (count, rest) = rest.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let count = count.to_str().and_then(|count| count.parse().ok());
    let parted = count.and_then(|count| rest.split_at_checked(count));
    let (kept, arguments) = parted.ok_or(io::ErrorKind::InvalidInput)?;
    let mut keeping = Keeping::new(kept.iter().filter_map(|file| Kept::of_argument(file)));
    let stderr = Stderr::of(stderr);
    // A service manager, and a terminal, send their signals to it too; it ends with the
    // server. Handlers, unlike `SIG_IGN`, are not inherited by workers.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let channel = io::stdin();
    let mut workers: HashMap<u32, Child> = HashMap::new();
    while let Some((verb, number, fd)) = receive(channel.as_fd())? {
        let done = match (verb, fd) {
            (b'S', Some(socket)) if !arguments.is_empty() => {
                command(&program, arguments, socket, stderr)
                    .spawn()
                    .map(|child| {
                        let pid = child.id();
                        workers.insert(pid, child);
                        (pid, None)
                    })
            }
            (b'E', _) => match workers.remove(&number) {
                Some(child) => end(child).map(|status| (status.into_raw().cast_unsigned(), None)),
                None => Err(Errno::SRCH.into()),
            },
            (b'K', _) => keeping.claim(number).map(|()| (0, None)),
            (b'R', _) => keeping.remove(number).map(|()| (0, None)),
            (b'F', _) => keeping.open(number).map(|file| (0, Some(file))),
            _ => Err(Errno::INVAL.into()),
        };
        match done {
            Ok((number, file)) => {
                let file = file.as_ref().map(AsFd::as_fd);
                send(channel.as_fd(), b'O', number, file)?;
            }
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(libc::EIO);
                send(channel.as_fd(), b'F', number.cast_unsigned(), None)?;
            }
        }
    }
    for child in workers.into_values() {
        let _ = end(child);
    }
    Ok(())
}

/// Kills it and waits for it; a dead one keeps the status it died with.
pub(crate) fn end(mut child: Child) -> io::Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()
}

fn send(
    channel: BorrowedFd<'_>,
    verb: u8,
    number: u32,
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let [a, b, c, d] = number.to_be_bytes();
    passing::send(channel, &[verb, a, b, c, d], fd)
}

type Word = (u8, u32, Option<OwnedFd>);

/// The next word; `None` when the other end has gone.
fn receive(channel: BorrowedFd<'_>) -> io::Result<Option<Word>> {
    let mut word = [0; 5];
    let received = passing::receive(channel, &mut word)?;
    let [verb, a, b, c, d] = word;
    Ok(received.map(|fd| (verb, u32::from_be_bytes([a, b, c, d]), fd)))
}
