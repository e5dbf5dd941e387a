//! Mail that waits goes by the tables of today.

use std::fs;
use std::path::Path;

use smtpd::tables;

use crate::routes::closed_port;
use crate::sink::{Habits, Sink};
use crate::site::{Setup, Site};

/// Writes a table of /etc/mail and builds it.
fn table(root: &Path, name: &str, text: &str) {
    let path = root.join("etc/mail").join(name);
    fs::write(&path, text).unwrap();
    match name {
        "aliases" => tables::build_aliases(&path).unwrap(),
        _ => tables::build_table(&path).unwrap(),
    };
}

/// Replaces a text in the configuration.
fn configure(root: &Path, old: &str, new: &str) {
    let path = root.join("etc/mail/sendmail.mc");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(&path, text.replace(old, new)).unwrap();
}

/// A site that reaches nobody yet: its smart host is dead.
fn stranded(mc: &str) -> (Site, String) {
    let smart_host = format!(
        "define(`SMART_HOST', `relay:[127.0.0.1]:{}')dnl\n",
        closed_port()
    );
    let site = Site::start(&Setup {
        mc: format!("{smart_host}{mc}"),
        ..Setup::default()
    });
    (site, smart_host)
}

fn smart_host(sink: &Sink) -> String {
    format!(
        "define(`SMART_HOST', `relay:[127.0.0.1]:{}')dnl\n",
        sink.port()
    )
}

#[test]
fn another_smart_host_takes_what_waits() {
    let sink = Sink::start(Habits {
        keywords: vec!["DSN"],
        ..Habits::default()
    });
    let (site, before) = stranded("");
    let to = "x@b.example *NOTIFY=SUCCESS,DELAY ORCPT=rfc822;y@c.example";
    site.send("joe@a.example", &[to], "one");
    site.logged(&["to=<x@b.example>", "stat=Deferred: Connection refused"]);
    configure(site.root.path(), &before, &smart_host(&sink));
    site.hang_up();
    site.run_queue();
    let got = sink.take(1).remove(0);
    assert_eq!(
        got.rcpt,
        ["RCPT TO:<x@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;y@c.example"]
    );
    site.logged(&["to=<x@b.example>", "rerouted: mailer=relay"]);
    assert_eq!(site.queued(0), 0);
}

#[test]
fn tables_count_without_a_signal() {
    let sink = Sink::start(Habits::default());
    let (site, _) = stranded(
        "FEATURE(`virtusertable', `hash -o /etc/mail/virtusertable')dnl\n\
         VIRTUSER_DOMAIN(`virt.example')dnl\n",
    );
    let root = site.root.path();
    table(
        root,
        "aliases",
        "list: x@typo.example\nmany: p@b.example, q@b.example\n",
    );
    let to = ["list", "info@virt.example", "y@b.example", "many"];
    for to in to {
        site.send("joe@a.example", &[to], "one");
        site.logged(&[&format!("to=<{to}>"), "stat=Deferred: Connection refused"]);
    }
    table(
        root,
        "aliases",
        "list: x@b.example\nmany: p@b.example, r@b.example\n",
    );
    table(root, "virtusertable", "info@virt.example\tz@b.example\n");
    let route = format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port());
    table(root, "mailertable", &route);
    site.run_queue();
    let mut got: Vec<String> = sink.take(4).into_iter().flat_map(|got| got.rcpt).collect();
    got.sort();
    // The members of a list are those of the day on which it was expanded.
    let want = ["p", "q", "x", "y", "z"].map(|name| format!("RCPT TO:<{name}@b.example>"));
    assert_eq!(got, want);
    assert_eq!(site.queued(0), 0);
}

#[test]
fn a_domain_that_moves_here_while_the_server_is_down() {
    let sink = Sink::start(Habits::default());
    let (site, before) = stranded("dnl domains\n");
    site.send(
        "joe@b.example",
        &[
            "list@moved.example *NOTIFY=NEVER",
            "nobody@moved.example",
            "x@b.example",
        ],
        "one",
    );
    site.logged(&["to=<x@b.example>", "stat=Deferred: Connection refused"]);
    let root = site.stop();
    configure(root.path(), &before, "");
    configure(
        root.path(),
        "dnl domains",
        "LOCAL_DOMAIN(`moved.example')dnl",
    );
    table(
        root.path(),
        "aliases",
        "postmaster: root\nlist: \"/tmp-of-test/list\", y@b.example\n",
    );
    let route = format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port());
    table(root.path(), "mailertable", &route);
    let site = Site::run(root);
    site.run_queue();
    let mut got: Vec<String> = sink.take(2).into_iter().flat_map(|got| got.rcpt).collect();
    got.sort();
    // One notice, of the unknown user alone; the file that can't be written was not asked after.
    let want = ["joe", "x", "y"].map(|name| format!("RCPT TO:<{name}@b.example>"));
    assert_eq!(got, want);
    site.logged(&["to=<nobody@moved.example>", "dsn=5.1.1"]);
    assert_eq!(site.queued(0), 0);
    assert!(sink.commands().iter().filter(|c| c.contains("<y@")).count() == 1);
}

#[test]
fn a_crash_between_the_new_route_and_the_end() {
    let good = Sink::start(Habits::default());
    let stuck = Sink::start(Habits {
        replies: vec![("RCPT", "#SLEEP")],
        ..Habits::default()
    });
    let (site, before) = stranded("dnl domains\n");
    site.send(
        "joe@a.example",
        &["list@moved.example", "x@b.example"],
        "one",
    );
    site.logged(&["to=<x@b.example>", "stat=Deferred: Connection refused"]);
    let root = site.root.path();
    configure(root, &before, "");
    configure(root, "dnl domains", "LOCAL_DOMAIN(`moved.example')dnl");
    table(
        root,
        "aliases",
        "postmaster: root\nlist: y@b.example, z@c.example\n",
    );
    let route = |to_c: u16| {
        let to_b = good.port();
        format!("b.example\tesmtp:[127.0.0.1]:{to_b}\nc.example\tesmtp:[127.0.0.1]:{to_c}\n")
    };
    table(root, "mailertable", &route(stuck.port()));
    site.hang_up();
    site.run_queue();
    let mut got: Vec<String> = good.take(1).into_iter().flat_map(|got| got.rcpt).collect();
    got.sort();
    assert_eq!(got, ["RCPT TO:<x@b.example>", "RCPT TO:<y@b.example>"]);
    site.logged(&["to=<list@moved.example>", "stat=Sent"]);
    // What became of them is written down after they are logged.
    while site.listed().matches(r#""progress":"Done""#).count() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let root = site.stop();
    table(root.path(), "mailertable", &route(good.port()));
    let site = Site::run(root);
    site.run_queue();
    assert_eq!(good.take(1).remove(0).rcpt, ["RCPT TO:<z@c.example>"]);
    assert_eq!(site.queued(0), 0);
}
