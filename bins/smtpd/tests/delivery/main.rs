//! Where mail ends up: mailboxes, `.forward`, Maildir, files, programs, and what stays queued.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../machine/running.rs"]
mod running;

mod headers;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use running::{Log, Running};
use smtpd::tables;
use tempfile::TempDir;

struct Site {
    root: TempDir,
    server: Running,
    log: Log,
}

/// The number of the user that runs the tests; where that is root, an ordinary one.
fn somebody() -> u32 {
    let own = fs::metadata("/proc/self").unwrap().uid();
    if own == 0 { 12_345 } else { own }
}

fn start(aliases: &str, prepare: impl FnOnce(&Path)) -> Site {
    // A list that the group of whoever tests could write to is none.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["etc/mail", "var/mail", "home/bob", "open"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    for folder in ["var/mail", "open"] {
        fs::set_permissions(path.join(folder), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let uid = somebody();
    let _ = std::os::unix::fs::chown(path.join("home/bob"), Some(uid), Some(uid));
    let write = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
    write(
        "etc/mail/sendmail.mc",
        &format!(
            "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.test.example')dnl\n\
             define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl\n\
             define(`ALIAS_FILE', `/etc/mail/aliases')dnl\ndefine(`confDEF_USER_ID', `{uid}:{uid}')dnl\n\
             define(`confQUEUE_LA', `1000')dnl\ndefine(`confREFUSE_LA', `1000')dnl\n\
             FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n\
             DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
        ),
    );
    write("etc/mail/service.switch", "hosts files\n");
    write("etc/hosts", "127.0.0.1 mx.test.example localhost\n");
    write(
        "etc/passwd",
        &format!(
            "bob:x:{uid}:{uid}:Bob:/home/bob:/bin/sh\nann:x:{uid}:{uid}:Ann:/home/ann:/bin/sh\n"
        ),
    );
    write(
        "etc/mail/aliases",
        &aliases.replace("{ROOT}", path.to_str().unwrap()),
    );
    tables::build_aliases(&path.join("etc/mail/aliases")).unwrap();
    prepare(path);
    let log = Log::default();
    let server = Running::start(path, &[], &log);
    Site { root, server, log }
}

impl Site {
    fn send(&self, to: &str) {
        self.send_text(to, &format!("Subject: to {to}\r\n\r\nhello"));
    }

    fn send_text(&self, to: &str, text: &str) {
        let stream = TcpStream::connect(("127.0.0.1", self.server.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        let mut reply = String::new();
        reader.read_line(&mut reply).unwrap();
        for line in [
            "HELO x".to_owned(),
            "MAIL FROM:<joe@b.example>".into(),
            format!("RCPT TO:<{to}>"),
            "DATA".into(),
            format!("{text}\r\n."),
        ] {
            write!(writer, "{line}\r\n").unwrap();
            reply.clear();
            reader.read_line(&mut reply).unwrap();
            assert!(reply.starts_with(['2', '3']), "{line}: {reply}");
        }
    }

    /// The text of a file below the root once it holds this.
    fn text_with(&self, file: &str, want: &str) -> String {
        let path = self.root.path().join(file);
        let mut text = String::new();
        for _ in 0..1200 {
            text = fs::read_to_string(&path).unwrap_or_default();
            if text.contains(want) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{file}: {want:?} is not in {text:?}");
    }

    /// Waits for a line of the log with this.
    fn logged(&self, want: &str) {
        for _ in 0..1200 {
            let log = self.log.lock().unwrap();
            if log.iter().any(|line| line.contains(want)) {
                return;
            }
            drop(log);
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{want:?} is not in {:#?}", self.log.lock().unwrap());
    }

    /// What mailq says once it says this.
    fn listed_until(&self, is_it: impl Fn(&str) -> bool) -> String {
        let mut listed = String::new();
        for _ in 0..1200 {
            listed = self.mailq(&[]);
            if is_it(&listed) {
                return listed;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{listed}");
    }

    fn mailq(&self, args: &[&str]) -> String {
        let out = Command::new(env!("CARGO_BIN_EXE_mailq"))
            .arg("--root")
            .arg(self.root.path())
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    }
}

#[test]
fn a_users_mailbox() {
    let site = start("", |_| {});
    site.send("bob");
    let text = site.text_with("var/mail/bob", "hello");
    assert!(text.starts_with("From joe@b.example "), "{text}");
    assert!(
        text.contains(
            "\nReturn-Path: <joe@b.example>\nReceived: from x (mx.test.example [127.0.0.1])"
        ),
        "{text}"
    );
    let metadata = fs::metadata(site.root.path().join("var/mail/bob")).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.mode() & 0o777),
        (somebody(), 0o600)
    );
    // The lock goes when the text is there.
    let lock = site.root.path().join("var/mail/bob.lock");
    let gone = (0..1200).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        !lock.exists()
    });
    assert!(gone);
}

#[test]
fn files_maildirs_and_programs() {
    let site = start(
        "tofile: /open/box\ntodir: /open/Maildir/\ntoprog: \"|cat > {ROOT}/open/program\"\nall: tofile, todir, toprog, bob\n",
        |_| {},
    );
    site.send("all");
    site.text_with("open/box", "hello");
    site.text_with("var/mail/bob", "hello");
    let program = site.text_with("open/program", "hello");
    assert!(program.starts_with("From joe@b.example "), "{program}");
    let new = site.root.path().join("open/Maildir/new");
    // Copies are delivered side by side: this one may be the last.
    let letter = (0..1200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        Some(fs::read_dir(&new).ok()?.next()?.unwrap().path())
    });
    let text = fs::read_to_string(letter.unwrap()).unwrap();
    assert!(text.starts_with("Return-Path: <joe@b.example>\n"), "{text}");
}

#[test]
fn forwarding_with_a_copy_and_an_untrusted_file() {
    let site = start("box: /open/box\n", |root| {
        fs::write(root.join("home/bob/.forward"), "# mine\n\\bob, box\n").unwrap();
        let _ = std::os::unix::fs::chown(root.join("home/bob/.forward"), Some(somebody()), None);
    });
    site.send("bob");
    site.text_with("open/box", "hello");
    site.text_with("var/mail/bob", "hello");
    let forward = site.root.path().join("home/bob/.forward");
    fs::set_permissions(&forward, fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(&forward, "box\n").unwrap();
    site.send("bob");
    let text = site.text_with("var/mail/bob", "hello");
    for _ in 0..100 {
        if site
            .text_with("var/mail/bob", "hello")
            .matches("Subject: to bob")
            .count()
            == 2
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("a world-writable .forward was obeyed: {text}");
}

#[test]
fn quotes_and_backslashes_keep_only_the_rules_off() {
    let site = start(
        "part: |\"cat > {ROOT}/open/part\"\nfile: /open/\"a box\"\nname: \"bo\"b\nback: b\\ob\n",
        |_| {},
    );
    site.send("part");
    site.text_with("open/part", "Subject: to part");
    site.send("file");
    site.text_with("open/a box", "Subject: to file");
    for to in [
        "name",
        "back",
        "b\\ob",
        "\"bo\"b",
        "\"b\\ob\"@mx.test.example",
    ] {
        site.send(to);
        site.text_with("var/mail/bob", &format!("Subject: to {to}\n"));
    }
    assert!(site.mailq(&[]).contains("is empty"), "{}", site.mailq(&[]));
}

#[test]
fn a_backslash_before_a_name_means_his_mailbox() {
    let site = start("box: /open/box\nkept: \\bob\n", |root| {
        fs::write(root.join("home/bob/.forward"), "box\n").unwrap();
        let _ = std::os::unix::fs::chown(root.join("home/bob/.forward"), Some(somebody()), None);
    });
    for to in ["kept", "\\bob"] {
        site.send(to);
        site.text_with("var/mail/bob", &format!("Subject: to {to}\n"));
    }
    site.send("bob");
    let box_ = site.text_with("open/box", "Subject: to bob\n");
    assert_eq!(box_.matches("Subject:").count(), 1, "{box_}");
}

#[test]
fn a_user_and_his_mailbox_in_one_message_are_one_copy_each() {
    let site = start(
        "box: /open/box\nboth: \\bob, bob\nother: bob, \\bob\n",
        |root| {
            fs::write(root.join("home/bob/.forward"), "box\n").unwrap();
            let forward = root.join("home/bob/.forward");
            let _ = std::os::unix::fs::chown(forward, Some(somebody()), None);
        },
    );
    for to in ["both", "other"] {
        site.send(to);
        let subject = format!("Subject: to {to}\n");
        for file in ["var/mail/bob", "open/box"] {
            let text = site.text_with(file, &subject);
            assert_eq!(text.matches(&subject).count(), 1, "{text}");
        }
        // A second one would have come by the time the message is gone.
        while !site.mailq(&[]).contains("is empty") {
            std::thread::sleep(Duration::from_millis(20));
        }
        for file in ["var/mail/bob", "open/box"] {
            let text = site.text_with(file, &subject);
            assert_eq!(text.matches(&subject).count(), 1, "{text}");
        }
    }
}

#[test]
fn the_access_map_says_who_may_write_to_whom() {
    let pairs = |pairs: &[&str]| -> String {
        let entry = |pair: &&str| format!("Compat:{}\n", pair.replace("joe", "joe@b.example"));
        pairs.iter().map(entry).collect()
    };
    let build = |root: &Path, text: &str| {
        fs::write(root.join("etc/mail/access"), text).unwrap();
        tables::build_table(&root.join("etc/mail/access")).unwrap();
    };
    let site = start(
        "box: /open/box\nrun: |/bin/true\nlist: /open/box, /open/listed\nowner-list: ann\n\
         other: bob\nfor: ann\nnamed: Bob Blue <bob@mx.test.example> (his)\n",
        |root| {
            let mc = root.join("etc/mail/sendmail.mc");
            let text = fs::read_to_string(&mc).unwrap();
            let features = "FEATURE(`access_db')dnl\nFEATURE(`compat_check')dnl\nMAILER(`local')";
            fs::write(&mc, text.replace("MAILER(`local')", features)).unwrap();
            build(
                root,
                &pairs(&[
                    "joe<@>bob@mx.test.example\tERROR:550 not to bob",
                    "joe<@>ann@mx.test.example\tDISCARD",
                    "joe<@>ann+x@mx.test.example\tTEMP:later",
                    "joe<@>/open/box\tERROR:553 5.7.1 no files",
                    "joe<@>|/bin/true\tERROR:451 no programs",
                    "ann<@>/open/listed\tERROR:550 not in this list",
                    "joe<@>ann\tERROR:550 not by forwarding",
                    "joe<@>for\tDISCARD",
                    "joe<@>other@mx.test.example\tDISCARD",
                ]),
            );
            fs::write(root.join("home/bob/.forward"), "\\bob, for\n").unwrap();
            let _ =
                std::os::unix::fs::chown(root.join("home/bob/.forward"), Some(somebody()), None);
        },
    );
    let refused = |arg2: &str, why: &str| {
        let ruled = "ruleset=check_compat, arg1=<joe@b.example>, arg2=";
        site.logged(&format!(
            "{ruled}{arg2}, relay=mx.test.example [127.0.0.1], {why}"
        ));
    };
    for (to, arg2, why) in [
        ("box", "/open/box", "reject=553 5.7.1 no files error"),
        ("run", "|/bin/true", "reject=451"),
        (
            "ann+x@mx.test.example",
            "<ann+x@mx.test.example>",
            "reject=553 5.3.0 later error",
        ),
        ("ann@mx.test.example", "<ann@mx.test.example>", "discard"),
        // The copy is another one than the address that was asked for.
        ("for@mx.test.example", "ann", "reject=550 5.0.0 not by"),
        (
            "named",
            "Bob Blue <bob@mx.test.example> (his)",
            "reject=550",
        ),
    ] {
        site.send(to);
        refused(arg2, why);
    }
    site.logged("mailer=*file*, pri=");
    site.logged("mailer=prog, pri=");
    site.logged("dsn=5.5.0, stat=Service unavailable");
    site.logged("dsn=4.2.0, stat=Deferred: later error from check_compat. Try again later");
    // The owner of a list is the sender of its copies.
    site.send("list");
    site.logged("arg1=ann, arg2=/open/listed, relay=mx.test.example [127.0.0.1], reject=550 5.0.0");
    site.text_with("open/box", "Subject: to list");
    // The alias of one who may be written to by it, and what his list makes of that.
    site.send("other");
    site.text_with("var/mail/bob", "Subject: to other");
    site.logged("to=ann, orig_to=<other>");
    let root = site.root.path();
    assert!(!root.join("open/listed").exists());
    build(root, "");
    site.mailq(&["run"]);
    let ann = site.text_with("var/mail/ann", "Subject: to ann+x");
    for gone in ["ann@mx.test.example", "for@mx.test.example", "other"] {
        assert!(!ann.contains(&format!("Subject: to {gone}\n")), "{ann}");
    }
}

#[test]
fn what_goes_to_the_null_device_is_gone() {
    let site = start("bin: /dev/null\n", |root| {
        fs::write(root.join("home/bob/.forward"), "/dev/null\n").unwrap();
        let _ = std::os::unix::fs::chown(root.join("home/bob/.forward"), Some(somebody()), None);
    });
    site.send("bin");
    site.send("bob");
    let empty = (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        site.mailq(&[]).contains("is empty")
    });
    assert!(empty, "{}", site.mailq(&[]));
    let root = site.root.path();
    assert!(!root.join("dev/null").exists() && !root.join("var/mail/bob").exists());
}

#[test]
fn forwarding_goes_on_and_ends_where_it_comes_back() {
    let forward = |root: &Path, who: &str, text: &str| {
        let home = root.join("home").join(who);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(".forward"), text).unwrap();
        for path in [home.join(".forward"), home] {
            let _ = std::os::unix::fs::chown(path, Some(somebody()), None);
        }
    };
    let site = start("box: /open/box\n", |root| {
        forward(root, "bob", "ann\n");
        forward(root, "ann", "box\n");
    });
    site.send("bob");
    site.text_with("open/box", "hello");
    let root = site.root.path();
    assert!(!root.join("var/mail/ann").exists() && !root.join("var/mail/bob").exists());
    let site = start("", |root| {
        forward(root, "bob", "ann\n");
        forward(root, "ann", "bob\n");
    });
    site.send("bob");
    site.text_with("var/mail/bob", "hello");
    // Whatever else their lists name: here a file.
    let site = start("box: /open/box\n", |root| {
        forward(root, "bob", "box, ann\n");
        forward(root, "ann", "bob\n");
    });
    site.send("ann");
    site.text_with("open/box", "hello");
    site.text_with("var/mail/ann", "hello");
    assert!(!site.root.path().join("var/mail/bob").exists());
}

#[test]
fn two_users_forward_to_the_same_program() {
    let site = start("both: bob, ann\n", |root| {
        let run = format!("\"|cat > {}/open/$$\"\n", root.display());
        for who in ["bob", "ann"] {
            let home = root.join("home").join(who);
            fs::create_dir_all(&home).unwrap();
            fs::write(home.join(".forward"), &run).unwrap();
            for path in [home.join(".forward"), home] {
                let _ = std::os::unix::fs::chown(path, Some(somebody()), None);
            }
        }
    });
    site.send("both");
    let open = site.root.path().join("open");
    let copies = || fs::read_dir(&open).unwrap().count();
    for _ in 0..1200 {
        if copies() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(copies(), 2);
    for file in fs::read_dir(&open).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        site.text_with(&format!("open/{name}"), "hello");
    }
    assert!(!site.root.path().join("var/mail/bob").exists());
}

#[test]
fn a_forward_file_that_names_nobody() {
    let site = start("", |root| {
        fs::write(root.join("home/bob/.forward"), "# nobody yet\n").unwrap();
        let _ = std::os::unix::fs::chown(root.join("home/bob/.forward"), Some(somebody()), None);
    });
    site.send("bob");
    site.text_with("var/mail/bob", "hello");
}

#[test]
fn what_can_t_be_delivered_now_stays_and_is_shown() {
    let site = start("later: \"|exit 75\"\n", |_| {});
    site.send("later");
    let mut listed = String::new();
    for _ in 0..100 {
        listed = site.mailq(&[]);
        if listed.contains("Deferred") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(listed.contains("(1 request)"), "{listed}");
    assert!(listed.contains("(Deferred: temporary failure)"), "{listed}");
    assert!(listed.ends_with("\t\tTotal requests: 1\n"), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&site.mailq(&["--json"])).unwrap();
    let id = json["id"].as_str().unwrap();
    assert!(site.mailq(&["show", id]).contains("hello"));
    site.mailq(&["hold", id]);
    assert!(site.mailq(&[]).contains(&format!("{id}H")));
    site.mailq(&["remove", id]);
    assert!(site.mailq(&[]).contains("is empty"));
}

#[test]
fn a_user_whose_programs_are_slow_keeps_nobody_else_waiting() {
    let site = start("", |root| {
        let program = format!(
            "\"|echo begun >> {0}/open/slow; until test -e {0}/open/go; do sleep 0.1; done\"\n",
            root.display()
        );
        fs::write(root.join("home/bob/.forward"), program).unwrap();
        let _ = std::os::unix::fs::chown(root.join("home/bob/.forward"), Some(somebody()), None);
    });
    for _ in 0..40 {
        site.send("bob");
    }
    site.text_with("open/slow", "begun\nbegun\nbegun\nbegun\n");
    site.send("ann");
    site.text_with("var/mail/ann", "hello");
    let begun = site.text_with("open/slow", "begun").lines().count();
    fs::write(site.root.path().join("open/go"), "").unwrap();
    assert_eq!(begun, 4);
    site.listed_until(|listed| listed.contains("is empty"));
    let begun = site.text_with("open/slow", "begun").lines().count();
    assert_eq!(begun, 40);
}

#[test]
fn mail_waits_for_mailboxes_that_are_not_mounted() {
    let site = start("todir: /open/bob/Maildir/\n", |root| {
        fs::rename(root.join("var/mail"), root.join("var/unmounted")).unwrap();
    });
    for to in ["bob", "todir"] {
        site.send(to);
    }
    let deferred = |listed: &str| listed.matches("(Deferred: ").count() == 2;
    let listed = site.listed_until(deferred);
    assert!(listed.contains("/open/bob/Mail"), "{listed}");
    let root = site.root.path();
    assert!(!root.join("open/bob").exists());
    fs::rename(root.join("var/unmounted"), root.join("var/mail")).unwrap();
    fs::create_dir(root.join("open/bob")).unwrap();
    fs::set_permissions(root.join("open/bob"), fs::Permissions::from_mode(0o777)).unwrap();
    site.mailq(&["run"]);
    site.text_with("var/mail/bob", "hello");
    site.listed_until(|listed| listed.contains("is empty"));
}

#[test]
fn what_is_being_delivered_at_the_end_is_not_delivered_again() {
    let program =
        "echo begun >> {ROOT}/open/slow; until test -e {ROOT}/open/go; do sleep 0.1; done";
    let mut site = start(&format!("slow: \"|{program}\"\n"), |_| {});
    site.send("slow");
    site.text_with("open/slow", "begun");
    site.server.terminate();
    while TcpStream::connect(("127.0.0.1", site.server.port)).is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    fs::write(site.root.path().join("open/go"), "").unwrap();
    site.server.wait();
    let listed = site.mailq(&[]);
    assert!(listed.contains("is empty"), "{listed}");
}

#[test]
fn mailq_says_why_a_recipient_is_not_known_yet() {
    let site = start("staff: :include:/etc/mail/staff\n", |root| {
        fs::write(root.join("etc/mail/staff"), "# nobody yet\n").unwrap();
    });
    site.send("staff");
    let why = "(Deferred: a list without members)";
    site.listed_until(|listed| listed.contains(why));
    assert!(site.mailq(&["-v"]).contains(why));
    let json = site.mailq(&["--json"]);
    assert!(
        json.contains("\"last\":\"a list without members\""),
        "{json}"
    );
    // Once it has members nothing is left of that.
    fs::write(site.root.path().join("etc/mail/staff"), "bob\n").unwrap();
    site.mailq(&["run"]);
    site.text_with("var/mail/bob", "hello");
    site.listed_until(|listed| listed.contains("is empty"));
}
