//! Who was told what, and what arrived.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::letter::{Letter, Wholeness};

/// Most losses that are told one by one.
const MOST_TOLD: usize = 20;

/// What the server said to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// 250.
    Taken,
    /// 4xx.
    NotNow,
    /// Nothing: the connection broke.
    Nothing,
}

/// Copies for one recipient, by the life of the server in which each arrived.
type Copies = Vec<Option<u32>>;

/// All that was said and all that arrived.
#[derive(Debug, Default)]
pub struct Ledger {
    /// How often the server was started anew.
    life: AtomicU32,
    said: Mutex<HashMap<Letter, Said>>,
    /// The lives in which copies arrived; a mailbox does not say.
    arrived: Mutex<HashMap<(Letter, String), Copies>>,
    torn: Mutex<Vec<String>>,
    longest_wait: Mutex<Duration>,
}

/// What it comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How often the server was killed.
    pub kills: u64,
    /// Messages that were sent, each time anew after an answer that was no 250.
    pub sent: u64,
    /// Those answered with 250.
    pub acknowledged: u64,
    /// Those answered with 4xx.
    pub not_now: u64,
    /// Those whose connection broke before there was an answer.
    pub unanswered: u64,
    /// Copies of acknowledged messages that arrived, each recipient counted once.
    pub found: u64,
    /// Copies beyond the first, of one message for one recipient.
    pub duplicates: u64,
    /// Messages that were taken and delivered although the answer was lost.
    pub taken_unheard: u64,
    /// Copies in the mailbox file that a kill cut off; a whole one is there too.
    pub cut_off: u64,
    /// Longest wait for the answer to a message that got one.
    pub longest_wait: Duration,
    /// Messages that waited in the queue when the fire ended.
    pub waiting: u64,
    /// What was promised and not kept, the first few of them.
    pub losses: Vec<String>,
    /// How many there are.
    pub lost: u64,
}

impl Ledger {
    /// The server is started anew.
    pub(super) fn next_life(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
    }

    /// The answer to a message took so long.
    pub(super) fn note_wait(&self, wait: Duration) {
        let mut longest = lock(&self.longest_wait);
        *longest = wait.max(*longest);
    }

    pub(super) fn note_said(&self, letter: Letter, said: Said) {
        lock(&self.said).insert(letter, said);
    }

    /// A copy arrived at a host.
    pub(super) fn note_arrived(&self, text: &[u8], recipients: &[String]) {
        let life = self.life.load(Ordering::Acquire);
        match Letter::of(text) {
            Some((letter, Wholeness::Whole)) => {
                let mut arrived = lock(&self.arrived);
                for recipient in recipients {
                    let copies = arrived.entry((letter, recipient.clone())).or_default();
                    copies.push(Some(life));
                }
            }
            Some((letter, Wholeness::Torn)) => {
                lock(&self.torn).push(format!("{letter:?} arrived torn"));
            }
            None => lock(&self.torn).push("something arrived that nobody sent".into()),
        }
    }

    /// A copy stands in the mailbox file; what a kill cut off there is no copy.
    pub(super) fn note_in_mailbox(&self, text: &[u8]) -> Option<Wholeness> {
        let (letter, wholeness) = Letter::of(text)?;
        if wholeness == Wholeness::Whole {
            let mut arrived = lock(&self.arrived);
            let copies = arrived.entry((letter, "archive".into())).or_default();
            copies.push(None);
        } else {
            lock(&self.arrived)
                .entry((letter, "torn".into()))
                .or_default()
                .push(None);
        }
        Some(wholeness)
    }

