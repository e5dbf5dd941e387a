//! Accounts in stores of ours and of Cyrus SASL.

use super::*;
use crate::map::Entry;
use crate::sasl::secret::{Recipe, Salts};
use crate::store::MemoryMap;

fn user(text: &str) -> UserId {
    UserId::resolve(text.as_bytes(), b"example.org").unwrap()
}

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec()).unwrap()
}

fn db(records: &[(&str, &[u8], &[u8])]) -> SaslDb<MemoryMap> {
    let entries = records
        .iter()
        .map(|(name, property, value)| Entry::new(user(name).lhs(property), *value));
    SaslDb::new(MemoryMap::new("sasldb2", entries))
}

#[test]
fn accounts_of_every_age() {
    let salts = Salts {
        argon2id: [1; 16],
        scram: [2; 16],
    };
    let ours = Secrets::derive(&user("ours"), &password("pw"), &Recipe::default(), &salts).unwrap();
    let scram = Secrets::derive_scram(&password("pw"), &Recipe::default(), &salts);
    let auth = scram.to_auth_password().unwrap();
    let digest = md5::Digest::finalize(md5::Digest::chain_update(
        <md5::Md5 as md5::Digest>::new(),
        b"old:example.org:pw",
    ));
    let db = db(&[
        ("ours", HASHED_PASSWORD, ours.to_text().expose()),
        ("clear", USER_PASSWORD, b"pw"),
        ("scram", AUTH_PASSWORD, auth.expose()),
        ("old", OLD_DIGEST_MD5, &digest),
        ("empty", USER_PASSWORD, b""),
        ("broken", HASHED_PASSWORD, b"{ARGON2ID}junk"),
        ("otp", b"cmusaslsecretOTP", b"x"),
    ]);
    for name in ["ours", "clear", "scram", "old"] {
        assert!(db.verify(&user(name), &password("pw")).unwrap(), "{name}");
        assert!(!db.verify(&user(name), &password("pww")).unwrap(), "{name}");
    }
    for name in ["empty", "otp", "nobody", "clear@EXAMPLE.ORG"] {
        assert!(db.secrets(&user(name)).unwrap().is_none(), "{name}");
        assert!(!db.verify(&user(name), &password("pw")).unwrap(), "{name}");
    }
    assert_eq!(
        db.secrets(&user("broken")).unwrap_err().to_string(),
        "memory:sasldb2: broken@example.org: hashedPassword: \
         expected $argon2id$v=19$m=...,t=...,p=...$salt$hash"
            .replace("memory:", "")
    );
}

/// A wrong password costs the same for every account and for none, so that time tells
/// nobody which accounts there are.
#[test]
fn a_wrong_password_costs_as_many_hashes_for_nobody() {
    let salts = Salts::random().unwrap();
    let ours = Secrets::derive(&user("ours"), &password("pw"), &Recipe::default(), &salts).unwrap();
    let scram = Secrets::derive_scram(&password("pw"), &Recipe::default(), &salts);
    let auth = scram.to_auth_password().unwrap();
    let db = db(&[
        ("ours", HASHED_PASSWORD, ours.to_text().expose()),
        ("clear", USER_PASSWORD, b"pw"),
        ("scram", AUTH_PASSWORD, auth.expose()),
        ("empty", USER_PASSWORD, b""),
    ]);
    let computed = || crate::sasl::secret::argon2id_computed();
    // SASLprep changes the second, which is then tried both ways.
    for (wrong, want) in [("wrong", 1), ("wro\u{aa}ng", 2)] {
        for name in ["ours", "clear", "scram", "empty", "nobody"] {
            let before = computed();
            assert!(!db.verify(&user(name), &password(wrong)).unwrap(), "{name}");
            assert_eq!(computed() - before, want, "{name}, {wrong}");
        }
    }
}

#[test]
fn hashes_are_listed_as_the_password_they_replace() {
    let db = db(&[
        ("alice", HASHED_PASSWORD, b""),
        ("alice", AUTH_PASSWORD, b""),
        ("bob", HASHED_PASSWORD, b""),
        ("bob", USER_PASSWORD, b"x"),
        ("carol", b"cmusaslsecretOTP", b"x"),
    ]);
    let listed: Vec<String> = db
        .listing()
        .map(|line| {
            let (user, property) = line.unwrap();
            format!("{user}: {}", String::from_utf8_lossy(&property))
        })
        .collect();
    assert_eq!(
        listed,
        [
            "alice@example.org: authPassword",
            "alice@example.org: userPassword",
            "bob@example.org: userPassword",
            "carol@example.org: cmusaslsecretOTP",
        ]
    );
}

#[test]
fn a_foreign_map_is_told_as_one() {
    let map = MemoryMap::new("access", [Entry::new("spam.example", "REJECT")]);
    let error = SaslDb::new(map).records().next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "access: spam.example: expected user NUL realm NUL property"
    );
}
