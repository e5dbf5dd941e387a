//! Listeners: modifiers, limits of a daemon, passed sockets, reloads, the end.

use std::ffi::CString;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use crate::client::Client;
use crate::site::{Site, wait_until};

#[test]
fn several_daemons_each_with_its_modifiers() {
    let site = Site::new(
        "define(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
DAEMON_OPTIONS(`Name=MSA, Addr=127.0.0.1, Port=0, M=Ea')dnl
DAEMON_OPTIONS(`Name=NOAUTH, Addr=127.0.0.1, Port=0, M=aA')dnl
DAEMON_OPTIONS(`Name=SIX, Family=inet6, Addr=::1, Port=0, M=O')dnl",
    );
    let server = site.start();
    let mail = |name: &str| {
        let (mut client, offers) = Client::hello(server.port(name));
        (client.say("MAIL FROM:<a@b.example>"), offers)
    };
    let (reply, offers) = mail("MTA");
    assert!(
        reply.starts_with("250 ") && offers.contains("ETRN"),
        "{reply} {offers}"
    );
    let (reply, offers) = mail("MSA");
    assert!(
        reply.starts_with("530 5.7.0 ") && !offers.contains("ETRN"),
        "{reply} {offers}"
    );
    // As in sendmail, A overrides a.
    let (reply, offers) = mail("NOAUTH");
    assert!(
        reply.starts_with("250 ") && !offers.contains("AUTH"),
        "{reply} {offers}"
    );
    if server.log().iter().any(|l| l.contains("name=SIX")) {
        let mut client = Client::connect_from("::1", server.port("SIX"));
        assert!(client.reply().starts_with("220 "));
        let hello = client.say("EHLO x");
        assert!(hello.contains("[IPv6:"), "{hello}");
    }
}

#[test]
fn qualified_names_and_unqualified_ones() {
    let site = Site::new(
        "DAEMON_OPTIONS(`Name=PLAIN, Addr=127.0.0.1, Port=0')dnl
DAEMON_OPTIONS(`Name=STRICT, Addr=127.0.0.1, Port=0, M=f')dnl
DAEMON_OPTIONS(`Name=LAX, Addr=127.0.0.1, Port=0, M=u')dnl",
    );
    let server = site.start();
    let mail = |name: &str, sender: &str| {
        // 127.0.0.2 is not this host.
        let mut client = Client::connect_from("127.0.0.2", server.port(name));
        client.reply();
        client.say("EHLO client.example.com");
        client.say(&format!("MAIL FROM:<{sender}>"))
    };
    for (name, sender, want) in [
        ("PLAIN", "joe", "553 5.5.4 "),
        ("PLAIN", "joe@host", "250 "),
        ("STRICT", "joe", "553 5.5.4 "),
        ("STRICT", "joe@host", "553 5.5.4 "),
        ("LAX", "joe", "250 "),
    ] {
        let reply = mail(name, sender);
        assert!(reply.starts_with(want), "{name} {sender}: {reply}");
    }
}

#[test]
fn a_listener_that_is_not_needed_may_fail() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mc = |modifiers: &str| {
        format!(
            "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
DAEMON_OPTIONS(`Name=TAKEN, Addr=127.0.0.1, Port={port}{modifiers}')dnl"
        )
    };
    let site = Site::new(&mc(", M=O"));
    let server = site.start();
    server.log_with(&format!("daemon TAKEN: cannot bind 127.0.0.1:{port}"));
    assert!(server.port("MTA") > 0);
    drop(server);
    site.write("etc/mail/sendmail.mc", &Site::mc(&mc("")));
    let (status, said) = site.run_to_end(&[]);
    assert_eq!(status.code(), Some(69), "{said}");
}

#[test]
fn an_address_of_another_machine_is_told_before_the_start() {
    // The server wants one listener at the least.
    let site = Site::new("DAEMON_OPTIONS(`Name=far, Addr=192.0.2.9, Port=25, M=O')dnl\n");
    let (status, said) = site.run_to_end(&["check"]);
    assert_eq!(status.code(), Some(78), "{said}");
    for (modifiers, code) in [("", 78), (", M=O", 0)] {
        let site = Site::new(&format!(
            "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl\n\
             DAEMON_OPTIONS(`Name=far, Addr=192.0.2.9, Port=25{modifiers}')dnl\n"
        ));
        let (status, said) = site.run_to_end(&["check"]);
        assert_eq!(status.code(), Some(code), "{said}");
        let line = said.lines().find(|line| line.starts_with("listen far"));
        let line = line.unwrap_or_default();
        assert!(
            line.contains("192.0.2.9:25") && line.contains(" ERROR Cannot assign requested"),
            "{said}"
        );
        assert!(
            said.contains("\nlisten MTA inet 127.0.0.1:0\n")
                || said.starts_with("listen MTA inet 127.0.0.1:0\n"),
            "{said}"
        );
    }
}

#[test]
fn no_more_sessions_than_children() {
    let site = Site::new("DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0, children=1')dnl");
    let server = site.start();
    let (mut first, _) = Client::hello(server.only_port());
    let mut second = Client::connect(server.only_port());
    let greeted = std::thread::spawn(move || second.reply());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!greeted.is_finished(), "greeted beside the first");
    first.say("QUIT");
    assert!(greeted.join().unwrap().starts_with("220 "));
}

#[test]
fn sessions_leave_open_files_for_deliveries() {
    let site = Site::new("");
    let server = site.start_with(|command| {
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", "ulimit -n 300; exec \"$0\" --root \"$1\""]);
        shell.arg(env!("CARGO_BIN_EXE_smtpd")).arg(site.root());
        *command = shell;
    });
    let mut greeted: Vec<Client> = (0..12)
        .map(|_| Client::hello(server.only_port()).0)
        .collect();
    // More come than there may be files; they wait, and mail goes on.
    let waiting: Vec<Client> = (0..100)
        .map(|_| Client::connect(server.only_port()))
        .collect();
    greeted[0].talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
        ("Subject: crowded\r\n\r\nx\r\n.", "250 "),
    ]);
    site.text_with("etc/mail/out.mbox", "Subject: crowded");
    drop(greeted);
    drop(waiting);
    let (mut client, _) = Client::hello(server.only_port());
    client.talk(&[("QUIT", "221 ")]);
}

