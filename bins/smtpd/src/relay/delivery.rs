//! One message by one mailer to one host: from host to host until every copy has an
//! outcome.

mod transactions;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libmaps::site::model::{Family, Mailer};
use tokio::sync::OwnedSemaphorePermit;

use super::client::{Failure, Lasting};
use super::exchange::{self, Hop, Source};
use super::lane;
use super::link::{Event, Link, Pace};
use super::open::Opener;
use super::reply::Reply;
use super::rewrite::{Rewritten, rewrite};
use super::route::{Next, NextHost, Route, hosts};
use super::state::{Key, Single};
use super::text;
use crate::deliver::lanes::Place;
use crate::deliver::outcome::{Notifies, Outcome, Remote};
use crate::maps::Snapshot;
use crate::queue::{Envelope, QueuedTarget};
use crate::world::World;

/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;
/// Addresses that one delivery tries.
const MAX_ATTEMPTS: usize = 30;
/// Hosts that one delivery looks up.
const MAX_HOPS: usize = 40;

/// How long a delivery waits, in all, while every connection to an address or its network is
/// in use: it holds one of the deliveries that other hosts need too.
const SLOT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a delivery may take over all hosts, whatever the time-outs of their answers.
const BUDGET: Duration = Duration::from_secs(20 * 60);
/// More for each copy: some servers answer RCPT slowly, on purpose.
const BUDGET_PER_COPY: Duration = Duration::from_secs(30);
/// Octets of a text in a second at the least: the time of one text is given once.
const SLOWEST_OCTETS: u64 = 4096;
/// Why a host is not tried when that is over.
const NO_TIME: &str = "no time for further hosts";

/// A delivery under way.
pub(super) struct Delivery<'a> {
    world: &'a Arc<World>,
    envelope: &'a Envelope,
    targets: Vec<&'a QueuedTarget>,
    outcomes: Vec<Option<Outcome>>,
    mailer: &'a Mailer,
    snapshot: Arc<Snapshot>,
    route: Route,
    rewritten: Rewritten,
    body_at: u64,
    size_octets: u64,
    /// The last thing that went wrong with a host as a whole.
    failure: Option<(Failure, Option<Remote>)>,
    attempts: usize,
    /// Hosts that were looked up.
    hops: usize,
    /// When no further connection is tried (Timeout.aconnect).
    connect_until: Option<Instant>,
    /// When its time is up.
    until: Instant,
    /// How long it may still wait for connections in use.
    slot_patience: Duration,
}

impl<'a> Delivery<'a> {
    /// Finds the mailer and rewrites the message for it.
    ///
    /// # Errors
    /// The outcome of all copies where that does not come off.
    pub(super) async fn prepare(
        world: &'a Arc<World>,
        envelope: &'a Envelope,
        targets: Vec<&'a QueuedTarget>,
    ) -> Result<Self, Outcome> {
        let Some(first) = targets.first() else {
            return Err(Outcome::deferred("nothing to deliver"));
        };
        let mailer = world.site.mailers.get(&first.mailer);
        let mailer = mailer.ok_or_else(|| {
            Outcome::failed("5.3.5", format!("mailer {} is not known", first.mailer))
        })?;
        if let Some(most) = mailer
            .max_octets
            .filter(|m| *m > 0 && *m < envelope.size_octets)
        {
            let text = format!("Message is too large; {most} bytes max");
            return Err(Outcome::failed("5.2.3", text));
        }
        let route = Route::of(mailer, &first.host.shown())
            .map_err(|why| Outcome::deferred(why).with_status("4.3.5"))?;
        let snapshot = world.snapshot();
        let unreadable = |why: String| Outcome::deferred(why).with_status("4.3.0");
        let text = world.queue.text(envelope);
        let text = text.map_err(|e| unreadable(e.to_string()))?;
        let (header, body_at) = tokio::task::spawn_blocking(move || text::header(text))
            .await
            .map_err(|e| unreadable(e.to_string()))?
            .map_err(|e| unreadable(format!("queue: {e}")))?;
        let sender = first.owner.as_ref().unwrap_or(&envelope.sender);
        let rewritten = rewrite(world, &snapshot, mailer, &sender.0, &header)
            .await
            .map_err(|e| unreadable(e.to_string()))?;
        let body_octets = envelope.size_octets.saturating_sub(body_at);
        let together = world.site.options.timeouts.aconnect.0;
        let size_octets = rewritten.header.len() as u64 + 2 + body_octets;
        Ok(Delivery {
            world,
            envelope,
            outcomes: targets.iter().map(|_| None).collect(),
            until: Instant::now() + budget(targets.len(), size_octets),
            targets,
            mailer,
            snapshot,
            route,
            size_octets,
            rewritten,
            body_at,
            failure: None,
            attempts: 0,
            hops: 0,
            connect_until: (!together.is_zero()).then(|| Instant::now() + together),
            slot_patience: SLOT_PATIENCE,
        })
    }

