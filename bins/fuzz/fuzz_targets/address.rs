//! Any octets as an envelope address: parsed, written in brackets, and parsed again to the same
//! local part and domain.
//!
//! `cargo fuzz run address`
#![no_main]

use libfuzzer_sys::fuzz_target;
use libmaps::address::{Address, ReversePath, is_one_token, parse_ip, split_detail, unquoted};

fuzz_target!(|octets: &[u8]| {
    let _ = (
        ReversePath::parse(octets),
        parse_ip(octets),
        split_detail(octets),
        is_one_token(octets),
    );
    let mut plain = unquoted(octets).map(|(at, octet)| octets.get(at) == Some(&octet));
    assert!(plain.all(|is_there| is_there));
    let Ok(address) = Address::parse(octets) else {
        return;
    };
    assert!(!address.local().is_empty());
    let mut again = b"<".to_vec();
    again.extend_from_slice(address.local());
    if let Some(domain) = address.domain() {
        let _ = domain.literal();
        again.push(b'@');
        again.extend_from_slice(domain.as_bytes());
    }
    again.push(b'>');
    // The brackets may be what makes it too long.
    if let Ok(second) = Address::parse(&again) {
        assert_eq!(second.local(), address.local());
        assert_eq!(second.domain(), address.domain());
    }
});
