//! Names whose servers say nothing.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::Client;
use crate::site::Site;

/// A name server that knows nothing of `slow`, and of all else that it does not exist.
struct HalfSilent {
    port: u16,
    /// Sockets that asked for what it says nothing of.
    waiting: Arc<Mutex<HashSet<u16>>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl HalfSilent {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Some(Duration::from_millis(50));
        socket.set_read_timeout(patience).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (waiting, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (noted, ended) = (Arc::clone(&waiting), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut query = [0; 1500];
            while !ended.load(Ordering::Relaxed) {
                let Ok((octets, from)) = socket.recv_from(&mut query) else {
                    continue;
                };
                let query = &query[..octets];
                if query.windows(5).any(|octets| octets == b"\x04slow") {
                    let noted: &Mutex<HashSet<u16>> = &noted;
                    noted.lock().unwrap().insert(from.port());
                    continue;
                }
                // The question again, and that there is no such name.
                let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
                let mut answer = query[..2].to_vec();
                answer.extend([0x85, 0x83, 0, 1, 0, 0, 0, 0, 0, 0]);
                answer.extend(&query[12..end]);
                let _ = socket.send_to(&answer, from);
            }
        });
        HalfSilent {
            port,
            waiting,
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for HalfSilent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// They take a bounded number of descriptors, however many clients name them, and others
/// look names up meanwhile.
#[test]
fn names_of_silent_servers_take_no_more_than_a_share_of_the_lookups() {
    let names = HalfSilent::start();
    let site = Site::new("define(`confTO_RESOLVER_RETRANS', `30s')dnl");
    site.write(
        "etc/mail/service.switch",
        "hosts files dns\naliases files\n",
    );
    let port = names.port;
    site.write(
        "etc/resolv.conf",
        &format!("nameserver [127.0.0.1]:{port}\noptions timeout:30 attempts:1\n"),
    );
    let server = site.start_with(|command| {
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", "ulimit -n 400; exec \"$0\" --root \"$1\""]);
        shell.arg(env!("CARGO_BIN_EXE_smtpd")).arg(site.root());
        *command = shell;
    });
    let slow: Vec<Client> = (0..40)
        .map(|number| {
            let (mut client, _) = Client::hello(server.only_port());
            client.send(format!("MAIL FROM:<a@{number}.slow.example>\r\n").as_bytes());
            client
        })
        .collect();
    let mut other = Client::connect(server.only_port());
    assert!(other.reply().starts_with("220 "));
    // All who came before are waiting by now: each of these looks a name up.
    for number in 0..20 {
        let reply = other.say(&format!("MAIL FROM:<a@{number}.fast.example>"));
        assert!(reply.starts_with("250 "), "{reply}");
        assert!(other.say("RSET").starts_with("250 "));
    }
    // 400 open files have 25 places for lookups, of which a network gets eight; on a machine that
    // is slow those may be others by now.
    let waiting = names.waiting.lock().unwrap().len();
    assert!((1..=24).contains(&waiting), "{waiting}");
    // What a message takes is left: this one has a file of its own.
    let line = "x".repeat(70);
    let text = format!("{line}\r\n").repeat(3000);
    other.talk(&[
        ("MAIL FROM:<>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
        (&format!("Subject: large\r\n\r\n{text}."), "250 "),
    ]);
    drop(slow);
}
