//! A session's place, and what its client does with it.
//!
//! The site's time-outs let a client keep us waiting for an hour, and one that sends an octet
//! now and then for longer. That does no harm while there are places for others. When there
//! are none, the clients that have kept us waiting for longest are timed out. What counts is a
//! whole step of the client's: a command line with all that we must find out for it (names
//! that the client chose are answered by name servers of its choice), a handshake, some
//! kilobytes of a message. And who has more places than others may lose one, whatever he does:
//! see [`super::crowd`].

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Throttle;
use super::kept::Memory;
use super::time::now;

/// So many octets of a message are a step.
const STEP_OCTETS: u64 = 4096;

/// A session's place; dropped, it is free for another.
#[derive(Debug)]
pub struct Place {
    pub(super) throttle: Arc<Throttle>,
    pub(super) number: u64,
    pub(super) turn: Arc<Turn>,
}

/// A place that was taken for the sake of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When the session was told.
    pub(super) told: Instant,
    /// What for.
    pub why: Why,
}

/// What a place is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Another client needs it.
    Place {
        /// How many places the session's network had.
        count: usize,
        /// Of how many.
        all: usize,
    },
    /// The memory that it takes is needed.
    Memory {
        /// So much does the session's network make us keep.
        octets: u64,
    },
}

/// Whose turn it is in a session, and since when. Times are milliseconds from `start`.
#[derive(Debug)]
pub(super) struct Turn {
    start: Instant,
    /// When the step at hand began.
    since: AtomicU64,
    octets: AtomicU64,
    /// When the last message was stored; the start where none was.
    fruitful: AtomicU64,
    /// Whether the client is waited for.
    client: AtomicBool,
    trusted: AtomicBool,
    /// Octets that it makes us keep.
    kept: AtomicU64,
    lost: OnceLock<Lost>,
    /// Whether a wait ended early for the sake of others.
    hurried: AtomicBool,
    over: Notify,
}

impl Default for Turn {
    fn default() -> Self {
        Turn {
            start: now(),
            since: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            fruitful: AtomicU64::new(0),
            client: AtomicBool::new(false),
            trusted: AtomicBool::new(false),
            kept: AtomicU64::new(0),
            lost: OnceLock::new(),
            hurried: AtomicBool::new(false),
            over: Notify::new(),
        }
    }
}

impl Turn {
    fn age(&self) -> Duration {
        now().saturating_duration_since(self.start)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long the client has taken over its step so far; nothing where it is our turn.
    pub(super) fn waited(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        let waits = self.client.load(Ordering::Relaxed);
        waits.then(|| Duration::from_millis(self.now().saturating_sub(since)))
    }

    /// How long it has brought no message.
    pub(super) fn barren_for(&self) -> Duration {
        let fruitful = self.fruitful.load(Ordering::Relaxed);
        Duration::from_millis(self.now().saturating_sub(fruitful))
    }

    /// Whether it has brought no message for `barren`, or is older than `old`.
    pub(super) fn is_spared_no_more(&self, barren: Duration, old: Duration) -> bool {
        self.barren_for() >= barren || self.age() >= old
    }

    /// The client's wait is over, if it is its turn.
    pub(super) fn hurry(&self) {
        self.over.notify_waiters();
    }

    /// The place is needed for another.
    pub(super) fn lose(&self, lost: Lost) {
        if self.lost.set(lost).is_ok() {
            self.over.notify_waiters();
        }
    }

    /// How much the session makes us keep, in octets.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> Option<&Lost> {
        self.lost.get()
    }

    pub(super) fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    fn timed_out(&self) -> io::Error {
        self.hurried.store(true, Ordering::Relaxed);
        io::ErrorKind::TimedOut.into()
    }
}

/// Says that it is our turn again, however the wait ends.
struct Waiting<'a>(&'a Turn);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.client.store(false, Ordering::Relaxed);
    }
}

impl Place {
    /// It is known whose place it is.
    pub fn belongs_to(&self, client: IpAddr) {
        self.throttle.sessions().belongs_to(self.number, client);
    }

    /// The client is trusted: where places are lacking others lose theirs first.
    pub fn trust(&self) {
        self.turn.trust();
    }

    /// A step of the client's begins.
    pub fn begin(&self) {
        self.turn.since.store(self.turn.now(), Ordering::Relaxed);
        self.turn.octets.store(0, Ordering::Relaxed);
    }

