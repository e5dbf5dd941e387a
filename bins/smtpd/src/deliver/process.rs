//! A program at work: its input, what it says, and its end.
//!
//! Nothing here waits for good. A program may leave its input unread or hang, and what it
//! left behind may hold its input and its outputs open after it has ended; all of that has
//! a limit of time, and none of it costs a thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::left;

/// How long the output of a program that has ended is waited for: what it left behind may
/// hold it open.
const GRACE: Duration = Duration::from_millis(500);
/// How long one of our own, whose input broke off, is waited for before it is killed: it takes
/// back what it has written.
const UNDOING: Duration = Duration::from_secs(30);
/// How long a program that was killed is waited for: it may hang in the kernel.
const LAST_GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether a program has ended, where the system can't tell.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a program may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For its whole run.
    pub(crate) whole: Duration,
    /// For no octet of its input, once it has ended: what it left behind may still read.
    pub(crate) left_behind: Duration,
}

/// Where an output of a program goes.
#[derive(Debug)]
pub(crate) enum Output {
    /// All of it is taken, and so many octets of its beginning are kept.
    Kept(usize),
    /// Into this file.
    Into(OwnedFd),
}

impl Output {
    fn split(self) -> (Stdio, usize) {
        match self {
            Output::Kept(most) => (Stdio::piped(), most),
            Output::Into(file) => (Stdio::from(file), 0),
        }
    }
}

/// A program that runs; written to, it gets its input.
pub(crate) struct Process {
    /// It leads a group of its own, which has its number.
    child: Child,
    /// Tells of its end; not every kernel has them.
    pidfd: Option<OwnedFd>,
    input: Option<ChildStdin>,
    said: [Said; 2],
    stage: Stage,
    until: Instant,
    left_behind: Duration,
    about: Option<PathBuf>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Runs,
    /// It was killed, and has not ended yet.
    Killed,
    Ended(Instant),
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What is kept of what it said.
    pub(crate) out: Vec<u8>,
    /// And of its complaints.
    pub(crate) err: Vec<u8>,
    /// Whether that is all that it said.
    pub(crate) said_all: bool,
}

