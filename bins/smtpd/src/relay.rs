//! The relay: copies that another host takes over.
//!
//! ```text
//! triple -> route -> exchange (MX) -> addresses -> link (client, TLS, AUTH) -> transactions
//! ```
//!
//! Copies of one message by one mailer to one host share transactions and connections;
//! each gets an [`Outcome`] of its own. That a server takes or refuses a recipient for good is
//! final. That it wants him later leads to the next exchanger or host of the list, as with
//! sendmail; what keeps it from saying anything leads to its next address, too. A host that did
//! not answer rests for a while.

pub mod authinfo;
pub mod client;
pub mod data;
mod delivery;
pub mod exchange;
mod lane;
pub mod link;
pub mod mime;
pub mod offers;
mod open;
pub mod reply;
mod rewrite;
pub mod route;
pub mod state;
mod text;

use std::sync::Arc;
use std::time::Duration;

use libmaps::site::model::Means;

use crate::deliver::lanes::ComeAgain;
use crate::deliver::outcome::Outcome;
use crate::queue::{Envelope, QueuedTarget};
use crate::world::World;

use delivery::Delivery;

pub(crate) use rewrite::{Rewritten, header_here, written};

/// Whether a copy goes by SMTP or LMTP (`P=[IPC]`). The local mailer with an LMTP server's socket of
/// this machine (`A=FILE path`) is delivery, not relaying.
#[must_use]
pub fn carries(world: &World, target: &QueuedTarget) -> bool {
    let mailer = world.site.mailers.get(&target.mailer);
    mailer.is_some_and(|mailer| Means::of(&world.site, mailer) == Means::Relay)
}

/// Sets how many deliveries go on at one time (MaxQueueChildren).
pub(crate) fn set_places(places: usize) {
    lane::DOMAINS.set_places(places);
    lane::NETWORKS.set_places(places);
}

/// Whose turn something about this host takes: hosts that are likely one owner's have one.
pub(crate) fn lane_of(host: &str) -> String {
    lane::of_host(host)
}

/// Sends away what waits for a place: the server ends.
pub(crate) fn send_away() {
    lane::DOMAINS.send_away();
}

/// Hands these copies to their next host when it is their turn; an outcome for each, in their
/// order.
///
/// # Errors
/// When there is so much mail for that host's domain that it is not their turn in this time.
pub(crate) async fn deliver(
    world: &Arc<World>,
    envelope: &Envelope,
    copies: &[usize],
    patience: Duration,
) -> Result<Vec<Outcome>, ComeAgain> {
    let targets: Vec<&QueuedTarget> = copies
        .iter()
        .filter_map(|at| envelope.targets.get(*at))
        .collect();
    let Some(first) = targets.first() else {
        return Ok(Vec::new());
    };
    let lane = lane::of_copy(first);
    let entered = lane::DOMAINS.enter(&lane, envelope.weight(), patience);
    let _place = entered.await?;
    Ok(match Delivery::prepare(world, envelope, targets).await {
        Ok(delivery) => delivery.run().await,
        Err(outcome) => copies.iter().map(|_| outcome.clone()).collect(),
    })
}
