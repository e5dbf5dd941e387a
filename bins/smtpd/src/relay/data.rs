//! The text of a message as it goes over the wire (RFC 5321 sections 2.3.8 and
//! 4.5.2): lines end in CRLF, a dot that begins one is doubled, and a line with a
//! dot alone ends it. A bare CR or LF becomes a line end; neither ever goes out.
//!
//! A line that is longer than the mailer's `L=` is broken as sendmail breaks it: `!` ends the
//! piece, and the next begins with a blank, which makes it a folded line in a header.

/// The shortest lines that are broken: there is room for a character of UTF-8 beside the marks.
const MIN_LINE_OCTETS: usize = 16;

/// Encodes a message piece by piece.
#[derive(Debug, Default)]
pub struct DataEncoder {
    state: State,
    /// Most octets of a line, its end not counted.
    most: Option<usize>,
    /// Octets of the line so far.
    column: usize,
    /// The last octet that fits, while it is not known whether the line ends behind it.
    held: Option<u8>,
    form: Form,
}

/// For whom it is.
#[derive(Debug, Default)]
enum Form {
    /// For a server: dots are doubled, and one ends the message.
    #[default]
    Wire,
    /// For a program, with this at the end of lines.
    Plain(Vec<u8>),
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
    /// One that breaks lines of more than so many octets (`L=` of a mailer); `None` breaks none.
    #[must_use]
    pub fn new(line_octets: Option<u32>) -> Self {
        let most = line_octets.and_then(|most| usize::try_from(most).ok());
        DataEncoder {
            most: most.map(|most| most.max(MIN_LINE_OCTETS)),
            ..DataEncoder::default()
        }
    }

    /// One for a program, which wants this at the end of lines and has no need of dots.
    #[must_use]
    pub(crate) fn plain(line_end: &[u8], line_octets: Option<u32>) -> Self {
        DataEncoder {
            form: Form::Plain(line_end.to_vec()),
            ..DataEncoder::new(line_octets)
        }
    }

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
                    let is_wire = matches!(self.form, Form::Wire);
                    if is_wire && state == State::LineStart && *first == b'.' {
                        out.push(b'.');
                    }
                    let end = rest.iter().position(|c| matches!(c, b'\r' | b'\n'));
                    let (text, tail) = rest.split_at(end.unwrap_or(rest.len()));
                    match self.most {
                        None => out.extend_from_slice(text),
                        Some(most) => self.put(text, most, out),
                    }
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
        if matches!(self.form, Form::Wire) {
            out.extend_from_slice(b".\r\n");
        }
    }

    /// Some of a line, broken where it becomes too long.
    fn put(&mut self, text: &[u8], most: usize, out: &mut Vec<u8>) {
        // So much goes out without a look at its octets: no character of UTF-8 is broken.
        let room = most.saturating_sub(5).saturating_sub(self.column);
        let (plain, rest) = text.split_at(room.min(text.len()));
        out.extend_from_slice(plain);
        self.column += plain.len();
        for octet in rest {
            if let Some(held) = self.held.take() {
                self.break_line(out);
                self.column += 1;
                out.push(held);
            }
            let character = match octet {
                0xC0..0xE0 => 2,
                0xE0..0xF0 => 3,
                0xF0.. => 4,
                _ => 1,
            };
            // A line of just so many octets that ends in such a character is broken too: whether it
            // ends would be known too late.
            if character > 1 && self.column + character >= most {
                self.break_line(out);
            }
            if self.column + 1 == most {
                self.held = Some(*octet);
            } else {
                self.column += 1;
                out.push(*octet);
            }
        }
    }

    fn break_line(&mut self, out: &mut Vec<u8>) {
        out.push(b'!');
        out.extend_from_slice(self.line_end());
        out.push(b' ');
        self.column = 1;
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend(self.held.take());
        out.extend_from_slice(self.line_end());
        self.column = 0;
        self.state = State::LineStart;
    }

    fn line_end(&self) -> &[u8] {
        match &self.form {
            Form::Wire => b"\r\n",
            Form::Plain(line_end) => line_end,
        }
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

    fn broken(text: &[u8], most: u32, size: usize) -> Vec<u8> {
        let (mut encoder, mut out) = (DataEncoder::new(Some(most)), Vec::new());
        for piece in text.chunks(size) {
            encoder.push(piece, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn long_lines_are_broken_as_sendmail_breaks_them() {
        let many = |n: usize| "y".repeat(n);
        for (text, want) in [
            (many(20), format!("{}\r\n", many(20))),
            (many(21), format!("{}!\r\n yy\r\n", many(19))),
            (many(38), format!("{}!\r\n {}\r\n", many(19), many(19))),
            (
                many(39),
                format!("{}!\r\n {}!\r\n yy\r\n", many(19), many(18)),
            ),
            (
                format!("{}\r\n{}", many(20), many(20)),
                format!("{}\r\n{}\r\n", many(20), many(20)),
            ),
            // No character is broken, and a dot that comes to the beginning is behind the blank.
            (
                format!("{}\u{20ac}y", many(18)),
                format!("{}!\r\n \u{20ac}y\r\n", many(18)),
            ),
            (
                format!("{}.z", many(19)),
                format!("{}!\r\n .z\r\n", many(19)),
            ),
            (format!(".{}", many(19)), format!("..{}\r\n", many(19))),
        ] {
            for size in [1, 2, 3, 100] {
                let out = broken(text.as_bytes(), 20, size);
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    format!("{want}.\r\n"),
                    "{text:?} by {size}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_broken_line_is_mended_by_taking_the_marks_out(
            text in "[ab.!\u{e4}\u{20ac}]{0,90}", most in 16u32..30, size in 1usize..9,
        ) {
            let out = String::from_utf8(broken(text.as_bytes(), most, size)).unwrap();
            let lines: Vec<&str> = out.split("\r\n").collect();
            for line in &lines {
                let stuffed = usize::from(line.starts_with('.'));
                prop_assert!(line.len() - stuffed <= most as usize, "{}", line);
            }
            let whole = encoded(text.as_bytes(), 100);
            prop_assert_eq!(out.replace("!\r\n ", ""), String::from_utf8(whole).unwrap());
        }

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
