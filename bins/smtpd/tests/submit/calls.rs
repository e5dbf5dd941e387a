//! Calls whose outcome is more than a message.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::site::{Site, caller, run};

const MESSAGE: &[u8] = b"Subject: x\n\nbody\n";

#[test]
fn a_message_waits_until_a_server_comes() {
    let mut site = Site::new();
    let out = site.sendmail(&["box"], MESSAGE);
    assert_eq!((out.status.code(), out.stdout.len()), (Some(0), 0));
    let dropped = site.dropped("msg");
    assert_eq!(dropped.len(), 1);
    let metadata = fs::metadata(&dropped[0]).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (caller(), 0o660));
    site.start();
    site.until("the message", |s| s.read("open/box").contains("body"));
    assert!(site.dropped("msg").is_empty());
    let text = site.read("open/box");
    assert!(text.contains("Received: (from bob@localhost)\n"), "{text}");
}

#[test]
fn of_a_long_message_id_the_beginning_is_logged() {
    let site = Site::with_server();
    let id = format!("{}\n ", "x".repeat(60)).repeat(300);
    let text = format!("Message-Id: <{id}>\nSubject: x\n\nbody\n");
    site.sendmail(&["box"], text.as_bytes());
    site.until("the line", |s| s.log().contains("msgid=<xxx"));
    let log = site.log();
    let line = log.lines().find(|line| line.contains("msgid=")).unwrap();
    assert!(line.contains(", relay=bob@localhost"), "{line}");
    assert!(line.len() < 1_000, "{}", line.len());
}

#[test]
fn nobody_needs_a_name_and_the_environment_gives_none() {
    let site = Site::with_server();
    site.sendmail(&["box"], MESSAGE);
    site.until("the message", |s| s.read("open/box").contains("body"));
    let text = site.read("open/box");
    assert!(
        text.contains("\nFrom: Bob Builder <bob@mx.test.example>\n"),
        "{text}"
    );
    assert!(!text.contains("Nobody Asked"), "{text}");
    // A number that is nobody's, as in a container.
    fs::write(site.root().join("etc/passwd"), "").unwrap();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let known = |line: &str| line.split(':').nth(2) == Some(&caller().to_string());
    if !passwd.lines().any(known) {
        let mut site = Site::new();
        fs::write(
            site.root().join("etc/passwd"),
            "ann:x:2002:2002::/:/bin/sh\n",
        )
        .unwrap();
        assert_eq!(site.sendmail(&["box"], MESSAGE).status.code(), Some(0));
        site.start();
        site.until("the message", |s| s.read("open/box").contains("body"));
        let text = site.read("open/box");
        assert!(
            text.starts_with("From postmaster@mx.test.example "),
            "{text}"
        );
    }
}

#[test]
fn a_folder_that_can_t_be_written_is_no_success() {
    let site = Site::new();
    let elsewhere = site.root().join("etc/mail/submit.mc");
    let folder = |path: &str| {
        let text = format!("define(`MSP_QUEUE_DIR', `{path}')dnl\nFEATURE(`msp')dnl\n");
        fs::write(&elsewhere, text).unwrap();
    };
    folder("/etc/hosts/folder");
    let out = site.sendmail(&["box"], MESSAGE);
    assert_eq!(out.status.code(), Some(72));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("etc/hosts/folder: Not a directory"), "{said}");
    folder("/locked");
    fs::create_dir(site.root().join("locked")).unwrap();
    fs::set_permissions(
        site.root().join("locked"),
        fs::Permissions::from_mode(0o500),
    )
    .unwrap();
    let out = site.sendmail(&["box"], MESSAGE);
    assert_eq!(out.status.code(), Some(78));
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        said.ends_with(
            "/locked: Permission denied (--root gives up the group's right)\n\
             Program mode requires special privileges, e.g., root or TrustedUser.\n"
        ),
        "{said}"
    );
    assert!(site.dropped("msg").is_empty());
}

