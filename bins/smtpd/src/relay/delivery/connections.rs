//! A connection to an address: one of an earlier message, or a new one, and a place for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::{After, Delivery, remote};
use crate::deliver::lanes::Place;
use crate::deliver::outcome::Notifies;
use crate::relay::client::{Failure, Lasting};
use crate::relay::exchange::Hop;
use crate::relay::lane;
use crate::relay::link::{Event, Link, Pace};
use crate::relay::open::Opener;
use crate::relay::state::{Key, Single};

/// Addresses that one delivery tries.
const MAX_ATTEMPTS: usize = 30;

impl Delivery<'_> {
    pub(super) fn opener(&self, patience: Duration) -> Opener<'_> {
        Opener {
            world: self.world,
            snapshot: &self.snapshot,
            mailer: self.mailer,
            id: &self.envelope.id,
            departure: &self.envelope.departure,
            patience,
            until: self.until,
        }
    }

    /// Why this host is not to be tried now, if it is not.
    pub(super) fn resting(&self, addr: SocketAddr) -> Option<Failure> {
        let (failure, since) = self.world.relay.resting(addr)?;
        let is_woken = self.world.queue.is_run_asked_since(self.envelope, since);
        (!is_woken).then_some(failure)
    }

    /// Tries an address of a host.
    pub(super) async fn by_address(&mut self, hop: &Hop, addr: SocketAddr) {
        let world = Arc::clone(self.world);
        let state = &world.relay;
        if let Some(failure) = self.resting(addr) {
            let remote = remote(hop, Some(addr), failure.reply.as_ref(), Notifies::No);
            return self.note(failure, Some(remote));
        }
        let delivery = &world.site.options.delivery;
        let single = match delivery.single_thread {
            true => Single::One,
            false => Single::Many,
        };
        let Some(_places) = self.places(hop, addr, single).await else {
            let text = format!("{}: host busy, all connections to it are in use", hop.name);
            let remote = remote(hop, Some(addr), None, Notifies::No);
            return self.note(Failure::temporary("4.4.5", text), Some(remote));
        };
        // Others may have found it silent meanwhile.
        if let Some(failure) = self.resting(addr) {
            let remote = remote(hop, Some(addr), failure.reply.as_ref(), Notifies::No);
            return self.note(failure, Some(remote));
        }
        let key = Key {
            mailer: self.mailer.name.clone(),
            host: hop.name.to_ascii_lowercase(),
            addr,
            departure: self.envelope.departure.clone(),
        };
        let (link, after) = loop {
            let before = self.open();
            let mut link = match self.idle(hop, &key).await {
                Some(link) => link,
                None => match self.fresh(hop, addr).await {
                    Some(link) => link,
                    None => return,
                },
            };
            let after = self.transactions(hop, &mut link).await;
            let comes_on = self.open() < before && self.open() > 0;
            match after {
                After::Again if comes_on => {}
                after => break (link, after),
            }
        };
        let longest = world.site.options.timeouts.host_status.0;
        match (link.pace(), &after) {
            (Pace::Good, After::Refused(failure)) => state.failed(addr, failure, longest),
            (Pace::Good, _) => state.answered(addr),
            // It would keep the next one waiting too.
            (Pace::Silent, _) => {
                let text = format!("Connection timed out with {}", hop.name);
                state.failed(addr, &Failure::temporary("4.4.2", text), longest);
            }
        }
        if let After::Usable = after {
            let most = usize::try_from(delivery.connection_cache_size).unwrap_or(0);
            let longest = delivery.connection_cache_timeout.0;
            state.keep(key, link, most, longest);
        }
    }

    /// A place among the connections to the address, and to its network, if there is one in time.
    async fn places(
        &mut self,
        hop: &Hop,
        addr: SocketAddr,
        single: Single,
    ) -> Option<(Option<Place>, OwnedSemaphorePermit)> {
        let asked = Instant::now();
        let network = match lane::of_address(hop.source, addr.ip()) {
            Some(lane) => {
                let entered = lane::NETWORKS.enter(&lane, 1, self.slot_patience).await;
                entered.ok().map(Some)
            }
            None => Some(None),
        };
        let places = match network {
            Some(network) => {
                let left = self.slot_patience.saturating_sub(asked.elapsed());
                let slot = self.world.relay.slot(addr, single, left).await;
                slot.map(|slot| (network, slot))
            }
            None => None,
        };
        self.slot_patience = self.slot_patience.saturating_sub(asked.elapsed());
        places
    }

    /// A connection of an earlier message that still answers and is still good enough.
    async fn idle(&self, hop: &Hop, key: &Key) -> Option<Box<Link>> {
        while let Some(mut link) = self.world.relay.take(key) {
            if self
                .opener(Duration::ZERO)
                .judge_again(&link, hop)
                .await
                .is_err()
            {
                tokio::spawn(link.close());
                continue;
            }
            link.within(self.until.into());
            link.client.probe();
            if link.run(&self.world.site.options.timeouts).await == Event::Ready {
                return Some(link);
            }
        }
        None
    }

    /// A new connection; a host that has none to give rests.
    async fn fresh(&mut self, hop: &Hop, addr: SocketAddr) -> Option<Box<Link>> {
        let timeouts = &self.world.site.options.timeouts;
        let mut patience = match self.envelope.tries {
            0 | 1 if !timeouts.iconnect.0.is_zero() => timeouts.iconnect.0,
            _ => timeouts.connect.0,
        };
        if let Some(until) = self.connect_until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.note_untried("Timeout.aconnect: no time for further hosts");
                return None;
            }
            patience = match patience {
                Duration::ZERO => left,
                some => some.min(left),
            };
        }
        self.attempts += 1;
        if self.attempts > MAX_ATTEMPTS {
            self.note_untried("too many addresses to try at once");
            return None;
        }
        match self.opener(patience).open(hop, addr).await {
            Ok(link) => Some(Box::new(link)),
            Err(failure) => {
                let longest = timeouts.host_status.0;
                let closing = failure.reply.as_ref().is_some_and(|r| r.code == 421);
                let silent = failure.status.starts_with("4.4.");
                if failure.lasting == Lasting::Temporary && (closing || silent) {
                    self.world.relay.failed(addr, &failure, longest);
                }
                let remote = remote(hop, Some(addr), failure.reply.as_ref(), Notifies::No);
                self.note(failure, Some(remote));
                None
            }
        }
    }
}
