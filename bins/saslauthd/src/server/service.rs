//! What happens to a request between its last octet and its answer.
//!
//! First the cache, then the back-off, then the mechanism; what came of it is
//! logged and remembered. No sockets here.

use std::sync::Arc;
use std::time::Instant;

use crate::answer::Answer;
use crate::backoff::{Accounts, Admission, Backoff, InFlight};
use crate::cache::{CacheKey, CredentialCache, Found};
use crate::frame::{Refusal, Request};
use crate::log::Log;
use crate::mech::{Mechanism, Watch};

/// Whether `-r` was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logins {
    /// Handed to the mechanism as they come.
    AsGiven,
    /// `login@realm` where there is a realm.
    WithRealm,
}

/// The cache, and the file whose change empties it.
#[derive(Debug)]
pub struct WatchedCache {
    /// The table.
    pub cache: CredentialCache,
    /// The file; `None` where the mechanism has none.
    pub watch: Option<Watch>,
}

/// A request that no cache could answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) key: Option<PendingKey>,
    pub(super) place: InFlight,
}

/// A cache key, and the state of the watched file when it was made.
#[derive(Clone, Debug)]
pub(super) struct PendingKey {
    key: CacheKey,
    epoch: u64,
}

/// What to do with a request.
#[derive(Debug)]
pub(super) enum Next {
    /// Reply.
    Answer(Answer),
    /// Ask the mechanism, at once or not before a moment.
    Check(Box<Pending>, Option<Instant>),
    /// Come again with it when an answer has come in: its login has as many checks in flight as
    /// may fail.
    Wait(Box<Request>),
}

/// Figures for the service manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Let in by the mechanism.
    pub accepted: u64,
    /// Let in from the cache.
    pub cached: u64,
    /// Refused.
    pub refused: u64,
}

/// Everything that decides.
#[derive(Debug)]
pub struct Service {
    mechanism: Mechanism,
    logins: Logins,
    cache: Option<WatchedCache>,
    epoch: u64,
    accounts: Accounts,
    backoff: Backoff,
    log: Arc<Log>,
    figures: Figures,
}

impl Service {
    /// A service with nothing remembered but the cache it is given; its failures are counted by
    /// these accounts.
    #[must_use]
    pub fn new(
        mechanism: Mechanism,
        accounts: Accounts,
        logins: Logins,
        cache: Option<WatchedCache>,
        log: Arc<Log>,
    ) -> Self {
        Service {
            mechanism,
            logins,
            cache,
            epoch: 0,
            accounts,
            backoff: Backoff::new(Instant::now()),
            log,
            figures: Figures::default(),
        }
    }

    /// The figures so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Entries in the cache.
    #[must_use]
    pub fn cached_entries(&self) -> usize {
        self.cache.as_ref().map_or(0, |c| c.cache.len())
    }

    /// A request that is bad by itself.
    pub(super) fn on_refusal(&mut self, refusal: Refusal) -> Answer {
        self.log.error(refusal.to_string());
        self.figures.refused = self.figures.refused.saturating_add(1);
        refusal.answer()
    }

    /// A whole request.
    pub(super) fn on_request(&mut self, mut request: Request, now: Instant) -> Next {
        if self.logins == Logins::WithRealm && !request.realm.is_empty() {
            request.login.push(b'@');
            request.login.extend_from_slice(&request.realm);
        }
        self.on_turn(request, now)
    }

    /// A request that waited for an answer to others of its login.
    pub(super) fn on_turn(&mut self, request: Request, now: Instant) -> Next {
        self.refresh();
        let key = self.cache.as_ref().and_then(|c| c.cache.key(&request));
        if let (Some(watched), Some(key)) = (&self.cache, &key) {
            let found = watched.cache.lookup(key, now);
            self.log_lookup(&request, found);
            if found == Found::Valid {
                self.figures.cached = self.figures.cached.saturating_add(1);
                self.log_success(&request, "auth success (cached)", b"");
                self.log_response(&Answer::ok());
                return Next::Answer(Answer::ok());
            }
        }
        let epoch = self.epoch;
        let key = key.map(|key| PendingKey { key, epoch });
        let (place, moment) = match self.backoff.admit(&self.accounts.of(&request), now) {
            Admission::Now(place) => (place, None),
            Admission::At(moment, place) => (place, Some(moment)),
            Admission::Later => return Next::Wait(Box::new(request)),
            Admission::Refused => {
                return Next::Answer(self.give_up(&request, "too many failures"));
            }
        };
        let pending = Pending {
            request,
            key,
            place,
        };
        Next::Check(Box::new(pending), moment)
    }

