//! The server's side: from the client's octets to a login or a failure.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::accounts::{Accounts, AccountsError};
use super::{
    ChannelBinding, MAX_MESSAGE_OCTETS, Mechanism, Nonce, cram_md5, digest_md5, external, plain,
    scram,
};
use crate::sasl::counted::settled;
use crate::sasl::key::UserId;
use crate::sasl::password::SecretBytes;
use crate::sasl::secret::{MIN_ITERATIONS, Toll};

/// What a site tells its mechanisms; one for all connections.
#[derive(Clone, Debug)]
pub struct Service {
    /// The service's name in DIGEST-MD5's digest-uri and for saslauthd: `smtp`.
    pub name: String,
    /// The server's name: confAUTH_REALM where it is set, else `$j`.
    pub host: String,
    /// The realm of a user id without `@`: `user_realm`, else [`Service::host`] in lower case.
    pub realm: Vec<u8>,
    /// Who may act as somebody else.
    pub authz: AuthzPolicy,
    /// SCRAM iterations where no account of the store has keys yet (`scram_iteration_counter`).
    pub iterations: u32,
    /// 32 random octets, the same for all connections: the salts of accounts
    /// that have none are made with it.
    pub decoy_key: SecretBytes,
    /// What a "no" costs.
    pub toll: Arc<Toll>,
    /// The client of one exchange, for those who check its password and count by addresses; none
    /// of the service as such.
    pub peer: Option<IpAddr>,
}

impl Service {
    /// A service of this name on this host, with the defaults for everything else.
    #[must_use]
    pub fn new(name: &str, host: &str, decoy_key: SecretBytes) -> Self {
        Service {
            name: name.to_owned(),
            host: host.to_owned(),
            realm: host.to_ascii_lowercase().into_bytes(),
            authz: AuthzPolicy::SameUser,
            iterations: MIN_ITERATIONS,
            decoy_key,
            toll: Arc::default(),
            peer: None,
        }
    }

    /// The account that a typed name stands for; blanks around it do not count, as in libsasl.
    pub(super) fn account(&self, name: &[u8]) -> Result<UserId, Failure> {
        let name = name.trim_ascii();
        if name.is_empty() {
            return Err(Failure::malformed("the user name is empty"));
        }
        UserId::resolve(name, &self.realm)
            .map_err(|_| Failure::malformed("the user name holds a NUL or is too long"))
    }
}

/// Who may act as somebody else (an authzid that differs from the authid).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthzPolicy {
    /// Nobody.
    SameUser,
    /// These accounts may act as anybody.
    Trusted(Vec<UserId>),
}

/// What is known of one connection.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// The name that TLS has verified, for EXTERNAL.
    pub external: Option<Vec<u8>>,
    /// The bindings of its TLS channel, in any order: the client chooses one. Empty in clear
    /// text. `-PLUS` mechanisms should be offered where there is one, and only there.
    pub bindings: Vec<ChannelBinding>,
    /// Whether the client was offered a `-PLUS` mechanism; if it then says that the server has
    /// none, somebody has changed the list on its way, and the login fails.
    pub plus: Offer,
}

/// Whether something stood in the list that the client saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// It did not.
    #[default]
    NotOffered,
    /// It did: a client that says the server lacks it was lied to.
    Offered,
}

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// By which mechanism.
    pub mechanism: Mechanism,
    /// Who proved it: the account's name, in plain ASCII as the client wrote it, without blanks
    /// around; one spelling for all that SASLprep makes equal. `anonymous` for ANONYMOUS.
    pub authid: Vec<u8>,
    /// As whom; the authid where the client asked for nobody else.
    pub authzid: Vec<u8>,
    /// ANONYMOUS: what the client said about itself.
    pub trace: Option<String>,
}

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// For the log; holds nothing that the client sent but mechanism words.
    pub reason: Cow<'static, str>,
    /// The name that was tried, where it was understood.
    pub authid: Option<Vec<u8>>,
}

