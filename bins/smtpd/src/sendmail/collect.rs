//! The message as a program writes it on standard input, made fit for mail.
//!
//! Lines may end in LF or CRLF and leave ending in CRLF. A NUL goes, for no message may hold
//! one. Neither may it hold a CR alone: in the header it goes, as in sendmail, so that no field
//! can smuggle another one in; behind the header it becomes a line end, since a report of
//! cron's must not be lost for a progress bar. Unless dots are text, a line with a dot alone
//! ends the message, and a dot before other text goes. Where the message is to have seven
//! bits, the eighth goes before anything else is looked at.

use libmaps::site::Site;

use super::args::Dot;
use crate::session::BodyKind;

/// How far a [`Collector::push`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collected {
    /// The message may go on.
    More,
    /// A dot alone ended it.
    End,
}

/// Where the collector stands, named by the octets seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start, or after a line end.
    LineStart,
    /// After a line end and a dot.
    Dot,
    /// After a line end, a dot and CR.
    DotCr,
    /// Within a line.
    Text,
    /// Within a line, after CR.
    Cr,
    /// After the dot that ends the message.
    End,
}

/// How many bits of an octet are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// All of them.
    Eight,
    /// The eighth is taken off (`-B7BIT`, option SevenBitInput).
    Seven,
}

impl Bits {
    /// Of a message that was declared so, on a site where it is so with all or not.
    #[must_use]
    pub(super) fn of(site: &Site, body: Option<BodyKind>) -> Self {
        match site.options.delivery.seven_bit_input || body == Some(BodyKind::SevenBit) {
            true => Bits::Seven,
            false => Bits::Eight,
        }
    }

    fn mask(self) -> u8 {
        match self {
            Bits::Eight => 0xff,
            Bits::Seven => 0x7f,
        }
    }
}

/// Makes message text of what a program writes.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    dot: Dot,
    bits: Bits,
    state: State,
    part: Part,
    line: Line,
}

/// Which part of the message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before the first empty line.
    Header,
    /// Behind it.
    Body,
}

/// Whether the line at hand has text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Text,
}

impl Collector {
    /// A collector at the start of a message.
    #[must_use]
    pub(super) fn new(dot: Dot, bits: Bits) -> Self {
        Collector {
            dot,
            bits,
            state: State::LineStart,
            part: Part::Header,
            line: Line::Empty,
        }
    }

