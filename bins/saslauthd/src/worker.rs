//! Mechanisms in processes of their own.
//!
//! PAM and name service modules are C code that leaks, hangs or crashes. So
//! they run in worker processes: this program started anew by the starter, with one end of
//! a socket pair as its standard input. Over it go the protocol's own frames, one
//! request and one answer at a time. A worker that is silent for too long is
//! killed, so is one that says more than it was asked for, one that died is replaced at
//! the next request, and each is replaced after [`REQUESTS_LIMIT`] requests, leaks and all.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::answer::Answer;
use crate::frame::{Progress, ReplyReader, Request, RequestReader, Sender};
use crate::log::Log;
use crate::mech::PasswordChecker;
use crate::starter::{self, Starter, Stderr};

/// Requests after which a worker is replaced.
pub const REQUESTS_LIMIT: u32 = 1000;

/// Silence after which a worker is killed.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// How to start a worker.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// This program.
    pub program: PathBuf,
    /// The arguments that make a worker of it.
    pub arguments: Vec<OsString>,
    /// Silence after which a worker is killed.
    pub silence_limit: Duration,
    /// Requests after which a worker is replaced.
    pub requests_limit: u32,
    /// Whether debug lines tell of workers that come and go.
    pub told: Told,
    /// Who starts them.
    pub by: By,
}

/// Who starts workers.
#[derive(Clone, Debug)]
pub enum By {
    /// The starter, as a confined server can't.
    Starter(Arc<Starter>),
    /// This process.
    Ourselves,
}

/// Whether debug lines tell of workers that come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// As the original does where it starts processes.
    Yes,
    /// Where the original starts none: `-n 0` in the foreground.
    No,
}

/// Asks a worker process.
#[derive(Debug)]
pub struct WorkerChecker {
    recipe: Recipe,
    log: Arc<Log>,
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    process: Process,
    socket: UnixStream,
    requests: u32,
}

#[derive(Debug)]
enum Process {
    Child(Child),
    Started(u32, Arc<Starter>),
}

impl WorkerChecker {
    /// A checker that starts its worker at the first request.
    #[must_use]
    pub fn new(recipe: Recipe, log: Arc<Log>) -> Self {
        WorkerChecker {
            recipe,
            log,
            worker: None,
        }
    }

    fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        let frame = request
            .to_frame()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let limit = self.recipe.silence_limit;
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        let answer = match worker.ask(&frame, limit) {
            // A worker that died between two requests: the next one answers.
            Err(error) if worker.requests > 0 && error.kind() != io::ErrorKind::TimedOut => {
                self.end(worker);
                worker = self.start()?;
                worker.ask(&frame, limit)
            }
            answered => answered,
        };
        worker.requests = worker.requests.saturating_add(1);
        if answer.is_ok() && worker.requests < self.recipe.requests_limit {
            self.worker = Some(worker);
        } else {
            self.end(worker);
        }
        answer
    }

    fn start(&self) -> io::Result<Worker> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        let Recipe {
            program, arguments, ..
        } = &self.recipe;
        let process = match &self.recipe.by {
            By::Starter(starter) => Process::Started(starter.start(theirs)?, Arc::clone(starter)),
            By::Ourselves => {
                let stderr = match self.log.is_verbose() {
                    true => Stderr::Shown,
                    false => Stderr::Lost,
                };
                Process::Child(starter::command(program, arguments, theirs, stderr).spawn()?)
            }
        };
        ours.set_write_timeout(Some(self.recipe.silence_limit))?;
        let worker = Worker {
            process,
            socket: ours,
            requests: 0,
        };
        self.tell(format!("forked child: {}", worker.id()));
        Ok(worker)
    }

    fn tell(&self, line: String) {
        if self.recipe.told == Told::Yes {
            self.log.debug(line);
        }
    }

    fn end(&self, worker: Worker) {
        let pid = worker.id();
        match worker.end() {
            Ok(status) => match status.signal() {
                Some(libc::SIGKILL) | None => self.tell(format!("child exited: {pid}")),
                Some(signal) => self
                    .log
                    .error(format!("worker process {pid} died of signal {signal}")),
            },
            Err(error) => self.log.error(format!("worker process {pid}: {error}")),
        }
    }
}

impl Worker {
    fn ask(&mut self, frame: &[u8], limit: Duration) -> io::Result<Answer> {
        self.check_silence()?;
        self.socket.write_all(frame)?;
        let deadline = Instant::now()
            .checked_add(limit)
            .ok_or(io::ErrorKind::TimedOut)?;
        let mut reader = ReplyReader::default();
        let mut buffer = [0; 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.set_read_timeout(Some(left))?;
            let count = match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            match reader.push(buffer.get(..count).unwrap_or_default()) {
                // Whose answer the rest would be nobody knows.
                Ok(Some(_)) if reader.has_more() => return Err(out_of_step()),
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// What it says before it is asked is no answer to what it will be asked.
    fn check_silence(&self) -> io::Result<()> {
        let mut octet = [0];
        match rustix::net::recv(&self.socket, &mut octet, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Err(out_of_step()),
            Err(error) => Err(error.into()),
        }
    }

    fn id(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Started(pid, _) => *pid,
        }
    }

    /// Kills it and waits for it; a dead one keeps the status it died with.
    fn end(self) -> io::Result<ExitStatus> {
        match self.process {
            Process::Child(child) => starter::end(child),
            Process::Started(pid, starter) => starter.end(pid),
        }
    }
}

impl PasswordChecker for WorkerChecker {
    fn check(&mut self, request: &Request) -> Answer {
        match self.ask(request) {
            Ok(answer) => answer,
            Err(error) => {
                self.log
                    .error(format!("no answer from a worker process: {error}"));
                Answer::refused("no answer from the mechanism")
            }
        }
    }
}

impl Drop for WorkerChecker {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.end(worker);
        }
    }
}

/// The two sides disagree about where a request or an answer ends.
fn out_of_step() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not what was asked for")
}

/// A worker's life: requests from the socket, answers to it, until it closes.
///
/// # Errors
/// The socket fails, or what comes is no request: the worker is of no use any more, as the answer
/// to one thing must never be taken for that to another.
pub fn serve(socket: &mut UnixStream, checker: &mut dyn PasswordChecker) -> io::Result<()> {
    let mut buffer = zeroize::Zeroizing::new(vec![0; Sender::Server.request_limit()]);
    let mut reader = RequestReader::new(Sender::Server);
    let mut octets = 0_usize;
    loop {
        let count = match socket.read(buffer.as_mut_slice()) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        octets = octets.saturating_add(count);
        let request = match reader.push(buffer.get(..count).unwrap_or_default()) {
            Progress::More => continue,
            Progress::Refused(refusal) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    refusal.to_string(),
                ));
            }
            Progress::Request(request) => request,
        };
        // The server asks one at a time: nothing stands behind a request.
        if request.to_frame().map_or(0, |frame| frame.len()) != octets {
            return Err(out_of_step());
        }
        let answer = checker.check(&request);
        (reader, octets) = (RequestReader::new(Sender::Server), 0);
        socket.write_all(&answer.to_frame())?;
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
