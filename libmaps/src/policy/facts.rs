//! What policy is told: the session so far, and answers of DNS.
//!
//! Policy asks nobody. A ruleset that lacks an answer stops with the [`Need`] it
//! has; the driver finds out, adds the answer to the [`Facts`] and runs the ruleset
//! again. So exactly the questions are asked that can change the decision, and in
//! the order in which sendmail would ask them. [`settle`] is that loop for drivers
//! that can wait.

use crate::address::ReversePath;
use crate::decision::Decision;
use crate::tokens::{has_quotes, strip_quotes};

/// A question to the resolver (or `/etc/hosts`, as `service.switch` says).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Need {
    /// The canonical name of a host or mail domain (MX, A, AAAA or CNAME will do), or the name of an
    /// address literal. The answer is that one name.
    Host(Box<[u8]>),
    /// The A records of a name, as dotted text: DNS lists.
    Addresses(Box<[u8]>),
    /// The names of the mail exchangers of the best preference.
    BestMx(Box<[u8]>),
}

impl Need {
    /// The name that is asked about.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self {
            Need::Host(name) | Need::Addresses(name) | Need::BestMx(name) => name,
        }
    }

    fn plain(mut self) -> Self {
        let (Need::Host(name) | Need::Addresses(name) | Need::BestMx(name)) = &mut self;
        if has_quotes(name) {
            *name = strip_quotes(name).into_owned().into();
        }
        self
    }
}

/// What the resolver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These, and at least one.
    Found(Vec<Box<[u8]>>),
    /// There is no such thing, for certain.
    NotFound,
    /// Nobody can tell now.
    Temporary,
}

/// The answers that are known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    known: Vec<(Need, Answer)>,
}

impl Facts {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Facts::default()
    }

    /// How many answers are known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Adds an answer; a later one to the same question replaces the earlier.
    pub fn add(&mut self, need: Need, answer: Answer) {
        match self.known.iter_mut().find(|(known, _)| same(known, &need)) {
            Some((_, old)) => *old = answer,
            None => self.known.push((need, answer)),
        }
    }

    /// The answer to a question; the name in it is asked for without quotes and backslashes, as
    /// the key of any map.
    ///
    /// # Errors
    /// The question itself, when its answer is not known.
    pub fn get(&self, need: Need) -> Result<&Answer, Need> {
        let need = need.plain();
        self.known
            .iter()
            .find(|(known, _)| same(known, &need))
            .map(|(_, answer)| answer)
            .ok_or(need)
    }

    /// As [`get`](Self::get) for [`Need::Host`], without a name of its own where that is known.
    ///
    /// # Errors
    /// The question itself, when its answer is not known.
    pub fn host(&self, name: &[u8]) -> Result<&Answer, Need> {
        let name = &*strip_quotes(name);
        let is_it = |known: &Need| matches!(known, Need::Host(n) if n.eq_ignore_ascii_case(name));
        let found = self.known.iter().find(|(known, _)| is_it(known));
        found
            .map(|(_, answer)| answer)
            .ok_or_else(|| Need::Host(name.into()))
    }
}

/// Names are the same whatever their case (RFC 1034 section 3.1).
fn same(left: &Need, right: &Need) -> bool {
    std::mem::discriminant(left) == std::mem::discriminant(right)
        && left.name().eq_ignore_ascii_case(right.name())
}

/// Runs a ruleset until it lacks nothing.
///
/// Each round adds one answer, and a ruleset asks about finitely many names.
pub fn settle<T>(
    facts: &mut Facts,
    mut resolve: impl FnMut(&Need) -> Answer,
    ruleset: impl Fn(&Facts) -> Result<Decision<T>, Need>,
) -> Decision<T> {
    loop {
        match ruleset(facts) {
            Ok(decision) => return decision,
            Err(need) => {
                let answer = resolve(&need);
                facts.add(need, answer);
            }
        }
    }
}

