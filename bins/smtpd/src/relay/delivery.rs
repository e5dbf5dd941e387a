//! One message by one mailer to one host: from host to host until every copy has an
//! outcome.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libmaps::site::hosts::Service;
use libmaps::site::model::{Family, Mailer};

use super::client::letter::{Letter, Receiver, Utf8Needed};
use super::client::{Failure, Lasting, Stage, Verdict};
use super::exchange::{self, Hop, Source, is_foreign};
use super::link::{Event, Link};
use super::mime::recoded_header;
use super::open::Opener;
use super::reply::{Class, Reply};
use super::rewrite::{Rewritten, rewrite};
use super::route::{Next, NextHost, Route, hosts};
use super::state::{Key, Single};
use super::text::{self, Coding};
use crate::deliver::outcome::{Notifies, Outcome, Remote};
use crate::maps::Snapshot;
use crate::queue::{Envelope, QueuedTarget};
use crate::session::BodyKind;
use crate::world::World;

/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;
/// Addresses that one delivery tries.
const MAX_ATTEMPTS: usize = 30;
/// Recipients of one transaction.
const MAX_RECIPIENTS: usize = 1000;
/// Transactions on one connection for the copies of one message.
const MAX_TRANSACTIONS: usize = 2000;

/// A delivery under way.
pub(super) struct Delivery<'a> {
    world: &'a Arc<World>,
    envelope: &'a Envelope,
    targets: Vec<&'a QueuedTarget>,
    outcomes: Vec<Option<Outcome>>,
    mailer: &'a Mailer,
    snapshot: Snapshot,
    route: Route,
    rewritten: Rewritten,
    body_at: u64,
    size_octets: u64,
    /// The last thing that went wrong with a host as a whole.
    failure: Option<(Failure, Option<Remote>)>,
    attempts: usize,
    /// When no further connection is tried (Timeout.aconnect).
    connect_until: Option<Instant>,
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
        let text = world.queue.text(&envelope.id);
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
        Ok(Delivery {
            world,
            envelope,
            outcomes: targets.iter().map(|_| None).collect(),
            targets,
            mailer,
            snapshot,
            route,
            size_octets: rewritten.header.len() as u64 + 2 + body_octets,
            rewritten,
            body_at,
            failure: None,
            attempts: 0,
            connect_until: (!together.is_zero()).then(|| Instant::now() + together),
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
        let hops = exchange::hops(&self.world.site, &self.world.resolver, next).await;
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
            Source::Dns | Source::Site => self.world.resolver.addresses_from(&hop.name).await,
        };
        let Ok((mut all, service)) = found else {
            let text = format!("Name server: {}: host name lookup failure", hop.name);
            return Err(Failure::temporary("4.4.3", text));
        };
        if all.is_empty() {
            let text = format!("Host unknown (Name server: {}: host not found)", hop.name);
            return Err(Failure::permanent("5.1.2", text));
        }
        if hop.source == Source::Dns && service == Service::Dns {
            all.retain(|addr| is_foreign(*addr));
            if all.is_empty() {
                let text = format!("{} leads to an address of this host itself", hop.name);
                return Err(Failure::permanent("5.4.6", text));
            }
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
        }
    }

    async fn by_address(&mut self, hop: &Hop, addr: SocketAddr) {
        let world = Arc::clone(self.world);
        let state = &world.relay;
        if let Some(failure) = state.resting(addr) {
            let remote = remote(hop, Some(addr), failure.reply.as_ref(), Notifies::No);
            return self.note(failure, Some(remote));
        }
        let delivery = &world.site.options.delivery;
        let single = match delivery.single_thread {
            true => Single::One,
            false => Single::Many,
        };
        let Some(_slot) = state.slot(addr, single).await else {
            return;
        };
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
        if self.transactions(hop, &mut link).await == After::Usable {
            let most = usize::try_from(delivery.connection_cache_size).unwrap_or(0);
            let longest = delivery.connection_cache_timeout.0;
            state.keep(key, link, most, longest);
        }
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
                return None;
            }
            patience = match patience {
                Duration::ZERO => left,
                some => some.min(left),
            };
        }
        self.attempts += 1;
        if self.attempts > MAX_ATTEMPTS {
            return None;
        }
        match self.opener(patience).open(hop, addr).await {
            Ok(link) => {
                self.world.relay.answered(addr);
                Some(Box::new(link))
            }
            Err(failure) => {
                let longest = timeouts.host_status.0;
                if failure.lasting == Lasting::Temporary && failure.status.starts_with("4.4.") {
                    self.world.relay.failed(addr, &failure, longest);
                }
                let remote = remote(hop, Some(addr), failure.reply.as_ref(), Notifies::No);
                self.note(failure, Some(remote));
                None
            }
        }
    }

    /// Sends what is open, in as many transactions as it takes.
    async fn transactions(&mut self, hop: &Hop, link: &mut Link) -> After {
        let notifies = match link.client.offers().dsn {
            true => Notifies::Yes,
            false => Notifies::No,
        };
        for _ in 0..MAX_TRANSACTIONS {
            let open = self.open_copies(hop, link, notifies).await;
            if open.is_empty() {
                return After::Usable;
            }
            let (letter, header, coding) = match self.letter(&open, link).await {
                Ok(letter) => letter,
                Err(outcome) => {
                    for at in &open {
                        let remote = remote(hop, link.addr, None, notifies);
                        self.settle(*at, outcome.clone().by(remote));
                    }
                    continue;
                }
            };
            let after = self.transact(link, letter, &header, coding).await;
            let (report, after) = match after {
                Ok((report, after)) => (report, after),
                Err(outcome) => {
                    for at in &open {
                        self.settle(*at, outcome.clone());
                    }
                    return After::Gone;
                }
            };
            self.take_report(hop, link, &open, report, notifies);
            if after == After::Gone {
                return After::Gone;
            }
        }
        After::Usable
    }

    /// The copies of the next transaction.
    async fn open_copies(&mut self, hop: &Hop, link: &Link, notifies: Notifies) -> Vec<usize> {
        let most = match link.addr {
            _ if !self.mailer.has('m') => 1,
            Some(addr) => self
                .world
                .relay
                .most_recipients(addr)
                .unwrap_or(MAX_RECIPIENTS),
            None => MAX_RECIPIENTS,
        };
        let mut open = Vec::new();
        for at in 0..self.targets.len() {
            let is_open = self.outcomes.get(at).is_some_and(Option::is_none);
            let Some(target) = self.targets.get(at).filter(|_| is_open) else {
                continue;
            };
            let opener = self.opener(Duration::ZERO);
            match opener.judge_recipient(link, hop, &target.user.0).await {
                Ok(()) => open.push(at),
                Err(failure) => {
                    let remote = remote(hop, link.addr, None, notifies);
                    self.settle(at, outcome_of(failure).by(remote));
                }
            }
            if open.len() >= most {
                break;
            }
        }
        open
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(at) {
            *slot = Some(outcome);
        }
    }

    /// The envelope for this server, and how the text goes to it.
    async fn letter(
        &self,
        open: &[usize],
        link: &Link,
    ) -> Result<(Letter, Vec<u8>, Coding), Outcome> {
        let (envelope, offers) = (self.envelope, link.client.offers());
        let receivers: Vec<Receiver> = open
            .iter()
            .filter_map(|at| self.targets.get(*at))
            .map(|target| {
                let recipient = envelope.recipients.get(target.recipient);
                let recipient = recipient.filter(|_| target.owner.is_none());
                Receiver {
                    path: target.user.0.clone(),
                    notify: envelope.notify_onward(target),
                    orcpt: recipient.and_then(|r| r.orcpt.clone()),
                }
            })
            .collect();
        let sender = self.rewritten.sender.clone();
        let ascii = sender.is_ascii()
            && receivers.iter().all(|r| r.path.is_ascii())
            && self.rewritten.header.is_ascii();
        let mut header = self.rewritten.header.clone();
        let (mut coding, mut body) = (Coding::AsIs, envelope.body);
        let declared = envelope.body == Some(BodyKind::EightBitMime);
        let must_recode = declared && !offers.eight_bit && !self.mailer.has('8');
        if must_recode && self.has_eighth_bit().await? {
            header = self.recoded()?;
            coding = Coding::QuotedPrintable;
            body = None;
        }
        let letter = Letter {
            sender,
            size_octets: match coding {
                Coding::AsIs => self.size_octets,
                // Nobody knows before it is done.
                Coding::QuotedPrintable => 0,
            },
            body,
            utf8: (envelope.smtputf8 && !ascii).then_some(Utf8Needed),
            ret: envelope.ret,
            envid: envelope.envid.clone(),
            auth: self.author(link),
            recipients: receivers,
        };
        Ok((letter, header, coding))
    }

    /// AUTH=; AuthOptions `A` gives it only after a login.
    fn author(&self, link: &Link) -> Option<Vec<u8>> {
        let author = self.envelope.auth.as_ref()?;
        let only_logged_in = self.world.site.options.auth.options.has('A');
        (link.client.logged_in().is_some() || !only_logged_in).then(|| author.0.clone())
    }

    async fn has_eighth_bit(&self) -> Result<bool, Outcome> {
        let unreadable = |why: String| Outcome::deferred(why).with_status("4.3.0");
        let text = self.world.queue.text(&self.envelope.id);
        let text = text.map_err(|e| unreadable(e.to_string()))?;
        let body_at = self.body_at;
        tokio::task::spawn_blocking(move || text::has_eighth_bit(text, body_at))
            .await
            .map_err(|e| unreadable(e.to_string()))?
            .map_err(|e| unreadable(format!("queue: {e}")))
    }

    fn recoded(&self) -> Result<Vec<u8>, Outcome> {
        let site = &self.world.site;
        let charset = &site.options.delivery.default_charset;
        let note = format!("{} id {}", site.host_name, self.envelope.id);
        recoded_header(&self.rewritten.header, charset, &note).map_err(|why| {
            let text =
                format!("8-bit text, which the next host does not take, can't be recoded: {why}");
            Outcome::failed("5.6.3", text)
        })
    }

    /// One transaction: the verdicts, and whether the connection is still of use.
    async fn transact(
        &self,
        link: &mut Link,
        letter: Letter,
        header: &[u8],
        coding: Coding,
    ) -> Result<(Vec<Verdict>, After), Outcome> {
        let timeouts = &self.world.site.options.timeouts;
        link.used();
        link.client.begin(letter);
        loop {
            match link.run(timeouts).await {
                Event::SendText => {
                    let text = match self.world.queue.text(&self.envelope.id) {
                        Ok(text) => text,
                        Err(error) => {
                            link.client.lost("no text");
                            let _ = link.run(timeouts).await;
                            return Err(Outcome::deferred(error.to_string()).with_status("4.3.0"));
                        }
                    };
                    let blocks = text::blocks(header, text, self.body_at, coding);
                    link.send_text(blocks, timeouts).await;
                }
                Event::Ready => {
                    let report = link.client.take_report().unwrap_or_default();
                    return Ok((report, After::Usable));
                }
                Event::Over(_) => {
                    let report = link.client.take_report().unwrap_or_default();
                    return Ok((report, After::Gone));
                }
                Event::Secure | Event::Judge => link.client.lost("not expected"),
            }
        }
    }

    fn take_report(
        &mut self,
        hop: &Hop,
        link: &Link,
        open: &[usize],
        report: Vec<Verdict>,
        notifies: Notifies,
    ) {
        let taken = |v: &Verdict| {
            !matches!(
                v,
                Verdict::Answered(Stage::Rcpt | Stage::Mail, _) | Verdict::Unfit { .. }
            )
        };
        let accepted = report.iter().filter(|v| taken(v)).count();
        for (at, verdict) in open.iter().zip(report) {
            let with = |reply: Option<&Reply>| remote(hop, link.addr, reply, notifies);
            let outcome = match verdict {
                // RFC 5321 section 4.5.3.1.10: the others go in a transaction of their own.
                Verdict::Answered(Stage::Rcpt, reply) if reply.code == 452 && accepted > 0 => {
                    if let Some(addr) = link.addr {
                        self.world.relay.too_many(addr, accepted);
                    }
                    continue;
                }
                Verdict::Answered(stage, reply) => answered(stage, &reply).by(with(Some(&reply))),
                Verdict::Unfit { status, text } => Outcome::failed(status, text).by(with(None)),
                Verdict::Unanswered(failure) => {
                    let reply = failure.reply.clone();
                    self.note(failure, Some(with(reply.as_ref())));
                    continue;
                }
                Verdict::Uncertain(failure) => {
                    let reply = failure.reply.clone();
                    let outcome = outcome_of(Failure {
                        lasting: Lasting::Temporary,
                        ..failure
                    });
                    outcome.by(with(reply.as_ref()))
                }
            };
            self.settle(*at, outcome);
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

/// What a reply means for a recipient, in sendmail's words.
fn answered(stage: Stage, reply: &Reply) -> Outcome {
    let status = reply.status();
    match reply.class() {
        Class::Yes => {
            let shown = reply.shown();
            let text = shown.get(4..).unwrap_or_default().to_owned();
            Outcome {
                text,
                ..Outcome::sent().with_status(&status)
            }
        }
        Class::NotNow | Class::GoOn => Outcome::deferred(reply.shown()).with_status(&status),
        Class::No => {
            let unknown = stage == Stage::Rcpt && matches!(reply.code, 550 | 551 | 553);
            let text = match unknown {
                true => "User unknown",
                false => "Service unavailable",
            };
            Outcome::failed(&status, text)
        }
    }
}
