//! Classes by LDAP: who may relay, what is local, and what has virtual users.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::server::{BASE, Server};
use crate::site::{self, MAILERS};
use crate::stage::running::Running;
use crate::stage::{Host, until};

/// A configuration whose last line is this. Transactions without a message may be many.
fn mc(port: u16, last: &str) -> String {
    let lines = format!(
        "define(`confMAX_NOOP_COMMANDS', `0')RELAY_DOMAIN_FILE(`@LDAP')dnl
VIRTUSER_DOMAIN_FILE(`@ldap:-k (&(objectClass=organizationalUnit)(description=virtual)) -v ou')dnl
{MAILERS}LOCAL_CONFIG
{last}
"
    );
    site::mc(port, &lines)
}

fn host(port: u16) -> Host {
    let host = site::host(&mc(port, "F{w}@LDAP"));
    host.write("etc/passwd", "joe:x:1000:1000::/home/joe:/bin/sh\n");
    // Made by hand, to be asked more often than by default.
    for (file, map) in [("class-R", "R"), ("class-w", "w"), ("class-M", "M")] {
        host.write(
            &format!("etc/mail/{file}.ldap"),
            &format!(
                "host 127.0.0.1:{port}\ntls off\nuser cn=admin,{BASE}\npassword-file secret\n\
                 base {BASE}\nkind class\ncluster-name mail\nmap {map}\npoll 1\n"
            ),
        );
    }
    host
}

/// A session, in which one transaction follows another.
struct Session {
    stream: TcpStream,
    input: BufReader<TcpStream>,
}

impl Session {
    fn of(smtpd: &Running) -> Self {
        let stream = smtpd.from("127.0.0.2:0");
        let input = BufReader::new(stream.try_clone().unwrap());
        let mut session = Session { stream, input };
        session.ask("HELO client.example");
        session
    }

    fn ask(&mut self, line: &str) -> String {
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
        let mut reply = String::new();
        self.input.read_line(&mut reply).unwrap();
        reply
    }

    /// The reply to RCPT in a transaction of its own.
    fn rcpt(&mut self, to: &str) -> String {
        self.ask("RSET");
        self.ask("MAIL FROM:<a@client.example>");
        self.ask(&format!("RCPT TO:<{to}>"))
    }
}

#[test]
fn who_may_relay_follows_the_directory_within_a_session() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    server.add_class("R", &["one.example", "two.example three.example"]);
    server.add_class("w", &["here.example"]);
    server.add(&format!(
        "dn: ou=shop.example,{BASE}\nobjectClass: organizationalUnit\nou: shop.example\n\
         description: virtual\n"
    ));
    let host = host(server.port);
    // The server fetches what its configuration can't be read without.
    let smtpd = Running::start(&host);
    let mut session = Session::of(&smtpd);
    for (to, code) in [
        ("a@one.example", "250"),
        ("a@three.example", "250"),
        ("a@host.two.example", "250"),
        // CR$={VirtHost}.
        ("a@shop.example", "250"),
        ("joe@here.example", "250"),
        ("nobody@here.example", "550"),
        ("a@other.example", "550"),
    ] {
        let reply = session.rcpt(to);
        assert!(reply.starts_with(code), "{to}: {reply}");
    }
    assert_eq!(
        host.replica("etc/mail/class-R.ldap").unwrap(),
        [
            "one.example one.example",
            "three.example three.example",
            "two.example two.example"
        ]
    );
    // A word comes and goes, and the next transaction of the session knows.
    server.change_class("R", "add", "other.example");
    until("relaying", || {
        session.rcpt("a@other.example").starts_with("250")
    });
    server.change_class("R", "delete", "one.example");
    until("no more relaying", || {
        session.rcpt("a@one.example").starts_with("550")
    });
    server.change_class("w", "replace", "there.example");
    until("another name", || {
        session.rcpt("joe@there.example").starts_with("250")
            && session.rcpt("joe@here.example").starts_with("550")
    });
    // The directory is gone, and mail goes on; so it does for programs that start now.
    server.kill();
    assert!(session.rcpt("a@other.example").starts_with("250"));
    assert!(session.rcpt("a@one.example").starts_with("550"));
    let root = host.path("").display().to_string();
    let explain = host.run(
        &format!(
            "mapctl explain --root {root} --helo c.example --from a@b.example --rcpt a@other.example"
        ),
        "",
    );
    assert_eq!(explain.code, 0, "{explain:?}");
    // An entry that is gone is no empty class: rights may be lost as well.
    server.run();
    server.delete(&format!("sendmailMTAClassName=R,{BASE}"));
    smtpd.wait("class-R.ldap kept as it was: the search finds nothing");
    assert!(session.rcpt("a@other.example").starts_with("250"));
    // Nor is one without words: the right to read them may be lost, or the attribute misspelt.
    server.add_class("R", &[]);
    smtpd.wait("class-R.ldap kept as it was: the search finds no word");
    assert!(session.rcpt("a@other.example").starts_with("250"));
    // Unless the site says that it may be.
    let file = "etc/mail/class-R.ldap";
    let text = std::fs::read_to_string(host.path(file)).unwrap();
    host.write(file, &format!("{text}empty yes\n"));
    host.good("mapctl follow --once ldap:etc/mail/class-R", "");
    until("no words", || {
        session.rcpt("a@other.example").starts_with("550")
    });
}

#[test]
fn a_class_that_is_new_at_a_sighup_counts_as_soon_as_it_is_fetched() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_class("R", &["one.example"]);
    server.add(&format!(
        "dn: ou=shop.example,{BASE}\nobjectClass: organizationalUnit\nou: shop.example\n\
         description: virtual\n"
    ));
    let host = host(server.port);
    host.write("etc/mail/sendmail.mc", &mc(server.port, "Cwold.example"));
    let smtpd = Running::start(&host);
    smtpd.wait("ready");
    let code = |to: &str| Session::of(&smtpd).rcpt(to)[..3].to_owned();
    assert_eq!(code("joe@here.example"), "550");
    // One SIGHUP, at which the directory does not have the class yet, nor the server its words.
    host.write("etc/mail/sendmail.mc", &mc(server.port, "F{w}@LDAP"));
    smtpd.hang_up();
    let kept = smtpd.wait("configuration kept as it was: ");
    assert!(kept.contains("etc/mail/class-w.ldap"), "{kept}");
    assert_eq!(code("joe@old.example"), "250");
    smtpd.wait("class-w.ldap kept as it was: the search finds nothing");
    server.add_class("w", &["here.example"]);
    smtpd.wait("configuration read anew");
    assert_eq!(code("joe@here.example"), "250");
    assert_eq!(code("joe@old.example"), "550");
    server.change_class("w", "replace", "there.example");
    until("another name", || code("joe@there.example") == "250");
    // What was edited while another class was waited for has not been asked for.
    let write = |last: &str| host.write("etc/mail/sendmail.mc", &mc(server.port, last));
    write("F{M}@LDAP");
    smtpd.hang_up();
    smtpd.wait("configuration kept as it was: ");
    write("F{M}@LDAP\nCwnew.example");
    server.add_class("M", &["m.example"]);
    smtpd.wait("it has changed since the last SIGHUP: send another");
    assert_eq!(code("joe@new.example"), "550");
    smtpd.hang_up();
    smtpd.wait("configuration read anew");
    assert_eq!(code("joe@new.example"), "250");
    // One whose connection file is still to be made, too.
    server.add_class("G", &["g.example"]);
    write("F{G}@LDAP");
    smtpd.hang_up();
    smtpd.wait("configuration read anew");
    let words = host.replica("etc/mail/class-G.ldap");
    assert_eq!(words.unwrap(), ["g.example g.example"]);
}

#[test]
fn a_class_that_was_never_fetched_is_told_with_its_line() {
    let Some(server) = Server::start("") else {
        return;
    };
    server.add_class("R", &["one.example"]);
    server.add_class("w", &["here.example"]);
    let host = host(server.port);
    let root = host.path("").display().to_string();
    let ran = host.run(&format!("smtpd check --root {root}"), "");
    assert_eq!(ran.code, 78, "{ran:?}");
    for (line, class, file) in [
        (9, "VirtHost", "class-VirtHost.ldap"),
        (8, "R", "class-R.ldap.db"),
        (13, "w", "class-w.ldap.db"),
    ] {
        let told = format!(
            "sendmail.mc:{line}: error: class {class}: its words were never fetched to this host \
             ({}/etc/mail/{file} is missing): mapctl follow --once fetches them",
            root.trim_end_matches('/')
        );
        assert!(ran.out.contains(&told), "{told}\n{}", ran.out);
    }
    // One of the three is not there: the others are fetched all the same.
    let follow = format!("mapctl follow --once --root {root}");
    let ran = host.run(&follow, "");
    assert_eq!(ran.code, 65, "{ran:?}");
    assert!(ran.err.contains("the search finds nothing"), "{ran:?}");
    let ran = host.run(&format!("smtpd check --root {root}"), "");
    assert_eq!(ran.out.matches("error: class ").count(), 1, "{}", ran.out);
    server.add(&format!(
        "dn: ou=shop.example,{BASE}\nobjectClass: organizationalUnit\nou: shop.example\n\
         description: virtual\n"
    ));
    assert_eq!(host.run(&follow, "").code, 0);
    let ran = host.run(&format!("smtpd check --root {root}"), "");
    assert!(!ran.out.contains("error: class "), "{}", ran.out);
}

#[test]
fn a_class_of_more_than_a_class_file_may_hold_is_refused() {
    let Some(server) = Server::start("maxsize 1073741824") else {
        return;
    };
    server.add_class("R", &["one.example"]);
    let host = Host::new();
    host.write_secret("secret", "right\n");
    host.write("R.ldap", &format!("{}kind class\n", server.connection()));
    host.good("mapctl follow --once ldap:R", "");
    // Four entries of the class, each with a value of ten million octets.
    for n in 0..4 {
        let word = "x".repeat(10_000_000 - n);
        server.add(&format!(
            "dn: cn={n},{BASE}\nobjectClass: sendmailMTAClass\nobjectClass: extensibleObject\ncn: {n}\n\
             sendmailMTACluster: mail\nsendmailMTAClassName: R\nsendmailMTAClassValue: {word}\n"
        ));
    }
    let ran = host.run("mapctl follow --once ldap:R", "");
    assert_eq!(ran.code, 65, "{}", ran.err);
    assert!(ran.err.contains("is not held in memory"), "{}", ran.err);
    assert_eq!(host.replica("R.ldap").unwrap(), ["one.example one.example"]);
}

#[test]
fn a_class_whose_words_are_not_seen_any_more_keeps_them() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    server.add_class("R", &["one.example"]);
    server.add(&format!(
        "dn: cn=reader,{BASE}\nobjectClass: organizationalRole\n\
         objectClass: simpleSecurityObject\ncn: reader\nuserPassword: right\n"
    ));
    let host = Host::new();
    host.write_secret("secret", "right\n");
    let connection = format!("{}kind class\n", server.connection());
    let connection = connection.replace("cn=admin", "cn=reader");
    host.write("R.ldap", &connection);
    host.good("mapctl follow --once ldap:R", "");
    let words = ["one.example one.example"];
    assert_eq!(host.replica("R.ldap").unwrap(), words);
    // The attribute is misspelt.
    let filter = "filter (sendmailMTAClassName=R)\nvalue-attribute ";
    host.write("R.ldap", &format!("{connection}{filter}description\n"));
    let kept = || {
        let ran = host.run("mapctl follow --once ldap:R", "");
        assert_eq!(ran.code, 65, "{ran:?}");
        assert!(ran.err.contains("the search finds no word"), "{ran:?}");
        assert_eq!(host.replica("R.ldap").unwrap(), words);
    };
    kept();
    // The right to read it is lost.
    host.write("R.ldap", &connection);
    server.kill();
    server.configure(
        1,
        "access to attrs=sendmailMTAClassValue by * none\naccess to * by * read\n",
    );
    server.run();
    kept();
}
