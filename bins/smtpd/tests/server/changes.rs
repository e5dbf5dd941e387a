//! What changes while the server runs counts from the next transaction on, without a signal.

use std::time::{Duration, Instant};

use libmaps::sasl::edit::AuthPassword;
use smtpd::tables;

use crate::client::Client;
use crate::site::{HOST, Site};

const WRONG: &str = "AUTH PLAIN AGFsaWNlAHdyb25n";
const RIGHT: &str = "AUTH PLAIN AGFsaWNlAHNlY3JldA==";

#[test]
fn maps_aliases_users_and_accounts() {
    let site = Site::new(
        "FEATURE(`access_db')dnl\nFEATURE(`virtusertable')dnl\nFEATURE(`use_cw_file')dnl\n\
         define(`confAUTH_MECHANISMS', `PLAIN')dnl",
    );
    site.table("etc/mail/access", "");
    site.table("etc/mail/virtusertable", "");
    site.write("etc/mail/local-host-names", "hosted.example\n");
    site.write("etc/passwd", "bob:x:8:8:Bob:/home/bob:/bin/sh\n");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    let mut rcpt = |to: &str| {
        let reply = client.say("MAIL FROM:<a@b.example>");
        let reply = match reply.starts_with("250 ") {
            true => client.say(&format!("RCPT TO:<{to}>")),
            false => reply,
        };
        client.say("RSET");
        reply.get(..9).unwrap_or_default().to_owned()
    };
    assert_eq!(rcpt("new@mail.example.test"), "550 5.1.1");
    assert_eq!(rcpt("sales@hosted.example"), "550 5.1.1");
    assert_eq!(rcpt("bob"), "250 2.1.5");

    site.table("etc/mail/virtusertable", "sales@hosted.example\tbob\n");
    assert_eq!(rcpt("sales@hosted.example"), "250 2.1.5", "virtusertable");
    site.write("etc/mail/aliases", "new: bob\n");
    tables::build_aliases(&site.path("etc/mail/aliases")).unwrap();
    assert_eq!(rcpt("new@mail.example.test"), "250 2.1.5", "aliases");
    site.write(
        "etc/passwd",
        "bob:x:8:8:Bob:/home/bob:/bin/sh\nann:x:9:9:Ann:/home/ann:/bin/sh\n",
    );
    assert_eq!(rcpt("ann@mail.example.test"), "250 2.1.5", "passwd");
    site.table("etc/mail/access", "From:b.example\tREJECT\n");
    assert_eq!(rcpt("bob"), "550 5.7.1", "access");
    // A map that is no map is told, and the last good one stays.
    site.write("etc/mail/access.db.new", "nonsense");
    std::fs::rename(
        site.path("etc/mail/access.db.new"),
        site.path("etc/mail/access.db"),
    )
    .unwrap();
    assert_eq!(rcpt("bob"), "550 5.7.1", "the last good map");
    server.log_with("map kept as it was");

    let (mut client, _) = Client::hello(server.only_port());
    let reply = client.say(RIGHT);
    assert!(reply.starts_with("535 "), "{reply}");
    site.account("alice", HOST, "secret", AuthPassword::Omit);
    client.talk(&[(RIGHT, "235 ")]);
}

#[test]
fn guessing_gets_slow_across_connections() {
    let site = Site::new(
        "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0, Proxy=127.0.0.1')dnl\n\
         define(`confAUTH_MECHANISMS', `PLAIN')dnl",
    );
    site.account("alice", HOST, "secret", AuthPassword::Omit);
    let server = site.start();
    let connect = || {
        let mut client = Client::connect(server.only_port());
        client.send(b"PROXY TCP4 192.0.2.66 192.0.2.2 4000 25\r\n");
        client.reply();
        client.say("EHLO x");
        client
    };
    for _ in 0..10 {
        connect().talk(&[(WRONG, "535 "), (WRONG, "535 "), (WRONG, "421 4.7.0 ")]);
    }
    // Thirty failures are free; the next attempt waits, and so does a right one.
    let start = Instant::now();
    connect().talk(&[(RIGHT, "235 ")]);
    assert!(start.elapsed() >= Duration::from_secs(1));
}
