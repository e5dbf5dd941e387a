//! Users who forward their mail: their copies become those of the lists in their files.

use std::collections::HashSet;
use std::sync::Arc;

use libmaps::policy::route::MailerTriple;

use super::expand::{
    Asked, Failure, Held, Via, What, YIELD_EVERY, add_failures, add_targets, expansion, failures,
    is_list, is_mailbox, plain_user,
};
use super::forward_file::{Unread, forward_list_in_time};
use super::known::Known;
use super::onward::{Ending, Local, Onward, To, copy_of};
use crate::log::Level;
use crate::maps::Snapshot;
use crate::queue::{Envelope, Octets, Progress};
use crate::world::World;

/// Most users whose `.forward` files one attempt looks for; the others wait for the next.
const MAX_FORWARDS: usize = 100_000;

/// What came of the `.forward` files.
#[derive(Default)]
pub(super) struct Forwarded {
    /// Recipients that became several.
    pub(super) several: Vec<usize>,
    /// Targets that are not tried this time.
    pub(super) held: Held,
}

/// Replaces copies for users who forward their mail.
pub(super) async fn forward(
    world: &Arc<World>,
    snapshot: &Snapshot,
    envelope: &mut Envelope,
    known: &mut Known,
) -> Forwarded {
    let Forwarded {
        mut several,
        mut held,
    } = Forwarded::default();
    // With their details: `.forward+detail` may be another file, and a second copy of a user who
    // forwards his mail is not for his mailbox either.
    let mut seen: HashSet<Local> = HashSet::new();
    let mut onward = Onward::of(envelope, &world.site.mailers.local);
    // Without the flag `w` its users are not the system's, and have no homes.
    let mailer = world.site.mailers.get(&world.site.mailers.local);
    if mailer.is_some_and(|mailer| !mailer.has('w')) {
        return Forwarded { several, held };
    }
    let mut at = 0;
    while at < envelope.targets.len() {
        let this = at;
        at += 1;
        if at % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
        let Some(target) = envelope.targets.get(this) else {
            break;
        };
        let local = target.mailer == world.site.mailers.local;
        let name = target.user.shown();
        // One whose own file was obeyed before.
        let kept = target.controller.as_deref() == Some(name.as_str());
        if !local || target.progress != Progress::Waiting || kept {
            continue;
        }
        let copy = copy_of(target);
        if !seen.insert(copy.clone()) {
            continue;
        }
        if seen.len() > MAX_FORWARDS {
            if seen.len() == MAX_FORWARDS + 1 {
                let text = format!(
                    "{MAX_FORWARDS} users were asked whether they forward; the others wait"
                );
                world.log.about(Level::Warning, &envelope.id, &text);
            }
            held.insert(this);
            continue;
        }
        let (recipient, detail) = (target.recipient, target.host.shown());
        let via = Via {
            controller: Some(name.clone()),
            owner: target.owner.clone(),
        };
        let user = match world.users.get(&name) {
            Ok(Some(user)) => user,
            Ok(None) => continue,
            Err(error) => {
                hold(world, envelope, this, &mut held, &error.to_string());
                continue;
            }
        };
        let list = match forward_list_in_time(world, &user, &detail).await {
            Ok(Some(list)) => list,
            Ok(None) => continue,
            Err(Unread::Untrusted(why)) => {
                world.log.about(Level::Warning, &envelope.id, &why);
                continue;
            }
            Err(Unread::Later(why)) => {
                hold(world, envelope, this, &mut held, &why);
                continue;
            }
        };
        let what = Asked {
            what: What::List(&list, &user),
            daemon_flags: &envelope.daemon_flags,
        };
        let expansion = match expansion(world, snapshot, what).await {
            Ok(expansion) => expansion,
            Err(error) => {
                hold(world, envelope, this, &mut held, &error.to_string());
                continue;
            }
        };
        let deliver = expansion.deliver();
        let to: Vec<To> = deliver.iter().map(|triple| way(world, triple)).collect();
        // The user himself, with this detail, means: the mailbox too; with another one he is a way
        // like others. `\name` means it whatever the detail. And where a loop of users comes round,
        // it ends with him or with whom it meets again.
        let is_himself = |to: &To| matches!(to, To::User(local) if *local == copy);
        let keeps = known.is_for_both(&copy)
            || to.iter().any(is_himself)
            || deliver.iter().any(|triple| {
                let mailbox = quoted(world, triple).filter(|(user, _)| *user == copy.0);
                mailbox.is_some_and(|mailbox| !takes(world, envelope, &mailbox, &name))
            });
        let ending = match keeps {
            true => Ending::Here,
            false => onward.ending(&copy, &to),
        };
        let mut failures = failures(world, &expansion);
        if let Some(error) = expansion.errors.first() {
            // No list is used in part.
            failures.clear();
            failures.push(Failure {
                at: 0,
                status: "4.2.4".into(),
                text: format!("forward of {name}: {error}"),
            });
        }
        if expansion.deliver().is_empty() && failures.is_empty() {
            // It names nobody: the mailbox it is.
            continue;
        }
        if let Some(failure) = failures.iter().find(|failure| failure.is_temporary()) {
            hold(world, envelope, this, &mut held, &failure.text);
            continue;
        }
        add_failures(world, envelope, recipient, &expansion, &failures, &via);
        let mailboxes: Vec<Local> = deliver.iter().filter_map(|t| quoted(world, t)).collect();
        // Whose mailbox is meant has it, though his copy went on.
        let meant = mailboxes.iter().filter(|(user, _)| *user != copy.0);
        let mut back: HashSet<Local> = meant.filter(|m| onward.went_on(m)).cloned().collect();
        if let Ending::With(met) = &ending {
            back.extend(met.iter().cloned());
        }
        if !back.is_empty() {
            for copy in &back {
                onward.stays(copy);
            }
            give_back(world, envelope, &back);
        }
        if let Some(target) = envelope.targets.get_mut(this) {
            if ending == Ending::Here {
                target.controller = Some(name.clone());
            } else {
                target.onward = users(&to);
                target.progress = Progress::Forwarded;
                onward.pass_on(copy, to);
            }
        }
        if is_list(&expansion, &failures) {
            several.push(recipient);
        }
        let before = envelope.targets.len();
        add_targets(
            world, envelope, known, recipient, &expansion, &failures, &via,
        );
        // His other details may have files of their own, which are still to be obeyed.
        for added in envelope.targets.iter_mut().skip(before) {
            let own = added.mailer == world.site.mailers.local && added.user.shown() == name;
            if own && !mailboxes.contains(&copy_of(added)) {
                added.controller = None;
            }
        }
    }
    Forwarded { several, held }
}

