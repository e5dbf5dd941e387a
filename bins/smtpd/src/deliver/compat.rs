//! FEATURE(compat_check): what the access map says of sender and recipient together, asked of
//! each copy that is about to be tried, by the map of that moment.

use std::sync::Arc;
use std::time::Duration;

use libmaps::policy::check_compat::{check_compat, is_for_good};
use libmaps::policy::facts::{Facts, Session};
use libmaps::policy::{self, Policy};
use libmaps::reply::Status;

use super::batch::{Targets, log_copy, note, softened, waits_for_a_run};
use super::expand::{Held, YIELD_EVERY};
use super::outcome::{Fate, Outcome};
use crate::log::Level;
use crate::queue::{Envelope, Octets, Origin, Progress, QueuedTarget, RoutedBy};
use crate::world::World;

/// Settles the copies that the map speaks against: some are gone without a word, others fail or
/// wait, which adds them to those that are not tried this time.
pub(super) async fn check(world: &Arc<World>, envelope: &mut Envelope, held: &mut Held) -> Targets {
    let snapshot = world.snapshot();
    let mut targets = Targets::AsStored;
    if !snapshot.site.features.compat_check {
        return targets;
    }
    let policy = Policy {
        site: &snapshot.site,
        maps: &snapshot.policy,
    };
    let (session, facts) = (Session::default(), Facts::new());
    for at in 0..envelope.targets.len() {
        if at % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        let Some(target) = envelope.targets.get(at) else {
            break;
        };
        let waits = held.contains(&at) || waits_for_a_run(world, envelope, target);
        if target.progress != Progress::Waiting || waits {
            continue;
        }
        let (sender, recipient) = (sender(envelope, target), written(envelope, target));
        let Ok(ruling) = check_compat(policy, &session, &facts, &sender.0, &recipient.0) else {
            continue;
        };
        let log = |end: &str| {
            let (sender, recipient) = (sender.shown(), recipient.shown());
            let line = format!(
                "ruleset=check_compat, arg1={sender}, arg2={recipient}, relay={}, {end}",
                envelope.relay
            );
            let (id, trace) = (Some(&*envelope.id), Some(&ruling.trace));
            world.log.line(Level::Notice, id, &line, trace);
        };
        match &ruling.outcome {
            policy::Outcome::Discard => {
                log("discard");
                if let Some(target) = envelope.targets.get_mut(at) {
                    target.progress = Progress::Done;
                }
                targets = Targets::New;
            }
            policy::Outcome::Refuse(refusal) => {
                let reply = refusal.reply();
                log(&format!("reject={reply}"));
                let outcome = match is_for_good(refusal) {
                    true => Outcome::failed("5.5.0", reply.to_string()),
                    // By the word TEMP, or because of the map.
                    false => {
                        let status = refusal.at.parse::<Status>();
                        let status = status.map_or("4.2.0".into(), |status| status.to_string());
                        Outcome::deferred(&*refusal.text).with_status(&status)
                    }
                };
                let outcome = softened(world, outcome);
                let logged = match outcome.fate {
                    Fate::Failed => Outcome::failed(&outcome.status, "Service unavailable"),
                    Fate::Sent | Fate::Deferred => outcome.clone(),
                };
                log_copy(world, envelope, target, &logged, Duration::ZERO);
                if outcome.fate == Fate::Deferred {
                    held.insert(at);
                }
                note(world, envelope, at, outcome);
                targets = Targets::New;
            }
            policy::Outcome::Accept | policy::Outcome::Delayed | policy::Outcome::Quarantine(_) => {
            }
        }
    }
    targets
}

/// Who sends a copy: the owner of its list, the client's sender in brackets, or we.
fn sender(envelope: &Envelope, target: &QueuedTarget) -> Octets {
    match (&target.owner, envelope.origin) {
        (Some(owner), _) => owner.clone(),
        (None, Origin::Client) => Octets([b"<", envelope.sender.0.as_slice(), b">"].concat()),
        (None, Origin::Notice | Origin::LastResort) => "MAILER-DAEMON".into(),
    }
}

/// Whom a copy is for, as that was written: by the client, or in the alias, the list or the
/// `.forward` file that it comes from.
pub(super) fn written(envelope: &Envelope, target: &QueuedTarget) -> Octets {
    match (&target.written, &target.routed_by) {
        (Some(written), _) | (None, RoutedBy::Address(written)) => written.clone(),
        (None, RoutedBy::Recipient) => {
            let recipient = envelope.recipients.get(target.recipient);
            let address = recipient.map_or(&target.user, |r| &r.address);
            Octets([b"<", address.0.as_slice(), b">"].concat())
        }
        (None, RoutedBy::Unknown | RoutedBy::Shared | RoutedBy::User) => target.user.clone(),
    }
}
