//! The server: one thread that watches all sockets, and the pool behind it.
//!
//! Nothing here waits for a single client. Idle and garbage-sending clients
//! cost a descriptor and at most one request's octets each, for ten seconds at
//! most; where their number reaches the limit the one that has kept the server
//! waiting for longest makes room for the next.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::SocketFlags;

mod connection;
pub mod service;
mod slots;

use connection::{ANSWER_LIMIT, Connection, Input, Interest, State, after};
use service::{Next, Pending, Service};
use slots::Slots;

use crate::answer::Answer;
use crate::frame::Progress;
use crate::log::Log;
use crate::notify::Notifier;
use crate::pool::{Done, Job, Pool, QUEUE_LIMIT};

/// Connections at most, where the descriptor limit allows.
pub const CONNECTIONS_LIMIT: usize = 4096;

/// How exact deadlines and back-offs are.
const TICK: Duration = Duration::from_millis(50);
/// Requests that are being answered at SIGTERM have so long.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Clients accepted before others are looked at.
const ACCEPT_BATCH: usize = 64;

/// Tokens that no connection has: their upper half is no slot's generation.
const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;
const STOP: u64 = u64::MAX - 2;
const STARTER: u64 = u64::MAX - 3;

/// Why a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    AsTold,
    /// Who starts worker processes is gone, so that nobody could be let in any more.
    WithoutStarter,
}

/// The running server.
#[derive(Debug)]
pub struct Server {
    epoll: rustix::fd::OwnedFd,
    listener: Option<UnixListener>,
    accepting: bool,
    slots: Slots,
    service: Service,
    pool: Pool,
    stop: UnixStream,
    starter: Option<OwnedFd>,
    log: Arc<Log>,
    notifier: Option<Notifier>,
}

impl Server {
    /// A server for a listening, non-blocking socket. It ends when `stop` becomes
    /// readable.
    ///
    /// # Errors
    /// No epoll descriptor to be had.
    pub fn new(
        listener: UnixListener,
        service: Service,
        pool: Pool,
        stop: UnixStream,
        log: Arc<Log>,
        connections_limit: usize,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (fd, token) in [
            (listener.as_fd(), LISTENER),
            (pool.wake_fd(), WAKE),
            (stop.as_fd(), STOP),
        ] {
            let data = epoll::EventData::new_u64(token);
            epoll::add(&epoll, fd, data, epoll::EventFlags::IN)?;
        }
        let slots = Slots::new(connections_limit.clamp(1, CONNECTIONS_LIMIT));
        Ok(Server {
            epoll,
            listener: Some(listener),
            accepting: true,
            slots,
            service,
            pool,
            stop,
            starter: None,
            log,
            notifier: None,
        })
    }

    /// Tells the service manager how it goes.
    #[must_use]
    pub fn with_notifier(mut self, notifier: Option<Notifier>) -> Self {
        self.notifier = notifier;
        self
    }

    /// Ends, too, when the other end of this socket is closed.
    ///
    /// # Errors
    /// epoll doesn't take it.
    pub fn with_starter(mut self, starter: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(starter) = &starter {
            // That the other end is gone is always told.
            let data = epoll::EventData::new_u64(STARTER);
            epoll::add(&self.epoll, starter, data, epoll::EventFlags::empty())?;
        }
        self.starter = starter;
        Ok(self)
    }