/// Where a list sends a copy.
fn way(world: &World, triple: &MailerTriple) -> To {
    match triple.mailer == world.site.mailers.local {
        true => To::User((plain_user(world, triple), triple.host.clone())),
        false => To::Elsewhere,
    }
}

/// The users among the ways of a list.
fn users(to: &[To]) -> Box<[(Octets, Octets)]> {
    let users = to.iter().filter_map(|to| match to {
        To::User((user, detail)) => Some((Octets(user.clone()), Octets(detail.clone()))),
        To::Elsewhere => None,
    });
    users.collect()
}

/// Gives users the copies for their mailboxes that went on to others.
fn give_back(world: &World, envelope: &mut Envelope, copies: &HashSet<Local>) {
    for target in &mut envelope.targets {
        let went_on = target.progress == Progress::Forwarded;
        if went_on && target.mailer == world.site.mailers.local && copies.contains(&copy_of(target))
        {
            target.progress = Progress::Waiting;
            // His file was obeyed.
            target.controller = Some(target.user.shown());
            target.onward = Box::default();
        }
    }
}

/// The mailbox that a `\name` means.
fn quoted(world: &World, triple: &MailerTriple) -> Option<Local> {
    is_mailbox(world, triple).then(|| (plain_user(world, triple), triple.host.clone()))
}

/// Whether this copy is for its user's mailbox, was put there, or will be added for it.
fn takes(world: &World, envelope: &Envelope, mailbox: &Local, name: &str) -> bool {
    let mut copies = envelope.targets.iter();
    let there = copies.find(|t| t.mailer == world.site.mailers.local && copy_of(t) == *mailbox);
    there.is_none_or(|there| match there.progress {
        Progress::Waiting => there.controller.as_deref() == Some(name),
        Progress::Sent | Progress::Done => true,
        _ => false,
    })
}

/// Leaves a user's copy for the next attempt: neither his mailbox nor a failure is right.
fn hold(world: &World, envelope: &mut Envelope, at: usize, held: &mut Held, why: &str) {
    let Some(target) = envelope.targets.get_mut(at) else {
        return;
    };
    target.status = "4.3.0".into();
    target.last = why.to_owned();
    held.insert(at);
    let line = format!(
        "to={}, dsn=4.3.0, stat=Deferred: {why}",
        target.user.shown()
    );
    world.log.about(Level::Warning, &envelope.id, &line);
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
