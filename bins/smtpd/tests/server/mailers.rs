//! What mailers define is what is run: paths, arguments, flags and users.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};

use crate::client::Client;
use crate::site::Site;
use crate::stage::{aliases, is_root, mode, send};

pub(crate) const ANN: u32 = 54_350;
pub(crate) const LIST: u32 = 54_351;
/// The group of the mailboxes.
pub(crate) const MAILBOXES: u32 = 54_352;
/// DefaultUser of the test sites.
const DEFAULT_USER: u32 = 8;

/// As whom a program runs: as this user where we can become him.
fn ids(uid: u32) -> String {
    match is_root() {
        true => format!("as {uid}:{uid}"),
        false => {
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            format!("as {}:{}", uid.as_raw(), gid.as_raw())
        }
    }
}

/// A site with a program that writes its arguments, its user and its input down.
pub(crate) fn site(mc: impl Fn(&str) -> String) -> Site {
    let site = Site::new("");
    fs::create_dir_all(site.path("open")).unwrap();
    mode(&site, "open", 0o1777);
    let out = site.path("open/out");
    let program = site.path("open/mda");
    let script = format!(
        "#!/bin/sh\n{{ for word in \"$@\"; do printf '<%s>' \"$word\"; done\n\
         echo \" as $(id -u):$(id -g) in $(pwd)\"; cat; echo .; }} >> {}\n",
        out.display()
    );
    site.write("open/mda", &script);
    mode(&site, "open/mda", 0o755);
    site.write("open/out", "");
    mode(&site, "open/out", 0o666);
    let users = format!(
        "ann:x:{ANN}:{ANN}::/home/ann:/bin/sh\nlist:x:{LIST}:{LIST}::/:/bin/false\n\
         root:x:0:0::/root:/bin/sh\n"
    );
    site.write("etc/passwd", &users);
    site.write("etc/group", &format!("list:x:{LIST}:\n"));
    let mc = Site::mc(&mc(program.to_str().unwrap()));
    // Other mailers come behind those that are given.
    let (mc, more) = mc
        .split_once("@MORE@")
        .map_or((mc.as_str(), ""), |pair| pair);
    let (more, rest) = more.split_once("@END@").unwrap_or(("", more));
    site.write("etc/mail/sendmail.mc", &format!("{mc}{rest}{more}"));
    site
}

#[test]
fn commands_run_by_the_shell_that_the_site_names() {
    let site = site(|program| {
        format!(
            "define(`LOCAL_SHELL_PATH', `{program}')dnl\n\
             define(`LOCAL_SHELL_ARGS', `rsh -r $u')dnl"
        )
    });
    let evil = site.path("open/evil");
    aliases(&site, &format!("prog: \"|touch {}\"\n", evil.display()));
    let server = site.start();
    send(&server, "prog");
    let text = site.text_with("open/out", "Subject: to prog");
    let want = format!("<-r><touch {}> as ", evil.display());
    assert!(text.starts_with(&want), "{text}");
    assert!(!evil.exists());
}

/// An LMTP server at this socket that takes everything; its recipients come one by one.
fn lmtp_server(site: &Site, socket: &str) -> Receiver<String> {
    let path = site.path(socket);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    mode(site, socket, 0o777);
    let (recipients, got) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut text = false;
            stream.write_all(b"220 lmtp\r\n").unwrap();
            while let Some(Ok(line)) = lines.next() {
                let reply = match line.as_str() {
                    "." => "250 stored",
                    _ if text => continue,
                    "DATA" => "354 go",
                    _ => "250 ok",
                };
                text = reply.starts_with('3');
                if let Some(recipient) = line.strip_prefix("RCPT TO:") {
                    let _ = recipients.send(recipient.to_owned());
                }
                if writeln!(stream, "{reply}\r").is_err() {
                    break;
                }
            }
        }
    });
    got
}

#[test]
fn users_of_an_lmtp_server_need_not_be_the_systems() {
    let site = site(|_| {
        "FEATURE(`local_lmtp', `[IPC]', `FILE /var/lmtp')dnl\n\
         MODIFY_MAILER_FLAGS(`LOCAL', `-w')dnl"
            .to_owned()
    });
    site.write("etc/passwd", "ann:x:54350:54350::/home/ann:/bin/sh\n");
    site.write("home/ann/.forward", "nobody@far.example\n");
    let got = lmtp_server(&site, "var/lmtp");
    let server = site.start();
    for (to, want) in [("boxonly", "<boxonly>"), ("ann", "<ann>")] {
        send(&server, to);
        let patience = std::time::Duration::from_secs(20);
        assert_eq!(got.recv_timeout(patience).as_deref(), Ok(want));
        server.log_with(&format!("to=<{to}>, delay="));
    }
}

