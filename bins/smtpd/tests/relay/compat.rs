//! FEATURE(compat_check): copies that the access map lets nobody send there.

use smtpd::tables;

use crate::sink::{Habits, Sink};
use crate::site::{HOST, Setup, Site};

fn setup(sink: &Sink, access: &str) -> Setup {
    Setup {
        mc: "FEATURE(`compat_check')dnl\n".into(),
        tail: format!(
            "MAILER_DEFINITIONS\nMstore, P=[IPC], F=mDFMuXz, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, A=TCP $h {}\n",
            sink.port()
        ),
        mailertable: format!(
            "b.example\tesmtp:[127.0.0.1]:{}\nstore.example\tstore:[127.0.0.1]\n",
            sink.port()
        ),
        access: access.into(),
        ..Setup::default()
    }
}

const SENDER: &str = "bad@a.example";

#[test]
fn copies_for_other_hosts() {
    for (domain, lmtp) in [("b.example", false), ("store.example", true)] {
        let sink = Sink::start(Habits {
            lmtp,
            ..Habits::default()
        });
        let access = format!(
            "Compat:{SENDER}<@>no@{domain}\tERROR:550 not there\n\
             Compat:{SENDER}<@>gone@{domain}\tDISCARD\n\
             Compat:{SENDER}<@>other@{domain}\tDISCARDED\n\
             Compat:{SENDER}<@>wait@{domain}\tTEMP:450 not yet\n"
        );
        let site = Site::start(&setup(&sink, &access));
        let [no, gone, other, wait] =
            ["no", "gone", "other", "wait"].map(|who| format!("{who}@{domain}"));
        let to = [
            format!("{gone} *NOTIFY=SUCCESS"),
            no.clone(),
            other.clone(),
            wait.clone(),
        ];
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        // The notice comes to nothing here, and it is this one that says so.
        site.send(SENDER, &to, "one");
        let got = sink.take(1).remove(0);
        assert_eq!(got.rcpt, [format!("RCPT TO:<{other}>")]);
        let ruled = |who: &str| {
            format!("ruleset=check_compat, arg1=<{SENDER}>, arg2=<{who}>, relay={HOST} [")
        };
        let reject = "reject=550 5.0.0 not there error from check_compat";
        site.logged(&[&ruled(&no), reject]);
        let mailer = if lmtp { "mailer=store" } else { "mailer=esmtp" };
        let stat = "dsn=5.5.0, stat=Service unavailable";
        site.logged(&[&format!("to=<{no}>, delay="), mailer, stat]);
        site.logged(&["DSN: 550 5.0.0 not there error from check_compat"]);
        site.logged(&[&ruled(&gone), ", discard"]);
        let text = "450 not yet error from check_compat. Try again later";
        let stat = format!("dsn=4.2.0, stat=Deferred: {text}");
        site.logged(&[&format!("to=<{wait}>"), &stat]);
        // One is gone without a word, and what waits goes by the map of that day.
        for never in [
            format!("to=<{gone}>"),
            "Return receipt".into(),
            ruled(&other),
        ] {
            assert!(!site.log().contains(&never), "{never}: {}", site.log());
        }
        let source = site.root.path().join("etc/mail/access");
        let now = format!("Connect:127.0.0.1\tRELAY\nCompat:{SENDER}<@>{other}\tDISCARD\n");
        std::fs::write(&source, now).unwrap();
        tables::build_table(&source).unwrap();
        site.run_queue();
        assert_eq!(sink.take(1)[0].rcpt, [format!("RCPT TO:<{wait}>")]);
        site.send(SENDER, &[&no, &other], "two");
        assert_eq!(sink.take(1)[0].rcpt, [format!("RCPT TO:<{no}>")]);
    }
}

#[test]
fn notices_and_the_null_sender_are_asked_for_too() {
    let sink = Sink::start(Habits::default());
    let site = Site::start(&setup(
        &sink,
        "Compat:<><@>x@b.example\tDISCARD\n\
         Compat:joe@b.example<@>x@b.example\tERROR:550 no\n\
         Compat:mailer-daemon<@>joe@b.example\tDISCARD\n",
    ));
    site.send("", &["x@b.example"], "one");
    site.logged(&["arg1=<>, arg2=<x@b.example>", "discard"]);
    site.send("joe@b.example", &["x@b.example"], "two");
    site.logged(&["arg1=MAILER-DAEMON, arg2=<joe@b.example>", "discard"]);
    assert_eq!(site.queued(0), 0);
    assert!(sink.commands().is_empty());
}

#[test]
fn a_refusal_does_not_last_with_soft_bounce() {
    let sink = Sink::start(Habits::default());
    let mut setup = setup(
        &sink,
        &format!("Compat:{SENDER}<@>x@b.example\tERROR:550 no\n"),
    );
    setup.mc.push_str("define(`confSOFT_BOUNCE', `True')dnl\n");
    let site = Site::start(&setup);
    site.send(SENDER, &["x@b.example"], "one");
    site.logged(&["to=<x@b.example>", "dsn=4.5.0, stat=Deferred: 550 5.0.0 no"]);
    assert_eq!(site.queued(1), 1);
}
