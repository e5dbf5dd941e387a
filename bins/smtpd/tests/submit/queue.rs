//! `-q` and `-bp`, with a server and without one.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::site::Site;

fn is_deferred(site: &Site, count: usize) -> bool {
    site.mailq(&[]).matches("(Deferred").count() == count
}

/// How often each message was tried, by its sender.
fn tries(site: &Site) -> Vec<(String, u64)> {
    let text = site.mailq(&["--json"]);
    let rows = text.lines().filter(|line| line.starts_with('{'));
    let mut all: Vec<(String, u64)> = rows
        .map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            (
                row["sender"].as_str().unwrap().to_owned(),
                row["tries"].as_u64().unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

fn of(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect()
}

#[test]
fn the_server_runs_what_is_asked_for() {
    let site = Site::with_server();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    site.sendmail(&["-f", "ann@x.example", "later"], b"Subject: x\n\n2\n");
    site.until("both were tried", |s| is_deferred(s, 2));
    assert_eq!(site.sendmail_as_owner(&["-qSjoe"]).status.code(), Some(0));
    let want = of(&[("ann@x.example", 1), ("joe@x.example", 2)]);
    site.until("joe's was tried again", |s| tries(s) == want);
    assert_eq!(
        site.sendmail_as_owner(&["-q!Sjoe", "-qRlater"])
            .status
            .code(),
        Some(0)
    );
    let want = of(&[("ann@x.example", 2), ("joe@x.example", 2)]);
    site.until("ann's was tried again", |s| tries(s) == want);
    assert_eq!(
        site.sendmail_as_owner(&["-qSnobody"]).status.code(),
        Some(0)
    );
    assert_eq!(site.sendmail_as_owner(&["-q"]).status.code(), Some(0));
    let want = of(&[("ann@x.example", 3), ("joe@x.example", 3)]);
    site.until("both were tried again", |s| tries(s) == want);
}

#[test]
fn without_a_server_one_run_is_made() {
    let site = Site::new();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    site.sendmail(&["-f", "ann@x.example", "box"], b"Subject: x\n\n2\n");
    let listed = site.sendmail_as_owner(&["-bp"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("MSP Queue status...\n\t\t"), "{listed}");
    assert!(listed.contains(" (2 requests)\n"), "{listed}");
    assert!(listed.ends_with("\t\tTotal requests: 0\n"), "{listed}");
    // As the packages' mailq asks for one after the other.
    let part = |which: &str| {
        let out = site.sendmail_as_owner(&["-bp", which]);
        String::from_utf8(out.stdout).unwrap()
    };
    let (client, server) = (part("-Ac"), part("-Am"));
    assert!(client.ends_with("\t\tTotal requests: 2\n"), "{client}");
    assert_eq!(client.lines().count(), 4, "{client}");
    assert!(server.contains("mqueue is empty\n"), "{server}");
    assert_eq!(server.lines().count(), 2, "{server}");
    let out = site.sendmail_as_owner(&["-q", "-v"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert!(
        said.contains("stat=Sent") && said.contains("Deferred"),
        "{said}"
    );
    assert!(site.read("open/box").contains("\n2\n"));
    assert_eq!(tries(&site), of(&[("joe@x.example", 1)]));
    let listed = site.sendmail_as_owner(&["-bp"]);
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("(1 request)")
    );
    let client = part("-Ac");
    assert!(
        client.contains(" is empty\n\t\tTotal requests: 0\n"),
        "{client}"
    );
}

#[test]
fn a_faulty_configuration_is_not_acted_on() {
    let mut site = Site::with_server();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    site.until("it was tried", |s| is_deferred(s, 1));
    site.kill();
    let mc = site.root().join("etc/mail/sendmail.mc");
    let good = fs::read_to_string(&mc).unwrap();
    let lines = good.lines().count();
    let run = |args: &[&str]| {
        let out = site.sendmail_as_owner(args);
        let said = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(said).unwrap())
    };
    for fault in ["define(`X', `unfinished\n", "FEATURE(nonsense)dnl\n"] {
        fs::write(&mc, format!("{good}{fault}")).unwrap();
        for args in [&["-q"][..], &["-qRlater"], &["-qSjoe", "-v"]] {
            let (exit, said) = run(args);
            assert_eq!(exit, Some(78), "{said}");
            let finding = format!("sendmail.mc:{}: error: ", lines + 1);
            assert!(said.contains(&finding), "{said}");
        }
    }
    fs::remove_file(&mc).unwrap();
    let (exit, said) = run(&["-q"]);
    assert_eq!(exit, Some(72), "{said}");
    let direct = Command::new(site.root().join("bin/smtpd"))
        .args(["run-queue", "--root"])
        .arg(site.root())
        .arg("[]")
        .output()
        .unwrap();
    assert_eq!(direct.status.code(), Some(72));
    fs::write(&mc, &good).unwrap();
    assert_eq!(tries(&site), of(&[("joe@x.example", 1)]));
    assert_eq!(run(&["-q"]).0, Some(0));
    assert_eq!(tries(&site), of(&[("joe@x.example", 2)]));
}

#[test]
fn only_those_who_wait_are_listed_and_the_log_says_who_got_it() {
    let site = Site::new();
    let aliases = site.root().join("etc/mail/aliases");
    let text = format!(
        "{}crew: box, later\n",
        fs::read_to_string(&aliases).unwrap()
    );
    fs::write(&aliases, text).unwrap();
    smtpd::tables::build_aliases(&aliases).unwrap();
    site.sendmail(
        &["-f", "joe@x.example", "crew", "nosuchuser"],
        b"Subject: x\n\n1\n",
    );
    let out = site.sendmail_as_owner(&["-q", "-v"]);
    let log = String::from_utf8(out.stderr).unwrap();
    for line in [
        "to=/open/box, orig_to=<crew@mx.test.example>",
        "to=\"|exit 75\", orig_to=<crew@mx.test.example>",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    let listed = site.mailq(&[]);
    let entry: Vec<&str> = listed.lines().filter(|l| l.starts_with("\t\t\t")).collect();
    let joe = listed.find("<joe@x.example>").unwrap();
    assert!(
        joe > 0 && entry.iter().any(|l| l.trim() == "\"|exit 75\""),
        "{listed}"
    );
    for gone in ["/open/box", "<crew", "<nosuchuser"] {
        assert!(!entry.iter().any(|l| l.contains(gone)), "{gone}: {listed}");
    }
    let all = site.sendmail_as_owner(&["-bp", "-v"]);
    let all = String::from_utf8(all.stdout).unwrap();
    assert!(
        all.contains("/open/box: sent") && all.contains("next try"),
        "{all}"
    );
}

#[test]
fn what_is_to_be_done_with_messages_is_not_asked_of_bp() {
    let site = Site::new();
    let out = site.sendmail_as_owner(&["-bp", "hold", "kBQ95101000596"]);
    assert_eq!(out.status.code(), Some(64));
    let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    assert!(said.contains("mapctl queue hold"), "{said}");
}

/// What our mailq says, and its exit code.
fn mailq_says(site: &Site, args: &[&str]) -> (Option<i32>, String) {
    let mut mailq = Command::new(env!("CARGO_BIN_EXE_mailq"));
    let out = mailq.arg("--root").arg(site.root()).args(args).output();
    let out = out.unwrap();
    let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    (out.status.code(), said)
}

#[test]
fn what_is_not_done_is_not_said_to_be() {
    let site = Site::new();
    for verb in ["show", "hold", "release", "remove"] {
        let (exit, said) = mailq_says(&site, &[verb, "kBQ95101000596"]);
        let want = "mailq: kBQ95101000596: no such message in the queue\n";
        assert_eq!((exit, said.as_str()), (Some(69), want), "{verb}");
    }
    let folder = site.root().join("along");
    let (exit, said) = mailq_says(&site, &["export", folder.to_str().unwrap()]);
    assert_eq!(exit, Some(66), "{said}");
    assert!(said.ends_with("/var/spool/mqueue: there is no queue\n"));
    assert!(!folder.exists());
    assert_eq!(mailq_says(&site, &["list"]).0, Some(0));
    assert_eq!(mailq_says(&site, &["list", "kBQ95101000596"]).0, Some(64));
    // Nobody is there to try anything, whether or not there is a queue.
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    for _ in 0..2 {
        let (exit, said) = mailq_says(&site, &["run"]);
        assert_eq!(exit, Some(69), "{said}");
        assert!(
            said.starts_with("mailq: no server runs; sendmail -q "),
            "{said}"
        );
        assert_eq!(site.sendmail_as_owner(&["-q"]).status.code(), Some(0));
    }
}

#[test]
fn the_queue_that_is_named_is_listed_and_run_and_no_other() {
    let site = Site::new();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    site.sendmail(&["-f", "ann@x.example", "later"], b"Subject: x\n\n2\n");
    assert_eq!(site.sendmail_as_owner(&["-q"]).status.code(), Some(0));
    site.sendmail(&["-f", "eve@x.example", "later"], b"Subject: x\n\n3\n");
    let own = of(&[("ann@x.example", 1), ("joe@x.example", 1)]);
    let says = |args: &[&str]| {
        let out = site.sendmail_as_owner(args);
        let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
        (out.status.code(), said)
    };
    let named = ["-OQueueDirectory=/var/spool/other", "-oQ/var/spool/other"];
    for option in named {
        let empty = "/var/spool/other is empty\n\t\tTotal requests: 0\n".to_owned();
        assert_eq!(says(&[option, "-bp"]), (Some(0), empty));
        let (exit, said) = says(&[option, "-q"]);
        assert_eq!(exit, Some(78), "{said}");
        assert!(said.ends_with("/var/spool/other: there is no queue\n"));
    }
    let spool = site.root().join("var/spool");
    let mut copy = Command::new("cp");
    copy.arg("-a")
        .args([spool.join("mqueue"), spool.join("other")]);
    assert!(copy.status().unwrap().success());
    for (times, option) in (2..).zip(named) {
        let (exit, said) = says(&[option, "-qSjoe"]);
        assert_eq!(exit, Some(0), "{said}");
        let (_, said) = says(&[option, "-bp", "-v"]);
        assert!(said.contains("(2 requests)"), "{said}");
        assert_eq!(said.matches(&format!("tried {times} times")).count(), 1);
    }
    // Nothing was done to the site's own, nor taken for another.
    assert_eq!(tries(&site), own);
    assert_eq!(site.dropped("msg").len(), 1);
    // A part of it is listed.
    let (_, said) = says(&["-bp", "-Am", "-qSjoe"]);
    assert!(
        said.contains("(1 request)") && said.contains("<joe@x.example>"),
        "{said}"
    );
    let (_, said) = says(&["-bp", "-q!Sjoe"]);
    assert!(said.starts_with("MSP Queue status"), "{said}");
    assert!(
        said.contains("<ann@x.example>") && !said.contains("joe@"),
        "{said}"
    );
    // Either of the two by mailq.
    let (exit, client) = mailq_says(&site, &["-Ac"]);
    assert_eq!(exit, Some(0), "{client}");
    assert!(client.contains("clientmqueue (1 request)"), "{client}");
    let (exit, server) = mailq_says(&site, &["-Am"]);
    assert_eq!(exit, Some(0), "{server}");
    assert!(server.contains("mqueue (2 requests)"), "{server}");
    for args in [
        ["-Ac", "hold", "x"].as_slice(),
        &["-Ac", "--json"],
        &["-Ax"],
    ] {
        assert_eq!(mailq_says(&site, args).0, Some(64), "{args:?}");
    }
}

#[test]
fn one_message_is_run() {
    let site = Site::with_server();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    site.sendmail(&["-f", "ann@x.example", "later"], b"Subject: x\n\n2\n");
    site.until("both were tried", |s| is_deferred(s, 2));
    let queued = site.queued();
    let (joe, _) = queued.iter().find(|(_, s)| s == "joe@x.example").unwrap();
    assert_eq!(mailq_says(&site, &["run", joe]), (Some(0), String::new()));
    let want = of(&[("ann@x.example", 1), ("joe@x.example", 2)]);
    site.until("joe's was tried again", |s| tries(s) == want);
    let (exit, said) = mailq_says(&site, &["run", "kBQ95101000596"]);
    assert_eq!(exit, Some(69), "{said}");
    assert_eq!(mailq_says(&site, &["hold", joe]).0, Some(0));
    let (exit, said) = mailq_says(&site, &["run", joe]);
    assert_eq!(exit, Some(69), "{said}");
    assert!(said.contains("held; release lets it go"), "{said}");
}

#[test]
fn a_queue_that_others_may_look_at_and_not_open_is_closed_to_them() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let site = Site::new();
    site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\n1\n");
    assert_eq!(site.sendmail_as_owner(&["-q"]).status.code(), Some(0));
    let queue = site.root().join("var/spool/mqueue");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&queue, mode).unwrap();
    for name in ["lock", "queue.redb"] {
        // sendmail's user is a caller too, so nobody's but root's.
        std::os::unix::fs::chown(queue.join(name), Some(0), Some(0)).unwrap();
    }
    // By this name it is mailq.
    let mailq = site.root().join("bin/mailq");
    std::os::unix::fs::symlink("sendmail", &mailq).unwrap();
    for args in [&[][..], &["hold", "x"], &["export", "/nonexistent/x"]] {
        let mut command = Command::new(&mailq);
        command.arg("--root").arg(site.root()).args(args);
        let out = crate::site::run(command, b"");
        let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
        assert_eq!(out.status.code(), Some(77), "{args:?}: {said}");
        assert!(said.contains("only root and the server's user"), "{said}");
    }
}

#[test]
fn what_waits_can_be_taken_along() {
    let mut site = Site::with_server();
    site.sendmail(
        &["-f", "joe@x.example", "later"],
        b"Subject: x\n\nto be kept\n",
    );
    site.sendmail(&["-f", "<>", "later"], b"Subject: y\n\nsecond\n");
    site.until("both were tried", |s| is_deferred(s, 2));
    let folder = site.root().join("along");
    let export = |site: &Site| {
        let out = Command::new(env!("CARGO_BIN_EXE_mailq"))
            .arg("--root")
            .arg(site.root())
            .arg("export")
            .arg(&folder)
            .output()
            .unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(said).unwrap())
    };
    assert_eq!(export(&site).0, Some(75));
    site.kill();
    let (exit, said) = export(&site);
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.starts_with("2 written to "), "{said}");
    let mut found: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    found.sort_by_key(String::len);
    assert_eq!(found[0], "<>\n");
    assert_eq!(found[1], "<joe@x.example>\n");
    assert_eq!(found[2], "<later@mx.test.example>\n");
    assert_eq!(found[3], found[2]);
    assert!(
        found[4..]
            .iter()
            .any(|t| t.ends_with("\n\nto be kept\n") && !t.contains('\r'))
    );
    // Nothing is written over.
    assert_eq!(export(&site).0, Some(73));
    assert_eq!(site.queued().len(), 2);
}