#[test]
fn with_the_flag_w_the_system_is_asked_for_users_of_an_lmtp_server() {
    let site = site(|_| "FEATURE(`local_lmtp', `[IPC]', `FILE /var/lmtp')dnl".to_owned());
    site.write("etc/passwd", "ann:x:54350:54350::/home/ann:/bin/sh\n");
    let got = lmtp_server(&site, "var/lmtp");
    let server = site.start();
    send(&server, "ann");
    let patience = std::time::Duration::from_secs(20);
    assert_eq!(got.recv_timeout(patience).as_deref(), Ok("<ann>"));
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[("MAIL FROM:<a@b.example>", "250 ")]);
    let reply = client.say("RCPT TO:<boxonly>");
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
}

#[test]
fn a_local_mailer_of_the_sites_own_is_run() {
    let site = site(|program| {
        format!(
            "define(`LOCAL_MAILER_PATH', `{program}')dnl\n\
             define(`LOCAL_MAILER_ARGS', `mda -a $h -d $u')dnl"
        )
    });
    let server = site.start();
    send(&server, "ann+detail");
    let text = site.text_with("open/out", "hello\n.\n");
    // OSTYPE(linux) gives it the flags of procmail: the sender in front, and no From line.
    let want = format!("<-f><a@b.example><-a><detail><-d><ann> {} in /\n", ids(ANN));
    assert!(text.starts_with(&want), "{text}");
    assert!(
        text.contains(" in /\nReturn-Path: <a@b.example>\nReceived: "),
        "{text}"
    );
    assert!(
        text.ends_with("\nSubject: to ann+detail\n\nhello\n.\n"),
        "{text}"
    );
    assert!(!site.path("var/mail/ann").exists());
    if is_root() {
        // Nobody's program is run as root.
        send(&server, "root");
        server.log_with("nothing is done as root");
    }
}

#[test]
fn mailers_that_the_mailertable_names_are_run() {
    let site = site(|program| {
        format!(
            "FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl\n\
             define(`PROCMAIL_MAILER_PATH', `{program}')dnl\n\
             @MORE@MAILER(`procmail')dnl\nMAILER_DEFINITIONS\n\
             Mlists, P={program}, F=rFMhslqSu, U=list:list, E=\\r\\n, D=/nonexistent:/tmp,\n\
             \tS=EnvFromL, R=EnvToL/HdrToL, A=lists $h $u x$u,\n\tT=X-Unix\n@END@"
        )
    });
    site.table(
        "etc/mail/mailertable",
        "lists.example lists:HostName\nrc.example procmail:/etc/rc\n",
    );
    let mut mc = fs::read_to_string(site.path("etc/mail/sendmail.mc")).unwrap();
    mc = mc.replace(
        "`confDEF_USER_ID', `8:8'",
        &format!("`confDEF_USER_ID', `{ANN}:{ANN}'"),
    );
    mc.insert_str(0, "RELAY_DOMAIN(`lists.example rc.example')dnl\n");
    site.write("etc/mail/sendmail.mc", &mc);
    let server = site.start();
    send(&server, "\"Joe Doe\"@lists.example");
    let text = site.text_with("open/out", "hello\r\n.\n");
    let want = format!(
        "<-r><a@b.example><HostName><Joe Doe><xJoe Doe> {} in /tmp\nFrom a@b.example ",
        ids(LIST)
    );
    assert!(text.starts_with(&want), "{text}");
    site.write("open/out", "");
    send(&server, "joe@rc.example");
    let text = site.text_with("open/out", "hello\n.\n");
    let want = format!(
        "<-Y><-m></etc/rc><a@b.example><joe@rc.example> {} in /\nReturn-Path: <a@b.example>\n",
        ids(ANN)
    );
    assert!(text.starts_with(&want), "{text}");
    send(&server, "-oQ@lists.example");
    server.log_with("stat=an address that begins with - is no argument of a program");
}

#[test]
fn the_local_mailer_may_be_any_lmtp_server() {
    let site = site(|_| {
        "define(`CYRUSV2_MAILER_ARGS', `FILE /var/lmtp')dnl\n\
         define(`confLOCAL_MAILER', `cyrusv2')dnl\n@MORE@MAILER(`cyrusv2')dnl\n@END@"
            .to_owned()
    });
    let got = lmtp_server(&site, "var/lmtp");
    let server = site.start();
    send(&server, "boxonly");
    let patience = std::time::Duration::from_secs(20);
    assert_eq!(got.recv_timeout(patience).as_deref(), Ok("<boxonly>"));
    let line = server.log_with("to=<boxonly>, delay=");
    assert!(
        line.contains("mailer=cyrusv2") && line.ends_with("stat=Sent"),
        "{line}"
    );
}

