//! What is said to one client.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libmaps::sasl::dovecot::{self, Line, VERSION};
use libmaps::sasl::mechanism::{
    Channel, FailureKind, Mechanism, Nonce, ServerExchange, ServerStep,
};
use libmaps::sasl::saslprep;
use tools::serve::{Conversation, Turn};
use zeroize::Zeroizing;

use super::{DovecotService, Verdict};

/// Most exchanges that one client may have open.
const MAX_OPEN: usize = 64;

/// A client, and the exchanges that it has open.
pub struct Talk<'a> {
    service: &'a DovecotService,
    number: u64,
    state: State,
}

/// How far it has come.
enum State {
    /// It has not said which version it speaks.
    Unknown,
    /// It logs clients in.
    Open(HashMap<u32, Open>),
}

struct Open {
    exchange: ServerExchange,
    /// The name that LOGIN was told first.
    name: Option<Vec<u8>>,
    /// The client's client, for the log.
    peer: String,
}

impl<'a> Talk<'a> {
    /// A new client, with the number that it is told.
    pub(super) fn new(service: &'a DovecotService, number: u64) -> Self {
        Talk {
            service,
            number,
            state: State::Unknown,
        }
    }

    /// Obeys a line; false: the client is not worth more words.
    fn obey(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let words: Vec<_> = dovecot::words(line).collect();
        let word = |at: usize| words.get(at).map_or(&b""[..], |word| word.as_ref());
        let State::Open(open) = &mut self.state else {
            let major = VERSION.0.to_string();
            if word(0) == b"VERSION" && word(1) == major.as_bytes() {
                self.state = State::Open(HashMap::new());
                return true;
            }
            return false;
        };
        let number = std::str::from_utf8(word(1))
            .ok()
            .and_then(|n| n.parse().ok());
        match (word(0), number) {
            (b"CPID" | b"VERSION", _) => {}
            (b"CANCEL", Some(number)) => {
                open.remove(&number);
            }
            (b"AUTH", Some(number)) if open.contains_key(&number) => return false,
            (b"AUTH", Some(number)) if open.len() >= MAX_OPEN => {
                fail(out, number, None, Refused::ForNow)
            }
            (b"AUTH", Some(number)) => self.auth(number, &words, out),
            (b"CONT", Some(number)) => match open.remove(&number) {
                Some(open) => self.go_on(number, open, word(2), out),
                None => fail(out, number, None, Refused::ForGood),
            },
            _ => return false,
        }
        true
    }

