//! Queue ids: fourteen characters, eight of time and count, six of the process.
//!
//! The shape is sendmail's (year, month, day, hour, minute, second, count of that
//! second, process number), so that log tools find them.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::Civil;

const DIGITS: &[u8; 60] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx";
const PER_SECOND: u32 = 3600;

/// Makes ids, no two alike within a process; a clock that goes back is not followed.
#[derive(Debug)]
pub struct Ids {
    process: u32,
    last: Mutex<(u64, u32)>,
}

impl Ids {
    /// Ids of this process.
    #[must_use]
    pub fn new(process: u32) -> Self {
        Ids {
            process: process % 1_000_000,
            last: Mutex::new((0, 0)),
        }
    }

    /// The next id.
    #[must_use]
    pub fn next(&self) -> Box<str> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let (second, count) = {
            let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
            *last = match *last {
                (second, _) if second < now => (now, 0),
                (second, count) if count + 1 < PER_SECOND => (second, count + 1),
                (second, _) => (second + 1, 0),
            };
            *last
        };
        let at = Civil::utc(second);
        let digit = |n: u64| char::from(DIGITS.get((n % 60) as usize).copied().unwrap_or(b'0'));
        let mut id = String::with_capacity(14);
        for n in [at.year, at.month, at.day, at.hour, at.minute, at.second] {
            id.push(digit(n));
        }
        id.push(digit(u64::from(count) / 60));
        id.push(digit(u64::from(count)));
        id.push_str(&format!("{:06}", self.process));
        id.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_the_known_shape() {
        let ids = Ids::new(1_234_567);
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 10_000);
        for id in &made {
            assert_eq!(id.len(), 14);
            assert!(id.ends_with("234567"));
        }
    }
}