#[test]
fn a_daemon_refuses_at_its_own_load() {
    let site = Site::new(
        "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0, refuseLA=0.001')dnl
DAEMON_OPTIONS(`Name=OTHER, Addr=127.0.0.1, Port=0')dnl",
    );
    let idle = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if idle.is_empty() || idle.starts_with("0.00") {
        return eprintln!("skipped: this machine has no load");
    }
    let server = site.start();
    let reply = Client::connect(server.port("MTA")).reply();
    assert!(reply.starts_with("421 4.3.2 "), "{reply}");
    assert!(
        Client::connect(server.port("OTHER"))
            .reply()
            .starts_with("220 ")
    );
}

#[test]
fn delivery_mode_queue_waits_for_a_run() {
    let site = Site::new(
        "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0, DeliveryMode=queue')dnl
DAEMON_OPTIONS(`Name=NOW, Addr=127.0.0.1, Port=0')dnl",
    );
    let server = site.start();
    let send = |name: &str, subject: &str| {
        let (mut client, _) = Client::hello(server.port(name));
        client.talk(&[
            ("MAIL FROM:<a@b.example>", "250 "),
            ("RCPT TO:<archive>", "250 "),
            ("DATA", "354"),
            (&format!("Subject: {subject}\r\n\r\nx\r\n."), "250 "),
        ]);
    };
    send("MTA", "later");
    send("NOW", "now");
    let text = site.text_with("etc/mail/out.mbox", "Subject: now");
    assert!(!text.contains("Subject: later"));
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_mailq"))
        .arg("--root")
        .arg(site.root())
        .arg("run")
        .status();
    assert!(run.unwrap().success());
    site.text_with("etc/mail/out.mbox", "Subject: later");
}

/// sd_listen_fds(3): the sockets are descriptors 3 and up, for this process id.
#[test]
fn sockets_of_a_service_manager_are_taken() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = passed.local_addr().unwrap().port();
    let site = Site::new(&format!(
        "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}')dnl"
    ));
    let fd = passed.as_raw_fd();
    let words = [
        "/bin/sh",
        "-c",
        // The process id is known only in the child: a shell sets it and becomes the server.
        "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --root \"$1\"",
        env!("CARGO_BIN_EXE_smtpd"),
        site.root().to_str().unwrap(),
    ];
    let words = words.map(|w| CString::new(w).unwrap());
    let server = site.start_with(|command| {
        // SAFETY: dup2 and execv are safe between fork and exec; the words were made before.
        // The shell is run from here since descriptor 3 may be the pipe by which std hears
        // of an exec that failed.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                let mut argv = [std::ptr::null(); 6];
                for (at, word) in words.iter().enumerate() {
                    argv[at] = word.as_ptr();
                }
                // Where it is 3 already, dup2 would leave it to be closed.
                if libc::dup2(fd, 3) == 3 && libc::fcntl(3, libc::F_SETFD, 0) == 0 {
                    libc::execv(argv[0], argv.as_ptr());
                }
                Err(std::io::Error::last_os_error())
            });
        }
    });
    assert_eq!(server.only_port(), port);
    drop(passed);
    assert!(Client::connect(port).reply().starts_with("220 "));
}

