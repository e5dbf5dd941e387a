//! A socket for those who speak Dovecot's authentication protocol: Postfix with
//! `smtpd_sasl_type = dovecot`, Exim.
//!
//! Behind it are the accounts of sasldb2 and the library's mechanisms. A thread serves each
//! client, as `mapctl serve` does it; only as many mechanisms work at one time as there are
//! processors, since hashing takes time and memory by design. Failures slow the login that
//! they are about down.

mod conversation;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libmaps::live::{Live, Refresh};
use libmaps::map::Map;
use libmaps::sasl::account_file::AccountFile;
use libmaps::sasl::key::UserId;
use libmaps::sasl::mechanism::{Accounts, AccountsError, Mechanism, Service as SaslService};
use libmaps::sasl::password::{Password, SecretBytes};
use libmaps::sasl::secret::Secrets;
use libmaps::sasl::{CountedAccount, Realms, SaslDb, ScramHash};
use tools::serve::{Conversation, Limits, Service};

use crate::backoff::{Admission, Backoff, InFlight};
use crate::log::Log;

pub use conversation::Talk;

/// What a client may cost. Postfix keeps a connection for as long as a process lives.
pub const LIMITS: Limits = Limits {
    connections: 512,
    idle: Duration::from_secs(3600),
    request: Duration::from_secs(10),
};

/// The mechanisms that are offered where `--mechs` names none.
pub const DEFAULT_MECHANISMS: [Mechanism; 4] = [
    Mechanism::Scram(ScramHash::Sha256),
    Mechanism::Scram(ScramHash::Sha1),
    Mechanism::Plain,
    Mechanism::Login,
];

/// The mechanisms of a list of names; the first name that is none.
///
/// # Errors
/// A name that is no mechanism, or one that needs what Dovecot's clients don't tell.
pub fn mechanisms(list: &str) -> Result<Vec<Mechanism>, String> {
    let words = list.split([' ', ',']).filter(|word| !word.is_empty());
    let parsed = words.map(|word| {
        let known = Mechanism::parse(word.as_bytes()).filter(|mechanism| {
            !matches!(
                mechanism,
                Mechanism::External | Mechanism::Anonymous | Mechanism::ScramPlus(_)
            )
        });
        known.ok_or_else(|| word.to_owned())
    });
    parsed.collect()
}

/// The accounts behind the socket.
pub struct DovecotService {
    sasl: Arc<SaslService>,
    /// How failures are counted.
    realms: Realms,
    offered: Vec<Mechanism>,
    store: Store,
    turnstile: Turnstile,
    backoff: Mutex<Backoff>,
    clients: AtomicU64,
    log: Arc<Log>,
}

impl DovecotService {
    /// The accounts of the store in this file, which may be missing as yet; a login without a
    /// realm is of the realm `host`.
    #[must_use]
    pub fn new(
        file: AccountFile,
        host: &str,
        offered: Vec<Mechanism>,
        decoy_key: SecretBytes,
        log: Arc<Log>,
    ) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let sasl = SaslService::new("smtp", host, decoy_key);
        let realms = Realms::Default(sasl.realm.clone());
        DovecotService {
            sasl: Arc::new(sasl),
            realms,
            offered,
            store: Store {
                file,
                live: Mutex::new(None),
                log: Arc::clone(&log),
            },
            turnstile: Turnstile::new(processors),
            backoff: Mutex::new(Backoff::new(Instant::now())),
            clients: AtomicU64::new(1),
            log,
        }
    }

    /// Waits until this login may be checked; `None`: too many are waiting already.
    fn admit(&self, login: &CountedAccount) -> Option<InFlight> {
        loop {
            let now = Instant::now();
            let mut backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
            let admission = backoff.admit(login, now);
            drop(backoff);
            match admission {
                Admission::Now(place) => return Some(place),
                Admission::At(moment, place) => {
                    std::thread::sleep(moment.saturating_duration_since(now));
                    return Some(place);
                }
                // What was admitted is known already, and only has to be learned.
                Admission::Later => std::thread::sleep(Duration::from_millis(5)),
                Admission::Refused => return None,
            }
        }
    }

    /// Whether there is no use in checking a password of this name: too many wait already. So
    /// guesses cost no hashing, which others wait for.
    fn is_shut(&self, authid: &[u8]) -> bool {
        let login = self.account_of(authid);
        let mut backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        backoff.is_full(&login, Instant::now())
    }

    fn learn(&self, login: &CountedAccount, good: Verdict) {
        let mut backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        match good {
            Verdict::In => backoff.succeeded(login),
            Verdict::Out => backoff.failed(login, Instant::now()),
        }
    }

    /// The account of a name, as failures are counted by.
    fn account_of(&self, typed: &[u8]) -> CountedAccount {
        CountedAccount::of(typed, &self.realms)
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    In,
    Out,
}

impl Service for DovecotService {
    fn name(&self) -> &'static str {
        "dovecot"
    }

    fn begin(&self) -> Box<dyn Conversation + '_> {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        Box::new(Talk::new(self, number))
    }

    /// Nothing: a client that hears no greeting tries again.
    fn too_many(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// A store of accounts.
type Accounted = SaslDb<Box<dyn Map>>;

/// The accounts, the newest that can be read.
struct Store {
    file: AccountFile,
    live: Mutex<Option<Arc<Live<Accounted>>>>,
    log: Arc<Log>,
}

impl Store {
    fn db(&self) -> Result<Option<Arc<Accounted>>, AccountsError> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = live.as_ref() {
            if let Refresh::KeptOld(error) = open.refresh() {
                self.log.error(format!("sasldb: {error}"));
            }
            return Ok(Some(open.snapshot()));
        }
        let opened = Live::open(self.file.path().to_owned(), SaslDb::open);
        match self.file.unless_nobodys(opened) {
            Ok(Some(open)) => {
                let snapshot = open.snapshot();
                *live = Some(Arc::new(open));
                Ok(Some(snapshot))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(AccountsError(error.to_string())),
        }
    }
}

impl Accounts for Store {
    fn secrets(&self, user: &UserId) -> Result<Option<Secrets>, AccountsError> {
        match self.db()? {
            Some(db) => Accounts::secrets(&*db, user),
            None => Ok(None),
        }
    }

    fn drawn_iterations(&self, hash: ScramHash, draw: u64) -> Result<Option<u32>, AccountsError> {
        match self.db()? {
            Some(db) => db.drawn_iterations(hash, draw),
            None => Ok(None),
        }
    }

    fn check(
        &self,
        service: &SaslService,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        match self.db()? {
            Some(db) => Accounts::check(&*db, service, name, password),
            // Without a store a check takes as long as with one.
            None => {
                let nobody = libmaps::store::MemoryMap::new("nobody", []);
                Accounts::check(&SaslDb::new(nobody), service, name, password)
            }
        }
    }
}

/// Lets so many through at one time.
struct Turnstile {
    free: Mutex<usize>,
    left: Condvar,
}

impl Turnstile {
    fn new(places: usize) -> Self {
        Turnstile {
            free: Mutex::new(places),
            left: Condvar::new(),
        }
    }

    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.left.wait_while(free, |free| *free == 0);
        let mut free = waited.unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        let _place = Place(self);
        work()
    }
}

/// A place that is given back, whatever happens.
struct Place<'a>(&'a Turnstile);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}
