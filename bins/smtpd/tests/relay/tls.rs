//! STARTTLS with servers, as the access map wants it.

use crate::sink::{Habits, Sink};
use crate::site::{Setup, Site};

fn setup(sink: &Sink, access: &str) -> Setup {
    Setup {
        mailertable: format!("b.example\tesmtp:[sink.example]:{}\n", sink.port()),
        hosts: "127.0.0.1 sink.example\n".into(),
        access: access.into(),
        ..Setup::default()
    }
}

fn sink() -> Sink {
    Sink::start(Habits {
        keywords: vec!["STARTTLS", "PIPELINING"],
        ..Habits::default()
    })
}

#[test]
fn tls_where_it_is_offered() {
    let sink = sink();
    let site = Site::start(&setup(&sink, ""));
    site.send("joe@a.example", &["x@b.example"], "one");
    assert!(sink.take(1)[0].tls);
    let line = site.logged(&["STARTTLS=client"]);
    assert!(
        line.contains("relay=sink.example., version=TLSv1.3, verify=FAIL, cipher=TLS_"),
        "{line}"
    );
    let site = Site::start(&setup(&sink, "Try_TLS:sink.example\tNO\n"));
    site.send("joe@a.example", &["x@b.example"], "two");
    assert!(!sink.take(1)[0].tls);
}

#[test]
fn a_known_authority_is_told_from_an_unknown() {
    let sink = sink();
    let with_ca = Setup {
        mc: "define(`confCACERT', `/etc/mail/ca.crt')dnl\n".into(),
        files: vec![("etc/mail/ca.crt", sink.certificate.clone(), 0o644)],
        ..setup(&sink, "TLS_Srv:sink.example\tVERIFY+CN\n")
    };
    let site = Site::start(&with_ca);
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(site.log().contains("verify=OK"), "{}", site.log());
    // rcgen names its certificates otherwise: the CN is not the host's.
    assert!(
        line.contains("Deferred: CN rcgen+20self+20signed+20cert does not match sink.example"),
        "{line}"
    );
    let without_cn = Setup {
        access: "TLS_Srv:sink.example\tVERIFY:112\n".into(),
        ..with_ca
    };
    let site = Site::start(&without_cn);
    site.send("joe@a.example", &["x@b.example"], "two");
    assert!(sink.take(1)[0].tls);
}

#[test]
fn what_is_not_good_enough_waits() {
    let clear = Sink::start(Habits::default());
    let site = Site::start(&setup(&clear, "TLS_Srv:sink.example\tENCR:128\n"));
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=4.7.0, stat=Deferred: encryption too weak 0 less than 128"),
        "{line}"
    );
    let sink = sink();
    let site = Site::start(&setup(&sink, "TLS_Srv:sink.example\tPERM+VERIFY\n"));
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=5.7.0, stat=authentication failed"),
        "{line}"
    );
    assert!(!sink.commands().iter().any(|c| c.starts_with("MAIL")));
    // One recipient wants TLS, the other does not.
    let site = Site::start(&setup(&clear, "TLS_Rcpt:x@b.example\tENCR:1\n"));
    site.send("joe@a.example", &["x@b.example", "y@b.example"], "one");
    assert_eq!(clear.take(1)[0].rcpt, ["RCPT TO:<y@b.example>"]);
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("stat=Deferred: encryption too weak"),
        "{line}"
    );
}

#[test]
fn a_recipient_that_tls_rcpt_cannot_judge_is_not_sent_in_clear() {
    let clear = Sink::start(Habits::default());
    let long = format!("{}.{}@b.example", "a".repeat(200), "b".repeat(100));
    let site = Site::start(&Setup {
        files: vec![("etc/mail/aliases", format!("far: {long}\n"), 0o644)],
        ..setup(&clear, "TLS_Rcpt:b.example\tENCR:1\n")
    });
    site.send("joe@a.example", &["far"], "one");
    let line = site.logged(&["to=<far>"]);
    assert!(
        line.contains("TLS_Rcpt can't judge the recipient"),
        "{line}"
    );
    let sent = clear.commands();
    assert!(!sent.iter().any(|c| c.starts_with("RCPT")), "{sent:?}");
}

