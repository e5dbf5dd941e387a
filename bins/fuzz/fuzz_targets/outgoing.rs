//! Any octets as a message on its way out: what is sent decodes to its lines, has no line
//! end but CRLF, and quoted-printable keeps to its lines.
//!
//! `testdata/scripts/fuzz-all outgoing`
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::relay::data::DataEncoder;
use smtpd::relay::mime::{QuotedPrintable, recoded_header};
use smtpd::session::{BodyDecoder, BodyStep};

fn sent(octets: &[u8], size: usize) -> Vec<u8> {
    let (mut encoder, mut out) = (DataEncoder::default(), Vec::new());
    for piece in octets.chunks(size) {
        encoder.push(piece, &mut out);
    }
    encoder.finish(&mut out);
    out
}

/// Its lines, of so many octets at the most.
fn broken(octets: &[u8], size: usize, most: u32) -> Vec<u8> {
    let (mut encoder, mut out) = (DataEncoder::new(Some(most)), Vec::new());
    for piece in octets.chunks(size) {
        encoder.push(piece, &mut out);
    }
    encoder.finish(&mut out);
    out
}

fn quoted(octets: &[u8], size: usize) -> Vec<u8> {
    let (mut encoder, mut out) = (QuotedPrintable::default(), Vec::new());
    for piece in octets.chunks(size) {
        encoder.push(piece, &mut out);
    }
    encoder.finish(&mut out);
    out
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, octets) = input;
    let size = usize::from(size).max(1);
    let wire = sent(octets, octets.len().max(1));
    assert_eq!(sent(octets, size), wire);
    let (mut decoder, mut text) = (BodyDecoder::new(), Vec::new());
    let (taken, step) = decoder.push(&wire, &mut text);
    assert_eq!(taken, wire.len(), "an end within");
    let BodyStep::End { fault } = step else {
        panic!("no end");
    };
    // NUL is not ours to repair; a bare line end never goes out.
    assert!(fault.is_none() || octets.contains(&0), "{fault:?}");
    let flat = |text: &[u8]| -> Vec<u8> {
        text.iter()
            .copied()
            .filter(|c| !matches!(c, b'\r' | b'\n'))
            .collect()
    };
    assert_eq!(flat(&text), flat(octets));

    let most = 16 + u32::try_from(size).unwrap_or(0);
    let short = broken(octets, octets.len().max(1), most);
    assert_eq!(broken(octets, size, most), short);
    for line in short.split(|c| *c == b'\n') {
        // A dot that is doubled, and the CR.
        assert!(line.len() <= most as usize + 2, "{} octets", line.len());
    }
    let coded = quoted(octets, octets.len().max(1));
    assert_eq!(quoted(octets, size), coded);
    assert!(coded.is_ascii());
    for line in coded.split(|c| *c == b'\n') {
        assert!(line.len() <= 77, "{} octets", line.len());
    }
    if let Ok(header) = recoded_header(octets, "utf-8", "me") {
        assert!(header.len() <= octets.len() + 500);
    }
});
