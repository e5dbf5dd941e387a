//! One message by one mailer to one host: from host to host until every copy has an
//! outcome.

mod connections;
mod hosts;
mod transactions;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libmaps::site::model::Mailer;

use super::client::{Failure, Lasting};
use super::exchange::{Hop, Source};
use super::reply::Reply;
use super::rewrite::{Rewritten, written};
use super::route::Route;
use crate::deliver::outcome::{KeepsTime, Notifies, Outcome, Remote};
use crate::maps::Snapshot;
use crate::queue::{Envelope, QueuedTarget};
use crate::world::World;

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

/// How far a copy has come.
#[derive(Clone, Debug)]
enum Standing {
    /// No host has said anything about it.
    Open,
    /// The host of this turn wants it later; the next may want it now.
    PutOff(Outcome, Turn),
    /// This became of it.
    Settled(Outcome),
}

/// The number of a host among those that were tried.
type Turn = usize;

/// A delivery under way.
pub(super) struct Delivery<'a> {
    world: &'a Arc<World>,
    envelope: &'a Envelope,
    targets: Vec<&'a QueuedTarget>,
    /// How far the copies have come.
    standings: Vec<Standing>,
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
        if let Some(outcome) = Outcome::too_large(mailer, envelope) {
            return Err(outcome);
        }
        let route = Route::of(mailer, &first.host.shown())
            .map_err(|why| Outcome::deferred(why).with_status("4.3.5"))?;
        let snapshot = world.snapshot();
        let sender = first.owner.as_ref().unwrap_or(&envelope.sender);
        let (rewritten, body_at) = written(world, &snapshot, mailer, envelope, sender).await?;
        let body_octets = envelope.size_octets.saturating_sub(body_at);
        let together = world.site.options.timeouts.aconnect.0;
        let size_octets = rewritten.header.len() as u64 + 2 + body_octets;
        Ok(Delivery {
            world,
            envelope,
            standings: targets.iter().map(|_| Standing::Open).collect(),
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
        let standings = self.standings.into_iter();
        standings
            .map(|standing| match standing {
                Standing::Settled(outcome) | Standing::PutOff(outcome, _) => outcome,
                Standing::Open => rest.clone(),
            })
            .collect()
    }

    fn is_done(&self) -> bool {
        let mut all = self.standings.iter();
        all.all(|standing| matches!(standing, Standing::Settled(_)))
    }

    /// Whether this copy can go to the host whose turn it is.
    fn is_open(&self, at: usize) -> bool {
        match self.standings.get(at) {
            Some(Standing::Open) => true,
            Some(Standing::PutOff(_, turn)) => *turn != self.hops,
            Some(Standing::Settled(_)) | None => false,
        }
    }

    /// How many can.
    fn open(&self) -> usize {
        let all = 0..self.standings.len();
        all.filter(|at| self.is_open(*at)).count()
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
                if let After::Usable = self.transactions(&hop, &mut link).await {
                    tokio::spawn(Box::new(link).close());
                }
            }
            Err(failure) => {
                let remote = remote(&hop, None, failure.reply.as_ref(), Notifies::No);
                self.note(failure, Some(remote));
            }
        }
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        if let Some(standing) = self.standings.get_mut(at) {
            *standing = Standing::Settled(outcome);
        }
    }

    /// What the host of this turn says is not the last word: another may take the copy.
    fn put_off(&mut self, at: usize, outcome: Outcome) {
        if let Some(standing) = self.standings.get_mut(at) {
            *standing = Standing::PutOff(outcome, self.hops);
        }
    }
}

/// What a connection is good for after a transaction.
enum After {
    /// The next one.
    Usable,
    /// Nothing: it has ended.
    Gone,
    /// Nothing: the server has no RSET, and further copies need a new one.
    Again,
    /// Nothing, and it was good for no transaction at all: the host said 421 in the first one, as
    /// hosts do that limit connections.
    Refused(Box<Failure>),
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
        keeps_time: KeepsTime::Yes,
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
