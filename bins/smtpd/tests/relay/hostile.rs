//! Servers that break the rules: bounded, and the mail is kept.

use std::time::{Duration, Instant};

use crate::sink::{Habits, Sink};
use crate::site::{Setup, Site};

fn start(sink: &Sink, mc: &str) -> Site {
    Site::start(&Setup {
        mc: mc.into(),
        mailertable: format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port()),
        ..Setup::default()
    })
}

/// The line about a message to such a server.
fn fate(habits: Habits, mc: &str) -> String {
    let sink = Sink::start(habits);
    let site = start(&sink, mc);
    site.send("joe@a.example", &["x@b.example"], "text");
    let line = site.logged(&["to=<x@b.example>"]);
    // Nobody hears of what failed for good here: the sender's host is unknown, and so is
    // the postmaster.
    let expected = usize::from(line.contains("stat=Deferred"));
    assert_eq!(site.queued(expected), expected, "{line}");
    line
}

fn replies(replies: &[(&'static str, &'static str)]) -> Habits {
    Habits {
        replies: replies.to_vec(),
        ..Habits::default()
    }
}

#[test]
fn replies_without_sense_or_end() {
    let greeting = |text: String| Habits {
        greeting: Some(text),
        ..Habits::default()
    };
    for (habits, want) in [
        (
            greeting("220-banner\r\n".repeat(100_000)),
            "stat=Deferred: a reply without end",
        ),
        (
            greeting(format!("220 {}", "x".repeat(1_000_000))),
            "stat=Deferred: a reply line of more than 4096 octets",
        ),
        (
            greeting("HTTP/1.1 400 Bad Request".into()),
            "stat=Deferred: a line that is no reply",
        ),
        (
            greeting("220-a\r\n421 b".into()),
            "stat=Deferred: a reply with two codes",
        ),
        (
            greeting("421 4.3.2 busy".into()),
            "dsn=4.3.2, stat=Deferred: 421 4.3.2 busy",
        ),
        (replies(&[("MAIL", "354 go")]), "stat=Deferred: 354 go"),
        (replies(&[("RCPT", "354 go")]), "stat=Deferred: 354 go"),
        (replies(&[("DATA", "250 ok")]), "stat=Deferred: 250 ok"),
        (
            replies(&[("EHLO", "#CLOSE")]),
            "stat=Deferred: Connection closed",
        ),
        (
            replies(&[("RCPT", "#CLOSE")]),
            "stat=Deferred: Connection closed",
        ),
        (
            replies(&[("DATA", "#CLOSE")]),
            "stat=Deferred: Connection closed",
        ),
        (
            replies(&[("RCPT", "421 4.3.2 bye")]),
            "dsn=4.3.2, stat=Deferred: 421 4.3.2 bye",
        ),
    ] {
        let line = fate(habits, "");
        assert!(line.contains(want), "{want}: {line}");
    }
}

#[test]
fn a_domain_whose_servers_are_silent_keeps_no_other_waiting() {
    let evil = Sink::start(replies(&[("RCPT", "#SLEEP")]));
    let good = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        mc: "define(`confMAX_QUEUE_CHILDREN', `4')dnl\n".into(),
        mailertable: format!(
            "evil.example\tesmtp:[evil.example]:{}\n.evil.example\tesmtp:[mx.evil.example]:{}\n\
             good.example\tesmtp:[good.example]:{}\n",
            evil.port(),
            evil.port(),
            good.port()
        ),
        hosts: "127.0.0.1 good.example\n127.0.0.1 evil.example\n127.0.0.1 mx.evil.example\n".into(),
        ..Setup::default()
    });
    for number in 0..8 {
        let to = format!("x{number}@evil.example");
        site.send("joe@a.example", &[&to], "text");
        let to = format!("x@{number}.evil.example");
        site.send("joe@a.example", &[&to], "text");
    }
    while !evil.commands().iter().any(|c| c.starts_with("RCPT")) {
        std::thread::sleep(Duration::from_millis(25));
    }
    site.send("joe@a.example", &["x@good.example"], "text");
    site.logged(&["to=<x@good.example>", "stat=Sent"]);
    assert_eq!((good.take(1).len(), site.queued(16)), (1, 16));
}

