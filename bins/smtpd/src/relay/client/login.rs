//! AUTH as client (RFC 4954): the mechanisms in the site's order, one after the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libmaps::sasl::mechanism::{
    ClientExchange, ClientFailure, ClientSetup, MAX_MESSAGE_OCTETS, Mechanism, Nonce, Offer,
};
use libmaps::sasl::password::Password;

use super::{Channel, Client, Failure, Server, State};
use crate::relay::reply::{Class, Reply};

/// What to log in with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Who proves.
    pub authid: Vec<u8>,
    /// As whom; empty: as the authid.
    pub authzid: Vec<u8>,
    /// By which password.
    pub password: Password,
    /// DIGEST-MD5's realm; `None`: the first that the server names.
    pub realm: Option<Vec<u8>>,
    /// The mechanisms that may be used, the preferred first.
    pub mechanisms: Vec<Mechanism>,
    /// Where PLAIN and LOGIN may go.
    pub clear_text: ClearText,
    /// The server's name, for DIGEST-MD5.
    pub host: String,
}

/// To whom the password itself may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearText {
    /// To anybody, even without TLS: the site says so itself.
    Allowed,
    /// Under TLS: the site names the mechanisms.
    Secured,
    /// Under TLS, to a server whose certificate is verified.
    Verified,
}

/// A login under way.
pub(super) struct Login {
    exchange: ClientExchange,
    mechanism: Mechanism,
    /// Mechanisms not tried yet, the next one last.
    left: Vec<Mechanism>,
    /// Why we gave up on this one: `*` was sent.
    cancelled: Option<String>,
    /// The initial response that was not sent with AUTH.
    held_back: Option<Vec<u8>>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.mechanism)
    }
}

impl Client {
    /// Starts with the first mechanism that both sides have; without one, or without
    /// anything to log in with, the client is ready.
    pub(super) fn begin_login(&mut self) {
        self.state = State::Idle;
        let (Some(login), Some(offered)) = (&self.settings.login, &self.offers.auth) else {
            return;
        };
        let secured = self.channel == Channel::Secured;
        let told = match login.clear_text {
            ClearText::Allowed => true,
            ClearText::Secured => secured,
            ClearText::Verified => secured && self.server == Server::Verified,
        };
        let usable = |mechanism: &&Mechanism| {
            let known = offered.iter().any(|o| o == mechanism.name());
            let bound = !matches!(mechanism, Mechanism::ScramPlus(_)) || !self.bindings.is_empty();
            known && bound && (told || !mechanism.sends_password())
        };
        let left: Vec<Mechanism> = login.mechanisms.iter().filter(usable).copied().collect();
        if left.is_empty() {
            let common = |m: &Mechanism| offered.iter().any(|o| o == m.name());
            let withheld = |m: &Mechanism| m.sends_password() && common(m);
            let is_withheld = !told && login.mechanisms.iter().any(withheld);
            let offered = offered.join(" ");
            self.notes.push(match (is_withheld, secured) {
                (false, _) => format!("no mechanism in common, offered {offered}"),
                (true, false) => format!("no password is told without TLS, offered {offered}"),
                (true, true) => format!(
                    "no password is told to a server that is not verified, offered {offered}"
                ),
            });
            return;
        }
        self.try_next(left.into_iter().rev().collect());
    }

    fn try_next(&mut self, mut left: Vec<Mechanism>) {
        let Some(mechanism) = left.pop() else {
            let text = "AUTH failed with every mechanism";
            return self.fail(Failure::temporary("4.7.8", text));
        };
        let (Some(login), Some(nonce)) = (&self.settings.login, Nonce::random()) else {
            return self.fail(Failure::temporary("4.3.0", "no random numbers"));
        };
        let offered = self.offers.auth.iter().flatten();
        let plus = match mechanism {
            Mechanism::Scram(hash) => offered
                .clone()
                .any(|o| o == Mechanism::ScramPlus(hash).name()),
            Mechanism::ScramPlus(_) => true,
            _ => false,
        };
        let setup = ClientSetup {
            authid: login.authid.clone(),
            authzid: login.authzid.clone(),
            password: login.password.clone(),
            realm: login.realm.clone(),
            service: "smtp".into(),
            host: login.host.clone(),
            bindings: self.bindings.clone(),
            plus: if plus {
                Offer::Offered
            } else {
                Offer::NotOffered
            },
        };
        let mut exchange = ClientExchange::new(mechanism, setup, nonce);
        let mut line = format!("AUTH {mechanism}");
        let mut held_back = None;
        match exchange.initial() {
            Ok(Some(octets)) => {
                let response = match octets.is_empty() {
                    true => "=".to_owned(),
                    false => STANDARD.encode(&octets),
                };
                // RFC 4954 section 4: only where the command stays a line.
                if line.len() + response.len() > 500 {
                    held_back = Some(octets);
                } else {
                    line.push(' ');
                    line.push_str(&response);
                }
            }
            Ok(None) => {}
            Err(why) => {
                self.notes.push(format!("{mechanism}: {why}"));
                return self.try_next(left);
            }
        }
        line.push_str("\r\n");
        self.output.extend_from_slice(line.as_bytes());
        self.state = State::Login(Box::new(Login {
            exchange,
            mechanism,
            left,
            cancelled: None,
            held_back,
        }));
    }

    pub(super) fn on_login(&mut self, mut login: Login, reply: &Reply) {
        if let Some(why) = &login.cancelled {
            self.notes.push(format!("{}: {why}", login.mechanism));
            return self.try_next(login.left);
        }
        match reply.class() {
            Class::GoOn => {
                let answer = match (challenge(reply), login.held_back.take()) {
                    (Some(_), Some(first)) => Ok(first),
                    (Some(octets), None) => match login.exchange.respond(&octets) {
                        // An impostor gets no second chance by a weaker mechanism.
                        Err(why @ ClientFailure::ServerNotProved) => {
                            let text = format!("AUTH {}: {why}", login.mechanism);
                            return self.fail(Failure::temporary("4.7.0", text));
                        }
                        answer => answer.map_err(|e| e.to_string()),
                    },
                    (None, _) => Err("a challenge that is not base64".to_owned()),
                };
                let line = match answer {
                    Ok(octets) => STANDARD.encode(octets),
                    Err(why) => {
                        login.cancelled = Some(why);
                        "*".to_owned()
                    }
                };
                self.output.extend_from_slice(line.as_bytes());
                self.output.extend_from_slice(b"\r\n");
                self.state = State::Login(Box::new(login));
            }
            Class::Yes => match login.exchange.accepted() {
                Ok(()) => {
                    self.logged_in = Some(login.mechanism.name());
                    self.state = State::Idle;
                }
                Err(why) => {
                    let text = format!("AUTH {}: {why}", login.mechanism);
                    self.fail(Failure::temporary("4.7.0", text));
                }
            },
            Class::NotNow => self.fail(Failure {
                text: format!("AUTH {}: {}", login.mechanism, reply.shown()),
                ..Failure::of(reply.clone())
            }),
            Class::No => {
                let note = format!("{}: {}", login.mechanism, reply.shown());
                self.notes.push(note);
                self.try_next(login.left);
            }
        }
    }
}

/// The octets of a challenge.
fn challenge(reply: &Reply) -> Option<Vec<u8>> {
    let text = reply.first_line().trim();
    if text.len() > MAX_MESSAGE_OCTETS {
        return None;
    }
    STANDARD.decode(text).ok()
}
