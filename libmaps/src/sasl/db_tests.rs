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
        assert!(
            db.verify(&user(name), &password("pw"), &Toll::default())
                .unwrap(),
            "{name}"
        );
        assert!(
            !db.verify(&user(name), &password("pww"), &Toll::default())
                .unwrap(),
            "{name}"
        );
    }
    for name in ["empty", "otp", "nobody", "clear@EXAMPLE.ORG"] {
        assert!(db.secrets(&user(name)).unwrap().is_none(), "{name}");
        assert!(
            !db.verify(&user(name), &password("pw"), &Toll::default())
                .unwrap(),
            "{name}"
        );
    }
    assert_eq!(
        db.secrets(&user("broken")).unwrap_err().to_string(),
        "memory:sasldb2: broken@example.org: hashedPassword: \
         expected $argon2id$v=19$m=...,t=...,p=...$salt$hash"
            .replace("memory:", "")
    );
}

#[test]
fn beside_a_password_its_keys_count_for_nothing() {
    let salts = Salts::random().unwrap();
    let stale = Secrets::derive_scram(&password("old"), &Recipe::default(), &salts);
    let stale = stale.to_auth_password().unwrap();
    // As libsasl makes them with scram_iteration_counter: 1000.
    let few = b"SCRAM-SHA-1$1000:c2FsdHNhbHRzYWx0c2FsdA==$AAAA:AAAA";
    let db = db(&[
        ("stale", USER_PASSWORD, b"new"),
        ("stale", AUTH_PASSWORD, stale.expose()),
        ("few", USER_PASSWORD, b"new"),
        ("few", AUTH_PASSWORD, few),
        ("alone", AUTH_PASSWORD, few),
        ("old", AUTH_PASSWORD, few),
        ("old", OLD_DIGEST_MD5, &[7; 16]),
    ]);
    for name in ["stale", "few"] {
        let verify = |text| db.verify(&user(name), &password(text), &Toll::default());
        assert!(verify("new").unwrap() && !verify("old").unwrap(), "{name}");
        let secrets = db.secrets(&user(name)).unwrap().unwrap();
        assert!(secrets.clear.is_some());
        assert!(secrets.scram_sha1.is_none() && secrets.scram_sha256.is_none());
    }
    assert!(
        db.secrets(&user("old"))
            .unwrap()
            .unwrap()
            .digest_md5
            .is_some()
    );
    let error = db.secrets(&user("alone")).unwrap_err().to_string();
    assert!(
        error.contains("alone@example.org: authPassword: "),
        "{error}"
    );
}

/// A store with an account of each kind that costs something else to check.
fn of_all_kinds() -> SaslDb<MemoryMap> {
    let salts = Salts::random().unwrap();
    let derive = |name| Secrets::derive(&user(name), &password("pw"), &Recipe::default(), &salts);
    let ours = derive("ours").unwrap();
    let only = |iterations, sha1: bool| {
        let recipe = Recipe {
            iterations,
            ..Recipe::default()
        };
        let mut both = Secrets::derive_scram(&password("pw"), &recipe, &salts);
        match sha1 {
            true => both.scram_sha256 = None,
            false => both.scram_sha1 = None,
        }
        both.to_auth_password().unwrap()
    };
    let cram = Secrets {
        cram_md5: ours.cram_md5.clone(),
        ..Secrets::default()
    };
    let digest = Secrets {
        digest_md5: ours.digest_md5.clone(),
        ..Secrets::default()
    };
    // Another program's: 32 MiB, three passes.
    let costly = b"{ARGON2ID}$argon2id$v=19$m=32768,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$\
        kJa3764BDCbRaqsA6kPR946Pw83dbuP/beG+9z5NRwk";
    db(&[
        ("ours", HASHED_PASSWORD, ours.to_text().expose()),
        ("clear", USER_PASSWORD, b"pw"),
        ("sha-1", AUTH_PASSWORD, only(4096, true).expose()),
        ("sha-256", AUTH_PASSWORD, only(4096, false).expose()),
        ("stretched", AUTH_PASSWORD, only(20_000, false).expose()),
        ("cram", HASHED_PASSWORD, cram.to_text().expose()),
        ("digest", HASHED_PASSWORD, digest.to_text().expose()),
        ("costly", HASHED_PASSWORD, costly),
        ("empty", USER_PASSWORD, b""),
    ])
}

/// What a wrong password costs for each account, and for none.
fn prices(db: &SaslDb<MemoryMap>, wrong: &str, toll: &Toll) -> Vec<(&'static str, [u64; 3])> {
    let all = [
        "ours",
        "clear",
        "sha-1",
        "sha-256",
        "stretched",
        "cram",
        "digest",
        "costly",
        "empty",
        "nobody",
    ];
    let price = |name| {
        let before = crate::sasl::secret::computed();
        let fits = db.verify(&user(name), &password(wrong), toll);
        assert!(!fits.unwrap(), "{name}");
        let after = crate::sasl::secret::computed();
        (name, std::array::from_fn(|at| after[at] - before[at]))
    };
    all.map(price).into()
}

/// Time must tell nobody which accounts there are.
#[test]
fn a_wrong_password_costs_the_same_for_every_account_and_for_none() {
    let db = of_all_kinds();
    let toll = Toll::default();
    db.survey(&toll);
    let whole: u64 = 3 * 32_768;
    // SASLprep changes the second, which argon2id then tries both ways.
    for (wrong, times) in [("wrong", 1), ("wro\u{aa}ng", 2)] {
        for (name, price) in prices(&db, wrong, &toll) {
            // A hash of another price leaves less than a block for each pass.
            let off = (whole * times).abs_diff(price[0]);
            assert!(off <= 4 * times, "{name}: {off} off");
            assert_eq!(price[1..], [4096, 20_000], "{name}, {wrong}");
        }
    }
}

/// What nobody has costs nobody anything, and what was met is paid by all from then on.
#[test]
fn the_price_is_learned() {
    let toll = Toll::default();
    let db = of_all_kinds();
    let price = |name: &str| {
        let all = prices(&db, "wrong", &Toll::default());
        all.into_iter().find(|(of, _)| *of == name).unwrap().1
    };
    let one = |name: &str| {
        let before = crate::sasl::secret::computed();
        let _ = db.verify(&user(name), &password("wrong"), &toll).unwrap();
        let after = crate::sasl::secret::computed();
        [
            after[0] - before[0],
            after[1] - before[1],
            after[2] - before[2],
        ]
    };
    assert_eq!(one("nobody"), [2 * 19_456, 0, 0]);
    assert_eq!(one("ours"), [2 * 19_456, 0, 0]);
    assert_eq!(one("sha-256"), [2 * 19_456, 0, 4096]);
    assert_eq!(one("nobody"), [2 * 19_456, 0, 4096]);
    assert_eq!(one("ours"), [2 * 19_456, 0, 4096]);
    assert_eq!(price("ours")[1..], [0, 0]);
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
