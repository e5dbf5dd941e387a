//! Addresses as sendmail's rules see them: a run of tokens.
//!
//! A token is an operator (one of `.:%@!^/[]+`, the OperatorChars that every
//! `.mc` gives, or one of `()<>,;`), a quoted string, or an atom: everything in
//! between. A backslash takes the octet after it into the atom. [`tidy`] brings an
//! address into the one spelling that the rules work on: comments are gone, blanks
//! too, but for a single one between two atoms. In that spelling the tokens can be
//! told from the text alone, so the text is kept and no list of tokens.

use std::borrow::Cow;

/// Most octets of one token; sendmail calls the limit MAXNAME.
pub const MAX_TOKEN_OCTETS: usize = 256;
/// Most tokens of one address; sendmail calls the limit MAXATOM.
pub const MAX_TOKENS: usize = 1_000;

/// An address could not be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// One token is longer than [`MAX_TOKEN_OCTETS`].
    #[error("token too long (at most {MAX_TOKEN_OCTETS} octets)")]
    TooLong,
    /// There are more than [`MAX_TOKENS`] tokens.
    #[error("too many tokens (at most {MAX_TOKENS})")]
    TooMany,
    /// A comment has no end.
    #[error("unbalanced '('")]
    OpenComment,
}

/// What an octet does outside of quotes and comments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Operator,
    Atom,
    Quote,
    Blank,
}

/// [`kind`] of each octet.
#[allow(clippy::indexing_slicing, reason = "a wrong index would not compile")]
static KINDS: [Kind; 256] = {
    let (mut kinds, mut octet) = ([Kind::Atom; 256], 0u8);
    loop {
        kinds[octet as usize] = told_kind(octet);
        match octet.checked_add(1) {
            Some(next) => octet = next,
            None => break kinds,
        }
    }
};

fn kind(octet: u8) -> Kind {
    KINDS.get(usize::from(octet)).copied().unwrap_or(Kind::Atom)
}

const fn told_kind(octet: u8) -> Kind {
    match octet {
        b'.' | b':' | b'%' | b'@' | b'!' | b'^' | b'/' | b'[' | b']' | b'+' => Kind::Operator,
        b'(' | b')' | b'<' | b'>' | b',' | b';' => Kind::Operator,
        b'"' => Kind::Quote,
        b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => Kind::Blank,
        _ => Kind::Atom,
    }
}

/// Brings an address into the spelling that the rules work on.
///
/// What does not balance is mended as sendmail mends it: an open quote or angle
/// bracket is closed at the end, a stray `)` or `>` is dropped.
///
/// # Errors
/// When a comment does not end, or a limit is passed.
pub fn tidy(raw: &[u8]) -> Result<Vec<u8>, TokenError> {
    if is_tidy(raw) {
        return Ok(raw.to_vec());
    }
    let mut out = Vec::with_capacity(raw.len());
    // Where the current atom starts in `out`; and whether the last token was an atom.
    let (mut start, mut in_atom, mut after_atom) = (0, false, false);
    let (mut comments, mut angles, mut count) = (0usize, 0usize, 0usize);
    let mut octets = raw.iter().copied();
    while let Some(octet) = octets.next() {
        if comments > 0 {
            match octet {
                b'\\' => drop(octets.next()),
                b'(' => comments += 1,
                b')' => comments -= 1,
                _ => {}
            }
            continue;
        }
        // A backslash before `!` is dropped: people wrote it for their shell.
        let octet = match octet {
            b'\\' if octets.clone().next() == Some(b'!') => {
                octets.next();
                b'!'
            }
            other => other,
        };
        match kind(octet) {
            // One that takes nothing with it is nothing.
            Kind::Atom if octet == b'\\' && octets.len() == 0 => {}
            Kind::Blank => in_atom = false,
            Kind::Quote => {
                (start, in_atom, after_atom) = (out.len(), false, false);
                count += 1;
                quoted(&mut octets, &mut out);
            }
            Kind::Operator => {
                match octet {
                    b'(' => {
                        comments += 1;
                        continue;
                    }
                    b')' => continue,
                    b'<' => angles += 1,
                    b'>' if angles == 0 => continue,
                    b'>' => angles -= 1,
                    _ => {}
                }
                (start, in_atom, after_atom) = (out.len(), false, false);
                count += 1;
                out.push(octet);
            }
            Kind::Atom => {
                if !in_atom {
                    if after_atom {
                        out.push(b' ');
                    }
                    (start, in_atom, after_atom) = (out.len(), true, true);
                    count += 1;
                }
                atom(octet, &mut octets, &mut out);
            }
        }
        if out.len() - start > MAX_TOKEN_OCTETS {
            return Err(TokenError::TooLong);
        }
        if count > MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
    }
    if comments > 0 {
        return Err(TokenError::OpenComment);
    }
    // Brackets that close what was left open are tokens as any other.
    if count + angles > MAX_TOKENS {
        return Err(TokenError::TooMany);
    }
    out.extend(std::iter::repeat_n(b'>', angles));
    Ok(out)
}