#[test]
fn whoever_may_make_the_folder_needs_no_server_for_it() {
    let site = Site::new();
    fs::remove_dir(site.drop_folder()).unwrap();
    let out = site.sendmail_as_owner(&["box"]);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(site.dropped("msg").len(), 1);
    let mode = fs::metadata(site.drop_folder()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o770);
}

#[test]
fn submit_mc_names_the_folder_and_trusted_users() {
    let mut site = Site::new();
    let text = "define(`MSP_QUEUE_DIR', `/open/drop')dnl\ndefine(`confTRUSTED_USERS', `bob')dnl\nFEATURE(`msp')dnl\n";
    fs::write(site.root().join("etc/mail/submit.mc"), text).unwrap();
    let folder = site.root().join("open/drop");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(
        site.sendmail(&["-f", "x@y.example", "box"], MESSAGE)
            .status
            .code(),
        Some(0)
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    site.start();
    site.until("the message", |s| s.read("open/box").contains("body"));
    let text = site.read("open/box");
    assert!(text.starts_with("From x@y.example "), "{text}");
    assert!(!text.contains("X-Authentication-Warning"), "{text}");
}

/// Puts a line into `sendmail.mc`, before the first feature.
fn configure(site: &Site, line: &str) {
    let mc = site.root().join("etc/mail/sendmail.mc");
    let text = fs::read_to_string(&mc).unwrap();
    fs::write(
        &mc,
        text.replacen("FEATURE", &format!("{line}\nFEATURE"), 1),
    )
    .unwrap();
}

/// As sendmail 8.17 does, which was asked the same.
#[test]
fn a_temporary_refusal_is_no_fault_of_the_address() {
    for (luser, exit, want) in [
        (
            "error:4.2.1:\"450 try later\"",
            0,
            "no.such... try later\n\
             no.such... deliverable: mailer *error*, host 4.2.1, user 450 try later\n",
        ),
        (
            "error:5.4.1:550 no",
            0,
            "no.such... no\n\
             no.such... deliverable: mailer *error*, host 5.4.1, user 550 no\n",
        ),
        ("error:5.1.1:550 no", 67, "no.such... no\n"),
        ("error:no", 69, "no.such... no\n"),
    ] {
        let site = Site::new();
        configure(&site, &format!("define(`LUSER_RELAY', `{luser}')dnl"));
        let out = site.sendmail(&["-bv", "no.such"], b"");
        assert_eq!(String::from_utf8_lossy(&out.stdout), want, "{luser}");
        assert_eq!(out.status.code(), Some(exit), "{luser}");
    }
}

#[test]
fn who_may_not_run_the_queue_is_told_so() {
    let not_allowed = "Program mode requires special privileges, e.g., root or TrustedUser.\n";
    for (flags, exit, more) in [
        ("authwarnings", 78, ""),
        (
            "restrictqrun",
            77,
            "You do not have permission to process the queue\n",
        ),
    ] {
        let site = Site::new();
        configure(&site, &format!("define(`confPRIVACY_FLAGS', `{flags}')dnl"));
        let queue = site.root().join("var/spool/mqueue");
        fs::create_dir(&queue).unwrap();
        fs::set_permissions(&queue, fs::Permissions::from_mode(0o000)).unwrap();
        let out = site.sendmail(&["-q"], b"");
        let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
        assert_eq!(out.status.code(), Some(exit), "{flags}: {said}");
        assert!(said.ends_with(&format!("{not_allowed}{more}")), "{said}");
    }
}

#[test]
fn sendmail_mc_names_trusted_users() {
    for line in [
        "define(`confTRUSTED_USERS', `bob')dnl\n",
        "define(`confCT_FILE', `/etc/mail/trusted-users')dnl\nFEATURE(`use_ct_file')dnl\n",
    ] {
        let mut site = Site::new();
        let mc = site.root().join("etc/mail/sendmail.mc");
        let text = fs::read_to_string(&mc).unwrap();
        fs::write(&mc, text.replacen("FEATURE", &format!("{line}FEATURE"), 1)).unwrap();
        fs::write(site.root().join("etc/mail/trusted-users"), "bob\n").unwrap();
        site.sendmail(&["-f", "x@y.example", "box"], MESSAGE);
        site.start();
        site.until("the message", |s| s.read("open/box").contains("body"));
        let text = site.read("open/box");
        assert!(!text.contains("X-Authentication-Warning"), "{line}{text}");
    }
}

#[test]
fn sizes_have_limits() {
    let site = Site::new();
    let mc = site.root().join("etc/mail/sendmail.mc");
    let text = fs::read_to_string(&mc).unwrap();
    fs::write(
        &mc,
        format!("define(`confMAX_MESSAGE_SIZE', `100000')dnl\n{text}"),
    )
    .unwrap();
    let large = vec![b'x'; 100_001];
    let out = site.sendmail(&["box"], &[MESSAGE, &large].concat());
    assert_eq!(out.status.code(), Some(69));
    assert_eq!(out.stdout, b"Message exceeds maximum fixed size (100000)\n");
    assert!(site.dropped("msg").is_empty() && site.dropped("tmp").is_empty());
    let fits = vec![b'x'; 99_000];
    assert_eq!(
        site.sendmail(&["box"], &[MESSAGE, &fits].concat())
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn what_sendmail_takes_for_a_header_the_server_does_too() {
    let site = Site::with_server();
    let line = "eHl6".repeat(20_000);
    let out = site.sendmail(&["box"], line.as_bytes());
    assert_eq!(out.status.code(), Some(0));
    site.until("the message", |s| s.read("open/box").contains(&line));
    let header = format!("X: {}\r\n", "y".repeat(1000)).repeat(40);
    let session = format!(
        "HELO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<box>\r\nDATA\r\n{header}\r\nbody\r\n.\r\nQUIT\r\n"
    );
    let out = site.sendmail(&["-bs"], session.as_bytes());
    let said = String::from_utf8_lossy(&out.stdout);
    let refused = "\r\n552 5.6.0 Headers too large (32768 max)\r\n221 ";
    assert!(said.contains(refused), "{said}");
    assert!(site.dropped("bad").is_empty() && site.dropped("tmp").is_empty());
}

#[test]
fn a_large_message_arrives_whole() {
    let site = Site::with_server();
    let line = "0123456789abcdef".repeat(4) + "\n";
    let body = line.repeat(20_000);
    let out = site.sendmail(&["-i", "box"], format!("Subject: x\n\n{body}").as_bytes());
    assert_eq!(out.status.code(), Some(0));
    site.until("the message", |s| s.read("open/box").len() > body.len());
    site.until("all of it", |s| s.queued().is_empty());
    assert!(site.read("open/box").contains(&body));
}

#[test]
fn a_site_with_faults_takes_mail_all_the_same() {
    let site = Site::new();
    let mc = site.root().join("etc/mail/sendmail.mc");
    let text = fs::read_to_string(&mc).unwrap();
    fs::write(&mc, format!("{text}FEATURE(`no_such_feature')dnl\n")).unwrap();
    assert_eq!(site.sendmail(&["box"], MESSAGE).status.code(), Some(0));
    assert_eq!(site.dropped("msg").len(), 1);
    fs::remove_file(&mc).unwrap();
    let out = site.sendmail(&["box"], MESSAGE);
    assert_eq!(out.status.code(), Some(72));
    assert!(
        String::from_utf8_lossy(&out.stdout)
            .ends_with("line 0: cannot open: No such file or directory\n")
    );
}

#[test]
fn other_names_are_other_programs() {
    let site = Site::new();
    let as_name = |name: &str| {
        let link = site.root().join("bin").join(name);
        let _ = std::os::unix::fs::symlink("sendmail", &link);
        let mut command = Command::new(link);
        command.arg("--root").arg(site.root());
        command
    };
    let out = as_name("newaliases").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("aliases: 9 aliases, longest"), "{said}");
    let out = as_name("mailq").args(["show", "nosuch"]).output().unwrap();
    assert_eq!(out.status.code(), Some(69), "no queue, no such message");
    let out = as_name("mailq").arg("--json").output().unwrap();
    assert_eq!((out.status.code(), out.stdout.len()), (Some(0), 0));
    let out = as_name("mailq").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.ends_with("\t\tTotal requests: 0\n"), "{said}");
    // mapctl queue knows by this that it is ours.
    let out = Command::new(site.root().join("bin/mailq"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(out.stdout.starts_with(b"mailq "), "{out:?}");
    for name in ["hoststat", "purgestat"] {
        let out = run(as_name(name), b"");
        assert_eq!(out.status.code(), Some(69));
    }
}

#[test]
fn help_and_version_and_identity() {
    let site = Site::new();
    let said = |args: &[&str]| {
        let out = site.sendmail(args, b"");
        assert_eq!(out.status.code(), Some(0), "{args:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(said(&["--help"]).contains("\n  -oXVALUE") || said(&["--help"]).contains("-o XVALUE"));
    assert!(said(&["--version"]).starts_with("sendmail 0."));
    let text = said(&["-d0.1", "-bv", "bob"]);
    assert!(text.starts_with("Version 0."), "{text}");
    assert!(
        text.contains("(canonical domain name) $j = mx.test.example\n"),
        "{text}"
    );
    assert!(
        text.ends_with("bob... deliverable: mailer local, user bob\n"),
        "{text}"
    );
}

#[test]
fn who_has_a_forward_file_is_named_where_addresses_are_verified() {
    let site = Site::new();
    let passwd = "ann:x:7:7::/home/ann:/bin/sh\nbob:x:8:8::/home/bob:/bin/sh\n";
    fs::write(site.root().join("etc/passwd"), passwd).unwrap();
    let home = site.root().join("home/bob");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join(".forward"), "ann\n").unwrap();
    let said = |to: &str| {
        let out = site.sendmail(&["-bv", to], b"");
        assert_eq!(out.status.code(), Some(0), "{to}");
        String::from_utf8(out.stdout).unwrap()
    };
    let bob = "bob... deliverable: mailer local, user bob\n";
    let has = "bob... has /home/bob/.forward, not followed\n";
    assert_eq!(said("bob"), format!("{bob}{has}"));
    for to in ["ann", "\\bob"] {
        assert!(!said(to).contains("has"), "{}", said(to));
    }
}

/// What sendmail 8.17 did when it was called as `sendmail -bi`.
#[test]
fn recorded_cases_of_sendmail() {
    let recorded = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/conformance/tools.jsonl"
    );
    let recorded = fs::read_to_string(recorded).unwrap();
    let cases = recorded
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|case| case["steps"][0]["argv"][0] == "sendmail");
    let mut count = 0;
    for case in cases {
        count += 1;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = |text: &serde_json::Value| {
            let text = text.as_str().unwrap();
            text.replace("{DIR}", folder.path().to_str().unwrap())
        };
        for (name, text) in case["files"].as_object().unwrap() {
            fs::write(folder.path().join(name), place(text)).unwrap();
        }
        let step = &case["steps"][0];
        let args = step["argv"].as_array().unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_sendmail"))
            .current_dir(folder.path())
            .args(args.iter().skip(1).map(place))
            .output()
            .unwrap();
        let id = &case["id"];
        assert_eq!(
            out.status.code().map(i64::from),
            step["exit"].as_i64(),
            "{id}"
        );
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            place(&step["stdout"]),
            "{id}"
        );
        let map = libmaps::store::open(&folder.path().join("aliases.db")).unwrap();
        let found = libmaps::map::Map::get(&*map, b"a").unwrap();
        assert_eq!(found.unwrap().as_bytes(), b"b", "{id}");
    }
    assert_eq!(count, 2);
}