    fn auth(&mut self, number: u32, words: &[std::borrow::Cow<'_, [u8]>], out: &mut Vec<u8>) {
        let name = words.get(2).map_or(&b""[..], |word| word.as_ref());
        let given = words.get(3..).unwrap_or_default();
        let value = |name: &str| given.iter().find_map(|word| dovecot::value(word, name));
        let peer = String::from_utf8_lossy(value("rip").unwrap_or(b"unknown")).into_owned();
        let offered = |m: &Mechanism| self.service.offered.contains(m);
        let mechanism = Mechanism::parse(name).filter(offered);
        let (Some(mechanism), Some(nonce)) = (mechanism, Nonce::random()) else {
            return fail(out, number, None, Refused::ForGood);
        };
        // `=` stands for an empty response, as in SMTP.
        let initial = match value("resp") {
            None => None,
            Some(b"=") => Some(Zeroizing::new(Vec::new())),
            Some(text) => match STANDARD.decode(text) {
                Ok(octets) => Some(Zeroizing::new(octets)),
                Err(_) => return fail(out, number, None, Refused::ForGood),
            },
        };
        let first = initial.as_ref().map(|octets| octets.as_slice());
        if let Some(name) = first.and_then(|octets| guessed(mechanism, octets, None))
            && self.service.is_shut(name)
        {
            return self.turn_away(number, mechanism, name, &peer, out);
        }
        let name = first.filter(|_| mechanism == Mechanism::Login);
        let name = name.map(<[u8]>::to_vec);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let (exchange, step) = self.service.turnstile.within(|| {
            ServerExchange::start(
                mechanism,
                Arc::clone(&self.service.sasl),
                Channel::default(),
                &nonce,
                now.map_or(0, |since| since.as_secs()),
                first,
                &self.service.store,
            )
        });
        let open = Open {
            exchange,
            name,
            peer,
        };
        self.told(number, open, step, out);
    }

    /// Says "not now" without having looked at the password.
    fn turn_away(
        &self,
        number: u32,
        mechanism: Mechanism,
        name: &[u8],
        peer: &str,
        out: &mut Vec<u8>,
    ) {
        let name = &*saslprep(name.trim_ascii());
        let (user, peer) = (name.escape_ascii(), peer.escape_default());
        let mechanism = mechanism.name();
        self.service.log.info(format!(
            "auth failure: [user={user}] [mech={mechanism}] [rip={peer}] \
             [reason=too many failures, not checked]"
        ));
        fail(out, number, Some(name), Refused::ForNow);
    }

    fn go_on(&mut self, number: u32, mut open: Open, text: &[u8], out: &mut Vec<u8>) {
        let Ok(octets) = STANDARD.decode(text) else {
            return fail(out, number, None, Refused::ForGood);
        };
        let octets = Zeroizing::new(octets);
        let service = self.service;
        let mechanism = open.exchange.mechanism();
        if let Some(name) = guessed(mechanism, &octets, open.name.as_deref())
            && service.is_shut(name)
        {
            return self.turn_away(number, mechanism, name, &open.peer, out);
        }
        if mechanism == Mechanism::Login && open.name.is_none() {
            open.name = Some(octets.to_vec());
        }
        let step = service
            .turnstile
            .within(|| open.exchange.respond(&octets, &service.store));
        self.told(number, open, step, out);
    }

    fn told(&mut self, number: u32, open: Open, step: ServerStep, out: &mut Vec<u8>) {
        let service = self.service;
        let mechanism = open.exchange.mechanism().name();
        let peer = open.peer.escape_default().to_string();
        match step {
            ServerStep::Challenge(octets) => {
                let (id, text) = (number.to_string(), STANDARD.encode(octets));
                dovecot::append(out, &[b"CONT", id.as_bytes(), text.as_bytes()]);
                if let State::Open(all) = &mut self.state {
                    all.insert(number, open);
                }
            }
            ServerStep::Success(login) => {
                let who = service.account_of(&login.authid);
                // A right guess must not be told by its speed.
                let Some(_place) = service.admit(&who) else {
                    return fail(out, number, Some(&login.authid), Refused::ForNow);
                };
                service.learn(&who, Verdict::In);
                let (id, user) = (number.to_string(), [b"user=", &login.authid[..]].concat());
                dovecot::append(out, &[b"OK", id.as_bytes(), &user]);
                let user = login.authid.escape_ascii();
                service.log.info(format!(
                    "auth success: [user={user}] [mech={mechanism}] [rip={peer}]"
                ));
            }
            ServerStep::Failure(failure) => {
                let refused = match failure.kind {
                    FailureKind::Unavailable => Refused::ForNow,
                    _ => Refused::ForGood,
                };
                let authid = failure.authid.unwrap_or_default();
                let user = authid.escape_ascii();
                let why = failure.reason;
                service.log.info(format!(
                    "auth failure: [user={user}] [mech={mechanism}] [rip={peer}] [reason={why}]"
                ));
                // Refused to act as another: the password was right, which nobody is to learn.
                if matches!(
                    failure.kind,
                    FailureKind::Rejected | FailureKind::NotAuthorized
                ) {
                    let who = service.account_of(&authid);
                    // As a right guess would hear in this place.
                    let Some(_place) = service.admit(&who) else {
                        return fail(out, number, Some(&authid), Refused::ForNow);
                    };
                    service.learn(&who, Verdict::Out);
                }
                fail(out, number, Some(&authid), refused);
            }
        }
    }
}

/// The name whose password stands in a response, where checking it costs a hash by design.
/// LOGIN's second response has it, whose first was the name.
fn guessed<'a>(
    mechanism: Mechanism,
    response: &'a [u8],
    told: Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    match mechanism {
        Mechanism::Plain => response.split(|octet| *octet == 0).nth(1),
        Mechanism::Login => told,
        _ => None,
    }
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Not with this password.
    ForGood,
    /// Nobody can tell now: `temp`.
    ForNow,
}

/// Appends `FAIL`.
fn fail(out: &mut Vec<u8>, number: u32, user: Option<&[u8]>, refused: Refused) {
    let id = number.to_string();
    let user = user.filter(|user| !user.is_empty());
    let user = user.map(|user| [b"user=", user].concat());
    let mut words: Vec<&[u8]> = vec![b"FAIL", id.as_bytes()];
    words.extend(user.as_deref());
    if refused == Refused::ForNow {
        words.push(b"temp");
    }
    dovecot::append(out, &words);
}

impl Conversation for Talk<'_> {
    fn greet(&mut self, out: &mut Vec<u8>) {
        let (major, minor) = (VERSION.0.to_string(), VERSION.1.to_string());
        dovecot::append(out, &[b"VERSION", major.as_bytes(), minor.as_bytes()]);
        for mechanism in &self.service.offered {
            let traits: &[&[u8]] = match mechanism {
                Mechanism::Plain | Mechanism::Login => &[b"plaintext"],
                Mechanism::CramMd5 => &[b"dictionary", b"active"],
                Mechanism::DigestMd5 => &[b"dictionary", b"active", b"mutual-auth"],
                _ => &[b"mutual-auth"],
            };
            let mut words: Vec<&[u8]> = vec![b"MECH", mechanism.name().as_bytes()];
            words.extend(traits);
            dovecot::append(out, &words);
        }
        let (pid, client) = (std::process::id().to_string(), self.number.to_string());
        dovecot::append(out, &[b"SPID", pid.as_bytes()]);
        dovecot::append(out, &[b"CUID", client.as_bytes()]);
        if let Some(nonce) = Nonce::random() {
            let octets = nonce.as_str().bytes();
            let cookie: String = octets
                .take(16)
                .map(|octet| format!("{octet:02x}"))
                .collect();
            dovecot::append(out, &[b"COOKIE", cookie.as_bytes()]);
        }
        dovecot::append(out, &[b"DONE"]);
    }

    fn turn(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Turn {
        match dovecot::line(octets) {
            Line::More => Turn::More,
            Line::TooLong => Turn::Closed,
            Line::Whole(line, used) => match self.obey(line, out) {
                true => Turn::Answered { used },
                false => Turn::Closed,
            },
        }
    }
}
