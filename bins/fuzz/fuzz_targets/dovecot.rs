//! Any octets as what a client of Dovecot's protocol says after its greeting: nobody gets
//! in without a store, every answer is a line, and in pieces it is the same.
//!
//! `cargo fuzz run dovecot`
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use libmaps::sasl::account_file::AccountFile;
use libmaps::sasl::dovecot;
use libmaps::sasl::mechanism::Mechanism;
use libmaps::sasl::password::SecretBytes;
use saslauth::dovecot::DovecotService;
use saslauth::log::{Log, Verbosity};
use tools::serve::{Service, Turn};

/// A service that has seen no failures yet: each login has a few before it is slowed down.
fn service() -> DovecotService {
    // PLAIN and LOGIN hash, which is too slow here.
    let offered = Mechanism::ALL.into_iter().filter(|m| !m.sends_password());
    let log = Arc::new(Log::new(Verbosity::Normal));
    let key = SecretBytes::new(vec![7; 32]);
    DovecotService::new(
        AccountFile::Own("/nowhere/sasldb2".into()),
        "mx.example",
        offered.collect(),
        key,
        log,
    )
}

/// Failures after which an input is left alone.
const FREE_FAILURES: usize = 5;

fuzz_target!(|octets: &[u8]| {
    let whole = [b"VERSION\t1\t1\n", octets].concat();
    let service = service();
    let mut talk = service.begin();
    let mut failures = 0;
    let mut rest = &whole[..];
    loop {
        let mut out = Vec::new();
        let turn = talk.turn(rest, &mut out);
        assert!(!out.starts_with(b"OK"));
        assert!(out.is_empty() || out.ends_with(b"\n"));
        failures += usize::from(out.starts_with(b"FAIL"));
        if failures >= FREE_FAILURES {
            return;
        }
        match turn {
            Turn::More => return assert!(rest.len() <= dovecot::MAX_LINE_OCTETS),
            Turn::Closed => return,
            Turn::Answered { used } => rest = &rest[used..],
        }
        if let Some(line) = out.split(|o| *o == b'\n').next() {
            let _ = dovecot::verdict(line, 1);
        }
    }
});
