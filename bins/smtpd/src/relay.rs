//! The relay: copies that another host takes over.

use std::sync::Arc;

use crate::deliver::outcome::Outcome;
use crate::queue::{Envelope, QueuedTarget};
use crate::world::World;

/// Whether a copy goes by SMTP or LMTP over the network (`P=[IPC]`). A local mailer
/// with a socket of this machine (`A=FILE path`) is delivery, not relaying.
#[must_use]
pub fn carries(world: &World, target: &QueuedTarget) -> bool {
    let mailer = world.site.mailers.get(&target.mailer);
    mailer.is_some_and(|m| {
        let is_ipc = m.path == "[IPC]" || m.path == "[TCP]";
        is_ipc && m.arguments.split_whitespace().next() != Some("FILE")
    })
}

/// Hands these copies to their next host; an outcome for each, in their order.
pub async fn deliver(_world: &Arc<World>, envelope: &Envelope, copies: &[usize]) -> Vec<Outcome> {
    let named = copies.iter().map(|at| envelope.targets.get(*at));
    named
        .map(|target| {
            let mailer = target.map_or("", |t| t.mailer.as_str());
            Outcome::deferred(format!("mailer {mailer} is not reached from here yet"))
        })
        .collect()
}
