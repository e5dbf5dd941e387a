//! What an exchange costs the server beyond the lookup; printed and not judged,
//! since a busy machine proves nothing.
//!
//! `cargo test --release -p libmaps --test sasl_cost -- --nocapture`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Instant;

use libmaps::map::Entry;
use libmaps::sasl::key::HASHED_PASSWORD;
use libmaps::sasl::mechanism::{
    Channel, ClientExchange, ClientSetup, Mechanism, Nonce, Offer, ServerExchange, ServerStep,
    Service,
};
use libmaps::sasl::secret::{Recipe, Salts, Secrets};
use libmaps::sasl::{Password, SaslDb, ScramHash, SecretBytes, UserId};
use libmaps::store::MemoryMap;

const ROUNDS: u32 = 500;

#[test]
fn exchanges() {
    let user = UserId::new(b"alice", b"host").unwrap();
    let password = Password::new(b"secret".to_vec()).unwrap();
    let recipe = Recipe::default();
    let secrets = Secrets::derive(&user, &password, &recipe, &Salts::random().unwrap()).unwrap();
    let entry = Entry::new(user.lhs(HASHED_PASSWORD), secrets.to_text().expose());
    let accounts = SaslDb::new(MemoryMap::new("sasldb2", [entry]));
    let service = Arc::new(Service::new("smtp", "host", SecretBytes::new(vec![1; 32])));
    for mechanism in [
        Mechanism::CramMd5,
        Mechanism::DigestMd5,
        Mechanism::Scram(ScramHash::Sha1),
        Mechanism::Scram(ScramHash::Sha256),
    ] {
        // The client's part is done once: with the same nonces its answers fit every time.
        let nonce = Nonce::from_text("theirs").unwrap();
        let setup = ClientSetup {
            authid: b"alice".to_vec(),
            authzid: Vec::new(),
            password: password.clone(),
            realm: None,
            service: "smtp".to_owned(),
            host: "host".to_owned(),
            bindings: Vec::new(),
            plus: Offer::NotOffered,
        };
        let mut client = ClientExchange::new(mechanism, setup, Nonce::from_text("mine").unwrap());
        let initial = client.initial().unwrap();
        let start = || {
            ServerExchange::start(
                mechanism,
                Arc::clone(&service),
                Channel::default(),
                &nonce,
                0,
                initial.as_deref(),
                &accounts,
            )
        };
        let mut responses = Vec::new();
        let (mut server, mut step) = start();
        while let ServerStep::Challenge(text) = &step {
            let response = client.respond(text).unwrap();
            step = server.respond(&response, &accounts);
            responses.push(response);
        }
        assert!(matches!(step, ServerStep::Success(_)), "{mechanism}");
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let (mut server, mut step) = start();
            for response in &responses {
                step = server.respond(response, &accounts);
            }
            assert!(matches!(step, ServerStep::Success(_)));
        }
        let each = began.elapsed() / ROUNDS;
        println!("{mechanism}: {each:?} for the server's part of an exchange");
    }
}