#[test]
fn a_message_that_cannot_be_read_keeps_no_other_from_being_taken_along() {
    let mut site = Site::with_server();
    let big = format!("Subject: big\n\n{}", "x\n".repeat(200_000));
    site.sendmail(&["-f", "big@x.example", "later"], big.as_bytes());
    site.until("the large one was tried", |s| is_deferred(s, 1));
    for n in 0..2 {
        site.sendmail(&["-f", "joe@x.example", "later"], b"Subject: x\n\nsmall\n");
        site.until("it was tried", |s| is_deferred(s, n + 2));
    }
    site.kill();
    let large = fs::read_dir(site.root().join("var/spool/mqueue/large")).unwrap();
    let large = large.map(|entry| entry.unwrap().path()).next().unwrap();
    let id = large.file_name().unwrap().to_str().unwrap().to_owned();
    let half = fs::File::options().write(true).open(&large).unwrap();
    half.set_len(200_000).unwrap();
    let folder = site.root().join("along");
    let export = || {
        let out = Command::new(env!("CARGO_BIN_EXE_mailq"))
            .args(["--root".as_ref(), site.root(), "export".as_ref(), &folder])
            .output()
            .unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(said).unwrap())
    };
    let (exit, said) = export();
    assert_eq!(exit, Some(73), "{said}");
    assert!(said.contains("2 written to "), "{said}");
    assert!(said.contains(&format!("mailq: {id}: ")), "{said}");
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string());
        names.map(Result::unwrap).collect()
    };
    assert_eq!(names().len(), 6, "{:?}", names());
    assert!(!names().iter().any(|name| name.starts_with(&id)));
    // What can't be read is not there at all.
    fs::remove_file(&large).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(export().0, Some(73));
    assert_eq!(names().len(), 6, "{:?}", names());
    // It can be put aside, as the README says.
    let hold = Command::new(env!("CARGO_BIN_EXE_mailq"))
        .args(["--root".as_ref(), site.root()])
        .args(["hold", &id])
        .status();
    assert!(hold.unwrap().success());
    fs::remove_dir_all(&folder).unwrap();
    let (exit, said) = export();
    assert_eq!(exit, Some(0), "{said}");
}

