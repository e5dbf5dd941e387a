//! The text of a message as it goes over the wire (RFC 5321 sections 2.3.8 and
//! 4.5.2): lines end in CRLF, a dot that begins one is doubled, and a line with a
//! dot alone ends it. A bare CR or LF becomes a line end; neither ever goes out.

/// Encodes a message piece by piece.
#[derive(Debug, Default)]
pub struct DataEncoder {
    state: State,
}

/// What stood last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A line end, or nothing yet.
    #[default]
    LineStart,
    /// Text.
    Text,
    /// A CR that was not written yet.
    Cr,
}

impl DataEncoder {
    /// Takes a piece and appends what goes out.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() + piece.len() / 32);
        let mut rest = piece;
        while let Some(first) = rest.first() {
            match (self.state, first) {
                (State::Cr, b'\n') => {
                    rest = rest.get(1..).unwrap_or_default();
                    self.end_line(out);
                }
                (State::Cr, _) => self.end_line(out),
                (_, b'\r') => {
                    rest = rest.get(1..).unwrap_or_default();
                    self.state = State::Cr;
                }
                (_, b'\n') => {
                    rest = rest.get(1..).unwrap_or_default();
                    self.end_line(out);
                }
                (state, first) => {
                    if state == State::LineStart && *first == b'.' {
                        out.push(b'.');
                    }
                    let end = rest.iter().position(|c| matches!(c, b'\r' | b'\n'));
                    let (text, tail) = rest.split_at(end.unwrap_or(rest.len()));
                    out.extend_from_slice(text);
                    rest = tail;
                    self.state = State::Text;
                }
            }
        }
    }

    /// The end of the message, with its last line end if that was missing.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if self.state != State::LineStart {
            self.end_line(out);
        }
        out.extend_from_slice(b".\r\n");
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.state = State::LineStart;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(text: &[u8], size: usize) -> Vec<u8> {
        let (mut encoder, mut out) = (DataEncoder::default(), Vec::new());
        for piece in text.chunks(size) {
            encoder.push(piece, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn dots_and_line_ends() {
        for (text, want) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\r\n..\r\n.a", "..\r\n...\r\n..a\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\r\nb\r", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\n.\r\n", "a\r\n\r\n..\r\n.\r\n"),
            ("a\n\r.\r", "a\r\n\r\n..\r\n.\r\n"),
        ] {
            for size in [1, 2, 3, 100] {
                let out = encoded(text.as_bytes(), size);
                assert_eq!(String::from_utf8(out).unwrap(), want, "{text:?} by {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn only_our_own_dot_ends_it(
            text in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'x')], 0..60),
            size in 1usize..9,
        ) {
            let out = encoded(&text, size);
            prop_assert_eq!(&out, &encoded(&text, 100));
            let ends = out.windows(5).filter(|w| *w == b"\r\n.\r\n").count();
            let at_start = usize::from(out.starts_with(b".\r\n"));
            prop_assert_eq!(ends + at_start, 1);
            prop_assert!(out.ends_with(b".\r\n"));
            for (at, octet) in out.iter().enumerate() {
                if *octet == b'\r' { prop_assert_eq!(out.get(at + 1), Some(&b'\n')); }
                if *octet == b'\n' { prop_assert_eq!(out[at - 1], b'\r'); }
            }
        }
    }
}
