//! A list of 100,000 members is expanded beside the sessions, not in their place.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use rustix::fs::inotify;

use crate::client::Client;
use crate::site::{Server, Site};
use crate::stage::{aliases, mode};

/// Whoever says RSET again and again is not made to wait.
const MC: &str = "define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl
define(`confMAX_NOOP_COMMANDS', `0')dnl";
const MEMBERS: usize = 100_000;
/// Replies that another session has before the list is done. Where the list keeps the only
/// thread it has those that come before it has begun.
const ENOUGH: usize = 200;

/// A server with one thread for its sessions, and a list of one file.
fn start(site: &Site) -> Server {
    let uid = match rustix::process::geteuid().as_raw() {
        0 => 54_361,
        own => own,
    };
    site.write(
        "etc/passwd",
        &format!("bob:x:{uid}:{uid}:Bob:/home/bob:/bin/sh\n"),
    );
    for folder in ["var/mail", "home/bob"] {
        fs::create_dir_all(site.path(folder)).unwrap();
    }
    mode(site, "var/mail", 0o1777);
    // Each is read and routed, and found to be the same.
    site.write("etc/mail/long", &"bob\n".repeat(MEMBERS));
    aliases(site, "long: :include:/etc/mail/long\n");
    site.start_with(|command| {
        command.env("TOKIO_WORKER_THREADS", "1");
    })
}

/// Tells when somebody has read a file.
struct ClosedAfterReading(OwnedFd);

impl ClosedAfterReading {
    fn of(path: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, path, inotify::WatchFlags::CLOSE_NOWRITE).unwrap();
        ClosedAfterReading(watch)
    }

    fn wait(self) {
        let mut event = [0; 512];
        assert!(rustix::io::read(&self.0, &mut event).unwrap() > 0);
    }
}

/// How many replies a session has until that happens.
fn replies_until(server: &Server, done: &Receiver<()>) -> usize {
    let (mut client, _) = Client::hello(server.only_port());
    let mut replies = 0;
    while replies < ENOUGH && done.try_recv() == Err(TryRecvError::Empty) {
        client.talk(&[("RSET", "250 ")]);
        replies += 1;
    }
    replies
}

#[test]
fn who_asks_for_its_members_holds_up_nobody_else() {
    let site = Site::new(MC);
    let server = start(&site);
    let (mut asking, _) = Client::hello(server.only_port());
    let (told, done) = channel();
    asking.send(b"EXPN long\r\n");
    let waiting = std::thread::spawn(move || {
        let members = asking.reply();
        let _ = told.send(());
        members
    });
    assert!(replies_until(&server, &done) >= ENOUGH);
    drop(server);
    let _ = waiting.join();
}

#[test]
fn mail_to_it_holds_up_nobody_else() {
    let site = Site::new(MC);
    let server = start(&site);
    let (mut client, _) = Client::hello(server.only_port());
    let read = ClosedAfterReading::of(&site.path("etc/mail/long"));
    client.talk(&[
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<long>", "250 "),
        ("DATA", "354"),
        ("Subject: long\r\n\r\nhello\r\n.", "250 "),
    ]);
    // From here on the list is expanded.
    read.wait();
    let (_tell, never) = channel();
    assert!(replies_until(&server, &never) >= ENOUGH);
    let done = site.path("var/mail/bob").exists();
    assert!(!done, "the list came first");
}
