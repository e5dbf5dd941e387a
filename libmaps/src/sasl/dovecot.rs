//! The lines of Dovecot's authentication protocol, by which Postfix and Exim, too, ask for
//! logins (Dovecot's auth-protocol.txt).
//!
//! A line is words with tabs between them and a line feed at its end. What a word may not
//! hold is escaped: `\x01` and `0`, `1`, `t`, `r` or `n`. The server greets with its version,
//! a `MECH` line for each mechanism and `DONE`; the client says `VERSION` and `CPID`, and then
//! `AUTH` and `CONT` lines, each with a number that names the exchange, and hears `CONT`, `OK`
//! or `FAIL`.

use std::borrow::Cow;

/// The version that is spoken: major and minor.
pub const VERSION: (u32, u32) = (1, 1);

/// Longest line: a response of [`MAX_MESSAGE_OCTETS`](super::mechanism::MAX_MESSAGE_OCTETS) in
/// base64, and what stands before it.
pub const MAX_LINE_OCTETS: usize = 20_480;

/// The first line in `octets`, without its end, and how many octets it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// It has not ended yet.
    More,
    /// It is longer than [`MAX_LINE_OCTETS`].
    TooLong,
    /// It is whole.
    Whole(&'a [u8], usize),
}

/// Finds the first line.
#[must_use]
pub fn line(octets: &[u8]) -> Line<'_> {
    let within = octets.get(..MAX_LINE_OCTETS).unwrap_or(octets);
    match within.iter().position(|octet| *octet == b'\n') {
        Some(end) => Line::Whole(within.get(..end).unwrap_or_default(), end + 1),
        None if octets.len() > MAX_LINE_OCTETS => Line::TooLong,
        None => Line::More,
    }
}

/// The words of a line, unescaped.
pub fn words(line: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    line.split(|octet| *octet == b'\t').map(unescape)
}

/// The value of a word `name=value`.
#[must_use]
pub fn value<'a>(word: &'a [u8], name: &str) -> Option<&'a [u8]> {
    word.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn unescape(word: &[u8]) -> Cow<'_, [u8]> {
    if !word.contains(&1) {
        return Cow::Borrowed(word);
    }
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word.iter();
    while let Some(octet) = rest.next() {
        plain.push(match octet {
            1 => match rest.next() {
                Some(b'0') => 0,
                Some(b'1') => 1,
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(other) => *other,
                None => break,
            },
            other => *other,
        });
    }
    Cow::Owned(plain)
}

/// Appends a line of these words, each escaped.
pub fn append(out: &mut Vec<u8>, words: &[&[u8]]) {
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            out.push(b'\t');
        }
        for octet in *word {
            match octet {
                0 => out.extend_from_slice(b"\x010"),
                1 => out.extend_from_slice(b"\x011"),
                b'\t' => out.extend_from_slice(b"\x01t"),
                b'\r' => out.extend_from_slice(b"\x01r"),
                b'\n' => out.extend_from_slice(b"\x01n"),
                other => out.push(*other),
            }
        }
    }
    out.push(b'\n');
}

/// What a server says in answer to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `OK`.
    In,
    /// `FAIL`.
    Out,
    /// `FAIL` with `temp` or `code=temp_fail`: nobody can tell now.
    Unknown,
    /// `CONT`: it wants to hear more.
    Asked,
}

/// Reads a server's word about the exchange of this number; `None` for other lines.
#[must_use]
pub fn verdict(line: &[u8], number: u32) -> Option<Verdict> {
    let mut words = words(line);
    let (verb, id) = (words.next()?, words.next()?);
    if id.as_ref() != number.to_string().as_bytes() {
        return None;
    }
    match verb.as_ref() {
        b"OK" => Some(Verdict::In),
        b"CONT" => Some(Verdict::Asked),
        b"FAIL" => {
            let temporary =
                |word: &Cow<'_, [u8]>| matches!(word.as_ref(), b"temp" | b"code=temp_fail");
            Some(match words.any(|word| temporary(&word)) {
                true => Verdict::Unknown,
                false => Verdict::Out,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        assert_eq!(line(b"AUTH\t1"), Line::More);
        assert_eq!(line(b"AUTH\t1\nx"), Line::Whole(b"AUTH\t1", 7));
        assert_eq!(line(b"\n"), Line::Whole(b"", 1));
        assert_eq!(line(&[b'x'; MAX_LINE_OCTETS]), Line::More);
        assert_eq!(line(&[b'x'; MAX_LINE_OCTETS + 1]), Line::TooLong);
        let late = [vec![b'x'; MAX_LINE_OCTETS], b"\n".to_vec()].concat();
        assert_eq!(line(&late), Line::TooLong);
    }

    #[test]
    fn verdicts() {
        for (text, want) in [
            ("OK\t7\tuser=joe", Some(Verdict::In)),
            ("FAIL\t7\tuser=joe", Some(Verdict::Out)),
            ("FAIL\t7\tuser=joe\ttemp", Some(Verdict::Unknown)),
            ("FAIL\t7\tcode=temp_fail\tuser=joe", Some(Verdict::Unknown)),
            ("FAIL\t7\tuser=temp", Some(Verdict::Out)),
            ("CONT\t7\t", Some(Verdict::Asked)),
            ("OK\t70\tuser=joe", None),
            ("OK", None),
            ("OK\t", None),
            ("MECH\tPLAIN\tplaintext", None),
            ("", None),
        ] {
            assert_eq!(verdict(text.as_bytes(), 7), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(all: Vec<Vec<u8>>) {
            prop_assume!(!all.is_empty());
            let mut out = Vec::new();
            let slices: Vec<&[u8]> = all.iter().map(|word| &word[..]).collect();
            append(&mut out, &slices);
            prop_assume!(out.len() <= MAX_LINE_OCTETS);
            let Line::Whole(whole, used) = line(&out) else { panic!("no line") };
            prop_assert_eq!(used, out.len());
            let read: Vec<Vec<u8>> = words(whole).map(Cow::into_owned).collect();
            prop_assert_eq!(read, all);
        }

        #[test]
        fn any_line_is_read(octets: Vec<u8>) {
            prop_assert!(words(&octets).map(|word| word.len()).sum::<usize>() <= octets.len());
        }
    }
}
