//! Text that the next host may not understand: 8BITMIME and SMTPUTF8.

use crate::sink::{Habits, Sink};
use crate::site::{Client, Setup, Site};

fn start(sink: &Sink, mailer: &str) -> Site {
    Site::start(&Setup {
        mc: "define(`confSMTPUTF8', `True')dnl\n".into(),
        mailertable: format!("b.example\t{mailer}:[127.0.0.1]:{}\n", sink.port()),
        ..Setup::default()
    })
}

const LABELLED: &str = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n\
    Content-Transfer-Encoding: 8bit\n\ngr\u{fc}n = gut ";

#[test]
fn text_is_recoded_for_a_host_without_8bitmime() {
    let old = Sink::start(Habits::default());
    let site = start(&old, "esmtp");
    site.send("joe@a.example *BODY=8BITMIME", &["x@b.example"], LABELLED);
    let got = old.take(1).remove(0);
    let text = got.lines();
    assert_eq!(got.mail, "MAIL FROM:<joe@a.example>");
    assert!(text.ends_with("\n\ngr=FCn =3D gut=20\n"), "{text}");
    assert!(
        text.contains("\nContent-Transfer-Encoding: quoted-printable\n"),
        "{text}"
    );
    assert!(!text.contains("8bit\n"), "{text}");
    let parts = "Subject: x\nContent-Type: multipart/signed; boundary=x\n\n--x\n\ngr\u{fc}n\n--x--";
    // What can't be recoded goes as it is (pass8); a header has no coding of its own.
    site.send("joe@a.example *BODY=8BITMIME", &["y@b.example"], parts);
    let got = old.take(1).remove(0);
    assert_eq!(got.mail, "MAIL FROM:<joe@a.example>");
    assert!(got.lines().ends_with("\n--x\n\ngr\u{fc}n\n--x--\n"));
    let raw = LABELLED.replace("Subject: x", "Subject: gr\u{fc}n");
    site.send("joe@a.example *BODY=8BITMIME", &["y@b.example"], &raw);
    let text = old.take(1).remove(0).lines();
    assert!(text.contains("\nSubject: gr\u{fc}n\n") || text.starts_with("Subject: gr\u{fc}n\n"));
    assert!(text.ends_with("\n\ngr=FCn =3D gut=20\n"), "{text}");
    // Unless the site is strict about it.
    let strict = Site::start(&Setup {
        mc: "define(`confEIGHT_BIT_HANDLING', `strict')dnl\n".into(),
        mailertable: format!("b.example\tesmtp:[127.0.0.1]:{}\n", old.port()),
        ..Setup::default()
    });
    strict.send("joe@a.example *BODY=8BITMIME", &["y@b.example"], parts);
    let line = strict.logged(&["to=<y@b.example>"]);
    assert!(
        line.contains("dsn=5.6.3, stat=8-bit text, which the next host does not take"),
        "{line}"
    );
    // Seven bits need no words.
    let plain = parts.replace('\u{fc}', "ue");
    strict.send("joe@a.example *BODY=8BITMIME", &["z@b.example"], &plain);
    assert!(old.take(1)[0].lines().ends_with("\n--x\n\ngruen\n--x--\n"));
    strict.logged(&["to=<z@b.example>", "stat=Sent"]);
}

#[test]
fn a_notice_reaches_a_sender_whose_host_takes_seven_bits() {
    let old = Sink::start(Habits {
        replies: vec![("RCPT TO:<gone", "550 5.1.1 nobody of that name")],
        ..Habits::default()
    });
    let site = start(&old, "esmtp");
    let text = "Subject: x\n\ngr\u{fc}n\n";
    site.send("joe@b.example *BODY=8BITMIME", &["gone@b.example"], text);
    let got = old.take(1).remove(0);
    assert_eq!(
        (got.mail.as_str(), got.rcpt.as_slice()),
        ("MAIL FROM:<>", &["RCPT TO:<joe@b.example>".to_owned()][..])
    );
    assert!(got.lines().contains("gr\u{fc}n"), "{}", got.lines());
}

#[test]
fn an_address_that_an_alias_names_may_need_smtputf8() {
    let aliases = vec![(
        "etc/mail/aliases",
        "wide: jo\u{308}rg@b.example\n".to_owned(),
        0o644,
    )];
    let setup = |sink: &Sink| Setup {
        mc: "define(`confSMTPUTF8', `True')dnl\n".into(),
        mailertable: format!("b.example\tesmtp:[127.0.0.1]:{}\n", sink.port()),
        files: aliases.clone(),
        ..Setup::default()
    };
    let wide = format!("wide@{}", crate::site::HOST);
    let new = Sink::start(Habits {
        keywords: vec!["8BITMIME", "SMTPUTF8"],
        ..Habits::default()
    });
    let site = Site::start(&setup(&new));
    site.send("joe@a.example", &[&wide], "text");
    let got = new.take(1).remove(0);
    assert!(got.mail.ends_with(" SMTPUTF8"), "{}", got.mail);
    let old = Sink::start(Habits::default());
    let site = Site::start(&setup(&old));
    site.send("joe@a.example", &[&wide], "text");
    let line = site.logged(&["stat=SMTPUTF8 required but not supported"]);
    assert!(line.contains("dsn=5.6.7"), "{line}");
}

#[test]
fn text_stays_as_it_is_for_all_others() {
    let new = Sink::start(Habits {
        keywords: vec!["8BITMIME"],
        ..Habits::default()
    });
    let site = start(&new, "esmtp");
    site.send("joe@a.example *BODY=8BITMIME", &["x@b.example"], LABELLED);
    let got = new.take(1).remove(0);
    assert_eq!(got.mail, "MAIL FROM:<joe@a.example> BODY=8BITMIME");
    assert!(got.lines().ends_with("\n\ngr\u{fc}n = gut \n"));
    // The relay mailer (flag 8) sends it to anybody, and so goes what nobody declared.
    let old = Sink::start(Habits::default());
    let site = start(&old, "relay");
    site.send("joe@a.example *BODY=8BITMIME", &["x@b.example"], LABELLED);
    assert!(old.take(1)[0].lines().ends_with("\n\ngr\u{fc}n = gut \n"));
    let site = start(&old, "esmtp");
    site.send("joe@a.example", &["x@b.example"], LABELLED);
    assert!(old.take(1)[0].lines().ends_with("\n\ngr\u{fc}n = gut \n"));
}

#[test]
fn addresses_beyond_ascii() {
    let old = Sink::start(Habits::default());
    let site = start(&old, "esmtp");
    let mut client = Client::connect(site.port);
    // Characters above 255 go out as UTF-8.
    let reply = client.send("joe@a.example *SMTPUTF8", &["\u{4e2d}@b.example"], "text");
    assert!(reply.starts_with("250"), "{reply}");
    let line = site.logged(&["stat=SMTPUTF8 required but not supported"]);
    assert!(line.contains("dsn=5.6.7"), "{line}");
    // It was asked for, but nothing needs it.
    client.send("joe@a.example *SMTPUTF8", &["x@b.example"], "text");
    old.take(1);
    let new = Sink::start(Habits {
        keywords: vec!["8BITMIME", "SMTPUTF8"],
        ..Habits::default()
    });
    let site = start(&new, "esmtp");
    let mut client = Client::connect(site.port);
    client.send("joe@a.example *SMTPUTF8", &["\u{4e2d}@b.example"], "text");
    let got = new.take(1).remove(0);
    assert!(got.mail.ends_with(" SMTPUTF8"), "{}", got.mail);
    assert!(got.rcpt[0].contains('\u{4e2d}'), "{:?}", got.rcpt);
}