/// Whether this is one of the many addresses that are in that spelling already: atoms, operators
/// and brackets in pairs, within the limits. Of others, with quotes, backslashes, blanks or
/// comments, it is not asked.
fn is_tidy(raw: &[u8]) -> bool {
    let (mut angles, mut atom) = (0usize, 0usize);
    // An octet is a token at the most.
    raw.len() <= MAX_TOKENS
        && raw.iter().all(|&octet| {
            match kind(octet) {
                Kind::Atom => atom += 1,
                _ => atom = 0,
            }
            match octet {
                b'<' => angles += 1,
                b'>' if angles == 0 => return false,
                b'>' => angles -= 1,
                b'(' | b')' | b'\\' => return false,
                _ => {}
            }
            atom <= MAX_TOKEN_OCTETS && !matches!(kind(octet), Kind::Quote | Kind::Blank)
        })
        && angles == 0
}

/// Whether the text is so plain that it holds no quote, backslash, blank, bracket, comment,
/// separator or colon: then each of its operators is a token, and none of them leads or groups.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|&octet| match kind(octet) {
        Kind::Atom => octet != b'\\',
        Kind::Operator => matches!(octet, b'.' | b'%' | b'@' | b'!' | b'^' | b'/' | b'+'),
        Kind::Quote | Kind::Blank => false,
    })
}

/// Copies a quoted string, whose opening quote was just read.
fn quoted(octets: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    out.push(b'"');
    while let Some(octet) = octets.next() {
        out.push(octet);
        match octet {
            b'"' => return,
            b'\\' => match octets.next() {
                Some(escaped) => out.push(escaped),
                None => drop(out.pop()),
            },
            _ => {}
        }
    }
    out.push(b'"');
}

/// Copies an octet of an atom, and the one after a backslash.
fn atom(octet: u8, octets: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    if octet != b'\\' {
        out.push(octet);
        return;
    }
    if let Some(escaped) = octets.next() {
        out.extend([b'\\', escaped]);
    }
}

/// The tokens of a tidy text, one by one, as ranges of it.
#[derive(Clone)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

/// The tokens of `text`, which [`tidy`] has spelled.
#[must_use]
pub fn tokens(text: &[u8]) -> Tokens<'_> {
    Tokens { text, at: 0 }
}

/// A token: where it starts and ends in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Offset of its first octet.
    pub start: usize,
    /// Offset behind its last octet.
    pub end: usize,
    /// Its octets.
    pub text: &'a [u8],
}

impl Token<'_> {
    /// Whether it is this operator.
    #[must_use]
    pub fn is(&self, operator: u8) -> bool {
        self.text == [operator] && kind(operator) == Kind::Operator
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let mut rest = self.text.get(self.at..)?;
        while let Some((b' ', after)) = rest.split_first() {
            rest = after;
        }
        let start = self.text.len() - rest.len();
        let first = *rest.first()?;
        let octets = match kind(first) {
            Kind::Operator | Kind::Blank => 1,
            Kind::Quote => quote_end(rest),
            Kind::Atom => atom_end(rest),
        };
        let end = start + octets;
        self.at = end;
        Some(Token {
            start,
            end,
            text: self.text.get(start..end)?,
        })
    }
}

