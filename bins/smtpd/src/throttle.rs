//! How many connections come from where: limits and counts by address.

mod crowd;
mod kept;
mod place;
mod sharing;
mod time;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libmaps::policy::facts::Counted;
use libmaps::site::Site;
use libmaps::site::model::DaemonOptions;

use crate::consult::ClientLoad;
use crate::resolver::lookups::{self, FILES_OF_LOOKUP};

use crowd::Sessions;
use kept::Kept;
pub use place::{Lost, Place, Why};
use sharing::Sharing;

/// Most networks that are remembered beside those with open connections.
const MAX_CLIENTS: usize = 100_000;
/// How often it is looked for those that may be forgotten, at the most: that goes through all.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// Most connections of one address whose time is remembered.
const MAX_TIMES: usize = 10_000;

/// Open files that are kept for maps, the queue and deliveries, beside those of lookups and of
/// clients who wait at two listeners.
const RESERVED_FILES: u64 = 200;
/// Open files that a session may need: its socket, and a large message.
const FILES_OF_SESSION: u64 = 2;
/// Sessions that are admitted however few files may be open.
const MIN_SESSIONS: u64 = 10;
/// One client of a listener may wait for a place for so many open files, within these bounds.
const FILES_PER_WAITING: u64 = 16;
const MIN_WAITING: usize = 8;
const MAX_WAITING: usize = 256;

/// Counts connections.
#[derive(Debug)]
pub struct Throttle {
    window: Duration,
    most_sessions: u64,
    most_waiting: usize,
    clients: Mutex<Clients>,
    sessions: Mutex<Sessions>,
    kept: Kept,
    sharing: OnceLock<Arc<Sharing>>,
}

#[derive(Debug, Default)]
struct Clients {
    by_network: HashMap<IpAddr, Client>,
    forgot: Option<Instant>,
}

impl Clients {
    /// Makes room, where that is needed and was not just tried.
    fn forget(&mut self, now: Instant, window: Duration) {
        let full = self.by_network.len() >= MAX_CLIENTS;
        let lately = |forgot: Instant| now.saturating_duration_since(forgot) < FORGET_EVERY;
        if !full || self.forgot.is_some_and(lately) {
            return;
        }
        self.forgot = Some(now);
        let counts = |t: &Instant| now.saturating_duration_since(*t) < window;
        self.by_network
            .retain(|_, c| c.open > 0 || c.times.back().is_some_and(counts));
    }
}

/// Whom an address is counted with: of IPv6 all of a /64, since one host has as many
/// addresses as it likes there (RFC 4291 section 2.5.4).
pub(crate) fn network(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from(u128::from(addr) >> 64 << 64)),
    }
}

#[derive(Debug, Default)]
struct Client {
    open: u32,
    times: VecDeque<Instant>,
}

/// An open connection; dropped, it counts no more.
#[derive(Debug)]
pub struct Held {
    throttle: Arc<Throttle>,
    network: IpAddr,
}

impl Throttle {
    /// Counts within this window (ConnectionRateWindowSize), and admits as many sessions as
    /// so many open files allow.
    #[must_use]
    pub fn new(window: Duration, open_files: u64) -> Arc<Self> {
        Self::with_memory(window, open_files, kept::most_of_machine())
    }

    /// As [`Throttle::new`], with so many octets for what clients make us keep.
    #[must_use]
    pub fn with_memory(window: Duration, open_files: u64, octets: u64) -> Arc<Self> {
        let waiting = usize::try_from(open_files / FILES_PER_WAITING).unwrap_or(MAX_WAITING);
        let waiting = waiting.clamp(MIN_WAITING, MAX_WAITING);
        let lookups = lookups::places_for(open_files) as u64 * FILES_OF_LOOKUP;
        let others = RESERVED_FILES + lookups + 2 * waiting as u64;
        let most = open_files.saturating_sub(others) / FILES_OF_SESSION;
        Arc::new(Throttle {
            most_sessions: most.max(MIN_SESSIONS),
            most_waiting: waiting,
            window: window.max(Duration::from_secs(1)),
            clients: Mutex::default(),
            sessions: Mutex::default(),
            kept: Kept::new(octets),
            sharing: OnceLock::new(),
        })
    }

    /// A place for one more session; none while MaxDaemonChildren, the daemon's `children`
    /// or what the limit of open files allows is reached. Then clients that are slow are
    /// timed out, and who has most places loses one, so that there will be one. The client
    /// is `None` where only its balancer is known: see [`Place::belongs_to`].
    #[must_use]
    pub fn admit(
        self: &Arc<Self>,
        site: &Site,
        daemon: &DaemonOptions,
        client: Option<IpAddr>,
    ) -> Option<Place> {
        let mut sessions = self.sessions();
        let here = sessions.of_daemon(&daemon.name);
        let most = site.options.limits.max_daemon_children.0;
        let most = most.unwrap_or(u64::MAX).min(self.most_sessions);
        if sessions.all >= most {
            sessions.make_room(None, client);
            return None;
        }
        if daemon.children.0.is_some_and(|most| here >= most) {
            sessions.make_room(Some(&daemon.name), client);
            return None;
        }
        let (number, turn) = sessions.enter(&daemon.name, client);
        Some(Place {
            throttle: Arc::clone(self),
            number,
            turn,
        })
    }

