//! A session's place, and who gives his up when there is none left.
//!
//! The site's time-outs let a client keep us waiting for an hour, and one that sends an octet
//! now and then for longer. That does no harm while there are places for others. When there
//! are none, the clients that have kept us waiting for longest are timed out, [`HURRY`] being
//! the least that each is given. What counts is a whole step of the client's: a command line,
//! a handshake, some kilobytes of a message.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Sessions, Throttle};

/// How long a client may take over a step while others find no place.
pub(super) const HURRY: Duration = Duration::from_secs(10);
/// How many are timed out at one time: those who come in their stead may be as slow.
const AT_A_TIME: usize = 8;
/// So many octets of a message are a step.
const STEP_OCTETS: u64 = 4096;

/// A session's place; dropped, it is free for another.
#[derive(Debug)]
pub struct Place {
    pub(super) throttle: Arc<Throttle>,
    pub(super) daemon: String,
    pub(super) number: u64,
    pub(super) turn: Arc<Turn>,
}

/// Whose turn it is in a session, and since when.
#[derive(Debug)]
pub(super) struct Turn {
    start: Instant,
    /// When the step at hand began, in milliseconds from `start`.
    since: AtomicU64,
    octets: AtomicU64,
    /// Whether the client is waited for.
    client: AtomicBool,
    over: Notify,
}

impl Default for Turn {
    fn default() -> Self {
        Turn {
            start: Instant::now(),
            since: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            client: AtomicBool::new(false),
            over: Notify::new(),
        }
    }
}

impl Turn {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long the client has taken over its step so far; nothing where it is our turn.
    fn waited(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        let waits = self.client.load(Ordering::Relaxed);
        waits.then(|| Duration::from_millis(self.now().saturating_sub(since)))
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

    /// Waits for something that the client has to do.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after `patience`, or earlier where others find no place.
    pub async fn wait<F: Future>(&self, patience: Duration, what: F) -> io::Result<F::Output> {
        let over = self.turn.over.notified();
        self.turn.client.store(true, Ordering::Relaxed);
        let _waiting = Waiting(&self.turn);
        tokio::select! {
            biased;
            done = what => Ok(done),
            () = over => Err(io::ErrorKind::TimedOut.into()),
            () = tokio::time::sleep(patience) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.throttle.sessions().leave(&self.daemon, self.number);
    }
}

/// Times out the clients that have kept us waiting for longest, `least` or more: those of
/// one daemon, or of all.
pub(super) fn hurry(sessions: &Sessions, daemon: Option<&str>, least: Duration) {
    let asked = sessions.turns.values();
    let asked = asked.filter(|(name, _)| daemon.is_none_or(|daemon| daemon == name));
    let mut slow: Vec<(Duration, &Turn)> = asked
        .filter_map(|(_, turn)| Some((turn.waited()?, &**turn)))
        .filter(|(waited, _)| *waited >= least)
        .collect();
    slow.sort_unstable_by_key(|(waited, _)| std::cmp::Reverse(*waited));
    for (_, turn) in slow.iter().take(AT_A_TIME) {
        turn.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmaps::site::Site;
    use libmaps::site::model::DaemonOptions;
    use std::pin::Pin;
    use std::task::Poll;

    /// Looks once whether the wait is over.
    async fn is_over<T>(wait: &mut Pin<Box<impl Future<Output = io::Result<T>>>>) -> bool {
        std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn only_who_keeps_a_crowded_daemon_waiting_is_timed_out() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let site = Site::default();
        let place = |daemon: &str| {
            let options = DaemonOptions::new(daemon, "25");
            throttle.admit(&site, &options).unwrap()
        };
        let (slow, busy, other) = (place("one"), place("one"), place("other"));
        let hour = Duration::from_secs(3600);
        let mut slow_wait = Box::pin(slow.wait(hour, std::future::pending::<()>()));
        let mut other_wait = Box::pin(other.wait(hour, std::future::pending::<()>()));
        assert!(!is_over(&mut slow_wait).await && !is_over(&mut other_wait).await);
        hurry(&throttle.sessions(), None, HURRY);
        assert!(!is_over(&mut slow_wait).await, "it has come just now");
        hurry(&throttle.sessions(), Some("one"), Duration::ZERO);
        assert!(is_over(&mut slow_wait).await);
        assert!(!is_over(&mut other_wait).await, "another daemon");
        // Whoever was busy then does not hear of it later.
        let mut late = Box::pin(busy.wait(hour, std::future::pending::<()>()));
        assert!(!is_over(&mut late).await);
    }

    #[test]
    fn octets_of_a_message_are_steps() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let options = DaemonOptions::new("one", "25");
        let place = throttle.admit(&Site::default(), &options).unwrap();
        place.turn.since.store(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
        place.received(1);
        assert_eq!(place.turn.since.load(Ordering::Relaxed), 0);
        place.received(4095);
        assert!(place.turn.since.load(Ordering::Relaxed) > 0);
    }
}
