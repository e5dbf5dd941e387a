//! Where mail goes: lists, ports, MX, fallbacks; and what its sender is told where it can't go.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};

use crate::name_server::NameServer;
use crate::sink::{Habits, Sink};
use crate::site::{Client, HOST, Setup, Site};

fn zone(entries: &[(&str, &[&str])]) -> NameServer {
    let zone: HashMap<String, Vec<String>> = entries
        .iter()
        .map(|(key, values)| {
            let values = values.iter().map(|v| (*v).to_owned()).collect();
            ((*key).to_owned(), values)
        })
        .collect();
    NameServer::start(zone)
}

/// A port on which nobody listens.
pub(crate) fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn the_first_host_of_a_list_that_takes_it() {
    let sink = Sink::start(Habits::default());
    let busy = Sink::start(Habits {
        greeting: Some("421 4.3.2 busy".into()),
        ..Habits::default()
    });
    let site = Site::start(&Setup {
        mailertable: format!(
            "b.example\tesmtp:[127.0.0.1]:{}:[127.0.0.1]:{}:[sink.example]:{}\n\
             args.example\thub:[127.0.0.1]\n",
            closed_port(),
            busy.port(),
            sink.port()
        ),
        hosts: "127.0.0.1 sink.example\n".into(),
        tail: format!(
            "MAILER_DEFINITIONS\nMhub, P=[IPC], F=mDFMuXa, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, A=TCP $h {}\n",
            sink.port()
        ),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example"], "one");
    let got = sink.take(1).remove(0);
    assert_eq!(got.rcpt, ["RCPT TO:<x@b.example>"]);
    site.logged(&[
        "to=<x@b.example>",
        "relay=sink.example. [127.0.0.1]",
        "stat=Sent",
    ]);
    site.send("joe@a.example", &["x@args.example"], "two");
    sink.take(1);
    site.logged(&["to=<x@args.example>", "mailer=hub", "stat=Sent"]);
}

#[test]
fn what_one_host_wants_later_the_next_may_take_now() {
    let later = |command| Habits {
        replies: vec![(command, "451 4.3.0 later")],
        ..Habits::default()
    };
    let first = [
        later("MAIL"),
        later("RCPT"),
        later("RCPT TO:<grey"),
        later("DATA"),
        Habits {
            at_dot: Some("451 4.3.0 later"),
            ..Habits::default()
        },
    ]
    .map(Sink::start);
    let second = Sink::on("127.0.0.2:0", Habits::default());
    let sullen = Sink::start(Habits {
        replies: vec![("RCPT", "450 4.2.0 not now")],
        ..Habits::default()
    });
    let mut mailertable: String = first
        .iter()
        .enumerate()
        .map(|(number, sink)| {
            let (first, second) = (sink.port(), second.port());
            format!("{number}.example\tesmtp:[127.0.0.1]:{first}:[127.0.0.2]:{second}\n")
        })
        .collect();
    mailertable += &format!(
        "none.example\tesmtp:[127.0.0.1]:{}:[127.0.0.1]:{}\n",
        first[1].port(),
        sullen.port()
    );
    let site = Site::start(&Setup {
        mailertable,
        ..Setup::default()
    });
    for number in 0..first.len() {
        let [grey, good] = ["grey", "good"].map(|user| format!("{user}@{number}.example"));
        site.send("joe@a.example", &[&grey, &good], "text");
        site.logged(&[&format!("<{grey}>"), "relay=[127.0.0.2] ", "stat=Sent"]);
        let mut named: Vec<String> = second.take(1).remove(0).rcpt;
        named.extend(match number {
            2 => first[2].take(1).remove(0).rcpt,
            _ => Vec::new(),
        });
        named.sort();
        let want = [&good, &grey].map(|to| format!("RCPT TO:<{to}>"));
        assert_eq!(named, want, "{number}");
    }
    // The last one's word counts where all of them want it later.
    site.send("joe@a.example", &["x@none.example"], "text");
    let line = site.logged(&["to=<x@none.example>"]);
    assert!(
        line.contains("dsn=4.2.0, stat=Deferred: 450 4.2.0 not now"),
        "{line}"
    );
}

#[test]
fn nobody_answers() {
    let site = Site::start(&Setup {
        mailertable: format!(
            "b.example\tesmtp:[127.0.0.1]:{}\nnone.example\tesmtp:[nowhere.example]\n",
            closed_port()
        ),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=4.4.1, stat=Deferred: Connection refused by [127.0.0.1]"),
        "{line}"
    );
    // It rests: the second message does not knock again.
    site.send("joe@a.example", &["y@b.example"], "two");
    let line = site.logged(&["to=<y@b.example>"]);
    assert!(line.contains("stat=Deferred: Connection refused"), "{line}");
    site.send("joe@a.example", &["x@none.example"], "three");
    let line = site.logged(&["to=<x@none.example>"]);
    assert!(
        line.contains(
            "dsn=5.1.2, stat=Host unknown (Name server: nowhere.example: host not found)"
        ),
        "{line}"
    );
}

#[test]
fn exchangers_by_preference() {
    // All on one port; MX records have none, so the mailer's arguments name it.
    let good = Sink::on("127.0.0.3:0", Habits::default());
    let names = zone(&[
        (
            "b.example MX",
            &["20 good.example", "10 dead.example", "30 worse.example"],
        ),
        ("null.example MX", &["0 ."]),
        (
            "ours.example MX",
            &[&format!("10 {HOST}"), "20 good.example"],
        ),
        (
            "second.example MX",
            &["5 good.example", &format!("10 {HOST}"), "20 worse.example"],
        ),
        ("loop.example MX", &["10 loopback.example"]),
        ("loopback.example A", &["127.0.0.1"]),
        ("zero.example A", &["0.0.0.0"]),
        ("plain.example A", &["192.0.2.1"]),
        ("broken.example *", &["TEMP"]),
        ("half.example MX", &["10 nowhere.example"]),
    ]);
    let site = Site::start(&Setup {
        mailertable: String::new(),
        mc: format!(
            "define(`confTO_ICONNECT', `1s')dnl\ndefine(`ESMTP_MAILER_ARGS', `TCP $h {}')dnl\n",
            good.port()
        ),
        hosts: "127.0.0.3 good.example\n127.0.0.4 dead.example worse.example\n".into(),
        dns_port: names.port,
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example"], "one");
    good.take(1);
    site.logged(&[
        "to=<x@b.example>",
        "relay=good.example. [127.0.0.3]",
        "stat=Sent",
    ]);
    site.send("joe@a.example", &["x@second.example"], "two");
    good.take(1);
    for (to, want) in [
        (
            "x@null.example",
            "dsn=5.1.10, stat=Domain null.example does not accept mail (null MX)",
        ),
        (
            "x@ours.example",
            "dsn=5.3.5, stat=MX list for ours.example points back to mx.relay.example",
        ),
        (
            "x@loop.example",
            "dsn=5.4.6, stat=loopback.example leads to an address of this host itself",
        ),
        (
            "x@zero.example",
            "dsn=5.4.6, stat=zero.example leads to an address of this host itself",
        ),
        (
            "x@broken.example",
            "dsn=4.4.3, stat=Deferred: Name server: broken.example: host name lookup failure",
        ),
        (
            "x@missing.example",
            "dsn=5.1.2, stat=Host unknown (Name server: missing.example: host not found)",
        ),
        (
            "x@half.example",
            "dsn=5.1.2, stat=Host unknown (Name server: nowhere.example: host not found)",
        ),
    ] {
        site.send("joe@a.example", &[to], "x");
        let line = site.logged(&[&format!("to=<{to}>")]);
        assert!(line.contains(want), "{line}");
    }
}

#[test]
fn fallbacks() {
    let sink = Sink::start(Habits::default());
    let names = zone(&[
        ("b.example MX", &["10 dead.example"]),
        ("broken.example *", &["TEMP"]),
        ("null.example MX", &["0 ."]),
        (
            "second.example MX",
            &["5 dead.example", &format!("10 {HOST}"), "20 worse.example"],
        ),
        (
            "ours.example MX",
            &[&format!("10 {HOST}"), "20 dead.example"],
        ),
    ]);
    let fallback = |option: &str| {
        Site::start(&Setup {
            mc: format!(
                "define(`{option}', `[127.0.0.1]:{}')dnl\ndefine(`ESMTP_MAILER_ARGS', `TCP $h {}')dnl\n",
                sink.port(),
                closed_port()
            ),
            hosts: "127.0.0.4 dead.example\n".into(),
            dns_port: names.port,
            ..Setup::default()
        })
    };
    let site = fallback("confFALLBACK_MX");
    site.send("joe@a.example", &["x@b.example"], "one");
    site.send("joe@a.example", &["x@broken.example"], "two");
    // As sendmail has it, where names of the world are unknown here.
    site.send("joe@a.example", &["x@missing.example"], "three");
    sink.take(3);
    // It would stand behind us.
    site.send("joe@a.example", &["x@second.example"], "four");
    let line = site.logged(&["to=<x@second.example>"]);
    assert!(line.contains("stat=Deferred: Connection refused"), "{line}");
    let nobody = |site: &Site| {
        for (to, dsn) in [("x@null.example", "5.1.10"), ("x@ours.example", "5.3.5")] {
            site.send("joe@a.example", &[to], "text");
            let line = site.logged(&[&format!("to=<{to}>")]);
            assert!(line.contains(&format!("dsn={dsn}")), "{line}");
        }
    };
    nobody(&site);
    let site = fallback("confFALLBACK_SMARTHOST");
    site.send("joe@a.example", &["x@b.example"], "one");
    site.send("joe@a.example", &["x@missing.example"], "two");
    site.send("joe@a.example", &["x@second.example"], "three");
    sink.take(3);
    nobody(&site);
}

#[test]
fn a_smart_host_takes_it_all_and_loops_are_seen() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        mc: format!(
            "define(`SMART_HOST', `relay:[127.0.0.1]:{}')dnl\n",
            sink.port()
        ),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example", "y@c.example"], "one");
    let got = sink.take(1).remove(0);
    assert_eq!(got.rcpt.len(), 2, "one transaction for both: {got:?}");
    let mirror = Sink::start(Habits {
        replies: vec![("EHLO", "250 mx.relay.example hello")],
        ..Habits::default()
    });
    let site = Site::start(&Setup {
        mc: format!(
            "define(`SMART_HOST', `relay:[127.0.0.1]:{}')dnl\n",
            mirror.port()
        ),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=5.3.5, stat=mx.relay.example config error: mail loops back to me"),
        "{line}"
    );
}

#[test]
fn lmtp_by_tcp() {
    let sink = Sink::start(Habits {
        lmtp: true,
        keywords: vec!["PIPELINING"],
        ..Habits::default()
    });
    let site = Site::start(&Setup {
        mailertable: "b.example\tstore:[127.0.0.1]\n".into(),
        tail: format!(
            "MAILER_DEFINITIONS\nMstore, P=[IPC], F=mDFMuXz, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, A=TCP $h {}\n",
            sink.port()
        ),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example", "y@b.example"], "one");
    assert_eq!(sink.take(1)[0].rcpt.len(), 2);
    assert_eq!(sink.commands()[0], format!("LHLO {HOST}"));
    for to in ["x", "y"] {
        site.logged(&[
            &format!("to=<{to}@b.example>"),
            "mailer=store",
            "stat=Sent (2.0.0 taken",
        ]);
    }
}

#[test]
fn lmtp_by_a_socket_of_this_machine() {
    let setup = Setup {
        mailertable: "b.example\tstore:anything\n".into(),
        tail: "MAILER_DEFINITIONS\nMstore, P=[IPC], F=mDFMuXz, S=EnvFromSMTP/HdrFromSMTP, \
             R=EnvToSMTP, E=\\r\\n, A=FILE /var/lmtp\n"
            .into(),
        ..Setup::default()
    };
    let root = tempfile::tempdir().unwrap();
    crate::site::lay_out(root.path(), &setup);
    let listener = std::os::unix::net::UnixListener::bind(root.path().join("var/lmtp")).unwrap();
    let heard = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut output = stream.try_clone().unwrap();
        let mut all = Vec::new();
        output.write_all(b"220 store\r\n").unwrap();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            let reply = match line.as_str() {
                "DATA" => "354 go",
                "." => "250 stored",
                _ if all.contains(&"DATA".to_owned()) && !all.contains(&".".to_owned()) => "",
                _ => "250 ok",
            };
            let done = line == ".";
            all.push(line);
            if !reply.is_empty() {
                output.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            }
            if done {
                break;
            }
        }
        all
    });
    let site = Site::run(root);
    site.send("joe@a.example", &["x@b.example"], "one");
    let heard = heard.join().unwrap();
    assert_eq!(heard[0], format!("LHLO {HOST}"));
    assert!(
        heard.contains(&"RCPT TO:<x@b.example>".to_owned()),
        "{heard:?}"
    );
    site.logged(&["to=<x@b.example>", "relay=/var/lmtp", "stat=Sent (stored)"]);
}

#[test]
fn connect_only_to_and_one_at_a_time() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        mc: format!(
            "define(`confCONNECT_ONLY_TO', `[127.0.0.1]:{}')dnl\ndefine(`confSINGLE_THREAD_DELIVERY', `True')dnl\n",
            sink.port()
        ),
        mailertable: "b.example\tesmtp:[192.0.2.1]\n".into(),
        ..Setup::default()
    });
    for _ in 0..5 {
        site.send("joe@a.example", &["x@b.example"], "one");
    }
    sink.take(5);
}

#[test]
fn from_the_address_that_client_options_name() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        // The last of a family counts.
        mc: "CLIENT_OPTIONS(`Family=inet, Addr=127.0.0.8')dnl\n\
             CLIENT_OPTIONS(`Family=inet, Addr=127.0.0.9')dnl\n"
            .into(),
        mailertable: format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port()),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example"], "one");
    assert_eq!(sink.take(1)[0].from, "127.0.0.9");
}

