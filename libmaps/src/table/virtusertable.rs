//! virtusertable: addresses of virtual domains to users here or elsewhere.
//!
//! The LHS is `user@domain`, `user+detail@domain`, `user++@domain` (any detail, but
//! there is one), `user+*@domain` (any detail, the empty one too), `++@domain`,
//! `+*@domain` or `@domain`. In the RHS `%0` is the LHS that was found, `%1` the
//! local part, or of a plussed user what stands before the plus; `%2` is its detail
//! and `%3` the detail with its plus.

use crate::decision::{LookupError, Step, Trace, Traced};
use crate::map::Map;
use crate::table::question;
use crate::tokens;

/// A virtusertable.
#[derive(Clone)]
pub struct VirtUserTable<M> {
    map: Traced<M>,
}

/// What an entry makes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Another address, which is routed in its turn.
    Address(Vec<u8>),
    /// `error:status text`: refused.
    Refused {
        /// `5.1.1`, or a word such as `nouser`.
        status: Vec<u8>,
        /// The text, with its code where the entry has one.
        text: Vec<u8>,
    },
}

impl<M: Map> VirtUserTable<M> {
    /// The table in this map.
    pub fn new(map: M) -> Self {
        VirtUserTable::of(Traced::new(map))
    }

    /// The table in a map that leaves probes already.
    pub fn of(map: Traced<M>) -> Self {
        VirtUserTable { map }
    }

