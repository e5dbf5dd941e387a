//! Delivery: from the queue to mailboxes, files and programs, and by the relay to other
//! hosts.
//!
//! Each message that is due is expanded once (aliases, owners, includes, `.forward`),
//! then every copy is delivered that has not been. What fails for the time being
//! stays in the queue; what fails for good is told to the sender, and the notice is in
//! the queue in the same moment as the failure.

pub(crate) mod arguments;
mod batch;
mod by_mailer;
mod compat;
pub mod copy;
mod dotlock;
mod ending;
mod expand;
pub mod file;
mod forward;
pub(crate) mod forward_file;
pub(crate) mod frame;
mod headers;
mod homes;
pub(crate) mod include_file;
mod known;
pub(crate) mod lanes;
pub(crate) mod left;
mod lmtp;
pub(crate) mod lmtp_program;
mod onward;
pub mod outcome;
pub(crate) mod process;
pub(crate) mod program;
mod refusal;
mod reroute;
pub(crate) mod run_in;
pub(crate) mod safe_folder;
mod senders;
pub(crate) mod shape;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use batch::{Account, Targets};
use expand::Ready;
use lanes::{ComeAgain, Lanes};

use crate::aside::aside;
use crate::clock::now_unix;
use crate::log::Level;
use crate::queue::{Envelope, Expanded, Progress};
use crate::server::current;
use crate::world::World;

/// Messages that are expanded at one time, and deliveries to other hosts, where
/// MaxQueueChildren does not say. What happens on this machine has limits of its own.
const AT_ONCE: u32 = 100;
/// Messages that are expanded: a name server or a home may keep them waiting.
static EXPANDING: Lanes = Lanes::new(AT_ONCE as usize, 20, 1000);
/// How often the queue is looked at without a reason.
const TICK: Duration = Duration::from_secs(5);

/// How long a message waits for its turn to be expanded.
const PATIENCE: Duration = Duration::from_secs(60);

/// More are not worth a number.
const MAX_AT_ONCE: u32 = 1_000_000;
/// More than there can be attempts: most of them wait for places, with a limit to that.
const ATTEMPTS: u32 = 10_000_000;

/// Delivery of what the queue holds.
#[derive(Debug)]
pub struct Delivery {
    /// It begins attempts.
    beginning: JoinHandle<()>,
    /// One for each attempt.
    attempts: Arc<Semaphore>,
}

impl Delivery {
    /// Begins to deliver.
    #[must_use]
    pub fn start(world: Arc<RwLock<Arc<World>>>) -> Self {
        let most = match current(&world).site.options.queue.max_children.0 {
            Some(most) => u32::try_from(most).unwrap_or(MAX_AT_ONCE),
            None => AT_ONCE,
        };
        let most = usize::try_from(most.clamp(1, MAX_AT_ONCE)).unwrap_or(1);
        EXPANDING.set_places(most);
        crate::relay::set_places(most);
        let slots = Arc::new(Semaphore::new(most));
        let attempts = Arc::new(Semaphore::new(ATTEMPTS as usize));
        Delivery {
            beginning: tokio::spawn(run(world, slots, Arc::clone(&attempts))),
            attempts,
        }
    }

    /// Begins no more attempts, and waits for those that go on, at most so long: what they did
    /// has to stand in the queue, or it is done again.
    pub async fn end(self, patience: Duration) {
        self.beginning.abort();
        let _ = self.beginning.await;
        EXPANDING.send_away();
        copy::send_away();
        crate::relay::send_away();
        let _ = tokio::time::timeout(patience, self.attempts.acquire_many(ATTEMPTS)).await;
    }
}

async fn run(world: Arc<RwLock<Arc<World>>>, slots: Arc<Semaphore>, attempts: Arc<Semaphore>) {
    let mut complaint = None;
    loop {
        let now = current(&world);
        let trouble = now.queue.trouble();
        if trouble != complaint {
            let (level, text) = match &trouble {
                Some(text) => (Level::Error, text.as_str()),
                None => (Level::Notice, "the database takes mail in again"),
            };
            now.log.say(level, &format!("queue: {text}"));
            complaint = trouble;
        }
        while !now.only_queues() {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let Some(id) = now.queue.take_due(now_unix()) else {
                break;
            };
            let (now, attempts) = (Arc::clone(&now), Arc::clone(&attempts));
            tokio::spawn(async move {
                let _attempt = attempts.acquire().await;
                attempt(&now, &id, Some(slot)).await;
            });
        }
        let wait = match now.queue.next_due() {
            Some(due_unix) => Duration::from_secs(due_unix.saturating_sub(now_unix()).max(1)),
            None => TICK,
        };
        let _ = tokio::time::timeout(wait.min(TICK), now.queue.changed()).await;
    }
}

/// A message that is being tried. If that comes to no end, by a fault of ours, it is given back.
struct Trying<'a> {
    world: &'a World,
    id: &'a str,
    ended: bool,
}

impl Trying<'_> {
    /// Leaves the message as it was, for so long.
    fn comes_again(&mut self, wait: Duration) {
        let due_unix = now_unix().saturating_add(wait.as_secs().max(1));
        self.world.queue.come_again(self.id, due_unix);
        self.ended = true;
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.world.queue.give_back(self.id);
        }
    }
}

