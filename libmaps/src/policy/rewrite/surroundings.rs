//! What stands around an address in a header field: a display name, comments.

/// What of `raw` stands before and after the address itself, blanks included.
///
/// With angle brackets that is everything up to the last `<` and from its `>` on. Else it is
/// comments before, comments after (one in the middle counts as after), and `phrase:`.
pub(super) fn surroundings(raw: &[u8]) -> (&[u8], &[u8]) {
    let marks = Marks::of(raw);
    if let Some(open) = marks.open {
        let close = marks.close.unwrap_or(raw.len());
        return split(raw, open + 1, close);
    }
    let start = marks.start.unwrap_or(raw.len());
    let start = marks.phrase_end.unwrap_or(start);
    split(
        raw,
        start,
        marks.comment.unwrap_or(raw.trim_ascii_end().len()),
    )
}

fn split(raw: &[u8], start: usize, end: usize) -> (&[u8], &[u8]) {
    let end = end.max(start);
    (
        raw.get(..start).unwrap_or_default(),
        raw.get(end..).unwrap_or_default(),
    )
}

/// Places in a field, outside of quotes and comments.
#[derive(Default)]
struct Marks {
    /// The last `<`.
    open: Option<usize>,
    /// The first `>` behind it.
    close: Option<usize>,
    /// Where the first thing stands that is neither blank nor comment.
    start: Option<usize>,
    /// Where the first comment behind that starts, with the blanks before it, if it ends the field.
    comment: Option<usize>,
    /// Behind the blanks that follow `phrase:`.
    phrase_end: Option<usize>,
}

impl Marks {
    fn of(raw: &[u8]) -> Self {
        let mut marks = Marks::default();
        let (mut comments, mut quoted) = (0usize, false);
        // Behind the last octet of the address so far; and whether all so far may be a phrase.
        let (mut address_end, mut phrase) = (0, true);
        let mut octets = raw.iter().enumerate();
        while let Some((at, octet)) = octets.next() {
            match octet {
                b'\\' => drop(octets.next()),
                _ if quoted => quoted = *octet != b'"',
                b'(' => {
                    if comments == 0 && marks.start.is_some() && marks.comment.is_none() {
                        marks.comment = Some(address_end);
                    }
                    comments += 1;
                    continue;
                }
                b')' => {
                    comments = comments.saturating_sub(1);
                    continue;
                }
                _ if comments > 0 => continue,
                b'"' => quoted = true,
                b'<' => (marks.open, marks.close) = (Some(at), None),
                b'>' if marks.close.is_none() => marks.close = Some(at),
                b':' if phrase && marks.start.is_some() => {
                    let behind = raw.get(at + 1..).unwrap_or_default();
                    let blanks = behind.len() - behind.trim_ascii_start().len();
                    if behind.first() != Some(&b':') {
                        marks.phrase_end = Some(at + 1 + blanks);
                    }
                    phrase = false;
                }
                b'@' | b'[' | b'.' | b'!' | b'%' | b'/' => phrase = false,
                _ if octet.is_ascii_whitespace() => continue,
                _ => {}
            }
            marks.start.get_or_insert(at);
            // Something behind a comment: then the comment is in the middle and is moved to the end,
            // which this does not do; it is left out.
            if marks.comment.is_some() {
                marks.comment = None;
            }
            address_end = at + 1;
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_comments_are_not_the_address() {
        for (raw, before, after) in [
            ("joe@x", "", ""),
            ("Joe <joe@x>", "Joe <", ">"),
            ("\"a <b\" <joe@x> (c)", "\"a <b\" <", "> (c)"),
            ("joe@x (Joe)", "", " (Joe)"),
            ("(c) joe@x", "(c) ", ""),
            ("friends: joe", "friends: ", ""),
            ("joe@[IPv6:::1]", "", ""),
            ("host::joe", "", ""),
        ] {
            let found = surroundings(raw.as_bytes());
            assert_eq!(found, (before.as_bytes(), after.as_bytes()), "{raw}");
        }
    }
}
