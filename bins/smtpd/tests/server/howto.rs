//! What administrators were promised by the how-tos that their `sendmail.mc` came from
//! (`testdata/howto`): the server keeps it on those files as they are, save for the ports.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use libmaps::sasl::edit::AuthPassword;

use crate::certificates::{Authority, Pair};
use crate::client::Client;
use crate::name_server::NameServer;
use crate::saslauthd;
use crate::site::{Server, Site};

/// `\0alice\0secret`.
const ALICE: &str = "AUTH PLAIN AGFsaWNlAHNlY3JldA==";

/// The how-to's site, on free ports of loopback.
fn site(name: &str) -> Site {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/howto");
    let text = std::fs::read_to_string(path.join(name)).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        if line == "MAILER(`local')dnl" {
            lines.push("FEATURE(`no_default_msa')dnl".to_owned());
            // There is no DNS here but our own.
            lines.push("FEATURE(`accept_unresolvable_domains')dnl".to_owned());
            if !text.contains("\nDAEMON_OPTIONS") {
                lines.push("DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl".to_owned());
            }
        }
        let mut line = line.to_owned();
        for port in ["submission", "smtps", "smtp"] {
            line = line.replace(&format!("Port={port},"), "Addr=127.0.0.1, Port=0,");
        }
        // This machine may be busy with other things.
        line = line.replace("_LA',`", "_LA',`10");
        lines.push(line);
    }
    let site = Site::bare();
    site.write("etc/mail/sendmail.mc", &lines.join("\n"));
    site.write("etc/passwd", "bob:x:8:8:Bob:/home/bob:/bin/sh\n");
    site.write("etc/mail/local-host-names", "hosted.example\n");
    site
}

/// A pair of files, as the how-to names them.
fn install(site: &Site, pair: &Pair, cert: &str, key: &str) {
    if cert == key {
        return site.write_private(cert, &format!("{}{}", pair.key, pair.cert));
    }
    site.write_private(key, &pair.key);
    site.write(cert, &pair.cert);
}

fn hello(server: &Server, name: &str) -> (Client, String) {
    Client::hello(server.port(name))
}

#[test]
fn submission_msa() {
    let site = site("submission-msa.mc");
    let pair = Authority::new("CA").sign("mail.example.org", 1);
    let folder = "etc/mail/tls";
    install(
        &site,
        &pair,
        &format!("{folder}/sendmail-server.crt"),
        &format!("{folder}/sendmail-common.key"),
    );
    site.table("etc/mail/access", "");
    site.account("alice", "mail.example.org", "secret", AuthPassword::Omit);
    let server = site.start();
    // Port 587: nothing before a login, and no ETRN.
    let (mut client, offers) = hello(&server, "MSP-v4");
    assert!(offers.contains("AUTH DIGEST-MD5 CRAM-MD5\n"), "{offers}");
    assert!(!offers.contains("ETRN"), "{offers}");
    client.talk(&[
        (
            "MAIL FROM:<a@b.example>",
            "530 5.7.0 Authentication required",
        ),
        ("ETRN b.example", "502 5.7.0 "),
        (ALICE, "504 5.3.3 AUTH mechanism PLAIN not available"),
    ]);
    // PLAIN and LOGIN under TLS only; the dialogue that administrators type.
    let offers = client.secure(None);
    assert!(
        offers.contains("AUTH DIGEST-MD5 CRAM-MD5 LOGIN PLAIN\n"),
        "{offers}"
    );
    client.talk(&[
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("YWxpY2U=", "334 UGFzc3dvcmQ6"),
        ("c2VjcmV0", "235 2.0.0 OK Authenticated"),
        ("MAIL FROM:<alice@example.org>", "250 2.1.0 "),
        ("RCPT TO:<x@far.example>", "250 2.1.5 "),
    ]);
    server.log_with("authid=alice, mech=LOGIN, bits=0");
    // Port 25: no AUTH, no relaying.
    let (mut client, offers) = hello(&server, "MTA-v4");
    assert!(!offers.contains("AUTH"), "{offers}");
    client.talk(&[
        (ALICE, "503 5.3.3 AUTH not available"),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<x@far.example>", "550 5.7.1 "),
        ("RCPT TO:<bob@mail.example.org>", "250 2.1.5 "),
    ]);
}

