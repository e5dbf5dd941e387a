//! The copies of one message that go together, and what becomes of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libmaps::site::model::options::PrivacyFlag;
use tokio::task::JoinSet;

use super::copy::{self, Kind};
use super::expand::Held;
use super::lanes::ComeAgain;
use super::outcome::{Fate, KeepsTime, Notifies, Outcome, for_now};
use super::senders::Senders;
use crate::addressee::Addressee;
use crate::clock::now_unix;
use crate::log::Level;
use crate::queue::{Envelope, Origin, Progress, QueuedTarget};
use crate::relay;
use crate::session::{ByMode, Notify};
use crate::world::World;

/// How long a host is there after somebody asked for its mail.
const ASKED_LATELY: Duration = Duration::from_secs(60);

/// Batches of one message that are tried side by side.
const TOGETHER: usize = 4;
/// Copies that go to another host before what became of them is written down: as many
/// recipients as every server takes in one transaction (RFC 5321 section 4.5.3.1.8).
const AWAY_TOGETHER: usize = 100;

/// How long copies wait for their turn: of a message that has no others,
const ALONE: Duration = Duration::from_secs(15 * 60);
/// of one whose others may be tried again meanwhile,
const AMONG_OTHERS: Duration = Duration::from_secs(60);
/// and behind one that had no turn in time.
const HARDLY: Duration = Duration::from_secs(1);

/// Copies that are delivered together, by their places in the envelope.
enum Batch {
    /// One that stays on this machine.
    Here(usize, Kind),
    /// Copies by one mailer to one host from one sender: one transaction can carry them.
    Away(Vec<usize>),
}

/// Whether the targets of an envelope are as the queue has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Targets {
    AsStored,
    New,
}

/// What came of trying the copies of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Copies of which something came.
    pub(super) tried: usize,
    /// The shortest wait of those that found no place.
    pub(super) aside: Option<Duration>,
}

/// What came of a batch.
struct Tried {
    copies: Vec<usize>,
    outcomes: Result<Vec<Outcome>, ComeAgain>,
    took: Duration,
}

/// Tries every copy that waits and is not held, some batches side by side. What became of
/// those that end is durable before another is begun, so that a crash repeats no more than the
/// copies in flight.
///
/// # Errors
/// When that could not be written down: then nothing more was begun.
pub(super) async fn deliver_copies(
    world: &Arc<World>,
    envelope: &mut Envelope,
    targets: Targets,
    held: &Held,
) -> Result<Account, String> {
    let mut left = batches(world, envelope, held);
    if left.len() > 1 && targets == Targets::New {
        let noted = world.queue.note_expanded(envelope).await;
        noted.map_err(|e| e.to_string())?;
    }
    let is_alone = left.len() == 1;
    let shared = Arc::new(envelope.clone());
    let senders = Arc::new(Senders::default());
    let (mut account, mut running, mut failed) = (Account::default(), JoinSet::new(), None);
    loop {
        while running.len() < TOGETHER
            && failed.is_none()
            && let Some(batch) = left.pop_front()
        {
            let patience = match account.aside {
                _ if is_alone => ALONE,
                None => AMONG_OTHERS,
                // One that has waited for its turn in vain is enough.
                Some(_) => HARDLY,
            };
            let (world, shared) = (Arc::clone(world), Arc::clone(&shared));
            let senders = Arc::clone(&senders);
            running.spawn(try_batch(world, shared, batch, senders, patience));
        }
        let Some(first) = running.join_next().await else {
            break;
        };
        let others = std::iter::from_fn(|| running.try_join_next());
        let ended: Vec<_> = std::iter::once(first).chain(others).collect();
        let mut settled = Vec::new();
        for tried in ended {
            match tried {
                Ok(tried) => take(world, envelope, tried, &mut account, &mut settled),
                Err(error) => {
                    let text = format!("delivery was interrupted: {error}");
                    world.log.about(Level::Error, &envelope.id, &text);
                }
            }
        }
        // The end of the attempt writes the whole envelope anyway.
        let is_last = left.is_empty() && running.is_empty();
        if !is_last && !settled.is_empty() && failed.is_none() {
            let noted = world.queue.note_copies(envelope, &settled).await;
            failed = noted.err().map(|e| e.to_string());
        }
    }
    failed.map_or(Ok(account), Err)
}

/// Takes down what came of a batch; `settled` are the copies of which that is the last word.
fn take(
    world: &World,
    envelope: &mut Envelope,
    tried: Tried,
    account: &mut Account,
    settled: &mut Vec<usize>,
) {
    let outcomes = match tried.outcomes {
        Ok(outcomes) => outcomes,
        Err(ComeAgain(wait)) => {
            account.aside = Some(account.aside.map_or(wait, |before| before.min(wait)));
            for at in tried.copies {
                let copy = envelope.targets.get_mut(at);
                if let Some(copy) = copy.filter(|copy| copy.last.is_empty()) {
                    copy.last = "waits for others of its kind".into();
                }
            }
            return;
        }
    };
    for (at, outcome) in tried.copies.into_iter().zip(outcomes) {
        let Some(target) = envelope.targets.get(at) else {
            continue;
        };
        let outcome = softened(world, outcome);
        log_copy(world, envelope, target, &outcome, tried.took);
        account.tried += 1;
        if outcome.fate != Fate::Deferred {
            settled.push(at);
        }
        note(world, envelope, at, outcome);
    }
}