/// The kinds of failure. The client is told the same for all but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No such account, or another password.
    Rejected,
    /// The client's octets are no response of this mechanism.
    Malformed,
    /// Logged in, but not allowed to act as the authzid.
    NotAuthorized,
    /// Nobody can tell now: 454 4.7.0 (RFC 4954 section 6).
    Unavailable,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Failure {
            kind,
            reason: reason.into(),
            authid: None,
        }
    }

    pub(super) fn malformed(reason: &'static str) -> Self {
        Failure::new(FailureKind::Malformed, reason)
    }

    pub(super) fn rejected(reason: &'static str) -> Self {
        Failure::new(FailureKind::Rejected, reason)
    }

    fn about(mut self, authid: &[u8]) -> Self {
        self.authid = Some(authid.to_vec());
        self
    }
}

impl From<AccountsError> for Failure {
    fn from(error: AccountsError) -> Self {
        Failure::new(FailureKind::Unavailable, error.0)
    }
}

/// What the server does next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ServerStep {
    /// Send this (in base64) and wait for a response.
    Challenge(Vec<u8>),
    /// Logged in.
    Success(Login),
    /// Not logged in.
    Failure(Failure),
}

/// What every mechanism may ask while it works on one response.
pub(super) struct Context<'a> {
    pub(super) mechanism: Mechanism,
    pub(super) service: &'a Service,
    pub(super) channel: &'a Channel,
    pub(super) accounts: &'a dyn Accounts,
}

impl Context<'_> {
    /// The name of the account that a typed one stands for: who is asked for its password hears
    /// this name, and this is who has logged in. Plain ASCII is what was typed.
    pub(super) fn name(&self, typed: &[u8]) -> Vec<u8> {
        // A store that can't be read says so when it is asked for the secrets.
        settled(typed, |name| {
            let user = self.service.account(name);
            user.is_ok_and(|user| matches!(self.accounts.secrets(&user), Ok(Some(_))))
        })
    }

    /// Ends an exchange whose proof was good; `authid` is a [`Context::name`].
    pub(super) fn authorize(&self, authid: &[u8], authzid: &[u8]) -> Result<Login, Failure> {
        let authid = authid.trim_ascii();
        let mut login = Login {
            mechanism: self.mechanism,
            authid: authid.to_vec(),
            authzid: authid.to_vec(),
            trace: None,
        };
        if authzid.is_empty() || authzid == authid {
            return Ok(login);
        }
        let authzid = &self.name(authzid);
        if authzid == authid {
            return Ok(login);
        }
        let me = UserId::resolve(authid, &self.service.realm);
        let other = UserId::resolve(authzid, &self.service.realm);
        let same = matches!((&me, &other), (Ok(a), Ok(b)) if a == b);
        let trusted = match (&self.service.authz, &me) {
            (AuthzPolicy::Trusted(who), Ok(me)) => who.contains(me),
            _ => false,
        };
        if !same && !trusted {
            let reason = "not allowed to act as another user";
            return Err(Failure::new(FailureKind::NotAuthorized, reason).about(authid));
        }
        login.authzid = authzid.to_vec();
        Ok(login)
    }
}

/// What a mechanism makes of one response.
pub(super) enum Progress {
    Ask(Vec<u8>, State),
    Done(Login),
}

pub(super) enum State {
    Plain,
    LoginName,
    LoginPassword(Vec<u8>),
    CramMd5(Vec<u8>),
    DigestMd5(digest_md5::AwaitResponse),
    ScramFirst(scram::AwaitFirst),
    ScramFinal(scram::AwaitFinal),
    External,
    Anonymous,
    /// The proof was good and the server's own has been sent.
    Proved(Login),
}

/// One AUTH command's exchange.
pub struct ServerExchange {
    mechanism: Mechanism,
    service: Arc<Service>,
    channel: Channel,
    /// `None` once it has ended.
    state: Option<State>,
}