/// Whose turn it takes to expand a message: that of the user or domain that comes first.
fn lane(world: &World, envelope: &Envelope) -> String {
    let mut open = envelope.recipients.iter();
    let open = open.find(|r| r.expanded == Expanded::No);
    let mut waiting = envelope.targets.iter();
    let waiting = waiting.find(|t| t.progress == Progress::Waiting);
    let (local, domain) = match (open, waiting) {
        (Some(recipient), _) => match recipient.address.shown().rsplit_once('@') {
            Some((local, domain)) => (local.to_owned(), domain.to_owned()),
            None => (recipient.address.shown(), String::new()),
        },
        (None, Some(copy)) if copy.mailer == world.site.mailers.local => {
            (copy.user.shown(), String::new())
        }
        (None, Some(copy)) => (String::new(), copy.host.shown()),
        (None, None) => Default::default(),
    };
    let site = world.site_now();
    let here = &site.classes.local_hosts;
    if domain.is_empty() || here.contains(domain.as_bytes()) {
        let user = local.split('+').next().unwrap_or_default();
        return format!("user {}", user.to_lowercase());
    }
    format!("domain {}", crate::relay::lane_of(&domain))
}

/// Tries one message. The slot is given back once it waits for places of its own.
pub async fn attempt(world: &Arc<World>, id: &str, slot: Option<OwnedSemaphorePermit>) {
    let mut trying = Trying {
        world,
        id,
        ended: false,
    };
    // The envelope of a list of thousands takes a while to be read.
    let mut envelope = match aside(|| world.queue.envelope(id)) {
        Ok(envelope) => envelope,
        Err(error) => {
            let text = format!("queue: {error}");
            world.log.about(Level::Error, id, &text);
            return;
        }
    };
    drop(slot);
    if ending::is_too_late(world, &envelope) {
        ending::end(world, envelope, Account::default()).await;
        trying.ended = true;
        return;
    }
    let lane = lane(world, &envelope);
    let place = match EXPANDING.enter(&lane, envelope.weight(), PATIENCE).await {
        Ok(place) => place,
        Err(ComeAgain(wait)) => {
            let account = Account {
                tried: 0,
                aside: Some(wait),
            };
            if ending::must_end(world, &envelope) {
                ending::end(world, envelope, account).await;
                trying.ended = true;
            } else {
                trying.comes_again(wait);
            }
            return;
        }
    };
    let (tries, tried_unix) = (envelope.tries, envelope.tried_unix);
    let mut account = Account::default();
    if envelope.hold.is_none() {
        envelope.tries = envelope.tries.saturating_add(1);
        envelope.tried_unix = now_unix();
        if let Some(text) = too_many_hops(world, &envelope) {
            world.log.about(Level::Notice, id, &text);
            ending::fail_all(&mut envelope, "5.4.6", &text);
        } else {
            let Ready {
                mut held,
                mut targets,
            } = expand::expand(world, &mut envelope).await;
            drop(place);
            if compat::check(world, &mut envelope, &mut held).await == Targets::New {
                targets = Targets::New;
            }
            match batch::deliver_copies(world, &mut envelope, targets, &held).await {
                Ok(done) => account = done,
                Err(error) => {
                    let text = format!("queue: {error}");
                    world.log.about(Level::Error, id, &text);
                }
            }
            // One that found no place was not tried.
            if let Account {
                tried: 0,
                aside: Some(wait),
            } = account
            {
                (envelope.tries, envelope.tried_unix) = (tries, tried_unix);
                let is_old = targets == Targets::AsStored && held.is_empty();
                if is_old && !ending::must_end(world, &envelope) {
                    return trying.comes_again(wait);
                }
            }
        }
    }
    ending::end(world, envelope, account).await;
    trying.ended = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn the_end_waits_for_attempts() {
        let attempts = Arc::new(Semaphore::new(ATTEMPTS as usize));
        let slot = Arc::clone(&attempts).acquire_owned().await.unwrap();
        let delivery = |attempts: &Arc<Semaphore>| Delivery {
            beginning: tokio::spawn(std::future::pending()),
            attempts: Arc::clone(attempts),
        };
        // One that goes on for too long is left alone.
        delivery(&attempts).end(Duration::from_millis(1)).await;
        let (done, mut waits) = oneshot::channel();
        let ending = delivery(&attempts).end(Duration::from_secs(600));
        let ending = tokio::spawn(async move {
            ending.await;
            let _ = done.send(());
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(waits.try_recv().is_err());
        drop(slot);
        ending.await.unwrap();
        waits.await.unwrap();
    }

    #[test]
    fn users_of_this_host_and_other_domains_have_turns_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let world = World::of_test(root.path(), Arc::new(libmaps::store::disk::System));
        let to = |address: &str| {
            let recipient = crate::queue::QueuedRecipient {
                address: address.into(),
                ..Default::default()
            };
            let envelope = Envelope {
                recipients: vec![recipient],
                ..Envelope::default()
            };
            lane(&world, &envelope)
        };
        assert_eq!(to("Ann+x@mx.test.example"), "user ann");
        assert_eq!(to("ann"), "user ann");
        assert_eq!(to("x@1.evil.example"), "domain evil.example");
        assert_eq!(to("y@evil.example"), "domain evil.example");
        let copy = |mailer: &str, host: &str| {
            let copy = crate::queue::QueuedTarget {
                mailer: mailer.into(),
                host: host.into(),
                user: "bob".into(),
                ..Default::default()
            };
            let envelope = Envelope {
                targets: vec![copy],
                ..Envelope::default()
            };
            lane(&world, &envelope)
        };
        assert_eq!(copy("local", ""), "user bob");
        assert_eq!(copy("esmtp", "mx.evil.example."), "domain evil.example");
    }
}
