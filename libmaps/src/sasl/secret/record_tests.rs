//! Secrets as a store keeps them.

use proptest::prelude::*;

use super::*;
use crate::sasl::key::{MAX_NAME_OCTETS, UserId};
use crate::sasl::password::Password;
use crate::sasl::secret::{Recipe, Salts};

fn derived(realm: &[u8], server_realms: &[&[u8]]) -> Secrets {
    let user = UserId::new(b"alice", realm).unwrap();
    let recipe = Recipe {
        server_realms: server_realms.iter().map(|r| r.to_vec()).collect(),
        ..Recipe::default()
    };
    let salts = Salts {
        argon2id: [1; 16],
        scram: [2; 16],
    };
    let password = Password::new(b"tanstaaf".to_vec()).unwrap();
    Secrets::derive(&user, &password, &recipe, &salts).unwrap()
}

#[test]
fn records_go_round_and_hold_no_password() {
    let all = derived(b"example.org", &[b"mail.example.org", b""]);
    let record = all.to_record();
    assert!(memchr::memmem::find(record.expose(), b"tanstaaf").is_none());
    assert_eq!(Secrets::from_record(record.expose()).unwrap(), all);
    assert!(record.expose().len() < all.to_text().expose().len() * 6 / 10);
    let one = Secrets {
        cram_md5: all.cram_md5,
        ..Secrets::default()
    };
    let record = one.to_record();
    assert_eq!(record.expose().len(), 1 + 3 + 32);
    assert_eq!(Secrets::from_record(record.expose()).unwrap(), one);
}

#[test]
fn words_of_earlier_programs_are_read() {
    let all = derived(b"example.org", &[]);
    let text = all.to_text();
    assert_eq!(Secrets::from_record(text.expose()).unwrap(), all);
}

#[test]
fn a_realm_may_be_as_long_as_a_name() {
    let long = vec![b'r'; MAX_NAME_OCTETS];
    let all = derived(&long, &[b"mail.example.org", &[b's'; 255], &[b't'; 256]]);
    for secrets in [
        Secrets::from_record(all.to_record().expose()).unwrap(),
        Secrets::parse(all.to_text().expose()).unwrap(),
    ] {
        assert_eq!(secrets, all);
        let digest = secrets.digest_md5.unwrap();
        let user = UserId::new(b"alice", &long).unwrap();
        let full = [b"alice@".as_slice(), &long].concat();
        assert!(digest.for_response(&user, b"alice", &long).is_some());
        for (realm, there) in [
            (b"mail.example.org".as_slice(), true),
            (&[b's'; 255], true),
            (&[b't'; 256], false),
            (&long, false),
        ] {
            let found = digest.for_response(&user, &full, realm);
            assert_eq!(found.is_some(), there, "{} octets", realm.len());
        }
    }
}

#[test]
fn malformed_records_are_refused() {
    let record = derived(b"example.org", &[]).to_record();
    let octets = record.expose();
    for end in 2..octets.len() {
        // Only at the end of a secret does a shorter record make sense.
        if let Ok(fewer) = Secrets::from_record(&octets[..end]) {
            assert_eq!(fewer.to_record().expose(), &octets[..end]);
        }
    }
    let twice = [octets, &octets[1..]].concat();
    let unknown = [octets, &[99, 0, 0]].concat();
    for (bad, why) in [
        (twice.as_slice(), "malformed secrets"),
        (&unknown, "a kind of secret that is not known here"),
        (&[1, ARGON2ID, 0, 0], "malformed secrets"),
        (&[2, 0], "expected {ARGON2ID}"),
        (&[], "expected {ARGON2ID}"),
    ] {
        let error = Secrets::from_record(bad).unwrap_err().to_string();
        assert!(error.starts_with(why), "{bad:?}: {error}");
    }
}

proptest! {
    #[test]
    fn any_octets_are_secrets_or_an_error(octets: Vec<u8>) {
        let record = [&[VERSION], octets.as_slice()].concat();
        if let Ok(secrets) = Secrets::from_record(&record) {
            let again = Secrets::from_record(secrets.to_record().expose());
            prop_assert_eq!(again, Ok(secrets));
        }
    }

    #[test]
    fn a_damaged_record_is_secrets_or_an_error(at in 0..400usize, octet: u8) {
        let record = derived_once();
        let mut record = record.expose().to_vec();
        if let Some(place) = record.get_mut(at) {
            *place = octet;
        }
        if let Ok(secrets) = Secrets::from_record(&record) {
            let again = Secrets::from_record(secrets.to_record().expose());
            prop_assert_eq!(again, Ok(secrets));
        }
    }
}

/// Deriving takes too long to be done for each case.
fn derived_once() -> &'static SecretBytes {
    static RECORD: std::sync::OnceLock<SecretBytes> = std::sync::OnceLock::new();
    RECORD.get_or_init(|| derived(b"example.org", &[b"mail.example.org"]).to_record())
}