#[test]
fn a_service_manager_is_told() {
    let site = Site::new("");
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // Root's alone, which the server is no more when it is ready.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut server = site.start_with(|command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let next = || {
        let mut text = [0; 512];
        let octets = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..octets]).into_owned()
    };
    assert_eq!(next(), "READY=1");
    server.signal("-HUP");
    let reloading = next();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(next(), "READY=1");
    server.signal("-TERM");
    assert_eq!(next(), "STOPPING=1");
    assert!(server.wait_end().success());
}

#[test]
fn a_reload_takes_new_rules_and_leaves_sessions_alone() {
    let site = Site::new("define(`confMAX_MESSAGE_SIZE', `1000')dnl");
    let server = site.start();
    let (mut open, offers) = Client::hello(server.only_port());
    assert!(offers.contains("SIZE 1000"), "{offers}");
    site.write(
        "etc/mail/sendmail.mc",
        &Site::mc("define(`confMAX_MESSAGE_SIZE', `2000')dnl"),
    );
    server.signal("-HUP");
    server.log_with("configuration read anew");
    assert!(open.say("EHLO x").contains("SIZE 1000"));
    let (_, offers) = Client::hello(server.only_port());
    assert!(offers.contains("SIZE 2000"), "{offers}");
    site.write(
        "etc/mail/sendmail.mc",
        "FEATURE(`nonsense')\nMAILER(`nobody')\n",
    );
    server.signal("-HUP");
    server.log_with("configuration kept as it was");
    let (_, offers) = Client::hello(server.only_port());
    assert!(offers.contains("SIZE 2000"), "{offers}");
}

#[test]
fn the_end_lets_transactions_finish() {
    let site = Site::new("");
    let mut server = site.start();
    let (mut idle, _) = Client::hello(server.only_port());
    let (mut busy, _) = Client::hello(server.only_port());
    busy.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<archive>", "250 "),
        ("DATA", "354"),
    ]);
    server.signal("-TERM");
    let reply = idle.reply();
    assert!(reply.starts_with("421 4.3.2 "), "{reply}");
    let port = server.only_port();
    assert!(wait_until(|| std::net::TcpStream::connect((
        "127.0.0.1",
        port
    ))
    .is_err()));
    let reply = busy.say("Subject: last\r\n\r\nx\r\n.");
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert!(busy.reply().starts_with("421 4.3.2 "));
    assert!(server.wait_end().success());
    let _again = site.start();
    site.text_with("etc/mail/out.mbox", "Subject: last");
}