    /// Some octets of a message have come: enough of them, and the next step begins.
    pub fn received(&self, octets: usize) {
        let octets = octets as u64;
        if self.turn.octets.fetch_add(octets, Ordering::Relaxed) + octets >= STEP_OCTETS {
            self.begin();
        }
    }

    /// A message was stored.
    pub fn bore_fruit(&self) {
        self.turn.fruitful.store(self.turn.now(), Ordering::Relaxed);
    }

    /// The client makes us keep so many octets now, all that it has brought taken together.
    pub fn keeps(&self, octets: u64) {
        if self.turn.kept() != octets {
            let before = self.turn.kept.swap(octets, Ordering::Relaxed);
            self.throttle.kept.change(before, octets);
        }
    }

    /// Whether the client may bring something that we must keep. Near the limit those make
    /// room who hold most.
    #[must_use]
    pub fn may_bring_more(&self) -> bool {
        let memory = self.throttle.kept.memory();
        if memory != Memory::Enough {
            self.throttle.sessions().relieve();
        }
        memory != Memory::Full
    }

    /// Waits for something that the client has to do, or that takes as long as the client
    /// wants.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after `patience`, or earlier where others find no place.
    pub async fn wait<F: Future>(&self, patience: Duration, what: F) -> io::Result<F::Output> {
        let over = self.turn.over.notified();
        if self.turn.lost().is_some() {
            return Err(self.turn.timed_out());
        }
        self.turn.client.store(true, Ordering::Relaxed);
        let _waiting = Waiting(&self.turn);
        tokio::select! {
            biased;
            done = what => Ok(done),
            () = over => Err(self.turn.timed_out()),
            () = tokio::time::sleep(patience) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Waits for something of ours: only who loses his place is interrupted.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where he does.
    pub async fn wait_ours<F: Future>(&self, what: F) -> io::Result<F::Output> {
        let lost = async {
            loop {
                let told = self.turn.over.notified();
                if self.turn.lost().is_some() {
                    return self.turn.timed_out();
                }
                told.await;
            }
        };
        tokio::select! {
            biased;
            error = lost => Err(error),
            done = what => Ok(done),
        }
    }

    /// Whether the place was taken for the sake of others.
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        self.turn.lost().copied()
    }

    /// Whether a wait ended early for the sake of others: they are not kept waiting now.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.turn.hurried.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.keeps(0);
        self.throttle.sessions().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Poll;

    use libmaps::site::Site;
    use libmaps::site::model::DaemonOptions;

    use super::*;
    use crate::throttle::time::pass;

    #[tokio::test]
    async fn octets_of_a_message_are_steps() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let options = DaemonOptions::new("one", "25");
        let place = throttle.admit(&Site::default(), &options, None).unwrap();
        pass(Duration::from_millis(5));
        place.received(1);
        assert_eq!(place.turn.since.load(Ordering::Relaxed), 0);
        place.received(4095);
        assert!(place.turn.since.load(Ordering::Relaxed) > 0);
    }

    #[tokio::test]
    async fn what_takes_as_long_as_the_client_wants_counts_from_its_command_on() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let options = DaemonOptions::new("one", "25");
        let place = throttle.admit(&Site::default(), &options, None).unwrap();
        let hour = Duration::from_secs(3600);
        place.begin();
        let seconds = Duration::from_secs(6);
        place.wait(hour, async { pass(seconds) }).await.unwrap();
        assert_eq!(place.turn.waited(), None, "our turn");
        // A name server that says nothing.
        let mut name: Pin<Box<_>> = Box::pin(place.wait(hour, std::future::pending::<()>()));
        std::future::poll_fn(|context| {
            assert!(name.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        pass(seconds);
        assert_eq!(place.turn.waited(), Some(Duration::from_secs(12)));
    }

    #[tokio::test]
    async fn who_lost_his_place_hears_of_it_whatever_he_waits_for() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let options = DaemonOptions::new("one", "25");
        let place = throttle.admit(&Site::default(), &options, None).unwrap();
        let hour = Duration::from_secs(3600);
        let lost = Lost {
            told: now(),
            why: Why::Place { count: 3, all: 4 },
        };
        let told = async {
            tokio::task::yield_now().await;
            place.turn.lose(lost);
        };
        let (ours, ()) = tokio::join!(place.wait_ours(std::future::pending::<()>()), told);
        assert_eq!(ours.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // It is not forgotten, and counts before all that is ready.
        assert!(place.wait(hour, async {}).await.is_err());
        assert!(place.wait_ours(async {}).await.is_err());
        assert_eq!(place.lost(), Some(lost));
        assert!(place.is_needed());
    }
}