async fn try_batch(
    world: Arc<World>,
    envelope: Arc<Envelope>,
    batch: Batch,
    senders: Arc<Senders>,
    patience: Duration,
) -> Tried {
    let start = Instant::now();
    let (copies, outcomes) = match batch {
        Batch::Here(at, kind) => {
            let outcome = match envelope.targets.get(at) {
                Some(copy) => {
                    copy::deliver(&world, &envelope, copy, kind, &senders, patience).await
                }
                None => Ok(Outcome::sent()),
            };
            (vec![at], outcome.map(|outcome| vec![outcome]))
        }
        Batch::Away(copies) => {
            let outcomes = relay::deliver(&world, &envelope, &copies, patience).await;
            (copies, outcomes)
        }
    };
    Tried {
        copies,
        outcomes,
        took: start.elapsed(),
    }
}

/// The copies that wait. Those for mailboxes come first, since other hosts may take long, and
/// programs last, which may take longer.
fn batches(world: &World, envelope: &Envelope, held: &Held) -> VecDeque<Batch> {
    let (mut files, mut programs): (Vec<usize>, Vec<usize>) = Default::default();
    let mut away: Vec<Vec<usize>> = Vec::new();
    let mut places = HashMap::new();
    let local = copy::local_kind(world);
    for (at, target) in envelope.targets.iter().enumerate() {
        let waits = held.contains(&at) || waits_for_a_run(world, envelope, target);
        if target.progress != Progress::Waiting || waits {
            continue;
        }
        if !relay::carries(world, target) {
            match copy::kind(world, target, local) {
                Kind::File => files.push(at),
                Kind::Program => programs.push(at),
            }
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
    let away = away
        .iter()
        .flat_map(|copies| copies.chunks(AWAY_TOGETHER))
        .map(|c| Batch::Away(c.to_vec()));
    let files = files.into_iter().map(|at| Batch::Here(at, Kind::File));
    let programs = programs
        .into_iter()
        .map(|at| Batch::Here(at, Kind::Program));
    files.chain(away).chain(programs).collect()
}

/// HoldExpensive: copies by an expensive mailer (flag `e`) are not tried when they come. Those of
/// a host that is there only at times (flag `%`, dsmtp) are tried only when somebody asks for it.
pub(super) fn waits_for_a_run(world: &World, envelope: &Envelope, target: &QueuedTarget) -> bool {
    let Some(mailer) = world.site.mailers.get(&target.mailer) else {
        return false;
    };
    let is_asked = || {
        let since = Instant::now().checked_sub(ASKED_LATELY);
        since.is_some_and(|since| world.queue.is_run_asked_since(envelope, since))
    };
    let holds = world.site.options.delivery.hold_expensive && envelope.tries <= 1;
    holds && mailer.has('e') || mailer.has('%') && !is_asked()
}

/// SoftBounce: nothing fails for good.
pub(super) fn softened(world: &World, outcome: Outcome) -> Outcome {
    if !world.site.options.delivery.soft_bounce || outcome.fate != Fate::Failed {
        return outcome;
    }
    Outcome {
        fate: Fate::Deferred,
        status: for_now(&outcome.status),
        ..outcome
    }
}

/// Writes down what became of a copy.
pub(super) fn note(world: &World, envelope: &mut Envelope, at: usize, outcome: Outcome) {
    let tells = envelope.targets.get(at).is_some_and(|target| {
        let next_host_tells = outcome
            .remote
            .as_ref()
            .is_some_and(|r| r.notifies == Notifies::Yes);
        let notify = envelope.notify_of(target);
        // RFC 2852 section 4.1.4.2: who asked to hear of delays hears that nobody looks any more.
        let loses_time = matches!(envelope.by, Some((_, ByMode::Notify)))
            && notify != Notify::NEVER
            && outcome
                .remote
                .as_ref()
                .is_some_and(|r| r.keeps_time == KeepsTime::No);
        (notify.success && !next_host_tells || loses_time)
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
pub(super) fn log_copy(
    world: &World,
    envelope: &Envelope,
    target: &QueuedTarget,
    outcome: &Outcome,
    took: Duration,
) {
    let addressee = Addressee::of(envelope, target);
    let to = match &addressee {
        Addressee::Recipient(to) => to.clone(),
        Addressee::Other { to, named } => format!("{to}, orig_to={named}"),
    };
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
    use crate::queue::Octets;

    #[test]
    fn mailboxes_come_first_and_programs_last() {
        let root = tempfile::tempdir().unwrap();
        let world = World::of_test(root.path(), Arc::new(libmaps::store::disk::System));
        let copy = |mailer: &str, host: &str, progress: Progress| QueuedTarget {
            mailer: mailer.into(),
            host: Octets::from(host),
            progress,
            ..QueuedTarget::default()
        };
        let waits = || Progress::Waiting;
        let envelope = Envelope {
            targets: vec![
                copy("prog", "", waits()),
                copy("esmtp", "a.example", waits()),
                copy("local", "", waits()),
                copy("esmtp", "b.example", waits()),
                copy("esmtp", "A.example", waits()),
                copy("local", "", Progress::Done),
                copy("*file*", "", waits()),
                copy("local", "", waits()),
            ],
            ..Envelope::default()
        };
        let all: Vec<Vec<usize>> = batches(&world, &envelope, &Held::from([7]))
            .into_iter()
            .map(|batch| match batch {
                Batch::Here(at, _) => vec![at],
                Batch::Away(copies) => copies,
            })
            .collect();
        let want: [&[usize]; 5] = [&[2], &[6], &[1, 4], &[3], &[0]];
        assert_eq!(all, want);
    }

    #[test]
    fn delays_as_logs_have_them() {
        assert_eq!(hms(3_725), "01:02:05");
        assert_eq!(hms(90_000), "1+01:00:00");
    }
}
