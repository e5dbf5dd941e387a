//! Copies that wait for other hosts are routed again before they are tried again: whoever mends
//! a table, a smart host or an alias sees the mail that waits go the new way.
//!
//! What is routed is the address that the copy came from: the recipient's where nothing else came
//! of him, else its own. One that several came to is routed by its user, if he led to it when it
//! was made; else it stays. The names of hosts that the recipient was accepted by stand. A copy that
//! has become several, or a user here, does so once: it is replaced in the envelope, and what was
//! delivered before is not delivered again by another way.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libmaps::address::in_brackets;
use libmaps::policy::expand::{Expansion, State};
use libmaps::policy::facts::{Answer, Facts, Need};

use super::batch::Targets;
use super::expand::{
    Asked, Failure, Held, Via, What, YIELD_EVERY, add_failures, add_targets, expansion_by,
    failures, is_list, is_nobody, plain_user,
};
use super::known::{Known, is_away, is_user, runs_as};
use crate::consult::{Certainty, facts_of};
use crate::log::Level;
use crate::maps::Snapshot;
use crate::queue::{Envelope, Expanded, Octets, Progress, QueuedTarget, RoutedBy};
use crate::world::World;

/// How long the copies of one message are routed; the others keep the route they have.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of routing again.
pub(super) struct Rerouted {
    /// Recipients that became several.
    pub(super) several: Vec<usize>,
    /// Targets that are not tried this time.
    pub(super) held: Held,
    pub(super) targets: Targets,
}

/// Where a copy goes by the tables of today, where that is not what is stored.
enum Change {
    /// To another mailer, host or user.
    Moves(Box<QueuedTarget>),
    /// To several, or to a list with an owner.
    Spreads(Expansion),
    Fails(Failure),
    /// It can't be told now: status and text.
    Waits(String, String),
}

/// Routes every copy again that waits for another host.
pub(super) async fn reroute(
    world: &Arc<World>,
    snapshot: &Snapshot,
    envelope: &mut Envelope,
) -> Rerouted {
    let changes = changes(world, snapshot, envelope).await;
    let mut rerouted = Rerouted {
        several: Vec::new(),
        held: Held::new(),
        targets: Targets::AsStored,
    };
    if changes.is_empty() {
        return rerouted;
    }
    // Where they went before is free for others: copies may change places.
    let waits = |change: &Change| matches!(change, Change::Waits(..));
    let moving = changes.iter().filter(|(_, change)| !waits(change));
    let moving: HashSet<usize> = moving.map(|(at, _)| *at).collect();
    let mut known = Known::alive_but(envelope, &moving);
    for (at, change) in changes {
        make(world, envelope, &mut known, at, change, &mut rerouted);
    }
    rerouted
}

/// What has changed, by the places of the copies.
async fn changes(
    world: &Arc<World>,
    snapshot: &Snapshot,
    envelope: &Envelope,
) -> Vec<(usize, Change)> {
    let start = Instant::now();
    let mut changes = Vec::new();
    // Names that were found for one copy serve the next one of the same recipient.
    let mut names: Option<((usize, bool), Facts)> = None;
    // Those of which nobody can tell now are waited for once.
    let mut silent: HashSet<Vec<u8>> = HashSet::new();
    let waiting = envelope.targets.iter().enumerate();
    let waiting =
        waiting.filter(|(_, t)| t.progress == Progress::Waiting && is_away(world, &t.mailer));
    let waiting = waiting.filter_map(|(at, t)| Some((at, t, address(envelope, t)?)));
    let waiting = in_turn(waiting.collect(), envelope.tries);
    for (seen, (at, target, address)) in waiting.into_iter().enumerate() {
        if seen % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        if start.elapsed() > PATIENCE {
            let text = "no time to route all copies again; the others keep their routes";
            world.log.about(Level::Warning, &envelope.id, text);
            break;
        }
        let recipient = envelope.recipients.get(target.recipient);
        // The lines of a user's file are his, and were judged by no names.
        let is_judged = target.controller.is_none();
        let of = (target.recipient, is_judged);
        let facts = match &mut names {
            Some((whose, facts)) if *whose == of => facts,
            names => {
                let kept = recipient.filter(|_| is_judged);
                let kept = kept.map_or(&[][..], |r| r.names.as_slice());
                &mut names.insert((of, facts_of(kept))).1
            }
        };
        let host = host(&address);
        let host_fact = || Need::Host(host.as_slice().into());
        if silent.contains(&host) && facts.get(host_fact()).is_err() {
            facts.add(host_fact(), Answer::Temporary);
        }
        let asked = Asked {
            what: What::Address(&address),
            daemon_flags: &envelope.daemon_flags,
        };
        let expanded = expansion_by(world, snapshot, &asked, facts).await;
        if facts.get(host_fact()) == Ok(&Answer::Temporary) {
            silent.insert(host);
        }
        let change = match expanded {
            // Its route may be another one only because a name server is silent.
            (Ok(expansion), Certainty::NameServerDown) => {
                let change = judge(world, target, &address, expansion);
                change.filter(|change| stands_without_names(world, target, &address, change))
            }
            (Ok(expansion), Certainty::Certain) => judge(world, target, &address, expansion),
            (Err(error), _) => Some(Change::Waits("4.3.0".into(), error.to_string())),
        };
        let change = change.filter(|change| is_certain(target, change));
        changes.extend(change.map(|change| (at, change)));
    }
    changes.sort_by_key(|(at, _)| *at);
    changes
}

