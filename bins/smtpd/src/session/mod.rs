//! The SMTP session: lines and answers in, actions out.
//!
//! Nothing here reads, writes, waits or looks anything up. The driver hands each
//! line to [`Session::on_line`] and does what the [`Action`] says; where that is a
//! question it finds the answer and hands it to [`Session::on_answer`]. A session
//! holds a few hundred octets beside the recipients of the current transaction.
//!
//! The order of checks and the words of the replies are sendmail's.

mod attack;
mod auth;
mod body;
mod command;
mod data;
mod envelope;
mod hello;
mod other;
mod param;
mod path;
mod peer;
mod replies;
mod rules;
mod transaction;

#[cfg(test)]
mod transcript_tests;

use std::sync::Arc;
use std::time::Duration;

use libmaps::reply::{Reply, Status};

use attack::{Counters, MAX_BAD_COMMANDS};
use command::{Verb, echo};

pub use body::{BodyDecoder, BodyFault, BodyStep, LineCheck};
pub use command::echo as shown;
pub use param::{
    BodyKind, ByMode, MAX_ENVID_OCTETS, MAX_ORCPT_OCTETS, MailParams, Notify, RcptParams, Ret,
    Utf8Asked,
};
pub use path::Path;
pub use peer::{Peer, Resolve, bracketed};
pub use rules::{AuthDemand, Bounces, Names, Offer, Offers, Rules, StartTls};
pub use transaction::{Fate, Introduced, Recipient, Transaction};

/// Longest command line in octets, without its line end.
pub const MAX_COMMAND_OCTETS: usize = 2046;
/// Longest line of an AUTH exchange in octets (RFC 4954 section 4).
pub const MAX_AUTH_OCTETS: usize = 12_288;

/// What the driver must do next.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the reply, then read a line.
    Reply(Reply),
    /// Find the answer and hand it to [`Session::on_answer`].
    Consult(Question),
    /// Send the reply, do the TLS handshake,
    /// then answer [`Answer::Welcome`] anew.
    Upgrade(Reply),
    /// Send the reply, then read message text up to its end.
    ReadBody(Reply),
    /// Read that many octets.
    ReadChunk {
        /// How many octets follow.
        octets: u64,
        /// What to do with them.
        chunk: Chunk,
    },
    /// Send the reply and close the connection.
    Close(Reply),
    /// Wait, then act.
    After(Duration, Box<Action>),
}

/// What a BDAT chunk is (RFC 3030 section 2).
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A piece of the message; more follow.
    Part,
    /// The last piece of the message.
    Last,
    /// To be thrown away; then this is the reply.
    Refused(Reply),
}

/// What the session can't know by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// May this client talk to us, and what is it offered?
    Client,
    /// May this be a sender?
    Sender(Path, Box<MailParams>),
    /// May this be a recipient?
    Recipient(Path),
    /// Start a login.
    Login {
        /// The mechanism, in capitals; it was offered.
        mechanism: Box<str>,
        /// The decoded initial response.
        initial: Option<Secret>,
    },
    /// Go on with the login that was started.
    Response(Secret),
    /// Forget the login that was started.
    AbortLogin,
    /// Is that a user here?
    Verify(Box<[u8]>),
    /// Who is behind that alias?
    Expand(Box<[u8]>),
    /// Run the queue for a domain.
    RunQueue(Box<[u8]>),
}

/// Octets that must not be shown.
#[derive(PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// An answer to a [`Question`], or the outcome of what an [`Action`] asked for.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::Client`] and after [`Action::Upgrade`].
    Welcome(Box<Welcome>),
    /// Sender, recipient: yes, and what becomes of the message.
    Accepted(Fate),
    /// Recipient: yes, but a name server did not answer, so it stays queued at first; and
    /// what becomes of the message.
    AcceptedForLater(Fate),
    /// Sender, recipient: policy refuses.
    Refused(Reply),
    /// Recipient: policy has nothing against it, but there is no such user.
    Unknown(Reply),
    /// Recipient: policy was not asked, since there is no room for it at the moment.
    NoRoom(Reply),
    /// A login goes on with this challenge.
    Challenge(Vec<u8>),
    /// A login succeeded.
    LoggedIn(Box<Login>),
    /// A login failed.
    LoginFailed,
    /// Nobody can tell whether the login is right.
    LoginUnavailable,
    /// VRFY, EXPN, ETRN: this is the reply.
    Say(Reply),
    /// A chunk was read.
    ChunkRead {
        /// Its size in octets.
        octets: u64,
    },
    /// The message has come to its end.
    Message(MessageEnd),
}

/// What a client gets to see of the server.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// The text of the greeting behind the code.
    pub greeting: String,
    /// What is offered to this client.
    pub offers: Offers,
    /// The SASL mechanisms offered, in capitals.
    pub mechanisms: Vec<Box<str>>,
    /// Whether it must log in.
    pub auth: AuthDemand,
    /// Whether a handshake could be done.
    pub start_tls: StartTls,
    /// What becomes of its messages.
    pub fate: Fate,
    /// Set where it may do nothing.
    pub refusal: Option<Refusal>,
}