    /// The sessions of a client's network.
    #[must_use]
    pub fn open_places(&self, client: Option<IpAddr>) -> u64 {
        client.map_or(0, |client| self.sessions().of_network(client))
    }

    /// How many clients of a listener may wait for a place, beside those in the kernel's
    /// queue.
    #[must_use]
    pub fn most_waiting(&self) -> usize {
        self.most_waiting
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new connection, of IPv6 by its /64.
    pub fn enter(self: &Arc<Self>, addr: IpAddr) -> (Held, ClientLoad) {
        let now = Instant::now();
        let mut clients = self.clients();
        clients.forget(now, self.window);
        let network = network(addr);
        let client = clients.by_network.entry(network).or_default();
        client.open += 1;
        while client
            .times
            .front()
            .is_some_and(|t| now.duration_since(*t) >= self.window)
            || client.times.len() >= MAX_TIMES
        {
            client.times.pop_front();
        }
        client.times.push_back(now);
        let load = ClientLoad {
            rate: u32::try_from(client.times.len()).unwrap_or(u32::MAX),
            connections: client.open,
            counted: Counted::Here,
        };
        let held = Held {
            throttle: Arc::clone(self),
            network,
        };
        (held, load)
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut clients = self.throttle.clients();
        let full = clients.by_network.len() > MAX_CLIENTS;
        if let Some(client) = clients.by_network.get_mut(&self.network) {
            client.open = client.open.saturating_sub(1);
            if full && client.open == 0 {
                clients.by_network.remove(&self.network);
            }
        }
        drop(clients);
        if let Some(sharing) = self.throttle.sharing.get() {
            sharing.changed(self.network);
        }
    }
}

/// ConnectionRateThrottle: so many connections a second over all clients; further ones wait.
#[derive(Debug)]
pub struct RateGate {
    per_second: u64,
    second: Mutex<(Instant, u64)>,
}

impl RateGate {
    /// A gate for so many a second; 0 is no limit.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        RateGate {
            per_second,
            second: Mutex::new((Instant::now(), 0)),
        }
    }

    /// How long the connection at hand must wait.
    pub fn pass(&self) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.0.elapsed() >= Duration::from_secs(1) {
            *second = (Instant::now(), 0);
        }
        second.1 += 1;
        if second.1 <= self.per_second {
            return Duration::ZERO;
        }
        Duration::from_secs(second.1 / self.per_second)
    }
}

/// The load average of the last minute.
#[must_use]
pub fn load_average() -> f64 {
    // sysinfo(2) gives it in 65,536ths, and needs no file.
    let loads = rustix::system::sysinfo().loads;
    #[allow(clippy::cast_precision_loss)] // Loads are small.
    loads.first().map_or(0.0, |load| *load as f64 / 65_536.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_over_all_and_by_daemon() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let mut site = Site::default();
        site.options.limits.max_daemon_children.0 = Some(3);
        let mut one = DaemonOptions::new("one", "25");
        one.children.0 = Some(2);
        let other = DaemonOptions::new("other", "587");
        let first = throttle.admit(&site, &one, None).unwrap();
        let _second = throttle.admit(&site, &one, None).unwrap();
        assert!(throttle.admit(&site, &one, None).is_none(), "children");
        let _third = throttle.admit(&site, &other, None).unwrap();
        assert!(
            throttle.admit(&site, &other, None).is_none(),
            "MaxDaemonChildren"
        );
        drop(first);
        assert!(throttle.admit(&site, &one, None).is_some());
    }

    #[test]
    fn one_host_is_one_client_however_many_addresses_it_has() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let mut open = Vec::new();
        for host in 1..=3u128 {
            let addr = Ipv6Addr::from((0x2001_0db8_u128 << 96) + host);
            let (held, load) = throttle.enter(addr.into());
            assert_eq!(u128::from(load.connections), host);
            open.push(held);
        }
        let (_, load) = throttle.enter("2001:db8:0:1::1".parse().unwrap());
        assert_eq!(load.connections, 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::new(Duration::from_secs(3600), 1_024);
        for host in 0..150_000u32 {
            throttle.enter(std::net::Ipv4Addr::from(0x0a00_0000 + host).into());
        }
        assert_eq!(throttle.clients().by_network.len(), MAX_CLIENTS);
    }

    #[test]
    fn connections_are_counted_by_address() {
        let throttle = Throttle::new(Duration::from_secs(60), 1_024);
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        let (first, _) = throttle.enter(a);
        let (_second, load) = throttle.enter(a);
        assert_eq!((load.rate, load.connections), (2, 2));
        drop(first);
        let (_third, load) = throttle.enter(a);
        assert_eq!((load.rate, load.connections), (3, 2));
        let (_other, load) = throttle.enter("192.0.2.2".parse().unwrap());
        assert_eq!((load.rate, load.connections), (1, 1));
    }
}
