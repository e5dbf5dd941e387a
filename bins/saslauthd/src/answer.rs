//! What a client is told: `OK` or `NO`, with or without words after it.

use std::borrow::Cow;

/// The answer to a request. Clients look at its first two octets only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    text: Cow<'static, [u8]>,
    holds: Holds,
}

/// How long an answer is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// As long as what it was told from does not change.
    UntilAChange,
    /// For this request alone.
    Once,
}

/// The longest text after `NO `, in octets; a remote server's words may be longer.
const TEXT_LIMIT_OCTETS: usize = 1000;

impl Answer {
    /// Let in.
    #[must_use]
    pub const fn ok() -> Self {
        Answer::of(Cow::Borrowed(b"OK"))
    }

    const fn of(text: Cow<'static, [u8]>) -> Self {
        Answer {
            text,
            holds: Holds::UntilAChange,
        }
    }

    /// The same, told from what may be out of date: it is not to be remembered.
    #[must_use]
    pub fn once(self) -> Self {
        Answer {
            holds: Holds::Once,
            ..self
        }
    }

    /// True where the cache may remember it.
    #[must_use]
    pub fn may_be_kept(&self) -> bool {
        self.holds == Holds::UntilAChange
    }

    /// Let in, with words that no client reads.
    #[must_use]
    pub fn ok_with(text: &str) -> Self {
        Answer::of(Cow::Owned(format!("OK {text}").into_bytes()))
    }

    /// Not let in, without a reason.
    #[must_use]
    pub const fn no() -> Self {
        Answer::of(Cow::Borrowed(b"NO"))
    }

    /// Not let in, and why.
    #[must_use]
    pub fn refused(why: &str) -> Self {
        let mut text = format!("NO {why}").into_bytes();
        text.truncate(TEXT_LIMIT_OCTETS);
        Answer::of(Cow::Owned(text))
    }

    /// The answer in a reply's text, whatever it says.
    #[must_use]
    pub fn from_reply(text: &[u8]) -> Self {
        Answer::of(Cow::Owned(text.to_vec()))
    }

    /// True where the reply starts with `OK`, in capitals.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.text.starts_with(b"OK")
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The words after `NO `, for the log; `Unknown` where there are none.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        match self.text.get(3..) {
            Some(words) if !words.is_empty() => words,
            _ => b"Unknown",
        }
    }

    /// The reply as it goes over the wire: its length as 16 bits, then its text.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let text = self
            .text
            .get(..usize::from(u16::MAX))
            .unwrap_or(self.text.as_ref());
        let count = u16::try_from(text.len()).unwrap_or(u16::MAX);
        let mut frame = Vec::with_capacity(text.len().saturating_add(2));
        frame.extend_from_slice(&count.to_be_bytes());
        frame.extend_from_slice(text);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_reasons() {
        let cases: [(Answer, &[u8], &[u8], bool); 5] = [
            (Answer::ok(), b"\0\x02OK", b"Unknown", true),
            (Answer::no(), b"\0\x02NO", b"Unknown", false),
            (Answer::refused(""), b"\0\x03NO ", b"Unknown", false),
            (
                Answer::refused("Invalid username"),
                b"\0\x13NO Invalid username",
                b"Invalid username",
                false,
            ),
            (Answer::ok_with("yes"), b"\0\x06OK yes", b"yes", true),
        ];
        for (answer, frame, reason, ok) in cases {
            assert_eq!(answer.to_frame(), frame);
            assert_eq!(answer.reason(), reason);
            assert_eq!(answer.is_ok(), ok);
        }
    }

    #[test]
    fn a_long_text_is_cut_to_what_the_count_can_tell() {
        let long = Answer::from_reply(&vec![b'x'; 70_000]);
        assert_eq!(long.to_frame().len(), 2 + 65_535);
        assert!(Answer::refused(&"x".repeat(5000)).text().len() <= 1000);
    }
}
