//! Any octets as a message on its way in: in pieces as in one, the header is bounded, what
//! is added is there once, and no bare line end of the filter's own appears.
//!
//! `testdata/scripts/fuzz-all header`
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::header::{HeaderFilter, Stamp, Summary};

fn filtered(octets: &[u8], size: usize, stamp: &Stamp) -> (Vec<u8>, Option<Summary>) {
    let (mut filter, mut out) = (HeaderFilter::new(stamp.clone()), Vec::new());
    for piece in octets.chunks(size) {
        filter.push(piece, &mut out);
    }
    let summary = filter.finish(&mut out).ok();
    (out, summary)
}

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (size, limit, octets) = input;
    let stamp = Stamp {
        received: "from a\n\tby b; now".into(),
        date: "Thu, 1 Jan 1970 00:00:00 +0000".into(),
        message_id: "<1@b>".into(),
        from: Some("joe@b".into()),
        full_name: Some("Joe".into()),
        warnings: vec!["b: joe set sender to x using -f".into()],
        max_octets: usize::from(limit),
    };
    let whole = filtered(octets, octets.len().max(1), &stamp);
    let pieces = filtered(octets, usize::from(size).max(1), &stamp);
    assert_eq!(pieces.1, whole.1);
    if whole.1.is_some() {
        assert_eq!(pieces.0, whole.0);
        // Fields are added, lines completed; nothing is doubled.
        assert!(whole.0.len() <= octets.len() * 2 + 2_000);
        let bare = |text: &[u8]| {
            text.windows(2)
                .filter(|w| w[1] == b'\n' && w[0] != b'\r')
                .count()
        };
        assert!(bare(&whole.0) <= bare(octets) + 1, "a bare line feed");
    }
});
