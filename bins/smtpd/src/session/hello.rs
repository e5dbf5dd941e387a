//! The greeting, HELO, EHLO and STARTTLS.

use libmaps::reply::Reply;

use libmaps::site::model::options::PrivacyFlag;

use super::attack::Counted;
use super::rules::{Names, Offer, StartTls};
use super::{
    Action, Ahead, AuthDemand, Channel, Hello, Refusal, Session, State, Welcome, after, replies,
};

/// Longest name that HELO takes, in octets.
const MAX_NAME_OCTETS: usize = 255;

impl Session {
    pub(super) fn greet(&mut self, welcome: Welcome) -> Action {
        let greeting = Reply::new(220, None, welcome.greeting.clone());
        match self.take_welcome(welcome) {
            Some(Refusal::Close(reply)) => self.close(reply),
            Some(Refusal::Greet(instead, reply)) => {
                self.null = Some(reply);
                Action::Reply(instead)
            }
            Some(Refusal::Null(reply)) => {
                self.null = Some(reply);
                Action::Reply(greeting)
            }
            None => Action::Reply(greeting),
        }
    }

    /// After the handshake nothing said before is remembered (RFC 3207 section 4.2),
    /// and no reply is due: the client speaks next.
    pub(super) fn secured(&mut self, welcome: Welcome) -> Action {
        self.channel = Channel::Tls;
        self.helo = None;
        self.login = None;
        self.forget_transaction();
        let before = std::mem::take(&mut self.fate);
        if let Some(Refusal::Close(reply) | Refusal::Null(reply) | Refusal::Greet(_, reply)) =
            self.take_welcome(welcome)
        {
            self.null = Some(reply);
        }
        // That one came from the client's address, which TLS does not change.
        self.fate = before.and(std::mem::take(&mut self.fate));
        Action::Reply(Reply {
            code: 0,
            status: None,
            lines: Vec::new(),
        })
    }

    fn take_welcome(&mut self, welcome: Welcome) -> Option<Refusal> {
        self.offers = welcome.offers;
        self.mechanisms = welcome.mechanisms;
        self.auth = welcome.auth;
        self.start_tls = welcome.start_tls;
        self.fate = welcome.fate;
        welcome.refusal
    }

    pub(super) fn hello(&mut self, kind: Hello, argument: &[u8], ahead: Ahead) -> Action {
        let wait = self.counters.count(Counted::Helo);
        after(wait, self.hello_now(kind, argument, ahead))
    }

    fn hello_now(&mut self, kind: Hello, argument: &[u8], ahead: Ahead) -> Action {
        let any = self.rules.names == Names::Any;
        if argument.is_empty() && !any {
            let verb = match kind {
                Hello::Plain => "HELO",
                Hello::Extended => "EHLO",
            };
            let text = format!("{verb} requires domain address");
            return Action::Reply(replies::say(501, (5, 0, 0), text));
        }
        if !(is_name(argument) || any && argument.len() <= MAX_NAME_OCTETS) {
            return Action::Reply(replies::say(501, (5, 0, 0), "Invalid domain name"));
        }
        if ahead == Ahead::More && self.null.is_none() {
            // RFC 2920 section 3.1: EHLO ends a group, so nothing may follow it yet.
            self.null = Some(replies::command_rejected());
            return Action::Reply(replies::protocol_error());
        }
        self.forget_transaction();
        // It will stand in a Received header.
        let name: String = argument
            .iter()
            .map(|c| {
                if c.is_ascii_graphic() {
                    char::from(*c)
                } else {
                    '?'
                }
            })
            .collect();
        self.helo = Some((kind, name.into()));
        let host = &self.rules.hostname;
        let mut lines = vec![format!("{host} Hello {}, pleased to meet you", self.peer)];
        if kind == Hello::Extended {
            lines.push("ENHANCEDSTATUSCODES".into());
            if self.null.is_none() {
                self.extensions(&mut lines);
            }
        }
        Action::Reply(Reply {
            code: 250,
            status: None,
            lines,
        })
    }

    /// The keywords in sendmail's order.
    fn extensions(&self, lines: &mut Vec<String>) {
        let mut offer = |offer: Offer, keyword: &str| {
            if self.offers.has(offer) {
                lines.push(keyword.into());
            }
        };
        offer(Offer::Pipelining, "PIPELINING");
        offer(Offer::Chunking, "CHUNKING");
        offer(Offer::Expn, "EXPN");
        offer(Offer::Verb, "VERB");
        lines.push("8BITMIME".into());
        lines.push(match self.rules.max_message_octets {
            0 => "SIZE".into(),
            limit => format!("SIZE {limit}"),
        });
        let mut offer = |offer: Offer, keyword: &str| {
            if self.offers.has(offer) {
                lines.push(keyword.into());
            }
        };
        offer(Offer::Dsn, "DSN");
        offer(Offer::Etrn, "ETRN");
        if self.offers.has(Offer::Auth) && !self.mechanisms.is_empty() {
            lines.push(format!("AUTH {}", self.mechanisms.join(" ")));
        }
        let can_start = self.start_tls == StartTls::Ready && self.channel == Channel::Clear;
        if self.offers.has(Offer::StartTls) && can_start {
            lines.push("STARTTLS".into());
        }
        if self.offers.has(Offer::DeliverBy) {
            lines.push(match self.rules.deliver_by_min_seconds {
                ..=0 => "DELIVERBY".into(),
                min => format!("DELIVERBY {min}"),
            });
        }
        if self.offers.has(Offer::SmtpUtf8) {
            lines.push("SMTPUTF8".into());
        }
        lines.push("HELP".into());
    }

    pub(super) fn starttls(&mut self, argument: &[u8], ahead: Ahead) -> Action {
        let refused = if self.channel == Channel::Tls {
            replies::tls_unavailable()
        } else if !self.offers.has(Offer::StartTls) {
            replies::tls_not_offered()
        } else if self.transaction.is_some() {
            replies::tls_in_transaction()
        } else if self.start_tls == StartTls::Unavailable {
            replies::tls_unavailable()
        } else if !argument.is_empty() {
            replies::no_parameters()
        } else if ahead == Ahead::More {
            // Said in clear, it could be taken for something said under TLS (CVE-2011-0411).
            return self.close(replies::tls_overrun(&self.rules.hostname));
        } else {
            self.state = State::Handshake;
            return Action::Upgrade(replies::tls_ready());
        };
        Action::Reply(refused)
    }

    pub(super) fn must_log_in(&self) -> bool {
        self.auth == AuthDemand::Required && self.login.is_none()
    }

    pub(super) fn private(&self, flag: PrivacyFlag) -> bool {
        self.rules.private(flag)
    }
}

/// A name or address literal as sendmail accepts it: no blanks, and nothing that
/// could not stand in a Received header.
fn is_name(argument: &[u8]) -> bool {
    argument.len() <= MAX_NAME_OCTETS
        && argument
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || b"-._:[]".contains(c))
}