    /// Serves until it is told to stop, or has lost its starter; then answers what it has begun,
    /// for two seconds at most.
    ///
    /// # Errors
    /// epoll itself fails.
    pub fn run(&mut self) -> io::Result<Ended> {
        let mut events = Vec::with_capacity(256);
        let mut next_tick = after(Instant::now(), TICK);
        let mut next_status = Instant::now();
        let mut end: Option<(Instant, Ended)> = None;
        loop {
            self.wait(&mut events)?;
            for event in events.drain(..) {
                let event: epoll::Event = event;
                match event.data.u64() {
                    LISTENER => self.accept(),
                    WAKE => self.collect(),
                    STOP | STARTER => {
                        self.leave();
                        let why = match event.data.u64() {
                            STARTER => Ended::WithoutStarter,
                            _ => Ended::AsTold,
                        };
                        end.get_or_insert((after(Instant::now(), DRAIN_LIMIT), why));
                    }
                    token => self.on_event(token),
                }
            }
            let now = Instant::now();
            if now >= next_tick {
                self.tick(now);
                next_tick = after(now, TICK);
            }
            if now >= next_status {
                next_status = after(now, self.report());
            }
            if let Some((end, why)) = end
                && (now >= end || self.all_idle())
            {
                return Ok(why);
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let patience = if self.slots.open() > 0 || !self.accepting {
            TICK
        } else {
            self.notifier
                .as_ref()
                .map_or(Duration::from_secs(3600), Notifier::interval)
        };
        let patience = Timespec::try_from(patience).ok();
        let room = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, room, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPT_BATCH {
            if self.slots.is_full() && !self.make_room() {
                self.accept_no_more();
                return;
            }
            let Some(listener) = &self.listener else {
                return;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(listener, flags) {
                Ok(fd) => {
                    let connection = Connection::new(UnixStream::from(fd), Instant::now());
                    if let Ok(slot) = self.slots.insert(connection) {
                        // Most clients have sent their request by now.
                        self.on_input(slot);
                    }
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    // No descriptors or no memory: try again at the next tick.
                    self.accept_no_more();
                    return;
                }
            }
        }
    }

    /// Closes the client that has kept the server waiting for longest, if the
    /// server waits for any.
    fn make_room(&mut self) -> bool {
        let idle = self.slots.iter().filter(|(_, c)| c.is_idle());
        let Some((slot, _)) = idle.min_by_key(|(_, c)| c.deadline) else {
            return false;
        };
        self.close(slot);
        true
    }

    fn accept_no_more(&mut self) {
        if let Some(listener) = &self.listener
            && self.accepting
            && epoll::delete(&self.epoll, listener).is_ok()
        {
            self.accepting = false;
        }
    }

    fn accept_again(&mut self) {
        if let Some(listener) = &self.listener
            && !self.accepting
        {
            let data = epoll::EventData::new_u64(LISTENER);
            let added = epoll::add(&self.epoll, listener, data, epoll::EventFlags::IN);
            self.accepting = added.is_ok();
        }
    }

    /// No new clients from here on.
    fn leave(&mut self) {
        self.accept_no_more();
        self.accepting = true;
        self.listener = None;
        let _ = epoll::delete(&self.epoll, &self.stop);
        if let Some(starter) = self.starter.take() {
            let _ = epoll::delete(&self.epoll, &starter);
        }
        if let Some(notifier) = &self.notifier {
            notifier.stopping();
        }
    }

    fn all_idle(&self) -> bool {
        let mut open = self.slots.iter();
        open.all(|(_, c)| matches!(c.state, State::Reading(_) | State::Lingering(_)))
    }

    fn on_event(&mut self, token: u64) {
        let Some(slot) = self.slots.find(token) else {
            return;
        };
        let writing = self
            .slots
            .get(slot)
            .is_some_and(|c| matches!(c.state, State::Replying(_)));
        if writing {
            let input = self.slots.get(slot).map(Connection::on_output);
            self.settle(slot, input.unwrap_or(Input::Closed));
        } else {
            self.on_input(slot);
        }
    }

    fn on_input(&mut self, slot: usize) {
        let Some(connection) = self.slots.get(slot) else {
            return;
        };
        let now = Instant::now();
        match connection.on_input() {
            Input::Request(Progress::Refused(refusal)) => {
                let answer = self.service.on_refusal(refusal);
                self.reply(slot, &answer, now);
            }
            Input::Request(Progress::Request(request)) => {
                connection.deadline = after(now, ANSWER_LIMIT);
                let next = self.service.on_request(request, now);
                self.go_on(slot, next, now);
            }
            other => self.settle(slot, other),
        }
    }

    fn go_on(&mut self, slot: usize, next: Next, now: Instant) {
        match next {
            Next::Answer(answer) => self.reply(slot, &answer, now),
            Next::Check(pending, None) => self.submit(slot, pending, now),
            Next::Check(pending, Some(moment)) => {
                self.wait_in(slot, State::Delayed(pending, moment));
            }
            Next::Wait(request) => {
                let waits = |c: &Connection| matches!(c.state, State::Waiting(_));
                let waiting = self.slots.iter().filter(|(_, c)| waits(c)).count();
                match waiting < QUEUE_LIMIT {
                    true => self.wait_in(slot, State::Waiting(request)),
                    false => {
                        let answer = self.service.give_up(&request, "saslauthd is busy");
                        self.reply(slot, &answer, now);
                    }
                }
            }
        }
    }

    fn wait_in(&mut self, slot: usize, state: State) {
        if let Some(connection) = self.slots.get(slot) {
            connection.state = state;
        }
        self.settle(slot, Input::More);
    }

    /// Asks again for those who wait for answers to others, the first come first.
    fn ask_again(&mut self, now: Instant) {
        let waits = |c: &Connection| matches!(c.state, State::Waiting(_));
        let waiting = self.slots.iter().filter(|(_, c)| waits(c));
        let mut waiting: Vec<_> = waiting.map(|(slot, c)| (c.deadline, slot)).collect();
        waiting.sort_unstable();
        for (deadline, slot) in waiting {
            let Some(connection) = self.slots.get(slot) else {
                continue;
            };
            let State::Waiting(request) = std::mem::replace(&mut connection.state, State::Checking)
            else {
                continue;
            };
            if now >= deadline {
                let answer = self.service.give_up(&request, "no answer in time");
                self.reply(slot, &answer, now);
                continue;
            }
            let next = self.service.on_turn(*request, now);
            self.go_on(slot, next, now);
        }
    }

    fn submit(&mut self, slot: usize, pending: Box<Pending>, now: Instant) {
        let ticket = self.slots.token(slot);
        let Some(connection) = self.slots.get(slot) else {
            return;
        };
        connection.state = State::Checking;
        let job = Job {
            ticket,
            request: pending.request,
            place: pending.place,
            deadline: connection.deadline,
        };
        self.slots.keep_key(slot, pending.key);
        match self.pool.submit(job) {
            Ok(()) => self.settle(slot, Input::More),
            Err(job) => {
                let answer = self.service.give_up(&job.request, "saslauthd is busy");
                self.reply(slot, &answer, now);
            }
        }
    }

    /// Takes back what the pool has done.
    fn collect(&mut self) {
        self.pool.rest();
        let now = Instant::now();
        while let Some(done) = self.pool.finished() {
            self.on_done(done, now);
        }
        self.ask_again(now);
    }

    fn on_done(&mut self, done: Done, now: Instant) {
        let Some(answer) = done.answer else {
            return;
        };
        // A client that was told before, at its deadline, is gone; what the
        // mechanism said counts all the same.
        let slot = self.slots.find(done.ticket);
        let key = slot.and_then(|slot| self.slots.take_key(slot));
        self.service.on_answer(&done.request, key, &answer, now);
        let waits = |c: &mut Connection| matches!(c.state, State::Checking);
        if let Some(slot) = slot
            && self.slots.get(slot).is_some_and(waits)
        {
            self.reply(slot, &answer, now);
        }
    }

    fn reply(&mut self, slot: usize, answer: &Answer, now: Instant) {
        if let Some(connection) = self.slots.get(slot) {
            let input = connection.reply(answer, now);
            self.settle(slot, input);
        }
    }

    /// Closes a connection that is over; else watches it for what it waits for.
    fn settle(&mut self, slot: usize, input: Input) {
        if matches!(input, Input::Closed) {
            self.close(slot);
            return;
        }
        let token = self.slots.token(slot);
        let Some(connection) = self.slots.get(slot) else {
            return;
        };
        let (have, want) = (connection.interest, connection.wanted());
        if have == want {
            return;
        }
        connection.interest = want;
        if watch(&self.epoll.as_fd(), connection.fd(), token, have, want).is_err() {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: usize) {
        if let Some(connection) = self.slots.remove(slot)
            && connection.interest != Interest::Nothing
        {
            let _ = epoll::delete(&self.epoll, connection.fd());
        }
    }

    /// What deadlines and back-offs bring.
    fn tick(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let Some(connection) = self.slots.get(slot) else {
                continue;
            };
            let late = now >= connection.deadline;
            match &mut connection.state {
                State::Delayed(_, moment) if !late && now < *moment => {}
                State::Delayed(..) => {
                    if let State::Delayed(pending, _) =
                        std::mem::replace(&mut connection.state, State::Checking)
                    {
                        self.submit(slot, pending, now);
                    }
                }
                State::Checking if late => {
                    self.log.error("no answer from the mechanism in time");
                    self.reply(slot, &Answer::refused("no answer in time"), now);
                }
                State::Waiting(_) | State::Checking => {}
                State::Reading(_) | State::Replying(_) | State::Lingering(_) if late => {
                    self.close(slot);
                }
                State::Reading(_) | State::Replying(_) | State::Lingering(_) => {}
            }
        }
        self.ask_again(now);
        self.accept_again();
    }

    /// Tells how it goes; gives the time until the next report.
    fn report(&self) -> Duration {
        let Some(notifier) = &self.notifier else {
            return Duration::from_secs(3600);
        };
        let figures = self.service.figures();
        notifier.status(&format!(
            "{} connections; {} let in, {} more from the cache, {} refused; {} cached",
            self.slots.open(),
            figures.accepted,
            figures.cached,
            figures.refused,
            self.service.cached_entries()
        ));
        notifier.interval()
    }
}

fn watch(
    epoll: &BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    token: u64,
    have: Interest,
    want: Interest,
) -> Result<(), Errno> {
    let data = epoll::EventData::new_u64(token);
    let flags = match want {
        Interest::Nothing => return epoll::delete(epoll, fd),
        Interest::Input => epoll::EventFlags::IN,
        Interest::Output => epoll::EventFlags::OUT,
    };
    match have {
        Interest::Nothing => epoll::add(epoll, fd, data, flags),
        Interest::Input | Interest::Output => epoll::modify(epoll, fd, data, flags),
    }
}
