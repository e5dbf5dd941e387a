//! Whatever strangers put into addresses, parameters, replies and texts: a notice has the
//! header, the parts and the fields that it should have, and no others.

use proptest::prelude::*;

use super::golden_tests::{copy, envelope, failed, recipient, site, written};
use super::*;
use crate::deliver::outcome::{KeepsTime, Notifies, Remote};
use crate::queue::{Envelope, Octets, QueuedTarget};

/// A notice, taken apart by its own boundary as a stranger's reader would.
struct Parsed {
    header: Vec<String>,
    parts: Vec<Vec<String>>,
}

fn parse(octets: &[u8]) -> Parsed {
    let text = String::from_utf8_lossy(octets);
    assert!(
        !text.replace("\r\n", "").contains(['\r', '\n']),
        "a bare CR or LF"
    );
    let lines: Vec<&str> = text.split("\r\n").collect();
    let end = lines.iter().position(|l| l.is_empty()).unwrap();
    let header: Vec<String> = lines[..end].iter().map(|l| (*l).to_owned()).collect();
    let boundary = header
        .iter()
        .find_map(|l| l.trim().strip_prefix("boundary=\"")?.strip_suffix('"'))
        .expect("a boundary");
    let (middle, last) = (format!("--{boundary}"), format!("--{boundary}--"));
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut inside = false;
    for line in &lines[end + 1..] {
        if *line == middle || *line == last {
            inside = *line == middle;
            if inside {
                parts.push(Vec::new());
            }
        } else if inside {
            parts.last_mut().unwrap().push((*line).to_owned());
        }
    }
    Parsed { header, parts }
}

fn names(lines: &[String]) -> Vec<&str> {
    lines
        .iter()
        .filter(|l| !l.is_empty() && !l.starts_with(['\t', ' ']))
        .map(|l| l.split_once(':').map_or("NO FIELD", |(name, _)| name))
        .collect()
}

fn check(envelope: &Envelope, message: &[u8]) {
    let notices = written(&site(&[]), envelope, None, message, |_| {});
    assert_eq!(notices.len(), 1);
    let (octets, written) = &notices[0];
    let parsed = parse(octets);
    let encoding = written.eight_bits.then_some("Content-Transfer-Encoding");
    let want: Vec<&str> = [
        "Received",
        "Date",
        "From",
        "Message-Id",
        "To",
        "MIME-Version",
        "Content-Type",
    ]
    .into_iter()
    .chain(encoding)
    .chain(["Subject", "Auto-Submitted"])
    .collect();
    assert_eq!(names(&parsed.header), want);
    assert_eq!(parsed.parts.len(), 3);
    let status = &parsed.parts[1];
    let begin = status.iter().position(String::is_empty).unwrap();
    let want = [
        "Original-Envelope-Id",
        "Reporting-MTA",
        "Received-From-MTA",
        "Arrival-Date",
        "Original-Recipient",
        "Final-Recipient",
        "X-Actual-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
    ];
    assert_eq!(names(&status[begin..]), want);
    for line in parsed.header.iter().chain(&parsed.parts[0]).chain(status) {
        assert!(line.len() <= 998, "{} octets", line.len());
        assert!(
            !line.contains(char::is_control) || line.starts_with('\t'),
            "{line:?}"
        );
        assert!(line.is_ascii() || written.eight_bits);
    }
    if !envelope.smtputf8 {
        assert!(parsed.header.iter().all(|l| l.is_ascii()));
        assert!(status.iter().all(|l| l.is_ascii()));
    }
}

fn hostile(words: [String; 6], octets: Vec<u8>, utf8: bool) -> Envelope {
    let [orcpt, envid, reply, host, text, relay] = words;
    let mut envelope = envelope("x", vec![recipient("y", None)]);
    envelope.sender = Octets([b"s".as_slice(), &octets].concat());
    envelope.recipients[0].address = Octets([&octets, b"@far.example".as_slice()].concat());
    envelope.recipients[0].orcpt = Some(format!("rfc822;{orcpt}").into());
    envelope.envid = Some(envid.into());
    envelope.relay = format!("client {relay}");
    envelope.smtputf8 = utf8;
    envelope.targets = vec![QueuedTarget {
        remote: Some(Box::new(Remote {
            host: format!("mx{host}"),
            addr: None,
            reply: format!("550 {reply}"),
            notifies: Notifies::No,
            keeps_time: KeepsTime::Yes,
        })),
        ..copy(0, "esmtp", "z", failed("5.1.1", &text))
    }];
    envelope
}

#[test]
fn line_ends_and_boundaries_from_strangers() {
    let bad = "+0D+0ABcc:+20victim@x\r\nBcc: victim@x\r\n\r\n--6AL42FPA000002.0123456789abcdef/mx.test.example\r\n";
    for utf8 in [false, true] {
        let words = || [0; 6].map(|_| bad.to_owned());
        let envelope = hostile(words(), bad.as_bytes().to_vec(), utf8);
        check(&envelope, b"Subject: x\r\n\r\n--other\r\n--other--\r\n");
        check(&envelope, b"");
        check(&envelope, "Subject: \u{f6}\r\n\r\n\u{f6}\r\n".as_bytes());
    }
}

#[test]
fn a_text_that_can_t_be_read_is_no_reason_for_silence() {
    let mut envelope = envelope("joe@b", vec![recipient("ann@test.example", None)]);
    envelope.targets = vec![copy(0, "local", "ann", failed("5.1.1", "User unknown"))];
    let plan = plan(&site(&[]), &envelope, None);
    let clerk = Clerk {
        id: "A",
        host: "mx",
        daemon: "MAILER-DAEMON",
        secret: "s",
        now_unix: 0,
        date: &|_| "DATE".into(),
        stamp: "",
        error_header: "",
        remarks: &[],
        waited: "",
        by_unix: None,
        actual: ShowActual::Yes,
        form: Form::Mime,
    };
    let mut out = Vec::new();
    let gone = || Err(std::io::ErrorKind::NotFound.into());
    write(&clerk, &plan.notices[0], &envelope, &gone, &mut out).unwrap();
    assert_eq!(parse(&out).parts.len(), 3);
}

proptest! {
    #[test]
    fn any_words(
        words in prop::array::uniform6("(\\PC|[\r\n\t\0\u{85}+=;:<>\"-]){0,40}"),
        octets in prop::collection::vec(any::<u8>(), 1..40),
        utf8 in any::<bool>(),
        message in "(\\PC|\r\n){0,80}",
    ) {
        let message = message.replace('\u{85}', "");
        let whole = message.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n") + "\r\n";
        check(&hostile(words, octets, utf8), whole.as_bytes());
    }

    #[test]
    fn very_long_words(count in 1usize..4000) {
        let words = [0; 6].map(|_| "w".repeat(count));
        check(&hostile(words, vec![b'a'; count], false), b"Subject: x\r\n\r\n");
    }
}
