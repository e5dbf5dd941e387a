//! Any octets as message text: in pieces as in one, only CRLF . CRLF ends it, and a text
//! that is taken has no bare CR, bare LF or NUL.
//!
//! `cargo fuzz run text`
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::session::{BodyDecoder, BodyStep, LineCheck};

fn decode(octets: &[u8], size: usize) -> (Vec<u8>, Option<(usize, bool)>) {
    let (mut decoder, mut text, mut at) = (BodyDecoder::new(), Vec::new(), 0);
    for piece in octets.chunks(size) {
        let (taken, step) = decoder.push(piece, &mut text);
        at += taken;
        if let BodyStep::End { fault } = step {
            return (text, Some((at, fault.is_some())));
        }
    }
    (text, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let whole = decode(octets, octets.len().max(1));
    assert_eq!(decode(octets, usize::from(size).max(1)), whole);
    let (text, end) = whole;
    let marks = |at: &usize| octets[..*at].ends_with(b"\r\n.\r\n") || *at == 3;
    let first = (3..=octets.len())
        .filter(|at| *at == 3 || *at >= 5)
        .find(|at| match at {
            3 => octets.starts_with(b".\r\n"),
            at => marks(at),
        });
    assert_eq!(end.map(|(at, _)| at), first, "another end");
    if let Some((_, false)) = end {
        let mut check = LineCheck::default();
        check.push(&text);
        assert_eq!(check.finish(), None);
        assert!(text.is_empty() || text.ends_with(b"\r\n"));
    }
});