/// Two hosts by mailertable, and a name of a stranger's that leads to the first.
fn two_hosts(names: &NameServer, sinks: [&Sink; 2]) -> Site {
    Site::start(&Setup {
        mailertable: format!(
            "ours.example\tesmtp:[127.0.0.1]:{}\nvictim.example\tesmtp:[127.0.0.1]:{}\n",
            sinks[0].port(),
            sinks[1].port()
        ),
        dns_port: names.port,
        ..Setup::default()
    })
}

#[test]
fn mail_goes_where_policy_saw_it_go_whatever_dns_says_then() {
    let (ours, victim) = (
        Sink::start(Habits::default()),
        Sink::start(Habits::default()),
    );
    let names = zone(&[
        ("x.evil.example CNAME", &["ours.example"]),
        ("ours.example A", &["192.0.2.1"]),
        ("victim.example A", &["192.0.2.2"]),
    ]);
    let site = two_hosts(&names, [&ours, &victim]);
    let mut client = Client::connect(site.port);
    for command in ["MAIL FROM:<joe@a.example>", "RCPT TO:<y@x.evil.example>"] {
        let reply = client.say(command);
        assert!(reply.starts_with("250"), "{reply}");
    }
    names.change("x.evil.example CNAME", &["victim.example"]);
    client.say("DATA");
    let reply = client.say("one\r\n.");
    assert!(reply.starts_with("250"), "{reply}");
    ours.take(1);
    // The change itself counts for the next message.
    site.send("joe@a.example", &["z@x.evil.example"], "two");
    let got = victim.take(1).remove(0);
    assert!(got.rcpt[0].contains("z@"), "{got:?}");
}

