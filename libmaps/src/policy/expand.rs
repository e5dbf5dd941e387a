//! `expand`: from an address over aliases, includes and tables to the mailer triples.
//!
//! What sendmail's `-bv` does: each recipient is routed; the names that stay here are
//! looked for among the aliases; those that are none are given to ruleset 5, and at
//! last there must be such a user. Loops end where an address meets itself; depth is
//! bounded by option MaxAliasRecursion, and the number of addresses by
//! [`MAX_RECIPIENTS`].

pub mod include;
mod queued;
mod recipient;
pub mod trust;

use crate::decision::{LookupError, Trace};
use crate::map::Map;
use crate::policy::route::canonify::Addressing;
use crate::policy::route::{MailerTriple, Routed};
use crate::site::users::{User, Users};
use crate::table::aliases::AliasTable;

use include::Includes;
use queued::Queued;
use trust::Trust;

/// Most addresses of one expansion.
pub const MAX_RECIPIENTS: usize = 500_000;
/// Most probes that the trace of one expansion keeps.
pub const MAX_PROBES: usize = 10_000;
/// The mailer of the user above the members of his list.
const FORWARD: &str = "*forward*";
/// Most levels of aliases, whatever MaxAliasRecursion says.
const MAX_DEPTH: i64 = 100;

/// What an expansion needs beside the routes.
pub struct Expander<'a, M, A> {
    /// How addresses are read and routed.
    pub addressing: Addressing<'a, M>,
    /// The aliases.
    pub aliases: &'a AliasTable<A>,
    /// Who has a mailbox here.
    pub users: &'a Users,
    /// Who reads include files.
    pub includes: &'a dyn Includes,
}

/// An address on its way to its triples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address, as it was written.
    pub address: Vec<u8>,
    /// Where it was written, where that was in an include file or a user's list: path and line.
    pub place: Option<Place>,
    /// Where it goes.
    pub triple: MailerTriple,
    /// The address that led to this one: its number in [`Expansion::recipients`].
    pub from: Option<usize>,
    /// What became of it.
    pub state: State,
    /// The owner of its alias, who is the envelope sender for all that comes of it.
    pub owner: Option<Vec<u8>>,
    /// The user number of the owner of the list below which it stands, where that is not root.
    pub list_owner: Option<u32>,
    /// The user whose list it stands below: programs and files run with his rights.
    pub controller: Option<std::sync::Arc<str>>,
}

/// A line of a file with addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the alias names it.
    pub path: std::sync::Arc<str>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
}

/// What becomes of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Mail is delivered to its triple.
    Deliver,
    /// It is an alias; what it stands for follows.
    Alias,
    /// It is an include file; its members follow.
    Included,
    /// Ruleset 5 put another one in its place, which follows.
    Replaced,
    /// The same recipient is there already.
    Duplicate,
    /// It leads back to an address that delivers to a user itself.
    Loop,
    /// There is no such user.
    Unknown,
    /// It is refused, and this is why.
    Refused(String),
}

/// All that comes of an address.
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    /// Every address on the way, each after the one that led to it.
    pub recipients: Vec<Recipient>,
    /// Errors that are about the expansion as a whole.
    pub errors: Vec<String>,
    /// The probes, the first [`MAX_PROBES`] of them.
    pub trace: Trace,
}

impl Expansion {
    /// The triples that mail is delivered to, each once.
    #[must_use]
    pub fn deliver(&self) -> Vec<&MailerTriple> {
        let mut all: Vec<&MailerTriple> = self
            .recipients
            .iter()
            .filter(|recipient| recipient.state == State::Deliver)
            .map(|recipient| &recipient.triple)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether a recipient stands in the list of the user that was expanded, and not in another
    /// file that it leads to.
    #[must_use]
    pub fn is_in_own_list(&self, recipient: &Recipient) -> bool {
        let own = self
            .recipients
            .first()
            .filter(|r| r.triple.mailer == FORWARD);
        let own = own.and_then(|own| own.place.as_ref());
        let place = recipient.place.as_ref();
        own.zip(place)
            .is_some_and(|(own, place)| own.path == place.path)
    }

    /// The names that are nobody, as sendmail's messages give them: with file and line
    /// where they stand in an include file.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let unknown = |recipient: &&Recipient| recipient.state == State::Unknown;
        let mut all: Vec<String> = self
            .recipients
            .iter()
            .filter(unknown)
            .map(Recipient::to_string)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Everything that was refused, with the reason.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let refused = self.recipients.iter().filter_map(|recipient| {
            let State::Refused(why) = &recipient.state else {
                return None;
            };
            Some(format!("{recipient}... {why}"))
        });
        refused.chain(self.errors.iter().cloned()).collect()
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}: line {}: ", place.path, place.line)?;
        }
        f.write_str(&String::from_utf8_lossy(&self.address))
    }
}

impl<M: Map, A: Map> Expander<'_, M, A> {
    /// Expands a list of addresses, as typed: separated by commas, or in the old style by blanks.
    ///
    /// # Errors
    /// When a map or the list of users can't be read.
    pub fn expand(&self, list: &[u8]) -> Result<Expansion, LookupError> {
        let mut run = self.run();
        run.top(list)?;
        Ok(run.out)
    }

    /// Expands one address, whatever it holds: it is not looked at for being a list.
    ///
    /// # Errors
    /// When a map or the list of users can't be read.
    pub fn expand_one(&self, address: &[u8]) -> Result<Expansion, LookupError> {
        let mut run = self.run();
        run.one(address)?;
        Ok(run.out)
    }

    /// As [`expand_one`](Self::expand_one) for an address that `addressing` has routed: it goes on
    /// from there, and the trace with the probes of what follows.
    ///
    /// # Errors
    /// When a map or the list of users can't be read.
    pub fn expand_routed(&self, routed: &Routed) -> Result<Expansion, LookupError> {
        let mut run = self.run();
        run.routed(routed)?;
        Ok(run.out)
    }

    /// Expands the list of a user, such as his `.forward` file at this path: lines, separated by
    /// commas. Unlike what was typed it may name programs, files and includes, which are his: the first
    /// recipient is the user, and all others stand below it. Where others may have put it there,
    /// only the addresses in it count.
    ///
    /// # Errors
    /// When a map or the list of users can't be read.
    pub fn expand_for(
        &self,
        user: &User,
        path: &str,
        list: &[u8],
        trust: Trust,
    ) -> Result<Expansion, LookupError> {
        let mut run = self.run();
        run.below(path, list, user, trust)?;
        Ok(run.out)
    }

    fn run(&self) -> recipient::Run<'_, '_, M, A> {
        let recursion = self.addressing.site.options.limits.max_alias_recursion;
        recipient::Run {
            expander: self,
            out: Expansion::default(),
            flags: Vec::new(),
            queued: Queued::default(),
            max_depth: recursion.clamp(0, MAX_DEPTH),
            kept_host: Vec::new(),
            full: false,
            shells: None,
        }
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
