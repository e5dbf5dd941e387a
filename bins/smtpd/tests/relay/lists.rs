//! Many recipients and many messages: transactions and connections are shared.

use crate::sink::{Habits, Sink};
use crate::site::{Client, Setup, Site};

fn to_sink(sink: &Sink, mc: &str) -> Setup {
    Setup {
        mc: mc.into(),
        mailertable: format!(
            "b.example\tesmtp:[127.0.0.1]:{}\nc.example\tone:[127.0.0.1]\n",
            sink.port()
        ),
        tail: format!(
            "MAILER_DEFINITIONS\nMone, P=[IPC], F=DFMuXa, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, A=TCP $h {}\n",
            sink.port()
        ),
        ..Setup::default()
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("u{n}@b.example")).collect()
}

#[test]
fn a_server_that_takes_ten_at_a_time() {
    for keywords in [vec![], vec!["PIPELINING"]] {
        let sink = Sink::start(Habits {
            keywords,
            most_recipients: 10,
            ..Habits::default()
        });
        let site = Site::start(&to_sink(&sink, ""));
        let names = names(35);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        site.send("joe@a.example", &names, "one");
        let got = sink.take(4);
        let counts: Vec<usize> = got.iter().map(|g| g.rcpt.len()).collect();
        assert_eq!(counts, [10, 10, 10, 5]);
        let all: std::collections::HashSet<&String> = got.iter().flat_map(|g| &g.rcpt).collect();
        assert_eq!(all.len(), 35);
        assert_eq!(sink.connections(), 1);
        // It is remembered: nobody is named in vain the second time.
        site.send("joe@a.example", &names, "two");
        sink.take(4);
        let named = sink
            .commands()
            .iter()
            .filter(|c| c.starts_with("RCPT"))
            .count();
        assert_eq!(named, 35 + 25 + 35);
    }
}

#[test]
fn a_server_without_rset_harms_nobody_but_whom_it_refuses() {
    let sink = Sink::start(Habits {
        replies: vec![
            ("RCPT TO:<bad", "550 5.1.1 no"),
            ("RSET", "502 5.5.1 what?"),
        ],
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink, ""));
    // One at a time, by the mailer's flags.
    let all = [
        "bad1@c.example",
        "good1@c.example",
        "bad2@c.example",
        "good2@c.example",
    ];
    site.send("joe@a.example", &all, "one");
    sink.take(2);
    for to in &all {
        let want = match to.starts_with("bad") {
            true => "dsn=5.1.1",
            false => "stat=Sent",
        };
        site.logged(&[&format!("to=<{to}>"), want]);
    }
}

#[test]
fn the_time_of_a_message_goes_with_it() {
    let knows = Sink::start(Habits {
        keywords: vec!["DELIVERBY 60", "DSN"],
        ..Habits::default()
    });
    let without = Sink::start(Habits {
        keywords: vec!["DSN"],
        ..Habits::default()
    });
    let site = Site::start(&Setup {
        mailertable: format!(
            "b.example\tesmtp:[127.0.0.1]:{}\nw.example\tesmtp:[127.0.0.1]:{}\n",
            knows.port(),
            without.port()
        ),
        ..Setup::default()
    });
    let send = |by: &str, to: &str| {
        let mut client = Client::connect(site.port);
        for command in [
            format!("MAIL FROM:<joe@a.example> BY={by}"),
            format!("RCPT TO:<{to}>"),
            "DATA".to_owned(),
            "Subject: x\r\n\r\ntext\r\n.".to_owned(),
        ] {
            let reply = client.say(&command);
            assert!(reply.starts_with(['2', '3']), "{command}: {reply}");
        }
    };
    send("600;R", "return@b.example");
    let mail = knows.take(1).remove(0).mail;
    assert!(
        ["600", "599", "598", "597"]
            .iter()
            .any(|left| mail.contains(&format!(" BY={left};R"))),
        "{mail}"
    );
    send("600;N", "notify@b.example");
    assert!(knows.take(1)[0].mail.contains(";N"));
    for (by, to, want) in [
        (
            "30;R",
            "short@b.example",
            "dsn=5.4.7, stat=Server wants 60 s",
        ),
        (
            "600;R",
            "return@w.example",
            "dsn=5.4.7, stat=Server does not support Deliver By",
        ),
        ("600;N", "notify@w.example", "stat=Sent"),
    ] {
        send(by, to);
        let line = site.logged(&[&format!("to=<{to}>")]);
        assert!(line.contains(want), "{line}");
    }
    // That nobody looks at the time any more is told.
    site.logged(&["DSN: Return receipt"]);
}

#[test]
fn those_beyond_the_limit_wait_where_the_server_goes_then() {
    for at_dot in ["421 4.3.2 gone", "#CLOSE"] {
        let sink = Sink::start(Habits {
            keywords: vec!["PIPELINING"],
            most_recipients: 1,
            at_dot: Some(at_dot),
            ..Habits::default()
        });
        // What the first host failed of is not their fate.
        let site = Site::start(&Setup {
            mailertable: format!(
                "b.example\tesmtp:[nowhere.example]:[127.0.0.1]:{}\n",
                sink.port()
            ),
            ..Setup::default()
        });
        site.send("joe@a.example", &["u0@b.example", "u1@b.example"], "one");
        site.logged(&["to=<u0@b.example>", "stat=Deferred"]);
        site.logged(&["to=<u1@b.example>", "dsn=4.5.3", "stat=Deferred: 452 4.5.3"]);
        assert_eq!(site.queued(1), 1);
    }
}