#[test]
fn a_name_that_cannot_be_told_now_is_no_other_host_for_good() {
    let (ours, other) = (
        Sink::start(Habits::default()),
        Sink::start(Habits::default()),
    );
    let names = zone(&[
        ("also.example *", &["TEMP"]),
        ("ours.example A", &["192.0.2.1"]),
    ]);
    let site = two_hosts(&names, [&ours, &other]);
    site.send("joe@a.example", &["y@also.example"], "one");
    site.logged(&["to=<y@also.example>", "dsn=4.4.3", "stat=Deferred"]);
    names.change("also.example *", &[]);
    names.change("also.example CNAME", &["ours.example"]);
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_mailq"))
        .arg("--root")
        .arg(site.root.path())
        .arg("run")
        .output();
    let run = run.unwrap();
    assert!(run.status.success(), "{run:?}");
    ours.take(1);
}

#[test]
fn a_host_that_is_there_at_times_gets_its_mail_when_somebody_asks() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        mailertable: format!(
            "b.example\tdsmtp:[127.0.0.1]:{0}\nc.example\tesmtp:[127.0.0.1]:{0}\n",
            sink.port()
        ),
        ..Setup::default()
    });
    site.send("joe@a.example", &["x@b.example"], "text");
    // One that came later is through.
    site.send("joe@a.example", &["y@c.example"], "text");
    assert_eq!(sink.take(1).remove(0).rcpt, ["RCPT TO:<y@c.example>"]);
    assert_eq!(site.queued(1), 1);
    site.run_queue();
    assert_eq!(sink.take(1).remove(0).rcpt, ["RCPT TO:<x@b.example>"]);
}
