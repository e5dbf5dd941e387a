//! Whether a server that checks passwords is there at all.
//!
//! One that takes no connection is left alone for a while, so that nobody waits for it in vain;
//! so is one that takes them and has answered nobody for as long as anybody waits. One that is
//! slow is not away: who asked it got no answer, and the next may.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After a failure it is left alone for 1, 2, 4, ... seconds and so many at the most.
const MAX_BACK_OFF: Duration = Duration::from_secs(32);

/// What is known of a server.
#[derive(Debug, Default)]
pub(super) struct Away {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    answered: Option<Instant>,
    back_off: Option<(Instant, Duration)>,
}

impl Away {
    /// Whether it is to be left alone at this moment.
    pub(super) fn rests(&self, now: Instant) -> bool {
        let back_off = self.known().back_off;
        back_off.is_some_and(|(since, pause)| now.saturating_duration_since(since) < pause)
    }

    /// It has answered somebody.
    pub(super) fn answered(&self, now: Instant) {
        let mut known = self.known();
        known.answered = Some(now);
        known.back_off = None;
    }

    /// It took no connection.
    pub(super) fn not_there(&self, now: Instant) {
        self.known().leave_alone(now);
    }

    /// It has not answered a question that was asked at this moment.
    pub(super) fn silent_since(&self, asked: Instant, now: Instant) {
        let mut known = self.known();
        if known.answered.is_none_or(|answered| answered < asked) {
            known.leave_alone(now);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn leave_alone(&mut self, now: Instant) {
        let pause = match self.back_off {
            // Others who asked at the same time fail at the same time, and say nothing new.
            Some((since, pause)) if now.saturating_duration_since(since) < pause => return,
            Some((_, pause)) => (pause * 2).min(MAX_BACK_OFF),
            None => Duration::from_secs(1),
        };
        self.back_off = Some((now, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_is_not_there_is_left_alone_for_longer_each_time() {
        let (away, mut now) = (Away::default(), Instant::now());
        for pause in [1, 2, 4, 8, 16, 32, 32] {
            assert!(!away.rests(now));
            // A crowd that fails at one time counts once.
            for _ in 0..10 {
                away.not_there(now);
            }
            now += pause * SECOND - Duration::from_millis(1);
            assert!(away.rests(now), "{pause}");
            now += Duration::from_millis(1);
        }
        away.answered(now);
        away.not_there(now);
        assert!(!away.rests(now + SECOND));
    }

    #[test]
    fn who_answers_others_is_not_away() {
        let (away, now) = (Away::default(), Instant::now());
        away.answered(now + SECOND);
        away.silent_since(now, now + 60 * SECOND);
        assert!(!away.rests(now + 60 * SECOND));
        away.silent_since(now + 2 * SECOND, now + 62 * SECOND);
        assert!(away.rests(now + 62 * SECOND));
    }
}
