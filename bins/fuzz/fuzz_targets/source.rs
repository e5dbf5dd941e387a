//! Any octets as a map source: read the same in pieces, and each entry written is read again.
//!
//! `cargo fuzz run source fuzz/corpus/source ../testdata/check/access`
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use libmaps::source::map::{EmptyRhs, End, Fold, Grammar, LINE_MAX_OCTETS, Line, Lines};

fuzz_target!(|octets: &[u8]| {
    let Some((&[flags, separator, comment], text)) = octets.split_first_chunk() else {
        return;
    };
    let grammar = Grammar {
        separator: (flags & 1 != 0 && separator != 0).then_some(separator),
        comment: if flags & 2 != 0 { comment } else { b'#' },
        fold: if flags & 4 != 0 {
            Fold::Keep
        } else {
            Fold::Ascii
        },
        empty_rhs: if flags & 8 != 0 {
            EmptyRhs::Allowed
        } else {
            EmptyRhs::Refused
        },
    };
    let mut whole = Lines::new(text);
    let mut pieces = Lines::new(Pieces(text, usize::from(flags >> 4) + 1));
    let mut last = 0;
    while let Some(line) = whole.next().expect("memory can be read") {
        assert_eq!(line.line, last + 1);
        last = line.line;
        let piece = pieces
            .next()
            .expect("memory can be read")
            .expect("as many lines");
        assert_eq!(piece, line);
        match grammar.line(line.octets, line.end) {
            Some(Line::Entry { lhs, rhs }) => written_again(grammar, lhs, rhs),
            Some(Line::Bad(kind)) => assert!(!kind.to_string().is_empty()),
            None => {}
        }
    }
    assert_eq!(pieces.next().expect("memory can be read"), None);
    assert_eq!(whole.octets(), text.len() as u64);
    assert_eq!(whole.digest(), pieces.digest());
});

fn written_again(grammar: Grammar, lhs: &[u8], rhs: &[u8]) {
    let separator = grammar.separator.unwrap_or(b' ');
    let mut line = [lhs, &[separator], rhs].concat();
    assert!(line.len() <= LINE_MAX_OCTETS, "{} octets", line.len());
    // A folded LHS may hold the separator or begin a comment, where those are small letters.
    if grammar.fold == Fold::Ascii || line.len() + 1 >= LINE_MAX_OCTETS {
        return;
    }
    let again = grammar.line(&mut line, End::File);
    assert_eq!(again, Some(Line::Entry { lhs, rhs }));
}

struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let room = self.1.min(out.len());
        let (now, later) = self.0.split_at(room.min(self.0.len()));
        out[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}
