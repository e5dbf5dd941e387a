//! The copies of one message that go together, and what becomes of them.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use libmaps::site::model::options::PrivacyFlag;

use super::copy;
use super::expand::Held;
use super::outcome::{Fate, Notifies, Outcome};
use crate::clock::now_unix;
use crate::log::Level;
use crate::queue::{Envelope, Origin, Progress, QueuedTarget};
use crate::relay;
use crate::world::World;

/// Copies of one message that are delivered on this machine at one time.
const TOGETHER: usize = 4;
/// Copies that go to another host before what became of them is written down: as many
/// recipients as every server takes in one transaction (RFC 5321 section 4.5.3.1.8).
const AWAY_TOGETHER: usize = 100;

/// Copies that are delivered together, by their places in the envelope.
enum Batch {
    /// They stay on this machine.
    Here(Vec<usize>),
    /// Copies by one mailer to one host from one sender: one transaction can carry them.
    Away(Vec<usize>),
}

/// Whether the targets of an envelope are as the queue has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Targets {
    AsStored,
    New,
}

/// Tries every copy that waits and is not held, batch by batch. What became of a batch is durable before
/// the next is begun, so that a crash repeats no more than the copies in flight.
///
/// # Errors
/// When that could not be written down: then nothing more was tried.
pub(super) async fn deliver_copies(
    world: &Arc<World>,
    envelope: &mut Envelope,
    targets: Targets,
    held: &Held,
) -> Result<(), String> {
    let batches = batches(world, envelope, held);
    if batches.len() > 1 && targets == Targets::New {
        let noted = world.queue.note_expanded(envelope).await;
        noted.map_err(|e| e.to_string())?;
    }
    let mut left = batches.len();
    for batch in batches {
        left -= 1;
        let (copies, outcomes) = try_batch(world, envelope, batch).await;
        let mut settled = Vec::new();
        for (at, (outcome, took)) in copies.into_iter().zip(outcomes) {
            let Some(target) = envelope.targets.get(at) else {
                continue;
            };
            let outcome = softened(world, outcome);
            log_copy(world, envelope, target, &outcome, took);
            if outcome.fate != Fate::Deferred {
                settled.push(at);
            }
            note(world, envelope, at, outcome);
        }
        // The end of the attempt writes the whole envelope anyway.
        if left > 0 && !settled.is_empty() {
            let noted = world.queue.note_copies(envelope, &settled).await;
            noted.map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

async fn try_batch(
    world: &Arc<World>,
    envelope: &Envelope,
    batch: Batch,
) -> (Vec<usize>, Vec<(Outcome, Duration)>) {
    let start = Instant::now();
    match batch {
        Batch::Here(copies) => {
            let deliveries = copies.iter().map(|at| async move {
                match envelope.targets.get(*at) {
                    Some(target) => (
                        copy::deliver(world, envelope, target).await,
                        start.elapsed(),
                    ),
                    None => (Outcome::sent(), start.elapsed()),
                }
            });
            let outcomes = all(deliveries.collect()).await;
            (copies, outcomes)
        }
        Batch::Away(copies) => {
            let outcomes = relay::deliver(world, envelope, &copies).await;
            let took = start.elapsed();
            (copies, outcomes.into_iter().map(|o| (o, took)).collect())
        }
    }
}

/// Runs these to their ends, side by side; the results in their order.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, result) in running.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().any(Option::is_none) {
            return Poll::Pending;
        }
        Poll::Ready(results.drain(..).flatten().collect())
    })
    .await
}

/// The copies that wait: those for this machine first, since other hosts may take long.
fn batches(world: &World, envelope: &Envelope, held: &Held) -> Vec<Batch> {
    let mut here: Vec<usize> = Vec::new();
    let mut away: Vec<Vec<usize>> = Vec::new();
    let mut places = HashMap::new();
    for (at, target) in envelope.targets.iter().enumerate() {
        let waits = held.contains(&at) || waits_for_a_run(world, envelope, target);
        if target.progress != Progress::Waiting || waits {
            continue;
        }
        if !relay::carries(world, target) {
            here.push(at);
            continue;
        }
        let host = target.host.0.to_ascii_lowercase();
        let owner = target.owner.as_ref().map(|o| o.0.as_slice());
        let place = *places
            .entry((target.mailer.as_str(), host, owner))
            .or_insert(away.len());
        match away.get_mut(place) {
            Some(copies) => copies.push(at),
            None => away.push(vec![at]),
        }
    }
    let here = here.chunks(TOGETHER).map(|c| Batch::Here(c.to_vec()));
    let away = away
        .iter()
        .flat_map(|copies| copies.chunks(AWAY_TOGETHER))
        .map(|c| Batch::Away(c.to_vec()));
    here.chain(away).collect()
}

/// HoldExpensive: copies by an expensive mailer (flag `e`) are not tried when they come.
fn waits_for_a_run(world: &World, envelope: &Envelope, target: &QueuedTarget) -> bool {
    let expensive = || {
        let mailer = world.site.mailers.get(&target.mailer);
        mailer.is_some_and(|mailer| mailer.has('e'))
    };
    world.site.options.delivery.hold_expensive && envelope.tries <= 1 && expensive()
}

/// SoftBounce: nothing fails for good.
fn softened(world: &World, outcome: Outcome) -> Outcome {
    if !world.site.options.delivery.soft_bounce || outcome.fate != Fate::Failed {
        return outcome;
    }
    let status = outcome.status.replacen('5', "4", 1);
    Outcome {
        fate: Fate::Deferred,
        status,
        ..outcome
    }
}

/// Writes down what became of a copy.
fn note(world: &World, envelope: &mut Envelope, at: usize, outcome: Outcome) {
    let tells = envelope.targets.get(at).is_some_and(|target| {
        let next_host_tells = outcome
            .remote
            .as_ref()
            .is_some_and(|r| r.notifies == Notifies::Yes);
        envelope.notify_of(target).success
            && !next_host_tells
            && target.mailer != "discard"
            && !envelope.sender.0.is_empty()
            && envelope.origin == Origin::Client
            && !world
                .site
                .options
                .greeting
                .privacy
                .has(PrivacyFlag::NoReceipts)
    });
    let Some(target) = envelope.targets.get_mut(at) else {
        return;
    };
    target.status = outcome.status;
    target.remote = outcome.remote;
    target.last = outcome.text;
    target.progress = match outcome.fate {
        Fate::Sent if tells => Progress::Sent,
        Fate::Sent => Progress::Done,
        Fate::Deferred => Progress::Waiting,
        Fate::Failed => Progress::Failed {
            status: target.status.clone(),
            text: target.last.clone(),
        },
    };
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
        world.schedule.priority(envelope),
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

    #[tokio::test]
    async fn all_run_side_by_side() {
        let barrier = tokio::sync::Barrier::new(3);
        let tasks = (0..3).map(|n| {
            let barrier = &barrier;
            async move {
                barrier.wait().await;
                n
            }
        });
        assert_eq!(all(tasks.collect()).await, [0, 1, 2]);
    }
}
