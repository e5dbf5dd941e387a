//! A generation that could not be brought here, and when that is tried again.
//!
//! What is damaged in the engine, or does not fit on this host's disk, is not mended by asking for
//! it once more at each poll; that would only keep the engine and its network busy, for each host.

use std::time::{Duration, Instant};

use libmaps::store::shared::Origin;
use libmaps::sysexits::SysExit;

use crate::fault::Fault;

/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(16 * 60);

/// What could not be brought, and why.
#[derive(Clone, Debug)]
pub struct Setback {
    here: Option<Origin>,
    wanted: Origin,
    fault: Fault,
    pause: Duration,
    again: Instant,
}

impl Setback {
    /// That `wanted` could not be brought in the place of `here`. `before` is the setback before,
    /// of whatever generation. None: whoever is busy now may be done at the next poll.
    #[must_use]
    pub fn new(
        before: Option<&Setback>,
        here: Option<Origin>,
        wanted: &Origin,
        fault: &Fault,
        now: Instant,
    ) -> Option<Setback> {
        if fault.exit == SysExit::TempFail {
            return None;
        }
        let same = before.filter(|before| before.is_of(here.as_ref(), wanted));
        let pause = same.map_or(FIRST_PAUSE, |same| (same.pause * 2).min(LONGEST_PAUSE));
        Some(Setback {
            here,
            wanted: wanted.clone(),
            fault: fault.clone(),
            pause,
            again: now + pause,
        })
    }

    /// Why it is not tried now, if it is the same that could not be brought, and too early to try
    /// it again.
    #[must_use]
    pub fn fault(&self, here: Option<&Origin>, wanted: &Origin, now: Instant) -> Option<&Fault> {
        (now < self.again && self.is_of(here, wanted)).then_some(&self.fault)
    }

    /// By another switch, or in another's place, it is another matter.
    fn is_of(&self, here: Option<&Origin>, wanted: &Origin) -> bool {
        self.here.as_ref() == here && self.wanted == *wanted && self.wanted.serial == wanted.serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::generation;

    #[test]
    fn pauses_double_until_something_is_another() {
        let (here, wanted) = (generation(1, None).origin, generation(2, None).origin);
        let damaged = Fault::damaged("half of it");
        let mut now = Instant::now();
        let mut setback: Option<Setback> = None;
        for minutes in [1, 2, 4, 8, 16, 16] {
            let before = setback.as_ref();
            let next = Setback::new(before, Some(here.clone()), &wanted, &damaged, now).unwrap();
            let fault = |seconds| {
                let then = now + Duration::from_secs(minutes * 60) - Duration::from_secs(seconds);
                next.fault(Some(&here), &wanted, then)
            };
            assert_eq!(fault(1), Some(&damaged), "{minutes}");
            assert_eq!(fault(0), None, "{minutes}");
            now += Duration::from_secs(minutes * 60);
            setback = Some(next);
        }
        let setback = setback.unwrap();
        let later = Origin {
            serial: Some(9),
            ..wanted.clone()
        };
        let other = generation(3, None).origin;
        for (here, wanted) in [
            (None, &wanted),
            (Some(&wanted), &wanted),
            (Some(&here), &later),
            (Some(&here), &other),
        ] {
            assert_eq!(setback.fault(here, wanted, now), None);
            let next = Setback::new(Some(&setback), here.cloned(), wanted, &damaged, now).unwrap();
            assert_eq!(next.pause, FIRST_PAUSE);
        }
        // What the engine or another program is busy with is asked for as ever.
        let busy = Fault::new(SysExit::TempFail, "no answer within 20 s");
        assert!(Setback::new(None, Some(here), &wanted, &busy, now).is_none());
    }
}