/// How a client is turned away.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// The reply stands in place of the greeting, and the connection ends.
    Close(Reply),
    /// It is greeted, and then every command of substance gets this reply.
    Null(Reply),
    /// The first reply stands in place of the greeting, the second as in `Null`.
    Greet(Reply, Reply),
}

/// Who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Who proved himself.
    pub authid: Box<str>,
    /// As whom he acts.
    pub authzid: Box<str>,
    /// The mechanism.
    pub mechanism: Box<str>,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageEnd {
    /// It is durable (or thrown away as the policy wants), under this queue id.
    Stored(Box<str>),
    /// It held what no message may hold.
    Fault(BodyFault),
    /// It was larger than the limit.
    TooLarge,
    /// It is refused or could not be stored.
    Refused(Reply),
}

/// Whether the client sent more than the line at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// It waits for the reply.
    Nothing,
    /// More octets have come already.
    More,
}

/// What the session waits for.
#[derive(Debug)]
enum State {
    /// The answer to [`Question::Client`].
    Greeting,
    /// A command.
    Command,
    /// The end of the TLS handshake.
    Handshake,
    /// The ruling on a sender.
    Sender(Path, Box<MailParams>),
    /// The ruling on a recipient.
    Recipient(Path, RcptParams),
    /// The SASL code's answer to the client's last word.
    LoginAnswer,
    /// The client's answer to a challenge.
    LoginLine,
    /// The end of the message.
    Body,
    /// The end of a chunk.
    Chunk,
    /// The answer to VRFY, EXPN or ETRN.
    Saying,
    /// Nothing any more.
    Closed,
}

/// HELO or EHLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// HELO.
    Plain,
    /// EHLO.
    Extended,
}

/// Whether TLS protects the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// It does not.
    Clear,
    /// It does.
    Tls,
}

/// One SMTP session.
#[derive(Debug)]
pub struct Session {
    rules: Arc<Rules>,
    peer: Arc<Peer>,
    state: State,
    offers: Offers,
    mechanisms: Vec<Box<str>>,
    auth: AuthDemand,
    start_tls: StartTls,
    fate: Fate,
    null: Option<Reply>,
    channel: Channel,
    helo: Option<(Hello, Box<str>)>,
    login: Option<Login>,
    transaction: Option<Box<Transaction>>,
    chunked: data::Chunking,
    counters: Counters,
    bad_commands: u32,
    bad_recipients: u32,
    failed_logins: u32,
}

impl Session {
    /// A session with this peer; the first action asks about the client.
    pub fn start(peer: Arc<Peer>, rules: Arc<Rules>, channel: Channel) -> (Self, Action) {
        let session = Session {
            offers: rules.offers,
            auth: rules.auth,
            start_tls: StartTls::Unavailable,
            rules,
            peer,
            state: State::Greeting,
            mechanisms: Vec::new(),
            fate: Fate::Deliver,
            null: None,
            channel,
            helo: None,
            login: None,
            transaction: None,
            chunked: data::Chunking::No,
            counters: Counters::default(),
            bad_commands: 0,
            bad_recipients: 0,
            failed_logins: 0,
        };
        (session, Action::Consult(Question::Client))
    }

    /// One line without its line end.
    pub fn on_line(&mut self, line: &[u8], ahead: Ahead) -> Action {
        let action = self.line_now(line, ahead);
        self.softened(action)
    }

    /// SoftBounce: 5xx becomes 4xx, whoever said it.
    fn softened(&self, action: Action) -> Action {
        if self.rules.bounces == Bounces::Hard {
            return action;
        }
        match action {
            Action::Reply(reply) => Action::Reply(soft(reply)),
            Action::Close(reply) => Action::Close(soft(reply)),
            Action::After(wait, action) => Action::After(wait, Box::new(self.softened(*action))),
            Action::ReadChunk {
                octets,
                chunk: Chunk::Refused(reply),
            } => Action::ReadChunk {
                octets,
                chunk: Chunk::Refused(soft(reply)),
            },
            other => other,
        }
    }

