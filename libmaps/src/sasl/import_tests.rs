use super::*;
use crate::map::Entry;
use crate::sasl::key::{AUTH_PASSWORD, HASHED_PASSWORD, USER_PASSWORD};
use crate::store::MemoryMap;

#[test]
fn good_and_bad_rows() {
    let text = "User,Realm,Password\n\
        alice,example.org,secret\n\
        bob@example.net,,\"a,b\"\n\
        carol,,x\n\
        dave,r,{CRAM-MD5}00\n\
        erin,r\n\
        alice,example.org,other\n\
        ,r,x\n\
        frank,r,\n\
        g@h,r,x\n\
        ivan,r,{PLAIN}x\n";
    let (good, bad) = read(text.as_bytes(), b"host");
    let names: Vec<_> = good.iter().map(|g| g.user.to_string()).collect();
    assert_eq!(
        names,
        [
            "alice@example.org",
            "bob@example.net",
            "carol@host",
            "ivan@r"
        ]
    );
    let told: Vec<_> = bad.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 5: dave@r: expected 64 hexadecimal digits",
            "line 6: expected user,realm,password, found 2 fields \
             (a field that holds commas must be in quotes)",
            "line 7: alice@example.org: given on line 2 already",
            "line 8: the user is empty",
            "line 9: frank@r: the password is empty",
            "line 10: the user holds an @ and a realm is given too",
        ]
    );
}

#[test]
fn a_hash_of_an_unknown_scheme_is_never_a_password() {
    let cases: [(&str, Option<&str>); 32] = [
        ("{SHA512-CRYPT}$6$salt$xyz", None),
        ("{SSHA}MTIzNDU2Nzg5MDEyMzQ1Njc4OTBzYWx0", None),
        ("{ssha256.hex}00", None),
        ("{BLF-CRYPT}$2y$05$abc", None),
        ("{CRYPT}ab1cdefghijkl", None),
        ("{MD5}rL0Y20zC+Fzt72VPzMSk2A==", None),
        ("{SCRAM-SHA-512}4096,c2FsdA==,x,y", None),
        ("{ARGON2I}$argon2i$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", None),
        ("{PBKDF2_SHA256}x", None),
        ("{PLAIN.B64}c2VjcmV0", None),
        ("{abc}", None),
        ("$6$salt$xyz", None),
        ("$6$rounds=5000$salt$xyz", None),
        ("$2y$05$abcdefghijklmnopqrstuv", None),
        ("$y$j9T$salt$hash", None),
        ("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", None),
        ("{PLAIN}secret", Some("secret")),
        ("{plain}secret", Some("secret")),
        ("{CLEAR}secret", Some("secret")),
        ("{ClearText}secret", Some("secret")),
        ("{PLAIN}{abc}x", Some("{abc}x")),
        ("{PLAIN}{PLAIN}x", Some("{PLAIN}x")),
        ("{PLAIN}$6$salt$xyz", Some("$6$salt$xyz")),
        ("{}x", Some("{}x")),
        ("{a b}x", Some("{a b}x")),
        ("{x", Some("{x")),
        ("x{SSHA}y", Some("x{SSHA}y")),
        ("$", Some("$")),
        ("$$$$", Some("$$$$")),
        ("$5", Some("$5")),
        ("$5$off", Some("$5$off")),
        ("US$5$6$7", Some("US$5$6$7")),
    ];
    for (third, want) in cases {
        let row = write_row(&[b"u", b"r", third.as_bytes()]);
        let (good, bad) = read(&row, b"host");
        let given = good.into_iter().next().map(|row| row.given);
        let want = want.map(|w| Given::Password(Password::new(w.into()).unwrap()));
        assert_eq!(given, want, "{third}");
        let told: Vec<_> = bad.iter().map(ToString::to_string).collect();
        let error = "line 1: u@r: a hash of a scheme that can't be imported \
            (before a password that looks like one write {PLAIN})";
        assert_eq!(told, vec![error; want.is_none().into()], "{third}");
    }
}

proptest::proptest! {
    #[test]
    fn every_password_is_exported_so_that_it_is_imported(
        start in "|\\{[A-Z-]{0,9}\\}|\\$[a-z0-9]{0,2}\\$",
        end in "[ -~]{1,9}",
    ) {
        let password = Password::new((start + &end).into_bytes()).unwrap();
        let third = third_of(&password);
        let got = Third::of(third.expose());
        proptest::prop_assert_eq!(got, Third::Password(password.expose()));
    }
}

#[test]
fn what_is_exported_is_imported() {
    let user = |name: &[u8]| UserId::new(name, b"r").unwrap();
    let hashes = format!("{{CRAM-MD5}}{}", "0f".repeat(32));
    let stale =
        "SCRAM-SHA-1$4096:c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let db = SaslDb::new(MemoryMap::new(
        "s",
        [
            Entry::new(user(b"a,b").lhs(HASHED_PASSWORD), hashes.as_str()),
            Entry::new(user(b"bad").lhs(AUTH_PASSWORD), "SCRAM-SHA-1$1:x"),
            Entry::new(user(b"c").lhs(USER_PASSWORD), "cle\"ar"),
            Entry::new(user(b"d").lhs(b"cmusaslsecretOTP"), "x"),
            Entry::new(user(b"e").lhs(USER_PASSWORD), "{SSHA}x"),
            // With --plaintext.
            Entry::new(user(b"f").lhs(HASHED_PASSWORD), hashes.as_str()),
            Entry::new(user(b"f").lhs(USER_PASSWORD), "kept"),
            // libsasl leaves the keys of an earlier password where it makes no new ones.
            Entry::new(user(b"g").lhs(USER_PASSWORD), "new"),
            Entry::new(user(b"g").lhs(AUTH_PASSWORD), stale),
            Entry::new("nobody's", "x"),
        ],
    ));
    let mut text = Vec::new();
    let left_out = write(&db, &mut |row| {
        text.extend_from_slice(row);
        Ok(())
    });
    let left_out: Vec<_> = left_out.unwrap().iter().map(ToString::to_string).collect();
    let want = [
        "s: nobody's: expected user NUL realm NUL property",
        "s: bad@r: authPassword: ",
        "d@r: no secret that can be exported",
    ];
    assert_eq!(left_out.len(), want.len(), "{left_out:?}");
    for (told, want) in left_out.iter().zip(want) {
        assert!(told.starts_with(want), "{told}");
    }
    let (good, bad) = read(&text, b"");
    assert_eq!(bad, []);
    let password = |text: &str| Given::Password(Password::new(text.into()).unwrap());
    let want = [
        (
            user(b"a,b"),
            Given::Secrets(Box::new(Secrets::parse(hashes.as_bytes()).unwrap())),
        ),
        (user(b"c"), password("cle\"ar")),
        (user(b"e"), password("{SSHA}x")),
        (user(b"f"), password("kept")),
        (user(b"g"), password("new")),
    ];
    let good: Vec<_> = good.into_iter().map(|row| (row.user, row.given)).collect();
    assert_eq!(good, want);
}
