//! Logins: the library's SASL mechanisms with the site's accounts behind them.
//!
//! Each step runs on a thread of its own kind, since hashing takes long by design;
//! only as many hash at once as there are processors, so a flood of logins costs
//! time, not memory; and the places are shared out by network. Failures are
//! counted by address and by user beyond the connection, and slow the next attempt down.

mod away;
mod dovecot;
mod failures;
mod saslauthd;
mod turns;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libmaps::live::Live;
use libmaps::map::Map;
use libmaps::policy::facts::Tls;
use libmaps::sasl::account_file::AccountFile;
use libmaps::sasl::conf::{Auxprop, Conf, ConfError, ConfWarning, PwcheckMethod, folders};
use libmaps::sasl::db::SaslDb;
use libmaps::sasl::key::UserId;
use libmaps::sasl::mechanism::{
    Accounts, AccountsError, Channel, ChannelBinding, Checkers, FailureKind, Mechanism, Nonce,
    Offer, PasswordChecker, ServerExchange, ServerStep, Service,
};
use libmaps::sasl::password::{Password, SecretBytes};
use libmaps::sasl::secret::{Secrets, Toll};
use libmaps::sasl::{Realms, ScramHash};
use libmaps::site::Site;

use crate::places::Places;
use crate::session::Login;
use crate::world::World;

use dovecot::Dovecot;
use failures::Failures;
use saslauthd::Saslauthd;
use turns::{Standing, Turn};

/// Who hears that nobody can tell hears it after so long: else he asks a thousand times a second.
const NOBODY_CAN_TELL: Duration = Duration::from_secs(1);

/// Where a client may send its password itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// Anywhere.
    Anywhere,
    /// Under TLS (AuthOptions `p`; `c` in a `Srv_Features:` entry).
    UnderTls,
}

/// The site's way to log in.
pub struct Logins {
    service: Arc<Service>,
    offered: Vec<Mechanism>,
    /// Those of the default list that nobody asked for.
    unlisted: Vec<Mechanism>,
    warnings: Vec<ConfWarning>,
    available: bool,
    options: Vec<char>,
    store: Arc<Store>,
    failures: Failures,
}

/// A store of accounts.
type Accounted = SaslDb<Box<dyn Map>>;

/// The accounts, and whoever checks passwords.
struct Store {
    file: AccountFile,
    live: Mutex<Option<Arc<Live<Accounted>>>>,
    auxprop: Auxprop,
    checkers: Vec<Box<dyn PasswordChecker>>,
    hashing: Arc<Places>,
    toll: Arc<Toll>,
}

