//! Any octets as a sendmail.mc: read into a model, or an error, in bounded time and memory.
//!
//! `cargo fuzz run mc fuzz/corpus/mc ../testdata/site/mc`
#![no_main]

use libfuzzer_sys::fuzz_target;
use libmaps::site::{Machine, mc, show};

fuzz_target!(|octets: &[u8]| {
    // A root that holds nothing, so that no include or class file is there.
    let root = tempfile::tempdir().expect("a temporary folder");
    let read = mc::read(
        Some(root.path()),
        &root.path().join("sendmail.mc"),
        octets.to_vec(),
        &Machine::default(),
    );
    let _ = show::text(&read.site);
    let _ = show::json(&read.site);
    for finding in read.diagnostics {
        let _ = finding.to_string();
    }
});
