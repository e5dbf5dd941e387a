//! [`Trace`]: every probe of a decision, one behind the other in one piece of memory.
//!
//! Nearly all decisions are never explained, and nearly all of their probes find nothing. So a
//! probe is noted without memory of its own: what was asked and found stands in the octets that
//! all probes share, and [`Trace::probes`] takes it out again for whoever explains.

use std::fmt;
use std::sync::Arc;

use super::{Asked, Found, Membership, Probe, Step};
use crate::lhs::{Lhs, fold};
use crate::map::{KeyCase, MapName};
use crate::rhs::Rhs;
use crate::tokens;

/// Room that the first probe makes, for as many as most decisions have.
const FIRST_OCTETS: usize = 512;
const FIRST_RECORDS: usize = 16;

/// All probes of one decision, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Of each probe the LHS and what was found.
    octets: Vec<u8>,
    records: Vec<Record>,
    /// The maps that were asked.
    maps: Vec<Arc<MapName>>,
}

/// A probe without its octets, which start where those of the one before end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    asked: By,
    step: Step,
    found: Kind,
    /// Where the LHS ends.
    lhs_end: usize,
    /// Where what was found ends.
    end: usize,
}

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The map of this number.
    Map(usize),
    Class(&'static str),
    Fact(&'static str),
    Ruleset(&'static str),
}

/// As what the octets behind the LHS were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    Rhs,
    Secret,
    Yes,
    Text,
    Error,
}

/// How an LHS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    AsItIs,
    /// Without quotes and backslashes.
    Plain,
}

/// An LHS that is noted already, and for whose map an answer is to come.
#[must_use]
pub(super) struct Open {
    start: usize,
    asked: By,
    step: Step,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new() -> Self {
        Trace::default()
    }

    /// Adds the probes of a decision that this one rests on.
    pub fn extend(&mut self, other: Trace) {
        if self.records.is_empty() {
            *self = other;
            return;
        }
        self.extend_from(&other, other.len());
    }

    /// Adds the first `count` probes of another trace.
    pub(crate) fn extend_from(&mut self, other: &Trace, count: usize) {
        let records = other.records.get(..count).unwrap_or(&other.records);
        let Some(last) = records.last() else {
            return;
        };
        let before = self.octets.len();
        let octets = other.octets.get(..last.end).unwrap_or_default();
        self.octets.extend_from_slice(octets);
        for record in records {
            let asked = match record.asked {
                By::Map(number) => match other.maps.get(number) {
                    Some(map) => By::Map(self.number_of(map)),
                    None => record.asked,
                },
                other => other,
            };
            self.records.push(Record {
                asked,
                lhs_end: before + record.lhs_end,
                end: before + record.end,
                ..*record
            });
        }
    }