/// What is known about the session.
#[derive(Clone, Debug)]
pub struct Session {
    /// `${client_addr}`: `192.0.2.1`, `IPv6:2001:db8::1`; empty for mail of this host itself.
    pub client_addr: String,
    /// `${client_name}`: the client's name if it resolves, else its address in brackets.
    pub client_name: String,
    /// `${client_ptr}`: the name that the address maps to, whether or not it maps back.
    pub client_ptr: String,
    /// `${client_resolve}`: how that went.
    pub client_resolve: Resolve,
    /// `${client_rate}`: connections of this client in the last window.
    pub client_rate: u32,
    /// `${client_connections}`: its open connections.
    pub client_connections: u32,
    /// Over which hosts these two are counted.
    pub counted: Counted,
    /// `$s`: what the client said in HELO.
    pub helo: String,
    /// The letters of `${daemon_flags}`, with blanks between.
    pub daemon_flags: String,
    /// The login, if there was one.
    pub login: Option<Login>,
    /// TLS with the client, or in rulesets of the client side with the server.
    pub tls: Tls,
    /// `${server_name}`: the host we are connected to, in rulesets of the client side.
    pub server_name: String,
    /// `${server_addr}`: its address.
    pub server_addr: String,
    /// The reverse-path.
    pub sender: ReversePath,
    /// `$f`: the reverse-path as replies show it.
    pub sender_text: String,
}

impl Default for Session {
    /// A session of nobody from nowhere, which resolves and has no TLS.
    fn default() -> Self {
        Session {
            client_addr: String::new(),
            client_name: String::new(),
            client_ptr: String::new(),
            client_resolve: Resolve::Ok,
            client_rate: 0,
            client_connections: 0,
            counted: Counted::Here,
            helo: String::new(),
            daemon_flags: String::new(),
            login: None,
            tls: Tls::default(),
            server_name: String::new(),
            server_addr: String::new(),
            sender: ReversePath::Null,
            sender_text: String::new(),
        }
    }
}

impl Session {
    /// Whether the daemon has this flag.
    #[must_use]
    pub fn daemon_flag(&self, flag: &str) -> bool {
        self.daemon_flags
            .split_ascii_whitespace()
            .any(|f| f == flag)
    }
}

/// Over which hosts the connections of a client are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// This one alone.
    #[default]
    Here,
    /// All that share the counts (ConnectionRateMap).
    OnAllHosts,
}

/// How the client's address resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// To a name and back.
    Ok,
    /// To no name.
    Fail,
    /// To a name that does not map back.
    Forged,
    /// The resolver could not tell.
    Temp,
}

impl Resolve {
    /// sendmail's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resolve::Ok => "OK",
            Resolve::Fail => "FAIL",
            Resolve::Forged => "FORGED",
            Resolve::Temp => "TEMP",
        }
    }
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `${auth_type}`: the mechanism.
    pub mechanism: String,
    /// `${auth_authen}`: who proved.
    pub authid: String,
    /// `${auth_author}`: as whom, from the AUTH= parameter of MAIL.
    pub author: String,
    /// `${auth_ssf}`: strength of the security layer of the mechanism, in bits.
    pub bits: u32,
}

/// TLS of a connection, in sendmail's macros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `${tls_version}`; empty for no TLS.
    pub version: String,
    /// `${cipher}`.
    pub cipher: String,
    /// `${cipher_bits}`.
    pub bits: u32,
    /// `${verify}`: `OK`, `TRUSTED`, `NO`, `NOT`, `FAIL`, `NONE`, `TEMP`, `PROTOCOL`, `SOFTWARE`, `CONFIG`, ...
    pub verify: String,
    /// `${cn_subject}`.
    pub cn_subject: String,
    /// `${cert_subject}`.
    pub cert_subject: String,
    /// `${cn_issuer}`.
    pub cn_issuer: String,
    /// `${cert_issuer}`.
    pub cert_issuer: String,
    /// `$={cert_altnames}`, for FEATURE(check_cert_altnames).
    pub altnames: Vec<String>,
}

impl Default for Tls {
    /// No TLS: `NONE`.
    fn default() -> Self {
        Tls {
            version: String::new(),
            cipher: String::new(),
            bits: 0,
            verify: "NONE".to_owned(),
            cn_subject: String::new(),
            cert_subject: String::new(),
            cn_issuer: String::new(),
            cert_issuer: String::new(),
            altnames: Vec::new(),
        }
    }
}
