//! Texts that break off on their way to a mailbox or a program, and programs that want no more
//! of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::agent::{Agent, frame};
use crate::client::Client;
use crate::site::{Server, Site, wait_until};
use crate::stage::{aliases, mode};

/// Whose mailbox it is.
fn bob() -> u32 {
    match rustix::process::geteuid().as_raw() {
        0 => 54_371,
        own => own,
    }
}

fn site(mc: &str) -> Site {
    let site = Site::new(&format!(
        "define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl\n{mc}"
    ));
    let uid = bob();
    site.write(
        "etc/passwd",
        &format!("bob:x:{uid}:{uid}:Bob:/home/bob:/bin/sh\n"),
    );
    for folder in ["var/mail", "open"] {
        fs::create_dir_all(site.path(folder)).unwrap();
        mode(&site, folder, 0o1777);
    }
    site
}

/// A mailbox of bob's with a message in it.
fn mailbox(site: &Site) -> PathBuf {
    let path = site.path("var/mail/bob");
    fs::write(&path, "From x\n\nold\n\n").unwrap();
    let _ = std::os::unix::fs::chown(&path, Some(bob()), Some(bob()));
    path
}

/// Sends a message of so many octets, about.
fn send_long(server: &Server, to: &str, octets: usize) {
    let (mut client, _) = Client::hello(server.only_port());
    let line = format!("{}\r\n", "x".repeat(70));
    let text = format!("Subject: long\r\n\r\n{}.", line.repeat(octets / line.len()));
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        (&format!("RCPT TO:<{to}>"), "250 "),
        ("DATA", "354"),
        (&text, "250 "),
    ]);
}

#[test]
fn half_a_text_from_the_server_leaves_the_mailbox_as_it_was() {
    let site = site("");
    let path = mailbox(&site);
    let agent = Agent::start(&site);
    let args = ["deliver-file", "append", "dotlock", path.to_str().unwrap()];
    let mut work = agent.run("/proc/self/exe", &args, None, bob());
    // In frames of our own file delivery, which is how it knows that this is not all.
    work.feed(&frame(&b"From y\n\nhalf of it\n".repeat(2500)));
    assert!(wait_until(|| fs::metadata(&path).unwrap().len() > 20_000));
    work.end();
    let reply = work.reply();
    assert_eq!(reply["Ended"]["fate"], "Deferred", "{reply}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "From x\n\nold\n\n");
    // Who writes the mailbox undoes it and goes, a moment after the server has given up.
    assert!(wait_until(|| !site.path("var/mail/bob.lock").exists()));
}

#[test]
fn a_queued_text_that_was_cut_short_is_not_delivered() {
    let site = site("define(`confDELIVERY_MODE', `queue')dnl\n");
    aliases(
        &site,
        &format!("program: \"|cat > {}\"\n", site.path("open/copy").display()),
    );
    let path = mailbox(&site);
    let server = site.start();
    for to in ["bob", "program"] {
        send_long(&server, to, 300_000);
        let large = fs::read_dir(site.path("var/spool/mqueue/large")).unwrap();
        let cut = large.map(|entry| entry.unwrap().path());
        let cut = cut.filter(|path| fs::metadata(path).unwrap().len() > 200_000);
        for path in cut {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(100_000).unwrap();
        }
        let mut run = Command::new(env!("CARGO_BIN_EXE_mailq"));
        run.arg("--root").arg(site.root()).arg("run");
        assert!(run.output().unwrap().status.success());
        let line = server.log_with(&format!("to=<{to}>"));
        let why = "Deferred: of the text 100000 octets are there, of ";
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "From x\n\nold\n\n");
    // Who writes the mailbox undoes it and goes, a moment after the server has given up.
    assert!(wait_until(|| !site.path("var/mail/bob.lock").exists()));
    // Whoever looks sees what is left.
    let mut list = Command::new(env!("CARGO_BIN_EXE_mailq"));
    let listed = list.arg("--root").arg(site.root()).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("bob"), "{listed}");
}

#[test]
fn a_program_that_wants_no_more_of_a_long_text_runs_once() {
    let site = site("");
    let ran = site.path("open/ran");
    aliases(
        &site,
        &format!(
            "part: \"|head -c 240000 > /dev/null; echo ran >> {}; exit 0\"\n",
            ran.display()
        ),
    );
    let server = site.start();
    for n in 1..=2 {
        send_long(&server, "part", 3_000_000);
        assert!(wait_until(|| {
            let log = server.log();
            log.iter().filter(|line| line.contains("stat=")).count() == n
        }));
    }
    let log = server.log().join("\n");
    assert!(!log.contains("stat=Deferred"), "{log}");
    assert_eq!(fs::read_to_string(&ran).unwrap().lines().count(), 2);
}
