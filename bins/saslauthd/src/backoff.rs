//! Back-off after failures: guessing gets slow, users don't get locked out.
//!
//! Each login (with its realm, where the mechanism looks at that), in whichever
//! spelling, has a few failures in a row for free; a check that has not been answered counts as
//! one, so the next waits for an answer. From then
//! on its checks are spaced, at first by a second, then by two, four and eight;
//! a check that would have to wait for too long is refused without asking. A
//! success clears the login. When failures of all logins together come faster
//! than people mistype, all checks are spaced a little.
//!
//! Requests that the credential cache knows don't come here: a stranger who
//! guesses at a login doesn't slow down the user who is known.
//!
//! Memory is fixed: a table of [`LOGINS_LIMIT`] records keyed by a hash under a
//! random key. Where it is full the record that failed longest ago goes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use libmaps::sasl::CountedAccount;

use crate::frame::Request;

/// Logins that are remembered at most.
pub const LOGINS_LIMIT: usize = SETS * WAYS;

/// Failures in a row that cost nothing.
pub const FREE_FAILURES: u32 = 5;

/// The longest space between two checks of one login.
pub const LONGEST_SPACE: Duration = Duration::from_secs(8);

/// Who would wait for longer is refused at once.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// A login's failures are forgotten after this time without one.
const FORGET_AFTER: Duration = Duration::from_secs(900);

/// Failures of all logins: so many at once are nothing unusual,
const OVERALL_BURST: u32 = 200;
/// and so many in each second.
const OVERALL_PER_SECOND: u32 = 10;
/// Beyond that, the space between any two checks,
const OVERALL_SPACE: Duration = Duration::from_millis(20);
/// which makes nobody wait for longer than this.
const OVERALL_LONGEST_WAIT: Duration = Duration::from_secs(2);

const SETS: usize = 1024;
const WAYS: usize = 4;

/// What tells an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// The login alone: the mechanism does not look at realms.
    ByLogin,
    /// Login and realm; where none is given it is this.
    ByRealm(Vec<u8>),
}

impl Accounts {
    /// The account that a request is about.
    #[must_use]
    pub fn of(&self, request: &Request) -> CountedAccount {
        let realm = match self {
            Accounts::ByLogin => &[][..],
            Accounts::ByRealm(default) if request.realm.is_empty() => default,
            Accounts::ByRealm(_) => &request.realm,
        };
        CountedAccount::of_parts(&request.login, realm)
    }
}

