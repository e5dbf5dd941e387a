//! Decisions that carry their reason: an outcome and the trace of every probe.
//!
//! A [`Trace`] is data. Logs, `mapctl explain` and the debug log of a session all
//! print this one value, and nothing decides by reading it back.

mod trace;

use std::fmt;
use std::sync::Arc;

use crate::lhs::Lhs;
use crate::map::{KeyCase, Map, MapName, StoreError};
use crate::rhs::Rhs;
use crate::sysexits::SysExit;
use trace::{Open, Spelling};

pub use trace::Trace;

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision<T> {
    /// The answer.
    pub outcome: T,
    /// Every probe that led to it, in order.
    pub trace: Trace,
}

impl<T> Decision<T> {
    /// A decision.
    pub fn new(outcome: T, trace: Trace) -> Self {
        Decision { outcome, trace }
    }

    /// The same reason for another answer.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Decision<U> {
        Decision {
            outcome: f(self.outcome),
            trace: self.trace,
        }
    }
}

/// One exact question: who was asked, what, why, and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who was asked.
    pub asked: Asked,
    /// What was asked.
    pub lhs: Lhs,
    /// Why it was tried.
    pub step: Step,
    /// What was found.
    pub found: Found,
}

impl Probe {
    /// Whether the question had an answer.
    #[must_use]
    pub fn hit(&self) -> bool {
        !matches!(self.found, Found::Nothing)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Asked::Ruleset(name) = self.asked {
            return write!(f, "[{name}]");
        }
        write!(
            f,
            "{} {} ({}): {}",
            self.asked, self.lhs, self.step, self.found
        )
    }
}

/// Who was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// A map; the LHS is the exact key.
    Map(Arc<MapName>),
    /// A class of the configuration, by what an administrator calls it: `relay-domains`.
    Class(&'static str),
    /// A fact handed in (DNS, TLS, login), or a built-in rule, in words.
    Fact(&'static str),
    /// No question: the ruleset named here starts.
    Ruleset(&'static str),
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::Map(name) => write!(f, "{name}"),
            Asked::Class(name) | Asked::Fact(name) | Asked::Ruleset(name) => f.write_str(name),
        }
    }
}

/// Whether a class holds a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It does.
    In,
    /// It does not.
    Out,
}

impl From<bool> for Membership {
    fn from(is_in: bool) -> Self {
        if is_in {
            Membership::In
        } else {
            Membership::Out
        }
    }
}

/// Why an LHS was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The thing itself.
    Exact,
    /// With `+*` in the place of the detail: any detail.
    AnyDetail,
    /// The same without its detail.
    NoDetail,
    /// The local part alone: `user@` in access.
    User,
    /// The domain alone; in virtusertable the catch-all `@domain`.
    Domain,
    /// The domain without this many of its leading labels.
    ParentDomain(u8),
    /// The first so many octets (IPv4) or groups (IPv6) of an address.
    Network(u8),
    /// The entry for everything else: a bare tag in access, `.` in mailertable.
    Default,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Exact => f.write_str("exact"),
            Step::AnyDetail => f.write_str("any detail"),
            Step::NoDetail => f.write_str("without detail"),
            Step::User => f.write_str("user"),
            Step::Domain => f.write_str("domain"),
            Step::ParentDomain(up) => write!(f, "parent domain, {up} up"),
            Step::Network(parts) => write!(f, "network of {parts}"),
            Step::Default => f.write_str("default"),
        }
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Not there.
    Nothing,
    /// The entry's RHS.
    Rhs(Rhs),
    /// The RHS is a secret and is never printed.
    Secret,
    /// In the class; the fact holds.
    Yes,
    /// A fact that is more than yes or no, in words.
    Text(Box<str>),
    /// Nobody can tell, and this is why.
    Error(Box<str>),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Nothing => f.write_str("-"),
            Found::Rhs(rhs) => write!(f, "{rhs}"),
            Found::Secret => f.write_str("(secret)"),
            Found::Yes => f.write_str("yes"),
            Found::Text(text) => f.write_str(text),
            Found::Error(why) => write!(f, "error: {why}"),
        }
    }
}

/// Why there is no answer. "Not in the map" is an answer; this is not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// A map could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry's RHS makes no sense in its table.
    #[error("{map}: {lhs}: {why}")]
    BadRhs {
        /// The map that holds the entry.
        map: Arc<MapName>,
        /// The entry.
        lhs: Lhs,
        /// What is wrong, and what was expected.
        why: &'static str,
    },
    /// Rewriting did not come to an end.
    #[error("{lhs}: still rewriting after {depth} steps")]
    Loop {
        /// Where it was given up.
        lhs: Lhs,
        /// After so many steps.
        depth: u8,
    },
}