impl Process {
    /// Starts it, with a process group of its own. It is about this path, where
    /// that is known.
    ///
    /// # Errors
    /// When it can't be run; then it has read nothing. [`io::ErrorKind::TimedOut`] when one
    /// before it still hangs there, although it was killed.
    pub(crate) fn start(
        mut command: Command,
        about: Option<&Path>,
        patience: Patience,
        [out, err]: [Output; 2],
    ) -> io::Result<Self> {
        if about.is_some_and(left::still_hangs) {
            let text = "it does not answer";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        let until = Instant::now() + patience.whole;
        let ((out, most_out), (err, most_err)) = (out.split(), err.split());
        let mut child = std::os::unix::process::CommandExt::process_group(&mut command, 0)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()?;
        match pipes(&mut child, [most_out, most_err]) {
            Ok((input, said)) => Ok(Process {
                pidfd: pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok(),
                child,
                input,
                said,
                stage: Stage::Runs,
                until,
                left_behind: patience.left_behind,
                about: about.map(Path::to_path_buf),
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Kills it and what it started, as far as that is of its group still.
    pub(super) fn kill(&mut self) {
        if !matches!(self.stage, Stage::Ended(_)) {
            self.stage = Stage::Killed;
            self.until = self.until.min(Instant::now() + LAST_GRACE);
        }
        // Nobody has waited for it yet, so that the number is its own.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    /// Ends its input, of which there is no more, and leaves it the time to make that undone.
    pub(super) fn break_off(&mut self) {
        self.input = None;
        if self.stage == Stage::Runs {
            self.until = Instant::now() + UNDOING;
        }
    }

    /// Ends its input and waits for its end.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when it can't be killed.
    pub(crate) fn finish(mut self) -> io::Result<Ended> {
        self.input = None;
        let ended = loop {
            if let Stage::Ended(at) = self.stage {
                break at;
            }
            if Instant::now() < self.until {
                self.attend(self.until)?;
            } else if self.stage == Stage::Runs {
                self.until = Instant::now() + LAST_GRACE;
                self.kill();
            } else {
                left::behind(self.about.as_deref(), self.child);
                let text = "killed, and does not end";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        };
        let until = ended + GRACE;
        while self.said.iter().any(|said| said.from.is_some()) && Instant::now() < until {
            self.attend(until)?;
        }
        let all = |said: &Said| said.from.is_none() && !said.cut;
        let said_all = self.said.iter().all(all);
        let [out, err] = self.said.map(|said| said.kept);
        Ok(Ended {
            status: self.child.wait()?,
            out,
            err,
            said_all,
        })
    }

    /// Waits until there may be something to do, and takes what it says meanwhile.
    fn attend(&mut self, until: Instant) -> io::Result<()> {
        let runs = !matches!(self.stage, Stage::Ended(_));
        let mut left = until.saturating_duration_since(Instant::now());
        if runs && self.pidfd.is_none() {
            left = left.min(LOOK_EVERY);
        }
        let mut watched = Vec::with_capacity(4);
        if let Some(pidfd) = self.pidfd.as_ref().filter(|_| runs) {
            watched.push(PollFd::new(pidfd, PollFlags::IN));
        }
        if let Some(input) = &self.input {
            watched.push(PollFd::new(input, PollFlags::OUT));
        }
        let outputs = self.said.iter().filter_map(|said| said.from.as_ref());
        watched.extend(outputs.map(|from| PollFd::new(from, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // It runs all the same, and is not to run again: it is looked at now and then.
            Err(_) => std::thread::sleep(left.min(LOOK_EVERY)),
        }
        self.said.iter_mut().for_each(Said::take);
        if runs && self.has_ended()? {
            self.stage = Stage::Ended(Instant::now());
        }
        Ok(())
    }

    /// Whether it has; it is not waited for, so that its group stays its own.
    fn has_ended(&self) -> io::Result<bool> {
        let pid = Pid::from_child(&self.child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Write for Process {
    /// [`io::ErrorKind::BrokenPipe`] where nobody reads any more, and
    /// [`io::ErrorKind::TimedOut`] where its time is up.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            let Some(input) = &mut self.input else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            match input.write(octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
            let now = Instant::now();
            let until = match self.stage {
                _ if now >= self.until => return Err(io::ErrorKind::TimedOut.into()),
                Stage::Ended(at) if now >= begun.max(at) + self.left_behind => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Stage::Ended(at) => self.until.min(begun.max(at) + self.left_behind),
                Stage::Runs | Stage::Killed => self.until,
            };
            self.attend(until)?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Our ends of its pipes, none of which blocks.
fn pipes(
    child: &mut Child,
    [most_out, most_err]: [usize; 2],
) -> io::Result<(Option<ChildStdin>, [Said; 2])> {
    let input = child.stdin.take();
    if let Some(input) = &input {
        set_nonblocking(input)?;
    }
    let out = child.stdout.take().map(OwnedFd::from);
    let err = child.stderr.take().map(OwnedFd::from);
    Ok((input, [Said::of(out, most_out)?, Said::of(err, most_err)?]))
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

/// What a program says on one of its outputs: all is taken, the beginning is kept.
struct Said {
    from: Option<File>,
    kept: Vec<u8>,
    most: usize,
    /// Whether there was more than is kept.
    cut: bool,
}

impl Said {
    fn of(from: Option<OwnedFd>, most: usize) -> io::Result<Self> {
        if let Some(from) = &from {
            set_nonblocking(from)?;
        }
        Ok(Said {
            from: from.map(File::from),
            kept: Vec::new(),
            most,
            cut: false,
        })
    }

    /// Takes a block of what is there.
    fn take(&mut self) {
        let mut buffer = [0; 8192];
        let Some(from) = &mut self.from else {
            return;
        };
        match from.read(&mut buffer) {
            Ok(octets @ 1..) => {
                let room = self.most.saturating_sub(self.kept.len()).min(octets);
                self.kept
                    .extend_from_slice(buffer.get(..room).unwrap_or_default());
                self.cut |= room < octets;
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            read => {
                self.cut |= read.is_err();
                self.from = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn a_program_is_stayed_with_where_the_system_cannot_wait_for_it() {
        // The limit is that of a whole process.
        let test = "deliver::process::tests::in_a_process_of_its_own";
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args(["--ignored", "--exact", test]);
        let ended = alone.output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    #[test]
    #[ignore = "the test above runs it"]
    fn in_a_process_of_its_own() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 0.1; echo no; exit 7"]);
        let patience = Patience {
            whole: Duration::from_secs(60),
            left_behind: Duration::ZERO,
        };
        let outputs = [Output::Kept(10), Output::Kept(10)];
        let process = Process::start(command, None, patience, outputs).unwrap();
        // poll(2) takes no more descriptors than a process may have.
        let mut few = getrlimit(Resource::Nofile);
        few.current = Some(2);
        setrlimit(Resource::Nofile, few).unwrap();
        let ended = process.finish().unwrap();
        assert_eq!(
            (ended.status.code(), ended.out),
            (Some(7), b"no\n".to_vec())
        );
    }
}
