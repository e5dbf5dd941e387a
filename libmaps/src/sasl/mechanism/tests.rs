//! Exchanges as the RFCs print them, and what must fail.

mod client_tests;
mod decoy_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::sasl::key::UserId;
use crate::sasl::password::{Password, SecretBytes};
use crate::sasl::secret::{Recipe, Salts, ScramSecret, Secrets};

struct Users(BTreeMap<UserId, Secrets>);

impl Accounts for Users {
    fn secrets(&self, user: &UserId) -> Result<Option<Secrets>, AccountsError> {
        if user.authid() == b"broken" {
            return Err(AccountsError("store.db: page 3: damaged".to_owned()));
        }
        Ok(self.0.get(user).cloned())
    }

    fn check(
        &self,
        service: &Service,
        name: &[u8],
        password: &Password,
    ) -> Result<bool, AccountsError> {
        let user = UserId::resolve(name.trim_ascii(), &service.realm).unwrap();
        match self.secrets(&user)? {
            Some(secrets) => Ok(secrets.verify(&user, password, &service.toll).unwrap()),
            None => Ok(false),
        }
    }
}

fn clear(password: &str) -> Secrets {
    Secrets {
        clear: Some(Password::new(password.into()).unwrap()),
        ..Secrets::default()
    }
}

fn users(all: &[(&str, Secrets)]) -> Users {
    let entry = |(name, secrets): &(&str, Secrets)| {
        let user = UserId::resolve(name.as_bytes(), b"mail.example.test").unwrap();
        (user, secrets.clone())
    };
    Users(all.iter().map(entry).collect())
}

fn service(host: &str) -> Arc<Service> {
    Arc::new(Service::new("smtp", host, SecretBytes::new(vec![7; 32])))
}

/// A conversation with a server, told as text: `S:` challenges, `C:` responses, and how it ended.
struct Talk<'a> {
    service: Arc<Service>,
    channel: Channel,
    accounts: &'a Users,
    nonce: &'a str,
}

impl<'a> Talk<'a> {
    fn new(accounts: &'a Users) -> Self {
        Talk {
            service: service("mail.example.test"),
            channel: Channel::default(),
            accounts,
            nonce: "1896",
        }
    }

    fn run(&self, mechanism: &str, initial: Option<&[u8]>, responses: &[&[u8]]) -> String {
        let mechanism = Mechanism::parse(mechanism.as_bytes()).unwrap();
        let nonce = Nonce::from_text(self.nonce).unwrap();
        let (mut exchange, mut step) = ServerExchange::start(
            mechanism,
            Arc::clone(&self.service),
            self.channel.clone(),
            &nonce,
            697_170_952,
            initial,
            self.accounts,
        );
        let mut told = String::new();
        let mut responses = responses.iter();
        loop {
            match step {
                ServerStep::Challenge(text) => {
                    told += &format!("S:{} ", String::from_utf8_lossy(&text));
                    let Some(response) = responses.next() else {
                        return told;
                    };
                    step = exchange.respond(response, self.accounts);
                }
                ServerStep::Success(login) => {
                    let show = String::from_utf8_lossy;
                    told += &format!("OK {} as {}", show(&login.authid), show(&login.authzid));
                    return told;
                }
                ServerStep::Failure(failure) => {
                    told += &format!("{:?} {}", failure.kind, failure.reason);
                    return told;
                }
            }
        }
    }
}

