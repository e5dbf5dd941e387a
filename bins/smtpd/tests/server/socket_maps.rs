//! Maps behind a socket: what their server says counts, and while it says nothing, mail waits.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use libmaps::store::socketmap::netstring;

use crate::client::Client;
use crate::site::Site;

/// A socketmap server of these replies, by request; others are not found. A request `slow` is
/// told to the receiver and answered when a word comes back.
fn serve(path: &Path, replies: &[(&'static str, &'static str)]) -> (Receiver<()>, Sender<()>) {
    let replies: HashMap<&str, &str> = replies.iter().copied().collect();
    let listener = UnixListener::bind(path).unwrap();
    let (told, asked) = channel();
    let (go, gone) = channel();
    let gone = std::sync::Arc::new(std::sync::Mutex::new(gone));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (replies, told, gone) = (replies.clone(), told.clone(), gone.clone());
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while let Some(asked) = request(&mut stream) {
                    let reply = *replies.get(asked.as_str()).unwrap_or(&"NOTFOUND ");
                    if reply == "slow" {
                        let _ = told.send(());
                        let _ = gone.lock().unwrap().recv();
                        return;
                    }
                    let mut out = Vec::new();
                    netstring::append(&mut out, reply.as_bytes());
                    stream.write_all(&out).unwrap();
                }
            });
        }
    });
    (asked, go)
}

fn request(stream: &mut UnixStream) -> Option<String> {
    let mut octets = Vec::new();
    loop {
        if let Ok(Some((carried, _))) = netstring::split(&octets, 1000) {
            return Some(String::from_utf8(carried.to_vec()).unwrap());
        }
        let mut octet = [0];
        if stream.read(&mut octet).ok()? == 0 {
            return None;
        }
        octets.push(octet[0]);
    }
}

fn site() -> (Site, std::path::PathBuf) {
    let site = Site::new("");
    let socket = site.root().join("maps");
    let at = socket.display();
    let mc = Site::mc(&format!(
        "FEATURE(`access_db', `socket -T<TMPF> -d600 unix:{at}')dnl\n\
         FEATURE(`virtusertable', `socket -d600 unix:{at}')dnl\n\
         VIRTUSER_DOMAIN(`shop.example')dnl\nLOCAL_DOMAIN(`shop.example')dnl"
    ));
    site.write("etc/mail/sendmail.mc", &mc);
    site.write("etc/passwd", "bob:x:8:8:Bob:/home/bob:/bin/sh\n");
    (site, socket)
}

#[test]
fn what_the_server_of_a_map_says_counts() {
    let (site, socket) = site();
    // Without a server of the maps nobody can tell.
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    let reply = client.say("MAIL FROM:<a@b.example>");
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    let replies = [
        ("access from:spam.example", "OK ERROR:5.7.1:550 We know you"),
        ("access from:odd.example", "TEMP out of order"),
        ("access from:mad.example", "PERM no such map"),
        ("virtuser info@shop.example", "OK bob"),
        (
            "virtuser @shop.example",
            "OK error:5.1.1:550 no such user here",
        ),
    ];
    let _told = serve(&socket, &replies);
    let (mut client, _) = Client::hello(server.only_port());
    let mut say = |line: &str| client.say(line).get(..9).unwrap_or_default().to_owned();
    for (from, want) in [
        ("a@spam.example", "550 5.7.1"),
        ("a@odd.example", "451 4.3.0"),
        ("a@mad.example", "451 4.3.0"),
        ("a@b.example", "250 2.1.0"),
    ] {
        assert_eq!(say(&format!("MAIL FROM:<{from}>")), want, "{from}");
    }
    assert_eq!(say("RCPT TO:<info@shop.example>"), "250 2.1.5");
    assert_eq!(say("RCPT TO:<nobody@shop.example>"), "550 5.1.1");
}

#[test]
fn a_slow_server_of_a_map_holds_up_nobody_else() {
    let (site, socket) = site();
    let (asked, go) = serve(&socket, &[("access from:slow.example", "slow")]);
    let server = site.start();
    let port = server.only_port();
    // More sessions wait than the server has threads.
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut client, _) = Client::hello(port);
                client.say("MAIL FROM:<a@slow.example>")
            })
        })
        .collect();
    for _ in &waiting {
        asked.recv().unwrap();
    }
    let (mut client, _) = Client::hello(port);
    assert!(client.say("MAIL FROM:<a@b.example>").starts_with("250 "));
    assert!(client.say("RCPT TO:<bob>").starts_with("250 "));
    drop(go);
    for session in waiting {
        let reply = session.join().unwrap();
        assert!(reply.starts_with("451 4.3.0"), "{reply}");
    }
}