    /// Compares the two sides.
    #[must_use]
    pub fn close(&self, kills: u64) -> Totals {
        let (said, arrived) = (lock(&self.said), lock(&self.arrived));
        let mut totals = Totals {
            kills,
            sent: said.len() as u64,
            longest_wait: *lock(&self.longest_wait),
            ..Totals::default()
        };
        let mut losses: Vec<String> = lock(&self.torn).clone();
        for (letter, said) in said.iter() {
            match said {
                Said::Taken => totals.acknowledged += 1,
                Said::NotNow => totals.not_now += 1,
                Said::Nothing => totals.unanswered += 1,
            }
            let copies = |to: &String| arrived.get(&(*letter, to.clone()));
            let all = letter.recipients();
            let there = all.iter().filter(|to| copies(to).is_some()).count();
            match said {
                Said::Taken => {
                    totals.found += there as u64;
                    for to in all.iter().filter(|to| copies(to).is_none()) {
                        losses.push(format!(
                            "{letter:?} was answered with 250, and {to} has nothing"
                        ));
                    }
                }
                Said::NotNow if there > 0 => {
                    losses.push(format!("{letter:?} was refused, and delivered to {there}"));
                }
                Said::Nothing if there == all.len() => totals.taken_unheard += 1,
                Said::Nothing if there > 0 => {
                    losses.push(format!("{letter:?} reached {there} of {} only", all.len()));
                }
                Said::NotNow | Said::Nothing => {}
            }
        }
        for ((letter, to), copies) in arrived.iter() {
            if to == "torn" {
                totals.cut_off += copies.len() as u64;
                continue;
            }
            if !said.contains_key(letter) || !letter.recipients().contains(to) {
                losses.push(format!(
                    "{letter:?} arrived at {to}, to whom nobody sent it"
                ));
            }
            totals.duplicates += copies.len() as u64 - 1;
            let mut lives: Vec<u32> = copies.iter().flatten().copied().collect();
            lives.sort_unstable();
            if lives
                .windows(2)
                .any(|pair| matches!(pair, [a, b] if a == b))
            {
                losses.push(format!(
                    "{letter:?} came twice to {to} without a kill between"
                ));
            }
            if copies.len() as u64 > kills + 1 {
                losses.push(format!("{letter:?} came {} times to {to}", copies.len()));
            }
        }
        totals.lost = losses.len() as u64;
        losses.truncate(MOST_TOLD);
        totals.losses = losses;
        totals
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(number: u32) -> Letter {
        Letter { number, attempt: 0 }
    }

    fn arrive(ledger: &Ledger, number: u32, to: &[&str]) {
        let to: Vec<String> = to.iter().map(|to| (*to).to_owned()).collect();
        ledger.note_arrived(&letter(number).text(), &to);
    }

    #[test]
    fn every_kind_of_loss_is_seen() {
        type Case = (&'static str, fn(&Ledger));
        let cases: [Case; 6] = [
            ("has nothing", |l| l.note_said(letter(1), Said::Taken)),
            ("v3@ready.example has nothing", |l| {
                l.note_said(letter(3), Said::Taken);
                arrive(l, 3, &["u3@ready.example"]);
            }),
            ("was refused, and delivered", |l| {
                l.note_said(letter(1), Said::NotNow);
                arrive(l, 1, &["u1@ready.example"]);
            }),
            ("reached 1 of 2 only", |l| {
                l.note_said(letter(3), Said::Nothing);
                arrive(l, 3, &["u3@ready.example"]);
            }),
            ("twice", |l| {
                l.note_said(letter(1), Said::Taken);
                arrive(l, 1, &["u1@ready.example"]);
                arrive(l, 1, &["u1@ready.example"]);
            }),
            ("torn", |l| {
                let text = letter(1).text();
                l.note_arrived(&text[..text.len() - 2], &["u1@ready.example".into()]);
            }),
        ];
        for (want, tell) in cases {
            let ledger = Ledger::default();
            tell(&ledger);
            let totals = ledger.close(3);
            assert!(totals.lost == 1, "{want}: {totals:?}");
            assert!(totals.losses[0].contains(want), "{want}: {totals:?}");
        }
    }

    #[test]
    fn a_kill_may_double_a_copy() {
        let ledger = Ledger::default();
        ledger.note_said(letter(1), Said::Taken);
        arrive(&ledger, 1, &["u1@ready.example"]);
        ledger.next_life();
        arrive(&ledger, 1, &["u1@ready.example"]);
        let totals = ledger.close(1);
        assert_eq!((totals.lost, totals.found, totals.duplicates), (0, 1, 1));
    }
}