#[test]
fn relay_pam() {
    let site = site("relay-pam.mc");
    let authority = Authority::new("CA");
    let pair = authority.sign("relay.example.org", 1);
    let file = "etc/mail/certs/our-cert.pem";
    install(&site, &pair, file, file);
    site.write("etc/mail/certs/ca-bundle.crt", &authority.pem);
    site.table(
        "etc/mail/access",
        "TLS_Clt:\tENCR:128\nTLS_Clt:127.0.0.1\tENCR:0\n",
    );
    site.write("etc/sasl2/Sendmail.conf", "pwcheck_method: saslauthd\n");
    let asked = saslauthd::serve(&site, b"\0\x02OK");
    let server = site.start();
    let (mut client, offers) = hello(&server, "MTA");
    assert!(!offers.contains("AUTH"), "{offers}");
    client.talk(&[(
        "MAIL FROM:<a@b.example>",
        "454 4.7.0 encryption too weak 0 less than 128",
    )]);
    let offers = client.secure(None);
    assert!(offers.contains("AUTH LOGIN PLAIN\n"), "{offers}");
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        (
            "RCPT TO:<x@far.example>",
            "550 5.7.1 <x@far.example>... Relaying denied. Proper authentication required.",
        ),
        ("RSET", "250 "),
        (ALICE, "235 "),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<x@far.example>", "250 "),
    ]);
    let request: Vec<String> = asked.recv().unwrap();
    assert_eq!(request, ["alice", "secret", "smtp", ""]);
    // The local host relays, in clear.
    let mut client = Client::connect(server.port("MTA"));
    client.reply();
    client.talk(&[
        ("EHLO localhost", "250"),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<x@far.example>", "250 "),
    ]);
}

#[test]
fn roaming_throttled() {
    let site = site("roaming-throttled.mc");
    site.table("etc/mail/access", "Connect:127.0.0.2\tREJECT\n");
    let realm = "smtp.university.example";
    site.account("alice", realm, "secret", AuthPassword::Omit);
    let server = site.start();
    let (mut client, _) = hello(&server, "MSA");
    client.talk(&[("MAIL FROM:<a@b.example>", "530 5.7.0 "), ("QUIT", "221 ")]);
    // Checks are delayed until a recipient is named.
    let (mut client, offers) = hello(&server, "MTA");
    assert!(offers.contains("SIZE 20480000"), "{offers}");
    client.talk(&[
        ("MAIL FROM:<a@b.example> SIZE=20480001", "552 5.2.3 "),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<bob@smtp.university.example>", "550 5.7.1 "),
        ("QUIT", "221 "),
    ]);
    // ConnectionRateThrottle: three a second.
    let start = Instant::now();
    for _ in 0..8 {
        let reply = Client::connect(server.port("MTA")).reply();
        assert!(reply.starts_with("220 "), "{reply}");
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
    // BadRcptThrottle: a second for each recipient once five were refused.
    let mut client = Client::connect(server.port("MTA"));
    client.reply();
    client.talk(&[("EHLO x", "250"), ("MAIL FROM:<a@b.example>", "250 ")]);
    for number in 0..5 {
        let reply = client.say(&format!("RCPT TO:<nobody{number}@{realm}>"));
        assert!(reply.starts_with("550 5.1.1 "), "{reply}");
    }
    let start = Instant::now();
    client.talk(&[("RCPT TO:<nobody6@smtp.university.example>", "550 5.1.1 ")]);
    assert!(start.elapsed() >= Duration::from_millis(900));
    // MaxDaemonChildren: twenty sessions, and later ones wait.
    client.say("QUIT");
    let mut open: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(server.port("MTA"));
            client.reply();
            client
        })
        .collect();
    let mut last = Client::connect(server.port("MTA"));
    let greeted = std::thread::spawn(move || last.reply());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!greeted.is_finished());
    open[0].say("QUIT");
    assert!(greeted.join().unwrap().starts_with("220 "));
}

