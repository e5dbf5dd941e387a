//! Delivery: from the queue to mailboxes, files and programs, and by the relay to other
//! hosts.
//!
//! Each message that is due is expanded once (aliases, owners, includes, `.forward`),
//! then every copy is delivered that has not been. What fails for the time being
//! stays in the queue; what fails for good is told to the sender, and the notice is in
//! the queue in the same moment as the failure.

mod batch;
pub mod copy;
mod ending;
mod expand;
pub mod file;
pub(crate) mod forward_file;
pub(crate) mod frame;
pub(crate) mod include_file;
mod lmtp;
pub mod outcome;
pub(crate) mod program;
mod text;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use batch::Targets;

use crate::clock::now_unix;
use crate::log::Level;
use crate::queue::{Envelope, Expanded};
use crate::server::current;
use crate::world::World;

/// Messages that are tried at one time, where MaxQueueChildren does not say. Most of
/// them wait for other hosts; what happens on this machine has a limit of its own.
const AT_ONCE: u64 = 100;
/// How often the queue is looked at without a reason.
const TICK: Duration = Duration::from_secs(5);

/// Delivers what the queue holds, until the task is dropped.
pub async fn run(world: Arc<RwLock<Arc<World>>>) {
    let most = current(&world).site.options.queue.max_children.0;
    let most = usize::try_from(most.unwrap_or(AT_ONCE)).unwrap_or(usize::MAX);
    let slots = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
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
        let wait = match now.queue.next_due() {
            Some(due_unix) => Duration::from_secs(due_unix.saturating_sub(now_unix()).max(1)),
            None => TICK,
        };
        let _ = tokio::time::timeout(wait.min(TICK), now.queue.changed()).await;
    }
}

/// Tries one message.
pub async fn attempt(world: &Arc<World>, id: &str) {
    let mut envelope = match world.queue.envelope(id) {
        Ok(envelope) => envelope,
        Err(error) => {
            let text = format!("queue: {error}");
            world.log.about(Level::Error, id, &text);
            return world.queue.give_back(id);
        }
    };
    if envelope.hold.is_none() {
        envelope.tries = envelope.tries.saturating_add(1);
        envelope.tried_unix = now_unix();
        if let Some(text) = too_many_hops(world, &envelope) {
            world.log.about(Level::Notice, id, &text);
            ending::fail_all(&mut envelope, "5.4.6", &text);
        } else {
            let stored = known(&envelope);
            let held = expand::expand(world, &mut envelope).await;
            let targets = if stored == known(&envelope) {
                Targets::AsStored
            } else {
                Targets::New
            };
            if let Err(error) = batch::deliver_copies(world, &mut envelope, targets, &held).await {
                world
                    .log
                    .about(Level::Error, id, &format!("queue: {error}"));
            }
        }
    }
    ending::end(world, envelope).await;
}

/// How many targets are known, and how many recipients have theirs still to be found.
fn known(envelope: &Envelope) -> (usize, usize) {
    let open = envelope.recipients.iter();
    let open = open.filter(|r| r.expanded == Expanded::No);
    (envelope.targets.len(), open.count())
}

/// MaxHopCount: whether the message goes round in circles, in sendmail's words.
fn too_many_hops(world: &World, envelope: &Envelope) -> Option<String> {
    let (hops, most) = (envelope.hops, world.site.options.limits.max_hops);
    let first = envelope.recipients.first()?;
    (most > 0 && i64::from(hops) > most).then(|| {
        format!(
            "Too many hops {hops} ({most} max): from <{}> via {}, to <{}>",
            envelope.sender.shown(),
            envelope.relay,
            first.address.shown()
        )
    })
}