    /// The mechanism's word.
    pub(super) fn on_answer(
        &mut self,
        request: &Request,
        key: Option<PendingKey>,
        answer: &Answer,
        now: Instant,
    ) {
        let account = self.accounts.of(request);
        if answer.is_ok() {
            self.figures.accepted = self.figures.accepted.saturating_add(1);
            self.backoff.succeeded(&account);
            if answer.may_be_kept() {
                self.keep(key, now);
            }
            let mechanism = format!(" [mech={}]", self.mechanism.name());
            self.log_success(request, "auth success", mechanism.as_bytes());
        } else {
            self.figures.refused = self.figures.refused.saturating_add(1);
            self.backoff.failed(&account, now);
            self.log_failure(request, answer);
        }
        self.log_response(answer);
    }

    /// A request that nobody was asked about: busy, late or backed off.
    pub(super) fn give_up(&mut self, request: &Request, why: &str) -> Answer {
        let answer = Answer::refused(why);
        self.figures.refused = self.figures.refused.saturating_add(1);
        self.log_failure(request, &answer);
        answer
    }

    /// Empties the cache where the file behind the mechanism has changed.
    fn refresh(&mut self) {
        let Some(watched) = &mut self.cache else {
            return;
        };
        if watched.watch.as_mut().is_some_and(Watch::changed) {
            watched.cache.clear();
            self.epoch = self.epoch.wrapping_add(1);
        }
    }

    fn keep(&mut self, key: Option<PendingKey>, now: Instant) {
        // An answer from before a change must not outlive it.
        self.refresh();
        if let (Some(watched), Some(pending)) = (&mut self.cache, key)
            && pending.epoch == self.epoch
        {
            watched.cache.insert(pending.key, now);
            self.log.debug("lookup committed");
        }
    }

    fn log_lookup(&self, request: &Request, found: Found) {
        if !self.log.is_verbose() {
            return;
        }
        let words = match found {
            Found::Valid => "found with valid passwd",
            Found::OtherPassword => "found with invalid passwd, update pending",
            Found::Nothing => "not found, update pending",
        };
        let mut line = names("login", request);
        line.extend_from_slice(b": ");
        line.extend_from_slice(words.as_bytes());
        self.log.debug(line);
    }

    fn log_success(&self, request: &Request, what: &str, tail: &[u8]) {
        if self.log.is_verbose() {
            let line = [what.as_bytes(), b": ", &names("user", request), tail].concat();
            self.log.debug(line);
        }
    }

    fn log_failure(&self, request: &Request, answer: &Answer) {
        let mut line = b"auth failure: ".to_vec();
        line.extend_from_slice(&names("user", request));
        line.extend_from_slice(format!(" [mech={}] [reason=", self.mechanism.name()).as_bytes());
        line.extend_from_slice(answer.reason());
        line.push(b']');
        self.log.info(line);
    }

    /// Like the original, only for replies of two octets.
    fn log_response(&self, answer: &Answer) {
        if self.log.is_verbose() && answer.text().len() == 2 {
            let line = [b"response: ", answer.text()].concat();
            self.log.debug(line);
        }
    }
}

fn names(who: &str, request: &Request) -> Vec<u8> {
    let mut line = format!("[{who}=").into_bytes();
    line.extend_from_slice(&request.login);
    line.extend_from_slice(b"] [service=");
    line.extend_from_slice(&request.service);
    line.extend_from_slice(b"] [realm=");
    line.extend_from_slice(&request.realm);
    line.push(b']');
    line
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
