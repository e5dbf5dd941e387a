//! The recordings of address rewriting, for what goes out on the wire: each recorded
//! address is put into a message, and a sink looks at what arrives.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use smtpd::tables;

use crate::sink::{Got, Habits, Sink};
use crate::site::{Client, Setup, Site};

#[test]
fn every_recorded_address_on_the_wire() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/conformance/rewrite.jsonl"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let (mut same, mut refused, mut differ) = (0, 0, Vec::new());
    for line in text.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let sink = Sink::start(Habits::default());
        let root = tempfile::tempdir().unwrap();
        lay_out(root.path(), &recorded, sink.port());
        let site = Site::run(root);
        let mut client = Client::connect(site.port);
        let cases: Vec<&Value> = recorded["cases"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|case| case["mailer"] != "local" && case["as"] != "envelope-recipient")
            .collect();
        let mut sent = HashMap::new();
        for (number, case) in cases.iter().enumerate() {
            let reply = client.send_raw(&message(number, case));
            if reply.starts_with("250") {
                sent.insert(number, *case);
            } else {
                // Only what is no sender at all, to which no envelope is due.
                assert_eq!(case["as"], "envelope-sender", "{case}: {reply}");
                client.say("RSET");
                refused += 1;
            }
        }
        for got in sink.take(sent.len()) {
            let number: usize = field(&got, "X-Number").trim().parse().unwrap();
            let case = sent[&number];
            let found = match case["as"].as_str().unwrap() {
                "header-sender" => field(&got, "Reply-To"),
                "header-recipient" => field(&got, "Cc"),
                _ => got.mail["MAIL FROM:<".len()..]
                    .trim_end_matches('>')
                    .to_owned(),
            };
            let want = case["result"].as_str().unwrap();
            if squash(want) == squash(&found) {
                same += 1;
            } else {
                differ.push(format!("{case}\n  on the wire {found:?}"));
            }
        }
    }
    assert!(
        differ.is_empty(),
        "{} of {}:\n{}",
        differ.len(),
        differ.len() + same,
        differ
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert!(
        same > 800 && refused < same / 10,
        "{same} same, {refused} refused"
    );
}

/// Sender, recipient and text of a message about a case.
fn message(number: usize, case: &Value) -> [String; 3] {
    let text = |key: &str| case[key].as_str().unwrap();
    let to = format!("x@{}.sink.test", text("mailer"));
    let address = text("address");
    let (from, field) = match text("as") {
        "header-sender" => ("joe@remote.example", format!("Reply-To: {address}\r\n")),
        "header-recipient" => ("joe@remote.example", format!("Cc: {address}\r\n")),
        _ => (address, String::new()),
    };
    let text = format!("X-Number: {number}\r\nFrom: a@remote.example\r\n{field}\r\ntext");
    [from.to_owned(), to, text]
}

fn field(got: &Got, name: &str) -> String {
    let text = got.lines().replace("\n\t", " ").replace("\n ", " ");
    let start = format!("{name}:");
    let line = text.lines().find(|l| l.starts_with(&start));
    line.map_or_else(String::new, |l| l[start.len()..].to_owned())
}

/// As the recordings were compared: without blanks and quotes.
fn squash(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != '"')
        .collect()
}

/// The recorded site, which also knows the sink and relays for us.
fn lay_out(root: &Path, recorded: &Value, port: u16) {
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["var/spool", "var/mail"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let write = |path: &str, text: &str| {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let octets: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
        std::fs::write(path, octets).unwrap();
    };
    for (path, text) in recorded["files"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        if path == "/etc/mail/sendmail.mc" {
            let extra = "FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unqualified_senders')dnl\n\
                 FEATURE(`access_db', `hash -o /etc/mail/access')dnl\n\
                 FEATURE(`mailertable', `hash -o /etc/mail/mailertable')dnl\n\
                 DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl\nMAILER(`local')dnl\n";
            write(path, &text.replacen("MAILER(`local')dnl\n", extra, 1));
        } else {
            write(path, text);
        }
    }
    write("/etc/mail/access", "Connect:127.0.0.1\tRELAY\n");
    write(
        "/etc/mail/mailertable",
        &format!(
            "esmtp.sink.test\tesmtp:[127.0.0.1]:{port}\nrelay.sink.test\trelay:[127.0.0.1]:{port}\n"
        ),
    );
    for map in [
        "access",
        "mailertable",
        "virtusertable",
        "genericstable",
        "domaintable",
    ] {
        let source = root.join("etc/mail").join(map);
        if source.exists() {
            tables::build_table(&source).unwrap();
        }
    }
    tables::build_aliases(&root.join("etc/mail/aliases")).unwrap();
}

#[test]
fn a_header_as_the_world_sees_it() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        mc: "MASQUERADE_AS(`a.example')dnl\nFEATURE(`masquerade_envelope')dnl\n\
             FEATURE(`genericstable', `hash -o /etc/mail/genericstable')dnl\n\
             GENERICS_DOMAIN(`mx.relay.example')dnl\n"
            .into(),
        mailertable: format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port()),
        files: vec![(
            "etc/mail/genericstable",
            "ann\tAnn.Lee@a.example\n".into(),
            0o644,
        )],
        ..Setup::default()
    });
    site.send(
        "bob@mx.relay.example",
        &["x@b.example"],
        "Subject: joe <joe@mx.relay.example>\nFrom: \"Lee, Ann\" <ann@mx.relay.example> (away)\n\
         To: x@b.example,\n  y@b.example\nCc: friends: ann@mx.relay.example, z@b.example;\n\
         Sender: bob@mx.relay.example\n\ntext",
    );
    let got = sink.take(1).remove(0);
    assert_eq!(got.mail, "MAIL FROM:<bob@a.example>");
    let text = got.lines();
    for want in [
        "\nSubject: joe <joe@mx.relay.example>\n",
        "\nFrom: \"Lee, Ann\" <Ann.Lee@a.example> (away)\n",
        // Nothing changes in it: not an octet does.
        "\nTo: x@b.example,\n  y@b.example\n",
        "\nSender: bob@a.example\n",
    ] {
        assert!(text.contains(want), "{want}{text}");
    }
    assert!(
        text.contains("\nCc: friends: ann@mx.relay.example, z@b.example;\n"),
        "{text}"
    );
}
