//! Any octets as a sendmail.cf: read whole, its macros replaced in bounded memory, its aliases found or refused.
//!
//! `cargo fuzz run cf fuzz/corpus/cf ../testdata/site/cf`
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use libmaps::site::alias_files::{AliasSite, ConfigFault};
use libmaps::site::cf::Cf;

fuzz_target!(|octets: &[u8]| {
    let mut opened = 0;
    let cf = Cf::parse(octets, &mut |path| {
        opened += 1;
        match path.starts_with("/etc") {
            true => Ok(octets.to_vec()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    });
    let lines = octets.iter().filter(|c| **c == b'\n').count() as u64 + 1;
    assert!(opened <= lines);
    assert!(cf.warnings.iter().all(|w| (1..=lines).contains(&w.line)));
    for option in &cf.options {
        assert!(option.text.starts_with(b"O"));
        let name = String::from_utf8_lossy(&option.name);
        let _ = cf.option_verbatim(&name);
        assert!(cf.option_value(&name).is_some() || name.contains('\u{fffd}'));
        let _ = cf.expanded(&option.value);
    }
    for class in cf.classes.keys() {
        let _ = cf.class_folded(class);
    }
    if let Err(ConfigFault::Line(line, text)) = AliasSite::from_cf(&cf) {
        assert!((1..=lines).contains(&line) && !text.is_empty());
    }
});