/// The lines of a file from the one that begins so to the one that is so.
fn lines_of(file: &str, first: &str, last: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(str::trim);
    let lines = lines.skip_while(|line| !line.starts_with(first));
    let mut taken: Vec<&str> = Vec::new();
    for line in lines {
        taken.push(line);
        if line == last {
            break;
        }
    }
    taken.join("\n")
}

#[test]
fn what_was_taken_along_is_sent_whole_however_many_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    // As sendmail is called: says how much it was given, and takes no bad sender.
    let sendmail = "#!/bin/sh\ncat | wc -c >> \"$OUT\"\n[ \"$4\" != '<bad@x.example>' ]\n";
    fs::write(dir.path().join("sendmail"), sendmail).unwrap();
    let all: String = (0..5000)
        .map(|n| format!("<a-rather-long-name-{n:04}@some-host.example.org>\n"))
        .collect();
    let readme = lines_of("README.md", "for m in $(ls /root/waiting", "done");
    let page = lines_of("man/mailq.1", "cd /root/waiting &&", "done").replace("\\e", "\\");
    for (of, commands) in [("README.md", readme), ("mailq.1", page)] {
        let waiting = dir.path().join(of);
        fs::create_dir(&waiting).unwrap();
        for (id, from) in [("1", "<joe@x.example>\n"), ("2", "<bad@x.example>\n")] {
            fs::write(waiting.join(format!("{id}.eml")), "Subject: x\n\ntext\n").unwrap();
            fs::write(waiting.join(format!("{id}.from")), from).unwrap();
            fs::write(waiting.join(format!("{id}.to")), &all).unwrap();
        }
        let out = dir.path().join(format!("{of}.out"));
        let commands = commands.replace("/root/waiting", waiting.to_str().unwrap());
        let script = format!(
            "chmod 755 {0}/sendmail; PATH={0}:$PATH\n{commands}",
            dir.path().display()
        );
        let run = Command::new("sh")
            .arg("-c")
            .arg(&script)
            .env("OUT", &out)
            .status();
        run.unwrap();
        let given = fs::read_to_string(&out).unwrap();
        let given: Vec<&str> = given.lines().map(str::trim).collect();
        assert!(given.len() > 2, "{of}: {given:?}");
        assert!(
            given.iter().all(|octets| *octets == "17"),
            "{of}: {given:?}"
        );
        let left = |name: &str| waiting.join(name).exists();
        let there = ["1.eml", "1.to", "2.eml", "2.to"].map(left);
        assert_eq!(there, [false, false, true, true], "{of}");
    }
}
