//! Standard output that is closed, or on a full disk.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::site::Site;

/// Each program that prints, and what it is to print.
fn calls(site: &Site) -> Vec<Command> {
    let call = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--root").arg(site.root()).args(args);
        command.stdin(Stdio::null());
        command
    };
    let smtpd = env!("CARGO_BIN_EXE_smtpd");
    let sendmail = env!("CARGO_BIN_EXE_sendmail");
    let mailq = env!("CARGO_BIN_EXE_mailq");
    let mut check = Command::new(smtpd);
    check.arg("check").arg("--root").arg(site.root());
    let mut help = Command::new(smtpd);
    help.arg("--help");
    let mut test = call(sendmail, &["-bt"]);
    test.stdin(fs::File::open(site.root().join("asked")).unwrap());
    vec![
        check,
        help,
        call(mailq, &[]),
        call(mailq, &["--json"]),
        call(sendmail, &["-bp"]),
        call(sendmail, &["-bv", "staff"]),
        call(sendmail, &["-d0", "-bv", "staff"]),
        test,
    ]
}

/// A site with a message in its queue.
fn site() -> Site {
    let site = Site::new();
    fs::write(site.root().join("asked"), "=M\n").unwrap();
    site.sendmail(&["later"], b"Subject: x\n\n1\n");
    assert_eq!(site.sendmail_as_owner(&["-q"]).status.code(), Some(0));
    site
}

#[test]
fn a_full_disk_is_told_of() {
    let site = site();
    for mut command in calls(&site) {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let out = command
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(74), "{command:?}: {said}");
        assert!(
            said.contains("standard output: No space left on device"),
            "{command:?}: {said}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let site = site();
    for mut command in calls(&site) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        assert!(
            matches!(out.status.code(), Some(0 | 67 | 78)),
            "{command:?}: {:?} {said}",
            out.status
        );
    }
}

#[test]
fn a_demo_nobody_looks_at_ends() {
    let temporary = tempfile::tempdir().unwrap();
    let demo = || {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_smtpd"));
        demo.args(["demo", "--once"])
            .env("TMPDIR", temporary.path());
        demo.stderr(Stdio::piped());
        demo
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let out = demo().stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((out.status.code(), said.as_str()), (Some(0), ""));
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = demo().stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(74));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn a_demo_that_is_ended_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["INT", "TERM"] {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_smtpd"))
            .arg("demo")
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let mut port = None;
        for line in lines.map_while(Result::ok) {
            let up = line.strip_prefix("The server stays up on 127.0.0.1:");
            if let Some((number, rest)) = up.and_then(|up| up.split_once(';')) {
                assert!(rest.contains("removes the folder"), "{line}");
                port = Some(number.parse::<u16>().unwrap());
                break;
            }
        }
        let sent = Command::new("kill")
            .args(["-s", name, &demo.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(demo.wait().unwrap().code(), Some(0), "{name}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "{name}");
        let port = port.expect("a port");
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn a_check_of_a_site_that_has_no_configuration_ends_with_66() {
    let root = tempfile::tempdir().unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_smtpd"));
    let out = check
        .arg("check")
        .arg("--root")
        .arg(root.path())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(66), "{out:?}");
}

#[test]
fn sendmail_ends_with_72_where_there_is_no_configuration() {
    let root = tempfile::tempdir().unwrap();
    for mode in ["-bv", "-bt"] {
        let mut sendmail = Command::new(env!("CARGO_BIN_EXE_sendmail"));
        sendmail.arg("--root").arg(root.path()).args([mode, "joe"]);
        let out = sendmail.stdin(Stdio::null()).output().unwrap();
        assert_eq!(out.status.code(), Some(72), "{mode}: {out:?}");
    }
}
