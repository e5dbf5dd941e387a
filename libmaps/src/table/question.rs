//! A table's question to its map: the key as sendmail asks for it, the RHS with its arguments in.
//!
//! Quotes and backslashes are taken off a key before it is asked for: `"joe"@x.example` and
//! `j\oe@x.example` are other spellings of `joe@x.example` (RFC 5321 section 4.1.2), and an entry
//! for it holds for them. Aliases are not asked in this way.

use crate::decision::{LookupError, Step, Trace, Traced};
use crate::map::Map;
use crate::rhs::Rhs;
use crate::table::fill::fill;
use crate::tokens;

/// An entry's RHS, if there is an entry.
pub type Lookup = Result<Option<Rhs>, LookupError>;

/// Asks for the LHS that the pieces are together; `%0` in the RHS is that LHS, `%1` and on are the
/// arguments.
#[inline]
pub(super) fn ask<M: Map>(
    map: &Traced<M>,
    trace: &mut Trace,
    pieces: &[&[u8]],
    step: Step,
    arguments: &[&[u8]],
) -> Lookup {
    filled(map.get_joined(trace, pieces, step), pieces, arguments)
}

/// As [`ask`] for an RHS that holds a secret, which the trace does not show.
///
/// # Errors
/// When the map can't be read.
pub fn ask_secret<M: Map>(map: &Traced<M>, trace: &mut Trace, pieces: &[&[u8]]) -> Lookup {
    filled(map.get_secret(trace, pieces), pieces, &[])
}

#[inline]
fn filled(found: Lookup, pieces: &[&[u8]], arguments: &[&[u8]]) -> Lookup {
    match found {
        Ok(Some(rhs)) if rhs.as_bytes().contains(&b'%') => {
            let lhs = pieces.concat();
            let lhs = tokens::strip_quotes(&lhs);
            let all: Vec<&[u8]> = std::iter::once(&lhs[..])
                .chain(arguments.iter().copied())
                .collect();
            Ok(Some(Rhs::from(fill(rhs.as_bytes(), &all))))
        }
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;

    #[test]
    fn a_key_is_asked_for_without_its_quotes_and_is_the_first_argument() {
        let entries = [
            Entry::new("to:vip@x.example", "%0|%1|100%%|%2|%x"),
            Entry::new("plain", "as it is"),
        ];
        let map = Traced::new(MemoryMap::new("m", entries));
        for (pieces, want) in [
            (
                &["To:", "vip", "@x.example"][..],
                Some("To:vip@x.example|a\\b|100%||%x"),
            ),
            (
                &["To:", "v\\ip", "@x.example"],
                Some("To:vip@x.example|a\\b|100%||%x"),
            ),
            (
                &["To:", "\"Vip\"", "@\"x\".example"],
                Some("To:Vip@x.example|a\\b|100%||%x"),
            ),
            (
                &["To:", "\"vip", "@x.example\""],
                Some("To:vip@x.example|a\\b|100%||%x"),
            ),
            (&["To:", "v\\\\ip", "@x.example"], None),
            (&["\"pl\"ain"], Some("as it is")),
        ] {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            let mut trace = Trace::new();
            let found = ask(&map, &mut trace, &pieces, Step::Exact, &[b"a\\b"]).unwrap();
            assert_eq!(found, want.map(Rhs::from), "{pieces:?}");
            assert!(!trace.to_string().contains('"'), "{trace}");
            let found = ask_secret(&map, &mut trace, &pieces).unwrap();
            assert_eq!(found.is_some(), want.is_some(), "{pieces:?}");
            assert!(!trace.to_string().contains("||") || want.is_some());
        }
    }
}