fn quote_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(octet) = rest.get(at) {
        match octet {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

fn atom_end(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(octet) = rest.get(at) {
        match octet {
            b'\\' => at += 2,
            _ if kind(*octet) != Kind::Atom => return at,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Whether `text` is exactly one token.
#[must_use]
pub fn is_single(text: &[u8]) -> bool {
    let mut all = tokens(text);
    all.next().is_some() && all.next().is_none()
}

/// Whether there is no token.
#[must_use]
pub fn is_empty(text: &[u8]) -> bool {
    tokens(text).next().is_none()
}

/// Offset of the first token that is `operator`.
#[must_use]
pub fn find(text: &[u8], operator: u8) -> Option<usize> {
    // Most addresses hold neither quotes nor backslashes: then every such octet is the operator.
    if !has_quotes(text) {
        return text.iter().position(|octet| *octet == operator);
    }
    tokens(text)
        .find(|token| token.is(operator))
        .map(|token| token.start)
}

/// What stands before and after the first `operator` that has at least one token before it.
#[must_use]
pub fn split_after_one(text: &[u8], operator: u8) -> Option<(&[u8], &[u8])> {
    let token = tokens(text).skip(1).find(|token| token.is(operator))?;
    Some((trim(text.get(..token.start)?), trim(text.get(token.end..)?)))
}

/// What stands before and after the first `operator`.
#[must_use]
pub fn split_first(text: &[u8], operator: u8) -> Option<(&[u8], &[u8])> {
    let at = find(text, operator)?;
    Some((trim(text.get(..at)?), trim(text.get(at + 1..)?)))
}

/// The first token and what stands after it.
#[must_use]
pub fn split_token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let token = tokens(text).next()?;
    Some((token.text, trim(text.get(token.end..)?)))
}

/// `text` without a blank at its ends, as it is left when a piece is cut out of a tidy text.
#[must_use]
pub fn trim(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    match text {
        // A blank behind a backslash belongs to the atom.
        [.., b'\\', b' '] => text,
        [before @ .., b' '] => before,
        _ => text,
    }
}

/// The pieces as one tidy text: a blank comes between two atoms.
#[must_use]
pub fn concat(pieces: &[&[u8]]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(pieces.iter().map(|piece| piece.len() + 1).sum());
    for piece in pieces {
        let starts_atom = piece.first().is_some_and(|o| kind(*o) == Kind::Atom);
        if starts_atom && !out.is_empty() && ends_in_atom(&out) {
            out.push(b' ');
        }
        out.extend_from_slice(piece);
    }
    out
}

fn ends_in_atom(text: &[u8]) -> bool {
    match text.last().map(|octet| kind(*octet)) {
        None => false,
        Some(Kind::Atom) => true,
        // The octet may be escaped, or the last of a quoted string.
        Some(_) => {
            text.contains(&b'\\')
                && tokens(text)
                    .last()
                    .is_some_and(|last| last.text.first().is_some_and(|o| kind(*o) == Kind::Atom))
        }
    }
}

/// The text as it is shown and asked for: the blank between two atoms becomes `blank`
/// (option BlankSub).
#[must_use]
pub fn spell(text: &[u8], blank: u8) -> Cow<'_, [u8]> {
    if !text.contains(&b' ') || blank == b' ' {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut end = 0;
    for token in tokens(text) {
        if token.start > end {
            out.push(blank);
        }
        out.extend_from_slice(token.text);
        end = token.end;
    }
    Cow::Owned(out)
}

/// Whether there are quotes or backslashes.
#[must_use]
pub fn has_quotes(text: &[u8]) -> bool {
    // Keys are short: eight octets at a time cost less than a search that is made ready first. The
    // last eight may have some of those before once more.
    const LOW: u64 = 0x0101_0101_0101_0101;
    let holds = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        let holds = |octet: u8| {
            let differs = word ^ (LOW * u64::from(octet));
            differs.wrapping_sub(LOW) & !differs
        };
        holds(b'"') | holds(b'\\')
    };
    let Some(last) = text.last_chunk() else {
        return text.iter().any(|octet| matches!(octet, b'"' | b'\\'));
    };
    let (words, _) = text.as_chunks();
    let found = words
        .iter()
        .fold(holds(last), |all, word| all | holds(word));
    found & (LOW << 7) != 0
}

/// Without quotes and backslashes, as a name is looked for in a map or among the users.
#[must_use]
pub fn strip_quotes(text: &[u8]) -> Cow<'_, [u8]> {
    if !has_quotes(text) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => {}
            b'\\' => out.extend(octets.next()),
            _ => out.push(octet),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_are_seen_wherever_they_stand() {
        for len in 0..20 {
            let text = vec![b'!'; len];
            assert!(!has_quotes(&text));
            for (at, octet) in (0..len).flat_map(|at| [(at, b'"'), (at, b'\\')]) {
                let mut text = text.clone();
                text[at] = octet;
                assert!(has_quotes(&text), "{at} of {len}");
            }
        }
        assert!(!has_quotes(
            b"#][!\x5d\x23\xdc\xa2\x21\x1c\x02\x7f\xff\x80\0"
        ));
    }

    fn split(raw: &str) -> Vec<String> {
        let text = tidy(raw.as_bytes()).unwrap();
        tokens(&text)
            .map(|token| String::from_utf8_lossy(token.text).into_owned())
            .collect()
    }

    #[test]
    fn operators_quotes_and_atoms() {
        for (raw, want) in [
            ("joe@x.example", "joe|@|x|.|example"),
            ("\"a b\"@c", "\"a b\"|@|c"),
            ("a\\@b@c", "a\\@b|@|c"),
            ("joe smith @ x (home) .example", "joe|smith|@|x|.|example"),
            ("a\"b c\"d", "a|\"b c\"|d"),
            ("a\\!b", "a|!|b"),
            ("joe\"x@y", "joe|\"x@y\""),
            ("<joe@x", "<|joe|@|x|>"),
            ("joe)@x>", "joe|@|x"),
            ("root+*", "root|+|*"),
        ] {
            assert_eq!(split(raw).join("|"), want, "{raw}");
        }
    }

    #[test]
    fn blanks_stay_between_atoms_only() {
        assert_eq!(tidy(b" joe  smith @ x ").unwrap(), b"joe smith@x");
        assert_eq!(
            spell(b"joe smith@\"a b\"", b'.').as_ref(),
            b"joe.smith@\"a b\""
        );
        assert_eq!(concat(&[b"a", b"b", b"@", b"c"]), b"a b@c");
        assert_eq!(concat(&[b"a\\@", b"b"]), b"a\\@ b");
        assert_eq!(tidy(b"\\: \\").unwrap(), b"\\:");
        assert_eq!(tidy(b"a\\").unwrap(), b"a");
    }

    #[test]
    fn limits_are_errors() {
        assert_eq!(tidy(&[b'a'; 300]), Err(TokenError::TooLong));
        assert_eq!(tidy(&[b'.'; 1_001]), Err(TokenError::TooMany));
        // Each is closed at the end.
        assert_eq!(tidy(&[b'<'; 500]).map(|out| out.len()), Ok(1_000));
        assert_eq!(tidy(&[b'<'; 501]), Err(TokenError::TooMany));
        assert_eq!(tidy(b"(a"), Err(TokenError::OpenComment));
    }

    proptest! {
        #[test]
        fn what_is_tidy_is_left_as_it_is(raw in "[a-c@.:\\[<>,;!%+]{0,12}") {
            // A comment takes the short way out, and is dropped.
            let long_way = tidy(format!("{raw}()").as_bytes());
            prop_assert_eq!(tidy(raw.as_bytes()), long_way);
        }

        #[test]
        fn tidy_text_stays_as_it_is(raw in "[a-c@.:\"\\\\ <>(),;!%+]{0,40}") {
            if let Ok(once) = tidy(raw.as_bytes()) {
                prop_assert_eq!(tidy(&once).unwrap(), once.clone());
                let pieces: Vec<&[u8]> = tokens(&once).map(|token| token.text).collect();
                prop_assert_eq!(concat(&pieces), once);
            }
        }
    }
}
