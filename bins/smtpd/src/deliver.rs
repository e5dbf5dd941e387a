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
pub mod outcome;
mod program;
mod text;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::clock::now_unix;
use crate::log::Level;
use crate::queue::{Envelope, Progress, QueuedTarget};
use crate::relay;
use crate::server::current;
use crate::world::World;

use outcome::{Fate, Outcome};

/// Messages that are delivered at one time.
const AT_ONCE: usize = 8;
/// How often the queue is looked at without a reason.
const TICK: Duration = Duration::from_secs(5);

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
    for batch in batches(world, envelope) {
        let start = Instant::now();
        let outcomes = match batch {
            Batch::Here(at) => match envelope.targets.get(at) {
                Some(target) => vec![(at, copy::deliver(world, envelope, target).await)],
                None => continue,
            },
            Batch::Away(copies) => {
                let outcomes = relay::deliver(world, envelope, &copies).await;
                copies.into_iter().zip(outcomes).collect()
            }
        };
        for (at, outcome) in outcomes {
            let Some(target) = envelope.targets.get(at) else {
                continue;
            };
            log_copy(world, envelope, target, &outcome, start.elapsed());
            note(envelope, at, outcome);
        }
    }
}

/// Writes down what became of a copy.
fn note(envelope: &mut Envelope, at: usize, outcome: Outcome) {
    let Some(target) = envelope.targets.get_mut(at) else {
        return;
    };
    match outcome.fate {
        Fate::Sent => target.progress = Progress::Done,
        Fate::Deferred => target.last = outcome.text,
        Fate::Failed => {
            target.progress = Progress::Failed {
                status: outcome.status,
                text: outcome.text,
            };
        }
    }
}

/// Copies that are delivered together, by their places in the envelope.
enum Batch {
    /// One that stays on this machine.
    Here(usize),
    /// Copies by one mailer to one host from one sender: one transaction can carry them.
    Away(Vec<usize>),
}

/// The copies that wait, in the order of their first ones.
fn batches(world: &World, envelope: &Envelope) -> Vec<Batch> {
    let mut all: Vec<Batch> = Vec::new();
    let mut away = HashMap::new();
    for (at, target) in envelope.targets.iter().enumerate() {
        if target.progress != Progress::Waiting {
            continue;
        }
        if !relay::carries(world, target) {
            all.push(Batch::Here(at));
            continue;
        }
        let host = target.host.0.to_ascii_lowercase();
        let owner = target.owner.as_ref().map(|o| o.0.as_slice());
        let place = *away
            .entry((target.mailer.as_str(), host, owner))
            .or_insert(all.len());
        match all.get_mut(place) {
            Some(Batch::Away(copies)) => copies.push(at),
            _ => all.push(Batch::Away(vec![at])),
        }
    }
    all
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
    let stat = match outcome.fate {
        Fate::Sent if outcome.text.is_empty() => "Sent".to_owned(),
        Fate::Sent => format!("Sent ({})", outcome.text),
        Fate::Deferred => format!("Deferred: {}", outcome.text),
        Fate::Failed => outcome.text.clone(),
    };
    let relay = match &outcome.remote {
        Some(remote) => format!(", relay={}", remote.shown()),
        None if target.host.0.is_empty() => String::new(),
        None => format!(", relay={}", target.host.shown()),
    };
    // What the host said, where the words behind `stat=` are sendmail's own.
    let reply = match (outcome.fate, &outcome.remote) {
        (Fate::Failed, Some(remote)) if !remote.reply.is_empty() => {
            format!(", reply={}", remote.reply)
        }
        _ => String::new(),
    };
    let ctladdr = match &target.controller {
        Some(name) => format!(", ctladdr={name}"),
        None => String::new(),
    };
    let line = format!(
        "to={to}{ctladdr}, delay={}, xdelay={}, mailer={}, pri={}{relay}, dsn={}{reply}, stat={stat}",
        hms(delay),
        hms(took.as_secs()),
        target.mailer,
        envelope.size_octets + 30_000,
        outcome.status,
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
