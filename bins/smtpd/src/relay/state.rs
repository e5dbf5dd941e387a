//! What the relay knows from one message to the next: hosts that did not answer, how
//! many connections each has, and connections that are open and idle.

use crate::queue::Departure;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::Failure;
use super::link::Link;

/// Connections to one address at a time.
const PER_HOST: usize = 20;
/// Rest of a host after its first failure; it doubles with each further one.
const FIRST_REST: Duration = Duration::from_secs(15);
/// How long it is remembered how many recipients a host takes.
const MEMORY: Duration = Duration::from_secs(3600);
/// Most hosts that are remembered.
const MAX_HOSTS: usize = 10_000;
/// Longest an idle connection is kept: servers hang up after five minutes.
const MAX_IDLE: Duration = Duration::from_secs(120);
/// Transactions of one connection; some servers have had enough then.
const MAX_USES: u32 = 100;
/// Beyond those that the site has kept, connections are kept this long: while there is much
/// mail for a host, each delivery finds one.
const BRIEFLY: Duration = Duration::from_secs(2);
/// Most of those.
const MOST_BRIEFLY: usize = 100;

/// Shared by all deliveries.
#[derive(Default)]
pub struct RelayState {
    hosts: Mutex<HashMap<SocketAddr, HostStatus>>,
    idle: Mutex<IdleLinks>,
}

/// Connections at rest, in the order in which they came to it.
#[derive(Default)]
struct IdleLinks {
    all: Vec<Idle>,
    reaper: Reaper,
}

/// Whether a task waits to close those that have rested long enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reaper {
    #[default]
    None,
    Waits,
}

/// What is known about an address.
#[derive(Debug)]
struct HostStatus {
    slots: Arc<Semaphore>,
    trouble: Option<Trouble>,
    /// Recipients of one transaction that the host took before it said "too many".
    most_recipients: Option<(usize, Instant)>,
    used: Instant,
}

#[derive(Clone, Debug)]
struct Trouble {
    failure: Failure,
    times: u32,
    since: Instant,
    until: Instant,
}

/// A connection at rest.
struct Idle {
    key: Key,
    link: Box<Link>,
    until: Instant,
}

/// What a connection can be used for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The mailer.
    pub mailer: String,
    /// The host as it was asked for.
    pub host: String,
    /// Where it is.
    pub addr: SocketAddr,
    /// How it leaves us: another address or name is another connection.
    pub(super) departure: Departure,
}

