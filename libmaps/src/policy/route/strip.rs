//! The address itself, out of what stands around it: phrases, brackets, source routes.

use crate::policy::route::canonify::ends_in;
use crate::tokens::{self, tokens};

/// An address without phrase, comment, brackets and route.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stripped {
    Null,
    List(Vec<u8>),
    Address(Vec<u8>),
}

pub(super) fn strip(text: &[u8]) -> Stripped {
    if text.is_empty() {
        return Stripped::Null;
    }
    let bracketed = text.strip_prefix(b"<").and_then(|t| t.strip_suffix(b">"));
    let bare = bracketed.unwrap_or(text);
    // Nothing stands around most addresses but their brackets.
    if !bare.is_empty() && !bare.starts_with(b"@") && tokens::is_plain(bare) {
        return Stripped::Address(bare.to_vec());
    }
    strip_all(text)
}

fn strip_all(text: &[u8]) -> Stripped {
    let mut text = strip_group(text);
    while ends_in(text, b";") {
        text = tokens::trim(text.get(..text.len() - 1).unwrap_or_default());
    }
    // `<list:;>`
    if let Some(open) = tokens::find(text, b'<')
        && let Some((inside, _)) =
            tokens::split_first(text.get(open + 1..).unwrap_or_default(), b'>')
        && let Some(name) = inside.strip_suffix(b":;")
        && !name.is_empty()
    {
        return Stripped::List(name.to_vec());
    }
    if text.is_empty() {
        return Stripped::List(Vec::new());
    }
    // The innermost brackets count.
    while let Some(open) = tokens::find(text, b'<') {
        let inside = text.get(open + 1..).unwrap_or_default();
        text = match tokens::find(inside, b'<') {
            Some(_) => inside,
            None => tokens::split_first(inside, b'>').map_or(inside, |(inside, _)| inside),
        };
        text = tokens::trim(text);
    }
    if let Some((before, _)) = tokens::split_first(text, b'>') {
        text = before;
    }
    while ends_in(text, b";") {
        text = tokens::trim(text.get(..text.len() - 1).unwrap_or_default());
    }
    if text.is_empty() {
        return Stripped::Null;
    }
    Stripped::Address(strip_route(text).to_vec())
}

/// Drops `phrase:` before an address that stands without brackets.
fn strip_group(text: &[u8]) -> &[u8] {
    let Some((_, after)) = tokens::split_first(text, b':') else {
        return text;
    };
    let double_colon = {
        let mut all = tokens(text).peekable();
        std::iter::from_fn(|| all.next().map(|token| (token, all.peek().copied())))
            .any(|(token, next)| token.is(b':') && next.is_some_and(|next| next.is(b':')))
    };
    if tokens::find(text, b'<').is_some() && tokens::find(text, b'>').is_some()
        || text
            .get(..9)
            .is_some_and(|start| start.eq_ignore_ascii_case(b":include:"))
    {
        return text;
    }
    let kept = text.starts_with(b"@") || ends_in_ipv6(text) || double_colon;
    // A literal behind a colon shows that the colon ends a phrase after all.
    if kept && !literal_after_colon(text) {
        return text;
    }
    after
}

/// `[IPv6:...]` at the end.
fn ends_in_ipv6(text: &[u8]) -> bool {
    let Some(open) = tokens::find(text, b'[') else {
        return false;
    };
    let inside = text.get(open + 1..).unwrap_or_default();
    inside
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"IPv6:"))
        && ends_in(text, b"]")
}

/// A colon somewhere before a `[`, and a `]` at the end.
fn literal_after_colon(text: &[u8]) -> bool {
    let colon = tokens::find(text, b':');
    let bracket = tokens(text).filter(|token| token.is(b'[')).last();
    matches!((colon, bracket), (Some(colon), Some(open)) if colon < open.start)
        && ends_in(text, b"]")
}

/// Drops `@a,@b:` before `user@host` (RFC 5321 appendix F.2 says to).
fn strip_route(mut text: &[u8]) -> &[u8] {
    for separator in [b',', b':'] {
        while let Some(rest) = text.strip_prefix(b"@") {
            let after_literal = (separator == b':').then(|| after_literal(rest)).flatten();
            let after = tokens::split_after_one(rest, separator).map(|(_, after)| after);
            match after_literal.or(after) {
                Some(after) if !after.is_empty() => text = after,
                _ => break,
            }
        }
    }
    text
}

/// What stands behind `[...]:` at the start.
fn after_literal(text: &[u8]) -> Option<&[u8]> {
    let mut all = tokens(text);
    all.next().filter(|token| token.is(b'['))?;
    let mut closed = false;
    for token in all {
        if closed && token.is(b':') {
            return text.get(token.end..);
        }
        closed = token.is(b']');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_addresses_take_the_short_way_to_the_same_end(text in "<?[ab@.:\\[<>,;!%+]{1,8}>?") {
            let Ok(text) = tokens::tidy(text.as_bytes()) else {
                return Ok(());
            };
            if !text.is_empty() {
                prop_assert_eq!(strip(&text), strip_all(&text));
            }
        }
    }
}
