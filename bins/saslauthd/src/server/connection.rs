//! One client's connection: its socket and what it waits for.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::service::Pending;
use crate::answer::Answer;
use crate::frame::{Progress, Request, RequestReader};

/// A client has so long to send its request.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);
/// A request is answered in this time, with or without the mechanism's word.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A client has so long to take its reply and close.
pub(super) const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// Octets that are read and dropped after a request.
const SURPLUS_LIMIT_OCTETS: usize = 1 << 20;

/// A client's connection. It holds a request's octets while that is read, and
/// nothing before the first octet.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) state: State,
    /// What happens at this moment depends on the state.
    pub(super) deadline: Instant,
    pub(super) interest: Interest,
}

/// What a connection waits for.
#[derive(Debug)]
pub(super) enum State {
    /// The request; closed without a word at the deadline.
    Reading(RequestReader),
    /// An answer to another request of its login.
    Waiting(Box<Request>),
    /// A back-off's end.
    Delayed(Box<Pending>, Instant),
    /// The mechanism's word.
    Checking,
    /// Room for the reply.
    Replying(Vec<u8>),
    /// The client's end of file; what it says until then is dropped.
    Lingering(usize),
}

/// What epoll watches a connection for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Nothing,
    Input,
    Output,
}

/// What came of the client's octets.
#[derive(Debug)]
pub(super) enum Input {
    /// Wait for more.
    More,
    /// The request is there, good or bad.
    Request(Progress),
    /// The connection is over.
    Closed,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        Connection {
            stream,
            state: State::Reading(RequestReader::default()),
            deadline: after(now, READ_LIMIT),
            interest: Interest::Nothing,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// True where the client, not the server, is waited for: may be closed to
    /// make room for another.
    pub(super) fn is_idle(&self) -> bool {
        match self.state {
            State::Reading(_) | State::Replying(_) | State::Lingering(_) => true,
            State::Waiting(_) | State::Delayed(..) | State::Checking => false,
        }
    }

    /// What to watch for in this state. A client that leaves while it is checked
    /// is noticed when the reply is written.
    pub(super) fn wanted(&self) -> Interest {
        match self.state {
            State::Reading(_) | State::Lingering(_) => Interest::Input,
            State::Replying(_) => Interest::Output,
            State::Waiting(_) | State::Delayed(..) | State::Checking => Interest::Nothing,
        }
    }

    /// Reads what is there.
    pub(super) fn on_input(&mut self) -> Input {
        let mut buffer = [0; 2048];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Input::Closed,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Input::More,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Input::Closed,
            };
            match &mut self.state {
                State::Reading(reader) => {
                    let octets = buffer.get_mut(..count).unwrap_or_default();
                    let progress = reader.push(octets);
                    octets.zeroize();
                    if progress != Progress::More {
                        return Input::Request(progress);
                    }
                }
                State::Lingering(surplus) => {
                    *surplus = surplus.saturating_add(count);
                    if *surplus > SURPLUS_LIMIT_OCTETS {
                        return Input::Closed;
                    }
                }
                State::Waiting(_) | State::Delayed(..) | State::Checking | State::Replying(_) => {
                    return Input::More;
                }
            }
        }
    }

    /// Starts to reply.
    pub(super) fn reply(&mut self, answer: &Answer, now: Instant) -> Input {
        self.state = State::Replying(answer.to_frame());
        self.deadline = after(now, LINGER_LIMIT);
        self.on_output()
    }

    /// Writes on; the server's side is shut after the last octet.
    ///
    /// Surplus octets are read before closing: closing a socket with unread
    /// input would take the reply away from the client.
    pub(super) fn on_output(&mut self) -> Input {
        let State::Replying(left) = &mut self.state else {
            return Input::More;
        };
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(0) => return Input::Closed,
                Ok(count) => {
                    left.drain(..count.min(left.len()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Input::More,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Input::Closed,
            }
        }
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return Input::Closed;
        }
        self.state = State::Lingering(0);
        self.on_input()
    }
}

/// A moment later; the far future where the clock can't say.
pub(super) fn after(now: Instant, span: Duration) -> Instant {
    now.checked_add(span).unwrap_or(now)
}
