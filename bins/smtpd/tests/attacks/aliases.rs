//! Aliases that grow, go round, or lead to what is no list.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;

use smtpd::tables;

use crate::client::Client;
use crate::site::{Server, Site, wait_until};

fn site(aliases: &str) -> Site {
    let site = Site::new("");
    site.write(
        "etc/mail/aliases",
        &format!("archive: /etc/mail/out.mbox\n{aliases}"),
    );
    tables::build_aliases(&site.path("etc/mail/aliases")).unwrap();
    site
}

fn send(server: &Server, to: &str) -> String {
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[("MAIL FROM:<>", "250 ")]);
    let reply = client.say(&format!("RCPT TO:<{to}>"));
    if !reply.starts_with("250") {
        return reply;
    }
    client.talk(&[("DATA", "354 ")]);
    client.say(&format!("Subject: to {to}\r\n\r\nx\r\n."))
}

/// The line in the log that says what became of it.
fn fate(server: &Server, to: &str) -> String {
    let reply = send(server, to);
    assert!(reply.starts_with("250 "), "{to}: {reply}");
    let id = reply.split(' ').nth(2).unwrap().to_owned();
    let mut found = None;
    wait_until(|| {
        let log = server.log();
        found = log
            .iter()
            .find(|l| l.contains(&id) && l.contains("stat="))
            .cloned();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("{to}: {:#?}", server.log()))
}

#[test]
fn trees_chains_and_loops() {
    let mut text = String::new();
    // Each of thirty levels names the next one twice over: a thousand million at the end.
    for level in 0..30 {
        let next = level + 1;
        for side in ["l", "r"] {
            let _ = writeln!(text, "{side}{level}: l{next}, r{next}");
        }
    }
    text.push_str("l30: archive\nr30: archive\n");
    for link in 0..1000 {
        let _ = writeln!(text, "chain{link}: chain{}", link + 1);
    }
    text.push_str("chain1000: archive\n");
    text.push_str("one: two\ntwo: three\nthree: one\nself: self\n");
    let mut short = String::new();
    for level in 0..8 {
        let next = level + 1;
        for side in ["s", "t"] {
            let _ = writeln!(short, "{side}{level}: s{next}, t{next}");
        }
    }
    text.push_str(&short);
    text.push_str("s8: archive\nt8: archive\n");
    let site = site(&text);
    let server = site.start();
    for deep in ["l0", "chain0"] {
        let line = fate(&server, deep);
        assert!(line.contains("10 max"), "{line}");
    }
    for (round, want) in [("one", "loop"), ("self", "User unknown")] {
        let line = fate(&server, round);
        assert!(line.contains(want), "{line}");
    }
    // Within the limit a tree of twice as many at each level is one copy.
    send(&server, "s0");
    let text = site.text_with("etc/mail/out.mbox", "Subject: to s0");
    assert_eq!(text.matches("Subject: to s0").count(), 1);
    // The same with the limit of the site out of the way.
    drop(server);
    site.write(
        "etc/mail/sendmail.mc",
        &Site::mc("define(`confMAX_ALIAS_RECURSION', `100000')dnl"),
    );
    let server = site.start();
    send(&server, "l0");
    let text = site.text_with("etc/mail/out.mbox", "Subject: to l0");
    assert_eq!(text.matches("Subject: to l0").count(), 1);
    let line = fate(&server, "chain0");
    assert!(line.contains("loop broken"), "{line}");
    let (mut client, _) = Client::hello(server.only_port());
    assert!(client.say("EXPN l0").starts_with("250 "));
    assert!(client.say("EXPN one").starts_with("554 5.4.6"));
    assert!(client.say("VRFY chain0").starts_with("250 "));
}

#[test]
fn what_is_no_list() {
    let site = site(
        "fifo: \":include:/etc/mail/fifo\"\nnull: \":include:/dev/null\"\n\
         zero: \":include:/dev/zero\"\nfolder: \":include:/etc/mail\"\n\
         link: \":include:/etc/mail/open/link\"\nsame: \":include:/etc/mail/same\"\n\
         linked: \":include:/etc/mail/linked\"\n",
    );
    let made = std::process::Command::new("mkfifo")
        .arg(site.path("etc/mail/fifo"))
        .status();
    assert!(made.unwrap().success());
    // Anybody could have put it there.
    let open = site.path("etc/mail/open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", open.join("link")).unwrap();
    site.write("etc/mail/list", "archive\n");
    std::os::unix::fs::symlink("list", site.path("etc/mail/linked")).unwrap();
    std::fs::create_dir(site.path("dev")).unwrap();
    for device in ["null", "zero"] {
        std::os::unix::fs::symlink(format!("/dev/{device}"), site.path("dev").join(device))
            .unwrap();
    }
    site.write(
        "etc/mail/same",
        ":include:/etc/mail/same\n:include:/etc/mail/./same\narchive\n",
    );
    let server = site.start();
    for (to, want) in [
        ("fifo", "Regular files only"),
        ("folder", "Regular files only"),
        ("null", "Regular files only"),
        ("zero", "Regular files only"),
        ("link", "Symbolic links not allowed"),
    ] {
        let line = fate(&server, to);
        assert!(line.contains(want), "{to}: {line}");
    }
    send(&server, "same");
    let text = site.text_with("etc/mail/out.mbox", "Subject: to same");
    assert_eq!(text.matches("Subject: to same").count(), 1);
    send(&server, "linked");
    site.text_with("etc/mail/out.mbox", "Subject: to linked");
}

#[test]
fn members_of_a_list_need_no_descriptor_each() {
    let mut members = String::new();
    for n in 0..20_000 {
        let _ = writeln!(members, "member{n}@far.example");
    }
    let site = site("many: \":include:/etc/mail/members\", archive\n");
    site.write("etc/mail/members", &members);
    // Mail for other hosts waits for a run.
    site.write(
        "etc/mail/sendmail.mc",
        &Site::mc("define(`confCON_EXPENSIVE', `True')dnl\nMODIFY_MAILER_FLAGS(`SMTP', `+e')dnl"),
    );
    let server = site.start_with(|command| {
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", "ulimit -n 224; exec \"$0\" --root \"$1\""]);
        shell.arg(env!("CARGO_BIN_EXE_smtpd")).arg(site.root());
        *command = shell;
    });
    let (mut meanwhile, _) = Client::hello(server.only_port());
    assert!(send(&server, "many").starts_with("250 "));
    assert!(meanwhile.say("NOOP").starts_with("250 "));
    site.text_with("etc/mail/out.mbox", "Subject: to many");
    let log = server.log();
    assert!(
        !log.iter().any(|l| l.contains("Too many open files")),
        "{log:#?}"
    );
}
