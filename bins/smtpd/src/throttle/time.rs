//! The time by which sessions are judged. Tests let it pass without waiting.

use std::time::Instant;

#[cfg(not(test))]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
pub(super) use virtual_time::{now, pass};

#[cfg(test)]
mod virtual_time {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::Instant;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    thread_local! {
        static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    pub(in crate::throttle) fn now() -> Instant {
        *START + PASSED.get()
    }

    /// So much time goes by, for this thread.
    pub(in crate::throttle) fn pass(time: Duration) {
        PASSED.set(PASSED.get() + time);
    }
}
