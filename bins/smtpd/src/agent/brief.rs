//! Programs that must be done soon.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::deliver::process::{Ended, Output, Patience, Process};

/// Most octets of what it says, on either output.
const MAX_SAID: usize = 1024 * 1024;
/// An output that is kept.
pub(super) const KEPT: Output = Output::Kept(MAX_SAID);

/// Runs it without input. It is about this path.
///
/// # Errors
/// When it can't be run, or says too much, and [`io::ErrorKind::TimedOut`] when it is not done in
/// time, or one before it still hangs there; then it is killed.
pub(super) fn run(
    command: Command,
    about: &Path,
    patience: Duration,
    out: Output,
) -> io::Result<Ended> {
    let until = Instant::now() + patience;
    let patience = Patience {
        whole: patience,
        left_behind: Duration::ZERO,
    };
    let ended = Process::start(command, Some(about), patience, [out, KEPT])?.finish()?;
    match ended.status.code() {
        None if Instant::now() >= until => {
            let text = "it did not answer in time";
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
        None => Err(io::Error::other(format!("{}", ended.status))),
        Some(_) if !ended.said_all => Err(io::Error::other("it said more than was heard")),
        Some(_) => Ok(ended),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::deliver::left;

    fn sh(script: &str, patience: Duration) -> io::Result<Ended> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, Path::new(script), patience, KEPT)
    }

    #[test]
    fn what_it_says_comes_back_with_its_exit() {
        let long = Duration::from_secs(60);
        let ended = sh("head -c 300000 /dev/zero; echo no >&2; exit 66", long).unwrap();
        assert_eq!(ended.status.code(), Some(66));
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
            run(Command::new("/bin/true"), about, patience, KEPT)
        };
        assert_eq!(run().unwrap_err().kind(), io::ErrorKind::TimedOut);
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        // It has ended as soon as it is gone.
        while left::still_hangs(about) {
            std::thread::yield_now();
        }
        assert_eq!(run().unwrap().status.code(), Some(0));
    }

    #[test]
    fn what_it_says_goes_into_a_file() {
        let (mut read, write) = std::io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo said; echo told >&2"]);
        let patience = Duration::from_secs(60);
        let ended = run(
            command,
            Path::new("x"),
            patience,
            Output::Into(write.into()),
        )
        .unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(
            (text.as_str(), ended.err.as_slice()),
            ("said\n", &b"told\n"[..])
        );
    }
}