/// The same, from another one on at each try: where some take all the time, the others have
/// their turn soon.
fn in_turn<T>(mut all: Vec<T>, tries: u32) -> Vec<T> {
    // Multiples of the golden ratio lie evenly in any circle.
    let part = u64::from(tries.wrapping_mul(2_654_435_769));
    let start = u64::try_from(all.len()).unwrap_or(0).saturating_mul(part) >> 32;
    let start = usize::try_from(start).unwrap_or(0).min(all.len());
    all.rotate_left(start);
    all
}

/// The host of an address, in lower case.
fn host(address: &[u8]) -> Vec<u8> {
    let inner = address.strip_suffix(b">").unwrap_or(address);
    let host = inner.rsplit(|c| *c == b'@').next().unwrap_or_default();
    host.to_ascii_lowercase()
}

/// Whether a change is no work of silent name servers. Where the user is the address as it was
/// written, its host had no other name when it was routed, and by that name a table or a relay now
/// gives it another host than its own.
fn stands_without_names(
    world: &World,
    target: &QueuedTarget,
    address: &[u8],
    change: &Change,
) -> bool {
    let Change::Moves(moved) = change else {
        return false;
    };
    moved.user == target.user
        && is_user(address, &target.user)
        && is_away(world, &moved.mailer)
        && !moved.host.0.eq_ignore_ascii_case(&host(address))
}

/// The address that a copy is routed by, if there is one.
fn address(envelope: &Envelope, target: &QueuedTarget) -> Option<Vec<u8>> {
    let recipient = envelope.recipients.get(target.recipient);
    match &target.routed_by {
        RoutedBy::Shared => None,
        RoutedBy::User => Some(in_brackets(&target.user.0)),
        RoutedBy::Address(address) => Some(address.0.clone()),
        RoutedBy::Recipient => Some(in_brackets(
            recipient.map_or(&target.user.0, |r| &r.address.0),
        )),
        RoutedBy::Unknown => {
            let recipient = recipient.filter(|r| r.expanded == Expanded::Yes)?;
            let of_him = |t: &&QueuedTarget| t.recipient == target.recipient;
            let mut of_him = envelope.targets.iter().filter(of_him);
            let is_lone = of_him.next().is_some() && of_him.next().is_none();
            is_lone.then(|| in_brackets(&recipient.address.0))
        }
    }
}

/// Whether a change is one of this copy. Where nobody knows what it came from, only another way
/// for the same user is.
fn is_certain(target: &QueuedTarget, change: &Change) -> bool {
    target.routed_by != RoutedBy::Unknown
        || matches!(change, Change::Moves(moved) if moved.user == target.user)
}

/// What an expansion changes for a copy.
fn judge(
    world: &World,
    target: &QueuedTarget,
    address: &[u8],
    expansion: Expansion,
) -> Option<Change> {
    let failures = failures(world, &expansion);
    let shown = String::from_utf8_lossy(address);
    if !expansion.errors.is_empty() {
        let text = format!("{shown}... {}", expansion.errors.join("; "));
        return Some(match world.site.options.delivery.soft_bounce {
            true => Change::Waits("4.2.4".into(), text),
            false => Change::Fails(Failure {
                at: 0,
                status: "5.2.4".into(),
                text,
            }),
        });
    }
    if let Some(failure) = failures.iter().find(|failure| failure.is_temporary()) {
        let Failure { status, text, .. } = failure;
        return Some(Change::Waits(status.clone(), text.clone()));
    }
    if is_nobody(&expansion) {
        let text = format!("{shown}: a list without members");
        return Some(Change::Waits("4.2.4".into(), text));
    }
    let mut found = expansion.recipients.iter();
    let found = found.find(|r| r.state == State::Deliver);
    let Some(found) = found else {
        return failures.into_iter().next().map(Change::Fails);
    };
    if !keeps_its_meaning(world, target, address, &expansion) {
        return None;
    }
    if is_list(&expansion, &failures) {
        return Some(Change::Spreads(expansion));
    }
    let user = Octets(plain_user(world, &found.triple));
    let moved = QueuedTarget {
        mailer: found.triple.mailer.clone(),
        host: Octets::from(found.triple.host.as_slice()),
        routed_by: match &target.routed_by {
            RoutedBy::User if user != target.user => RoutedBy::Address(Octets(address.to_vec())),
            routed_by => routed_by.clone(),
        },
        user,
        written: match found.address == address {
            true => target.written.clone(),
            false => Some(Octets::from(found.address.as_slice())),
        },
        controller: match runs_as(&found.triple.mailer) {
            true => found.controller.as_deref().map(str::to_owned),
            false => target.controller.clone(),
        },
        // What was said of the old way says nothing of this one.
        status: String::new(),
        last: String::new(),
        remote: None,
        ..target.clone()
    };
    let is_as_stored =
        (&moved.mailer, &moved.host, &moved.user) == (&target.mailer, &target.host, &target.user);
    (!is_as_stored).then(|| Change::Moves(Box::new(moved)))
}