/// A check that was admitted: it counts against its account until this is dropped.
#[derive(Debug, Default)]
pub struct InFlight(#[allow(dead_code, reason = "held, never read")] Arc<()>);

/// When a request may be checked.
#[derive(Debug)]
pub enum Admission {
    /// At once.
    Now(InFlight),
    /// Not before this moment.
    At(Instant, InFlight),
    /// When a check of this login that was admitted before has been answered.
    Later,
    /// Not at all: too many are waiting for this login.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    who: u64,
    failures: u32,
    last: Instant,
    /// No check of this login before this moment.
    next: Instant,
}

/// The failures that are remembered.
#[derive(Debug)]
pub struct Backoff {
    hasher: RandomState,
    table: Vec<Option<Record>>,
    in_flight: HashMap<u64, Weak<()>>,
    overall: Overall,
}

/// Failures of all logins, as a bucket that leaks.
#[derive(Debug)]
struct Overall {
    level: u32,
    leaked: Instant,
    next: Instant,
}

impl Backoff {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Backoff {
            hasher: RandomState::new(),
            table: vec![None; LOGINS_LIMIT],
            in_flight: HashMap::new(),
            overall: Overall {
                level: 0,
                leaked: now,
                next: now,
            },
        }
    }

    /// When this account may be checked; takes that place in the line.
    pub fn admit(&mut self, account: &CountedAccount, now: Instant) -> Admission {
        let who = self.who(account);
        let failures = self.find(who, now).map_or(0, |record| record.failures);
        let in_flight = self.in_flight.get(&who).map_or(0, Weak::strong_count);
        if in_flight > 0
            && failures < FREE_FAILURES
            && in_flight >= (FREE_FAILURES - failures) as usize
        {
            return Admission::Later;
        }
        let mut start = self.overall.admit(now);
        if let Some(record) = self.find(who, now) {
            let space = space_after(record.failures);
            if !space.is_zero() {
                start = start.max(record.next);
                if start.saturating_duration_since(now) > LONGEST_WAIT {
                    return Admission::Refused;
                }
                record.next = start.checked_add(space).unwrap_or(start);
            }
        }
        let place = self.place(who);
        if start > now {
            Admission::At(start, place)
        } else {
            Admission::Now(place)
        }
    }

    fn place(&mut self, who: u64) -> InFlight {
        if self.in_flight.len() >= LOGINS_LIMIT {
            self.in_flight.retain(|_, held| held.strong_count() > 0);
        }
        let held = self.in_flight.entry(who).or_default();
        let place = held.upgrade().unwrap_or_default();
        *held = Arc::downgrade(&place);
        InFlight(place)
    }

    /// Whether this account would be refused without asking; takes no place in the line.
    pub fn is_full(&mut self, account: &CountedAccount, now: Instant) -> bool {
        let who = self.who(account);
        self.find(who, now).is_some_and(|record| {
            let waits = record.next.saturating_duration_since(now);
            !space_after(record.failures).is_zero() && waits > LONGEST_WAIT
        })
    }

    /// A mechanism let this account in.
    pub fn succeeded(&mut self, account: &CountedAccount) {
        let who = self.who(account);
        for place in self.set(who) {
            if place.is_some_and(|r| r.who == who) {
                *place = None;
            }
        }
    }

    /// A mechanism refused this account.
    pub fn failed(&mut self, account: &CountedAccount, now: Instant) {
        self.overall.failed(now);
        let who = self.who(account);
        if let Some(record) = self.find(who, now) {
            record.failures = record.failures.saturating_add(1);
            record.last = now;
            let next = now.checked_add(space_after(record.failures)).unwrap_or(now);
            record.next = record.next.max(next);
            return;
        }
        let fresh = Record {
            who,
            failures: 1,
            last: now,
            next: now,
        };
        // `None` is less than any record: free places first, then the oldest.
        let place = self.set(who).iter_mut().min_by_key(|r| r.map(|r| r.last));
        if let Some(place) = place {
            *place = Some(fresh);
        }
    }

    fn who(&self, account: &CountedAccount) -> u64 {
        self.hasher.hash_one(account)
    }

    fn find(&mut self, who: u64, now: Instant) -> Option<&mut Record> {
        self.set(who)
            .iter_mut()
            .flatten()
            .find(|r| r.who == who && now.saturating_duration_since(r.last) < FORGET_AFTER)
    }

    fn set(&mut self, who: u64) -> &mut [Option<Record>] {
        let start = (who as usize % SETS).saturating_mul(WAYS);
        self.table
            .get_mut(start..start.saturating_add(WAYS))
            .unwrap_or_default()
    }
}

/// The space before the next check of a login that failed so often in a row.
fn space_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(3)).min(LONGEST_SPACE),
    }
}

