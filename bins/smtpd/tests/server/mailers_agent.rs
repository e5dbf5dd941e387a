//! What the agent runs for a server by its mailers, and what not.

use std::fs;
use std::os::unix::fs::chown;

use crate::agent::{Agent, frame};
use crate::mailers::{ANN, LIST, MAILBOXES, site};
use crate::stage::{is_root, mode};

#[test]
fn the_agent_runs_a_mailers_program_as_the_mailer_does_and_not_otherwise() {
    let site = site(|program| {
        format!(
            "define(`LOCAL_MAILER_PATH', `{program}')dnl\n\
             define(`LOCAL_MAILER_ARGS', `mda -a $h -d $u')dnl\n\
             @MORE@MAILER_DEFINITIONS\n\
             Mlists, P={program}, F=h, U=list:list, S=EnvFromL, A=lists -l $u\n@END@"
        )
    });
    let agent = Agent::start(&site);
    let program = site.path("open/mda");
    let ask = |args: &[&str], uid: u32| agent.run(program.to_str().unwrap(), args, None, uid);
    for (args, uid) in [
        (&["-f", "a@b", "-a", "", "-d", "ann"][..], ANN),
        (&["-l", "ann"], LIST),
    ] {
        let mut work = ask(args, uid);
        work.feed(b"");
        work.end();
        let reply = work.reply().to_string();
        assert!(reply.contains("\"fate\":\"Sent\""), "{args:?}: {reply}");
    }
    // Who is refused is not listened to.
    let refused = |args: &[&str], uid: u32| {
        let reply = ask(args, uid).reply().to_string();
        assert!(
            reply.contains("no mailer of this site"),
            "{args:?}: {reply}"
        );
    };
    for args in [
        &["-m", "/tmp/any-rcfile"][..],
        &["-f", "a@b", "-a", "", "-d", "ann", "-x"],
        &["-l"],
        &[],
    ] {
        refused(args, ANN);
    }
    if is_root() {
        refused(&["-l", "ann"], ANN);
    }
}

#[test]
fn a_group_is_for_what_it_was_named_for() {
    if !is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let site = site(|program| {
        format!(
            "@MORE@MAILER_DEFINITIONS\n\
             Mlists, P={program}, F=h, U=ann:list, S=EnvFromL, A=lists -l $u\n@END@"
        )
    });
    fs::create_dir_all(site.path("var/mail")).unwrap();
    chown(site.path("var/mail"), None, Some(MAILBOXES)).unwrap();
    mode(&site, "var/mail", 0o1777);
    let agent = Agent::start(&site);
    let program = site.path("open/mda");
    let [program, mailbox, file] = [program, site.path("var/mail/ann"), site.path("open/file")]
        .map(|path| path.to_str().unwrap().to_owned());
    let this = env!("CARGO_BIN_EXE_smtpd");
    let to_mailbox = ["deliver-file", "append", "dotlock", &mailbox];
    let to_file = ["deliver-file", "append", "fcntl", &file];
    let of_mailer = ["-l", "ann"];
    let command = ["-c", "true"];
    for (path, args, gid, is_allowed) in [
        (program.as_str(), &of_mailer[..], LIST, true),
        (this, &to_mailbox, MAILBOXES, true),
        (this, &to_file, ANN, true),
        ("/bin/sh", &command, ANN, true),
        (this, &to_mailbox, LIST, false),
        (this, &to_file, LIST, false),
        ("/bin/sh", &command, LIST, false),
        (&program, &of_mailer, MAILBOXES, false),
        (this, &to_file, MAILBOXES, false),
        ("/bin/sh", &command, MAILBOXES, false),
    ] {
        let mut work = agent.run_as(path, args, None, (ANN, gid));
        if is_allowed {
            if path == this {
                // It has frames of its own.
                work.feed(&frame(b""));
            }
            work.feed(b"");
            work.end();
        }
        let reply = work.reply().to_string();
        let want = match is_allowed {
            true => "\"fate\":\"Sent\"".to_owned(),
            false => format!("group {gid} is not one of user {ANN}"),
        };
        assert!(reply.contains(&want), "{path} {args:?} {gid}: {reply}");
    }
}

#[test]
fn the_agent_calls_an_lmtp_program_as_its_mailer_does() {
    let site = site(|program| format!("FEATURE(`local_lmtp', `{program}', `lmtpd -l')dnl"));
    let out = site.path("open/out");
    // It says nothing, and ends.
    let script = format!("#!/bin/sh\necho \"<$*>\" >> {}\n", out.display());
    site.write("open/mda", &script);
    let agent = Agent::start(&site);
    let program = site.path("open/mda");
    let ask = |name: &str| {
        let program = program.to_str().unwrap();
        let args = [
            "deliver-lmtp",
            "mx.example",
            "a@b",
            "ann",
            name,
            program,
            "-l",
        ];
        let mut work = agent.run(env!("CARGO_BIN_EXE_smtpd"), &args, None, ANN);
        if name == "lmtpd" {
            work.feed(b"");
            work.end();
        }
        work.reply().to_string()
    };
    for name in ["sh", "", "-lmtpd"] {
        let reply = ask(name);
        assert!(reply.contains("no mailer of this site"), "{name}: {reply}");
    }
    assert_eq!(fs::read(&out).unwrap(), b"");
    let reply = ask("lmtpd");
    assert!(reply.contains("\"fate\":\"Deferred\""), "{reply}");
    assert_eq!(fs::read(&out).unwrap(), b"<-l>\n");
}
