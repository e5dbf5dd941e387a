//! RunAsUser: the server is an ordinary user, and deliveries still are their users'.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use crate::certificates::{Authority, TLS_MC};
use crate::client::Client;
use crate::site::{HOST, Site, wait_until};
use crate::stage::{is_root, mode, send_by as send, status};

const SERVER: u32 = 54_321;
const BOB: u32 = 54_322;
const ANN: u32 = 54_323;
/// She has no shell.
const SUE: u32 = 54_324;

fn site() -> Site {
    let site = Site::new(&format!(
        "{TLS_MC}define(`confRUN_AS_USER', `mailer')dnl\n\
         define(`LOCAL_MAILER_PATH', `/nonexistent/procmail')dnl"
    ));
    let authority = Authority::new("CA");
    authority.sign(HOST, 1).install(&site);
    site.write("etc/mail/ca.crt", &authority.pem);
    site.write(
        "etc/passwd",
        &format!(
            "mailer:x:{SERVER}:{SERVER}::/:/bin/false\nbob:x:{BOB}:{BOB}:Bob:/home/bob:/bin/sh\n\
             ann:x:{ANN}:{ANN}:Ann:/home/ann:/bin/sh\neve:x:{ANN}:{ANN}:Eve:/home/eve:/bin/sh\n\
             sue:x:{SUE}:{SUE}:Sue:/home/sue:/usr/sbin/nologin\n"
        ),
    );
    site.write(
        "etc/group",
        &format!("secrets:x:54400:mailer,bob\nbob:x:{BOB}:\n"),
    );
    let mode = |name: &str, bits: u32| mode(&site, name, bits);
    for folder in ["var/mail", "var/spool", "home/bob", "home/ann", "open"] {
        fs::create_dir_all(site.path(folder)).unwrap();
    }
    mode("var/mail", 0o1777);
    mode("open", 0o1777);
    for (home, uid) in [("home/bob", BOB), ("home/ann", ANN)] {
        chown(site.path(home), Some(uid), Some(uid)).unwrap();
        mode(home, 0o700);
    }
    site
}

/// The user of a process, and its children.
pub(crate) fn process(pid: u32) -> (u32, Vec<u32>) {
    let uid = status(pid, "Uid:")[0].parse().unwrap();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| {
            let mut words = rest.split_whitespace();
            words.nth(1)?.parse::<u32>().ok()
        });
        if parent == Some(pid) {
            children.push(child);
        }
    }
    (uid, children)
}

#[test]
fn deliveries_are_their_users_though_the_server_is_not_root() {
    if !is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let site = site();
    site.write("home/ann/.forward", "bob, \"|id -u > /dev/null\"\n");
    chown(site.path("home/ann/.forward"), Some(ANN), Some(ANN)).unwrap();
    let out = site.path("open/who");
    site.write(
        "etc/mail/aliases",
        &format!(
            "prog: \"|id -u > {}\"\narchive: /etc/mail/out.mbox\n",
            out.display()
        ),
    );
    smtpd::tables::build_aliases(&site.path("etc/mail/aliases")).unwrap();
    // Maps are read as the server's user.
    chown(site.path("etc/mail/aliases.db"), Some(SERVER), None).unwrap();
    let mut server = site.start();
    let (uid, children) = process(server.pid());
    assert_eq!(uid, SERVER);
    let [agent] = children[..] else {
        panic!("children {children:?}");
    };
    assert_eq!(process(agent).0, 0);
    server.log_with(&format!(
        "running as uid={SERVER} gid={SERVER} groups=[54400]"
    ));
    // The key is root's alone, and was read before.
    let (mut client, offers) = Client::hello(server.only_port());
    assert!(offers.contains("STARTTLS"), "{offers}");
    client.secure(None);
    for to in ["bob", "prog", "archive"] {
        send(&mut client, to);
    }
    site.text_with("var/mail/bob", "Subject: to bob");
    let mailbox = fs::metadata(site.path("var/mail/bob")).unwrap();
    assert_eq!((mailbox.uid(), mailbox.mode() & 0o777), (BOB, 0o600));
    site.text_with("etc/mail/out.mbox", "Subject: to archive");
    // DefaultUser of the test site is 8.
    site.text_with("open/who", "8\n");
    // A .forward that only its owner can read.
    send(&mut client, "ann");
    site.text_with("var/mail/bob", "Subject: to ann");
    // Whose it is, is told of each copy.
    for to in ["to=bob, ", "to=\"|id -u > /dev/null\", "] {
        let copy = server.log_with(&format!(": {to}"));
        assert!(copy.contains(", ctladdr=ann, delay="), "{copy}");
    }
    // Nobody's home is there: the mailbox is.
    send(&mut client, "eve");
    site.text_with("var/mail/eve", "Subject: to eve");
    let queue = fs::metadata(site.path("var/spool/mqueue")).unwrap();
    assert_eq!(queue.uid(), SERVER);
    server.signal("-TERM");
    assert!(server.wait_end().success());
    let gone = || fs::metadata(format!("/proc/{agent}")).is_err();
    assert!(wait_until(gone), "the agent ends with the server");
}