/// What SASLprep makes equal is one account, and is told as one; another account that is stored
/// under such a spelling stays itself.
#[test]
fn spellings_of_a_name_are_one_login() {
    let mut accounts = users(&[
        ("alice", clear("secret")),
        ("b\u{ad}ob", clear("hunter2")),
        ("bob", clear("other")),
    ]);
    let carol = UserId::resolve(b"carol", b"mail.example.test").unwrap();
    let password = Password::new(b"secret".to_vec()).unwrap();
    let salts = Salts::random().unwrap();
    let mine = Secrets::derive(&carol, &password, &Recipe::default(), &salts);
    accounts.0.insert(carol, mine.unwrap());
    let talk = Talk::new(&accounts);
    for (name, password, want) in [
        ("alice", "secret", "OK alice as alice"),
        ("a\u{ad}lice", "secret", "OK alice as alice"),
        ("\u{ff41}lice", "secret", "OK alice as alice"),
        (
            "\u{ff41}lice\u{ff20}mail.example.test",
            "secret",
            "OK alice@mail.example.test as alice@mail.example.test",
        ),
        ("car\u{ad}ol", "secret", "OK carol as carol"),
        ("b\u{ad}ob", "hunter2", "OK b\u{ad}ob as b\u{ad}ob"),
        (
            "b\u{ad}ob",
            "other",
            "Rejected password verification failed",
        ),
        ("bob", "hunter2", "Rejected password verification failed"),
        ("b\u{ad}\u{ad}ob", "other", "OK bob as bob"),
        ("\u{a0}", "secret", "Malformed the user name is empty"),
    ] {
        for authzid in ["", name] {
            let first = format!("{authzid}\0{name}\0{password}");
            let told = talk.run("PLAIN", Some(first.as_bytes()), &[]);
            assert_eq!(told, want, "{name:?} {authzid:?}");
        }
        let told = talk.run("LOGIN", None, &[name.as_bytes(), password.as_bytes()]);
        assert!(told.ends_with(want), "{name:?}: {told}");
    }
    // The others tell the account's name, too.
    let challenge = talk.run("CRAM-MD5", None, &[]);
    let challenge = challenge.trim().trim_start_matches("S:").as_bytes();
    let answer = cram_md5::answer("al\u{ad}ice".as_bytes(), &password, challenge);
    let told = talk.run("CRAM-MD5", None, &[&answer]);
    assert!(told.ends_with("OK alice as alice"), "{told}");
}

#[test]
fn plain() {
    let accounts = users(&[
        ("alice", clear("secret")),
        ("bob@example.org", clear("hunter2")),
    ]);
    let talk = Talk::new(&accounts);
    let cases: [(&[u8], &str); 14] = [
        (b"\0alice\0secret", "OK alice as alice"),
        (b"alice\0alice\0secret", "OK alice as alice"),
        (
            b"alice\0alice@mail.example.test\0secret",
            "OK alice@mail.example.test as alice",
        ),
        (
            b"\0bob@example.org\0hunter2",
            "OK bob@example.org as bob@example.org",
        ),
        (b"\0 alice \0secret", "OK alice as alice"),
        (
            b"bob\0alice\0secret",
            "NotAuthorized not allowed to act as another user",
        ),
        (b"\0alice\0bad", "Rejected password verification failed"),
        (
            b"\0mallory\0secret",
            "Rejected password verification failed",
        ),
        (
            b"\0bob@EXAMPLE.ORG\0hunter2",
            "Rejected password verification failed",
        ),
        (b"\0Alice\0secret", "Rejected password verification failed"),
        (b"\0\0secret", "Malformed the user name is empty"),
        (b"\0alice\0", "Malformed the password is empty or too long"),
        (
            b"alice",
            "Malformed expected authzid NUL authid NUL password",
        ),
        (
            b"\0alice\0secret\0junk",
            "Malformed expected authzid NUL authid NUL password",
        ),
    ];
    for (response, want) in cases {
        assert_eq!(talk.run("plain", Some(response), &[]), want, "{response:?}");
        assert_eq!(talk.run("PLAIN", None, &[response]), format!("S: {want}"));
    }
    assert_eq!(
        talk.run("PLAIN", Some(b"\0broken\0x"), &[]),
        "Unavailable store.db: page 3: damaged"
    );
}

#[test]
fn login() {
    let accounts = users(&[("alice", clear("secret"))]);
    let talk = Talk::new(&accounts);
    let asks = "S:Username: S:Password: ";
    let both: &[&[u8]] = &[b"alice", b"secret"];
    assert_eq!(
        talk.run("LOGIN", None, both),
        format!("{asks}OK alice as alice")
    );
    assert_eq!(
        talk.run("LOGIN", Some(b""), both),
        format!("{asks}OK alice as alice")
    );
    assert_eq!(
        talk.run("LOGIN", Some(b"alice"), &[b"secret"]),
        "S:Password: OK alice as alice"
    );
    for (name, password) in [("alice", "bad"), ("mallory", "secret")] {
        let both: &[&[u8]] = &[name.as_bytes(), password.as_bytes()];
        assert_eq!(
            talk.run("LOGIN", None, both),
            format!("{asks}Rejected password verification failed")
        );
    }
    assert!(
        talk.run("LOGIN", None, &[b"", b"secret"])
            .contains("Malformed")
    );
    assert!(
        talk.run("LOGIN", None, &[b"alice\0x", b"secret"])
            .contains("Malformed")
    );
}

