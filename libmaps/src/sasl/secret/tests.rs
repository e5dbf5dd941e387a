//! All secrets of an account together.

use md5::Digest;

use super::*;

const SALTS: Salts = Salts {
    argon2id: *b"saltsaltsaltsalt",
    scram: *b"sodiumchloride16",
};

fn alice() -> UserId {
    UserId::new(b"alice", b"example.org").unwrap()
}

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec()).unwrap()
}

fn derived(text: &str) -> Secrets {
    Secrets::derive(&alice(), &password(text), &Recipe::default(), &SALTS).unwrap()
}

#[test]
fn text_goes_round_and_holds_no_password() {
    let all = derived("tanstaaf");
    let text = all.to_text();
    let shown = String::from_utf8(text.expose().to_vec()).unwrap();
    assert_eq!(shown.split(' ').count(), 5);
    assert!(!shown.contains("tanstaaf"));
    assert_eq!(Secrets::parse(text.expose()).unwrap(), all);
    assert_eq!(format!("{all:?}"), "Secrets(<secret>)");
    assert!(Secrets::is_text(b"{cram-md5}x"));
    assert!(!Secrets::is_text(b"{PLAIN}x"));
    assert!(!Secrets::is_text(b"secret"));
}

#[test]
fn each_kind_of_secret_can_check_a_password() {
    let all = derived("pencil");
    let none = Secrets::default;
    let single = [
        Secrets {
            clear: Some(password("pencil")),
            ..none()
        },
        Secrets {
            argon2id: all.argon2id,
            ..none()
        },
        Secrets {
            scram_sha1: all.scram_sha1,
            ..none()
        },
        Secrets {
            scram_sha256: all.scram_sha256,
            ..none()
        },
        Secrets {
            cram_md5: all.cram_md5,
            ..none()
        },
        Secrets {
            digest_md5: all.digest_md5,
            ..none()
        },
        Secrets {
            old_plain: OldPlain::from_libsasl(
                &[
                    b"0123456789abcdef\0".as_slice(),
                    &md5::Md5::digest(b"0123456789abcdefsasldbpencil"),
                ]
                .concat(),
            ),
            ..none()
        },
    ];
    for (i, secrets) in single.iter().enumerate() {
        assert!(
            secrets
                .verify(&alice(), &password("pencil"), &Toll::default())
                .unwrap(),
            "{i}"
        );
        assert!(
            !secrets
                .verify(&alice(), &password("pencip"), &Toll::default())
                .unwrap(),
            "{i}"
        );
    }
    assert!(
        !none()
            .verify(&alice(), &password("pencil"), &Toll::default())
            .unwrap()
    );
}

#[test]
fn prepared_and_typed_passwords_are_one() {
    let all = derived("I\u{ad}X");
    for same in ["IX", "I\u{ad}X", "\u{2168}"] {
        assert!(
            all.verify(&alice(), &password(same), &Toll::default())
                .unwrap(),
            "{same}"
        );
    }
    let typed = Secrets {
        argon2id: Some(Argon2id::derive("\u{2168}".as_bytes(), b"saltsaltsaltsalt").unwrap()),
        ..Secrets::default()
    };
    assert!(
        typed
            .verify(&alice(), &password("\u{2168}"), &Toll::default())
            .unwrap()
    );
    assert!(
        !typed
            .verify(&alice(), &password("IX"), &Toll::default())
            .unwrap()
    );
}

#[test]
fn malformed_text_says_what_was_expected() {
    let cases = [
        ("", "expected {ARGON2ID}"),
        ("secret", "expected {ARGON2ID}"),
        ("{PLAIN}x", "expected {ARGON2ID}"),
        ("{ARGON2ID}x", "expected $argon2id$"),
        ("{CRAM-MD5}00", "expected 64 hex"),
        ("{SCRAM-SHA-1}4096", "expected iterations"),
    ];
    for (text, want) in cases {
        let error = Secrets::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(want), "{text}: {error}");
    }
    let twice = format!("{{CRAM-MD5}}{0} {{cram-md5}}{0}", "00".repeat(32));
    assert_eq!(
        Secrets::parse(twice.as_bytes()).unwrap_err().to_string(),
        "a scheme is given twice"
    );
}

#[test]
fn auth_password_is_that_of_libsasl() {
    let keys = Secrets::derive_scram(&password("pencil"), &Recipe::default(), &SALTS);
    let text = keys.to_auth_password().unwrap();
    assert!(
        text.expose()
            .starts_with(b"SCRAM-SHA-1$4096:c29kaXVtY2hsb3JpZGUxNg==$")
    );
    assert_eq!(Secrets::parse_auth_password(text.expose()).unwrap(), keys);
    assert_eq!(Secrets::default().to_auth_password(), None);
    let other = Secrets::parse_auth_password(b"SCRAM-SHA-512$4096:x$y:z").unwrap();
    assert!(other.is_empty());
    assert!(Secrets::parse_auth_password(b"SCRAM-SHA-1$junk").is_err());
}
