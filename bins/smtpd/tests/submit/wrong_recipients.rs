//! Recipients whose addresses are wrong: the sender hears of them, and gets his text back.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use smtpd::drop::file::open;
use smtpd::drop::submission::Submission;
use smtpd::tables;

use crate::site::Site;

const MESSAGE: &[u8] = b"Subject: x\n\nthe text\n";

/// What was dropped, one message at the most.
fn dropped(site: &Site) -> Option<Submission> {
    let files = site.dropped("msg");
    assert!(files.len() < 2, "{files:?}");
    let submission = open(files.first()?).unwrap().submission;
    fs::remove_file(&files[0]).unwrap();
    Some(submission)
}

/// Addresses and faults of those that are told of by mail.
fn faults(submission: &Submission) -> Vec<String> {
    let faulty = submission.faulty.iter();
    faulty
        .map(|f| format!("{} {} {}", f.address.shown(), f.status, f.text))
        .collect()
}

#[test]
fn the_sender_gets_a_notice_with_his_text() {
    let site = Site::with_server();
    for (args, text, said, exit, told) in [
        (
            ["-f", "box", "zoe@"].as_slice(),
            MESSAGE,
            "zoe@... Hostname required\n",
            64,
            ["zoe@... Hostname required", "Status: 5.1.3"],
        ),
        (
            &["-f", "box", "-t"],
            b"To: zoe (never closed, ann\n\nthe text\n",
            "zoe (never closed, ann... Unbalanced '('\n",
            64,
            ["Unbalanced '('", "Status: 5.1.3"],
        ),
        (
            &["-f", "box", "-h", "40", "zoe"],
            MESSAGE,
            "Too many hops 40 (25 max)\n",
            69,
            ["zoe... Too many hops 40 (25 max)", "Status: 5.4.6"],
        ),
        (
            &["-f", "box", "|/bin/cat"],
            MESSAGE,
            "|/bin/cat... Cannot mail directly to programs\n",
            64,
            ["Cannot mail directly to programs", "Status: 5.1.3"],
        ),
    ] {
        let before = site.read("open/box");
        let out = site.sendmail(args, text);
        assert_eq!(out.status.code(), Some(exit), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&out.stdout), said, "{args:?}");
        site.until("the notice", |s| {
            s.read("open/box").len() > before.len() && s.queued().is_empty()
        });
        let after = site.read("open/box");
        let notice = after.strip_prefix(&before).unwrap();
        assert!(notice.starts_with("From MAILER-DAEMON"), "{notice}");
        assert_eq!(notice.matches("\nFrom ").count(), 0, "{notice}");
        for words in told.into_iter().chain(["\nthe text\n"]) {
            assert!(notice.contains(words), "{args:?}: {words}: {notice}");
        }
    }
}

#[test]
fn the_others_get_the_message() {
    let site = Site::new();
    let out = site.sendmail(&["zoe@", "box", "a@b@c", "zoe@"], MESSAGE);
    assert_eq!(out.status.code(), Some(64));
    let dropped = dropped(&site).unwrap();
    assert_eq!(dropped.recipients.len(), 1);
    assert_eq!(dropped.recipients[0].address.shown(), "box");
    assert_eq!(
        faults(&dropped),
        [
            "zoe@ 5.1.3 Hostname required",
            "a@b@c 5.1.3 Invalid route address"
        ]
    );
}

#[test]
fn a_notice_that_a_program_sends_on_makes_no_other() {
    let site = Site::new();
    let notice = b"Content-Type: multipart/report; report-type=delivery-status\n\nx\n";
    for args in [["zoe@"].as_slice(), &["-h40", "box"]] {
        let out = site.sendmail(args, notice);
        assert!(matches!(out.status.code(), Some(64 | 69)), "{out:?}");
        assert!(!out.stdout.is_empty());
        assert_eq!(dropped(&site), None, "{args:?}");
    }
    let out = site.sendmail(&["-oee", "zoe@"], notice);
    assert_eq!((out.status.code(), dropped(&site)), (Some(64), None));
    let out = site.sendmail(&["zoe@", "box"], notice);
    assert_eq!(out.status.code(), Some(64));
    let sent = dropped(&site).unwrap();
    assert_eq!((sent.recipients.len(), sent.faulty.len()), (1, 0));
}

