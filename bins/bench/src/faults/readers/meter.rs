//! What a piece of work took, told apart from what else the machine did meanwhile.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// By the clock.
    pub(super) wall: Duration,
    /// On the processor, by this thread.
    pub(super) cpu: Duration,
    /// How long the thread was ready to run and had no processor.
    pub(super) delay: Duration,
}

impl Taken {
    /// The larger of each figure.
    pub(super) fn most(self, other: Taken) -> Taken {
        Taken {
            wall: self.wall.max(other.wall),
            cpu: self.cpu.max(other.cpu),
            delay: self.delay.max(other.delay),
        }
    }
}

/// The clocks of one thread: `/proc/thread-self/schedstat` of proc(5), where the kernel has it.
pub(super) struct Clocks(Option<File>);

impl Clocks {
    /// Those of the thread that asks.
    pub(super) fn of_this_thread() -> Self {
        Clocks(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Whether they can be read.
    pub(super) fn work(&self) -> bool {
        self.read().is_some()
    }

    /// Time on the processor, and time ready for one.
    fn read(&self) -> Option<(Duration, Duration)> {
        let mut octets = [0; 128];
        let got = self.0.as_ref()?.read_at(&mut octets, 0).ok()?;
        let text = std::str::from_utf8(octets.get(..got)?).ok()?;
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || Some(Duration::from_nanos(numbers.next()?.ok()?));
        Some((next()?, next()?))
    }

    /// Begins to measure.
    pub(super) fn start(&self) -> Meter<'_> {
        Meter {
            clocks: self,
            before: self.read().unwrap_or_default(),
            begun: Instant::now(),
        }
    }
}

/// Measures from its start on.
pub(super) struct Meter<'a> {
    clocks: &'a Clocks,
    before: (Duration, Duration),
    begun: Instant,
}

impl Meter<'_> {
    pub(super) fn stop(self) -> Taken {
        let wall = self.begun.elapsed();
        let (cpu, delay) = self.clocks.read().unwrap_or_default();
        Taken {
            wall,
            cpu: cpu.saturating_sub(self.before.0),
            delay: delay.saturating_sub(self.before.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_and_working_are_told_apart() {
        let clocks = Clocks::of_this_thread();
        if !clocks.work() {
            println!("skipped: no schedstat here");
            return;
        }
        let meter = clocks.start();
        std::thread::sleep(Duration::from_millis(20));
        let slept = meter.stop();
        assert!(slept.cpu + slept.delay < slept.wall, "{slept:?}");
        let meter = clocks.start();
        let mut n = 1_u64;
        while meter.begun.elapsed() < Duration::from_millis(50) {
            n = std::hint::black_box(n.wrapping_mul(3));
        }
        assert!(meter.stop().cpu > Duration::ZERO);
    }
}
