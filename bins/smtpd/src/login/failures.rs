//! Failed logins, counted by network and by user, slow the next attempt down.
//!
//! Memory is fixed: a table of [`RECORDS`] keyed by a hash under a random key, so a stranger who
//! says names of kilobytes, or 100,000 of them, neither fills it nor empties it. Where a set of
//! places is full the record with the fewest failures goes: invented names push out each other,
//! not the one at whom is guessed.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libmaps::sasl::{CountedAccount, Realms};

use super::turns::Standing;
use crate::throttle::network;

/// Failures from one network after which attempts from there are slowed down. Addresses of
/// this host itself are shared by all its users (webmail), so they are not counted.
const FREE_BY_NETWORK: u32 = 30;
/// Failures from one network after which it counts as [`Standing::Failing`], if nobody has
/// logged in from there.
const FREE_OF_STRANGERS: u32 = 3;
/// Failures for one user after which attempts for him are slowed down.
const FREE_BY_USER: u32 = 100;
/// Failures are forgotten after so long.
const FORGET_AFTER: Duration = Duration::from_secs(900);
/// Longest slow-down of one attempt.
const MAX_SLOW_DOWN: Duration = Duration::from_secs(30);
const SETS: usize = 8_192;
const WAYS: usize = 8;
/// Most networks and users whose failures are remembered.
const RECORDS: usize = SETS * WAYS;

/// Whose failures are counted, by a hash of what names him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    key: u64,
    free: u32,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    key: u64,
    failures: u32,
    last: Instant,
    let_in: Option<Instant>,
}

impl Record {
    /// Its failures, where they are not forgotten.
    fn failures(&self, now: Instant) -> u32 {
        match now.saturating_duration_since(self.last) <= FORGET_AFTER {
            true => self.failures,
            false => 0,
        }
    }

    fn lives(&self, now: Instant) -> bool {
        let last = self
            .let_in
            .map_or(self.last, |let_in| let_in.max(self.last));
        now.saturating_duration_since(last) <= FORGET_AFTER
    }
}

/// The failures that are remembered.
#[derive(Debug)]
pub(super) struct Failures {
    hasher: RandomState,
    realms: Realms,
    table: Mutex<Vec<Option<Record>>>,
}

impl Failures {
    /// None yet.
    pub(super) fn new(realms: Realms) -> Self {
        Failures {
            hasher: RandomState::new(),
            realms,
            table: Mutex::new(vec![None; RECORDS]),
        }
    }

    /// The network of an address: of IPv6 the /64, whose addresses are one customer's. `None` for
    /// this host's own.
    pub(super) fn network(&self, addr: IpAddr) -> Option<Who> {
        (!addr.is_loopback()).then(|| Who {
            key: self.hasher.hash_one(network(addr)),
            free: FREE_BY_NETWORK,
        })
    }

    /// A user, by whichever spelling of his name.
    pub(super) fn user(&self, name: &[u8]) -> Who {
        let account = CountedAccount::of(name, &self.realms);
        Who {
            key: self.hasher.hash_one(account),
            free: FREE_BY_USER,
        }
    }

    /// How long the next attempt is to wait.
    pub(super) fn slow_down(&self, who: Who) -> Duration {
        let failures = self.record(who).map_or(0, |r| r.failures(Instant::now()));
        match failures.checked_sub(who.free) {
            Some(over) => Duration::from_secs(1u64 << over.min(5)).min(MAX_SLOW_DOWN),
            None => Duration::ZERO,
        }
    }

    /// What is known of a network.
    pub(super) fn standing(&self, network: Who) -> Standing {
        let now = Instant::now();
        let known = |at: Instant| now.saturating_duration_since(at) <= FORGET_AFTER;
        match self.record(network) {
            Some(record) if record.let_in.is_some_and(known) => Standing::Good,
            Some(record) if record.failures(now) >= FREE_OF_STRANGERS => Standing::Failing,
            _ => Standing::Good,
        }
    }

    /// One more.
    pub(super) fn failed(&self, who: Who) {
        let now = Instant::now();
        self.change(who, now, |record| {
            record.failures = record.failures(now).saturating_add(1);
            record.last = now;
        });
    }

    /// Somebody has logged in from this network. His failures count as before: who has an account
    /// may guess at others.
    pub(super) fn let_in(&self, network: Who) {
        let now = Instant::now();
        self.change(network, now, |record| record.let_in = Some(now));
    }

