//! How many connections come from where: limits and counts by address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::consult::ClientLoad;

/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 100_000;
/// Most connections of one address whose time is remembered.
const MAX_TIMES: usize = 10_000;

/// Counts connections.
#[derive(Debug)]
pub struct Throttle {
    window: Duration,
    clients: Mutex<HashMap<IpAddr, Client>>,
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
    addr: IpAddr,
}

impl Throttle {
    /// Counts within this window (ConnectionRateWindowSize).
    #[must_use]
    pub fn new(window: Duration) -> Arc<Self> {
        Arc::new(Throttle {
            window: window.max(Duration::from_secs(1)),
            clients: Mutex::new(HashMap::new()),
        })
    }

    /// Counts a new connection.
    pub fn enter(self: &Arc<Self>, addr: IpAddr) -> (Held, ClientLoad) {
        let now = Instant::now();
        let mut clients = self.clients();
        if clients.len() >= MAX_ADDRESSES {
            let window = self.window;
            clients.retain(|_, c| {
                c.open > 0
                    || c.times
                        .back()
                        .is_some_and(|t| now.duration_since(*t) < window)
            });
        }
        let client = clients.entry(addr).or_default();
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
        };
        let held = Held {
            throttle: Arc::clone(self),
            addr,
        };
        (held, load)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut clients = self.throttle.clients();
        if let Some(client) = clients.get_mut(&self.addr) {
            client.open = client.open.saturating_sub(1);
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

/// The load average of the last minute; 0 where the system does not tell.
#[must_use]
pub fn load_average() -> f64 {
    std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address() {
        let throttle = Throttle::new(Duration::from_secs(60));
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