    /// How many probes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The probes, in order, each made anew.
    pub fn probes(&self) -> impl DoubleEndedIterator<Item = Probe> + ExactSizeIterator + '_ {
        let all = self.records.iter().enumerate();
        all.map(|(number, record)| self.probe(number, record))
    }

    /// Notes that a ruleset called another: the probes that follow are its own.
    pub fn enter(&mut self, ruleset: &'static str) {
        let open = self.open(By::Ruleset(ruleset), &[b""], Step::Exact);
        self.close(open, Kind::Nothing);
    }

    /// Notes a question that no map answers: is `member` in a class of the configuration?
    /// Hands the answer through.
    pub fn class(&mut self, class: &'static str, member: &[u8], found: Membership) -> bool {
        let open = self.open(By::Class(class), &[member], Step::Exact);
        let kind = match found {
            Membership::In => Kind::Yes,
            Membership::Out => Kind::Nothing,
        };
        self.close(open, kind);
        found == Membership::In
    }

    /// Notes something that was looked at and is no lookup: a fact of DNS or of the session,
    /// or the built-in rule that settled the matter.
    pub fn fact(&mut self, about: &'static str, of: &[u8], found: Found) {
        let open = self.open(By::Fact(about), &[of], Step::Exact);
        self.found(open, &found);
    }

    /// Notes that a map is asked for what the pieces are together, folded (ASCII letters to lower
    /// case) or as given.
    pub(super) fn ask(
        &mut self,
        map: &Arc<MapName>,
        case: KeyCase,
        (pieces, spelling): (&[&[u8]], Spelling),
        step: Step,
    ) -> Open {
        let map = self.number_of(map);
        let open = self.open(By::Map(map), pieces, step);
        if spelling == Spelling::Plain
            && let Some(lhs) = self.octets.get(open.start..)
            && tokens::has_quotes(lhs)
        {
            let plain = tokens::strip_quotes(lhs).into_owned();
            self.octets.truncate(open.start);
            self.octets.extend(plain);
        }
        if case == KeyCase::Folded
            && let Some(lhs) = self.octets.get_mut(open.start..)
        {
            fold(lhs);
        }
        open
    }

    /// The LHS that is asked for.
    pub(super) fn lhs(&self, open: &Open) -> &[u8] {
        self.octets.get(open.start..).unwrap_or_default()
    }

    /// Notes the RHS that a map gave.
    pub(super) fn rhs(&mut self, open: Open, rhs: &Rhs) {
        self.answer(open, Kind::Rhs, rhs.as_bytes());
    }

    /// Notes any other answer.
    pub(super) fn found(&mut self, open: Open, found: &Found) {
        match found {
            Found::Nothing => self.close(open, Kind::Nothing),
            Found::Rhs(rhs) => self.answer(open, Kind::Rhs, rhs.as_bytes()),
            Found::Secret => self.close(open, Kind::Secret),
            Found::Yes => self.close(open, Kind::Yes),
            Found::Text(text) => self.answer(open, Kind::Text, text.as_bytes()),
            Found::Error(why) => self.answer(open, Kind::Error, why.as_bytes()),
        }
    }

    fn open(&mut self, asked: By, pieces: &[&[u8]], step: Step) -> Open {
        if self.records.capacity() == 0 {
            self.octets.reserve(FIRST_OCTETS);
            self.records.reserve(FIRST_RECORDS);
        }
        let start = self.octets.len();
        for piece in pieces {
            self.octets.extend_from_slice(piece);
        }
        Open { start, asked, step }
    }

    fn close(&mut self, open: Open, found: Kind) {
        self.answer(open, found, b"");
    }

    fn answer(&mut self, open: Open, found: Kind, octets: &[u8]) {
        let lhs_end = self.octets.len();
        self.octets.extend_from_slice(octets);
        self.records.push(Record {
            asked: open.asked,
            step: open.step,
            found,
            lhs_end,
            end: self.octets.len(),
        });
    }

    fn number_of(&mut self, map: &Arc<MapName>) -> usize {
        let known = self.maps.iter().position(|known| Arc::ptr_eq(known, map));
        known.unwrap_or_else(|| {
            self.maps.push(Arc::clone(map));
            self.maps.len() - 1
        })
    }

    fn probe(&self, number: usize, record: &Record) -> Probe {
        let before = number.checked_sub(1).and_then(|n| self.records.get(n));
        let start = before.map_or(0, |before| before.end);
        let octets = |from, to| self.octets.get(from..to).unwrap_or_default();
        let found = octets(record.lhs_end, record.end);
        let text = || String::from_utf8_lossy(found).into();
        let asked = match record.asked {
            By::Map(number) => match self.maps.get(number) {
                Some(map) => Asked::Map(Arc::clone(map)),
                None => Asked::Fact("a map"),
            },
            By::Class(class) => Asked::Class(class),
            By::Fact(about) => Asked::Fact(about),
            By::Ruleset(name) => Asked::Ruleset(name),
        };
        Probe {
            asked,
            lhs: Lhs::from(octets(start, record.lhs_end)),
            step: record.step,
            found: match record.found {
                Kind::Nothing => Found::Nothing,
                Kind::Rhs => Found::Rhs(Rhs::from(found)),
                Kind::Secret => Found::Secret,
                Kind::Yes => Found::Yes,
                Kind::Text => Found::Text(text()),
                Kind::Error => Found::Error(text()),
            },
        }
    }
}

impl fmt::Display for Trace {
    /// A probe a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for probe in self.probes() {
            writeln!(f, "{probe}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MapClass;

    fn map(path: &str) -> Arc<MapName> {
        Arc::new(MapName::new(MapClass::Memory, path))
    }

    #[test]
    fn probes_come_out_as_they_were_noted() {
        let (one, two) = (map("one"), map("two"));
        let mut trace = Trace::new();
        trace.enter("check_x");
        let open = trace.ask(
            &one,
            KeyCase::Folded,
            (&[b"To", b":\"", b"A\".example"], Spelling::Plain),
            Step::Domain,
        );
        assert_eq!(trace.lhs(&open), b"to:a.example");
        trace.rhs(open, &Rhs::from("RELAY"));
        trace.class("own domain", b"A", Membership::Out);
        let open = trace.ask(
            &two,
            KeyCase::Folded,
            (&[b"x"], Spelling::AsItIs),
            Step::Exact,
        );
        trace.found(open, &Found::Error("gone".into()));
        trace.fact("login", b"", Found::Text("joe".into()));
        let shown = "[check_x]\nmemory:one to:a.example (domain): RELAY\n\
                     own domain A (exact): -\nmemory:two x (exact): error: gone\n\
                     login  (exact): joe\n";
        assert_eq!(trace.to_string(), shown);
        assert_eq!(trace.probes().len(), 5);
        let mut longer = Trace::new();
        let open = longer.ask(
            &two,
            KeyCase::Folded,
            (&[b"y"], Spelling::AsItIs),
            Step::Exact,
        );
        longer.found(open, &Found::Secret);
        longer.extend(trace.clone());
        let first = "memory:two y (exact): (secret)\n";
        assert_eq!(longer.to_string(), format!("{first}{shown}"));
        let mut copy = Trace::new();
        copy.extend_from(&longer, 1);
        assert_eq!(copy.to_string(), first);
        let all: Vec<Probe> = longer.probes().skip(1).collect();
        assert_eq!(all, trace.probes().collect::<Vec<_>>());
    }
}