#[test]
fn lmtp_is_spoken_with_a_program() {
    let site = site(|program| {
        let program = program.replace("/mda", "/lmtpd");
        format!("FEATURE(`local_lmtp', `{program}', `lmtpd -l')dnl")
    });
    let out = site.path("open/out");
    let script = format!(
        "#!/bin/sh\necho \"<$*> as $(id -u):$(id -g)\" >> {out}\nprintf '220 x\\r\\n'\n\
         while read -r line; do\n\
         line=$(printf %s \"$line\" | tr -d '\\r')\necho \"$line\" >> {out}\n\
         case $line in\nDATA) text=1; printf '354 go\\r\\n';;\n\
         .) text=; printf \"$(cat {said})\\r\\n\";;\nQUIT) exit;;\n\
         *) [ \"$text\" ] || printf '250 ok\\r\\n';;\nesac\ndone\n",
        out = out.display(),
        said = site.path("open/said").display(),
    );
    site.write("open/lmtpd", &script);
    site.write("open/said", "250 stored");
    mode(&site, "open/lmtpd", 0o755);
    let server = site.start();
    send(&server, "ann");
    let text = site.text_with("open/out", "QUIT");
    let want = format!(
        "<-l> {}\nLHLO mail.example.test\nMAIL FROM:<a@b.example>\nRCPT TO:<ann>\nDATA\n\
         Return-Path: <a@b.example>\n",
        ids(ANN)
    );
    assert!(text.starts_with(&want), "{text}");
    let line = server.log_with("to=<ann>, delay=");
    assert!(line.ends_with("dsn=2.0.0, stat=Sent"), "{line}");
    site.write("open/said", "452 4.2.2 full for now");
    send(&server, "ann+x");
    let line = server.log_with("to=<ann+x>, delay=");
    assert!(
        line.ends_with("dsn=4.2.2, stat=Deferred: 452 4.2.2 full for now"),
        "{line}"
    );
    site.write("open/said", "550 5.2.1 closed");
    send(&server, "ann+y");
    let line = server.log_with("to=<ann+y>, delay=");
    assert!(line.ends_with("dsn=5.2.1, stat=550 5.2.1 closed"), "{line}");
}