impl ServerExchange {
    /// Starts an exchange: `initial` is the initial response where one came
    /// (`=` stands for an empty one), `now` the time in seconds since 1970.
    pub fn start(
        mechanism: Mechanism,
        service: Arc<Service>,
        channel: Channel,
        nonce: &Nonce,
        now: u64,
        initial: Option<&[u8]>,
        accounts: &dyn Accounts,
    ) -> (Self, ServerStep) {
        let (challenge, state) = match mechanism {
            Mechanism::Plain => (Vec::new(), State::Plain),
            Mechanism::Login => (plain::ASK_NAME.to_vec(), State::LoginName),
            Mechanism::CramMd5 => {
                let challenge = cram_md5::challenge(nonce, now, &service.host);
                (challenge.clone(), State::CramMd5(challenge))
            }
            Mechanism::DigestMd5 => {
                let (challenge, state) = digest_md5::AwaitResponse::start(nonce, &service);
                (challenge, State::DigestMd5(state))
            }
            Mechanism::Scram(_) | Mechanism::ScramPlus(_) => {
                let state = scram::AwaitFirst::new(nonce.clone());
                (Vec::new(), State::ScramFirst(state))
            }
            Mechanism::External => (Vec::new(), State::External),
            Mechanism::Anonymous => (Vec::new(), State::Anonymous),
        };
        let mut exchange = ServerExchange {
            mechanism,
            service,
            channel,
            state: Some(state),
        };
        let step = match (initial, mechanism) {
            (None, _) => ServerStep::Challenge(challenge),
            // The server speaks first (RFC 2195, RFC 4954 section 4).
            (Some(_), Mechanism::CramMd5) => {
                exchange.state = None;
                let reason = "an initial response, which CRAM-MD5 does not have";
                ServerStep::Failure(Failure::malformed(reason))
            }
            // Subsequent authentication (RFC 2831 section 2.2) is not done: start anew.
            (Some(_), Mechanism::DigestMd5) => ServerStep::Challenge(challenge),
            (Some([]), Mechanism::Login) => ServerStep::Challenge(challenge),
            (Some(octets), _) => exchange.respond(octets, accounts),
        };
        (exchange, step)
    }

    /// Takes a response.
    pub fn respond(&mut self, response: &[u8], accounts: &dyn Accounts) -> ServerStep {
        let context = Context {
            mechanism: self.mechanism,
            service: &self.service,
            channel: &self.channel,
            accounts,
        };
        let Some(state) = self.state.take() else {
            return ServerStep::Failure(Failure::malformed("the exchange is over"));
        };
        if response.len() > MAX_MESSAGE_OCTETS {
            return ServerStep::Failure(Failure::malformed("the response is too long"));
        }
        let progress = match state {
            State::Plain => plain::respond(&context, response),
            State::LoginName => Ok(plain::take_name(response)),
            State::LoginPassword(name) => plain::take_password(&context, &name, response),
            State::CramMd5(challenge) => cram_md5::respond(&context, &challenge, response),
            State::DigestMd5(state) => state.respond(&context, response),
            State::ScramFirst(state) => state.respond(&context, response),
            State::ScramFinal(state) => state.respond(&context, response),
            State::External => external::respond(&context, response),
            State::Anonymous => external::anonymous(response),
            // Whatever comes acknowledges the server's proof.
            State::Proved(login) => Ok(Progress::Done(login)),
        };
        match progress {
            Ok(Progress::Ask(challenge, state)) => {
                self.state = Some(state);
                ServerStep::Challenge(challenge)
            }
            Ok(Progress::Done(login)) => ServerStep::Success(login),
            Err(failure) => ServerStep::Failure(failure),
        }
    }

    /// The mechanism of this exchange.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }
}

/// A failure that names who was tried.
pub(super) fn about(failure: Failure, name: &[u8]) -> Failure {
    failure.about(name.trim_ascii())
}
