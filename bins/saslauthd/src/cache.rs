//! The credential cache (`-c`): who was let in lately, and with what.
//!
//! A bucket holds two keyed hashes and a time, never a login nor a password.
//! The key is drawn at start and lives in this process alone, so a bucket that
//! leaks can't be tried against a list of words. The table has a fixed number
//! of slots with six buckets each; a new entry takes a free or expired bucket
//! of its slot, else the oldest: no memory beyond what `-s` allows, whatever
//! is asked. Only successes are kept. The sizes, the limit of
//! [`CREDENTIALS_LIMIT_OCTETS`] and the rule for `-s` are those of Cyrus SASL's
//! saslauthd.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::frame::Request;

/// Login, realm and service with a NUL after each: longer ones aren't cached, in octets.
pub const CREDENTIALS_LIMIT_OCTETS: usize = 60;

/// How long an entry serves where `-t` doesn't say: eight hours.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(28_800);

/// Slots where `-s` doesn't say.
const DEFAULT_SLOTS: usize = 1711;

/// Buckets in a slot.
const WAYS: usize = 6;

/// What one bucket counts for in `-s`, in octets.
const BUCKET_OCTETS: usize = 96;

const _: () = assert!(size_of::<Option<Bucket>>() <= BUCKET_OCTETS);

/// Size and patience of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Slots, six buckets each.
    pub slots: usize,
    /// How long an entry serves.
    pub timeout: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions {
            slots: DEFAULT_SLOTS,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl CacheOptions {
    /// The slots for a table of so many kilobytes: the next odd prime.
    #[must_use]
    pub fn slots_for(kilobytes: usize) -> usize {
        let wanted = kilobytes.saturating_mul(1024) / (BUCKET_OCTETS * WAYS);
        let mut slots = wanted.saturating_add(1).max(3) | 1;
        while !is_odd_prime(slots) {
            slots = slots.saturating_add(2);
        }
        slots
    }

    /// Buckets in all.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.slots.saturating_mul(WAYS)
    }
}

fn is_odd_prime(n: usize) -> bool {
    (3..)
        .step_by(2)
        .take_while(|d: &usize| d.saturating_mul(*d) <= n)
        .all(|d| !n.is_multiple_of(d))
}

/// What the cache knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This login, realm and service with this password.
    Valid,
    /// This login, realm and service with another password.
    OtherPassword,
    /// Nothing, or nothing that still serves.
    Nothing,
}

/// The hashes of a request, made once and used for lookup and update.
#[derive(Clone)]
pub struct CacheKey {
    slot: usize,
    who: [u8; 32],
    what: Hmac<Sha256>,
}

impl std::fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CacheKey({})", self.slot)
    }
}

#[derive(Clone)]
struct Bucket {
    who: [u8; 32],
    what: [u8; 32],
    made: Instant,
}

/// The table.
pub struct CredentialCache {
    options: CacheOptions,
    mac: Hmac<Sha256>,
    table: Vec<Option<Bucket>>,
    held: usize,
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CredentialCache({} of {})", self.held, self.table.len())
    }
}

impl CredentialCache {
    /// An empty table under a secret key.
    #[must_use]
    pub fn new(options: CacheOptions, key: &[u8; 64]) -> Self {
        CredentialCache {
            options,
            mac: keyed(key),
            table: vec![None; options.buckets()],
            held: 0,
        }
    }

    /// The hashes of a request; `None` where it is too long to be cached.
    #[must_use]
    pub fn key(&self, request: &Request) -> Option<CacheKey> {
        let names = [&request.login, &request.realm, &request.service];
        let octets: usize = names.iter().map(|n| n.len().saturating_add(1)).sum();
        if octets > CREDENTIALS_LIMIT_OCTETS {
            return None;
        }
        let mut who = self.mac.clone();
        for name in names {
            // No field holds a NUL, so the three can't run into each other.
            who.update(name);
            who.update(&[0]);
        }
        let mut what = who.clone();
        what.update(&request.password);
        let who: [u8; 32] = who.finalize().into_bytes().into();
        let number = who
            .first_chunk::<8>()
            .map_or(0, |b| u64::from_be_bytes(*b) as usize);
        Some(CacheKey {
            slot: number % self.options.slots.max(1),
            who,
            what,
        })
    }

    /// What is known of a request.
    #[must_use]
    pub fn lookup(&self, key: &CacheKey, now: Instant) -> Found {
        let bucket = self
            .slot(key.slot)
            .iter()
            .flatten()
            .find(|b| b.who == key.who && self.serves(b, now));
        match bucket {
            None => Found::Nothing,
            // verify_slice compares in constant time.
            Some(b) if key.what.clone().verify_slice(&b.what).is_ok() => Found::Valid,
            Some(_) => Found::OtherPassword,
        }
    }

    /// Keeps a request that a mechanism let in.
    pub fn insert(&mut self, key: CacheKey, now: Instant) {
        let start = key.slot.saturating_mul(WAYS);
        let Some(slot) = self.table.get_mut(start..start.saturating_add(WAYS)) else {
            return;
        };
        let same = slot
            .iter()
            .position(|b| b.as_ref().is_some_and(|b| b.who == key.who));
        let place = same.or_else(|| {
            slot.iter()
                .enumerate()
                .min_by_key(|(_, b)| {
                    // Free first, then expired or oldest: both are the earliest made.
                    b.as_ref().map(|b| b.made)
                })
                .map(|(i, _)| i)
        });
        let Some(place) = place.and_then(|p| slot.get_mut(p)) else {
            return;
        };
        if place.is_none() {
            self.held = self.held.saturating_add(1);
        }
        *place = Some(Bucket {
            who: key.who,
            what: key.what.finalize().into_bytes().into(),
            made: now,
        });
    }

    /// Forgets everything: the secrets behind it have changed.
    pub fn clear(&mut self) {
        self.table.fill(None);
        self.held = 0;
    }

    /// Buckets in use, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held
    }

    /// True where no bucket is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    fn slot(&self, slot: usize) -> &[Option<Bucket>] {
        let start = slot.saturating_mul(WAYS);
        self.table
            .get(start..start.saturating_add(WAYS))
            .unwrap_or_default()
    }

    fn serves(&self, bucket: &Bucket, now: Instant) -> bool {
        now.saturating_duration_since(bucket.made) < self.options.timeout
    }
}

fn keyed(key: &[u8; 64]) -> Hmac<Sha256> {
    // 64 octets are SHA-256's block: neither padded nor hashed first.
    <Hmac<Sha256> as KeyInit>::new(key.into())
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
