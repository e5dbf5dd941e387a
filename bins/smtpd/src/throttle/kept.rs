//! What clients make us keep until their transactions are over: recipients, headers, small
//! texts.
//!
//! Each session has its own limits, and there may be very many sessions. So there is one for
//! all of them together. Near it those that hold most lose their places; beyond it nobody may
//! bring more, whatever he holds.

use std::sync::atomic::{AtomicU64, Ordering};

/// Of the machine's memory so much is for this: an eighth, within these bounds.
const PART: u64 = 8;
const LEAST_OCTETS: u64 = 32 * 1024 * 1024;
const MOST_OCTETS: u64 = 256 * 1024 * 1024;

/// The sum over all sessions, in octets.
#[derive(Debug)]
pub(super) struct Kept {
    most: u64,
    sum: AtomicU64,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Enough.
    Enough,
    /// Three quarters are taken: who holds most must go.
    Short,
    /// None: nobody may bring more.
    Full,
}

impl Kept {
    /// So many octets at the most.
    pub(super) fn new(most: u64) -> Self {
        Kept {
            most,
            sum: AtomicU64::new(0),
        }
    }

    /// A session has now so many octets in place of so many before.
    pub(super) fn change(&self, before: u64, now: u64) {
        match now.checked_sub(before) {
            Some(more) => self.sum.fetch_add(more, Ordering::Relaxed),
            None => self.sum.fetch_sub(before - now, Ordering::Relaxed),
        };
    }

    /// How much room there is at this moment.
    pub(super) fn memory(&self) -> Memory {
        match self.sum.load(Ordering::Relaxed) {
            sum if sum >= self.most => Memory::Full,
            sum if sum >= self.most / 4 * 3 => Memory::Short,
            _ => Memory::Enough,
        }
    }
}

/// How much this machine can keep.
pub(super) fn most_of_machine() -> u64 {
    let info = rustix::system::sysinfo();
    let memory = info.totalram.saturating_mul(u64::from(info.mem_unit));
    (memory / PART).clamp(LEAST_OCTETS, MOST_OCTETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_there_again() {
        let kept = Kept::new(100);
        kept.change(0, 74);
        assert_eq!(kept.memory(), Memory::Enough);
        kept.change(74, 75);
        assert_eq!(kept.memory(), Memory::Short);
        kept.change(0, 25);
        assert_eq!(kept.memory(), Memory::Full);
        kept.change(75, 0);
        kept.change(25, 0);
        assert_eq!(kept.memory(), Memory::Enough);
        assert_eq!(kept.sum.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_machine_can_keep_something() {
        assert!((LEAST_OCTETS..=MOST_OCTETS).contains(&most_of_machine()));
    }
}