    /// What becomes of `local@domain`; nothing if no entry fits.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn rewrite(
        &self,
        local: &[u8],
        domain: &[u8],
        trace: &mut Trace,
    ) -> Result<Option<Rewrite>, LookupError> {
        let mut ask = |user: &[u8], step: Step, arguments: &[&[u8]]| {
            self.ask(user, domain, step, arguments, trace)
        };
        if let Some(found) = ask(local, Step::Exact, &[local])? {
            return Ok(Some(found));
        }
        let Some((user, detail)) = tokens::split_after_one(local, b'+') else {
            return ask(b"", Step::Domain, &[local]);
        };
        let plus_detail = tokens::concat(&[b"+", detail]);
        let arguments: [&[u8]; 3] = [user, detail, &plus_detail];
        let some_detail = !tokens::is_empty(detail);
        for (name, step) in [
            (&tokens::concat(&[user, b"++"])[..], Step::AnyDetail),
            (&tokens::concat(&[user, b"+*"]), Step::AnyDetail),
            (user, Step::NoDetail),
            (b"++", Step::Domain),
            (b"+*", Step::Domain),
            (b"", Step::Domain),
        ] {
            if name.ends_with(b"++") && !some_detail {
                continue;
            }
            if let Some(found) = ask(name, step, &arguments)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn ask(
        &self,
        user: &[u8],
        domain: &[u8],
        step: Step,
        arguments: &[&[u8]],
        trace: &mut Trace,
    ) -> Result<Option<Rewrite>, LookupError> {
        let pieces = [user, b"@", domain];
        let found = question::ask(&self.map, trace, &pieces, step, arguments)?;
        Ok(found.map(|rhs| Rewrite::parse(rhs.as_bytes())))
    }
}

impl Rewrite {
    /// Reads an RHS, after the arguments were put into it.
    ///
    /// `error:` needs a status and a text after it; without them it is an address,
    /// whose part before the colon then counts for nothing.
    #[must_use]
    pub fn parse(rhs: &[u8]) -> Rewrite {
        let address = || Rewrite::Address(rhs.to_vec());
        let Ok(text) = tokens::tidy(rhs) else {
            return address();
        };
        let Some((status, text)) = error_parts(&text) else {
            return address();
        };
        Rewrite::Refused { status, text }
    }
}

/// Status and text of `error:d.s.n:text` or `error:word text`.
fn error_parts(rhs: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (error, rest) = tokens::split_token(rhs)?;
    let rest = rest.strip_prefix(b":")?;
    if !error.eq_ignore_ascii_case(b"error") {
        return None;
    }
    if let Some((status, text)) = dotted_status(rest) {
        return Some((status.to_vec(), text.to_vec()));
    }
    let (word, text) = tokens::split_token(rest)?;
    (!text.is_empty()).then(|| (unquoted(word).to_vec(), text.to_vec()))
}

/// `d.s.n:text`, with something in each place.
pub(crate) fn dotted_status(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut all = tokens::tokens(text);
    for want_dot in [false, true, false, true, false] {
        let token = all.next()?;
        if want_dot && !token.is(b'.') {
            return None;
        }
    }
    let colon = all.next().filter(|token| token.is(b':'))?;
    let rest = tokens::trim(text.get(colon.end..)?);
    (!rest.is_empty()).then_some((text.get(..colon.start)?, rest))
}

/// A word without the quotes around it.
pub(crate) fn unquoted(word: &[u8]) -> &[u8] {
    word.strip_prefix(b"\"")
        .and_then(|inner| inner.strip_suffix(b"\""))
        .unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;

    fn table(entries: &[(&str, &str)]) -> VirtUserTable<MemoryMap> {
        VirtUserTable::new(MemoryMap::new(
            "virtusertable",
            entries.iter().map(|(lhs, rhs)| Entry::new(*lhs, *rhs)),
        ))
    }

    fn asked(trace: &Trace) -> Vec<String> {
        trace.probes().map(|p| p.lhs.to_string()).collect()
    }

    #[test]
    fn a_plussed_user_is_tried_from_the_most_exact_to_the_domain() {
        let mut trace = Trace::new();
        let found = table(&[]).rewrite(b"joe+x", b"v.example", &mut trace);
        assert_eq!(found.unwrap(), None);
        assert_eq!(
            asked(&trace),
            [
                "joe+x@v.example",
                "joe++@v.example",
                "joe+*@v.example",
                "joe@v.example",
                "++@v.example",
                "+*@v.example",
                "@v.example"
            ]
        );
    }

    #[test]
    fn an_empty_detail_is_no_match_for_two_plus_signs() {
        let mut trace = Trace::new();
        let table = table(&[("joe++@v.example", "no"), ("+*@v.example", "%1-%2-%3")]);
        let found = table.rewrite(b"joe+", b"v.example", &mut trace).unwrap();
        assert_eq!(found, Some(Rewrite::Address(b"joe--+".to_vec())));
    }

    #[test]
    fn arguments_are_the_parts_of_the_address() {
        let table = table(&[
            ("joe+*@v.example", "%1@%2.example+%3"),
            ("@w.example", "%1@z.example"),
            ("exact@v.example", "%0 %1%2"),
        ]);
        for (local, domain, want) in [
            ("joe+x", "v.example", "joe@x.example++x"),
            ("joe+x", "w.example", "joe@z.example"),
            ("mick", "w.example", "mick@z.example"),
            ("Exact", "v.example", "Exact@v.example Exact"),
            ("\"ex\"act", "v.example", "exact@v.example \"ex\"act"),
        ] {
            let found = table
                .rewrite(local.as_bytes(), domain.as_bytes(), &mut Trace::new())
                .unwrap();
            assert_eq!(
                found,
                Some(Rewrite::Address(want.into())),
                "{local}@{domain}"
            );
        }
    }

    #[test]
    fn errors_need_a_status_and_a_text() {
        let refused = |status: &str, text: &str| Rewrite::Refused {
            status: status.into(),
            text: text.into(),
        };
        for (rhs, want) in [
            ("error:5.7.0:550 Go away", refused("5.7.0", "550 Go away")),
            (
                "error:nouser No such user",
                refused("nouser", "No such user"),
            ),
            ("ERROR:nouser x", refused("nouser", "x")),
            ("error:550 x y", refused("550", "x y")),
            ("error:nouser", Rewrite::Address(b"error:nouser".to_vec())),
            (
                "errors@x.example",
                Rewrite::Address(b"errors@x.example".to_vec()),
            ),
        ] {
            assert_eq!(Rewrite::parse(rhs.as_bytes()), want, "{rhs}");
        }
    }
}
