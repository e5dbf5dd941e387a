//! Users who forward their mail: their copies become those of the lists in their files.

use std::collections::HashSet;
use std::sync::Arc;

use libmaps::policy::route::MailerTriple;

use super::expand::{
    Asked, Failure, Held, Key, Via, What, YIELD_EVERY, add_failures, add_targets, expansion,
    failures, is_list, plain_user,
};
use super::forward_file::{Unread, forward_list_in_time};
use crate::log::Level;
use crate::maps::Snapshot;
use crate::queue::{Envelope, Progress, QueuedTarget};
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
    known: &mut HashSet<Key>,
) -> Forwarded {
    let Forwarded {
        mut several,
        mut held,
    } = Forwarded::default();
    // With their details: `.forward+detail` may be another file, and a second copy of a user who
    // forwards his mail is not for his mailbox either.
    let mut seen: HashSet<(Vec<u8>, Vec<u8>)> = HashSet::new();
    // Users whose copies went on to others, now or at an earlier attempt: they get nothing
    // themselves, and nobody can count on theirs.
    let gone = |t: &&QueuedTarget| {
        t.progress == Progress::Forwarded && t.mailer == world.site.mailers.local
    };
    let gone = envelope.targets.iter().filter(gone);
    let mut passed_on: HashSet<Vec<u8>> = gone.map(|t| t.user.0.clone()).collect();
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
        if !seen.insert((target.user.0.clone(), target.host.0.clone())) {
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
        let is_local = |triple: &MailerTriple| triple.mailer == world.site.mailers.local;
        let deliver = expansion.deliver();
        // `\name` or the user himself means: the mailbox too. And where all others have
        // passed it on already, a loop ends here.
        let keeps = deliver
            .iter()
            .any(|t| is_local(t) && plain_user(&t.user) == name.as_bytes())
            || (!deliver.is_empty()
                && deliver
                    .iter()
                    .all(|t| is_local(t) && passed_on.contains(&plain_user(&t.user))));
        let mut failures = failures(&expansion);
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
        if let Some(failure) = failures.first()
            && expansion.deliver().is_empty()
        {
            if let Some(target) = envelope.targets.get_mut(this) {
                target.progress = failure.progress();
            }
            continue;
        }
        add_failures(envelope, recipient, &expansion, &failures, &via);
        if let Some(target) = envelope.targets.get_mut(this) {
            if keeps {
                target.controller = Some(name.clone());
            } else {
                passed_on.insert(target.user.0.clone());
                target.progress = Progress::Forwarded;
            }
        }
        if is_list(&expansion, &failures) {
            several.push(recipient);
        }
        add_targets(envelope, known, recipient, &expansion, &via);
    }
    Forwarded { several, held }
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
