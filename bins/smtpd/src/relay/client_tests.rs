//! Transcripts: `S:` what the server says, `C:` what the client does about it.

#[path = "client_login_tests.rs"]
mod login_tests;
#[path = "client_property_tests.rs"]
mod property_tests;

use super::*;

fn settings(protocol: Protocol) -> Settings {
    Settings {
        protocol,
        name: "me.example".into(),
        own_name: "me.example".into(),
        start_tls: StartTls::WhereOffered,
        login: None,
        loop_check: LoopCheck::Refuse,
    }
}

fn letter(recipients: &[&str]) -> Letter {
    Letter {
        sender: b"a@me".to_vec(),
        size_octets: 100,
        recipients: recipients
            .iter()
            .map(|path| Receiver {
                path: path.as_bytes().to_vec(),
                ..Receiver::default()
            })
            .collect(),
        ..Letter::default()
    }
}

/// Plays a transcript: each line `S: text` is given to the client when it wants to read,
/// each other line is what it must do then. `S: -` is the end of the connection.
fn play(client: &mut Client, transcript: &str) {
    let mut did = Vec::new();
    let mut wanted = Vec::new();
    for line in transcript.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if let Some(text) = line.strip_prefix("S: ") {
            assert!(
                matches!(run(client, &mut did), Action::Read(_)),
                "{line}: {did:?}"
            );
            assert_eq!(did, wanted, "before {line}");
            match text {
                "-" => client.lost("connection reset"),
                text => client.receive(format!("{}\r\n", text.replace('|', "\r\n")).as_bytes()),
            }
        } else {
            wanted.push(line.to_owned());
        }
    }
    run(client, &mut did);
    assert_eq!(did, wanted);
}

/// Lets it act until it reads or is done; TLS, judging and text are granted.
fn run(client: &mut Client, did: &mut Vec<String>) -> Action {
    loop {
        match client.step() {
            Action::Write(octets) => {
                let text = String::from_utf8(octets).unwrap();
                did.extend(text.lines().map(|l| format!("C: {l}")));
            }
            Action::Secure => {
                did.push("TLS".into());
                client.secured(Vec::new());
            }
            Action::Judge => client.approve(),
            Action::SendText => {
                did.push("TEXT".into());
                client.text_sent();
            }
            Action::Ready => {
                match client.take_report() {
                    Some(report) => did.extend(report.iter().map(told)),
                    None => did.push("READY".into()),
                }
                return Action::Ready;
            }
            Action::Over(failure) => {
                did.extend(client.take_report().iter().flatten().map(told));
                did.push(format!("OVER {} {}", failure.status, failure.text));
                return Action::Over(failure);
            }
            other => return other,
        }
    }
}

fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Answered(stage, reply) => format!("{stage:?} {}", reply.shown()),
        Verdict::Unfit { status, text } => format!("Unfit {status} {text}"),
        Verdict::Unanswered(failure) => format!("Unanswered {}", failure.text),
        Verdict::Uncertain(failure) => format!("Uncertain {}", failure.text),
    }
}

fn ready(ehlo: &str) -> Client {
    let mut client = Client::new(settings(Protocol::Esmtp));
    let script = format!("S: 220 mx ESMTP\nC: EHLO me.example\nS: {ehlo}\nREADY");
    play(&mut client, &script);
    client
}

