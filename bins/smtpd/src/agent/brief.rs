//! Programs that must be done soon.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Most octets of what it says, on either output.
const MAX_SAID: u64 = 1024 * 1024;
/// How long one that was killed is waited for: it may hang in the kernel.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has ended.
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

/// Runs it without input.
///
/// # Errors
/// When it can't be run, and [`io::ErrorKind::TimedOut`] when it is not done in time; then it
/// is killed.
pub(super) fn run(mut command: Command, patience: Duration) -> io::Result<Ended> {
    let until = Instant::now() + patience;
    // Sockets, because they have a time-out.
    let (out, its_out) = UnixStream::pair()?;
    let (err, its_err) = UnixStream::pair()?;
    command
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(its_out))
        .stderr(OwnedFd::from(its_err));
    let mut child = command.spawn()?;
    // It holds our copies of the other ends.
    drop(command);
    let said = read(&out, until).and_then(|out| Ok((out, read(&err, until)?)));
    let done = said.and_then(|(out, err)| Ok((out, err, ending(&mut child, until)?)));
    match done {
        Ok((out, err, code)) => Ok(Ended { code, out, err }),
        Err(error) => {
            let _ = child.kill();
            let _ = ending(&mut child, Instant::now() + GRACE);
            Err(error)
        }
    }
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
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= until {
            return Err(silent());
        }
        std::thread::sleep(LOOK_EVERY);
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
        run(command, patience)
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
}