impl Overall {
    fn leak(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.leaked).as_secs();
        if seconds > 0 {
            let leaked = u32::try_from(seconds)
                .unwrap_or(u32::MAX)
                .saturating_mul(OVERALL_PER_SECOND);
            self.level = self.level.saturating_sub(leaked);
            self.leaked = now;
        }
    }

    fn failed(&mut self, now: Instant) {
        self.leak(now);
        // Twice the burst is as full as it gets, so that it drains in a while.
        self.level = self.level.saturating_add(1).min(2 * OVERALL_BURST);
    }

    fn admit(&mut self, now: Instant) -> Instant {
        self.leak(now);
        if self.level <= OVERALL_BURST {
            return now;
        }
        let start = self.next.max(now);
        let latest = now.checked_add(OVERALL_LONGEST_WAIT).unwrap_or(now);
        let start = start.min(latest);
        self.next = start.checked_add(OVERALL_SPACE).unwrap_or(start);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn login(name: &str) -> CountedAccount {
        CountedAccount::of_parts(name.as_bytes(), b"")
    }

    fn wait(admission: Admission, now: Instant) -> Option<u128> {
        match admission {
            Admission::Now(_) => Some(0),
            Admission::At(t, _) => Some(t.duration_since(now).as_millis()),
            Admission::Later => panic!("later"),
            Admission::Refused => None,
        }
    }

    fn is_now(admission: &Admission) -> bool {
        matches!(admission, Admission::Now(_))
    }

    #[test]
    fn failures_in_a_row_space_the_checks_of_one_login() {
        let now = Instant::now();
        let (mut b, alice) = (Backoff::new(now), login("alice"));
        let mut waits = Vec::new();
        let mut t = now;
        for _ in 0..10 {
            let admission = b.admit(&alice, t);
            let later = match &admission {
                Admission::At(later, _) => *later,
                _ => t,
            };
            waits.push(wait(admission, t).unwrap());
            t = later;
            b.failed(&alice, t);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1000, 2000, 4000, 8000, 8000]);
        assert!(is_now(&b.admit(&login("bob"), t)));
        b.succeeded(&alice);
        assert!(is_now(&b.admit(&alice, t)));
    }

    #[test]
    fn checks_that_are_not_answered_count_like_failures() {
        let now = Instant::now();
        let (mut b, alice) = (Backoff::new(now), login("alice"));
        b.failed(&alice, now);
        let mut held: Vec<_> = (0..4).map(|_| b.admit(&alice, now)).collect();
        assert!(held.iter().all(is_now), "{held:?}");
        assert!(matches!(b.admit(&alice, now), Admission::Later));
        assert!(is_now(&b.admit(&login("bob"), now)));
        // One has failed: no more room than before. One was right: there is.
        held.pop();
        b.failed(&alice, now);
        assert!(matches!(b.admit(&alice, now), Admission::Later));
        held.pop();
        b.succeeded(&alice);
        let more: Vec<_> = (0..3).map(|_| b.admit(&alice, now)).collect();
        assert!(more.iter().all(is_now), "{more:?}");
        assert!(matches!(b.admit(&alice, now), Admission::Later));
        // What is dropped unanswered counts no more, and neither do those that are forgotten.
        drop((held, more));
        for number in 0..10_000 {
            assert!(is_now(&b.admit(&login(&format!("u{number}")), now)));
        }
        assert!(b.in_flight.len() <= LOGINS_LIMIT);
        assert!(is_now(&b.admit(&alice, now)));
    }

    #[test]
    fn a_line_that_gets_too_long_is_refused() {
        let now = Instant::now();
        let (mut b, alice) = (Backoff::new(now), login("alice"));
        for _ in 0..20 {
            b.failed(&alice, now);
        }
        let waits: Vec<_> = (0..5).map(|_| wait(b.admit(&alice, now), now)).collect();
        assert_eq!(waits, [Some(8000), Some(16_000), None, None, None]);
    }

    #[test]
    fn an_account_is_one_however_it_is_spelled() {
        let request = |login: &str, realm: &str| Request {
            login: login.into(),
            password: Zeroizing::new(b"x".to_vec()),
            service: Vec::new(),
            realm: realm.into(),
        };
        let by_realm = Accounts::ByRealm(b"mx.example".to_vec());
        for accounts in [&Accounts::ByLogin, &by_realm] {
            let alice = accounts.of(&request("alice", ""));
            for other in ["ALICE", "a\u{ad}lice", "\u{ff41}lice", "al\u{7}ice"] {
                for realm in ["", "mx.example", "MX.example"] {
                    let found = accounts.of(&request(other, realm));
                    assert_eq!(found, alice, "{other:?} {realm}");
                }
            }
            let elsewhere = accounts.of(&request("alice", "other.example"));
            assert_eq!(elsewhere == alice, *accounts == Accounts::ByLogin);
        }
    }

    #[test]
    fn failures_are_forgotten() {
        let now = Instant::now();
        let (mut b, alice) = (Backoff::new(now), login("alice"));
        for _ in 0..20 {
            b.failed(&alice, now);
        }
        assert!(is_now(&b.admit(&alice, now + FORGET_AFTER)));
    }

    #[test]
    fn many_failures_of_many_logins_space_all_checks() {
        let now = Instant::now();
        let mut b = Backoff::new(now);
        for i in 0..10_000 {
            b.failed(&login(&format!("u{i}")), now);
        }
        let waits: Vec<_> = (0..3)
            .map(|_| wait(b.admit(&login("bob"), now), now))
            .collect();
        assert_eq!(waits, [Some(0), Some(20), Some(40)]);
        let longest = (0..1000)
            .filter_map(|_| wait(b.admit(&login("bob"), now), now))
            .max();
        assert_eq!(longest, Some(2000));
        let later = now + Duration::from_secs(60);
        assert!(is_now(&b.admit(&login("bob"), later)));
        assert_eq!(b.table.len(), LOGINS_LIMIT);
    }
}