#[test]
fn one_command_after_the_other() {
    let mut client = ready("250 mx");
    client.begin(letter(&["x@b", "y@b", "z@b"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me>
         S: 250 ok
         C: RCPT TO:<x@b>
         S: 250 ok
         C: RCPT TO:<y@b>
         S: 550 5.1.1 nobody
         C: RCPT TO:<z@b>
         S: 452 4.5.3 too many
         C: DATA
         S: 354 go
         TEXT
         S: 250 2.0.0 stored
         Text 250 2.0.0 stored
         Rcpt 550 5.1.1 nobody
         Rcpt 452 4.5.3 too many",
    );
    client.begin(letter(&["z@b"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me>
         S: 451 4.3.0 later
         Mail 451 4.3.0 later",
    );
    client.begin(letter(&["z@b"]));
    play(
        &mut client,
        "C: RSET
         S: 250 ok
         C: MAIL FROM:<a@me>
         S: 250 ok
         C: RCPT TO:<z@b>
         S: 250 ok
         C: DATA
         S: 554 no
         Data 554 no",
    );
    client.quit();
    play(
        &mut client,
        "C: QUIT
         S: 221 bye
         OVER 4.4.2 connection closed",
    );
}

#[test]
fn a_group_at_once() {
    let mut client = ready("250-mx|250-PIPELINING|250 SIZE 1000");
    client.begin(letter(&["x@b", "y@b"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me> SIZE=100
         C: RCPT TO:<x@b>
         C: RCPT TO:<y@b>
         C: DATA
         S: 250 ok|250 ok|550 no|354 go
         TEXT
         S: 250 stored
         Text 250 stored
         Rcpt 550 no",
    );
    // Nobody is left, but the server waits for a text: an empty one ends it.
    client.begin(letter(&["x@b"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me> SIZE=100
         C: RCPT TO:<x@b>
         C: DATA
         S: 250 ok|550 no|354 go
         C: .
         S: 554 no valid recipients
         Rcpt 550 no",
    );
    client.begin(letter(&["x@b"]));
    play(
        &mut client,
        "C: RSET
         S: 250 ok
         C: MAIL FROM:<a@me> SIZE=100
         C: RCPT TO:<x@b>
         C: DATA
         S: 552 too large|503 no MAIL|503 no RCPT
         Mail 552 too large",
    );
}

#[test]
fn long_lists_go_in_groups() {
    let mut client = ready("250-mx|250 PIPELINING");
    let names: Vec<String> = (0..120).map(|n| format!("u{n}@b")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    client.begin(letter(&names));
    let (mut commands, mut groups, mut data) = (0, 0, 0);
    loop {
        match client.step() {
            Action::Write(octets) => {
                let text = String::from_utf8(octets).unwrap();
                let lines = text.lines().count();
                assert!(lines <= 50, "{lines}");
                commands += lines;
                groups += 1;
                for line in text.lines() {
                    data += usize::from(line == "DATA");
                    let code = if line == "DATA" { "354 go" } else { "250 ok" };
                    client.receive(format!("{code}\r\n").as_bytes());
                }
            }
            Action::SendText => {
                client.text_sent();
                client.receive(b"250 ok\r\n");
            }
            Action::Ready => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((commands, groups, data), (122, 3, 1));
    assert_eq!(client.take_report().unwrap().len(), 120);
}

#[test]
fn lmtp_answers_for_each() {
    let mut client = Client::new(settings(Protocol::Lmtp));
    play(
        &mut client,
        "S: 220 lmtp
         C: LHLO me.example
         S: 250 me.example
         READY",
    );
    client.begin(letter(&["x", "y", "z"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me>
         S: 250 ok
         C: RCPT TO:<x>
         S: 250 ok
         C: RCPT TO:<y>
         S: 550 no
         C: RCPT TO:<z>
         S: 250 ok
         C: DATA
         S: 354 go
         TEXT
         S: 250 stored
         S: 452 4.2.2 full
         Text 250 stored
         Rcpt 550 no
         Text 452 4.2.2 full",
    );
    client.begin(letter(&["x", "y"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me>
         S: 250 ok
         C: RCPT TO:<x>
         S: 250 ok
         C: RCPT TO:<y>
         S: 250 ok
         C: DATA
         S: 354 go
         TEXT
         S: 250 stored
         S: -
         Text 250 stored
         Uncertain connection reset
         OVER 4.4.2 connection reset",
    );
}

#[test]
fn hello_in_all_forms() {
    for (protocol, transcript) in [
        (
            Protocol::Esmtp,
            "S: 220 mx
             C: EHLO me.example
             S: 500 what
             C: HELO me.example
             S: 250-mx|250 STARTTLS
             READY",
        ),
        (
            Protocol::Smtp,
            "S: 220 mx SMTP
             C: HELO me.example
             S: 250 mx
             READY",
        ),
        (
            Protocol::Smtp,
            "S: 220 mx ESMTP x
             C: EHLO me.example
             S: 250 mx
             READY",
        ),
        (
            Protocol::Esmtp,
            "S: 554 5.7.1 go away
             OVER 5.7.1 554 5.7.1 go away",
        ),
        (
            Protocol::Esmtp,
            "S: 220 mx|250 surprise
             OVER 4.5.0 a reply to no command",
        ),
        (
            Protocol::Esmtp,
            "S: 220 mx
             C: EHLO me.example
             S: 421 4.3.2 busy
             OVER 4.3.2 421 4.3.2 busy",
        ),
        (
            Protocol::Esmtp,
            "S: 220 mx
             C: EHLO me.example
             S: 250 ME.example hello
             OVER 5.3.5 ME.example config error: mail loops back to me (MX problem?)",
        ),
        (
            Protocol::Esmtp,
            "S: 354 go
             OVER 4.5.0 354 go",
        ),
    ] {
        play(&mut Client::new(settings(protocol)), transcript);
    }
}

#[test]
fn tls_forgets_what_was_said_in_clear() {
    let mut client = Client::new(settings(Protocol::Esmtp));
    play(
        &mut client,
        "S: 220 mx
         C: EHLO me.example
         S: 250-mx|250-PIPELINING|250 STARTTLS
         C: STARTTLS
         S: 220 go
         TLS
         C: EHLO me.example
         S: 250-mx|250-STARTTLS|250 SIZE
         READY",
    );
    assert_eq!(client.channel(), Channel::Secured);
    assert!(!client.offers().pipelining);
}

#[test]
fn tls_that_is_not() {
    let start = "S: 220 mx
         C: EHLO me.example
         S: 250-mx|250 STARTTLS
         C: STARTTLS\n";
    let mut client = Client::new(settings(Protocol::Esmtp));
    play(&mut client, &format!("{start}S: 454 4.7.0 not now\nREADY"));
    assert_eq!(client.channel(), Channel::Declined(454));
    let mut client = Client::new(settings(Protocol::Esmtp));
    let injected = "S: 220 go|250 injected
         OVER 4.7.0 octets behind the reply to STARTTLS";
    play(&mut client, &format!("{start}{injected}"));
    let never = Settings {
        start_tls: StartTls::Never,
        ..settings(Protocol::Esmtp)
    };
    let mut client = Client::new(never);
    play(
        &mut client,
        "S: 220 mx
         C: EHLO me.example
         S: 250-mx|250 STARTTLS
         READY",
    );
    assert_eq!(client.channel(), Channel::Clear);
}

#[test]
fn replies_that_nobody_asked_for() {
    for said in ["250 ok|250 ok|354 go", "250 ok|250"] {
        let mut client = ready("250 mx");
        client.begin(letter(&["x@b"]));
        let script = format!(
            "C: MAIL FROM:<a@me>
             S: {said}
             Unanswered a reply to no command
             OVER 4.5.0 a reply to no command"
        );
        play(&mut client, &script);
    }
    // The answer to a text that was not sent is none.
    let mut client = ready("250-mx|250 PIPELINING");
    client.begin(letter(&["x@b"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me>
         C: RCPT TO:<x@b>
         C: DATA
         S: 250 ok|250 ok|354 go|250 taken
         Unanswered a reply to no command
         OVER 4.5.0 a reply to no command",
    );
}

#[test]
fn a_421_at_any_moment() {
    let over = "OVER 4.3.2 421 4.3.2 bye";
    let mut client = ready("250-mx|250 PIPELINING");
    client.begin(letter(&["x@b", "y@b"]));
    let script = "C: MAIL FROM:<a@me> SIZE=100
         C: RCPT TO:<x@b>
         C: RCPT TO:<y@b>
         C: DATA
         S: 250 ok|550 no|421 4.3.2 bye
         Rcpt 550 no
         Unanswered 421 4.3.2 bye\n"
        .replace(" SIZE=100", "");
    play(&mut client, &format!("{script}{over}"));
    // At the final dot it is an answer.
    let mut client = ready("250 mx");
    client.begin(letter(&["x@b"]));
    let script = "C: MAIL FROM:<a@me>
         S: 250 ok
         C: RCPT TO:<x@b>
         S: 250 ok
         C: DATA
         S: 354 go
         TEXT
         S: 421 4.3.2 bye
         Text 421 4.3.2 bye\n";
    play(&mut client, &format!("{script}{over}"));
    let mut client = ready("250 mx");
    client.begin(letter(&["x@b"]));
    play(&mut client, "C: MAIL FROM:<a@me>\nS: 552 no\nMail 552 no");
    client.begin(letter(&["x@b"]));
    let script = "C: RSET
         S: 421 4.3.2 bye
         Unanswered 421 4.3.2 bye\n";
    play(&mut client, &format!("{script}{over}"));
}

#[test]
fn the_connection_breaks() {
    let until_data = "C: MAIL FROM:<a@me>
         S: 250 ok
         C: RCPT TO:<x@b>
         S: 250 ok
         C: DATA\n";
    for (rest, told) in [
        ("S: -", "Unanswered connection reset"),
        ("S: 354 go\nTEXT\nS: -", "Uncertain connection reset"),
    ] {
        let mut client = ready("250 mx");
        client.begin(letter(&["x@b"]));
        let script = format!("{until_data}{rest}\n{told}\nOVER 4.4.2 connection reset");
        play(&mut client, &script);
    }
    for (said, want) in [
        ("", "Unanswered reset"),
        ("250 ok\r\n", "Unanswered reset"),
        ("552 5.3.4 too large\r\n", "Text 552 5.3.4 too large"),
        ("421 bye\r\n", "Unanswered 421 bye"),
    ] {
        let mut client = ready("250 mx");
        client.begin(letter(&["x@b"]));
        for _ in 0..3 {
            assert!(matches!(client.step(), Action::Write(_)));
            let code = if matches!(client.step(), Action::Read(Step::Data)) {
                354
            } else {
                250
            };
            client.receive(format!("{code} ok\r\n").as_bytes());
        }
        assert_eq!(client.step(), Action::SendText);
        client.receive(said.as_bytes());
        client.text_broken("reset");
        let report = client.take_report().unwrap();
        assert_eq!(told_all(&report), [want], "{said}");
    }
}

fn told_all(report: &[Verdict]) -> Vec<String> {
    report.iter().map(told).collect()
}

#[test]
fn codes_that_make_no_sense() {
    for (said, told) in [("354 go", "354 go"), ("hello", "a line that is no reply")] {
        let mut client = ready("250 mx");
        client.begin(letter(&["x@b"]));
        play(
            &mut client,
            &format!(
                "C: MAIL FROM:<a@me>
                 S: {said}
                 Unanswered {told}
                 OVER 4.5.0 {told}"
            ),
        );
    }
    let mut client = ready("250 mx");
    client.begin(letter(&["x@b"]));
    play(
        &mut client,
        "C: MAIL FROM:<a@me>
         S: 250 ok
         C: RCPT TO:<x@b>
         S: 250 ok
         C: DATA
         S: 250 ok
         Unanswered 250 ok
         OVER 4.5.0 250 ok",
    );
}

#[test]
fn what_this_server_can_not_take() {
    let mut client = ready("250-mx|250 SIZE 50");
    client.begin(letter(&["x@b"]));
    play(
        &mut client,
        "Unfit 5.3.4 Message is too large; 50 bytes max",
    );
    let mut client = ready("250 mx");
    client.begin(Letter {
        utf8: Some(letter::Utf8Needed),
        ..letter(&["x@b"])
    });
    play(
        &mut client,
        "Unfit 5.6.7 SMTPUTF8 required but not supported",
    );
    client.begin(letter(&["x@b>\r\nRCPT TO:<y"]));
    play(
        &mut client,
        "Unfit 5.1.3 an address with control characters",
    );
}
