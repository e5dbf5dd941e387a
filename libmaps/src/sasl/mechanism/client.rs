//! The client's side: for relaying to a smart host that wants a login.

use super::{ChannelBinding, Mechanism, Nonce, Offer, cram_md5, digest_md5, plain, scram};
use crate::sasl::password::Password;

/// What a client logs in with.
#[derive(Clone, Debug)]
pub struct ClientSetup {
    /// Who proves.
    pub authid: Vec<u8>,
    /// As whom; empty: as the authid.
    pub authzid: Vec<u8>,
    /// By which password.
    pub password: Password,
    /// DIGEST-MD5's realm; `None`: the first that the server names.
    pub realm: Option<Vec<u8>>,
    /// The service, `smtp`.
    pub service: String,
    /// The server's host name.
    pub host: String,
    /// The bindings of the TLS channel, the preferred first.
    pub bindings: Vec<ChannelBinding>,
    /// Whether the server offered a `-PLUS` mechanism.
    pub plus: Offer,
}

/// Why a client gives up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientFailure {
    /// The server's message is no challenge of this mechanism.
    #[error("{0}: {1}")]
    Challenge(Mechanism, &'static str),
    /// The server said yes without proving that it knows the password.
    #[error("the server did not prove that it knows the password")]
    ServerNotProved,
    /// A `-PLUS` mechanism on a channel without binding.
    #[error("the channel has nothing to bind to")]
    NoBinding,
}

enum State {
    /// One message and no more.
    Once,
    LoginName,
    LoginPassword,
    CramMd5,
    DigestMd5(digest_md5::Client),
    Scram(scram::Client),
    /// Nothing more may be asked.
    Over,
}

/// One AUTH command's exchange, as the client sees it.
pub struct ClientExchange {
    mechanism: Mechanism,
    setup: ClientSetup,
    nonce: Nonce,
    state: State,
}

impl ClientExchange {
    /// Starts an exchange; the nonce is the client's.
    #[must_use]
    pub fn new(mechanism: Mechanism, setup: ClientSetup, nonce: Nonce) -> Self {
        let state = match mechanism {
            Mechanism::Plain | Mechanism::External | Mechanism::Anonymous => State::Once,
            Mechanism::Login => State::LoginName,
            Mechanism::CramMd5 => State::CramMd5,
            Mechanism::DigestMd5 => State::DigestMd5(digest_md5::Client::Start),
            Mechanism::Scram(_) | Mechanism::ScramPlus(_) => State::Scram(scram::Client::Start),
        };
        ClientExchange {
            mechanism,
            setup,
            nonce,
            state,
        }
    }

    /// The initial response, where the mechanism has one.
    ///
    /// # Errors
    /// A `-PLUS` mechanism on a channel without binding.
    pub fn initial(&mut self) -> Result<Option<Vec<u8>>, ClientFailure> {
        match self.state {
            State::Once | State::Scram(_) => self.respond(b"").map(Some),
            _ => Ok(None),
        }
    }

    /// Answers a challenge (out of base64). A server that asks after an initial
    /// response has taken it as said; an empty challenge without one asks for it.
    ///
    /// # Errors
    /// The challenge is malformed, or the server's proof is wrong.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ClientFailure> {
        let setup = &self.setup;
        match &mut self.state {
            State::Once => {
                self.state = State::Over;
                Ok(match self.mechanism {
                    Mechanism::Plain => {
                        plain::message(&setup.authzid, &setup.authid, &setup.password)
                    }
                    Mechanism::Anonymous => setup.authid.clone(),
                    _ => setup.authzid.clone(),
                })
            }
            State::LoginName => {
                self.state = State::LoginPassword;
                Ok(setup.authid.clone())
            }
            State::LoginPassword => {
                self.state = State::Over;
                Ok(setup.password.expose().to_vec())
            }
            State::CramMd5 => {
                self.state = State::Over;
                Ok(cram_md5::answer(&setup.authid, &setup.password, challenge))
            }
            State::DigestMd5(client) => client.respond(setup, &self.nonce, challenge),
            State::Scram(client) => client.respond(self.mechanism, setup, &self.nonce, challenge),
            State::Over => Err(ClientFailure::Challenge(
                self.mechanism,
                "one message too many",
            )),
        }
    }

    /// Takes the server's "yes".
    ///
    /// # Errors
    /// The mechanism makes the server prove itself, and it has not.
    pub fn accepted(&self) -> Result<(), ClientFailure> {
        let proved = match &self.state {
            State::DigestMd5(client) => client.server_proved(),
            State::Scram(client) => client.server_proved(),
            _ => true,
        };
        if proved {
            Ok(())
        } else {
            Err(ClientFailure::ServerNotProved)
        }
    }
}
