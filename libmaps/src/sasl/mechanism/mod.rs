//! SASL mechanisms, both sides, without I/O.
//!
//! [`ServerExchange`] takes what the client sent (already out of base64) and
//! says what to send back, until it ends in a [`Login`] or a [`Failure`].
//! [`ClientExchange`] is the other end, for relaying. Nonces, the time and what
//! TLS knows come in as arguments.
//!
//! Accounts that do not exist are answered with secrets of a valid form that
//! belong to nobody, so that neither the answers nor their time tell them from
//! accounts with another password.

mod accounts;
mod binding;
mod client;
mod cram_md5;
mod decoy;
mod digest_md5;
mod digest_text;
mod external;
mod plain;
mod scram;
mod scram_text;
mod server;

pub use accounts::{Accounts, AccountsError, Checkers, PasswordChecker};
pub use binding::{BindingKind, ChannelBinding, EXPORTER_LABEL, EXPORTER_OCTETS};
pub use client::{ClientExchange, ClientFailure, ClientSetup};
pub use server::{
    AuthzPolicy, Channel, Failure, FailureKind, Login, Offer, ServerExchange, ServerStep, Service,
};

use base64ct::{Base64, Encoding};

use super::hash::ScramHash;

/// The longest response or challenge that is looked at, in octets (RFC 4954 section 4).
pub const MAX_MESSAGE_OCTETS: usize = 12_288;

/// A mechanism by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The password in clear (RFC 4616).
    Plain,
    /// The password in clear, prompt by prompt; no RFC.
    Login,
    /// Challenge and HMAC-MD5 (RFC 2195).
    CramMd5,
    /// HTTP's digest in SASL (RFC 2831), protection `auth` only.
    DigestMd5,
    /// SCRAM (RFC 5802, RFC 7677) without channel binding.
    Scram(ScramHash),
    /// SCRAM bound to its TLS channel.
    ScramPlus(ScramHash),
    /// What TLS has proved already (RFC 4422 appendix A).
    External,
    /// Nobody in particular (RFC 4505).
    Anonymous,
}

impl Mechanism {
    /// All of them, the strongest first.
    pub const ALL: [Mechanism; 10] = [
        Mechanism::External,
        Mechanism::ScramPlus(ScramHash::Sha256),
        Mechanism::ScramPlus(ScramHash::Sha1),
        Mechanism::Scram(ScramHash::Sha256),
        Mechanism::Scram(ScramHash::Sha1),
        Mechanism::DigestMd5,
        Mechanism::CramMd5,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::Anonymous,
    ];

    /// The registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::DigestMd5 => "DIGEST-MD5",
            Mechanism::Scram(hash) => hash.mechanism_name(),
            Mechanism::ScramPlus(ScramHash::Sha1) => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramPlus(ScramHash::Sha256) => "SCRAM-SHA-256-PLUS",
            Mechanism::External => "EXTERNAL",
            Mechanism::Anonymous => "ANONYMOUS",
        }
    }

    /// The mechanism of a name, in any case; `None`: not one of ours.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let mut all = Mechanism::ALL.into_iter();
        all.find(|m| m.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether the password crosses the wire: hidden without TLS where the site asks for it.
    #[must_use]
    pub fn sends_password(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login)
    }
}

impl std::fmt::Display for Mechanism {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that is used once: printable ASCII without comma, quote, blank or backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// A nonce of 18 random octets.
    #[must_use]
    pub fn from_octets(octets: [u8; 18]) -> Self {
        Nonce(Base64::encode_string(&octets))
    }

    /// A nonce from the operating system's random numbers; `None`: it gives none.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut octets = [0; 18];
        getrandom::fill(&mut octets).ok()?;
        Some(Nonce::from_octets(octets))
    }

    /// A nonce of one's own; `None`: characters that SCRAM or DIGEST-MD5 can't carry.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_graphic() && !b",\"\\".contains(&b);
        (!text.is_empty() && text.len() <= 256 && text.bytes().all(fits))
            .then(|| Nonce(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