impl Logins {
    /// Reads Sendmail.conf and gets ready. What is shown of accounts that are not there depends on
    /// the secret.
    ///
    /// # Errors
    /// When Sendmail.conf can't be read.
    pub fn of(site: &Site, secret: SecretBytes) -> Result<Self, ConfError> {
        let root = site.root.clone().unwrap_or_else(|| "/".into());
        let conf_path = std::env::var_os("SASL_CONF_PATH");
        let conf = Conf::read("Sendmail", &folders(conf_path.as_deref(), &root))?;
        let realm = match site.options.auth.realm.as_str() {
            "" => site.host_name.clone(),
            realm => realm.to_owned(),
        };
        let mut service = Service::new("smtp", &realm, secret);
        service.iterations = conf.scram_iterations;
        let listed = |m: &Mechanism| match &conf.mech_list {
            Some(list) => list.iter().any(|w| w.eq_ignore_ascii_case(m.name())),
            None => true,
        };
        let words = site.options.auth.mechanisms.0.iter();
        let known = words.filter_map(|word| Mechanism::parse(word.as_bytes()));
        // sendmail's default list is no site's wish to have secrets as good as the password stolen.
        let by_default = site.options.given("AuthMechanisms").is_none() && conf.mech_list.is_none();
        let (unlisted, offered) = known
            .filter(listed)
            .partition(|m| by_default && matches!(m, Mechanism::CramMd5 | Mechanism::DigestMd5));
        let path = site.below(&conf.sasldb_path);
        // Accounts that hosts share are read from their replica; a connection file that is wrong
        // is told when it is opened as a map.
        let file = AccountFile::of(&path, site.root.as_deref());
        let file = file.unwrap_or(AccountFile::Replica(path));
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let hashing = Places::new(processors);
        // What saslauthd asks may ignore realms.
        let failures = match conf.pwcheck_method.contains(&PwcheckMethod::Saslauthd) {
            true => Failures::new(Realms::Ignored),
            false => Failures::new(Realms::Default(service.realm.clone())),
        };
        let mut checkers: Vec<Box<dyn PasswordChecker>> = Vec::new();
        for method in &conf.pwcheck_method {
            match method {
                PwcheckMethod::Auxprop if conf.auxprop == Auxprop::Sasldb => {
                    checkers.push(Box::new(ByStore(file.clone(), Arc::clone(&hashing))));
                }
                PwcheckMethod::Auxprop => {}
                PwcheckMethod::Saslauthd => {
                    checkers.push(Box::new(Saslauthd::new(site.below(&conf.saslauthd_path))));
                }
                PwcheckMethod::Dovecot => {
                    checkers.push(Box::new(Dovecot::new(site.below(&conf.dovecot_path))));
                }
            }
        }
        Ok(Logins {
            store: Arc::new(Store {
                file,
                live: Mutex::new(None),
                auxprop: conf.auxprop,
                checkers,
                hashing,
                toll: Arc::clone(&service.toll),
            }),
            service: Arc::new(service),
            offered,
            unlisted,
            warnings: conf.warnings,
            available: Mechanism::ALL.iter().any(listed),
            options: site.options.auth.options.0.chars().collect(),
            failures,
        })
    }

    /// What stands in Sendmail.conf and has no effect, by line.
    #[must_use]
    pub fn warnings(&self) -> &[ConfWarning] {
        &self.warnings
    }

    /// What those who have accounts here may miss: mechanisms that sendmail offers by default.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let names: Vec<&str> = self.unlisted.iter().map(|m| m.name()).collect();
        if names.is_empty() || !self.store.file.path().exists() {
            return None;
        }
        Some(format!(
            "{} not offered: neither confAUTH_MECHANISMS nor mech_list of Sendmail.conf lists them",
            names.join(" and ")
        ))
    }

    /// Whether Sendmail.conf leaves any mechanism at all.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.available
    }

    /// Where the site lets clients send passwords (AuthOptions `p`).
    #[must_use]
    pub fn passwords(&self) -> Passwords {
        match self.options.contains(&'p') {
            true => Passwords::UnderTls,
            false => Passwords::Anywhere,
        }
    }

    /// The mechanisms that a client on this channel is offered (AuthOptions in op.me), where
    /// passwords may go as far as `passwords` says.
    #[must_use]
    pub fn mechanisms(
        &self,
        tls: &Tls,
        bindings: &[ChannelBinding],
        passwords: Passwords,
    ) -> Vec<Box<str>> {
        let clear = tls.version.is_empty();
        self.offered_on(tls, bindings)
            .filter(|m| !(passwords == Passwords::UnderTls && clear && m.sends_password()))
            .map(|m| m.name().into())
            .collect()
    }

    fn offered_on<'a>(
        &'a self,
        tls: &'a Tls,
        bindings: &'a [ChannelBinding],
    ) -> impl Iterator<Item = &'a Mechanism> {
        let wants = |letter: char| self.options.contains(&letter);
        self.offered.iter().filter(move |m| {
            let scram = matches!(m, Mechanism::Scram(_) | Mechanism::ScramPlus(_));
            !(wants('y') && **m == Mechanism::Anonymous
                || wants('a') && !scram
                || wants('m') && !(scram || **m == Mechanism::DigestMd5)
                || wants('c') && !m.sends_password()
                || (wants('d') || wants('f'))
                || **m == Mechanism::External && tls.verify != "OK"
                || matches!(m, Mechanism::ScramPlus(_)) && bindings.is_empty())
        })
    }
}

