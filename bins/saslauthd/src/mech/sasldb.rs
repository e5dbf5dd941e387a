//! The mechanism `sasldb`: the accounts of sasldb2, in any format that the
//! library reads.
//!
//! The store is opened anew when its file is another one or has changed, so a
//! password that was changed counts at once. Where the new file is missing or
//! broken the last good one goes on serving, and the log says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmaps::map::Map;
use libmaps::sasl::key::UserIdError;
use libmaps::sasl::secret::Toll;
use libmaps::sasl::{Password, SaslDb, SaslDbError, UserId};

use super::{PasswordChecker, Watch};
use crate::answer::Answer;
use crate::frame::Request;
use crate::log::Log;

/// Asks sasldb2.
pub struct SasldbChecker {
    path: PathBuf,
    host: Vec<u8>,
    watch: Watch,
    accounts: Option<SaslDb<Box<dyn Map>>>,
    /// What a "no" costs.
    toll: Arc<Toll>,
    log: Arc<Log>,
}

impl std::fmt::Debug for SasldbChecker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SasldbChecker({})", self.path.display())
    }
}

impl SasldbChecker {
    /// A checker for the store at this path, which may be missing as yet. A
    /// request without a realm is about the realm `host`, the machine's name.
    #[must_use]
    pub fn new(path: &Path, host: &[u8], log: Arc<Log>) -> Self {
        SasldbChecker {
            path: path.to_owned(),
            host: host.to_owned(),
            watch: Watch::new(path.to_owned()),
            accounts: None,
            toll: Arc::default(),
            log,
        }
    }

    /// Opens a store that is another one, or changed. Until that has been done it is tried at
    /// each request.
    fn refresh(&mut self) -> Freshness {
        let unseen = self.watch.unseen();
        if unseen.is_none() && self.accounts.is_some() {
            return Freshness::Newest;
        }
        match SaslDb::open(&self.path) {
            Ok(accounts) => {
                accounts.survey(&self.toll);
                self.accounts = Some(accounts);
                if let Some(sight) = unseen {
                    self.watch.see(sight);
                }
                Freshness::Newest
            }
            Err(error) => {
                self.log.error_at_times(&format!("sasldb: {error}"));
                Freshness::LastGood
            }
        }
    }

    fn verify(&self, request: &Request) -> Result<bool, Broken> {
        let realms = self.realms(&request.realm);
        let password = Password::new(request.password.to_vec()).map_err(|_| Broken::Password)?;
        let toll = Arc::clone(&self.toll);
        let Some(accounts) = &self.accounts else {
            return Ok(false);
        };
        let mut user = None;
        for realm in realms {
            let candidate = UserId::new(&request.login, &realm)?;
            let found = accounts.secrets(&candidate)?.is_some();
            user = Some(candidate);
            if found {
                break;
            }
        }
        // One verification whether there is such a user or not: the time tells nothing.
        match user {
            Some(user) => Ok(accounts.verify(&user, &password, &toll)?),
            None => Ok(false),
        }
    }

    /// The realms to look in: the one given; else the host's name as it is, which
    /// is where the original looks, and in lower case, which is where
    /// saslpasswd2 puts users without a realm.
    fn realms(&self, given: &[u8]) -> Vec<Vec<u8>> {
        if !given.is_empty() {
            return vec![given.to_vec()];
        }
        let mut realms = vec![self.host.clone(), self.host.to_ascii_lowercase()];
        realms.dedup();
        realms
    }
}

/// Which accounts there are to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// Those of the file as it is now.
    Newest,
    /// Those of a file that could be read; the one that stands there can't.
    LastGood,
}

/// Why nobody can tell.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] SaslDbError),
    #[error(transparent)]
    User(#[from] UserIdError),
    #[error("not a password")]
    Password,
}

impl PasswordChecker for SasldbChecker {
    fn check(&mut self, request: &Request) -> Answer {
        let freshness = self.refresh();
        match self.verify(request) {
            Ok(true) if freshness == Freshness::LastGood => Answer::ok().once(),
            Ok(true) => Answer::ok(),
            Ok(false) => Answer::no(),
            Err(error) => {
                self.log.error(format!("sasldb: {error}"));
                Answer::no()
            }
        }
    }
}

#[cfg(test)]
#[path = "sasldb_tests.rs"]
mod tests;
