//! The recorded AUTH dialogues of sendmail and Cyrus SASL, played against the server.
//!
//! Challenges hold nonces, so answers are computed anew from the passwords of the recorded
//! accounts. Every step gets the recorded codes, or what `differences-wire.md` says of it.

mod answers;
mod differences;

use std::path::{Path, PathBuf};

use libmaps::sasl::edit::AuthPassword;
use rcgen::DnType;
use serde_json::Value;

use crate::certificates::{Authority, Pair, TLS_MC};
use crate::client::Client;
use crate::saslauthd;
use crate::site::{HOST, Server, Site};
use answers::Answers;
use differences::{Difference, read_table};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/conformance")
        .join(name)
}

#[test]
fn every_recorded_login_dialogue() {
    let text = std::fs::read_to_string(testdata("wire-smtp.jsonl")).unwrap();
    let dialogues: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let configs = std::fs::read_to_string(testdata("wire-smtp-configs.json")).unwrap();
    let configs: Value = serde_json::from_str(&configs).unwrap();
    let authority = Authority::new("CA");
    let alice = authority.sign_with("alice", 7, |params| {
        let mut name = rcgen::DistinguishedName::new();
        name.push(DnType::CommonName, "alice");
        params.distinguished_name = name;
    });
    let (mut steps, mut found) = (0, Vec::new());
    for (name, config) in configs.as_object().unwrap() {
        let site = lay_out(config, &authority);
        let mut running: Option<Server> = None;
        for dialogue in dialogues.iter().filter(|d| d["config"] == name.as_str()) {
            let id = dialogue["id"].as_str().unwrap();
            let script = name.starts_with("saslauthd").then(|| script_of(id));
            if let Some(script) = script.flatten() {
                // A fault is remembered for a moment, so each dialogue has its own server.
                running = None;
                let _ = saslauthd::serve(&site, script);
            } else if name.starts_with("saslauthd") {
                running = None;
                let _ = std::fs::remove_file(site.path("var/run/saslauthd/mux"));
            }
            let server = running.get_or_insert_with(|| site.start());
            let replies = play(server.only_port(), dialogue, &alice);
            steps += replies.len();
            for (recorded, said) in replies {
                if recorded != said {
                    let (recorded, said) = (without(&recorded, &said), without(&said, &recorded));
                    found.push(Difference::new(id, &recorded, &said));
                }
            }
        }
    }
    let mut known = read_table(&testdata("differences-wire.md"));
    let unknown: Vec<String> = found
        .iter()
        .filter(|f| !known.contains(f))
        .map(Difference::row)
        .collect();
    known.retain(|row| !found.contains(row));
    let stale: Vec<String> = known.iter().map(Difference::row).collect();
    assert!(
        unknown.is_empty() && stale.is_empty(),
        "not in differences-wire.md:\n{}\nthere, but no more so:\n{}",
        unknown.join("\n"),
        stale.join("\n")
    );
    assert!(steps > 1200, "only {steps} replies");
}

/// The parts of a list that the other has not.
fn without(list: &str, other: &str) -> String {
    let others: Vec<&str> = other.split(", ").collect();
    let parts = list.split(", ").filter(|part| !others.contains(part));
    parts.collect::<Vec<_>>().join(", ")
}

fn lay_out(config: &Value, authority: &Authority) -> Site {
    let modifiers = config["modifiers"].as_str().unwrap();
    let modifiers = match modifiers {
        "" => String::new(),
        letters => format!(", M={letters}"),
    };
    let site = Site::new(&format!(
        "{TLS_MC}define(`confSMTP_LOGIN_MSG', `$j ESMTP ready')dnl\n\
         DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0{modifiers}')dnl\n{}",
        config["mc"].as_str().unwrap()
    ));
    if let Some(text) = config["Sendmail.conf"].as_str() {
        site.write("etc/sasl2/Sendmail.conf", text);
    }
    site.write("etc/mail/ca.crt", &authority.pem);
    authority.sign(HOST, 1).install(&site);
    site.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    std::fs::create_dir_all(site.path("var/run/saslauthd")).unwrap();
    let long = "x".repeat(300);
    for (user, realm, password) in [
        ("alice", HOST, "secret"),
        ("bob", "example.org", "hunter2"),
        ("upper", "EXAMPLE.ORG", "UPPER"),
        ("dave", HOST, long.as_str()),
        ("a,b=c", HOST, "odd"),
    ] {
        site.account(user, realm, password, AuthPassword::Omit);
    }
    site.account("erin", HOST, "pencil", AuthPassword::Only);
    site
}