#[test]
fn a_limit_that_is_told_as_if_for_good() {
    let sink = Sink::start(Habits {
        most_recipients: 2,
        too_many: Some("552 5.5.3 Too many recipients"),
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink, ""));
    let names = names(5);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    site.send("joe@a.example", &names, "one");
    let counts: Vec<usize> = sink.take(3).iter().map(|g| g.rcpt.len()).collect();
    assert_eq!(counts, [2, 2, 1]);
    // None at all is no reason to give up.
    let sink = Sink::start(Habits {
        replies: vec![
            ("RCPT TO:<u0@", "552 too many recipients received this hour"),
            (
                "RCPT TO:<u1@",
                "552 5.2.2 too many messages in this mailbox",
            ),
        ],
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink, ""));
    site.send("joe@a.example", &["u0@b.example", "u1@b.example"], "two");
    site.logged(&["to=<u0@b.example>", "dsn=4.", "stat=Deferred: 552 too many"]);
    site.logged(&["to=<u1@b.example>", "dsn=5.2.2"]);
}

#[test]
fn a_full_mailbox_is_no_limit() {
    let sink = Sink::start(Habits {
        keywords: vec!["PIPELINING"],
        replies: vec![("RCPT TO:<u1@", "452 4.2.2 mailbox full")],
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink, ""));
    site.send("joe@a.example", &["u0@b.example", "u1@b.example"], "one");
    sink.take(1);
    let line = site.logged(&["to=<u1@b.example>"]);
    assert!(
        line.contains("stat=Deferred: 452 4.2.2 mailbox full"),
        "{line}"
    );
    let names = ["u2@b.example", "u3@b.example", "u4@b.example"];
    site.send("joe@a.example", &names, "two");
    assert_eq!(sink.take(1)[0].rcpt.len(), 3);
}

#[test]
fn some_are_refused_and_some_wait() {
    let sink = Sink::start(Habits {
        keywords: vec!["PIPELINING"],
        replies: vec![
            ("RCPT TO:<u1@", "550 5.1.1 no"),
            ("RCPT TO:<u2@", "450 4.2.0 not now"),
        ],
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink, ""));
    let names = names(4);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    site.send("joe@a.example", &names, "one");
    assert_eq!(sink.take(1)[0].rcpt.len(), 2);
    for (name, stat) in [
        ("u0@b", "stat=Sent"),
        ("u1@b", "stat=User unknown"),
        ("u2@b", "stat=Deferred: 450 4.2.0 not now"),
        ("u3@b", "stat=Sent"),
    ] {
        let line = site.logged(&[&format!("to=<{name}.example>")]);
        assert!(line.contains(stat), "{line}");
    }
}

#[test]
fn one_recipient_at_a_time_where_the_mailer_says_so() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&to_sink(&sink, ""));
    site.send("joe@a.example", &["x@c.example", "y@c.example"], "one");
    let got = sink.take(2);
    assert!(got.iter().all(|g| g.rcpt.len() == 1));
    assert_eq!(sink.connections(), 1);
}

#[test]
fn connections_are_used_again() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&to_sink(&sink, ""));
    let mut client = Client::connect(site.port);
    for _ in 0..3 {
        client.send("joe@a.example", &["x@b.example"], "text");
        sink.take(1);
        // The connection is put back a moment after the reply.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(sink.connections(), 1);
    assert!(sink.commands().iter().filter(|c| *c == "RSET").count() >= 2);
    let sink = Sink::start(Habits::default());
    let site = Site::start(&to_sink(&sink, "define(`confMCI_CACHE_SIZE', `0')dnl\n"));
    for _ in 0..2 {
        site.send("joe@a.example", &["x@b.example"], "text");
        sink.take(1);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(sink.connections(), 2);
}

#[test]
fn a_host_that_takes_no_transaction_now_is_left_alone() {
    let sink = Sink::start(Habits {
        replies: vec![("MAIL", "421 4.7.28 rate limited"), ("MAIL", "#CLOSE")],
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink, ""));
    for who in ["x", "y", "z"] {
        site.send("joe@a.example", &[&format!("{who}@b.example")], "text");
        let line = site.logged(&[&format!("to=<{who}@b.example>"), "stat=Deferred"]);
        assert!(line.contains("rate limited"), "{line}");
    }
    assert_eq!(sink.connections(), 1);
}

#[test]
fn much_mail_for_a_host_needs_few_connections() {
    const MESSAGES: usize = 200;
    let sink = Sink::start(Habits::default());
    let site = Site::start(&to_sink(&sink, ""));
    let mut client = Client::connect(site.port);
    for _ in 0..MESSAGES {
        client.send("joe@a.example", &["x@b.example"], "text");
    }
    sink.take(MESSAGES);
    let connections = sink.connections();
    assert!(connections < MESSAGES / 2, "{connections} connections");
}

#[test]
fn an_idle_connection_that_broke_is_replaced() {
    let sink = Sink::start(Habits {
        replies: vec![("RSET", "#CLOSE")],
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink, ""));
    for _ in 0..2 {
        site.send("joe@a.example", &["x@b.example"], "text");
        sink.take(1);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(sink.connections(), 2);
}
