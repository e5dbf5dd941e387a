//! What mailers define is what is run: paths, arguments, flags and users.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};

use crate::site::Site;
use crate::stage::{aliases, mode, send};

/// A site with a program that writes its arguments, its user and its input down.
fn site(mc: impl Fn(&str) -> String) -> Site {
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
    site.write(
        "etc/mail/sendmail.mc",
        &Site::mc(&mc(program.to_str().unwrap())),
    );
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
    let (mut client, _) = crate::client::Client::hello(server.only_port());
    client.talk(&[("MAIL FROM:<a@b.example>", "250 ")]);
    let reply = client.say("RCPT TO:<boxonly>");
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
}
