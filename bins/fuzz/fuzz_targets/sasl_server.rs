//! Any octets as a client's responses to each mechanism's server: no panic, and no login.
//!
//! `cargo fuzz run sasl_server`
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use libmaps::map::Entry;
use libmaps::sasl::key::HASHED_PASSWORD;
use libmaps::sasl::mechanism::{
    Accounts, AccountsError, BindingKind, Channel, ChannelBinding, Mechanism, Nonce, Offer,
    ServerExchange, ServerStep, Service,
};
use libmaps::sasl::secret::Secrets;
use libmaps::sasl::{Password, SaslDb, SecretBytes, UserId};
use libmaps::store::MemoryMap;

/// The store, but a password is wrong at once: hashing each would leave time for nothing else.
struct Quick(SaslDb<MemoryMap>);

impl Accounts for Quick {
    fn secrets(&self, user: &UserId) -> Result<Option<Secrets>, AccountsError> {
        Accounts::secrets(&self.0, user)
    }

    fn check(&self, _: &Service, _: &[u8], _: &Password) -> Result<bool, AccountsError> {
        Ok(false)
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((first, rest)) = octets.split_first() else {
        return;
    };
    // EXTERNAL and ANONYMOUS let in whoever asks; the passwords of the others are unknown.
    let mechanism = Mechanism::ALL[usize::from(*first) % Mechanism::ALL.len()];
    let alice = UserId::new(b"alice", b"host").expect("a user id");
    let hashes = format!(
        "{{CRAM-MD5}}{0} {{DIGEST-MD5}}{1}",
        "5a".repeat(32),
        "5a".repeat(16)
    );
    let entry = Entry::new(alice.lhs(HASHED_PASSWORD), hashes.as_str());
    let accounts = Quick(SaslDb::new(MemoryMap::new("sasldb2", [entry])));
    let service = Arc::new(Service::new("smtp", "host", SecretBytes::new(vec![1; 32])));
    let channel = Channel {
        external: Some(b"CN=x".to_vec()),
        bindings: vec![ChannelBinding {
            kind: BindingKind::TlsExporter,
            data: vec![2; 32],
        }],
        plus: Offer::Offered,
    };
    let nonce = Nonce::from_text("nonce").expect("a nonce");
    let mut responses = rest.split(|b| *b == b'\n');
    let initial = responses.next().filter(|r| !r.is_empty());
    let (mut exchange, mut step) =
        ServerExchange::start(mechanism, service, channel, &nonce, 1, initial, &accounts);
    for response in responses {
        if !matches!(step, ServerStep::Challenge(_)) {
            break;
        }
        step = exchange.respond(response, &accounts);
    }
    let open = matches!(mechanism, Mechanism::External | Mechanism::Anonymous);
    assert!(open || !matches!(step, ServerStep::Success(_)), "{step:?}");
});
