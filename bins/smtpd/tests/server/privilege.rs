//! A server that root starts: as whom it goes on, what it still gets at, and what it does not.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libmaps::sasl::edit::AuthPassword;
use smtpd::drop::file::DropWriter;
use smtpd::drop::submission::{Submission, Wanted};

use crate::certificates::{Authority, TLS_MC};
use crate::client::Client;
use crate::site::{HOST, Server, Site, wait_until};
use crate::stage::{aliases, mode, send, status};

const SMMSP: u32 = 54_341;
const BOB: u32 = 54_342;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can become another user");
    }
    root
}

/// A site of root's own, nearly all of which only root can read.
fn site(mc: &str) -> Site {
    let site = Site::new(&format!(
        "{mc}define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl"
    ));
    site.write(
        "etc/passwd",
        &format!(
            "root:x:0:0::/root:/bin/sh\nsmmsp:x:{SMMSP}:{SMMSP}::/:/bin/false\n\
             bob:x:{BOB}:{BOB}:Bob:/home/bob:/bin/sh\n"
        ),
    );
    site.write(
        "etc/group",
        &format!("smmsp:x:{SMMSP}:\nsasl:x:54400:smmsp\n"),
    );
    for folder in ["var/mail", "home/bob", "open"] {
        fs::create_dir_all(site.path(folder)).unwrap();
    }
    for folder in ["var/mail", "open"] {
        mode(&site, folder, 0o1777);
    }
    site
}

fn ids(pid: u32, field: &str) -> Vec<u32> {
    let words = status(pid, field);
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn capabilities(pid: u32) -> u64 {
    let sets = ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"];
    let sets = sets.map(|set| u64::from_str_radix(&status(pid, set)[0], 16).unwrap());
    sets.iter().fold(0, |all, set| all | set)
}

#[test]
fn the_server_is_an_ordinary_user_and_the_agent_is_not() {
    if !is_root() {
        return;
    }
    let site = site("");
    site.write_private("etc/secret", "root's");
    let server = site.start();
    server.log_with(&format!(
        "running as uid={SMMSP} gid={SMMSP} groups=[54400]"
    ));
    assert_eq!(ids(server.pid(), "Uid:"), [SMMSP; 4]);
    assert_eq!(ids(server.pid(), "Gid:"), [SMMSP; 4]);
    assert_eq!(ids(server.pid(), "Groups:"), [54_400]);
    assert_eq!(capabilities(server.pid()), 0);
    let (_, children) = crate::run_as::process(server.pid());
    let [agent] = children[..] else {
        panic!("children {children:?}");
    };
    assert_eq!(ids(agent, "Uid:"), [0; 4]);
    // What such a user can open of root's: nothing.
    let mut cat = Command::new("/bin/cat");
    cat.arg(site.path("etc/secret")).uid(SMMSP).gid(SMMSP);
    assert!(!cat.output().unwrap().status.success());
    // The old way, and root by name.
    drop(server);
    let server = site.start_with(|command| {
        command.arg("--unconfined");
    });
    assert_eq!(ids(server.pid(), "Uid:"), [0; 4]);
    drop(server);
    site.write(
        "etc/mail/sendmail.mc",
        &Site::mc("define(`confRUN_AS_USER', `root')dnl"),
    );
    let server = site.start();
    assert_eq!(ids(server.pid(), "Uid:"), [0; 4]);
    // CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER.
    assert_eq!(capabilities(server.pid()) & !0b1110, 0);
}

#[test]
fn what_is_roots_is_read_for_it_and_read_anew() {
    if !is_root() {
        return;
    }
    let mc = format!(
        "{TLS_MC}FEATURE(`access_db', `hash /srv/maps/access')dnl\n\
         FEATURE(`blocklist_recipients')dnl\n\
         include(`/srv/maps/more.m4')dnl\n\
         TRUST_AUTH_MECH(`PLAIN')dnl\ndefine(`confAUTH_MECHANISMS', `PLAIN')dnl\n"
    );
    let site = site(&mc);
    let authority = Authority::new("CA");
    authority.sign(HOST, 1).install(&site);
    site.write("etc/mail/ca.crt", &authority.pem);
    site.table("srv/maps/access", "To:bob@ REJECT\n");
    site.write_private("srv/maps/more.m4", "LOCAL_DOMAIN(`more.example')dnl\n");
    site.account("joe", HOST, "secret", AuthPassword::Omit);
    for file in [
        "srv/maps/access.db",
        "etc/sasldb2",
        "etc/mail/aliases.db",
        "etc/mail/sendmail.mc",
    ] {
        mode(&site, file, 0o600);
    }
    for folder in ["srv/maps", "srv"] {
        mode(&site, folder, 0o700);
    }
    let server = site.start();
    let refused = |server: &Server, to: &str| {
        let (mut client, _) = Client::hello(server.only_port());
        client.talk(&[("MAIL FROM:<a@b.example>", "250 ")]);
        client.say(&format!("RCPT TO:<{to}>"))
    };
    assert!(refused(&server, "bob").starts_with("550 "));
    assert!(refused(&server, "root@more.example").starts_with("250 "));
    // A map that is replaced, in a folder that it can't so much as search.
    site.table("srv/maps/access", "To:bob@ OK\nTo:root@ REJECT\n");
    mode(&site, "srv/maps/access.db", 0o600);
    assert!(refused(&server, "bob").starts_with("250 "));
    assert!(refused(&server, "root").starts_with("550 "));
    // Accounts, and a key that is replaced.
    let login = |server: &Server| {
        let (mut client, _) = Client::hello(server.only_port());
        client.secure(None);
        client.say("EHLO client.example.com");
        client.say("AUTH PLAIN AGpvZQBzZWNyZXQ=")
    };
    assert!(login(&server).starts_with("235 "), "{:?}", server.log());
    authority.sign(HOST, 2).install(&site);
    assert!(login(&server).starts_with("235 "));
    // The configuration, with a file in it that is new.
    site.write_private("srv/maps/new.m4", "LOCAL_DOMAIN(`new.example')dnl\n");
    site.write_private(
        "etc/mail/sendmail.mc",
        &Site::mc(&format!("{mc}include(`/srv/maps/new.m4')dnl\n")),
    );
    server.signal("-HUP");
    server.log_with("configuration read anew");
    assert!(refused(&server, "bob@new.example").starts_with("250 "));
    let log = server.log().join("\n");
    for complaint in ["kept as it was", "denied", "not confined: landlock"] {
        let may = complaint.starts_with("not confined");
        assert!(may || !log.contains(complaint), "{log}");
    }
}

#[test]
fn what_users_drop_is_taken() {
    if !is_root() {
        return;
    }
    let site = site("");
    let server = site.start();
    let folder = site.path("var/spool/clientmqueue");
    let owner = fs::metadata(&folder).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (SMMSP, SMMSP));
    assert_eq!(owner.mode() & 0o7777, 0o770);
    let mut dropped = DropWriter::create(&folder).unwrap();
    dropped.push(b"Subject: dropped\r\n\r\nx\r\n").unwrap();
    let id = dropped.id().clone();
    let to = Wanted {
        address: "bob".into(),
        notify: None,
        orcpt: None,
    };
    dropped.finish(&Submission::to(vec![to])).unwrap();
    site.text_with("var/mail/bob", "Subject: dropped");
    assert!(wait_until(|| !id.complete(&folder).exists()));
    drop(server);
}