    /// An outcome for each copy.
    pub(super) async fn run(mut self) -> Vec<Outcome> {
        match self.route.clone() {
            Route::Socket(path) => self.by_socket(&path).await,
            Route::Hosts(list) => self.by_hosts(list).await,
        }
        let rest = match self.failure.take() {
            Some((failure, remote)) => {
                let outcome = outcome_of(failure);
                match remote {
                    Some(remote) => outcome.by(remote),
                    None => outcome,
                }
            }
            None => Outcome::deferred("no host to try").with_status("4.4.4"),
        };
        let outcomes = self.outcomes.into_iter();
        outcomes
            .map(|o| o.unwrap_or_else(|| rest.clone()))
            .collect()
    }

    fn is_done(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Keeps what went wrong; that waiting may help counts more than that it can't.
    fn note(&mut self, failure: Failure, remote: Option<Remote>) {
        let replaces = match &self.failure {
            Some((old, _)) => {
                failure.lasting == Lasting::Temporary || old.lasting == Lasting::Permanent
            }
            None => true,
        };
        if replaces {
            self.failure = Some((failure, remote));
        }
    }

    /// Keeps that a host was not tried: what another one refused for good is then not the
    /// last word.
    fn note_untried(&mut self, why: &str) {
        if let Some(failure) = untried(self.failure.as_ref().map(|(old, _)| old), why) {
            self.failure = Some((failure, None));
        }
    }

    async fn by_socket(&mut self, path: &Path) {
        let name = path.display().to_string();
        let hop = Hop {
            name,
            port: 0,
            source: Source::Site,
        };
        match self.opener(Duration::ZERO).open_socket(path).await {
            Ok(mut link) => {
                if self.transactions(&hop, &mut link).await == After::Usable {
                    tokio::spawn(Box::new(link).close());
                }
            }
            Err(failure) => {
                let remote = remote(&hop, None, failure.reply.as_ref(), Notifies::No);
                self.note(failure, Some(remote));
            }
        }
    }

    async fn by_hosts(&mut self, list: Vec<Next>) {
        let delivery = &self.world.site.options.delivery;
        let only = hosts(&delivery.connect_only_to, 25).into_iter().next();
        let is_domain = list.iter().any(|n| matches!(n.host, NextHost::Domain(_)));
        let list = match only {
            Some(only) => vec![only],
            None => list,
        };
        let mut unknown = false;
        for next in &list {
            unknown |= self.by_list_host(next).await;
            if self.is_done() {
                return;
            }
        }
        // FallbackMXhost stands behind the MX of a domain; FallbackSmartHost takes what
        // nobody else does, also mail for names that don't resolve.
        let refused = matches!(&self.failure, Some((f, _)) if f.status == "5.1.10");
        if !is_domain || refused {
            return;
        }
        let fallback_mx = hosts(&delivery.fallback_mx, 25);
        if !unknown {
            for next in fallback_mx {
                self.by_list_host(&next).await;
                if self.is_done() {
                    return;
                }
            }
        }
        for next in hosts(&delivery.fallback_smart_host, 25) {
            self.by_list_host(&next).await;
            if self.is_done() {
                return;
            }
        }
    }

    /// Tries a host of the list; whether there is no such host.
    async fn by_list_host(&mut self, next: &Next) -> bool {
        let site = self.world.site_now();
        let hops = exchange::hops(&site, &self.world.resolver, next).await;
        let hops = match hops {
            Ok(hops) => hops,
            Err(failure) => {
                let remote = match &next.host {
                    NextHost::Domain(name) | NextHost::Exact(name) => Some(Remote {
                        host: name.clone(),
                        addr: None,
                        reply: String::new(),
                        notifies: Notifies::No,
                    }),
                    NextHost::Address(_) => None,
                };
                self.note(failure, remote);
                return false;
            }
        };
        let mut unknown = true;
        for hop in &hops {
            if self.is_late() {
                self.note_untried(NO_TIME);
                return false;
            }
            self.hops += 1;
            if self.hops > MAX_HOPS {
                self.note_untried("too many hosts to try at once");
                return false;
            }
            match self.addresses(hop).await {
                Ok(addresses) => {
                    unknown = false;
                    for addr in addresses {
                        self.by_address(hop, addr).await;
                        if self.is_done() {
                            return false;
                        }
                    }
                }
                Err(failure) => {
                    unknown &= failure.status == "5.1.2";
                    let remote = remote(hop, None, None, Notifies::No);
                    self.note(failure, Some(remote));
                }
            }
        }
        unknown
    }

    /// The addresses of a host, IPv6 first, of the families that the site uses.
    async fn addresses(&self, hop: &Hop) -> Result<Vec<SocketAddr>, Failure> {
        let found = match hop.source {
            Source::Address(addr) => return Ok(vec![SocketAddr::new(addr, hop.port)]),
            Source::Mx | Source::Domain | Source::Site => {
                self.world.resolver.addresses_from(&hop.name).await
            }
        };
        let Ok((mut all, service)) = found else {
            let text = format!("Name server: {}: host name lookup failure", hop.name);
            return Err(Failure::temporary("4.4.3", text));
        };
        if all.is_empty() {
            let text = format!("Host unknown (Name server: {}: host not found)", hop.name);
            return Err(Failure::permanent("5.1.2", text));
        }
        all.retain(|addr| hop.source.allows(&service, *addr));
        if all.is_empty() {
            let text = format!("{} leads to an address of this host itself", hop.name);
            return Err(Failure::permanent("5.4.6", text));
        }
        let families: Vec<Family> = self.world.site.clients.iter().map(|c| c.family).collect();
        let wanted = |addr: &IpAddr| {
            let family = if addr.is_ipv4() {
                Family::Inet
            } else {
                Family::Inet6
            };
            families.is_empty() || families.contains(&family)
        };
        all.retain(wanted);
        if all.is_empty() {
            let text = format!("{} has no address of a family that is used here", hop.name);
            return Err(Failure::temporary("4.4.4", text));
        }
        all.sort_by_key(IpAddr::is_ipv4);
        let addresses = all.into_iter().take(MAX_ADDRESSES);
        Ok(addresses.map(|a| SocketAddr::new(a, hop.port)).collect())
    }

    fn opener(&self, patience: Duration) -> Opener<'_> {
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
    fn resting(&self, addr: SocketAddr) -> Option<Failure> {
        let (failure, since) = self.world.relay.resting(addr)?;
        let is_woken = self.world.queue.is_run_asked_since(self.envelope, since);
        (!is_woken).then_some(failure)
    }

    async fn by_address(&mut self, hop: &Hop, addr: SocketAddr) {
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
        let mut link = match self.idle(hop, &key).await {
            Some(link) => link,
            None => match self.fresh(hop, addr).await {
                Some(link) => link,
                None => return,
            },
        };
        let after = self.transactions(hop, &mut link).await;
        match link.pace() {
            Pace::Good => state.answered(addr),
            // It would keep the next one waiting too.
            Pace::Silent => {
                let text = format!("Connection timed out with {}", hop.name);
                let longest = world.site.options.timeouts.host_status.0;
                state.failed(addr, &Failure::temporary("4.4.2", text), longest);
            }
        }
        if after == After::Usable {
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

    fn settle(&mut self, at: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(at) {
            *slot = Some(outcome);
        }
    }
}

/// What a connection is good for after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next one.
    Usable,
    /// Nothing: it has ended.
    Gone,
}

/// How long a delivery of so many copies of a text may take, over all hosts and transactions.
fn budget(copies: usize, size_octets: u64) -> Duration {
    let copies = u32::try_from(copies).unwrap_or(u32::MAX);
    let text = Duration::from_secs(size_octets / SLOWEST_OCTETS);
    (BUDGET + text).saturating_add(BUDGET_PER_COPY.saturating_mul(copies))
}

/// The failure of a host that was not tried, where the one before does not say wait already.
fn untried(before: Option<&Failure>, why: &str) -> Option<Failure> {
    let waits = before.is_some_and(|f| f.lasting == Lasting::Temporary);
    (!waits).then(|| Failure::temporary("4.4.7", why))
}

fn remote(
    hop: &Hop,
    addr: Option<SocketAddr>,
    reply: Option<&Reply>,
    notifies: Notifies,
) -> Remote {
    Remote {
        host: hop.name.clone(),
        addr,
        reply: reply.map_or_else(String::new, Reply::shown),
        notifies,
    }
}

fn outcome_of(failure: Failure) -> Outcome {
    match failure.lasting {
        Lasting::Temporary => Outcome::deferred(failure.text).with_status(&failure.status),
        Lasting::Permanent => Outcome::failed(&failure.status, failure.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_text_is_given_once() {
        let octets = 25 * 1024 * 1024;
        let most = BUDGET + 100 * BUDGET_PER_COPY + Duration::from_secs(octets / SLOWEST_OCTETS);
        assert_eq!(budget(100, octets), most);
        assert!(budget(usize::MAX, u64::MAX) > most);
    }

    #[test]
    fn a_host_that_was_not_tried_makes_the_mail_wait() {
        let status = |before: Option<Failure>| untried(before.as_ref(), "why").map(|f| f.status);
        let permanent = Failure::permanent("5.1.2", "Host unknown");
        let temporary = Failure::temporary("4.4.1", "Connection refused by mx");
        assert_eq!(status(Some(permanent)).as_deref(), Some("4.4.7"));
        assert_eq!(status(None).as_deref(), Some("4.4.7"));
        assert_eq!(status(Some(temporary)), None);
    }
}
