//! Local delivery: from the queue to mailboxes, files and programs.
//!
//! Each message that is due is expanded once (aliases, owners, includes, `.forward`),
//! then every copy is delivered that has not been. What fails for the time being
//! stays in the queue; what fails for good is marked, and the message stays until
//! its sender has been told. Copies for other hosts wait for the relay.

pub mod copy;
mod expand;
pub mod file;
mod lmtp;
mod program;
mod text;

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::clock::now_unix;
use crate::log::Level;
use crate::queue::{Envelope, Progress, QueuedTarget};
use crate::server::current;
use crate::world::World;

/// Messages that are delivered at one time.
const AT_ONCE: usize = 8;
/// How often the queue is looked at without a reason.
const TICK: Duration = Duration::from_secs(5);

/// What became of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered.
    Sent,
    /// Not now; the text says why.
    Deferred(String),
    /// Never: status and text.
    Failed(&'static str, String),
}

/// Delivers what the queue holds, until the task is dropped.
pub async fn run(world: Arc<RwLock<Arc<World>>>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let now = current(&world);
        while !now.only_queues() {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let Some(id) = now.queue.take_due(now_unix()) else {
                break;
            };
            let now = Arc::clone(&now);
            tokio::spawn(async move {
                attempt(&now, &id).await;
                drop(slot);
            });
        }
        let _ = tokio::time::timeout(TICK, now.queue.changed()).await;
    }
}

/// Tries one message.
pub async fn attempt(world: &Arc<World>, id: &str) {
    let mut envelope = match world.queue.envelope(id) {
        Ok(envelope) => envelope,
        Err(error) => {
            world
                .log
                .about(Level::Error, id, &format!("queue: {error}"));
            return world.queue.give_back(id);
        }
    };
    envelope.tries = envelope.tries.saturating_add(1);
    envelope.tried_unix = now_unix();
    if too_many_hops(world, &envelope) {
        refuse_all(world, &mut envelope, "5.4.6", "Too many hops");
    } else {
        expand::expand(world, &mut envelope).await;
        deliver_copies(world, &mut envelope).await;
        if is_overdue(world, &envelope) {
            refuse_all(
                world,
                &mut envelope,
                "4.4.7",
                "Message could not be delivered in time",
            );
        }
    }
    if let Err(error) = world.queue.settle(envelope).await {
        world
            .log
            .about(Level::Error, id, &format!("queue: {error}"));
        world.queue.give_back(id);
    }
}

async fn deliver_copies(world: &Arc<World>, envelope: &mut Envelope) {
    for at in 0..envelope.targets.len() {
        let Some(target) = envelope.targets.get(at) else {
            break;
        };
        if target.progress != Progress::Waiting {
            continue;
        }
        let start = Instant::now();
        let outcome = copy::deliver(world, envelope, target).await;
        log_copy(world, envelope, target, &outcome, start.elapsed());
        if let Some(target) = envelope.targets.get_mut(at) {
            match outcome {
                Outcome::Sent => target.progress = Progress::Done,
                Outcome::Deferred(why) => target.last = why,
                Outcome::Failed(status, text) => {
                    target.progress = Progress::Failed {
                        status: status.into(),
                        text,
                    };
                }
            }
        }
    }
}

fn too_many_hops(world: &World, envelope: &Envelope) -> bool {
    let most = world.site.options.limits.max_hops;
    most > 0 && i64::from(envelope.hops) > most
}

/// Timeout.queuereturn.
fn is_overdue(world: &World, envelope: &Envelope) -> bool {
    let most = world.site.options.timeouts.queue_return.0.as_secs();
    most > 0 && now_unix().saturating_sub(envelope.created_unix) > most
}

fn refuse_all(world: &World, envelope: &mut Envelope, status: &str, text: &str) {
    use crate::queue::Expanded;
    for recipient in envelope
        .recipients
        .iter_mut()
        .filter(|r| r.expanded == Expanded::No)
    {
        recipient.expanded = Expanded::Failed {
            status: status.into(),
            text: text.into(),
        };
    }
    for target in envelope
        .targets
        .iter_mut()
        .filter(|t| t.progress == Progress::Waiting)
    {
        target.progress = Progress::Failed {
            status: status.into(),
            text: text.into(),
        };
    }
    let line = format!("to=all, dsn={status}, stat={text}");
    world.log.about(Level::Info, &envelope.id, &line);
}

/// sendmail's line about a copy.
fn log_copy(
    world: &World,
    envelope: &Envelope,
    target: &QueuedTarget,
    outcome: &Outcome,
    took: Duration,
) {
    let to = envelope
        .recipients
        .get(target.recipient)
        .map_or_else(String::new, |r| format!("<{}>", r.address.shown()));
    let delay = now_unix().saturating_sub(envelope.created_unix);
    let (dsn, stat) = match outcome {
        Outcome::Sent => ("2.0.0", "Sent".to_owned()),
        Outcome::Deferred(why) => ("4.0.0", format!("Deferred: {why}")),
        Outcome::Failed(status, text) => (*status, text.clone()),
    };
    let host = target.host.shown();
    let relay = if host.is_empty() {
        String::new()
    } else {
        format!(", relay={host}")
    };
    let line = format!(
        "to={to}, delay={}, xdelay={}, mailer={}, pri={}{relay}, dsn={dsn}, stat={stat}",
        hms(delay),
        hms(took.as_secs()),
        target.mailer,
        envelope.size_octets + 30_000
    );
    world.log.about(Level::Info, &envelope.id, &line);
}

/// `hh:mm:ss`, days before it with a `+`.
fn hms(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let time = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 {
        time
    } else {
        format!("{days}+{time}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_as_logs_have_them() {
        assert_eq!(hms(3_725), "01:02:05");
        assert_eq!(hms(90_000), "1+01:00:00");
    }
}
