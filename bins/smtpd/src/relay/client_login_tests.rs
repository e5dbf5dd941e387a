//! Transcripts of AUTH.

use super::{play, run, settings};
use crate::relay::client::{ClearText, Client, Credentials, Protocol, Server, Settings};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libmaps::sasl::mechanism::Mechanism;
use libmaps::sasl::password::Password;

fn credentials(mechanisms: &[&str], clear_text: ClearText) -> Credentials {
    Credentials {
        authid: b"joe".to_vec(),
        authzid: Vec::new(),
        password: Password::new(b"secret".to_vec()).unwrap(),
        realm: None,
        mechanisms: mechanisms
            .iter()
            .map(|m| Mechanism::parse(m.as_bytes()).unwrap())
            .collect(),
        clear_text,
        host: "mx".into(),
    }
}

fn logging_in(mechanisms: &[&str], clear_text: ClearText, offered: &str) -> Client {
    let mut client = Client::new(Settings {
        login: Some(credentials(mechanisms, clear_text)),
        ..settings(Protocol::Esmtp)
    });
    let mut did = Vec::new();
    client.receive(b"220 mx\r\n");
    run(&mut client, &mut did);
    client.receive(format!("250-mx\r\n250 AUTH {offered}\r\n").as_bytes());
    client
}

#[test]
fn logins_in_the_sites_order() {
    let mut client = logging_in(&["CRAM-MD5", "PLAIN"], ClearText::Allowed, "PLAIN CRAM-MD5");
    play(
        &mut client,
        "C: AUTH CRAM-MD5
         S: 334 PDE+
         C: am9lIDNlODkyYjQ4ZjZlOWUwY2QwYjQ3YzU2YzYxYWQ2YjA1
         S: 535 5.7.8 no
         C: AUTH PLAIN AGpvZQBzZWNyZXQ=
         S: 235 yes
         READY"
            .replace(
                "am9lIDNlODkyYjQ4ZjZlOWUwY2QwYjQ3YzU2YzYxYWQ2YjA1",
                &cram("<1>"),
            )
            .as_str(),
    );
    assert_eq!(client.logged_in(), Some("PLAIN"));
    assert_eq!(client.take_notes(), ["CRAM-MD5: 535 5.7.8 no"]);
}

fn cram(challenge: &str) -> String {
    use libmaps::sasl::mechanism::{ClientExchange, ClientSetup, Nonce, Offer};
    let login = credentials(&[], ClearText::Verified);
    let setup = ClientSetup {
        authid: login.authid,
        authzid: login.authzid,
        password: login.password,
        realm: None,
        service: "smtp".into(),
        host: "mx".into(),
        bindings: Vec::new(),
        plus: Offer::NotOffered,
    };
    let nonce = Nonce::from_text("x").unwrap();
    let mut exchange = ClientExchange::new(Mechanism::CramMd5, setup, nonce);
    let answer = exchange.respond(challenge.as_bytes()).unwrap();
    STANDARD.encode(answer)
}

#[test]
fn no_password_in_clear() {
    let mut client = logging_in(&["PLAIN", "LOGIN"], ClearText::Verified, "PLAIN LOGIN");
    play(&mut client, "READY");
    assert_eq!(client.logged_in(), None);
    assert_eq!(
        client.take_notes(),
        ["no password is told without TLS, offered PLAIN LOGIN"]
    );
}

fn under_tls(clear_text: ClearText, server: Server) -> Client {
    let mut client = Client::new(Settings {
        login: Some(credentials(&["SCRAM-SHA-256", "PLAIN"], clear_text)),
        ..settings(Protocol::Esmtp)
    });
    let mut did = Vec::new();
    client.receive(b"220 mx\r\n");
    run(&mut client, &mut did);
    client.receive(b"250-mx\r\n250 STARTTLS\r\n");
    run(&mut client, &mut did);
    client.receive(b"220 go\r\n");
    run(&mut client, &mut did);
    if server == Server::Verified {
        client.verified();
    }
    client.receive(b"250-mx\r\n250 AUTH PLAIN\r\n");
    client
}

#[test]
fn a_password_is_told_to_whom_the_site_knows() {
    const LOGS_IN: &str = "C: AUTH PLAIN AGpvZQBzZWNyZXQ=\nS: 235 yes\nREADY";
    for (clear_text, server, want) in [
        (ClearText::Verified, Server::Verified, LOGS_IN),
        (ClearText::Verified, Server::Unknown, "READY"),
        (ClearText::Secured, Server::Unknown, LOGS_IN),
    ] {
        let mut client = under_tls(clear_text, server);
        play(&mut client, want);
        let by = (want == LOGS_IN).then_some("PLAIN");
        assert_eq!(client.logged_in(), by, "{clear_text:?} {server:?}");
    }
}

#[test]
fn a_server_without_proof_gets_no_password() {
    let both = ["SCRAM-SHA-256", "PLAIN"];
    let mut client = logging_in(&both, ClearText::Allowed, "SCRAM-SHA-256 PLAIN");
    let mut did = Vec::new();
    run(&mut client, &mut did);
    let sent = did[0].rsplit(' ').next().unwrap();
    let first = STANDARD.decode(sent).unwrap();
    let first = String::from_utf8(first).unwrap();
    let nonce = first.rsplit("r=").next().unwrap();
    let challenge = STANDARD.encode(format!("r={nonce}x,s=c2FsdHNhbHQ=,i=4096"));
    client.receive(format!("334 {challenge}\r\n").as_bytes());
    run(&mut client, &mut did);
    let wrong = STANDARD.encode(format!("v={}", STANDARD.encode([0; 32])));
    client.receive(format!("334 {wrong}\r\n").as_bytes());
    run(&mut client, &mut did);
    let last = did.last().unwrap();
    assert!(
        last.starts_with("OVER 4.7.0 AUTH SCRAM-SHA-256: "),
        "{did:?}"
    );
}

#[test]
fn logins_that_fail() {
    let mut client = logging_in(&["LOGIN"], ClearText::Allowed, "LOGIN");
    play(
        &mut client,
        "C: AUTH LOGIN
         S: 334 !!!
         C: *
         S: 501 cancelled
         OVER 4.7.8 AUTH failed with every mechanism",
    );
    assert_eq!(
        client.take_notes(),
        ["LOGIN: a challenge that is not base64"]
    );
    let mut client = logging_in(&["CRAM-MD5"], ClearText::Verified, "CRAM-MD5");
    play(
        &mut client,
        "C: AUTH CRAM-MD5
         S: 454 4.7.0 later
         OVER 4.7.0 AUTH CRAM-MD5: 454 4.7.0 later",
    );
    // A server that says yes to SCRAM without its proof is not the one we know.
    let mut client = logging_in(&["SCRAM-SHA-256"], ClearText::Verified, "SCRAM-SHA-256");
    let mut did = Vec::new();
    run(&mut client, &mut did);
    assert!(did[0].starts_with("C: AUTH SCRAM-SHA-256 "), "{did:?}");
    client.receive(b"235 yes\r\n");
    run(&mut client, &mut did);
    assert!(
        did[1].starts_with("OVER 4.7.0 AUTH SCRAM-SHA-256: "),
        "{did:?}"
    );
}