#[test]
fn who_has_no_shell_runs_nothing_by_her_mail() {
    if !is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let site = site();
    fs::create_dir_all(site.path("home/sue")).unwrap();
    let ran = site.path("open/ran");
    let list = format!("\"|id > {0}\", {0}, bob\n", ran.display());
    site.write("home/sue/.forward", &list);
    for path in ["home/sue", "home/sue/.forward"] {
        chown(site.path(path), Some(SUE), Some(SUE)).unwrap();
        mode(&site, path, 0o700);
    }
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    send(&mut client, "sue");
    for what in ["programs", "files"] {
        server.log_with(&format!(
            "dsn=5.7.1, stat=User sue@{HOST} doesn't have a valid shell for mailing to {what}"
        ));
    }
    // The addresses in it count.
    site.text_with("var/mail/bob", "Subject: to sue");
    assert!(!ran.exists());
    // A site may say that all shells are as good as any.
    site.write("etc/shells", "/SENDMAIL/ANY/SHELL/\n");
    send(&mut client, "sue");
    site.text_with("open/ran", &format!("uid={SUE}"));
}

#[test]
fn a_home_that_others_write_to_has_no_forward_file() {
    if !is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let site = site();
    // Somebody has put a file of hers there.
    site.write("home/ann/.forward", "bob\n");
    chown(site.path("home/ann/.forward"), Some(ANN), Some(ANN)).unwrap();
    mode(&site, "home/ann", 0o777);
    let server = site.start();
    let (mut client, _) = Client::hello(server.only_port());
    send(&mut client, "ann");
    site.text_with("var/mail/ann", "Subject: to ann");
    server.log_with("home/ann/.forward: World writable directory");
    mode(&site, "home/ann", 0o755);
    send(&mut client, "ann");
    site.text_with("var/mail/bob", "Subject: to ann");
}

