//! When a message is tried, when its sender is warned, and when it is given up: by the
//! options of the site, as sendmail reads them (op.me, sections 4.1 and 5.6).

use std::time::Duration;

use libmaps::site::Site;
use libmaps::site::model::options::Limit;
use libmaps::site::model::options::values::NOW;
use serde::{Deserialize, Serialize};

use super::envelope::Envelope;
use crate::session::ByMode;

/// The first wait where the site names no time; it doubles from try to try.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest such wait, and the time between queue runs where none is named.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// How urgent a message is: each kind has its own time-outs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Urgency {
    /// As most are.
    #[default]
    Normal,
    /// `Priority: urgent`.
    Urgent,
    /// `Priority: non-urgent`, or a precedence below 0.
    NonUrgent,
    /// A notice of ours.
    Dsn,
}

/// When messages are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limited {
    Never,
    /// At this age.
    At(Duration),
}

/// The times of a site.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Option<Duration>,
    min_age: Duration,
    max_age: Duration,
    first: First,
    timeouts: [(Limited, Limited); 4],
    order: Order,
    recipient_factor: i64,
    class_factor: i64,
    retry_factor: i64,
}

/// Whether a message that has just come is tried at once (DeliveryMode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    AtOnce,
    NextRun,
}

/// QueueSortOrder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Priority,
    Host,
    Time,
    Name,
    Random,
}

/// What time does to a message that is still waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing yet.
    Wait,
    /// The sender is warned that it takes long.
    Warn,
    /// The DELIVERBY time is over; the sender hears of it, delivery goes on.
    ByExceeded,
    /// The DELIVERBY time is over; the message goes back.
    ByReturn,
    /// The message goes back.
    GiveUp,
}

/// Ages of a message that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// At which its sender is warned.
    pub warn: Duration,
    /// At which it is given up; `None`: never.
    pub give_up: Option<Duration>,
}

impl Schedule {
    /// The schedule of this site.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        let options = &site.options;
        let queue = &options.queue;
        let first = match options.delivery.mode.bytes().next() {
            Some(b'q' | b'Q' | b'd' | b'D') => First::NextRun,
            _ => First::AtOnce,
        };
        let order = match queue.sort_order.to_ascii_lowercase().bytes().next() {
            Some(b'h') => Order::Host,
            Some(b't' | b'm') => Order::Time,
            Some(b'f' | b'n') => Order::Name,
            Some(b'r') => Order::Random,
            _ => Order::Priority,
        };
        Schedule {
            interval: site.queue_interval.filter(|time| !time.is_zero()),
            min_age: queue.min_age.0,
            max_age: queue.max_age.0,
            first,
            timeouts: timeouts(site),
            order,
            recipient_factor: queue.recipient_factor,
            class_factor: queue.class_factor,
            retry_factor: queue.retry_factor,
        }
    }

    /// When a message that comes now is tried for the first time; 0 for at once.
    #[must_use]
    pub fn first(&self, now_unix: u64) -> u64 {
        match self.first {
            First::AtOnce => 0,
            First::NextRun => self.next_run(now_unix),
        }
    }

    /// When a message that is only queued now is tried, if nothing runs the queue before.
    #[must_use]
    pub fn next_run(&self, now_unix: u64) -> u64 {
        now_unix.saturating_add(self.interval.unwrap_or(LONGEST_WAIT).as_secs())
    }

    /// The wait after so many tries. With a queue interval it is that; without, it
    /// doubles from a minute to half an hour. MinQueueAge is the shortest wait; with
    /// MaxQueueAge waits double from there up to it.
    #[must_use]
    pub fn wait(&self, tries: u32) -> Duration {
        let doubled = |from: Duration, most: Duration| {
            let times = 1u32 << tries.saturating_sub(1).min(20);
            from.saturating_mul(times).min(most)
        };
        if !self.max_age.is_zero() {
            let from = self.interval.unwrap_or(FIRST_WAIT).max(self.min_age);
            return doubled(from, self.max_age).max(Duration::from_secs(1));
        }
        let wait = self
            .interval
            .unwrap_or_else(|| doubled(FIRST_WAIT, LONGEST_WAIT));
        wait.max(self.min_age)
    }

    /// The longest wait that there is.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        let times = [
            self.interval.unwrap_or_default(),
            self.min_age,
            self.max_age,
        ];
        times.into_iter().fold(LONGEST_WAIT, Duration::max)
    }

    /// When a message is tried next: after its wait, and in any case when its time is up.
    #[must_use]
    pub fn next(&self, envelope: &Envelope) -> u64 {
        let tried_unix = envelope.tried_unix;
        let due = tried_unix.saturating_add(self.wait(envelope.tries).as_secs());
        let deadlines = [
            self.by_unix(envelope)
                .filter(|_| !envelope.told_by_exceeded),
            self.warn_unix(envelope).filter(|_| !envelope.warned),
            self.give_up_unix(envelope),
        ];
        deadlines
            .into_iter()
            .flatten()
            .filter(|at| *at > tried_unix)
            .map(|at| at.saturating_add(1))
            .fold(due, u64::min)
    }

    /// What the time that has passed does to a message with copies that still wait.
    #[must_use]
    pub fn pressure(&self, envelope: &Envelope, now_unix: u64) -> Pressure {
        let is_over = |at: Option<u64>| at.is_some_and(|at| now_unix > at);
        let by_is_over = is_over(self.by_unix(envelope));
        match envelope.by {
            Some((_, ByMode::Return)) if by_is_over => return Pressure::ByReturn,
            _ if is_over(self.give_up_unix(envelope)) => return Pressure::GiveUp,
            Some((_, ByMode::Notify)) if by_is_over && !envelope.told_by_exceeded => {
                return Pressure::ByExceeded;
            }
            _ => {}
        }
        if !envelope.warned && is_over(self.warn_unix(envelope)) {
            return Pressure::Warn;
        }
        Pressure::Wait
    }

    /// When the message is given up, if ever.
    #[must_use]
    pub fn give_up_unix(&self, envelope: &Envelope) -> Option<u64> {
        self.deadline(envelope, |(_, give_up)| *give_up)
    }

    /// The age at which the message is given up, and that at which its sender is warned.
    #[must_use]
    pub fn ages(&self, envelope: &Envelope) -> Ages {
        let of = |at: Option<u64>| {
            at.map(|at| Duration::from_secs(at.saturating_sub(envelope.created_unix)))
        };
        Ages {
            warn: of(self.warn_unix(envelope)).unwrap_or_default(),
            give_up: of(self.give_up_unix(envelope)),
        }
    }

    fn warn_unix(&self, envelope: &Envelope) -> Option<u64> {
        self.deadline(envelope, |(warn, _)| *warn)
    }

    fn deadline(
        &self,
        envelope: &Envelope,
        which: impl Fn(&(Limited, Limited)) -> Limited,
    ) -> Option<u64> {
        let kind = envelope.urgency as usize;
        match self.timeouts.get(kind).map(which) {
            Some(Limited::At(NOW)) => Some(envelope.created_unix.saturating_sub(1)),
            Some(Limited::At(age)) => Some(envelope.created_unix.saturating_add(age.as_secs())),
            _ => None,
        }
    }

    /// The end of the DELIVERBY time (RFC 2852), where there is one.
    #[must_use]
    pub fn by_unix(&self, envelope: &Envelope) -> Option<u64> {
        let (seconds, _) = envelope.by?;
        Some(envelope.created_unix.saturating_add_signed(seconds))
    }

    /// sendmail's priority: lower is tried earlier.
    #[must_use]
    pub fn priority(&self, envelope: &Envelope) -> i64 {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let size = i64::try_from(envelope.size_octets).unwrap_or(i64::MAX);
        let recipients = count(envelope.recipients.len()).saturating_mul(self.recipient_factor);
        let class = i64::from(envelope.class).saturating_mul(self.class_factor);
        let tries = i64::from(envelope.tries).saturating_mul(self.retry_factor);
        size.saturating_sub(class)
            .saturating_add(recipients)
            .saturating_add(tries)
    }

    /// Its place among those that are due (QueueSortOrder): lower is tried earlier.
    #[must_use]
    pub fn rank(&self, envelope: &Envelope) -> i64 {
        match self.order {
            Order::Priority => self.priority(envelope),
            Order::Time => i64::try_from(envelope.created_unix).unwrap_or(i64::MAX),
            Order::Name => 0,
            Order::Random => i64::from(hash(envelope.id.as_bytes())),
            Order::Host => {
                let low = self.priority(envelope).clamp(0, i64::from(i32::MAX));
                i64::from(hash(&first_host(envelope))) << 31 | low
            }
        }
    }
}

