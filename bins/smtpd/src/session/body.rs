//! The decoder of message text after DATA (RFC 5321 section 4.5.2).
//!
//! Only CRLF . CRLF ends a message. A CR without LF, an LF without CR or a NUL
//! never ends a line, is never repaired, and spoils the message: the decoder
//! reads on to the true end and then says what it saw, so that nothing that
//! follows a false end is ever taken for a command.

/// What was wrong with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// A CR that no LF follows.
    BareCr,
    /// An LF that no CR precedes.
    BareLf,
    /// An octet of value zero.
    Nul,
}

/// How far a [`BodyDecoder::push`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyStep {
    /// All input was taken; the end has not been seen.
    More,
    /// The end was seen; input behind it was not taken.
    End {
        /// The first fault in the text, if any.
        fault: Option<BodyFault>,
    },
}

/// Where the decoder stands, named by the octets seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    /// At the start, or after CRLF.
    LineStart,
    /// After CRLF and a dot.
    Dot,
    /// After CRLF, a dot and CR.
    DotCr,
    /// Within a line.
    Text,
    /// Within a line, after CR.
    Cr,
}

/// Takes the dots off and finds the end.
#[derive(Clone, Copy, Debug)]
pub struct BodyDecoder {
    state: BodyState,
    fault: Option<BodyFault>,
}

impl Default for BodyDecoder {
    fn default() -> Self {
        BodyDecoder {
            state: BodyState::LineStart,
            fault: None,
        }
    }
}

impl BodyDecoder {
    /// A decoder at the start of a message; a dot there may end it at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `input`, appending to `out` (lines end in CRLF there), and
    /// returns how many octets of it were taken.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, BodyStep) {
        for (at, &octet) in input.iter().enumerate() {
            if self.step(octet, out) {
                return (at + 1, BodyStep::End { fault: self.fault });
            }
        }
        (input.len(), BodyStep::More)
    }

    /// Whether this octet ended the message.
    fn step(&mut self, octet: u8, out: &mut Vec<u8>) -> bool {
        use BodyState::{Cr, Dot, DotCr, LineStart, Text};
        if octet == 0 {
            self.blame(BodyFault::Nul);
        }
        self.state = match (self.state, octet) {
            (LineStart, b'.') => Dot,
            (Dot, b'\r') => DotCr,
            (DotCr, b'\n') => return true,
            (Cr, b'\n') => {
                out.extend_from_slice(b"\r\n");
                LineStart
            }
            (DotCr | Cr, b'\r') => {
                self.blame(BodyFault::BareCr);
                out.push(b'\r');
                Cr
            }
            (DotCr | Cr, other) => {
                self.blame(BodyFault::BareCr);
                out.extend_from_slice(&[b'\r', other]);
                Text
            }
            (LineStart | Text, b'\r') => Cr,
            (LineStart | Dot | Text, b'\n') => {
                self.blame(BodyFault::BareLf);
                out.push(b'\n');
                Text
            }
            (LineStart | Dot | Text, other) => {
                out.push(other);
                Text
            }
        };
        false
    }

    fn blame(&mut self, fault: BodyFault) {
        self.fault.get_or_insert(fault);
    }
}

/// Looks for the same faults in text that is sent by count (RFC 3030), where no
/// dot means anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineCheck {
    last: Option<u8>,
    fault: Option<BodyFault>,
}

impl LineCheck {
    /// Looks at the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for &octet in piece {
            match (self.last, octet) {
                (Some(b'\r'), b'\n') => {}
                (Some(b'\r'), _) => self.blame(BodyFault::BareCr),
                (_, b'\n') => self.blame(BodyFault::BareLf),
                _ => {}
            }
            if octet == 0 {
                self.blame(BodyFault::Nul);
            }
            self.last = Some(octet);
        }
    }

    /// The first fault, once all pieces were seen.
    #[must_use]
    pub fn finish(mut self) -> Option<BodyFault> {
        if self.last == Some(b'\r') {
            self.blame(BodyFault::BareCr);
        }
        self.fault
    }

    fn blame(&mut self, fault: BodyFault) {
        self.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of `size`: the text, the fault, and what was left over.
    fn decode(input: &[u8], size: usize) -> Option<(Vec<u8>, Option<BodyFault>, Vec<u8>)> {
        let (mut decoder, mut out, mut at) = (BodyDecoder::new(), Vec::new(), 0);
        while at < input.len() {
            let piece = &input[at..input.len().min(at + size)];
            let (taken, step) = decoder.push(piece, &mut out);
            at += taken;
            if let BodyStep::End { fault } = step {
                return Some((out, fault, input[at..].to_vec()));
            }
        }
        None
    }

    #[test]
    fn false_ends_never_end_a_message() {
        use BodyFault::{BareCr, BareLf, Nul};
        let cases: [(&[u8], BodyFault); 15] = [
            (b"a\n.\nb", BareLf),
            (b"a\n.\rb", BareLf),
            (b"a\r.\nb", BareCr),
            (b"a\r.\rb", BareCr),
            (b"a\n.\r\nb", BareLf),
            (b"a\r.\r\nb", BareCr),
            (b"a\r\n.\nb", BareLf),
            (b"a\r\n.\rb", BareCr),
            (b"a\r\n\0.\r\nb", Nul),
            (b"a\r\n.\0\r\nb", Nul),
            (b"a\r\n.\r\r\nb", BareCr),
            (b"a\r\r\n.\r\r\nb", BareCr),
            (b".\nb", BareLf),
            (b"\n.\nb", BareLf),
            (b"a\0b", Nul),
        ];
        for (text, want) in cases {
            let mut input = text.to_vec();
            input.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
            for size in [1, 2, 3, 1000] {
                let (out, fault, rest) = decode(&input, size).expect("ends");
                assert_eq!(fault, Some(want), "{text:?}");
                assert_eq!(rest, b"QUIT\r\n", "{text:?}");
                assert!(out.ends_with(b"b\r\n"), "{text:?}");
            }
        }
    }

    #[test]
    fn a_faultless_text_comes_through() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b".\r\n", b""),
            (b"\r\n.\r\n", b"\r\n"),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"..a\r\n.b\r\n.\r\n", b".a\r\nb\r\n"),
            (b"\r\n..\r\n...\r\n.\r\n", b"\r\n.\r\n..\r\n"),
        ];
        for (input, want) in cases {
            for size in [1, 2, 1000] {
                let (out, fault, rest) = decode(input, size).expect("ends");
                assert_eq!((out.as_slice(), fault, rest.len()), (want, None, 0));
            }
        }
        assert_eq!(decode(b"a\r\n.", 1000), None);
    }

    proptest::proptest! {
        #[test]
        fn pieces_agree_with_the_whole(
            input in proptest::collection::vec(
                proptest::sample::select(vec![b'.', b'\r', b'\n', b'a', 0]), 0..40),
            size in 1usize..5,
        ) {
            proptest::prop_assert_eq!(decode(&input, size), decode(&input, 1000));
        }
    }
}
