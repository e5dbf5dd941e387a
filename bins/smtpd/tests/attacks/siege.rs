//! Many clients that are slow, or say much, or guess passwords: the drivers of `bench faults
//! attacks`, in small.

use std::path::Path;

use bench::siege::{Outcome, Siege, handshakes, header_lines, recipients, slow_senders};
use libmaps::sasl::edit::AuthPassword;

use crate::client::Client;
use crate::site::{HOST, Site};

fn siege(size: u32, attack: impl FnOnce(&Siege) -> std::io::Result<Outcome>) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let outcome = attack(&Siege {
        programs: Path::new(env!("CARGO_BIN_EXE_smtpd"))
            .parent()
            .unwrap()
            .into(),
        folder: folder.path().into(),
        size,
    });
    let outcome = outcome.unwrap();
    println!("{outcome:#?}");
    assert_eq!(outcome.losses, Vec::<String>::new());
    outcome
}

#[test]
fn slow_clients_make_room_for_others() {
    // They are more than there are places.
    let mc = "define(`confMAX_DAEMON_CHILDREN', `200')dnl\n";
    let outcome = siege(260, |siege| slow_senders(siege, 1, mc));
    assert_eq!(outcome.count("slow clients"), 260);
    assert!(outcome.count("turned away") > 0);
}

#[test]
fn recipients_are_bounded_where_the_site_does_not() {
    let outcome = siege(12_000, recipients);
    assert_eq!(outcome.count("RCPT taken"), 10_000);
    assert_eq!(outcome.count("RCPT answered 452"), 2_000);
}

#[test]
fn a_header_without_end_is_refused() {
    siege(100_000, header_lines);
}

#[test]
fn handshakes_that_come_to_nothing_make_room() {
    let outcome = siege(60, handshakes);
    assert_eq!(outcome.count("handshakes begun"), 45);
}

/// A flood of logins takes no more threads at hashing than there are processors, and others
/// get through.
#[test]
fn a_storm_of_logins() {
    let site = Site::new("define(`confAUTH_MECHANISMS', `PLAIN CRAM-MD5')dnl");
    site.account("alice", HOST, "secret", AuthPassword::Omit);
    let server = site.start();
    let mut storm: Vec<Client> = (0..60)
        .map(|_| Client::hello(server.only_port()).0)
        .collect();
    for client in &mut storm {
        client.send(b"AUTH PLAIN AG5vYm9keQB3cm9uZw==\r\n");
    }
    let (mut other, _) = Client::hello(server.only_port());
    other.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354 "),
        ("Subject: in the storm\r\n\r\nx\r\n.", "250 "),
    ]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let processors = std::thread::available_parallelism().unwrap().get() as u64;
    // Each hash takes 19 MiB.
    assert!(peak < 150_000 + processors * 20_000, "{peak} KiB");
    for client in &mut storm {
        let reply = client.reply();
        assert!(reply.starts_with("535 5.7.0 "), "{reply}");
    }
}

/// A saslauthd that is slow with everybody: it answers nobody before eight have asked.
#[test]
fn logins_that_wait_for_saslauthd_hold_up_nobody() {
    use std::io::{Read, Write};
    let site = Site::new("define(`confAUTH_MECHANISMS', `PLAIN')dnl");
    site.write(
        "etc/sasl2/Sendmail.conf",
        "pwcheck_method: saslauthd\nsaslauthd_path: /run/mux\n",
    );
    std::fs::create_dir_all(site.path("run")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(site.path("run/mux")).unwrap();
    std::thread::spawn(move || {
        let mut asking: Vec<_> = (0..8).map(|_| listener.accept().unwrap().0).collect();
        for stream in &mut asking {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"\0\x02NO");
        }
    });
    let server = site.start();
    let mut storm: Vec<Client> = (0..8)
        .map(|_| Client::hello(server.only_port()).0)
        .collect();
    for client in &mut storm {
        client.send(b"AUTH PLAIN AG5vYm9keQB3cm9uZw==\r\n");
    }
    for client in &mut storm {
        let reply = client.reply();
        assert!(reply.starts_with("535 5.7.0 "), "{reply}");
    }
}
