//! Slow-down of clients that repeat commands, with sendmail's counts.

use std::time::Duration;

/// A bad command beyond this count ends the session.
pub(super) const MAX_BAD_COMMANDS: u32 = 25;
/// So many transactions without a message, one after another, are no idle talk: who asks a
/// server whether it knows recipients has that many.
const FREE_BARREN: u32 = 100;
const MAX_DELAY_SECONDS: u64 = 240;

/// A command that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// HELO and EHLO.
    Helo,
    /// NOOP, HELP and other idle talk.
    Noop {
        /// How many are free (MaxNOOPCommands); 0: all.
        allowance: u32,
    },
    /// VRFY, EXPN, VERB.
    Verify,
    /// ETRN.
    Etrn,
    /// AUTH, whose allowance grows with the number of mechanisms offered.
    Auth {
        /// How many mechanisms EHLO lists.
        mechanisms: u32,
    },
}

/// How often each was used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    helo: u32,
    noop: u32,
    /// Since the last message.
    barren: u32,
    verify: u32,
    etrn: u32,
    auth: u32,
}

impl Counters {
    /// Counts one use; returns how long its reply must wait: nothing up to an
    /// allowance, then 1, 2, 4, ... seconds and four minutes at the most.
    pub(super) fn count(&mut self, what: Counted) -> Duration {
        let (counter, allowance) = match what {
            Counted::Helo => (&mut self.helo, 3),
            Counted::Noop { allowance: 0 } => return Duration::ZERO,
            Counted::Noop { allowance } => (&mut self.noop, allowance),
            Counted::Verify => (&mut self.verify, 6),
            Counted::Etrn => (&mut self.etrn, 8),
            Counted::Auth { mechanisms } => (&mut self.auth, 3 + mechanisms),
        };
        *counter = counter.saturating_add(1);
        let Some(over) = counter.checked_sub(allowance) else {
            return Duration::ZERO;
        };
        let seconds = 1u64.checked_shl(over).unwrap_or(MAX_DELAY_SECONDS);
        Duration::from_secs(seconds.min(MAX_DELAY_SECONDS))
    }

    /// Counts a transaction that begins, or a RSET where there is none; beyond
    /// [`FREE_BARREN`] without a message that is idle talk like NOOP.
    pub(super) fn count_barren(&mut self, allowance: u32) -> Duration {
        self.barren = self.barren.saturating_add(1);
        match self.barren > FREE_BARREN {
            true => self.count(Counted::Noop { allowance }),
            false => Duration::ZERO,
        }
    }

    /// A message has come.
    pub(super) fn forget_barren(&mut self) {
        self.barren = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_the_allowance_on() {
        let mut counters = Counters::default();
        let got: Vec<u64> = (0..14)
            .map(|_| counters.count(Counted::Helo).as_secs())
            .collect();
        assert_eq!(got, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 240, 240, 240, 240]);
        for _ in 0..100 {
            counters.count(Counted::Helo);
        }
        assert_eq!(counters.count(Counted::Helo).as_secs(), 240);
    }

    #[test]
    fn transactions_without_a_message_become_idle_talk() {
        let mut counters = Counters::default();
        let mut slow = |times: usize| {
            let waits = (0..times).map(|_| counters.count_barren(20).as_secs());
            waits.filter(|wait| *wait > 0).collect::<Vec<u64>>()
        };
        assert_eq!(slow(119), [] as [u64; 0]);
        assert_eq!(slow(3), [1, 2, 4]);
        counters.forget_barren();
        let waits: u64 = (0..100).map(|_| counters.count_barren(20).as_secs()).sum();
        assert_eq!(waits, 0);
        assert_eq!(counters.count_barren(20).as_secs(), 8);
        assert_eq!(counters.count_barren(0).as_secs(), 0, "no limit");
    }
}
