//! Headers of mail for users, programs and files here.

use std::fs;

use smtpd::tables;

use crate::start;

/// As sendmail 8.17 writes them.
#[test]
fn headers_are_written_by_the_rules_of_the_mailer() {
    let site = start(
        "file: /open/box\nrun: \"|cat > {ROOT}/open/run\"\n",
        |root| {
            let mc = root.join("etc/mail/sendmail.mc");
            let text = fs::read_to_string(&mc).unwrap();
            let features = "FEATURE(`always_add_domain')dnl\nFEATURE(`genericstable')dnl\n\
                        GENERICS_DOMAIN(`mx.test.example')dnl\nFEATURE(`domaintable')dnl\n\
                        MASQUERADE_AS(`test.example')dnl\nMAILER(`local')";
            fs::write(&mc, text.replace("MAILER(`local')", features)).unwrap();
            for (table, entry) in [
                ("genericstable", "ann\tAnn.Smith@test.example\n"),
                ("domaintable", "old.example\ttest.example\n"),
            ] {
                let table = root.join("etc/mail").join(table);
                fs::write(&table, entry).unwrap();
                tables::build_table(&table).unwrap();
            }
        },
    );
    let header = "From: ann\r\nTo: bob, Carol <carol>, x@old.example,\r\n \"Q\" <dave@far.example>\r\n\
                  Reply-To: Ann <ann@mx.test.example>\r\nX-To: bob";
    for (to, file, want) in [
        (
            "bob",
            "var/mail/bob",
            "From: Ann.Smith@test.example\nTo: bob@mx.test.example, Carol <carol@mx.test.example>, x@test.example,\n\
             \t\"Q\" <dave@far.example>\n\
             Reply-To: Ann <Ann.Smith@test.example>\nX-To: bob\n",
        ),
        (
            "run",
            "open/run",
            "From: Ann.Smith@test.example\nTo: bob@mx.test.example, Carol <carol@mx.test.example>, x@test.example,\n",
        ),
        // The mailer of files has no rules of its own.
        (
            "file",
            "open/box",
            "From: ann\nTo: bob, Carol <carol>, x@test.example, \"Q\" <dave@far.example>\n\
             Reply-To: Ann <ann@mx.test.example>\nX-To: bob\n",
        ),
    ] {
        let subject = format!("Subject: to {to}");
        site.send_text(to, &format!("{header}\r\n{subject}\r\n\r\nhello"));
        let text = site.text_with(file, "hello\n");
        assert!(text.contains(want), "{to}: {text}");
        assert!(text.contains(&format!("{subject}\n\nhello\n")), "{text}");
        // What no rule changes stays as it came.
        let plain = "From: Joe  <joe@b.example>\r\nTo:bob@mx.test.example ,\r\n\t y@far.example";
        site.send_text(to, &format!("{plain}\r\n\r\nplain"));
        let text = site.text_with(file, "plain\n");
        let want = plain.replace("\r\n", "\n") + "\n\nplain\n";
        assert!(text.contains(&want), "{to}: {text}");
    }
}