fn timeouts(site: &Site) -> [(Limited, Limited); 4] {
    let t = &site.options.timeouts;
    let limited = |time: Duration| {
        if time.is_zero() {
            Limited::Never
        } else {
            Limited::At(time)
        }
    };
    // The general option sets all four; one for a kind counts where it is given.
    let of_kind = |kind: &str, general: Duration, own: Duration| {
        limited(if site.options.given(kind).is_some() {
            own
        } else {
            general
        })
    };
    let (warn, give_up) = (t.queue_warn.0, t.queue_return.0);
    [
        (
            of_kind("Timeout.queuewarn.normal", warn, t.queue_warn_normal.0),
            of_kind(
                "Timeout.queuereturn.normal",
                give_up,
                t.queue_return_normal.0,
            ),
        ),
        (
            of_kind("Timeout.queuewarn.urgent", warn, t.queue_warn_urgent.0),
            of_kind(
                "Timeout.queuereturn.urgent",
                give_up,
                t.queue_return_urgent.0,
            ),
        ),
        (
            of_kind(
                "Timeout.queuewarn.non-urgent",
                warn,
                t.queue_warn_non_urgent.0,
            ),
            of_kind(
                "Timeout.queuereturn.non-urgent",
                give_up,
                t.queue_return_non_urgent.0,
            ),
        ),
        (
            of_kind("Timeout.queuewarn.dsn", warn, t.queue_warn_dsn.0),
            of_kind("Timeout.queuereturn.dsn", give_up, t.queue_return_dsn.0),
        ),
    ]
}

fn first_host(envelope: &Envelope) -> Vec<u8> {
    let host = envelope.targets.first().map(|t| t.host.0.as_slice());
    let domain = || {
        let address = &envelope.recipients.first()?.address.0;
        address.rsplit(|c| *c == b'@').next()
    };
    let host = host.filter(|h| !h.is_empty()).or_else(domain);
    host.unwrap_or_default().to_ascii_lowercase()
}

/// FNV-1a: only brings equal ones together.
fn hash(octets: &[u8]) -> u32 {
    octets.iter().fold(0x811c_9dc5, |hash, octet| {
        (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193)
    })
}

/// Most messages of one queue run (MaxQueueRunSize).
#[must_use]
pub fn run_size(limit: Limit) -> usize {
    limit
        .0
        .and_then(|most| usize::try_from(most).ok())
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
