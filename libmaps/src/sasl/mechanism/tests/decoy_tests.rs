//! What SCRAM shows of an account that is not there, beside what it shows of one that is.

use super::*;
use crate::map::Entry;
use crate::sasl::SaslDb;
use crate::sasl::key::{AUTH_PASSWORD, HASHED_PASSWORD, USER_PASSWORD};
use crate::store::MemoryMap;

fn user(name: &str) -> UserId {
    UserId::resolve(name.as_bytes(), b"mail.example.test").unwrap()
}

/// Keys of so many iterations.
fn keys(iterations: u32, salt: u8) -> Secrets {
    let password = Password::new(b"pw".to_vec()).unwrap();
    let recipe = Recipe {
        iterations,
        ..Recipe::default()
    };
    let salts = Salts {
        argon2id: [1; 16],
        scram: [salt; 16],
    };
    Secrets::derive_scram(&password, &recipe, &salts)
}

fn store(accounts: &[(&str, &[u8], &[u8])]) -> SaslDb<MemoryMap> {
    let entries = accounts
        .iter()
        .map(|(name, property, value)| Entry::new(user(name).lhs(property), *value));
    SaslDb::new(MemoryMap::new("sasldb2", entries))
}

/// `s=...,i=...` of the first challenge.
fn shown(mechanism: &str, name: &str, accounts: &dyn Accounts) -> String {
    let first = format!("n,,n={name},r=abc");
    let (_, step) = ServerExchange::start(
        Mechanism::parse(mechanism.as_bytes()).unwrap(),
        service("mail.example.test"),
        Channel::default(),
        &Nonce::from_text("xyz").unwrap(),
        0,
        Some(first.as_bytes()),
        accounts,
    );
    let ServerStep::Challenge(text) = step else {
        panic!("{step:?}");
    };
    let text = String::from_utf8(text).unwrap();
    text.split_once(',').unwrap().1.to_owned()
}

#[test]
fn both_digests_and_all_spellings_show_one_salt() {
    let ours = keys(4096, 2);
    let half = Secrets {
        scram_sha1: None,
        ..keys(4096, 3)
    };
    let accounts = store(&[
        ("alice", HASHED_PASSWORD, ours.to_text().expose()),
        ("half", HASHED_PASSWORD, half.to_text().expose()),
        ("clear", USER_PASSWORD, b"pw"),
    ]);
    for name in ["alice", "half", "clear", "mallory"] {
        let one = shown("SCRAM-SHA-1", name, &accounts);
        let two = shown("SCRAM-SHA-256", name, &accounts);
        assert_eq!(one, two, "{name}");
        // Full-width letters, which SASLprep makes plain.
        let wide: String = name
            .bytes()
            .map(|b| char::from_u32(u32::from(b) + 0xfee0).unwrap())
            .collect();
        assert_eq!(shown("SCRAM-SHA-256", &wide, &accounts), two, "{name}");
        let whole = format!("{name}@mail.example.test");
        assert_eq!(shown("SCRAM-SHA-256", &whole, &accounts), two, "{name}");
    }
}

#[test]
fn iterations_are_those_of_accounts_in_the_store() {
    let (few, many) = (keys(4096, 2), keys(10_000, 3));
    let many = many.to_auth_password().unwrap();
    let accounts = store(&[
        ("alice", HASHED_PASSWORD, few.to_text().expose()),
        ("bob", AUTH_PASSWORD, many.expose()),
    ]);
    let iterations = |name: &str, accounts: &dyn Accounts| {
        let shown = shown("SCRAM-SHA-256", name, accounts);
        shown.split_once(",i=").unwrap().1.to_owned()
    };
    let drawn: std::collections::BTreeSet<String> = (0..40)
        .map(|n| iterations(&format!("nobody{n}"), &accounts))
        .collect();
    assert_eq!(Vec::from_iter(drawn), ["10000", "4096"]);
    let again = || iterations("nobody1", &accounts);
    assert_eq!(again(), again());
    // Nobody has keys: those that would be derived.
    let accounts = store(&[("clear", USER_PASSWORD, b"pw")]);
    assert_eq!(iterations("nobody", &accounts), "4096");
    assert_eq!(iterations("clear", &accounts), "4096");
}