    fn line_now(&mut self, line: &[u8], ahead: Ahead) -> Action {
        if matches!(self.state, State::LoginLine) {
            return self.login_line(line);
        }
        self.state = State::Command;
        let (verb, argument) = command::split(line);
        if line.len() > MAX_COMMAND_OCTETS && verb != Verb::Auth {
            return self.close(replies::command_too_long(&self.rules.hostname, &self.peer));
        }
        // On any line: the first under TLS is not the first of the session.
        if command::is_foreign_protocol(line) {
            return self.close(replies::open_proxy(&self.rules.hostname, &self.peer));
        }
        if line.contains(&0) {
            return self.bad_command(replies::nul_in_command());
        }
        if let Some(refused) = self.refuse_when_null(verb, argument) {
            return refused;
        }
        match verb {
            Verb::Helo => self.hello(Hello::Plain, argument, ahead),
            Verb::Ehlo => self.hello(Hello::Extended, argument, ahead),
            Verb::Mail => self.mail(argument),
            Verb::Rcpt => self.rcpt(argument),
            Verb::Data => self.data(ahead),
            Verb::Bdat if self.offers.has(Offer::Chunking) => self.bdat(argument),
            Verb::Rset => self.rset(),
            Verb::Vrfy => self.vrfy(argument),
            Verb::Expn => self.expn(argument),
            Verb::Help => self.help(argument),
            Verb::Noop => self.noop(),
            Verb::Quit => self.close(replies::closing(&self.rules.hostname)),
            Verb::Etrn => self.etrn(argument),
            Verb::Verbose => self.verb(),
            Verb::Auth => self.auth(command::rest(line)),
            Verb::StartTls => self.starttls(argument, ahead),
            Verb::Unimplemented => Action::Reply(replies::unimplemented(&echo(line))),
            // The octets that follow must not be read as commands. Whoever did not ask what
            // is offered gets them taken away, as where it is.
            Verb::Bdat => {
                let reply = replies::unrecognized(&echo(line.trim_ascii()));
                self.refuse_chunk(argument, reply)
            }
            Verb::Unknown if self.rules.ends_session(line) => self.close(replies::bad_command()),
            Verb::Unknown => self.bad_command(replies::unrecognized(&echo(line.trim_ascii()))),
        }
    }

    /// The answer to what was asked last. An answer that does not fit the
    /// question ends the session.
    pub fn on_answer(&mut self, answer: Answer) -> Action {
        let action = self.answer_now(answer);
        self.softened(action)
    }

    fn answer_now(&mut self, answer: Answer) -> Action {
        let state = std::mem::replace(&mut self.state, State::Command);
        match (state, answer) {
            (State::Greeting, Answer::Welcome(welcome)) => self.greet(*welcome),
            (State::Handshake, Answer::Welcome(welcome)) => self.secured(*welcome),
            (State::Sender(path, params), answer) => self.sender_answer(path, *params, answer),
            (State::Recipient(path, params), answer) => self.rcpt_answer(path, params, answer),
            (State::LoginAnswer, answer) => self.login_answer(answer),
            (State::Body, Answer::Message(end)) => self.message_end(end),
            (State::Chunk, answer) => self.chunk_answer(answer),
            (State::Saying, Answer::Say(reply)) => Action::Reply(reply),
            _ => self.close(replies::closing(&self.rules.hostname)),
        }
    }

    /// A line was longer than any line may be; it was read to its end and dropped.
    pub fn on_overlong_line(&mut self) -> Action {
        match self.state {
            State::LoginLine => {
                self.state = State::Command;
                Action::Reply(replies::auth_too_long())
            }
            _ => self.close(replies::command_too_long(&self.rules.hostname, &self.peer)),
        }
    }

    /// How many octets the next line may have.
    #[must_use]
    pub fn line_limit(&self) -> usize {
        MAX_AUTH_OCTETS
    }

    /// The envelope at hand.
    #[must_use]
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_deref()
    }

    /// What the transaction at hand takes of memory, about.
    #[must_use]
    pub fn held_octets(&self) -> u64 {
        self.transaction.as_ref().map_or(0, |t| t.held_octets())
    }

    /// Who is connected.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// What the client calls itself, and by which command.
    #[must_use]
    pub fn helo(&self) -> Option<(Hello, &str)> {
        self.helo.as_ref().map(|(kind, name)| (*kind, &**name))
    }

    /// Who logged in.
    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Whether TLS is on.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    fn close(&mut self, reply: Reply) -> Action {
        self.state = State::Closed;
        Action::Close(reply)
    }

    fn ask(&mut self, state: State, question: Question) -> Action {
        self.state = state;
        Action::Consult(question)
    }

    /// Counts a command that is not understood.
    fn bad_command(&mut self, reply: Reply) -> Action {
        self.bad_commands += 1;
        if self.bad_commands > MAX_BAD_COMMANDS {
            return self.close(replies::too_many_bad_commands(&self.rules.hostname));
        }
        Action::Reply(reply)
    }

    /// A client that may do nothing gets its refusal for everything of substance.
    fn refuse_when_null(&mut self, verb: Verb, argument: &[u8]) -> Option<Action> {
        let reply = self.null.clone()?;
        match verb {
            Verb::Quit | Verb::Helo | Verb::Ehlo | Verb::Noop | Verb::Rset | Verb::Unknown => None,
            Verb::Bdat => Some(self.refuse_chunk(argument, reply)),
            _ => Some(self.bad_command(reply)),
        }
    }

    fn forget_transaction(&mut self) {
        self.transaction = None;
        self.chunked = data::Chunking::No;
    }
}

/// The reply as a temporary one.
fn soft(mut reply: Reply) -> Reply {
    if (500..600).contains(&reply.code) {
        reply.code -= 100;
        if let Some(status) = &mut reply.status {
            *status = Status::new(4, status.subject, status.detail);
        }
    }
    reply
}

/// The action, after a wait where there is one.
fn after(wait: Duration, action: Action) -> Action {
    if wait.is_zero() {
        return action;
    }
    Action::After(wait, Box::new(action))
}