/// RFC 2195 section 2, and that hash and clear text answer alike.
#[test]
fn cram_md5() {
    let tim = UserId::resolve(b"tim", b"postoffice.reston.mci.net").unwrap();
    let password = Password::new(b"tanstaaftanstaaf".to_vec()).unwrap();
    let salts = Salts {
        argon2id: [1; 16],
        scram: [2; 16],
    };
    let hashed = Secrets::derive(&tim, &password, &Recipe::default(), &salts).unwrap();
    let only_scram = Secrets::derive_scram(&password, &Recipe::default(), &salts);
    let accounts = Users(BTreeMap::from([
        (tim.clone(), hashed),
        (
            UserId::new(b"kim", tim.realm()).unwrap(),
            clear("tanstaaftanstaaf"),
        ),
        (UserId::new(b"erin", tim.realm()).unwrap(), only_scram),
    ]));
    let talk = Talk {
        service: service("postoffice.reston.mci.net"),
        ..Talk::new(&accounts)
    };
    let asks = "S:<1896.697170952@postoffice.reston.mci.net> ";
    let cases: [(&[u8], &str); 7] = [
        (b"tim b913a602c7eda7a495b4e6e7334d3890", "OK tim as tim"),
        (b"kim b913a602c7eda7a495b4e6e7334d3890", "OK kim as kim"),
        (
            b"tim B913A602C7EDA7A495B4E6E7334D3890",
            "Rejected incorrect digest response",
        ),
        (b"tim ", "Rejected incorrect digest response"),
        (
            b"mallory b913a602c7eda7a495b4e6e7334d3890",
            "Rejected no such user",
        ),
        (
            b"erin b913a602c7eda7a495b4e6e7334d3890",
            "Rejected the user has no CRAM-MD5 secret",
        ),
        (b"tim", "Malformed expected a name, a blank and a digest"),
    ];
    for (response, want) in cases {
        let told = talk.run("CRAM-MD5", None, &[response]);
        assert_eq!(told, format!("{asks}{want}"));
    }
    assert!(
        talk.run("CRAM-MD5", Some(b""), &[])
            .starts_with("Malformed")
    );
}

/// RFC 2831 section 4: the IMAP example and the ACAP one.
#[test]
fn digest_md5_of_the_rfc() {
    let accounts = users(&[("chris@elwood.innosoft.com", clear("secret"))]);
    for (name, nonce, cnonce, response, rspauth) in [
        (
            "imap",
            "OA6MG9tEQGm2hh",
            "OA6MHXh6VqTrRk",
            "d388dad90d4bbd760a152321f2143af7",
            "ea40f60335c427b5527b84dbabcdfffd",
        ),
        (
            "acap",
            "OA9BSXrbuRhWay",
            "OA9BSuZWMSpW8m",
            "6084c6db3fede7352c551284490fd0fc",
            "2f0b3d7c3c2e486600ef710726aa2eae",
        ),
    ] {
        let mut told = Service::new(name, "elwood.innosoft.com", SecretBytes::new(vec![7; 32]));
        told.realm = b"elwood.innosoft.com".to_vec();
        let talk = Talk {
            service: Arc::new(told),
            nonce,
            ..Talk::new(&accounts)
        };
        let message = format!(
            "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"{nonce}\",\
             nc=00000001,cnonce=\"{cnonce}\",digest-uri=\"{name}/elwood.innosoft.com\",\
             response={response},qop=auth"
        );
        let told = talk.run("DIGEST-MD5", None, &[message.as_bytes(), b""]);
        let want = format!("S:rspauth={rspauth} OK chris as chris");
        assert!(told.ends_with(&want), "{told}");
        let changes = [
            ("qop=auth", "qop=auth-int", "Malformed security layers"),
            ("qop=auth", "qop=auth-conf", "Malformed security layers"),
            ("nc=00000001", "nc=00000002", "Malformed the nonce count"),
            (nonce, "other", "Malformed the nonce is not"),
            ("/elwood", "x/elwood", "Malformed the digest-uri"),
            ("username=\"chris\",", "", "Malformed no username"),
            ("chris", "mallory", "Rejected no such user"),
            (
                "response=",
                "response=0",
                "Rejected the response does not fit",
            ),
            ("utf-8", "utf-7", "Malformed an unknown charset"),
            ("nc=", "nc=1,nc=", "Malformed a directive is given twice"),
        ];
        for (from, to, want) in changes {
            let told = talk.run(
                "DIGEST-MD5",
                None,
                &[message.replacen(from, to, 1).as_bytes()],
            );
            assert!(told.contains(want), "{from}: {told}");
        }
    }
}

