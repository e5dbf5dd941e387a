//! An SMTP or LMTP client (RFC 5321, RFC 2033) without I/O.
//!
//! ```text
//! greeting -> EHLO -> [STARTTLS -> EHLO] -> judge -> [AUTH] -> ready <-> transaction, RSET
//! ```
//!
//! The driver asks [`Client::step`] what to do next, does just that, and tells what came
//! of it: [`Client::receive`], [`Client::secured`], [`Client::approve`],
//! [`Client::text_sent`], [`Client::lost`]. Nothing that a server says makes the client
//! keep more than a reply of bounded size; what it can't understand ends the connection.

pub mod letter;
mod login;
mod transaction;

use libmaps::sasl::mechanism::ChannelBinding;

use super::offers::Offers;
use super::reply::{Class, Reply, ReplyParser};

pub use letter::{Letter, Receiver};
use login::Login;
pub use login::{ClearText, Credentials};
use transaction::Transaction;
pub use transaction::{Stage, Verdict};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is spoken.
    pub protocol: Protocol,
    /// Our name in EHLO.
    pub name: String,
    /// Our host name: what a server that is ourselves would call itself.
    pub own_name: String,
    /// Whether STARTTLS is used.
    pub start_tls: StartTls,
    /// What to log in with.
    pub login: Option<Credentials>,
    /// Whether a server with our own name is refused.
    pub loop_check: LoopCheck,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP, with EHLO first.
    Esmtp,
    /// SMTP, with EHLO only where the greeting says ESMTP.
    Smtp,
    /// LMTP.
    Lmtp,
}

/// Whether STARTTLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Where the server offers it.
    WhereOffered,
    /// Never.
    Never,
}

/// Whether a server that calls itself by our name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopCheck {
    /// It is.
    Refuse,
    /// The mailer's flag `k`: it may.
    Allow,
}

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these octets. They may hold a secret.
    Write(Vec<u8>),
    /// Read some octets; a reply may take as long as its step allows.
    Read(Step),
    /// Do the TLS handshake.
    Secure,
    /// Find out whether the connection is good enough to go on.
    Judge,
    /// Send the text of the message and its end.
    SendText,
    /// Nothing: a transaction can begin.
    Ready,
    /// Close the connection.
    Over(Box<Failure>),
}

/// What a reply is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The greeting.
    Greeting,
    /// EHLO, HELO.
    Hello,
    /// LHLO.
    Lhlo,
    /// STARTTLS.
    StartTls,
    /// A step of AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The final dot.
    Final,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether waiting may help.
    pub lasting: Lasting,
    /// Enhanced status code.
    pub status: String,
    /// What a log says.
    pub text: String,
    /// The reply that said so, if one did.
    pub reply: Option<Reply>,
}

/// Whether waiting may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// It may.
    Temporary,
    /// It will not.
    Permanent,
}

impl Failure {
    /// One that may pass.
    #[must_use]
    pub fn temporary(status: &str, text: impl Into<String>) -> Self {
        Failure {
            lasting: Lasting::Temporary,
            status: status.into(),
            text: text.into(),
            reply: None,
        }
    }

    /// One that stays.
    #[must_use]
    pub fn permanent(status: &str, text: impl Into<String>) -> Self {
        Failure {
            lasting: Lasting::Permanent,
            ..Failure::temporary(status, text)
        }
    }

    /// A refusal of the host itself; a reply that makes no sense is temporary.
    #[must_use]
    pub fn of(reply: Reply) -> Self {
        let (lasting, status) = match reply.class() {
            Class::No => (Lasting::Permanent, reply.status_of_host()),
            Class::NotNow => (Lasting::Temporary, reply.status()),
            Class::Yes | Class::GoOn => (Lasting::Temporary, "4.5.0".to_owned()),
        };
        Failure {
            lasting,
            status,
            text: reply.shown(),
            reply: Some(reply),
        }
    }
}

/// The channel as the TLS rulesets see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// In clear: the server has no STARTTLS, or it was not wanted.
    Clear,
    /// In clear: the server answered so to STARTTLS that it had offered.
    Declined(u16),
    /// Under TLS.
    Secured,
}

/// What is known of the server on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Nothing.
    Unknown,
    /// Its certificate leads to an authority of the site.
    Verified,
}