    /// Takes the next piece and appends text to `out`. What follows the end is ignored.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Collected {
        let mask = self.bits.mask();
        for octet in piece.iter().map(|octet| octet & mask).filter(|o| *o != 0) {
            self.state = self.step(octet, out);
            if self.state == State::End {
                return Collected::End;
            }
        }
        Collected::More
    }

    /// The input has ended; a last line without an end gets one.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match self.state {
            State::Text | State::Cr => out.extend_from_slice(b"\r\n"),
            State::LineStart | State::Dot | State::DotCr | State::End => {}
        }
        self.state = State::End;
    }

    fn step(&mut self, octet: u8, out: &mut Vec<u8>) -> State {
        use State::{Cr, DotCr, End, LineStart, Text};
        match (self.state, octet) {
            (End, _) => End,
            (LineStart, b'.') if self.dot == Dot::Ends => State::Dot,
            (State::Dot | DotCr, b'\n') => End,
            (State::Dot, b'\r') => DotCr,
            // sendmail undoes the doubling of dots where a dot could end the message.
            (State::Dot, b'.') => self.text(b'.', out),
            (State::Dot, other) => {
                self.text(b'.', out);
                self.text(other, out)
            }
            (DotCr, other) => {
                self.text(b'.', out);
                self.after_cr(other, out)
            }
            (LineStart | Text | Cr, b'\n') => self.line_end(out),
            (Cr, other) => self.after_cr(other, out),
            (LineStart | Text, b'\r') => Cr,
            (LineStart | Text, other) => self.text(other, out),
        }
    }

    /// A CR that no LF follows was read, and this.
    fn after_cr(&mut self, octet: u8, out: &mut Vec<u8>) -> State {
        if self.part == Part::Body {
            self.line_end(out);
        }
        match octet {
            b'\r' => State::Cr,
            other => self.text(other, out),
        }
    }

    fn text(&mut self, octet: u8, out: &mut Vec<u8>) -> State {
        self.line = Line::Text;
        out.push(octet);
        State::Text
    }

    fn line_end(&mut self, out: &mut Vec<u8>) -> State {
        if self.line == Line::Empty {
            self.part = Part::Body;
        }
        self.line = Line::Empty;
        out.extend_from_slice(b"\r\n");
        State::LineStart
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::LineCheck;

    fn collected(input: &[u8], dot: Dot, size: usize) -> Vec<u8> {
        collected_of(input, dot, Bits::Eight, size)
    }

    fn collected_of(input: &[u8], dot: Dot, bits: Bits, size: usize) -> Vec<u8> {
        let (mut collector, mut out) = (Collector::new(dot, bits), Vec::new());
        for piece in input.chunks(size) {
            if collector.push(piece, &mut out) == Collected::End {
                break;
            }
        }
        collector.finish(&mut out);
        out
    }

    #[test]
    fn as_sendmail_takes_it() {
        let cases: [(&[u8], Dot, &[u8]); 16] = [
            (b"a\nb\n", Dot::Ends, b"a\r\nb\r\n"),
            (b"a\r\nb\r\n", Dot::Ends, b"a\r\nb\r\n"),
            (b"a\n.\nb\n", Dot::Ends, b"a\r\n"),
            (b"a\r\n.\r\nb\n", Dot::Ends, b"a\r\n"),
            (b"a\n.\nb\n", Dot::IsText, b"a\r\n.\r\nb\r\n"),
            (b"..dots\n.x\n...\n", Dot::Ends, b".dots\r\n.x\r\n..\r\n"),
            (b"..dots\n", Dot::IsText, b"..dots\r\n"),
            (b"no end", Dot::Ends, b"no end\r\n"),
            (b"x\n.", Dot::Ends, b"x\r\n"),
            (b"\n10%\r20%\r\n", Dot::Ends, b"\r\n10%\r\n20%\r\n"),
            (
                b"Subject: a\rBcc: b\r\r\n\rTo: x\n",
                Dot::Ends,
                b"Subject: aBcc: b\r\nTo: x\r\n",
            ),
            (b"\na\r\r\nb", Dot::Ends, b"\r\na\r\n\r\nb\r\n"),
            (b"\r\r\na\rb", Dot::Ends, b"\r\na\r\nb\r\n"),
            (b"nul \0 here\0\n", Dot::Ends, b"nul  here\r\n"),
            (b".\rx\n", Dot::Ends, b".x\r\n"),
            (b"", Dot::Ends, b""),
        ];
        for (input, dot, want) in cases {
            for size in [1, 2, 3, 1000] {
                let out = collected(input, dot, size);
                assert_eq!(out, want, "{:?} by {size}", String::from_utf8_lossy(input));
            }
        }
    }

    #[test]
    fn of_seven_bits() {
        // With the eighth bit off some are CR, LF, NUL and a dot.
        let cases: [(&[u8], &[u8]); 4] = [
            (b"caf\xe9\n", b"cafi\r\n"),
            (b"a\x8db\x80\n", b"ab\r\n"),
            (b"a\x8a\xae\x8ab\n", b"a\r\n"),
            (b"\xff", b"\x7f\r\n"),
        ];
        for (input, want) in cases {
            for size in [1, 2, 1000] {
                let out = collected_of(input, Dot::Ends, Bits::Seven, size);
                assert_eq!(out, want, "{input:?} by {size}");
            }
        }
        let site = Site::default();
        assert_eq!(Bits::of(&site, None), Bits::Eight);
        assert_eq!(Bits::of(&site, Some(BodyKind::EightBitMime)), Bits::Eight);
        assert_eq!(Bits::of(&site, Some(BodyKind::SevenBit)), Bits::Seven);
    }

    proptest::proptest! {
        #[test]
        fn nothing_leaves_that_no_message_may_hold(
            input in proptest::collection::vec(
                proptest::sample::select(vec![b'.', b'\r', b'\n', b'a', 0, 0x8a, 0x8d, 200]), 0..60),
            size in 1usize..5,
            ends in proptest::bool::ANY,
            seven in proptest::bool::ANY,
        ) {
            let dot = if ends { Dot::Ends } else { Dot::IsText };
            let bits = if seven { Bits::Seven } else { Bits::Eight };
            let out = collected_of(&input, dot, bits, size);
            let mut check = LineCheck::default();
            check.push(&out);
            proptest::prop_assert_eq!(check.finish(), None);
            proptest::prop_assert!(out.is_empty() || out.ends_with(b"\r\n"));
            proptest::prop_assert!(!seven || out.is_ascii());
            proptest::prop_assert_eq!(out, collected_of(&input, dot, bits, 1000));
        }
    }
}