impl RelayState {
    fn hosts(&self) -> MutexGuard<'_, HashMap<SocketAddr, HostStatus>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, IdleLinks> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_host<T>(&self, addr: SocketAddr, work: impl FnOnce(&mut HostStatus) -> T) -> T {
        let mut hosts = self.hosts();
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(&addr) {
            let now = Instant::now();
            let is_in_use = |status: &HostStatus| status.slots.available_permits() < PER_HOST;
            hosts.retain(|_, status| {
                is_in_use(status) || now - status.used < Duration::from_secs(600)
            });
            // Those that were used last stay, but for the older half of them.
            if hosts.len() >= MAX_HOSTS {
                let mut used: Vec<Instant> = hosts.values().map(|status| status.used).collect();
                let half = used.len() / 2;
                let (_, since, _) = used.select_nth_unstable(half);
                let since = *since;
                hosts.retain(|_, status| is_in_use(status) || status.used > since);
            }
        }
        let status = hosts.entry(addr).or_insert_with(|| HostStatus {
            slots: Arc::new(Semaphore::new(PER_HOST)),
            trouble: None,
            most_recipients: None,
            used: Instant::now(),
        });
        status.used = Instant::now();
        work(status)
    }

    /// Why this host is not to be tried now, and since when, if it is not. Its rest ends when
    /// somebody asks for a run of the queue: he may know that the host is back.
    #[must_use]
    pub fn resting(&self, addr: SocketAddr) -> Option<(Failure, Instant)> {
        let hosts = self.hosts();
        let trouble = hosts.get(&addr)?.trouble.as_ref()?;
        (trouble.until > Instant::now()).then(|| (trouble.failure.clone(), trouble.since))
    }

    /// The host did not answer, or refused us as a whole.
    pub fn failed(&self, addr: SocketAddr, failure: &Failure, longest: Duration) {
        self.with_host(addr, |status| {
            let times = status.trouble.as_ref().map_or(0, |t| t.times);
            let rest = FIRST_REST.saturating_mul(1 << times.min(10)).min(longest);
            let since = Instant::now();
            status.trouble = Some(Trouble {
                failure: failure.clone(),
                times: times + 1,
                since,
                until: since + rest,
            });
        });
    }

    /// The host answered.
    pub fn answered(&self, addr: SocketAddr) {
        self.with_host(addr, |status| status.trouble = None);
    }

    /// The host took so many recipients and no more.
    pub fn too_many(&self, addr: SocketAddr, taken: usize) {
        self.with_host(addr, |status| {
            status.most_recipients = Some((taken.max(1), Instant::now()))
        });
    }

    /// Recipients of one transaction that the host is known to take.
    #[must_use]
    pub fn most_recipients(&self, addr: SocketAddr) -> Option<usize> {
        let (most, since) = self.hosts().get(&addr)?.most_recipients?;
        (since.elapsed() < MEMORY).then_some(most)
    }

    /// Waits until one more connection to the host is allowed; nothing where that takes
    /// longer than `patience`.
    pub async fn slot(
        &self,
        addr: SocketAddr,
        single: Single,
        patience: Duration,
    ) -> Option<OwnedSemaphorePermit> {
        let slots = self.with_host(addr, |status| Arc::clone(&status.slots));
        let wanted = match single {
            Single::Many => 1,
            Single::One => u32::try_from(PER_HOST).unwrap_or(1),
        };
        let slot = slots.acquire_many_owned(wanted);
        tokio::time::timeout(patience, slot).await.ok()?.ok()
    }

    /// An idle connection.
    pub fn take(&self, key: &Key) -> Option<Box<Link>> {
        let mut idle = self.idle();
        let at = idle.all.iter().rposition(|i| i.key == *key)?;
        Some(idle.all.remove(at).link)
    }

    /// Keeps a connection for a while: `most` of them for `longest`, some more for a moment.
    pub fn keep(self: &Arc<Self>, key: Key, link: Box<Link>, most: usize, longest: Duration) {
        if most == 0 || longest.is_zero() || link.uses() >= MAX_USES {
            tokio::spawn(link.close());
            return;
        }
        let mut idle = self.idle();
        if idle.all.len() >= most.saturating_add(MOST_BRIEFLY) {
            tokio::spawn(idle.all.remove(0).link.close());
        }
        let longest = match idle.all.len() < most {
            true => longest.min(MAX_IDLE),
            false => longest.min(BRIEFLY),
        };
        idle.all.push(Idle {
            key,
            link,
            until: Instant::now() + longest,
        });
        if idle.reaper == Reaper::None {
            idle.reaper = Reaper::Waits;
            tokio::spawn(Arc::clone(self).reap());
        }
    }

    /// Closes connections that have rested long enough, until none is left.
    async fn reap(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            let next = {
                let mut idle = self.idle();
                for done in idle.all.extract_if(.., |i| i.until <= now) {
                    tokio::spawn(done.link.close());
                }
                let next = idle.all.iter().map(|i| i.until).min();
                if next.is_none() {
                    idle.reaper = Reaper::None;
                }
                next
            };
            match next {
                // One that is kept meanwhile may be done earlier, by a moment.
                Some(until) => tokio::time::sleep_until(until.min(now + BRIEFLY).into()).await,
                None => return,
            }
        }
    }
}

/// SingleThreadDelivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Single {
    /// Several connections to a host.
    Many,
    /// One at a time.
    One,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_rests_longer_each_time() {
        let state = RelayState::default();
        let addr: SocketAddr = "192.0.2.1:25".parse().unwrap();
        assert_eq!(state.resting(addr), None);
        let failure = Failure::temporary("4.4.1", "Connection refused by mx");
        let longest = Duration::from_secs(40);
        let mut rests = Vec::new();
        for _ in 0..4 {
            let before = Instant::now();
            state.failed(addr, &failure, longest);
            let until = state
                .hosts()
                .get(&addr)
                .unwrap()
                .trouble
                .clone()
                .unwrap()
                .until;
            rests.push((until - before).as_secs_f64().round() as u64);
            let (why, since) = state.resting(addr).unwrap();
            assert_eq!(why, failure);
            assert!(since >= before);
        }
        assert_eq!(rests, [15, 30, 40, 40]);
        state.answered(addr);
        assert_eq!(state.resting(addr), None);
    }

    #[tokio::test]
    async fn a_busy_host_is_not_waited_for_forever() {
        let state = RelayState::default();
        let addr: SocketAddr = "192.0.2.1:25".parse().unwrap();
        let brief = Duration::from_millis(10);
        let all = state.slot(addr, Single::One, brief).await;
        assert!(all.is_some());
        assert!(state.slot(addr, Single::Many, brief).await.is_none());
        drop(all);
        assert!(state.slot(addr, Single::Many, brief).await.is_some());
    }

    #[tokio::test]
    async fn memory_of_hosts_is_bounded() {
        let state = RelayState::default();
        let busy: SocketAddr = "192.0.2.1:25".parse().unwrap();
        let all = state.slot(busy, Single::One, Duration::from_secs(60)).await;
        for n in 0..(MAX_HOSTS as u32 + 10) {
            let addr = SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 25);
            state.too_many(addr, 5);
        }
        assert!((MAX_HOSTS / 2..=MAX_HOSTS).contains(&state.hosts().len()));
        let last = SocketAddr::new(std::net::Ipv4Addr::from(MAX_HOSTS as u32).into(), 25);
        assert_eq!(state.most_recipients(last), Some(5));
        let brief = Duration::from_millis(1);
        assert!(all.is_some() && state.slot(busy, Single::Many, brief).await.is_none());
    }
}