#[test]
fn slackware_full() {
    let zone = HashMap::from([
        (
            "2.0.0.127.rbl.lists.example A".to_owned(),
            vec!["127.0.0.2".to_owned()],
        ),
        (
            "3.0.0.127.combined.lists.example A".to_owned(),
            vec!["127.0.0.2".to_owned()],
        ),
    ]);
    let names = NameServer::start(zone);
    let site = site("slackware-full.mc");
    site.write(
        "etc/resolv.conf",
        &format!(
            "nameserver [127.0.0.1]:{}\noptions timeout:1 attempts:1\n",
            names.port
        ),
    );
    site.write("etc/mail/service.switch", "hosts files dns\n");
    site.write("etc/hosts", "127.0.0.1 mail.hosting.example localhost\n");
    let authority = Authority::new("CA");
    let pair = authority.sign("mail.hosting.example", 1);
    let folder = "etc/mail/certs";
    install(
        &site,
        &pair,
        &format!("{folder}/smtp.cert.pem"),
        &format!("{folder}/smtp.key.pem"),
    );
    site.write("etc/mail/certs/CA.cert.pem", &authority.pem);
    site.write("etc/mail/certs/revoke.crl", &authority.revoke(7));
    site.table("etc/mail/access", "To:postmaster@\tOK\n");
    site.table(
        "etc/mail/virtusertable",
        "sales@hosted.example\tbob\n@hosted.example\terror:nouser 550 No such user\n",
    );
    site.account(
        "alice",
        "mail.hosting.example",
        "secret",
        AuthPassword::Omit,
    );
    let server = site.start();
    // DNS lists refuse with their text, when a recipient is named.
    for (from, text) in [
        (
            "127.0.0.2",
            "Rejected spam as 127.0.0.2 found in rbl.lists.example",
        ),
        (
            "127.0.0.3",
            "Spam blocked see: http://combined.lists.example/?127.0.0.3",
        ),
    ] {
        let mut client = Client::connect_from(from, server.port("MTA"));
        client.reply();
        client.talk(&[("EHLO x", "250"), ("MAIL FROM:<a@b.example>", "250 ")]);
        let reply = client.say("RCPT TO:<sales@hosted.example>");
        assert!(reply.starts_with('5') && reply.contains(text), "{reply}");
    }
    let mut client = Client::connect_from("127.0.0.9", server.port("MTA"));
    client.reply();
    client.talk(&[
        ("EHLO x", "250"),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<sales@hosted.example>", "250 2.1.5 "),
        ("RCPT TO:<other@hosted.example>", "550 5.1.1 "),
        ("VRFY bob", "252 2.5.2 "),
        ("EXPN bob", "502 5.7.0 "),
    ]);
    // Port 465: TLS from the first octet; who logs in is not asked of any list.
    let mut client = Client::connect_from("127.0.0.2", server.port("MSA-SSL"));
    client.handshake(None);
    client.reply();
    let offers = client.say("EHLO x");
    assert!(
        offers.contains("AUTH LOGIN PLAIN\n") && !offers.contains("ETRN"),
        "{offers}"
    );
    client.talk(&[
        (ALICE, "235 "),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<x@far.example>", "250 "),
    ]);
    server.log_with("mech=PLAIN, bits=0");
}

#[test]
fn bastion_masquerade() {
    let site = site("bastion-masquerade.mc");
    let authority = Authority::new("CA");
    let pair = authority.sign("dmzmail.example.com", 1);
    let folder = "etc/mail/certs";
    install(
        &site,
        &pair,
        &format!("{folder}/newcert_signed.pem"),
        &format!("{folder}/newcert_key.pem"),
    );
    site.write("etc/mail/certs/cacert.pem", &authority.pem);
    site.table("etc/mail/access", "nobody@\t550 Go away\n");
    site.table("etc/mail/virtusertable", "info@hosted.example\tbob\n");
    let realm = "dmzmail.example.com";
    site.account("alice", realm, "secret", AuthPassword::Omit);
    let server = site.start();
    let mut client = Client::connect_from("127.0.0.2", server.port("MTA"));
    let greeting = client.reply();
    assert!(
        greeting.starts_with("220 dmzmail.example.com ESMTP Sendmail; "),
        "{greeting}"
    );
    client.talk(&[("MAIL FROM:<a@b.example>", "503 5.0.0 Polite people")]);
    let offers = client.say("EHLO client.example.com");
    assert!(
        offers.contains("AUTH CRAM-MD5 DIGEST-MD5 LOGIN PLAIN\n"),
        "{offers}"
    );
    client.talk(&[
        ("VRFY bob", "252 "),
        ("EXPN bob", "502 "),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<info@hosted.example>", "250 "),
        ("RCPT TO:<bob@localhost.localdomain>", "250 "),
        ("RCPT TO:<nobody@hosted.example>", "550 "),
        ("RCPT TO:<x@far.example>", "550 5.7.1 "),
        ("RSET", "250 "),
        // Only CRAM-MD5 and DIGEST-MD5 are trusted to relay.
        (ALICE, "235 "),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<x@far.example>", "550 5.7.1 "),
    ]);
}
