//! Words of strangers, made harmless: one line, no control octets, no endless length.

use std::time::Duration;

use crate::queue::Octets;

/// Most octets of a text on one line: RFC 5322 allows 998 with what stands before it.
const MAX_TEXT_OCTETS: usize = 900;

/// Which octets a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// ASCII; anything else becomes `?`.
    Ascii,
    /// UTF-8 (RFC 6532).
    Utf8,
}

/// A text on one line: control characters become blanks, and a long one is cut.
pub(super) fn one_line(text: &str, charset: Charset) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT_OCTETS));
    for c in text.chars() {
        let c = match c {
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
            c if c.is_ascii() || charset == Charset::Utf8 => c,
            _ => '?',
        };
        if out.len() + c.len_utf8() > MAX_TEXT_OCTETS {
            out.push_str("...");
            break;
        }
        out.push(c);
    }
    out.trim().to_owned()
}

/// An address on one line.
pub(super) fn address(octets: &Octets, charset: Charset) -> String {
    match charset {
        Charset::Utf8 => one_line(&octets.shown(), charset),
        Charset::Ascii => {
            let ascii = |o: &u8| if o.is_ascii() { char::from(*o) } else { '?' };
            let text: String = octets.0.iter().map(ascii).collect();
            one_line(&text, charset)
        }
    }
}

/// Decodes xtext (RFC 3461 section 4) as far as that gives printable ASCII; other
/// escapes stay as they are, so that no decoded line end gets into a header.
pub(super) fn from_xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('+') {
        out.push_str(before);
        let decoded = after.get(..2).and_then(|hex| {
            let octet = u8::from_str_radix(hex, 16).ok()?;
            (octet.is_ascii_graphic() || octet == b' ').then_some(char::from(octet))
        });
        match decoded {
            Some(c) => {
                out.push(c);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('+');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    one_line(&out, Charset::Ascii)
}

/// `5 days`, `1 hour, 30 minutes`: as sendmail's texts say it.
#[must_use]
pub fn duration_in_words(time: Duration) -> String {
    let mut seconds = time.as_secs();
    let mut parts = Vec::new();
    for (unit, each) in [
        ("week", 604_800),
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
        ("second", 1),
    ] {
        let count = seconds / each;
        seconds %= each;
        if count > 0 {
            parts.push(format!(
                "{count} {unit}{}",
                if count == 1 { "" } else { "s" }
            ));
        }
    }
    if parts.is_empty() {
        return "0 seconds".into();
    }
    parts.join(", ")
}

/// The status if it is one (RFC 3463), else the one to fall back on.
pub(super) fn status<'a>(text: &'a str, other: &'a str) -> &'a str {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |p: &&str| (1..=3).contains(&p.len()) && p.bytes().all(|c| c.is_ascii_digit());
    if parts.len() == 3
        && matches!(parts.first(), Some(&("2" | "4" | "5")))
        && parts.iter().all(number)
    {
        text
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_strangers() {
        let cases = [
            ("550 no\r\nBcc: x", "550 no  Bcc: x"),
            ("a\0b\x1b[0m\u{85}c\u{2028}d", "a b [0m c d"),
            (" \u{f6}\u{4e2d} ", "??"),
        ];
        for (text, want) in cases {
            assert_eq!(one_line(text, Charset::Ascii), want, "{text:?}");
        }
        assert_eq!(one_line("\u{f6}\n", Charset::Utf8), "\u{f6}");
        let long = one_line(&"\u{20ac}".repeat(1000), Charset::Utf8);
        assert!(long.len() <= 903 && long.ends_with("..."), "{}", long.len());
        assert_eq!(
            address(&Octets(b"j\xf6e\n@x".to_vec()), Charset::Ascii),
            "j?e @x"
        );
    }

    #[test]
    fn xtext() {
        let cases = [
            ("rfc822;Bad+2BOne@x", "rfc822;Bad+One@x"),
            ("QQ+0D+0ABcc:+20x", "QQ+0D+0ABcc: x"),
            ("a+", "a+"),
            ("a+4", "a+4"),
            ("+E4+zz", "+E4+zz"),
            ("a+2B2B", "a+2B"),
        ];
        for (text, want) in cases {
            assert_eq!(from_xtext(text), want, "{text}");
        }
    }

    #[test]
    fn times_and_statuses() {
        for (seconds, want) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (14_400, "4 hours"),
            (5 * 86_400, "5 days"),
            (8 * 86_400 + 5_400, "1 week, 1 day, 1 hour, 30 minutes"),
        ] {
            assert_eq!(duration_in_words(Duration::from_secs(seconds)), want);
        }
        assert_eq!(status("5.1.1", "5.0.0"), "5.1.1");
        for bad in ["", "5.1", "5.1.1\r\nX: y", "9.1.1", "5.1.1111", "5..1"] {
            assert_eq!(status(bad, "5.0.0"), "5.0.0", "{bad:?}");
        }
    }
}
