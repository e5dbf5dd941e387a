//! A host that takes everything.

use crate::sink::{Habits, Sink};
use crate::site::{Setup, Site};

fn to_sink(sink: &Sink) -> Setup {
    Setup {
        mailertable: format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port()),
        ..Setup::default()
    }
}

#[test]
fn a_message_goes_to_its_host() {
    let sink = Sink::start(Habits {
        keywords: vec!["PIPELINING", "SIZE 1000000", "8BITMIME", "DSN"],
        ..Habits::default()
    });
    let site = Site::start(&to_sink(&sink));
    site.send(
        "joe@a.example *RET=HDRS ENVID=e1",
        &[
            "x@b.example *NOTIFY=SUCCESS ORCPT=rfc822;X@b.example",
            "y@b.example",
        ],
        "Subject: one\nFrom: joe@a.example\nTo: x@b.example\n\n..dot\nlast",
    );
    let got = sink.take(1).remove(0);
    assert!(
        got.mail.starts_with("MAIL FROM:<joe@a.example> SIZE="),
        "{}",
        got.mail
    );
    assert!(got.mail.ends_with(" RET=HDRS ENVID=e1"), "{}", got.mail);
    assert_eq!(
        got.rcpt,
        [
            "RCPT TO:<x@b.example> NOTIFY=SUCCESS ORCPT=rfc822;X@b.example",
            "RCPT TO:<y@b.example>"
        ]
    );
    let text = got.lines();
    assert!(text.starts_with("Received: from client.example"), "{text}");
    assert!(text.ends_with("\n\n.dot\nlast\n"), "{text}");
    let line = site.logged(&["to=<x@b.example>", "mailer=esmtp"]);
    assert!(
        line.contains("relay=[127.0.0.1] [127.0.0.1]:")
            && line.contains(", dsn=2.0.0, stat=Sent (2.0.0 taken as 4711)"),
        "{line}"
    );
}

#[test]
fn lines_are_as_long_as_the_mailer_says() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&Setup {
        mailertable: format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port()),
        ..Setup::default()
    });
    site.send(
        "joe@a.example",
        &["x@b.example"],
        &format!("Subject: x\n\n{}\nz", "y".repeat(1000)),
    );
    let text = sink.take(1).remove(0).lines();
    let body = format!("\n\n{}!\n {}\nz\n", "y".repeat(989), "y".repeat(11));
    assert!(text.ends_with(&body), "{text}");
}
