//! Our client against our server, and against servers that cheat.

use super::*;

fn setup(authid: &str, password: &str) -> ClientSetup {
    ClientSetup {
        authid: authid.into(),
        authzid: Vec::new(),
        password: Password::new(password.into()).unwrap(),
        realm: None,
        service: "smtp".to_owned(),
        host: "mail.example.test".to_owned(),
        bindings: Vec::new(),
        plus: Offer::NotOffered,
    }
}

fn bindings() -> Vec<ChannelBinding> {
    vec![
        ChannelBinding {
            kind: BindingKind::TlsExporter,
            data: vec![3; 32],
        },
        ChannelBinding {
            kind: BindingKind::TlsServerEndPoint,
            data: vec![4; 32],
        },
    ]
}

/// Our client against our server; `Ok` with who logged in.
fn meet(
    mechanism: Mechanism,
    setup: ClientSetup,
    channel: Channel,
    accounts: &Users,
) -> Result<String, String> {
    let mine = Nonce::from_text("client").unwrap();
    let theirs = Nonce::from_text("server").unwrap();
    let mut client = ClientExchange::new(mechanism, setup, mine);
    let initial = client.initial().map_err(|e| e.to_string())?;
    let site = service("mail.example.test");
    let (mut server, mut step) = ServerExchange::start(
        mechanism,
        site,
        channel,
        &theirs,
        0,
        initial.as_deref(),
        accounts,
    );
    loop {
        match step {
            ServerStep::Challenge(text) => {
                let response = client.respond(&text).map_err(|e| e.to_string())?;
                step = server.respond(&response, accounts);
            }
            ServerStep::Success(login) => {
                client.accepted().map_err(|e| e.to_string())?;
                return Ok(String::from_utf8_lossy(&login.authid).into_owned());
            }
            ServerStep::Failure(failure) => return Err(failure.reason.into_owned()),
        }
    }
}

#[test]
fn client_and_server_meet_in_every_mechanism() {
    let mut stored = users(&[("clear", clear("p\u{e4}ss \"w\\rd,="))]);
    for name in ["hashed", "j\u{fc}rgen", "a,b=c"] {
        let user = UserId::resolve(name.as_bytes(), b"mail.example.test").unwrap();
        let password = Password::new("p\u{e4}ss \"w\\rd,=".into()).unwrap();
        let salts = Salts::random().unwrap();
        let secrets = Secrets::derive(&user, &password, &Recipe::default(), &salts).unwrap();
        stored.0.insert(user, secrets);
    }
    for mechanism in Mechanism::ALL {
        for name in ["clear", "hashed", "j\u{fc}rgen", "a,b=c"] {
            let channel = Channel {
                external: Some(name.into()),
                bindings: bindings(),
                plus: Offer::Offered,
            };
            let mut me = setup(name, "p\u{e4}ss \"w\\rd,=");
            me.bindings = bindings();
            me.plus = Offer::Offered;
            let want = match mechanism {
                Mechanism::Anonymous => "anonymous",
                _ => name,
            };
            let met = meet(mechanism, me.clone(), channel.clone(), &stored);
            assert_eq!(met.as_deref(), Ok(want), "{mechanism}");
            me.password = Password::new(b"wrong".to_vec()).unwrap();
            let proves = !matches!(mechanism, Mechanism::Anonymous | Mechanism::External);
            assert_eq!(meet(mechanism, me, channel, &stored).is_err(), proves);
        }
    }
}

#[test]
fn channel_binding_catches_a_man_in_the_middle() {
    let accounts = users(&[("alice", clear("secret"))]);
    let plus = Mechanism::ScramPlus(ScramHash::Sha256);
    let bare = Mechanism::Scram(ScramHash::Sha256);
    let offered = Channel {
        bindings: bindings(),
        plus: Offer::Offered,
        ..Channel::default()
    };
    let with = |change: fn(&mut ClientSetup)| {
        let mut me = setup("alice", "secret");
        me.bindings = bindings();
        me.plus = Offer::Offered;
        change(&mut me);
        me
    };
    let cases = [
        (plus, with(|_| {}), Ok("alice")),
        (plus, with(|me| drop(me.bindings.remove(0))), Ok("alice")),
        (
            plus,
            with(|me| me.bindings[0].data[0] ^= 1),
            Err("the channel binding does not fit"),
        ),
        (
            plus,
            with(|me| me.bindings.clear()),
            Err("the channel has nothing to bind to"),
        ),
        (
            bare,
            with(|me| me.plus = Offer::NotOffered),
            Err("the client was kept from seeing the -PLUS mechanisms"),
        ),
        (bare, with(|_| {}), Ok("alice")),
    ];
    for (i, (mechanism, me, want)) in cases.into_iter().enumerate() {
        let met = meet(mechanism, me, offered.clone(), &accounts);
        assert_eq!(met.as_deref().map_err(String::as_str), want, "case {i}");
    }
}