impl LookupError {
    /// The exit code of a program that ends because of this error.
    #[must_use]
    pub fn exit(&self) -> SysExit {
        match self {
            LookupError::Store(error) => error.exit(),
            LookupError::BadRhs { .. } | LookupError::Loop { .. } => SysExit::Config,
        }
    }

    /// Whether waiting helps.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            LookupError::Store(error) => error.is_temporary(),
            LookupError::BadRhs { .. } | LookupError::Loop { .. } => false,
        }
    }
}

/// A map as tables ask it: every question leaves a probe in the trace.
///
/// The name is shared, so that a probe costs no copy of the path.
#[derive(Clone)]
pub struct Traced<M> {
    map: M,
    name: Arc<MapName>,
    case: KeyCase,
}

impl<M: Map> Traced<M> {
    /// Wraps a map.
    pub fn new(map: M) -> Self {
        let name = Arc::new(map.name().clone());
        let case = map.key_case();
        Traced { map, name, case }
    }

    /// What `wrap` makes of the map, under the same name.
    pub fn with<N>(&self, wrap: impl FnOnce(M) -> N) -> Traced<N>
    where
        M: Clone,
    {
        Traced {
            map: wrap(self.map.clone()),
            name: Arc::clone(&self.name),
            case: self.case,
        }
    }

    /// Folds `lhs` (ASCII letters to lower case), unless the map is asked as given; asks for it
    /// and notes the probe.
    ///
    /// # Errors
    /// When the map can't be read; the trace then ends in the error.
    pub fn get(
        &self,
        trace: &mut Trace,
        lhs: &[u8],
        step: Step,
    ) -> Result<Option<Rhs>, LookupError> {
        let asked = (&[lhs][..], Spelling::AsItIs);
        self.ask(trace, asked, step, |trace, open, rhs| trace.rhs(open, rhs))
    }

    /// As [`get`](Self::get) for the LHS that the pieces are together, without its quotes and
    /// backslashes: nearly all keys have none, so that is seen where they are put together.
    ///
    /// # Errors
    /// When the map can't be read; the trace then ends in the error.
    pub fn get_joined(
        &self,
        trace: &mut Trace,
        pieces: &[&[u8]],
        step: Step,
    ) -> Result<Option<Rhs>, LookupError> {
        let asked = (pieces, Spelling::Plain);
        self.ask(trace, asked, step, |trace, open, rhs| trace.rhs(open, rhs))
    }

    /// As [`get_joined`](Self::get_joined) for an RHS that holds a secret, which the trace must
    /// not show.
    ///
    /// # Errors
    /// When the map can't be read; the trace then ends in the error.
    pub fn get_secret(
        &self,
        trace: &mut Trace,
        pieces: &[&[u8]],
    ) -> Result<Option<Rhs>, LookupError> {
        self.ask(
            trace,
            (pieces, Spelling::Plain),
            Step::Exact,
            |trace, open, _| {
                trace.found(open, &Found::Secret);
            },
        )
    }

    /// Asks, and has the RHS that is found noted.
    fn ask(
        &self,
        trace: &mut Trace,
        asked: (&[&[u8]], Spelling),
        step: Step,
        note: impl FnOnce(&mut Trace, Open, &Rhs),
    ) -> Result<Option<Rhs>, LookupError> {
        let open = trace.ask(&self.name, self.case, asked, step);
        let answer = self.map.get(trace.lhs(&open));
        match &answer {
            Ok(Some(rhs)) => note(trace, open, rhs),
            Ok(None) => trace.found(open, &Found::Nothing),
            Err(error) => trace.found(open, &Found::Error(error.to_string().into())),
        }
        Ok(answer?)
    }

    /// Class and path.
    #[must_use]
    pub fn name(&self) -> &Arc<MapName> {
        &self.name
    }

    /// The map itself.
    #[must_use]
    pub fn map(&self) -> &M {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;

    #[test]
    fn a_question_folds_and_leaves_a_probe() {
        let map = Traced::new(MemoryMap::new(
            "access",
            [Entry::new("from:a.example", "OK")],
        ));
        let mut trace = Trace::new();
        let found = map.get(&mut trace, b"From:A.example", Step::Domain);
        assert_eq!(found.unwrap(), Some(Rhs::from("OK")));
        assert_eq!(
            trace.to_string(),
            "memory:access from:a.example (domain): OK\n"
        );
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(Found::Secret.to_string(), "(secret)");
    }
}
