//! What a listener allows and offers: the session's part of the configuration.

use libmaps::site::model::RegexMap;
use libmaps::site::model::options::{Privacy, PrivacyFlag};

/// An extension or command that a listener may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// PIPELINING (RFC 2920).
    Pipelining,
    /// EXPN.
    Expn,
    /// VRFY answered truthfully.
    Vrfy,
    /// VERB.
    Verb,
    /// SIZE (RFC 1870) and 8BITMIME (RFC 6152) are always offered; this one is DSN (RFC 3461).
    Dsn,
    /// ETRN (RFC 1985).
    Etrn,
    /// AUTH (RFC 4954), where mechanisms are listed.
    Auth,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// DELIVERBY (RFC 2852).
    DeliverBy,
    /// SMTPUTF8 (RFC 6531).
    SmtpUtf8,
    /// CHUNKING (RFC 3030).
    Chunking,
}

/// A set of [`Offer`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offers(u16);

impl Offers {
    /// These offers.
    #[must_use]
    pub fn of(offers: &[Offer]) -> Self {
        offers.iter().fold(Offers(0), |set, o| set.with(*o))
    }

    /// The set and this offer.
    #[must_use]
    pub fn with(self, offer: Offer) -> Self {
        Offers(self.0 | 1 << offer as u16)
    }

    /// The set without this offer.
    #[must_use]
    pub fn without(self, offer: Offer) -> Self {
        Offers(self.0 & !(1 << offer as u16))
    }

    /// Whether it is offered.
    #[must_use]
    pub fn has(self, offer: Offer) -> bool {
        self.0 & (1 << offer as u16) != 0
    }
}

/// Whether MAIL needs a login first (daemon modifier `a`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthDemand {
    /// Anybody may send MAIL.
    Optional,
    /// 530 before a login.
    Required,
}

/// Whether TLS can be started where it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// It can.
    Ready,
    /// There is no certificate, or TLS is on already.
    Unavailable,
}

/// Which names HELO and EHLO take (AllowBogusHELO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Host names and address literals.
    Hosts,
    /// Anything, and nothing at all.
    Any,
}

/// Whether refusals are for good (SoftBounce).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounces {
    /// 5xx is said.
    Hard,
    /// 4xx is said in place of 5xx.
    Soft,
}

/// The rules of one listener.
#[derive(Clone, Debug)]
pub struct Rules {
    /// This host's name, `$j`.
    pub hostname: String,
    /// Privacy flags in force.
    pub privacy: Privacy,
    /// What is offered before any client is known.
    pub offers: Offers,
    /// Whether a login is demanded.
    pub auth: AuthDemand,
    /// Largest message in octets; 0 is no limit.
    pub max_message_octets: u64,
    /// Recipients of one message; 0 is 10,000.
    pub max_recipients: usize,
    /// Refused recipients after which each RCPT waits a second; 0 is never.
    pub bad_rcpt_throttle: u32,
    /// Useless commands after which replies slow down; 0 is never.
    pub max_noop: u32,
    /// Which names HELO takes.
    pub names: Names,
    /// Whether refusals are for good.
    pub bounces: Bounces,
    /// Failed logins after which the connection ends.
    pub auth_strikes: u32,
    /// FEATURE(check_other): unknown commands that end the session.
    pub bad_command: Option<RegexMap>,
    /// Shortest DELIVERBY time that is taken, in seconds; 0 is any.
    pub deliver_by_min_seconds: i64,
}

impl Rules {
    /// FEATURE(check_other): whether an unknown command ends the session.
    pub(super) fn ends_session(&self, line: &[u8]) -> bool {
        let bad = self.bad_command.as_ref();
        bad.is_some_and(|bad| bad.is_match(line.trim_ascii_end()))
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn private(&self, flag: PrivacyFlag) -> bool {
        self.privacy.has(flag)
    }
}