/// What the session is told.
pub enum Told {
    /// Go on with this challenge.
    Challenge(Vec<u8>),
    /// Logged in, with so many bits of protection by the mechanism.
    In(Login, u32),
    /// Not logged in; the text is for the log.
    Failed {
        /// By which mechanism it was tried.
        mechanism: &'static str,
        /// Why not.
        why: String,
    },
    /// Nobody can tell; the text is for the log.
    Unavailable {
        /// By which mechanism it was tried.
        mechanism: &'static str,
        /// Why not.
        why: String,
    },
}

/// A login on its way.
pub struct Exchange {
    inner: ServerExchange,
    addr: IpAddr,
}

impl Exchange {
    /// Starts a login.
    pub async fn start(
        world: &Arc<World>,
        tls: &Tls,
        bindings: &[ChannelBinding],
        mechanism: &str,
        initial: Option<Vec<u8>>,
        addr: IpAddr,
    ) -> (Option<Self>, Told) {
        let logins = &world.logins;
        let Some(mechanism) = Mechanism::parse(mechanism.as_bytes()) else {
            return (None, failed("?", "unknown mechanism".into()));
        };
        let Some(nonce) = Nonce::random() else {
            let why = "the system gives no random numbers".into();
            return (
                None,
                Told::Unavailable {
                    mechanism: mechanism.name(),
                    why,
                },
            );
        };
        if let Some(network) = logins.failures.network(addr) {
            tokio::time::sleep(logins.failures.slow_down(network)).await;
        }
        let channel = Channel {
            external: (tls.verify == "OK").then(|| tls.cert_subject.clone().into_bytes()),
            bindings: bindings.to_vec(),
            plus: match logins
                .offered_on(tls, bindings)
                .any(|m| matches!(m, Mechanism::ScramPlus(_)))
            {
                true => Offer::Offered,
                false => Offer::NotOffered,
            },
        };
        let mut service = Service::clone(&logins.service);
        service.peer = Some(addr.to_canonical());
        let service = Arc::new(service);
        let now = crate::clock::now_unix();
        let work = move |accounts: &dyn Accounts| {
            ServerExchange::start(
                mechanism,
                service,
                channel,
                &nonce,
                now,
                initial.as_deref(),
                accounts,
            )
        };
        match logins.run(addr, work).await {
            Ok((inner, step)) => Exchange { inner, addr }.told(logins, step).await,
            Err(why) => (None, unavailable(mechanism.name(), why).await),
        }
    }

    /// Takes the client's next word.
    pub async fn respond(self, world: &Arc<World>, octets: Vec<u8>) -> (Option<Self>, Told) {
        let logins = &world.logins;
        let mechanism = self.inner.mechanism().name();
        let (mut inner, addr) = (self.inner, self.addr);
        let work = move |accounts: &dyn Accounts| {
            let octets = SecretBytes::new(octets);
            let step = inner.respond(octets.expose(), accounts);
            (inner, step)
        };
        match logins.run(addr, work).await {
            Ok((inner, step)) => Exchange { inner, addr }.told(logins, step).await,
            Err(why) => (None, unavailable(mechanism, why).await),
        }
    }