    fn record(&self, who: Who) -> Option<Record> {
        let table = self.table();
        let mut records = set(&table, who.key).iter().flatten();
        records.find(|r| r.key == who.key).copied()
    }

    fn change(&self, who: Who, now: Instant, change: impl FnOnce(&mut Record)) {
        let mut table = self.table();
        let set = set_mut(&mut table, who.key);
        if let Some(record) = set.iter_mut().flatten().find(|r| r.key == who.key) {
            return change(record);
        }
        // Free places first, then what is forgotten, then the fewest failures, the oldest of them.
        let place = set
            .iter_mut()
            .min_by_key(|place| place.map(|r| (r.lives(now), r.failures(now), r.last)));
        if let Some(place) = place {
            let mut record = Record {
                key: who.key,
                failures: 0,
                last: now,
                let_in: None,
            };
            change(&mut record);
            *place = Some(record);
        }
    }

    fn table(&self) -> MutexGuard<'_, Vec<Option<Record>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_of(key: u64) -> usize {
    (key as usize % SETS).saturating_mul(WAYS)
}

fn set(table: &[Option<Record>], key: u64) -> &[Option<Record>] {
    let start = start_of(key);
    table
        .get(start..start.saturating_add(WAYS))
        .unwrap_or_default()
}

fn set_mut(table: &mut [Option<Record>], key: u64) -> &mut [Option<Record>] {
    let start = start_of(key);
    table
        .get_mut(start..start.saturating_add(WAYS))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures() -> Failures {
        Failures::new(Realms::Default(b"mx.example".to_vec()))
    }

    #[test]
    fn all_addresses_of_a_network_are_one() {
        let failures = failures();
        let who = |text: &str| failures.network(text.parse().unwrap());
        for n in 0..=FREE_BY_NETWORK {
            failures.failed(who(&format!("2001:db8:1:2::{n:x}")).unwrap());
        }
        let slow = |text: &str| failures.slow_down(who(text).unwrap());
        assert!(!slow("2001:db8:1:2:3:4:5:6").is_zero());
        assert!(slow("2001:db8:1:3::1").is_zero());
        for own in ["127.0.0.1", "::1"] {
            assert_eq!(who(own), None, "{own}");
        }
    }

    #[test]
    fn invented_names_do_not_make_a_real_one_forgotten() {
        let failures = failures();
        for _ in 0..=FREE_BY_USER {
            failures.failed(failures.user(b"alice"));
        }
        for n in 0..2 * RECORDS {
            failures.failed(failures.user(n.to_string().as_bytes()));
        }
        assert!(!failures.slow_down(failures.user(b"alice")).is_zero());
        assert!(!failures.slow_down(failures.user(b"ALICE")).is_zero());
        assert!(failures.slow_down(failures.user(b"bob")).is_zero());
        assert_eq!(failures.table().len(), RECORDS);
    }

    #[test]
    fn a_user_has_one_count_however_he_is_spelled() {
        let failures = failures();
        for _ in 0..=FREE_BY_USER {
            failures.failed(failures.user(b"alice"));
        }
        for name in ["a\u{ad}lice", "\u{ff41}lice", "alice@mx.example"] {
            let slow = failures.slow_down(failures.user(name.as_bytes()));
            assert!(!slow.is_zero(), "{name:?}");
        }
        let other = failures.user(b"alice@other.example");
        assert!(failures.slow_down(other).is_zero());
    }

    #[test]
    fn a_network_where_only_failures_come_from_is_told_apart() {
        let failures = failures();
        let network = |text: &str| failures.network(text.parse().unwrap()).unwrap();
        let (strangers, office) = (network("198.51.100.1"), network("192.0.2.7"));
        failures.let_in(office);
        for _ in 0..FREE_OF_STRANGERS {
            assert_eq!(failures.standing(strangers), Standing::Good);
            for network in [strangers, office] {
                failures.failed(network);
            }
        }
        assert_eq!(failures.standing(strangers), Standing::Failing);
        assert_eq!(failures.standing(office), Standing::Good);
        // Having an account makes no guess at others free.
        for _ in 0..=FREE_BY_NETWORK {
            failures.failed(office);
        }
        assert!(!failures.slow_down(office).is_zero());
    }

    #[test]
    fn a_realm_that_nobody_looks_at_is_no_other_account() {
        let failures = Failures::new(Realms::Ignored);
        assert_eq!(failures.user(b"alice@one"), failures.user(b"alice@two"));
        assert_ne!(failures.user(b"alice@one"), failures.user(b"alice@one@two"));
    }
}