#[test]
fn a_mailer_that_nobody_can_serve_stops_the_start() {
    for (mc, said) in [
        (
            "define(`confLOCAL_MAILER', `cyrus')dnl",
            "error: confLOCAL_MAILER: there is no mailer cyrus",
        ),
        (
            "@MORE@MAILER_DEFINITIONS\nMx, P=/bin/cat, F=n, S=EnvFromL, A=cat\n@END@",
            "error: mailer x: A= is without $u",
        ),
        (
            "@MORE@MAILER_DEFINITIONS\nMx, P=cat, F=n, S=EnvFromL, A=cat $u\n@END@",
            "error: mailer x: P=cat: expected an absolute path",
        ),
        (
            "@MORE@MAILER_DEFINITIONS\nMx, P=/bin/cat, U=none, F=n, S=EnvFromL, A=cat $u\n@END@",
            "error: mailer x: U=none: none: no such user",
        ),
        (
            "@MORE@MAILER_DEFINITIONS\nMx, P=/bin/cat, U=0:0, F=n, S=EnvFromL, A=cat $u\n@END@",
            "error: mailer x: U=0:0: no program is run as root",
        ),
        (
            "@MORE@MAILER_DEFINITIONS\nMx, P=/bin/cat, /=/srv, F=n, S=EnvFromL, A=cat $u\n@END@",
            "error: mailer x: /= is not done",
        ),
    ] {
        let site = site(|_| mc.to_owned());
        let (status, text) = site.run_to_end(&["check"]);
        assert!(text.contains(said), "{mc}: {text}");
        assert_eq!(status.code(), Some(78), "{text}");
        let (status, text) = site.run_to_end(&[]);
        assert_eq!(status.code(), Some(78), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn a_program_is_called_as_the_mailer_says() {
    for folder in ["", "D=/tmp, "] {
        let site = site(|program| {
            let script = program.replace("/mda", "/script");
            format!(
                "FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl\n\
                 RELAY_DOMAIN(`x.example')dnl\n@MORE@MAILER_DEFINITIONS\n\
                 Mx, P=/bin/sh, F=nh, S=EnvFromL, {folder}A=other {script} $u\n@END@"
            )
        });
        let out = site.path("open/out");
        let script = format!("tr '\\0' ' ' < /proc/$$/cmdline >> {}\n", out.display());
        site.write("open/script", &script);
        site.table("etc/mail/mailertable", "x.example x:x\n");
        let server = site.start();
        send(&server, "joe@x.example");
        let text = site.text_with("open/out", " joe ");
        assert!(text.starts_with("other /"), "{text}");
    }
}

#[test]
fn the_local_mailer_may_be_another_one_with_a_user_of_its_own() {
    let site = site(|program| {
        format!(
            "define(`CYRUS_MAILER_PATH', `{program}')dnl\n\
             define(`CYRUS_MAILER_USER', `list:list')dnl\n\
             define(`confLOCAL_MAILER', `cyrus')dnl\n@MORE@MAILER(`cyrus')dnl\n@END@"
        )
    });
    let server = site.start();
    // He is nobody whom the system knows.
    send(&server, "boxonly+lists.x");
    let text = site.text_with("open/out", "hello\n.\n");
    let want = format!(
        "<-e><-m><lists.x><--><boxonly> {} in /\nReturn-Path: <a@b.example>\n",
        ids(LIST)
    );
    assert!(text.starts_with(&want), "{text}");
    server.log_with("mailer=cyrus, ");
}

#[test]
fn a_backslash_gives_a_local_mailer_without_users_no_other_rights() {
    let site = site(|program| {
        format!(
            "define(`LOCAL_MAILER_PATH', `{program}')dnl\n\
             define(`LOCAL_MAILER_ARGS', `mda -d $u')dnl\n\
             MODIFY_MAILER_FLAGS(`LOCAL', `-w')dnl"
        )
    });
    aliases(&site, "v: \\virt\n");
    let server = site.start();
    // Nobody of this system; quotes; two of whom the system knows, root among them.
    for (to, user) in [
        ("v", "virt"),
        ("\"a\\b\"", "ab"),
        ("\"a\\\"b\"", "a\"b"),
        ("\\ann", "ann"),
        ("\\root", "root"),
    ] {
        site.write("open/out", "");
        send(&server, to);
        let text = site.text_with("open/out", "hello\n.\n");
        let want = format!("<-f><a@b.example><-d><{user}> {} in /\n", ids(DEFAULT_USER));
        assert!(text.starts_with(&want), "{to}: {text}");
    }
}

#[test]
fn a_user_is_unquoted_once() {
    let site = site(|program| {
        format!(
            "FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl\n\
             RELAY_DOMAIN(`s.example raw.example')dnl\n@MORE@MAILER_DEFINITIONS\n\
             Mstrips, P={program}, F=lsDFMn, S=EnvFromL, A=mda $u\n\
             Mraw, P={program}, F=lDFMn, S=EnvFromL, A=mda $u\n@END@"
        )
    });
    site.table(
        "etc/mail/mailertable",
        "s.example strips:x\nraw.example raw:x\n",
    );
    let server = site.start();
    for (to, user) in [
        (r#""a\"b"@s.example"#, r#"a"b"#),
        (r#""x\\y"@s.example"#, r"x\y"),
        (r#""a\"b"@raw.example"#, r#""a\"b""#),
    ] {
        site.write("open/out", "");
        send(&server, to);
        let text = site.text_with("open/out", "hello\n.\n");
        let start = format!("<{user}> as ");
        assert!(text.starts_with(&start), "{to}: {text}");
    }
}

#[test]
fn a_mailer_with_the_shell_of_commands_asks_for_no_login_shell() {
    let site = site(|program| {
        format!(
            "FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl\n\
             RELAY_DOMAIN(`u.example w.example')dnl\n@MORE@MAILER_DEFINITIONS\n\
             Mnamed, P=/bin/sh, U=list:list, F=lsDFMn, S=EnvFromL, A=sh {program} $u\n\
             Musers, P=/bin/sh, F=lsDFMnw, S=EnvFromL, A=sh {program} -u $u\n@END@"
        )
    });
    site.table(
        "etc/mail/mailertable",
        "u.example named:x\nw.example users:x\n",
    );
    let server = site.start();
    // The user of U=, and one who gets mail, both without a login shell.
    for (to, words) in [("joe@u.example", "<joe>"), ("list@w.example", "<-u><list>")] {
        site.write("open/out", "");
        send(&server, to);
        let text = site.text_with("open/out", "hello\n.\n");
        let want = format!("{words} {} in /\n", ids(LIST));
        assert!(text.starts_with(&want), "{to}: {text}");
    }
}

#[test]
fn a_message_over_a_mailers_size_comes_back() {
    let site = site(|program| {
        format!(
            "FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl\n\
             RELAY_DOMAIN(`s.example')dnl\n@MORE@MAILER_DEFINITIONS\n\
             Msmall, P={program}, F=h, S=EnvFromL, M=100, A=small $u\n@END@"
        )
    });
    site.table("etc/mail/mailertable", "s.example small:x\n");
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<joe@s.example>", "250 "),
        ("DATA", "354"),
        (
            &format!("Subject: x\r\n\r\n{}\r\n.", "x".repeat(200)),
            "250 ",
        ),
    ]);
    let line = server.log_with("to=<joe@s.example>");
    assert!(
        line.contains("dsn=5.2.3, stat=Message is too large; 100 bytes max"),
        "{line}"
    );
    assert_eq!(fs::read_to_string(site.path("open/out")).unwrap(), "");
}