    async fn told(self, logins: &Logins, step: ServerStep) -> (Option<Self>, Told) {
        let mechanism = self.inner.mechanism().name();
        match step {
            ServerStep::Challenge(octets) => (Some(self), Told::Challenge(octets)),
            ServerStep::Success(login) => {
                // A right guess must not be told by its speed.
                let user = logins.failures.user(&login.authid);
                tokio::time::sleep(logins.failures.slow_down(user)).await;
                if let Some(network) = logins.failures.network(self.addr) {
                    logins.failures.let_in(network);
                }
                let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned().into();
                let login = Login {
                    authid: text(&login.authid),
                    authzid: text(&login.authzid),
                    mechanism: login.mechanism.name().into(),
                };
                (None, Told::In(login, 0))
            }
            ServerStep::Failure(failure) if failure.kind == FailureKind::Unavailable => {
                let why = failure.reason.into_owned();
                (None, unavailable(mechanism, why).await)
            }
            ServerStep::Failure(failure) => {
                let user = failure.authid.unwrap_or_default();
                let why = format!("{}, user={}", failure.reason, crate::session::shown(&user));
                // Whether the password was right must not be told where acting as another is refused.
                if matches!(
                    failure.kind,
                    FailureKind::Rejected | FailureKind::NotAuthorized
                ) {
                    if let Some(network) = logins.failures.network(self.addr) {
                        logins.failures.failed(network);
                    }
                    let user = logins.failures.user(&user);
                    tokio::time::sleep(logins.failures.slow_down(user)).await;
                    logins.failures.failed(user);
                }
                (None, failed(mechanism, why))
            }
        }
    }
}

/// After a while, without a place.
async fn unavailable(mechanism: &'static str, why: String) -> Told {
    tokio::time::sleep(NOBODY_CAN_TELL).await;
    Told::Unavailable { mechanism, why }
}

fn failed(mechanism: &'static str, why: String) -> Told {
    Told::Failed { mechanism, why }
}

impl Logins {
    /// Runs one step where it may take its time.
    async fn run<T: Send + 'static>(
        &self,
        addr: IpAddr,
        work: impl FnOnce(&dyn Accounts) -> T + Send + 'static,
    ) -> Result<T, String> {
        let network = self.failures.network(addr);
        let standing = network.map_or(Standing::Good, |who| self.failures.standing(who));
        let turn = Turn::wait(addr, standing).await?;
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            store.refresh();
            let checkers = Checkers {
                store: &*store,
                checkers: &store.checkers,
            };
            work(&checkers)
        });
        done.await
            .map_err(|_| "the login was interrupted".to_owned())
    }
}

impl Store {
    fn refresh(&self) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match live.as_ref() {
            Some(open) => {
                let _ = open.refresh();
            }
            None => {
                let toll = Arc::clone(&self.toll);
                let open = move |path: &Path| {
                    let accounts = SaslDb::open(path)?;
                    accounts.survey(&toll);
                    Ok(accounts)
                };
                *live = Live::open(self.file.path().to_owned(), open)
                    .ok()
                    .map(Arc::new)
            }
        }
    }

    fn db(&self) -> Result<Option<Arc<Accounted>>, AccountsError> {
        if self.auxprop == Auxprop::Nothing {
            return Ok(None);
        }
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = live.as_ref() {
            return Ok(Some(open.snapshot()));
        }
        let opened = SaslDb::open(self.file.path());
        match self.file.unless_nobodys(opened) {
            Ok(db) => Ok(db.map(Arc::new)),
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
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        let _place = self.hashing.take();
        match self.db()? {
            Some(db) => Accounts::check(&*db, service, name, password),
            None => Ok(false),
        }
    }
}

/// `pwcheck_method: auxprop`: the store itself, opened for each check so that the
/// newest is asked.
struct ByStore(AccountFile, Arc<Places>);

impl PasswordChecker for ByStore {
    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        let _place = self.1.take();
        let opened = SaslDb::open(self.0.path());
        match self.0.unless_nobodys(opened) {
            Ok(Some(db)) => Accounts::check(&db, service, name, password),
            Ok(None) => Ok(dummy_check(service, name, password)),
            Err(error) => Err(AccountsError(error.to_string())),
        }
    }
}

/// Without a store a check takes as long as with one.
fn dummy_check(service: &Service, name: &[u8], password: &Password) -> bool {
    let nobody = libmaps::store::memory::MemoryMap::new("nobody", []);
    Accounts::check(&SaslDb::new(nobody), service, name, password).unwrap_or(false)
}

#[cfg(test)]
mod tests;
