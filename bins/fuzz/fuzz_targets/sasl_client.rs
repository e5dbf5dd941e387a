//! Any octets as a server's challenges to each mechanism's client: no panic, and no belief in
//! a server that proves nothing.
//!
//! `cargo fuzz run sasl_client`
#![no_main]

use libfuzzer_sys::fuzz_target;
use libmaps::sasl::Password;
use libmaps::sasl::mechanism::{ClientExchange, ClientSetup, Mechanism, Nonce, Offer};

fuzz_target!(|octets: &[u8]| {
    let Some((first, rest)) = octets.split_first() else {
        return;
    };
    let mechanism = Mechanism::ALL[usize::from(*first) % Mechanism::ALL.len()];
    let setup = ClientSetup {
        authid: b"alice".to_vec(),
        authzid: Vec::new(),
        password: Password::new(b"secret".to_vec()).expect("a password"),
        realm: None,
        service: "smtp".to_owned(),
        host: "host".to_owned(),
        bindings: Vec::new(),
        plus: Offer::NotOffered,
    };
    let nonce = Nonce::from_text("nonce").expect("a nonce");
    let mut client = ClientExchange::new(mechanism, setup, nonce);
    let _ = client.initial();
    for challenge in rest.split(|b| *b == b'\n') {
        if client.respond(challenge).is_err() {
            break;
        }
    }
    if matches!(mechanism, Mechanism::Scram(_) | Mechanism::DigestMd5) {
        assert!(client.accepted().is_err());
    }
});