/// A client on one connection.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    parser: ReplyParser,
    output: Vec<u8>,
    offers: Offers,
    channel: Channel,
    server: Server,
    bindings: Vec<ChannelBinding>,
    state: State,
    heard: u64,
    report: Option<Vec<Verdict>>,
    /// Whether the server may still hold a transaction that was given up.
    dirty: bool,
    /// Whether it says no to RSET.
    lacks_reset: bool,
    /// Name of the mechanism that we are logged in by.
    logged_in: Option<&'static str>,
    notes: Vec<String>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    Lhlo,
    StartTls,
    Securing,
    Judging,
    Login(Box<Login>),
    Idle,
    Resetting(Option<Box<Letter>>),
    Transaction(Box<Transaction>),
    Text(Box<Transaction>),
    Quitting,
    Over(Box<Failure>),
}

impl Client {
    /// A client that waits for the greeting.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Client {
            settings,
            parser: ReplyParser::default(),
            output: Vec::new(),
            offers: Offers::default(),
            channel: Channel::Clear,
            server: Server::Unknown,
            bindings: Vec::new(),
            state: State::Greeting,
            heard: 0,
            report: None,
            dirty: false,
            lacks_reset: false,
            logged_in: None,
            notes: Vec::new(),
        }
    }

    /// What to do next.
    pub fn step(&mut self) -> Action {
        loop {
            // Every reply that was asked for has been taken by now.
            let acts = !self.output.is_empty() || matches!(self.state, State::Text(_));
            if acts && self.parser.has_more() {
                self.fail(Failure::temporary("4.5.0", "a reply to no command"));
                continue;
            }
            if !self.output.is_empty() {
                return Action::Write(std::mem::take(&mut self.output));
            }
            let step = match &self.state {
                State::Securing => return Action::Secure,
                State::Judging => return Action::Judge,
                State::Text(_) => return Action::SendText,
                State::Idle => return Action::Ready,
                State::Over(failure) => return Action::Over(failure.clone()),
                State::Greeting => Step::Greeting,
                State::Ehlo | State::Helo => Step::Hello,
                State::Lhlo => Step::Lhlo,
                State::StartTls => Step::StartTls,
                State::Login(_) => Step::Auth,
                State::Resetting(_) => Step::Rset,
                State::Transaction(transaction) => transaction.step(),
                State::Quitting => Step::Quit,
            };
            match self.parser.take() {
                Ok(None) => return Action::Read(step),
                Ok(Some(reply)) => {
                    self.heard += 1;
                    self.on_reply(reply);
                }
                Err(error) => self.fail(Failure::temporary("4.5.0", error.to_string())),
            }
        }
    }

    /// Octets of the server.
    pub fn receive(&mut self, octets: &[u8]) {
        self.parser.push(octets);
    }

    /// How many replies have come: the time of the next one runs from there.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// TLS is on. Nothing that was learned in clear is kept (RFC 3207 section 4.2).
    pub fn secured(&mut self, bindings: Vec<ChannelBinding>) {
        self.parser = ReplyParser::default();
        self.offers = Offers::default();
        self.bindings = bindings;
        self.channel = Channel::Secured;
        self.say_hello();
    }

    /// The certificate of the server leads to an authority of the site.
    pub fn verified(&mut self) {
        self.server = Server::Verified;
    }

    /// The connection is good enough.
    pub fn approve(&mut self) {
        if matches!(self.state, State::Judging) {
            self.begin_login();
        }
    }

    /// Starts a transaction. [`Client::take_report`] says what came of it.
    pub fn begin(&mut self, letter: Letter) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        self.report = None;
        if self.dirty {
            self.output.extend_from_slice(b"RSET\r\n");
            self.state = State::Resetting(Some(Box::new(letter)));
        } else {
            self.start_transaction(letter);
        }
    }

    /// Asks an idle server whether it is still there.
    pub fn probe(&mut self) {
        if matches!(self.state, State::Idle) {
            self.output.extend_from_slice(b"RSET\r\n");
            self.state = State::Resetting(None);
        }
    }

    /// Says goodbye.
    pub fn quit(&mut self) {
        if !matches!(self.state, State::Over(_)) {
            self.output.extend_from_slice(b"QUIT\r\n");
            self.state = State::Quitting;
        }
    }

    /// The connection broke, or took too long.
    pub fn lost(&mut self, why: impl Into<String>) {
        self.fail(Failure::temporary("4.4.2", why));
    }

    /// A verdict for each recipient, once the transaction is over.
    pub fn take_report(&mut self) -> Option<Vec<Verdict>> {
        self.report.take()
    }

    /// What the server offers.
    #[must_use]
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Whether TLS is on, or why not.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The mechanism that we are logged in by.
    #[must_use]
    pub fn logged_in(&self) -> Option<&'static str> {
        self.logged_in
    }

    /// Whether the connection ended because the server has no RSET, which a new one needs not.
    #[must_use]
    pub fn lacks_reset(&self) -> bool {
        self.lacks_reset
    }

    /// What an administrator should know of the login.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn on_reply(&mut self, reply: Reply) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        if reply.code == 421 && !matches!(state, State::Quitting | State::Transaction(_)) {
            self.state = state;
            return self.fail(Failure::of(reply));
        }
        match state {
            State::Greeting => self.on_greeting(reply),
            State::Ehlo | State::Helo | State::Lhlo => self.on_hello(&state, reply),
            State::StartTls => self.on_start_tls(&reply),
            State::Login(login) => self.on_login(*login, &reply),
            State::Resetting(letter) => match (reply.class(), letter) {
                (Class::Yes, Some(letter)) => {
                    self.dirty = false;
                    self.start_transaction(*letter);
                }
                (Class::Yes, None) => self.dirty = false,
                // It says nothing of the next message, and a server that has no RSET may still hold
                // the one before: that one goes by a new connection.
                (_, letter) => {
                    self.lacks_reset = true;
                    self.state = State::Resetting(letter);
                    self.fail(Failure {
                        lasting: Lasting::Temporary,
                        status: "4.5.0".to_owned(),
                        ..Failure::of(reply)
                    });
                }
            },
            State::Transaction(transaction) => self.on_transaction(*transaction, reply),
            State::Quitting => self.over(Failure::temporary("4.4.2", "connection closed")),
            other => self.state = other,
        }
    }

    fn on_greeting(&mut self, reply: Reply) {
        if reply.class() != Class::Yes {
            return self.fail(Failure::of(reply));
        }
        if self.settings.protocol == Protocol::Smtp {
            let greeting = reply.shown().to_ascii_uppercase();
            if !greeting.split(' ').any(|word| word == "ESMTP") {
                self.hello("HELO", State::Helo);
                return;
            }
        }
        self.say_hello();
    }

    fn say_hello(&mut self) {
        match self.settings.protocol {
            Protocol::Lmtp => self.hello("LHLO", State::Lhlo),
            Protocol::Esmtp | Protocol::Smtp => self.hello("EHLO", State::Ehlo),
        }
    }

    fn hello(&mut self, verb: &str, state: State) {
        let line = format!("{verb} {}\r\n", self.settings.name);
        self.output.extend_from_slice(line.as_bytes());
        self.state = state;
    }

    fn on_hello(&mut self, state: &State, reply: Reply) {
        match (state, reply.class()) {
            (_, Class::Yes) => {}
            // RFC 5321 section 3.2.
            (State::Ehlo, Class::No) => return self.hello("HELO", State::Helo),
            _ => return self.fail(Failure::of(reply)),
        }
        let name = reply.first_line().split(' ').next().unwrap_or_default();
        let is_lmtp = self.settings.protocol == Protocol::Lmtp;
        if self.settings.loop_check == LoopCheck::Refuse
            && !is_lmtp
            && name.eq_ignore_ascii_case(&self.settings.own_name)
        {
            let text = format!("{name} config error: mail loops back to me (MX problem?)");
            return self.fail(Failure::permanent("5.3.5", text));
        }
        self.offers = match state {
            State::Helo => Offers::default(),
            _ => Offers::of(&reply),
        };
        let wanted = self.settings.start_tls == StartTls::WhereOffered;
        if wanted && self.offers.start_tls && self.channel == Channel::Clear {
            self.output.extend_from_slice(b"STARTTLS\r\n");
            self.state = State::StartTls;
        } else {
            self.state = State::Judging;
        }
    }

    fn on_start_tls(&mut self, reply: &Reply) {
        if reply.code != 220 {
            self.channel = Channel::Declined(reply.code);
            self.state = State::Judging;
        } else if self.parser.has_more() {
            // Whoever put it there is no friend; it is not looked at.
            let text = "octets behind the reply to STARTTLS";
            self.fail(Failure::temporary("4.7.0", text));
        } else {
            self.state = State::Securing;
        }
    }

    /// The connection is over: recipients without a verdict get theirs.
    fn fail(&mut self, failure: Failure) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        match state {
            State::Over(earlier) => {
                self.state = State::Over(earlier);
                return;
            }
            State::Transaction(transaction) | State::Text(transaction) => {
                self.report = Some(transaction.abandoned(&failure));
            }
            State::Resetting(Some(letter)) => {
                let all = letter.recipients.iter();
                self.report = Some(all.map(|_| Verdict::Unanswered(failure.clone())).collect());
            }
            _ => {}
        }
        self.over(failure);
    }

    fn over(&mut self, failure: Failure) {
        self.output.clear();
        self.state = State::Over(Box::new(failure));
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
