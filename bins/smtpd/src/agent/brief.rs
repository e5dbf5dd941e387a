//! Programs that must be done soon.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::deliver::left;

/// Most octets of what it says, on either output.
const MAX_SAID: u64 = 1024 * 1024;
/// How long one that was killed is waited for: it may hang in the kernel.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has ended, where the kernel has no descriptor that tells.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A program that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit, where no signal ended it.
    pub(super) code: Option<i32>,
    /// What it said.
    pub(super) out: Vec<u8>,
    /// Its complaints.
    pub(super) err: Vec<u8>,
}

/// Where its standard output goes.
#[derive(Debug)]
pub(super) enum Said {
    /// It is kept.
    Kept,
    /// Into this file.
    Into(OwnedFd),
}

/// Runs it without input. It is about this path.
///
/// # Errors
/// When it can't be run, and [`io::ErrorKind::TimedOut`] when it is not done in time, or one
/// before it still hangs there; then it is killed.
pub(super) fn run(
    mut command: Command,
    about: &Path,
    patience: Duration,
    said: Said,
) -> io::Result<Ended> {
    if left::still_hangs(about) {
        return Err(silent());
    }
    let until = Instant::now() + patience;
    // Sockets, because they have a time-out.
    let (err, its_err) = UnixStream::pair()?;
    command.stdin(Stdio::null()).stderr(OwnedFd::from(its_err));
    let out = match said {
        Said::Kept => {
            let (out, its_out) = UnixStream::pair()?;
            command.stdout(OwnedFd::from(its_out));
            Some(out)
        }
        Said::Into(file) => {
            command.stdout(file);
            None
        }
    };
    let mut child = command.spawn()?;
    // It holds our copies of the other ends.
    drop(command);
    let done = || -> io::Result<Ended> {
        let out = out.map_or(Ok(Vec::new()), |out| read(&out, until))?;
        let err = read(&err, until)?;
        let code = ending(&mut child, until)?;
        Ok(Ended { code, out, err })
    };
    let done = done();
    if done.is_err() {
        let _ = child.kill();
        if ending(&mut child, Instant::now() + GRACE).is_err() {
            left::behind(Some(about), child);
        }
    }
    done
}

/// All of it, to its end.
fn read(mut from: &UnixStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut block = [0; 8192];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(silent());
        }
        from.set_read_timeout(Some(left))?;
        match from.read(&mut block) {
            Ok(0) => return Ok(said),
            Ok(got) => said.extend_from_slice(block.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(silent()),
            Err(error) => return Err(error),
        }
        if said.len() as u64 > MAX_SAID {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Its exit.
fn ending(child: &mut Child, until: Instant) -> io::Result<Option<i32>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(silent());
        }
        match &pidfd {
            Some(pidfd) => {
                let left = Timespec::try_from(left).ok();
                match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            None => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> io::Result<Ended> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, Path::new(script), patience, Said::Kept)
    }

    #[test]
    fn what_it_says_comes_back_with_its_exit() {
        let long = Duration::from_secs(60);
        let ended = sh("head -c 300000 /dev/zero; echo no >&2; exit 66", long).unwrap();
        assert_eq!(ended.code, Some(66));
        assert_eq!(
            (ended.out.len(), ended.err.as_slice()),
            (300_000, &b"no\n"[..])
        );
    }

    #[test]
    fn one_that_hangs_is_ended() {
        for script in ["exec sleep 3000", "exec sleep 3000 >&- 2>&-"] {
            let error = sh(script, Duration::from_millis(50)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
        }
    }

    #[test]
    fn where_one_hangs_no_other_is_sent() {
        let about = Path::new("/a/home/that/hangs");
        let child = Command::new("/bin/sleep").arg("3000").spawn().unwrap();
        let id = rustix::process::Pid::from_child(&child);
        left::behind(Some(about), child);
        let run = || {
            let patience = Duration::from_secs(60);
            run(Command::new("/bin/true"), about, patience, Said::Kept)
        };
        assert_eq!(run().unwrap_err().kind(), io::ErrorKind::TimedOut);
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        // It has ended as soon as it is gone.
        while left::still_hangs(about) {
            std::thread::yield_now();
        }
        assert_eq!(run().unwrap().code, Some(0));
    }

    #[test]
    fn what_it_says_goes_into_a_file() {
        let (mut read, write) = std::io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo said; echo told >&2"]);
        let patience = Duration::from_secs(60);
        let ended = run(command, Path::new("x"), patience, Said::Into(write.into())).unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(
            (text.as_str(), ended.err.as_slice()),
            ("said\n", &b"told\n"[..])
        );
    }
}
