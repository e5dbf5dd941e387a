//! Any octets as an alias file: read with both sets of limits and all checks.
//!
//! `cargo fuzz run aliases`
#![no_main]

use libfuzzer_sys::fuzz_target;
use libmaps::source::aliases::{Aliases, Grammar, Limits, Members};

fuzz_target!(|octets: &[u8]| {
    for limits in [Limits::Own, Limits::Sendmail] {
        let grammar = Grammar {
            limits,
            members: Members::Checked,
            ..Grammar::default()
        };
        let mut parser = Aliases::new(octets, &grammar);
        let mut last = 0;
        let lines = octets.iter().filter(|c| **c == b'\n').count() as u64 + 1;
        while let Some(parsed) = parser.next().expect("memory can be read") {
            assert!(parsed.line > last, "line {} after {last}", parsed.line);
            assert!(parsed.line <= lines, "line {} of {lines}", parsed.line);
            last = parsed.line;
            for fault in parsed.faults {
                assert!(!fault.to_string().is_empty());
            }
        }
    }
});