#[test]
fn a_server_that_proves_nothing_is_not_believed() {
    for mechanism in [Mechanism::Scram(ScramHash::Sha1), Mechanism::DigestMd5] {
        let nonce = Nonce::from_text("abc").unwrap();
        let mut client = ClientExchange::new(mechanism, setup("alice", "secret"), nonce);
        let _ = client.initial().unwrap();
        assert_eq!(client.accepted(), Err(ClientFailure::ServerNotProved));
    }
    let nonce = Nonce::from_text("abc").unwrap();
    let scram = Mechanism::Scram(ScramHash::Sha1);
    for challenge in [
        "r=abc,s=QSXCR+Q6sek8bf92,i=4096",
        "r=xyzdef,s=QSXCR+Q6sek8bf92,i=4096",
        "r=abcdef,s=QSXCR+Q6sek8bf92,i=1",
        "r=abcdef,s=QSXCR+Q6sek8bf92,i=4000000000",
        "r=abcdef,s=,i=4096",
        "junk",
    ] {
        let mut client = ClientExchange::new(scram, setup("alice", "secret"), nonce.clone());
        let _ = client.initial().unwrap();
        assert!(client.respond(challenge.as_bytes()).is_err(), "{challenge}");
    }
}

#[test]
fn a_wrong_proof_is_no_proof_however_often_it_comes() {
    let challenges = [
        (
            Mechanism::DigestMd5,
            "realm=\"host\",nonce=\"abc\",qop=\"auth\",charset=utf-8,algorithm=md5-sess",
            "rspauth=00",
        ),
        (
            Mechanism::Scram(ScramHash::Sha1),
            "r=abcdef,s=QSXCR+Q6sek8bf92,i=4096",
            "v=AAAA",
        ),
    ];
    for (mechanism, challenge, proof) in challenges {
        let nonce = Nonce::from_text("abc").unwrap();
        let mut client = ClientExchange::new(mechanism, setup("alice", "secret"), nonce);
        let _ = client.initial().unwrap();
        let _ = client.respond(challenge.as_bytes()).unwrap();
        for _ in 0..2 {
            let answer = client.respond(proof.as_bytes());
            assert_eq!(answer, Err(ClientFailure::ServerNotProved), "{mechanism}");
            assert_eq!(client.accepted(), Err(ClientFailure::ServerNotProved));
        }
    }
}

/// An account of another realm is not the one of the same name in the default realm.
#[test]
fn digest_md5_names_the_realm_of_the_account() {
    let accounts = users(&[
        ("alice", clear("mine")),
        ("alice@b.example", clear("theirs")),
    ]);
    let mut told = Service::new("smtp", "mail.example.test", SecretBytes::new(vec![7; 32]));
    let trusted = UserId::resolve(b"alice", &told.realm).unwrap();
    told.authz = AuthzPolicy::Trusted(vec![trusted]);
    let talk = Talk {
        service: Arc::new(told),
        nonce: "n0",
        ..Talk::new(&accounts)
    };
    let cases: [(&str, &str, &str, &str); 6] = [
        ("mail.example.test", "mine", "", "OK alice as alice"),
        ("mail.example.test", "mine", "root", "OK alice as root"),
        (
            "b.example",
            "theirs",
            "",
            "OK alice@b.example as alice@b.example",
        ),
        (
            "b.example",
            "theirs",
            "root",
            "NotAuthorized not allowed to act as another user",
        ),
        (
            "b.example",
            "theirs",
            "alice",
            "NotAuthorized not allowed to act as another user",
        ),
        (
            "b.example",
            "mine",
            "",
            "Rejected the response does not fit",
        ),
    ];
    for (realm, password, authzid, want) in cases {
        let setup = ClientSetup {
            authzid: authzid.as_bytes().to_vec(),
            realm: Some(realm.as_bytes().to_vec()),
            ..setup("alice", password)
        };
        let nonce = Nonce::from_text("mine").unwrap();
        let mut client = ClientExchange::new(Mechanism::DigestMd5, setup, nonce);
        let challenge = "nonce=\"n0\",realm=\"mail.example.test\",qop=\"auth\",\
                         charset=utf-8,algorithm=md5-sess";
        let response = client.respond(challenge.as_bytes()).unwrap();
        let told = talk.run("DIGEST-MD5", None, &[&response, b""]);
        assert!(told.ends_with(want), "{realm} {authzid}: {told}");
    }
}