/// What the recording's saslauthd said, by dialogue; `None`: nobody was there.
fn script_of(id: &str) -> Option<&'static [u8]> {
    match id {
        "pwd-no" | "pwd-both-no" => Some(b"\0\x02NO"),
        "pwd-no-text" => Some(b"\0\x0cNO auth error"),
        "pwd-junk" => Some(b"\0\x05HELLO"),
        "pwd-close" => Some(b""),
        "pwd-absent" | "pwd-both-absent" | "pwd-path" => None,
        _ => Some(b"\0\x02OK"),
    }
}

/// Each reply as recorded and as said now: codes, enhanced codes and keywords.
fn play(port: u16, dialogue: &Value, alice: &Pair) -> Vec<(String, String)> {
    let id = dialogue["id"].as_str().unwrap();
    let mut client = Client::connect_from("127.0.0.2", port);
    let (mut answers, mut out, mut lines) = (Answers::default(), Vec::new(), Vec::new());
    for step in dialogue["dialogue"].as_array().unwrap() {
        let text = step[1].as_str().unwrap();
        match step[0].as_str().unwrap() {
            "C" => client.send(&[answers.answer(text).as_slice(), b"\r\n"].concat()),
            "T" => {
                let shows =
                    id.starts_with("ext-") && id != "ext-tls-nocert" || id.ends_with("-cert");
                let identity = alice.identity();
                client.handshake(shows.then_some(&identity));
            }
            // The rest was recorded from outside of TLS, or was not waited for.
            _ if text == "(timeout)" || text == "(TLS)" => break,
            _ if text == "(connection closed)" => {
                let said = essence(&client.reply());
                out.push(("closed".to_owned(), said));
                break;
            }
            _ => {
                lines.push(text);
                if text.as_bytes().get(3) == Some(&b'-') {
                    continue;
                }
                let recorded = std::mem::take(&mut lines).join("\n");
                let said = client.reply();
                answers.challenge(&recorded, &said);
                out.push((essence(&recorded), essence(&said)));
                if said.ends_with("<closed>") || said.starts_with("421") {
                    break;
                }
            }
        }
    }
    out
}

/// What is compared of a reply: code and enhanced code; of a challenge the kind; of EHLO the
/// mechanisms and keywords that both programs know.
fn essence(reply: &str) -> String {
    if reply.ends_with("<closed>") {
        return "closed".to_owned();
    }
    let last = reply.lines().last().unwrap_or_default();
    if reply.starts_with("250-") {
        let mut words: Vec<String> = reply
            .lines()
            .skip(1)
            .map(|line| line.get(4..).unwrap_or_default())
            .filter(|word| *word != "CHUNKING")
            .map(|word| {
                let known = |w: &&str| !["NTLM", "SCRAM-SHA-512"].contains(w);
                word.split(' ').filter(known).collect::<Vec<_>>().join(" ")
            })
            .collect();
        words.sort();
        return words.join(", ");
    }
    let mut words = last.split(' ');
    let code = words.next().unwrap_or_default();
    let status = words.next().filter(|w| {
        let numbers: Vec<&str> = w.split('.').collect();
        numbers.len() == 3 && numbers.iter().all(|n| n.parse::<u16>().is_ok())
    });
    match status {
        Some(status) => format!("{code} {status}"),
        None => code.to_owned(),
    }
}
