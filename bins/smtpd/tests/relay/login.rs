//! AUTH as client: from the access map, and from the DefaultAuthInfo file.

use crate::sink::{Habits, Sink};
use crate::site::{Setup, Site};

const ENTRY: &str = "AuthInfo:sink.example\t\"U:joe\" \"P:hush\" \"M:PLAIN\"\n";
/// `\0joe\0hush`.
const PLAIN: &str = "AUTH PLAIN AGpvZQBodXNo";

fn sink(keywords: &[&'static str]) -> Sink {
    Sink::start(Habits {
        keywords: keywords.to_vec(),
        replies: vec![
            (PLAIN, "235 2.7.0 yes"),
            ("AUTH CRAM-MD5", "334 PDE+"),
            // `joe` and a digest by the password over `<1>`.
            ("am9lIDJ", "235 2.7.0 yes"),
            ("AUTH", "535 5.7.8 no"),
        ],
        ..Habits::default()
    })
}

fn setup(sink: &Sink, access: &str) -> Setup {
    Setup {
        mailertable: format!("b.example\tesmtp:[sink.example]:{}\n", sink.port()),
        hosts: "127.0.0.1 sink.example\n".into(),
        access: access.into(),
        ..Setup::default()
    }
}

#[test]
fn a_password_goes_under_tls_only() {
    let secured = sink(&["STARTTLS", "AUTH PLAIN"]);
    let site = Site::start(&setup(&secured, ENTRY));
    site.send("joe@a.example", &["x@b.example"], "one");
    let got = secured.take(1).remove(0);
    assert_eq!((got.tls, got.login.as_str()), (true, PLAIN));
    let line = site.logged(&["AUTH=client"]);
    assert!(
        line.contains("relay=sink.example., mech=PLAIN, bits=0"),
        "{line}"
    );
    assert!(!site.log().contains("hush") && !site.log().contains("AGpvZQ"));
    let clear = sink(&["AUTH PLAIN"]);
    let site = Site::start(&setup(&clear, ENTRY));
    site.send("joe@a.example", &["x@b.example"], "one");
    assert_eq!(clear.take(1)[0].login, "");
    site.logged(&[
        "AUTH=client",
        "no password is told without TLS, offered PLAIN",
    ]);
    // The site says so itself: no TLS with this host, and PLAIN.
    let asked = format!("{ENTRY}Try_TLS:sink.example\tNO\n");
    let site = Site::start(&setup(&clear, &asked));
    site.send("joe@a.example", &["x@b.example"], "one");
    assert_eq!(clear.take(1)[0].login, PLAIN);
}

#[test]
fn a_login_that_fails_keeps_the_mail() {
    let sink = sink(&["STARTTLS", "AUTH PLAIN"]);
    let entry = ENTRY.replace("hush", "wrong");
    let site = Site::start(&setup(&sink, &entry));
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=4.7.8, stat=Deferred: AUTH failed"),
        "{line}"
    );
    site.logged(&["AUTH=client", "PLAIN: 535 5.7.8 no"]);
    assert!(!site.log().contains("wrong"));
}

#[test]
fn what_is_refused_for_want_of_a_login_waits() {
    let refusing = |reply| {
        Sink::start(Habits {
            replies: vec![("RCPT", reply)],
            ..Habits::default()
        })
    };
    // STARTTLS and AUTH were taken out on the way, or the server has a bad day.
    for reply in [
        "530 5.7.0 Authentication required",
        "554 5.7.1 Relay access denied",
        "550 relay not permitted",
    ] {
        let sink = refusing(reply);
        let site = Site::start(&setup(&sink, ENTRY));
        site.send("joe@a.example", &["x@b.example"], "one");
        let line = site.logged(&["to=<x@b.example>"]);
        let want = format!("dsn=4.7.0, stat=Deferred: no login at this server: {reply}");
        assert!(line.contains(&want), "{line}");
    }
    // Other refusals are what they are, and so are all where no login is wanted.
    let unknown = refusing("550 5.1.1 nobody here");
    let denied = refusing("554 5.7.1 Relay access denied");
    for (sink, access) in [(&unknown, ENTRY), (&denied, "")] {
        let site = Site::start(&setup(sink, access));
        site.send("joe@a.example", &["x@b.example"], "one");
        let line = site.logged(&["to=<x@b.example>"]);
        assert!(line.contains("dsn=5."), "{line}");
    }
}

#[test]
fn the_default_file() {
    let sink = sink(&["STARTTLS", "AUTH PLAIN LOGIN"]);
    let start = |mode| {
        Site::start(&Setup {
            mc: "define(`confDEF_AUTH_INFO', `/etc/mail/default-auth-info')dnl\n".into(),
            files: vec![(
                "etc/mail/default-auth-info",
                "joe\njoe\nhush\nmx\nPLAIN\n".into(),
                mode,
            )],
            ..setup(&sink, "")
        })
    };
    let site = start(0o600);
    site.send("joe@a.example", &["x@b.example"], "one");
    assert_eq!(sink.take(1)[0].login, PLAIN);
    let site = start(0o644);
    site.send("joe@a.example", &["x@b.example"], "two");
    assert_eq!(sink.take(1)[0].login, "");
    site.logged(&[
        "DefaultAuthInfo",
        "others can read or write it; it is not used",
    ]);
}

#[test]
fn two_percent_signs_in_an_entry_are_one_of_the_password() {
    // `\0joe\0hu%4sh` with one percent sign.
    let plain = "AUTH PLAIN AGpvZQBodSU0c2g=";
    let sink = Sink::start(Habits {
        keywords: vec!["STARTTLS", "AUTH PLAIN"],
        replies: vec![(plain, "235 2.7.0 yes"), ("AUTH", "535 5.7.8 no")],
        ..Habits::default()
    });
    let entry = "AuthInfo:sink.example\t\"U:joe\" \"P:hu%%4sh\" \"M:PLAIN\"\n";
    let site = Site::start(&setup(&sink, entry));
    site.send("joe@a.example", &["x@b.example"], "one");
    assert_eq!(sink.take(1)[0].login, plain);
}

#[test]
fn cram_md5_without_tls() {
    let sink = Sink::start(Habits {
        keywords: vec!["AUTH CRAM-MD5 PLAIN"],
        replies: vec![("AUTH CRAM-MD5", "334 PDE+"), ("am9lI", "235 2.7.0 yes")],
        ..Habits::default()
    });
    let entry = "AuthInfo:\t\"U:joe\" \"P:hush\"\n";
    let site = Site::start(&setup(&sink, entry));
    site.send("joe@a.example *AUTH=<>", &["x@b.example"], "one");
    sink.take(1);
    site.logged(&["AUTH=client", "mech=CRAM-MD5"]);
}
