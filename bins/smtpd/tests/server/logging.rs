//! Where log lines go: standard error, JSON, syslog, the journal.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use crate::client::Client;
use crate::site::{Server, Site};

fn listen(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    // As those of syslogd and of the journal.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

/// The first datagram that holds this.
fn datagram_with(socket: &UnixDatagram, want: &str) -> String {
    let mut text = vec![0; 65_536];
    loop {
        let octets = socket.recv(&mut text).unwrap();
        let line = String::from_utf8_lossy(&text[..octets]).into_owned();
        if line.contains(want) {
            return line;
        }
    }
}

/// A session with a refusal, a failed login and a message.
fn talk(server: &Server) {
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[
        ("AUTH PLAIN AGFsaWNlAGhlcnJpbmc=", "535 "),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<nobody@far.example>", "550 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
        ("Message-Id: <1@b.example>\r\n\r\nx\r\n.", "250 "),
        ("QUIT", "221 "),
    ]);
}

const MC: &str = "define(`confAUTH_MECHANISMS', `PLAIN')dnl";

#[test]
fn what_sendmail_conf_says_in_vain_is_told() {
    let site = Site::new(MC);
    let text = "mech_list: PLAIN\nno_such_option: 1\n";
    site.write("etc/sasl2/Sendmail.conf", text);
    let told = "Sendmail.conf: line 2: no_such_option: unknown option: ignored";
    site.start().log_with(told);
    let (_, said) = site.run_to_end(&["check"]);
    assert!(said.contains(told), "{said}");
}

#[test]
fn sendmails_lines_on_standard_error() {
    let site = Site::new(MC);
    let server = site.start();
    talk(&server);
    let from = server.log_with("from=<a@b.example>");
    for part in [
        ", size=",
        ", class=0, nrcpts=1, msgid=<1@b.example>, proto=ESMTP, daemon=MTA, relay=",
    ] {
        assert!(from.contains(part), "{part} is not in {from}");
    }
    server.log_with("ruleset=check_rcpt, arg1=<nobody@far.example>");
    server.log_with("AUTH failure (PLAIN)");
    let to = server.log_with("stat=Sent");
    for part in ["to=", ", delay=", ", mailer=*file*, ", ", dsn=2.0.0"] {
        assert!(to.contains(part), "{part} is not in {to}");
    }
    let all = server.log().join("\n");
    assert!(
        !all.contains("herring") && !all.contains("AGFsaWNl"),
        "{all}"
    );
}

#[test]
fn json_carries_the_trace_of_a_decision() {
    let site = Site::new(&format!("{MC}\nFEATURE(`access_db')dnl"));
    site.table("etc/mail/access", "To:far.example\tREJECT\n");
    let server = site.start_with(|command| {
        command.args(["--log", "json"]);
    });
    talk(&server);
    let line = server.log_with("ruleset=check_rcpt");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "notice");
    let trace = line["trace"].as_array().unwrap();
    assert!(!trace.is_empty());
    let from: serde_json::Value = serde_json::from_str(&server.log_with("from=<")).unwrap();
    assert!(from["id"].as_str().is_some_and(|id| id.len() >= 14));
}

#[test]
fn syslog_gets_facility_mail() {
    let site = Site::new(MC);
    let socket = listen(&site.path("syslog"));
    let target = format!("syslog:{}", site.path("syslog").display());
    let server = site.start_logging(&target, &socket);
    talk(&server);
    let line = datagram_with(&socket, "from=<a@b.example>");
    // LOG_MAIL is 2: 2 * 8 + 6 for information.
    assert!(line.starts_with("<22>"), "{line}");
    assert!(
        line.contains(&format!(" smtpd[{}]: ", server.pid())),
        "{line}"
    );
    // A log that was restarted is found again.
    drop(socket);
    std::fs::remove_file(site.path("syslog")).unwrap();
    let socket = listen(&site.path("syslog"));
    talk(&server);
    datagram_with(&socket, "from=<a@b.example>");
}

#[test]
fn the_journal_gets_fields() {
    let site = Site::new(MC);
    let socket = listen(&site.path("journal"));
    let target = format!("journal:{}", site.path("journal").display());
    let server = site.start_logging(&target, &socket);
    talk(&server);
    let entry = datagram_with(&socket, "from=<a@b.example>");
    let lines: Vec<&str> = entry.lines().collect();
    for field in ["PRIORITY=6", "SYSLOG_FACILITY=2", "SYSLOG_IDENTIFIER=smtpd"] {
        assert!(lines.contains(&field), "{field} is not in {entry}");
    }
    assert!(
        lines.iter().any(|l| l.starts_with("SMTPD_QUEUE_ID=")),
        "{entry}"
    );
}

#[test]
fn a_long_message_id_does_not_hide_who_sent_the_message() {
    let site = Site::new("");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    let folded = "\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\r\n ".repeat(2_700);
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
        (&format!("Message-Id: <{folded}>\r\n\r\nx\r\n."), "250 "),
    ]);
    let from = server.log_with("from=<a@b.example>");
    assert!(from.contains(", proto=ESMTP, daemon=MTA, relay="), "{from}");
    assert!(from.len() < 1_000, "{}", from.len());
}