/// Whether an address still means what it meant when policy let it in. One that names a way
/// (`u%far.example@here.example`, `far.example!u`, `@here.example:u@far.example`) goes to other
/// hosts as the same user only: by tables in which its host is ours it would name another.
fn keeps_its_meaning(
    world: &World,
    target: &QueuedTarget,
    address: &[u8],
    expansion: &Expansion,
) -> bool {
    let inner = address.rsplit(|c| *c == b'<').next().unwrap_or(address);
    let inner = inner.split(|c| *c == b'>').next().unwrap_or(inner);
    let at = inner.iter().rposition(|c| *c == b'@');
    let local = inner.get(..at.unwrap_or(inner.len())).unwrap_or_default();
    let names_a_way = |c: &u8| matches!(c, b'%' | b'!' | b'@' | b':');
    if !local.iter().any(names_a_way) {
        return true;
    }
    let mut found = expansion.recipients.iter();
    found.all(|r| {
        let same = plain_user(world, &r.triple).eq_ignore_ascii_case(&target.user.0);
        r.state != State::Deliver || same || !is_away(world, &r.triple.mailer)
    })
}

/// Makes a change in the envelope.
fn make(
    world: &World,
    envelope: &mut Envelope,
    known: &mut Known,
    at: usize,
    change: Change,
    rerouted: &mut Rerouted,
) {
    let Some(target) = envelope.targets.get(at).cloned() else {
        return;
    };
    let recipient = envelope.recipients.get(target.recipient);
    let to = recipient.map_or_else(String::new, |r| r.address.shown());
    let log = |text: String| {
        let line = format!("to=<{to}>, {text}");
        world.log.about(Level::Info, &envelope.id, &line);
    };
    let before = format!("mailer={}, relay={}", target.mailer, target.host.shown());
    rerouted.targets = Targets::New;
    let becomes = match change {
        Change::Moves(moved) => {
            let QueuedTarget {
                mailer, host, user, ..
            } = moved.as_ref();
            let now = format!(
                "mailer={mailer}, relay={}, user={}",
                host.shown(),
                user.shown()
            );
            log(format!("rerouted: {now} (before: {before})"));
            if moved.routed_by == RoutedBy::User {
                known.note_led_to(&moved);
            }
            match known.take(envelope, &moved, at) {
                true => *moved,
                // Another copy is the same.
                false => QueuedTarget {
                    progress: Progress::Forwarded,
                    ..target
                },
            }
        }
        Change::Spreads(expansion) => {
            let failures = failures(world, &expansion);
            log(format!("rerouted: to a list (before: {before})"));
            let via = Via {
                controller: target.controller.clone(),
                owner: target.owner.clone(),
            };
            let to = target.recipient;
            add_failures(world, envelope, to, &expansion, &failures, &via);
            add_targets(world, envelope, known, to, &expansion, &failures, &via);
            rerouted.several.push(target.recipient);
            QueuedTarget {
                progress: Progress::Forwarded,
                ..target
            }
        }
        Change::Fails(failure) => {
            let Failure { status, text, .. } = &failure;
            log(format!("dsn={status}, stat={text} (before: {before})"));
            QueuedTarget {
                progress: failure.progress(),
                status: failure.status.clone(),
                last: failure.text.clone(),
                remote: None,
                ..target
            }
        }
        Change::Waits(status, why) => {
            log(format!("dsn={status}, stat=Deferred: {why}"));
            rerouted.held.insert(at);
            QueuedTarget {
                status,
                last: why,
                remote: None,
                ..target
            }
        }
    };
    if let Some(place) = envelope.targets.get_mut(at) {
        *place = becomes;
    }
}

#[cfg(test)]
#[path = "reroute_tests.rs"]
mod tests;
