//! What a piece of work took, told apart from what else the machine did meanwhile.

use std::time::{Duration, Instant};

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// By the clock.
    pub(super) wall: Duration,
    /// On the processor, by this thread.
    pub(super) cpu: Duration,
    /// How often the thread gave the processor up because it had to wait: for a lock, for the
    /// disk. That another thread was let run instead is not among them.
    pub(super) waits: u64,
}

impl Taken {
    /// The larger of each figure.
    pub(super) fn most(self, other: Taken) -> Taken {
        Taken {
            wall: self.wall.max(other.wall),
            cpu: self.cpu.max(other.cpu),
            waits: self.waits.max(other.waits),
        }
    }
}

/// Measures from its start on, in one thread.
pub(super) struct Meter {
    begun: Instant,
    cpu: Duration,
    waits: u64,
}

impl Meter {
    pub(super) fn start() -> Self {
        Meter {
            waits: waits(),
            cpu: cpu(),
            begun: Instant::now(),
        }
    }

    pub(super) fn stop(self) -> Taken {
        let wall = self.begun.elapsed();
        Taken {
            wall,
            cpu: cpu().saturating_sub(self.cpu),
            waits: waits().saturating_sub(self.waits),
        }
    }
}

/// The processor time of this thread so far.
#[allow(unsafe_code)] // std has no clock of a thread
fn cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live variable of the type that is written.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    match done {
        0 => Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ),
        _ => Duration::ZERO,
    }
}

/// How often this thread has waited so far.
#[allow(unsafe_code)] // std does not tell
fn waits() -> u64 {
    // SAFETY: rusage is plain numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live variable of the type that is written.
    let done = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    match done {
        0 => u64::try_from(usage.ru_nvcsw).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_and_working_are_told_apart() {
        let meter = Meter::start();
        std::thread::sleep(Duration::from_millis(20));
        let slept = meter.stop();
        assert!(slept.waits > 0 && slept.wall >= Duration::from_millis(20));
        assert!(slept.cpu < slept.wall, "{slept:?}");
        let meter = Meter::start();
        let mut n = 1_u64;
        while meter.begun.elapsed() < Duration::from_millis(20) {
            n = std::hint::black_box(n.wrapping_mul(3));
        }
        assert!(meter.stop().cpu > Duration::ZERO);
    }
}