/// RFC 5802 section 5 and RFC 7677 section 3, the server's side; the keys are stored ones.
#[test]
fn scram_of_the_rfcs() {
    let sha1 = "4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=";
    let sha256 = "4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                  wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let user = Secrets {
        scram_sha1: Some(ScramSecret::parse(ScramHash::Sha1, sha1).unwrap()),
        scram_sha256: Some(ScramSecret::parse(ScramHash::Sha256, sha256).unwrap()),
        ..Secrets::default()
    };
    let accounts = users(&[("user", user)]);
    let cases = [
        (
            "SCRAM-SHA-1",
            "fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "QSXCR+Q6sek8bf92",
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (
            "SCRAM-SHA-256",
            "rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ];
    for (mechanism, mine, theirs, salt, proof, signature) in cases {
        let talk = Talk {
            nonce: theirs,
            ..Talk::new(&accounts)
        };
        let first = format!("n,,n=user,r={mine}");
        let last = format!("c=biws,r={mine}{theirs},p={proof}");
        let asks = format!("S:r={mine}{theirs},s={salt},i=4096 ");
        let run = |first: &str, last: &str| {
            talk.run(mechanism, Some(first.as_bytes()), &[last.as_bytes(), b""])
        };
        assert_eq!(
            run(&first, &last),
            format!("{asks}S:v={signature} OK user as user")
        );
        let cases = [
            (
                last.replace("p=", "p=AAAA"),
                "Rejected the proof does not fit",
            ),
            (last.replace(theirs, "x"), "Malformed the nonce has changed"),
            (
                last.replace("biws", "eSws"),
                "Malformed the channel binding does not fit",
            ),
            (
                last.replace(",p=", ",q="),
                "Malformed expected p= at the end",
            ),
        ];
        for (last, want) in cases {
            assert_eq!(run(&first, &last), format!("{asks}{want}"));
        }
        let other = first.replace("n,,", "n,a=root,");
        assert!(run(&other, &last.replace("biws", "bixhPXJvb3Qs")).contains("Rejected"));
        let unknown = run(&first.replace("user", "mallory"), &last);
        assert!(unknown.ends_with("Rejected no such user"), "{unknown}");
        assert!(unknown.contains(",i=4096 "));
    }
}

#[test]
fn scram_shows_the_same_salt_for_the_same_unknown_user() {
    let accounts = users(&[("user", clear("pencil"))]);
    let talk = Talk::new(&accounts);
    let ask = |name: &str| {
        let first = format!("n,,n={name},r=abc");
        let told = talk.run("SCRAM-SHA-256", Some(first.as_bytes()), &[]);
        let salt = told.split_once(",s=").unwrap().1.split_once(',').unwrap().0;
        salt.to_owned()
    };
    assert_eq!(ask("mallory"), ask("mallory"));
    assert_ne!(ask("mallory"), ask("trudy"));
    assert_eq!(ask("mallory").len(), ask("user").len());
}

#[test]
fn external_and_anonymous() {
    let accounts = users(&[]);
    let mut talk = Talk::new(&accounts);
    assert!(talk.run("EXTERNAL", Some(b""), &[]).starts_with("Rejected"));
    talk.channel.external = Some(b"/CN=alice".to_vec());
    assert_eq!(
        talk.run("EXTERNAL", Some(b""), &[]),
        "OK /CN=alice as /CN=alice"
    );
    assert_eq!(
        talk.run("EXTERNAL", None, &[b"/CN=alice"]),
        "S: OK /CN=alice as /CN=alice"
    );
    assert!(
        talk.run("EXTERNAL", Some(b"root"), &[])
            .starts_with("NotAuthorized")
    );
    assert_eq!(
        talk.run("ANONYMOUS", Some(b"me@x"), &[]),
        "OK anonymous as anonymous"
    );
    assert!(
        talk.run("ANONYMOUS", Some(b"a\nb"), &[])
            .starts_with("Malformed")
    );
    assert!(
        talk.run("ANONYMOUS", Some(&[b'x'; 256]), &[])
            .starts_with("Malformed")
    );
}

#[test]
fn trusted_users_may_act_as_others() {
    let accounts = users(&[("relay", clear("secret")), ("alice", clear("secret"))]);
    let mut site = Service::new("smtp", "mail.example.test", SecretBytes::new(vec![7; 32]));
    let relay = UserId::new(b"relay", b"mail.example.test").unwrap();
    site.authz = AuthzPolicy::Trusted(vec![relay]);
    let talk = Talk {
        service: Arc::new(site),
        ..Talk::new(&accounts)
    };
    assert_eq!(
        talk.run("PLAIN", Some(b"bob\0relay\0secret"), &[]),
        "OK relay as bob"
    );
    assert!(
        talk.run("PLAIN", Some(b"bob\0alice\0secret"), &[])
            .starts_with("NotAuthorized")
    );
}

#[test]
fn an_exchange_ends_once() {
    let accounts = users(&[("alice", clear("secret"))]);
    let (mut exchange, step) = ServerExchange::start(
        Mechanism::Plain,
        service("mail.example.test"),
        Channel::default(),
        &Nonce::from_text("n").unwrap(),
        0,
        Some(b"\0alice\0bad"),
        &accounts,
    );
    assert!(matches!(step, ServerStep::Failure(_)));
    let again = exchange.respond(b"\0alice\0secret", &accounts);
    assert!(matches!(again, ServerStep::Failure(f) if f.reason == "the exchange is over"));
    let long = vec![b'x'; MAX_MESSAGE_OCTETS + 1];
    let talk = Talk::new(&accounts);
    assert!(talk.run("PLAIN", None, &[&long]).contains("too long"));
}

#[test]
fn checkers_are_asked_in_order() {
    struct Answers(Result<bool, AccountsError>);
    impl PasswordChecker for Answers {
        fn check(&self, _: &Service, _: &[u8], _: &Password) -> Result<bool, AccountsError> {
            self.0.clone()
        }
    }
    let store = users(&[]);
    let down = || Answers(Err(AccountsError("down".to_owned())));
    let cases: [(Vec<Answers>, Result<bool, &str>); 5] = [
        (vec![], Ok(false)),
        (vec![Answers(Ok(false)), Answers(Ok(true))], Ok(true)),
        (vec![down(), Answers(Ok(true))], Ok(true)),
        (vec![down(), Answers(Ok(false))], Err("down")),
        (vec![Answers(Ok(false))], Ok(false)),
    ];
    for (answers, want) in cases {
        let checkers: Vec<Box<dyn PasswordChecker>> = answers
            .into_iter()
            .map(|a| Box::new(a) as Box<dyn PasswordChecker>)
            .collect();
        let all = Checkers {
            store: &store,
            checkers: &checkers,
        };
        let password = Password::new(b"x".to_vec()).unwrap();
        let got = all.check(&service("h"), b"alice", &password);
        assert_eq!(got.map_err(|e| e.0), want.map_err(str::to_owned));
    }
}

/// What the first step of each mechanism costs for a user, in iterations of SCRAM.
fn first_step(service: &Arc<Service>, accounts: &Users, name: &str) -> [u64; 3] {
    let before = crate::sasl::secret::computed();
    let first = format!("n,,n={name},r=fyko");
    let nonce = Nonce::from_text("1896").unwrap();
    let (_, step) = ServerExchange::start(
        Mechanism::parse(b"SCRAM-SHA-256").unwrap(),
        Arc::clone(service),
        Channel::default(),
        &nonce,
        0,
        Some(first.as_bytes()),
        accounts,
    );
    assert!(matches!(step, ServerStep::Challenge(_)), "{name}");
    let after = crate::sasl::secret::computed();
    std::array::from_fn(|at| after[at] - before[at])
}

#[test]
fn keys_that_are_made_for_one_take_as_long_for_all() {
    let salts = Salts::random().unwrap();
    let password = Password::new(b"pencil".to_vec()).unwrap();
    let keyed = Secrets::derive_scram(&password, &Recipe::default(), &salts);
    let accounts = users(&[("keyed", keyed), ("clear", clear("pencil"))]);
    let service = service("mail.example.test");
    // Where all have keys none are made.
    for name in ["keyed", "nobody"] {
        assert_eq!(first_step(&service, &accounts, name), [0, 0, 0], "{name}");
    }
    service.toll.meet(&clear("pencil"));
    for name in ["keyed", "nobody", "clear"] {
        assert_eq!(
            first_step(&service, &accounts, name),
            [0, 0, 4096],
            "{name}"
        );
    }
}