#[test]
fn the_agent_does_nothing_as_root_and_runs_mailers_only() {
    if !is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    let site = site();
    let ask = |request: serde_json::Value, text: &[u8]| -> serde_json::Value {
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut agent = Command::new(env!("CARGO_BIN_EXE_smtpd"))
            .args(["deliver-agent", "--root"])
            .arg(site.root())
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let (mut stream, passed) = UnixStream::pair().unwrap();
        {
            use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
            use std::os::fd::AsFd;
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = [passed.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let word = [std::io::IoSlice::new(b"work")];
            rustix::net::sendmsg(&ours, &word, &mut control, SendFlags::empty()).unwrap();
        }
        drop(passed);
        let json = request.to_string();
        let length = (json.len() as u32).to_be_bytes();
        stream.write_all(&length).unwrap();
        stream.write_all(json.as_bytes()).unwrap();
        stream.write_all(text).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        drop(ours);
        assert!(agent.wait().unwrap().success());
        serde_json::from_slice(&reply[4..]).unwrap()
    };
    let request = |path: &str, args: &[&str], uid: u32| {
        serde_json::json!({"Run": {
            "path": path, "args": args, "folder": null, "uid": uid, "gid": uid,
        }})
    };
    let run = |path: &str, args: &[&str], uid: u32| ask(request(path, args, uid), b"");
    let own = env!("CARGO_BIN_EXE_smtpd");
    let target = site.path("open/file");
    let target = target.to_str().unwrap();
    for (reply, why) in [
        (
            run(own, &["deliver-file", "append", "fcntl", target], 0),
            "as root",
        ),
        (run("/bin/touch", &[target], BOB), "no mailer of this site"),
        (run(own, &["demo"], BOB), "no mailer of this site"),
        (
            run("/bin/sh", &["-c", "true"], SERVER),
            "as the server's own user",
        ),
        (
            run(own, &["deliver-file", "append", "fcntl", target], SERVER),
            "as the server's own user",
        ),
        (run("/bin/sh", &["-c", "true"], SUE), "no valid shell"),
        (
            run(own, &["deliver-file", "maildir", "mx", target], SUE),
            "no valid shell",
        ),
        (
            ask(
                serde_json::json!({"Forward": {"path": "/etc/shadow", "uid": 0, "gid": 0}}),
                b"",
            ),
            "as root",
        ),
        (
            ask(
                serde_json::json!({"Forward": {"path": "/etc/shadow", "uid": BOB, "gid": 0}}),
                b"",
            ),
            "is not one of user",
        ),
        (
            ask(
                serde_json::json!({"Run": {
                    "path": own, "args": ["deliver-file", "append", "fcntl", target],
                    "folder": null, "uid": BOB, "gid": 42,
                }}),
                b"",
            ),
            "is not one of user",
        ),
        (
            ask(
                serde_json::json!({"Include": {"path": "/etc/shadow", "list_owner": null}}),
                b"",
            ),
            "no alias of this site names it",
        ),
        (
            ask(
                serde_json::json!({"Include": {"path": "/etc/shadow", "list_owner": 0}}),
                b"",
            ),
            "no alias of this site names it",
        ),
        // What the configuration does not name.
        (
            ask(serde_json::json!({"Open": {"path": "/etc/shadow"}}), b""),
            "does not name it",
        ),
        (
            ask(
                serde_json::json!({"Open": {"path": "/etc/mail/../shadow"}}),
                b"",
            ),
            "does not name it",
        ),
        (
            ask(
                serde_json::json!({"Connect": {"path": "/run/systemd/private"}}),
                b"",
            ),
            "does not name it",
        ),
    ] {
        let said = reply["Refused"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{reply}");
    }
    // The program's input in frames: here an empty message, which is the frame that ends it.
    let append = || request(own, &["deliver-file", "append", "fcntl", target], BOB);
    let text = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    // What breaks off was not the message.
    for cut in [0, 6, 8] {
        let reply = ask(append(), &text[..cut]);
        assert_eq!(reply["Ended"]["fate"], "Deferred", "{cut}: {reply}");
    }
    let reply = ask(append(), &text);
    assert_eq!(reply["Ended"]["fate"], "Sent", "{reply}");
    assert_eq!(fs::metadata(target).unwrap().uid(), BOB);
    // Another user's file is not his.
    let shadow = ask(
        serde_json::json!({"Forward": {"path": "/etc/shadow", "uid": BOB, "gid": BOB}}),
        b"",
    );
    assert_eq!(shadow["File"], serde_json::Value::Null, "{shadow}");
}

#[test]
fn an_unknown_user_stops_the_start() {
    let site = Site::new("define(`confRUN_AS_USER', `nosuchuser')dnl");
    let (status, said) = site.run_to_end(&["check"]);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("run-as ERROR nosuchuser: no such user"),
        "{said}"
    );
    let (status, said) = site.run_to_end(&[]);
    assert_eq!(status.code(), Some(78), "{said}");
}
