//! The server is killed again and again while it takes mail: every message that it answered
//! with 250 must be found afterwards, whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "machine/running.rs"]
mod running;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use running::{Log, Running};
use smtpd::tables;

const CLIENTS: usize = 8;
const LIVES: usize = 4;

fn start(root: &std::path::Path) -> Running {
    Running::start(root, &[], &Log::default())
}

fn lay_out(root: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(root.join("etc/mail")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write(
        "etc/mail/sendmail.mc",
        "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.crash.example')dnl\n\
         define(`ALIAS_FILE', `/etc/mail/aliases')dnl\ndefine(`confDEF_USER_ID', `8:8')dnl\n\
         define(`confQUEUE_LA', `1000')dnl\ndefine(`confREFUSE_LA', `1000')dnl\n\
         FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n\
         DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n",
    );
    write("etc/mail/service.switch", "hosts files\n");
    write("etc/hosts", "127.0.0.1 mx.crash.example localhost\n");
    write("etc/mail/aliases", "archive: /etc/mail/out.mbox\n");
    write("etc/mail/out.mbox", "");
    let _ = std::os::unix::fs::chown(root.join("etc/mail/out.mbox"), Some(8), Some(8));
    tables::build_aliases(&root.join("etc/mail/aliases")).unwrap();
}

/// Sends numbered messages until the connection breaks; notes those answered with 250.
fn send(port: u16, first: usize, accepted: &Mutex<Vec<usize>>) -> Option<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut say = |line: &str| -> Option<String> {
        writer.write_all(line.as_bytes()).ok()?;
        let mut reply = String::new();
        (reader.read_line(&mut reply).ok()? > 0).then_some(reply)
    };
    say("")?;
    say("HELO x\r\n")?;
    for number in first.. {
        say("MAIL FROM:<a@b.example>\r\n")?;
        say("RCPT TO:<archive>\r\n")?;
        say("DATA\r\n")?;
        // Every tenth is too large for the store and gets a file of its own.
        let filler = "x".repeat(if number % 10 == 0 { 100_000 } else { 100 });
        let reply = say(&format!(
            "Subject: message {number}\r\n\r\n{filler}\r\nend {number}\r\n.\r\n"
        ))?;
        if reply.starts_with("250") {
            accepted.lock().unwrap().push(number);
        }
    }
    None
}

#[test]
fn nothing_that_was_answered_with_250_is_lost() {
    let root = tempfile::tempdir().unwrap();
    lay_out(root.path());
    let accepted = Arc::new(Mutex::new(Vec::new()));
    for life in 0..LIVES {
        let server = start(root.path());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (port, accepted) = (server.port, Arc::clone(&accepted));
                let first = (life * CLIENTS + client) * 100_000;
                std::thread::spawn(move || send(port, first, &accepted))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300 + 170 * life as u64));
        drop(server);
        for client in clients {
            client.join().unwrap();
        }
    }
    let accepted = std::mem::take(&mut *accepted.lock().unwrap());
    assert!(accepted.len() > 20, "only {} were accepted", accepted.len());
    let server = start(root.path());
    let missing = |text: &str| -> Vec<usize> {
        let lines: std::collections::HashSet<&str> = text.lines().collect();
        let whole = |n: &&usize| {
            !(lines.contains(format!("Subject: message {n}").as_str())
                && lines.contains(format!("end {n}").as_str()))
        };
        accepted.iter().filter(whole).copied().collect()
    };
    let mut lost = accepted.clone();
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(100));
        let text = std::fs::read(root.path().join("etc/mail/out.mbox")).unwrap();
        lost = missing(&String::from_utf8_lossy(&text));
        if lost.is_empty() {
            break;
        }
    }
    drop(server);
    assert!(
        lost.is_empty(),
        "of {} accepted, lost: {lost:?}",
        accepted.len()
    );
}