#[test]
fn refusals_are_told_with_their_replies() {
    for (habits, want) in [
        (
            replies(&[("RCPT", "550 5.1.1 nobody here")]),
            "dsn=5.1.1, reply=550 5.1.1 nobody here, stat=User unknown",
        ),
        (
            replies(&[("MAIL", "550 5.7.1 we don't like you")]),
            "dsn=5.7.1, reply=550 5.7.1 we don't like you, stat=Service unavailable",
        ),
        (
            replies(&[("MAIL", "550 Access denied")]),
            "dsn=5.0.0, reply=550 Access denied, stat=Service unavailable",
        ),
        (
            Habits {
                greeting: Some("550 no mail from you".into()),
                ..Habits::default()
            },
            "dsn=5.5.0, reply=550 no mail from you, stat=550 no mail from you",
        ),
        (
            replies(&[("RCPT", "451 4.7.1 come back later")]),
            "dsn=4.7.1, stat=Deferred: 451 4.7.1 come back later",
        ),
        (
            Habits {
                at_dot: Some("554 5.7.1 spam"),
                ..Habits::default()
            },
            "dsn=5.7.1, reply=554 5.7.1 spam, stat=Service unavailable",
        ),
        (
            Habits {
                greeting: Some("554 5.7.1 go away".into()),
                ..Habits::default()
            },
            "dsn=5.7.1, reply=554 5.7.1 go away, stat=554 5.7.1 go away",
        ),
        (
            Habits {
                keywords: vec!["SIZE 10"],
                ..Habits::default()
            },
            "dsn=5.3.4, stat=Message is too large; 10 bytes max",
        ),
    ] {
        let line = fate(habits, "");
        assert!(line.contains(want), "{want}: {line}");
    }
}

#[test]
fn slow_servers_are_left() {
    let start = Instant::now();
    for (command, timeout, step) in [
        ("EHLO", "confTO_HELO", "EHLO"),
        ("MAIL", "confTO_MAIL", "MAIL"),
        ("RCPT", "confTO_RCPT", "RCPT"),
        ("DATA", "confTO_DATAINIT", "DATA"),
    ] {
        let mc = format!("define(`{timeout}', `1s')dnl\n");
        let line = fate(replies(&[(command, "#SLEEP")]), &mc);
        let want = format!("stat=Deferred: Connection timed out during {step}");
        assert!(line.contains(&want), "{line}");
    }
    // Not the default of an hour.
    assert!(start.elapsed() < Duration::from_secs(120));
}

#[test]
fn a_server_that_falls_silent_rests() {
    let sink = Sink::start(replies(&[("RCPT", "#SLEEP")]));
    let site = start(&sink, "define(`confTO_RCPT', `1s')dnl\n");
    site.send("joe@a.example", &["x@b.example"], "one");
    site.logged(&["to=<x@b.example>", "Connection timed out during RCPT"]);
    let knocks = || {
        sink.commands()
            .iter()
            .filter(|c| c.starts_with("RCPT"))
            .count()
    };
    assert_eq!(knocks(), 1);
    // The next message does not wait for it again.
    site.send("joe@a.example", &["y@b.example"], "two");
    site.logged(&["to=<y@b.example>", "stat=Deferred: Connection timed out"]);
    assert_eq!(knocks(), 1);
}

#[test]
fn a_connection_that_ends_at_the_dot() {
    let sink = Sink::start(Habits {
        at_dot: Some("#CLOSE"),
        ..Habits::default()
    });
    let other = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        mailertable: format!(
            "b.example\tesmtp:[127.0.0.1]:{}:[127.0.0.1]:{}\n",
            sink.port(),
            other.port()
        ),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example"], "text");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=4.4.2, stat=Deferred: Connection closed"),
        "{line}"
    );
    assert_eq!(site.queued(1), 1);
    // The first may have it: the second is not given it as well.
    assert_eq!(other.connections(), 0);
}

#[test]
fn a_server_that_hangs_up_before_the_text_is_whole() {
    let other = Sink::start(Habits::default());
    let rude = Sink::start(replies(&[
        ("DATA", "354 go\r\n552 5.3.4 too much"),
        ("MAIL", "250 ok"),
    ]));
    let site = Site::start(&Setup {
        mailertable: format!(
            "b.example\tesmtp:[127.0.0.1]:{}\nc.example\tesmtp:[127.0.0.1]:{}\n",
            rude.port(),
            other.port()
        ),
        ..Setup::default()
    });
    let text = format!("Subject: long\n\n{}", "line of text\n".repeat(200_000));
    site.send("joe@a.example", &["x@b.example", "y@c.example"], &text);
    // The other recipient is none the worse for it.
    let got = other.take(1).remove(0);
    assert_eq!(got.lines().matches("line of text\n").count(), 200_000);
    site.logged(&["to=<x@b.example>", "stat="]);
}
