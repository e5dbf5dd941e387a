//! Messages: what is refused, time-outs, and addresses beyond ASCII.

use crate::client::Client;
use crate::site::Site;

#[test]
fn bare_line_ends_and_nul_are_refused_at_the_true_end() {
    let site = Site::new("");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    for (text, want) in [
        (
            &b"a\n.\nMAIL FROM:<evil@b.example>\r\n.\r\n"[..],
            "554 5.6.0 Bare linefeed",
        ),
        (
            b"a\r\n.\rMAIL FROM:<evil@b.example>\r\n.\r\n",
            "554 5.6.0 Bare carriage return",
        ),
        (b"a\r\n\0.\r\nb\r\n.\r\n", "554 5.6.0 NUL"),
    ] {
        client.talk(&[
            ("MAIL FROM:<a@b.example>", "250 "),
            ("RCPT TO:<archive>", "250 "),
            ("DATA", "354"),
        ]);
        client.send(text);
        let reply = client.reply();
        assert!(reply.starts_with(want), "{reply}");
    }
    client.talk(&[("NOOP", "250 ")]);
    // By count the same is refused.
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
    ]);
    client.send(b"BDAT 4 LAST\r\na\nb\n");
    let reply = client.reply();
    assert!(reply.starts_with("554 5.6.0 "), "{reply}");
}

#[test]
fn silence_ends_a_session() {
    let site = Site::new("define(`confTO_COMMAND', `1s')dnl\ndefine(`confTO_DATABLOCK', `1s')dnl");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    let reply = client.reply();
    assert!(reply.starts_with("421 4.4.2 "), "{reply}");
    assert!(client.is_closed());
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
    ]);
    client.send(b"Subject: unfinished\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("421 4.4.2 "), "{reply}");
    server.log_with("timeout waiting for input from");
}

#[test]
fn a_time_out_of_zero_is_none() {
    let site = Site::new("define(`confTO_COMMAND', `0s')dnl\ndefine(`confTO_DATABLOCK', `0s')dnl");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
        ("Subject: x\r\n\r\nx\r\n.", "250 "),
    ]);
}

#[test]
fn a_mail_filter_that_must_be_asked_stops_the_start() {
    let filter =
        |flags: &str| format!("INPUT_MAIL_FILTER(`dkim', `S=inet:8891@localhost{flags}')dnl");
    let site = Site::new(&filter(", F=T"));
    let (status, said) = site.run_to_end(&[]);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("sendmail.mc:8: error: mail filter dkim is not asked"),
        "{said}"
    );
    site.write("etc/mail/sendmail.mc", &Site::mc(&filter("")));
    let server = site.start();
    server.log_with("sendmail.mc:8: warning: mail filter dkim is not asked");
}

#[test]
fn no_address_is_checked_and_another_one_used() {
    // Every local name is somebody's, so that nothing but the relay check is in the way.
    let site = Site::new("define(`LUSER_RELAY', `local:archive')dnl");
    let server = site.start();
    for (n, path) in [
        "<archive(<v@far.example>)>",
        "<archive><v@far.example>",
        "(<v@far.example>)<archive>",
        "<\"x<v@far.example>\"@far.example>",
        "<archive\\<v@far.example>",
        "<<archive><v@far.example>>",
        // What stands before a colon is a phrase where there are no brackets.
        "<x:\";%[192.0.2.9]\">",
        "x:\";%[192.0.2.9]\"",
        "<:\";%far.example\">",
        "<UUCP!:x.UUCP>",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect_from("127.0.0.2", server.only_port());
        client.reply();
        client.talk(&[("EHLO x", "250"), ("MAIL FROM:<a@b.example>", "250 ")]);
        if client.say(&format!("RCPT TO:{path}")).starts_with("250 ") {
            let text = format!("Subject: path {n}\r\n\r\nx\r\n.");
            client.talk(&[("DATA", "354"), (&text, "250 ")]);
        }
    }
    // The last message of all: what was queued before it has been tried by then.
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[
        ("MAIL FROM:<last@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
        ("Subject: last\r\n\r\nx\r\n.", "250 "),
    ]);
    site.text_with("etc/mail/out.mbox", "Subject: last");
    let log = server.log().join("\n");
    assert!(!log.contains("mailer=esmtp"), "{log}");
    assert!(!log.contains("mailer=relay"), "{log}");
}