#[test]
fn a_drop_folder_that_the_server_can_only_read_is_told_of() {
    if !is_root() {
        return;
    }
    let site = site("");
    let folder = site.path("var/spool/clientmqueue");
    fs::create_dir_all(&folder).unwrap();
    mode(&site, "var/spool/clientmqueue", 0o755);
    let install = format!("install -d -o smmsp -g smmsp -m 2770 {}", folder.display());
    let (status, said) = site.run_to_end(&["check"]);
    assert_eq!(status.code(), Some(78), "{said}");
    let want = format!("drop-folder ERROR {}: smmsp can't take", folder.display());
    assert!(said.contains(&want) && said.contains(&install), "{said}");
    let server = site.start();
    server.log_with(&format!("`{install}` and a restart of the server"));
    let mut dropped = DropWriter::create(&folder).unwrap();
    dropped.push(b"Subject: dropped\r\n\r\nx\r\n").unwrap();
    let id = dropped.id().clone();
    let to = Wanted {
        address: "bob".into(),
        notify: None,
        orcpt: None,
    };
    dropped.finish(&Submission::to(vec![to])).unwrap();
    let file = id.complete(&folder);
    chown(&file, None, Some(SMMSP)).unwrap();
    mode(&site, &format!("var/spool/clientmqueue/{id}.msg"), 0o640);
    server.log_with(&format!("remove dropped file {}: ", file.display()));
    let mailq = |args: &[&str]| {
        let mut mailq = Command::new(env!("CARGO_BIN_EXE_mailq"));
        let out = mailq.arg("--root").arg(site.root()).args(args).output();
        let out = out.unwrap();
        String::from_utf8([out.stdout, out.stderr].concat()).unwrap()
    };
    let waits = "waits for its dropped file to be removed";
    for args in [["-v"].as_slice(), &[], &["hold", id.as_str()]] {
        let said = mailq(args);
        assert!(said.contains(waits), "{args:?}: {said}");
    }
    drop(server);
    // As it is told: the message is let go, once.
    chown(&folder, Some(SMMSP), Some(SMMSP)).unwrap();
    mode(&site, "var/spool/clientmqueue", 0o2770);
    let (status, said) = site.run_to_end(&["check"]);
    assert!(status.success(), "{said}");
    let server = site.start();
    site.text_with("var/mail/bob", "Subject: dropped");
    assert!(wait_until(|| !file.exists()));
    drop(server);
    // One that the site names has no group but those that it gives him.
    for (user, exit) in [("bob", 78), ("bob:smmsp", 0)] {
        let named = format!("define(`confRUN_AS_USER', `{user}')dnl");
        site.write("etc/mail/sendmail.mc", &Site::mc(&named));
        let (status, said) = site.run_to_end(&["check"]);
        assert_eq!(status.code(), Some(exit), "{said}");
        assert_eq!(
            said.contains("`bob:smmsp` as confRUN_AS_USER"),
            exit == 78,
            "{said}"
        );
    }
    // Its user is not let through to it.
    mode(&site, "var/spool", 0o700);
    let (status, said) = site.run_to_end(&["check"]);
    assert_eq!(status.code(), Some(78), "{said}");
    let want = format!("drop-folder ERROR {}: ", site.path("var/spool").display());
    assert!(said.contains(&want), "{said}");
}

