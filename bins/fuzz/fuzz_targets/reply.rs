//! Any octets as replies of another server: in pieces as in one, bounded, and shown without
//! a control octet.
//!
//! `testdata/scripts/fuzz-all reply`
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::relay::reply::{Reply, ReplyError, ReplyParser};

fn replies(octets: &[u8], size: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut parser, mut all) = (ReplyParser::default(), Vec::new());
    for piece in octets.chunks(size) {
        parser.push(piece);
        loop {
            match parser.take() {
                Ok(Some(reply)) => all.push(reply),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let whole = replies(octets, octets.len().max(1));
    let pieces = replies(octets, usize::from(size).max(1));
    // A line that never ends is noticed sooner in one piece than in many, and the other way round.
    assert_eq!(pieces.0, whole.0);
    for reply in whole.0 {
        assert!((200..600).contains(&reply.code));
        assert!(!reply.shown().chars().any(char::is_control));
        assert!(reply.first_line().len() <= octets.len() * 3);
        assert_eq!(reply.status().split('.').count(), 3);
    }
});