#[test]
fn a_handshake_that_fails() {
    let broken = || {
        Sink::start(Habits {
            keywords: vec!["STARTTLS"],
            breaks_tls: true,
            ..Habits::default()
        })
    };
    let sink = broken();
    let site = Site::start(&setup(&sink, ""));
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=4.7.0, stat=Deferred: TLS handshake failed."),
        "{line}"
    );
    assert!(!sink.commands().iter().any(|c| c.starts_with("MAIL")));
    let fallback = "define(`confTLS_FALLBACK_TO_CLEAR', `True')dnl\n";
    let site = Site::start(&Setup {
        mc: fallback.into(),
        ..setup(&sink, "")
    });
    site.send("joe@a.example", &["x@b.example"], "two");
    assert!(!sink.take(1)[0].tls);
    // Not where the site wants TLS.
    let sink = broken();
    let site = Site::start(&Setup {
        mc: fallback.into(),
        ..setup(&sink, "TLS_Srv:sink.example\tENCR:128\n")
    });
    site.send("joe@a.example", &["x@b.example"], "three");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("stat=Deferred: encryption too weak 0"),
        "{line}"
    );
}

#[test]
fn octets_behind_the_reply_to_starttls() {
    let sink = Sink::start(Habits {
        keywords: vec!["STARTTLS"],
        injected: "250-sink\r\n250 AUTH PLAIN\r\n",
        ..Habits::default()
    });
    let site = Site::start(&setup(&sink, ""));
    site.send("joe@a.example", &["x@b.example"], "one");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("stat=Deferred: octets behind the reply to STARTTLS"),
        "{line}"
    );
}

#[test]
fn starttls_that_is_declined() {
    // As from sendmail, the mail goes in clear where no entry asks for more.
    for (reply, access, fate) in [
        ("454 4.7.0 not now", "", "stat=Sent"),
        ("502 5.5.1 what?", "", "stat=Sent"),
        ("501 5.5.4 what?", "", "stat=Sent"),
        ("250 2.0.0 fine", "", "stat=Deferred: STARTTLS failed."),
        (
            "454 4.7.0 not now",
            "TLS_Srv:sink.example\tENCR:112\n",
            "dsn=4.7.0, stat=Deferred: encryption too weak 0 less than 112",
        ),
        (
            "502 5.5.1 what?",
            "TLS_Rcpt:b.example\tVERIFY\n",
            "dsn=4.7.0, stat=Deferred: other side does not support STARTTLS",
        ),
    ] {
        let sink = Sink::start(Habits {
            keywords: vec!["STARTTLS"],
            replies: vec![("STARTTLS", reply)],
            ..Habits::default()
        });
        let site = Site::start(&setup(&sink, access));
        site.send("joe@a.example", &["x@b.example"], "one");
        let line = site.logged(&["to=<x@b.example>"]);
        assert!(line.contains(fate), "{reply} {access}: {line}");
    }
}

#[test]
fn tls_with_one_server_is_as_its_entry_says() {
    let sink = sink();
    let with = |entry: &str| Setup {
        mc: "FEATURE(`tls_session_features')dnl\n\
             define(`confTLS_FALLBACK_TO_CLEAR', `True')dnl\n"
            .into(),
        ..setup(&sink, &format!("TLS_Clt_Features:sink.example\t{entry}\n"))
    };
    let site = Site::start(&with("Options=SSL_OP_NO_TLSv1_3; CipherList=CHACHA20"));
    site.send("joe@a.example", &["x@b.example"], "one");
    assert!(sink.take(1)[0].tls);
    let line = site.logged(&["STARTTLS=client"]);
    assert!(
        line.contains("version=TLSv1.2, verify=FAIL, cipher=ECDHE-ECDSA-CHACHA20-POLY1305"),
        "{line}"
    );
    // What can't be done is done in no other way, and not in clear.
    let site = Site::start(&with("Options=SSL_OP_NO_SUCH"));
    site.send("joe@a.example", &["x@b.example"], "two");
    let line = site.logged(&["to=<x@b.example>"]);
    assert!(
        line.contains("dsn=4.7.0, stat=Deferred: STARTTLS temporarily not possible."),
        "{line}"
    );
    let line = site.logged(&["STARTTLS=client"]);
    assert!(
        line.contains("reject: SSL_OP_NO_SUCH is no option"),
        "{line}"
    );
    assert!(!site.log().contains("fallback to clear"), "{}", site.log());
    // Without an entry the site's own options count.
    let site = Site::start(&Setup {
        mc: "define(`confCLIENT_SSL_OPTIONS', `+SSL_OP_NO_TLSv1_3')dnl\n".into(),
        ..setup(&sink, "")
    });
    site.send("joe@a.example", &["x@b.example"], "three");
    let line = site.logged(&["STARTTLS=client"]);
    assert!(line.contains("version=TLSv1.2"), "{line}");
}