#[test]
fn a_queue_and_a_drop_folder_of_roots_are_taken_over() {
    if !is_root() {
        return;
    }
    let site = site("");
    aliases(&site, "waits: \"|exit 75\"\n");
    // As it was before there were other users, or where somebody ran it by hand.
    for folder in ["var/spool/mqueue", "var/spool/clientmqueue"] {
        fs::create_dir_all(site.path(folder)).unwrap();
        chown(site.path(folder), Some(0), Some(0)).unwrap();
    }
    mode(&site, "var/spool/mqueue", 0o700);
    mode(&site, "var/spool/clientmqueue", 0o770);
    let mut server = site.start_with(|command| {
        command.arg("--unconfined");
    });
    send(&server, "waits");
    server.log_with("stat=Deferred");
    server.signal("-TERM");
    assert!(server.wait_end().success());
    assert_eq!(
        fs::metadata(site.path("var/spool/mqueue/queue.redb"))
            .unwrap()
            .uid(),
        0
    );
    aliases(&site, "waits: bob\n");
    let server = site.start();
    for name in ["", "queue.redb", "lock", "journal"] {
        let path = site.path("var/spool/mqueue").join(name);
        assert_eq!(fs::metadata(&path).unwrap().uid(), SMMSP, "{name}");
    }
    assert_eq!(
        fs::metadata(site.path("var/spool/clientmqueue"))
            .unwrap()
            .gid(),
        SMMSP
    );
    send(&server, "waits");
    site.text_with("var/mail/bob", "Subject: to waits");
    // And what waited is still there.
    let listed = Command::new(env!("CARGO_BIN_EXE_mailq"))
        .arg("-v")
        .arg("--root")
        .arg(site.root())
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("waits"), "{listed}");
}

#[test]
fn somebody_is_found_where_there_is_no_such_user() {
    if !is_root() {
        return;
    }
    let site = site("");
    site.write(
        "etc/passwd",
        &format!(
            "root:x:0:0::/root:/bin/sh\nsmmta:x:0:0::/:/bin/false\n\
             bob:x:{BOB}:{BOB}:Bob:/home/bob:/bin/sh\n"
        ),
    );
    let server = site.start();
    assert_ne!(ids(server.pid(), "Uid:")[0], 0);
    assert_eq!(capabilities(server.pid()), 0);
    send(&server, "bob");
    site.text_with("var/mail/bob", "Subject: to bob");
}

#[test]
fn programs_of_aliases_are_not_run_as_the_servers_user() {
    if !is_root() {
        return;
    }
    let mc = "undefine(`confDEF_USER_ID')define(`confDEF_USER_ID', `smmsp:smmsp')dnl\n";
    let site = site(mc);
    let server = site.start();
    assert_ne!(ids(server.pid(), "Uid:")[0], SMMSP);
}

#[test]
fn a_queue_that_it_cannot_get_to_stops_the_start() {
    if !is_root() {
        return;
    }
    let site = site("");
    mode(&site, "", 0o700);
    let (status, said) = site.run_to_end(&[]);
    mode(&site, "", 0o755);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("smmsp can't get there through the folders above"),
        "{said}"
    );
}

#[test]
fn sockets_of_other_servers_are_connected_for_it() {
    if !is_root() {
        return;
    }
    let site = site(
        "define(`confLOCAL_MAILER', `local')dnl\n\
         TRUST_AUTH_MECH(`PLAIN')dnl\ndefine(`confAUTH_MECHANISMS', `PLAIN')dnl\n\
         define(`confAUTH_OPTIONS', `')dnl\n",
    );
    site.write(
        "etc/sasl2/Sendmail.conf",
        "pwcheck_method: saslauthd\nsaslauthd_path: /run/saslauthd/mux\nmech_list: PLAIN\n",
    );
    fs::create_dir_all(site.path("run/saslauthd")).unwrap();
    let listener = UnixListener::bind(site.path("run/saslauthd/mux")).unwrap();
    mode(&site, "run/saslauthd/mux", 0o600);
    mode(&site, "run/saslauthd", 0o700);
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..4 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut field = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut field).unwrap();
        }
        stream.write_all(b"\0\x02OK").unwrap();
    });
    let server = site.start();
    assert_eq!(ids(server.pid(), "Uid:"), [SMMSP; 4]);
    let (mut client, _) = Client::hello(server.only_port());
    let said = client.say("AUTH PLAIN AGpvZQBzZWNyZXQ=");
    assert!(said.starts_with("235 "), "{said} {:?}", server.log());
    answering.join().unwrap();
}
