//! Any octets as a PROXY header: what comes in pieces is what comes at once, and a reader
//! never wants more than a header can have.
//!
//! `cargo fuzz run proxy`
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::proxy::parse;

fuzz_target!(|octets: &[u8]| {
    let whole = parse(octets);
    match whole {
        Ok(Some((header, size))) => {
            assert!(size <= octets.len());
            assert_eq!(parse(&octets[..size]), Ok(Some((header, size))));
            for cut in 0..size {
                assert_eq!(parse(&octets[..cut]), Ok(None), "{cut}");
            }
        }
        Ok(None) => assert!(octets.len() < 16 + 4096, "never enough"),
        Err(_) => {}
    }
});
