//! Files in the drop folder that sendmail did not write.

use std::fs;
use std::path::Path;

use smtpd::drop::DropId;
use smtpd::drop::file::DropWriter;
use smtpd::drop::submission::{Faulty, Submission, Wanted};

use crate::site::Site;

/// Drops a file as a member of the folder's group could, whatever it says.
fn drop_file(folder: &Path, text: &[u8], json: &str) -> DropId {
    let id = DropId::random().unwrap();
    let mut all = text.to_vec();
    all.extend_from_slice(json.as_bytes());
    all.extend_from_slice(
        format!("smtpd-drop 1 {:016x} {:08x}\n", text.len(), json.len()).as_bytes(),
    );
    fs::write(id.complete(folder), all).unwrap();
    id
}

const TEXT: &[u8] = b"Subject: x\r\n\r\nhostile\r\n";
const TO_BOX: &str = r#"{"recipients":[{"address":"box"}]}"#;

#[test]
fn what_does_not_read_is_put_aside_and_the_next_is_taken() {
    let site = Site::with_server();
    let folder = site.drop_folder();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = "a".repeat(3000);
    let bad = [
        drop_file(&folder, TEXT, ""),
        drop_file(&folder, TEXT, "{}"),
        drop_file(&folder, TEXT, &deep),
        drop_file(&folder, TEXT, r#"{"recipients":[]}"#),
        drop_file(&folder, TEXT, r#"{"recipients":[{"address":""}]}"#),
        drop_file(
            &folder,
            TEXT,
            &format!(r#"{{"recipients":[{{"address":"{long}"}}]}}"#),
        ),
        drop_file(
            &folder,
            TEXT,
            r#"{"recipients":[{"address":"box\r\nRCPT TO:<x>"}]}"#,
        ),
        drop_file(
            &folder,
            TEXT,
            r#"{"recipients":[{"address":"box"}],"user":"root"}"#,
        ),
        drop_file(
            &folder,
            TEXT,
            r#"{"recipients":[{"address":"box"}],"hops":4000000000}"#,
        ),
        drop_file(
            &folder,
            TEXT,
            r#"{"recipients":[{"address":"box"}],"faulty":[{"address":"x","status":"2.0.0","text":"y"}]}"#,
        ),
        drop_file(
            &folder,
            TEXT,
            r#"{"recipients":[{"address":"box"}],"faulty":[{"address":"x\r\ny","status":"5.0.0","text":"y"}]}"#,
        ),
        drop_file(
            &folder,
            TEXT,
            r#"{"recipients":[{"address":"box"}],"faulty":[{"address":"x","status":"5.0.0","text":"y\nz"}]}"#,
        ),
        drop_file(&folder, b"Subject: bare\n\nLF\r\n", TO_BOX),
        drop_file(&folder, b"Subject: x\r\n\r\nbare \r CR\r\n", TO_BOX),
        drop_file(&folder, b"Subject: x\r\n\r\nnul \0\r\n", TO_BOX),
        drop_file(
            &folder,
            format!("X: {}\r\n\r\n", "y".repeat(100_000)).as_bytes(),
            TO_BOX,
        ),
    ];
    let garbage = DropId::random().unwrap();
    fs::write(garbage.complete(&folder), b"garbage").unwrap();
    let empty = DropId::random().unwrap();
    fs::write(empty.complete(&folder), b"").unwrap();
    let link = DropId::random().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", link.complete(&folder)).unwrap();
    let directory = DropId::random().unwrap();
    fs::create_dir(directory.complete(&folder)).unwrap();
    let doubled = drop_file(&folder, TEXT, TO_BOX);
    fs::hard_link(doubled.complete(&folder), folder.join("second-name")).unwrap();
    site.sendmail(&["box"], b"Subject: good\n\ngood\n");
    site.until("the good message", |s| s.read("open/box").contains("good"));
    site.until("all bad ones were looked at", |s| {
        s.dropped("msg").is_empty()
    });
    for id in bad
        .iter()
        .chain([&garbage, &empty, &link, &directory, &doubled])
    {
        assert!(
            fs::symlink_metadata(id.refused(&folder)).is_ok(),
            "{id}\n{}",
            site.log()
        );
        let told = format!("{id}: dropped file of user ");
        site.until("a line in the log", |s| s.log().contains(&told));
    }
    assert!(!site.read("open/box").contains("hostile"));
    site.until("the queue is empty", |s| s.queued().is_empty());
}

#[test]
fn whose_message_is_refused_hears_of_it() {
    let site = Site::with_server();
    let folder = site.drop_folder();
    let to_nobody = r#"{"sender":{"Set":{"address":"box","by":"F"}},"recipients":[{"address":"elsewhere@b.example"}]}"#;
    let long = format!("X: {}\r\n\r\n", "y".repeat(100_000));
    for (text, status, why) in [
        (
            b"Subject: x\r\n\r\nbare \r CR\r\n".as_slice(),
            "Status: 5.6.0",
            "the text has a bare CR, LF or NUL",
        ),
        (
            long.as_bytes(),
            "Status: 5.6.0",
            "the header is larger than MaxHeadersLength",
        ),
    ] {
        let id = drop_file(&folder, text, to_nobody);
        site.until("the notice", |s| {
            let told = s.read("open/box");
            told.contains(why) && told.contains(status) && told.contains("elsewhere@b.example")
        });
        assert!(id.refused(&folder).exists());
        site.until("the queue is empty", |s| s.queued().is_empty());
    }
    assert_eq!(site.read("open/box").matches("\nFrom ").count(), 1);
}

#[test]
fn names_of_others_are_left_alone() {
    let site = Site::with_server();
    let folder = site.drop_folder();
    for name in [
        "qf6APMRkmQ000028",
        "df6APMRkmQ000028",
        "6APMRkmQ000028.msg",
        "notes.msg",
        "core",
    ] {
        fs::write(folder.join(name), b"x").unwrap();
    }
    site.sendmail(&["box"], b"Subject: good\n\ngood\n");
    site.until("the good message", |s| s.read("open/box").contains("good"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 5);
}

#[test]
fn no_file_makes_the_server_run_or_write_what_its_owner_may_not() {
    let site = Site::with_server();
    let folder = site.drop_folder();
    let pwned = site.root().join("open/pwned");
    let wanted = |address: String| Wanted {
        address: address.as_str().into(),
        notify: None,
        orcpt: None,
    };
    let submission = Submission::to(vec![
        wanted(format!("|touch {}", pwned.display())),
        wanted(format!("\"|touch {}\"", pwned.display())),
        wanted("/open/pwned".into()),
        wanted(":include:/etc/mail/aliases".into()),
        wanted("box".into()),
    ]);
    // Those that the file itself calls wrong are told of and not looked at.
    let faulty = |address: String| Faulty {
        address: address.as_str().into(),
        notify: None,
        status: "5.1.3".into(),
        text: "of no meaning".into(),
    };
    let submission = Submission {
        faulty: vec![
            faulty(format!("|touch {}", pwned.display())),
            faulty("/open/pwned".into()),
            faulty("tofile".into()),
        ],
        ..submission
    };
    let mut writer = DropWriter::create(&folder).unwrap();
    writer.push(TEXT).unwrap();
    writer.finish(&submission).unwrap();
    site.until("the good recipient's copy", |s| {
        s.read("open/box").contains("hostile")
    });
    site.until("the end of it", |s| s.queued().is_empty());
    assert!(!pwned.exists());
    assert!(!site.root().join("open/file").exists());
}

#[test]
fn the_owner_of_the_file_is_the_sender_whatever_the_text_says() {
    let site = Site::with_server();
    let text =
        b"From: root\r\nSender: root\r\nReturn-Path: <root>\r\nSubject: x\r\n\r\nhostile\r\n";
    let id = drop_file(&site.drop_folder(), text, TO_BOX);
    site.until("the message", |s| s.read("open/box").contains("hostile"));
    let owner = if crate::site::caller() == 12_345 {
        "root"
    } else {
        "bob"
    };
    let received = format!("Received: (from {owner}@localhost)\n");
    let text = site.read("open/box");
    assert!(text.contains(&received), "{text}");
    assert!(
        text.starts_with(&format!("From {owner}@mx.test.example ")),
        "{text}"
    );
    let told = format!("{id}: from={owner}@mx.test.example, ");
    site.until("a line in the log", |s| s.log().contains(&told));
}
