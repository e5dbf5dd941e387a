//! Any octets as a request and as a reply: whole or in pieces is the same, what
//! is accepted can be written again, and the readers stay small.
//!
//! `cargo fuzz run frame`
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslauth::frame::{
    FIELD_LIMIT_OCTETS, Progress, REQUEST_LIMIT_OCTETS, ReplyReader, RequestReader,
};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let size = usize::from(size).max(1);
    let whole = RequestReader::default().push(octets);
    let mut reader = RequestReader::default();
    let mut progress = Progress::More;
    for piece in octets.chunks(size) {
        progress = reader.push(piece);
        if progress != Progress::More {
            break;
        }
    }
    if !octets.is_empty() {
        assert_eq!(progress, whole);
    }
    if let Progress::Request(request) = whole {
        assert!(!request.login.is_empty() && !request.password.is_empty());
        let frame = request.to_frame().expect("fields that came as a frame");
        assert!(octets.starts_with(&frame));
        assert!(frame.len() <= REQUEST_LIMIT_OCTETS);
        for field in [&request.login, &request.service, &request.realm] {
            assert!(field.len() <= FIELD_LIMIT_OCTETS && !field.contains(&0));
        }
    } else if octets.len() >= REQUEST_LIMIT_OCTETS {
        assert_ne!(whole, Progress::More, "a reader that never has enough");
    }

    let mut reply = ReplyReader::default();
    let whole = ReplyReader::default().push(octets);
    let mut in_pieces = Ok(None);
    for piece in octets.chunks(size) {
        in_pieces = reply.push(piece);
        if !matches!(in_pieces, Ok(None)) {
            break;
        }
    }
    if !octets.is_empty() {
        assert_eq!(in_pieces, whole);
    }
    if let Ok(Some(answer)) = whole {
        assert!(octets.starts_with(&answer.to_frame()));
    }
});
