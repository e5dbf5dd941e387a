//! `route`: the mailer triple of an address, and what local names become when no
//! alias takes them (rulesets 0 and 5, and sendmail's own last steps).

pub mod canonify;
pub(crate) mod localaddr;
pub mod parse;
mod relay;
mod strip;
mod syntax;
pub mod tables;

pub(crate) use syntax::dequote;

use crate::decision::{Decision, LookupError, Trace};
use crate::map::Map;
use crate::policy::rewrite::AddressRole;
use crate::policy::route::canonify::{Addressing, Canonical};
use crate::policy::route::parse::{Refusal, Resolved, Triple};
use crate::site::model::Rewriting;
use crate::tokens;

/// Where mail for an address goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailerTriple {
    /// The mailer; `error` for a refusal.
    pub mailer: String,
    /// The host, without a final dot; of the error mailer the status. Empty where there is none.
    pub host: Vec<u8>,
    /// The user; of the error mailer the text.
    pub user: Vec<u8>,
}

impl MailerTriple {
    /// Whether this is a refusal.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.mailer == "error"
    }

    /// Whether the rules led to a mailer that is not there, or to none with a host: a fault of the
    /// configuration. sendmail's address test has no triple for it.
    #[must_use]
    pub fn leads_nowhere(&self) -> bool {
        self.is_error() && self.user.starts_with(NOWHERE)
    }
}

/// What sendmail says of rules that lead nowhere begins so.
const NOWHERE: &[u8] = b"554 buildaddr: ";

/// Where an address goes, for whoever goes on from there: it is read and routed once.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The address, as it was given.
    pub(crate) address: Vec<u8>,
    pub(crate) delivery: Delivery,
    /// The probes.
    pub trace: Trace,
}

impl Routed {
    /// Where mail for it goes, before aliases.
    #[must_use]
    pub fn triple(&self) -> &MailerTriple {
        &self.delivery.triple
    }
}

/// A triple, and whether a rule said that the user is here for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) triple: MailerTriple,
    /// Ruleset 5 has had its say: the user is not looked for elsewhere.
    pub(crate) stays_here: bool,
}

/// Flags and rules of the mailer that takes a triple.
pub(crate) struct MailerKind<'a> {
    pub(crate) name: &'a str,
    pub(crate) flags: &'a str,
    rules: Rewriting,
}

const FILE: MailerKind<'static> = MailerKind {
    name: "*file*",
    flags: "lsDFMPEouq9",
    rules: Rewriting::None,
};

const INCLUDE: MailerKind<'static> = MailerKind {
    name: "*include*",
    flags: "su",
    rules: Rewriting::None,
};

