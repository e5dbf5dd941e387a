//! Any octets as the RHS of an access entry: a verdict, and of a refusal a reply that can be sent.
//!
//! `cargo fuzz run access_rhs`
#![no_main]

use libfuzzer_sys::fuzz_target;
use libmaps::table::verdict::Verdict;

fuzz_target!(|octets: &[u8]| {
    if let Verdict::Error(refusal) = Verdict::parse(octets) {
        let reply = refusal.reply();
        assert!((400..600).contains(&reply.code));
        assert!(reply.status.is_some());
    }
});