#[test]
fn error_modes() {
    let site = Site::new();
    let line = "zoe@... Hostname required\n";
    for (mode, exit, said, is_told) in [
        ("-oep", 64, line, true),
        ("-oem", 64, "", true),
        ("-oew", 64, "", true),
        ("-em", 64, "", true),
        ("-OErrorMode=mail", 64, "", true),
        ("-oee", 0, "", true),
        ("-oeq", 64, "", false),
        ("-eq", 64, "", false),
    ] {
        let out = site.sendmail(&[mode, "zoe@"], MESSAGE);
        assert_eq!(out.status.code(), Some(exit), "{mode}");
        assert_eq!(String::from_utf8_lossy(&out.stdout), said, "{mode}");
        let told = dropped(&site).map(|s| faults(&s));
        let want = is_told.then(|| vec!["zoe@ 5.1.3 Hostname required".to_owned()]);
        assert_eq!(told, want, "{mode}");
        // Those in the header are printed in any case.
        let out = site.sendmail(&[mode, "-t"], b"To: zoe@, box\n\nx\n");
        assert_eq!(out.status.code(), Some(exit), "{mode}");
        assert_eq!(String::from_utf8_lossy(&out.stdout), line, "{mode}");
        let sent = dropped(&site).unwrap();
        assert_eq!(sent.recipients.len(), 1);
        assert_eq!(sent.faulty.len(), usize::from(is_told), "{mode}");
    }
    let out = site.sendmail(&["-oeq", "-h40", "box"], MESSAGE);
    assert_eq!((out.status.code(), dropped(&site)), (Some(69), None));
}

#[test]
fn what_no_envelope_may_hold_is_told_all_the_same() {
    let site = Site::new();
    let long = "a".repeat(3000);
    let out = site.sendmail(&["zoe\u{1b}[0m", &long], MESSAGE);
    assert_eq!(out.status.code(), Some(64));
    let told = faults(&dropped(&site).unwrap());
    assert_eq!(told[0], "zoe?[0m 5.1.3 Invalid address");
    assert_eq!(told[1], format!("{} 5.1.3 Invalid address", &long[..2048]));
}

/// Adds to the aliases of a site that has no server yet.
fn add_alias(site: &Site, line: &str) {
    let aliases = site.root().join("etc/mail/aliases");
    let text = fs::read_to_string(&aliases).unwrap();
    fs::write(&aliases, format!("{text}{line}\n")).unwrap();
    tables::build_aliases(&aliases).unwrap();
    let db = site.root().join("etc/mail/aliases.db");
    fs::set_permissions(db, fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_sender_whose_mail_a_program_sends_to_a_wrong_address_makes_no_loop() {
    let mut site = Site::new();
    let root = site.root().display().to_string();
    add_alias(
        &site,
        &format!("loop: \"|{root}/bin/sendmail --root {root} -f loop zoe@\""),
    );
    add_alias(&site, "postmaster: box");
    site.start();
    site.sendmail(&["-f", "loop", "zoe@"], MESSAGE);
    // The notice can't be delivered, as the program ends with 64.
    site.until("what the postmaster hears", |s| {
        s.read("open/box").contains("zoe@... Hostname required")
    });
    site.until("the end of it", |s| {
        s.dropped("msg").is_empty() && s.queued().is_empty()
    });
    assert_eq!(site.log().matches("relay=bob@localhost").count(), 1);
}

#[test]
fn nobody_is_told_who_wants_to_hear_nothing_and_the_postmaster_for_nobody() {
    let mut site = Site::new();
    add_alias(&site, "postmaster: box");
    site.start();
    let gone = |s: &Site| s.dropped("msg").is_empty() && s.queued().is_empty();
    site.sendmail(&["-f", "box", "-N", "never", "zoe@"], MESSAGE);
    site.until("the end of it", gone);
    assert_eq!(site.read("open/box"), "");
    site.sendmail(&["-f", "<>", "zoe@"], MESSAGE);
    site.until("the notice", |s| {
        s.read("open/box").contains("zoe@... Hostname required")
    });
    site.until("the end of it", gone);
    assert_eq!(
        site.read("open/box").matches("From MAILER-DAEMON").count(),
        1
    );
}