impl<M: Map> Addressing<'_, M> {
    /// The mailer triple of an address, before aliases.
    ///
    /// # Errors
    /// When a table can't be read, or the tables lead in a circle.
    pub fn route(&self, address: &[u8]) -> Result<Decision<MailerTriple>, LookupError> {
        let routed = self.routed(address)?;
        Ok(Decision::new(routed.delivery.triple, routed.trace))
    }

    /// As [`route`](Self::route), for an expansion to go on with.
    ///
    /// # Errors
    /// When a table can't be read, or the tables lead in a circle.
    pub fn routed(&self, address: &[u8]) -> Result<Routed, LookupError> {
        let mut trace = Trace::new();
        let delivery = self.deliver_to(address, &mut trace)?;
        Ok(Routed {
            address: address.to_vec(),
            delivery,
            trace,
        })
    }

    pub(crate) fn deliver_to(
        &self,
        address: &[u8],
        trace: &mut Trace,
    ) -> Result<Delivery, LookupError> {
        match self.canonify(address, trace)? {
            Ok(canonical) => {
                let resolved = self.parse(canonical, trace)?;
                self.finish(resolved, trace)
            }
            Err(error) => Ok(refused(
                b"5.1.3".to_vec(),
                format!("553 {error}").into_bytes(),
            )),
        }
    }

    /// Flags and rules of a mailer by name.
    pub(crate) fn mailer(&self, name: &str) -> Option<MailerKind<'_>> {
        for built_in in [FILE, INCLUDE] {
            if built_in.name.eq_ignore_ascii_case(name) {
                return Some(built_in);
            }
        }
        let mailer = self.site.mailers.get(name)?;
        Some(MailerKind {
            name: &mailer.name,
            flags: &mailer.flags,
            rules: mailer.rewriting,
        })
    }

    /// What sendmail does with a triple that the rules gave: programs, files and includes are
    /// told apart, the mailer's rules rewrite the user, letters fold where the mailer wants it.
    pub(crate) fn finish(
        &self,
        resolved: Resolved,
        trace: &mut Trace,
    ) -> Result<Delivery, LookupError> {
        let triple = match resolved {
            Resolved::Error(Refusal { status, text }) => {
                return Ok(refused(status.unwrap_or_default(), text));
            }
            Resolved::Triple(triple) => triple,
        };
        let Triple {
            mailer,
            host,
            mut user,
            stays_here,
        } = triple;
        let name = String::from_utf8_lossy(&mailer);
        if name.eq_ignore_ascii_case("error") {
            // SMART_HOST is an error, and the address a literal: the whole address is the text.
            let host = host.unwrap_or_default();
            let status = tokens::spell(&host, self.blank()).into_owned();
            let at = user
                .host
                .map(|host| tokens::concat(&[b"<@", &host.dotted(), b">"]));
            let text = tokens::concat(&[&user.local, &at.unwrap_or_default()]);
            return Ok(refused(status, text));
        }
        let nowhere = |why: &str| refused(b"5.3.5".to_vec(), [NOWHERE, why.as_bytes()].concat());
        let Some(mut kind) = self.mailer(&name) else {
            return Ok(nowhere(&format!("unknown mailer {name}")));
        };
        let host = host.filter(|host| !host.is_empty());
        if host.is_none() && !kind.flags.contains('l') {
            return Ok(nowhere("no host"));
        }
        if stays_here && !kind.flags.contains('@') {
            user.local = tokens::concat(&[b"@", &user.local]);
        }
        let first = user.local.strip_prefix(b"\"").unwrap_or(&user.local);
        match first.first() {
            Some(b'|') if kind.flags.contains('|') => {
                if let Some(prog) = self.mailer("prog") {
                    kind = prog;
                }
            }
            Some(b'/') if kind.flags.contains('/') => kind = FILE,
            Some(b':') if kind.flags.contains(':') => {
                let spelled = tokens::spell(&user.local, b' ');
                if let Some(path) = strip_include(&tokens::strip_quotes(&spelled)) {
                    return Ok(Delivery {
                        triple: MailerTriple {
                            mailer: INCLUDE.name.to_owned(),
                            host: Vec::new(),
                            user: path.to_vec(),
                        },
                        stays_here: false,
                    });
                }
            }
            _ => {}
        }
        let mut host = host.unwrap_or_default();
        if host.ends_with(b".") {
            host.pop();
        }
        let mut host = tokens::spell(&host, self.blank()).into_owned();
        let address = match user.local.is_empty() && user.host.is_none() {
            true => Canonical::Null,
            false => Canonical::Mailbox(user),
        };
        let role = AddressRole::EnvelopeRecipient;
        let mut user = self.written(role, kind.rules, address, trace)?;
        if !kind.flags.contains('h') {
            host.make_ascii_lowercase();
        }
        if !kind.flags.contains('u') {
            user.make_ascii_lowercase();
        }
        Ok(Delivery {
            triple: MailerTriple {
                mailer: kind.name.to_owned(),
                host,
                user,
            },
            stays_here,
        })
    }
}

fn refused(status: Vec<u8>, text: Vec<u8>) -> Delivery {
    Delivery {
        triple: MailerTriple {
            mailer: "error".to_owned(),
            host: status,
            user: text,
        },
        stays_here: false,
    }
}

/// The path behind `:include:`.
pub(crate) fn strip_include(text: &[u8]) -> Option<&[u8]> {
    let (word, path) = text.split_at_checked(b":include:".len())?;
    word.eq_ignore_ascii_case(b":include:").then_some(path)
}

#[cfg(test)]
#[path = "route_tests.rs"]
pub(crate) mod tests;
