//! The confined server: what it gave up, and that nothing is missed.

use std::fs;
use std::os::unix::fs::chown;

use crate::site::{Site, wait_until};
use crate::stage::{aliases, is_root, mode, send, status};

const BOB: u32 = 54_331;

/// A site where bob and root have mailboxes.
fn site(mc: &str) -> Site {
    let site = Site::new(&format!(
        "{mc}define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl"
    ));
    let bob = if is_root() {
        BOB
    } else {
        rustix::process::geteuid().as_raw()
    };
    site.write(
        "etc/passwd",
        &format!("root:x:0:0::/root:/bin/sh\nbob:x:{bob}:{bob}:Bob:/home/bob:/bin/sh\n"),
    );
    for folder in ["var/mail", "open", "srv/lists", "root", "home/bob"] {
        fs::create_dir_all(site.path(folder)).unwrap();
    }
    for folder in ["var/mail", "open"] {
        mode(&site, folder, 0o1777);
    }
    site
}

#[test]
fn the_server_gives_up_what_it_does_not_need() {
    let site = site("");
    let server = site.start();
    // Where the kernel lacks something, the log says so.
    let log = server.log().join("\n");
    let lacks = |what: &str| log.contains(&format!("not confined: {what}"));
    for (what, field, want) in [
        ("seccomp", "Seccomp:", "2"),
        ("seccomp", "NoNewPrivs:", "1"),
    ] {
        assert!(
            lacks(what) || status(server.pid(), field) == [want],
            "{log}"
        );
    }
    let rights = u64::from_str_radix(&status(server.pid(), "CapPrm:")[0], 16).unwrap();
    assert_eq!(rights, 0, "{rights:x}");
    server.log_with("confined: ");
    drop(server);
    let server = site.start_with(|command| {
        command.arg("--unconfined");
    });
    assert_eq!(status(server.pid(), "NoNewPrivs:"), ["0"]);
    send(&server, "bob");
    site.text_with("var/mail/bob", "Subject: to bob");
}

#[test]
fn lists_are_read_wherever_they_are() {
    let site = site("");
    // Nobody but root, or its owner, reads these: not in folders that the server is confined to.
    for (name, owner) in [("roots", 0), ("bobs", BOB)] {
        site.write_private(&format!("srv/lists/{name}"), "bob\n");
        if is_root() {
            chown(site.path(&format!("srv/lists/{name}")), Some(owner), None).unwrap();
        }
    }
    mode(&site, "srv/lists", 0o700);
    aliases(
        &site,
        "one: :include:/srv/lists/roots\ntwo: :include:/srv/lists/bobs\n\
         three: :include:/srv/lists/none\n",
    );
    let server = site.start();
    for list in ["one", "two"] {
        send(&server, list);
        site.text_with("var/mail/bob", &format!("Subject: to {list}"));
    }
    // One that is not there fails as ever: it is not deferred.
    send(&server, "three");
    server.log_with("Cannot open /srv/lists/none: No such file or directory");
}

#[test]
fn new_folders_want_a_restart_and_the_old_configuration_stays() {
    let site = site("");
    let server = site.start();
    fs::create_dir_all(site.path("srv/maps")).unwrap();
    site.table("srv/maps/access", "To:bob@ REJECT\n");
    let mc =
        "FEATURE(`access_db', `hash /srv/maps/access')dnl\nFEATURE(`blocklist_recipients')dnl\n";
    site.write("etc/mail/sendmail.mc", &Site::mc(mc));
    server.signal("-HUP");
    let line = server.log_with("configuration kept as it was");
    assert!(line.contains("srv/maps is new"), "{line}");
    assert!(line.ends_with("restart the server"), "{line}");
    send(&server, "bob");
    site.text_with("var/mail/bob", "Subject: to bob");
}

#[test]
fn a_reload_reaches_the_agent() {
    let site = site("");
    let shell = site.path("open/shell");
    let out = site.path("open/out");
    site.write(
        "open/shell",
        &format!("#!/bin/sh\ncat > {}\n", out.display()),
    );
    mode(&site, "open/shell", 0o755);
    aliases(&site, "prog: \"|anything\"\n");
    let server = site.start();
    let mc = format!("FEATURE(`smrsh', `{}')dnl\n", shell.display());
    site.write("etc/mail/sendmail.mc", &Site::mc(&mc));
    server.signal("-HUP");
    server.log_with("configuration read anew");
    send(&server, "prog");
    site.text_with("open/out", "Subject: to prog");
}

#[test]
fn of_root_the_mailbox_is_written_and_the_list_obeyed() {
    if !is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let site = site("");
    let server = site.start();
    send(&server, "root");
    site.text_with("var/mail/root", "Subject: to root");
    site.write("root/.forward", "bob\n");
    send(&server, "root");
    site.text_with("var/mail/bob", "Subject: to root");
    let evil = site.path("open/evil");
    site.write("root/.forward", &format!("\"|touch {}\"\n", evil.display()));
    send(&server, "root");
    server.log_with("nothing is done as root");
    assert!(wait_until(|| !evil.exists()));
}

#[test]
fn a_server_whose_agent_has_ended_ends_too() {
    let site = site("");
    let mut server = site.start();
    let (_, children) = crate::run_as::process(server.pid());
    let [agent] = children[..] else {
        panic!("children {children:?}");
    };
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &agent.to_string()])
        .status();
    assert!(killed.unwrap().success());
    server.log_with("the delivery agent has ended: the server must be started again");
    assert!(!server.wait_end().success());
}
