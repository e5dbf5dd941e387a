//! The daemon among clients that mean no good, and at its start and end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[allow(
    dead_code,
    reason = "shared with the other tests, each of which uses a part"
)]
mod harness;
use harness::{Daemon, ask, eventually, frame, program, set_password};

/// A root with the accounts alice (sasldb, password `secret`) and dave (passwd, likewise).
struct Site {
    dir: tempfile::TempDir,
}

const HASH: &str = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        set_password(&etc.join("sasldb2"), b"alice", b"r", b"secret");
        fs::write(
            etc.join("passwd"),
            format!("dave:{HASH}:7:7::/:/bin/false\n"),
        )
        .unwrap();
        Site { dir }
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn socket(&self) -> PathBuf {
        self.run_dir().join("mux")
    }

    fn args(&self, more: &[&str]) -> Vec<String> {
        let run = self.run_dir();
        let own = ["-m", run.to_str().unwrap(), "--root"];
        let root = self.dir.path().to_str().unwrap();
        let words = more.iter().chain(&own).chain(std::iter::once(&root));
        words.map(|w| (*w).to_owned()).collect()
    }

    fn start(&self, more: &[&str]) -> Daemon {
        Daemon::start(&self.args(more), &self.socket(), self.dir.path())
    }
}

fn alice() -> Vec<u8> {
    frame("alice", "secret", "smtp", "r")
}

#[test]
fn a_thousand_idle_or_raving_clients_neither_block_nor_grow_it() {
    let site = Site::new();
    let daemon = site.start(&["--foreground", "-a", "sasldb", "-c", "-n", "2"]);
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
    let before = daemon.resident_kb();
    let garbage = [b"\0\xffgarbage".to_vec(), vec![0xff; 3000]];
    let mut crowd = Vec::new();
    for i in 0..1000 {
        let mut client = UnixStream::connect(site.socket()).unwrap();
        client.set_nonblocking(true).unwrap();
        if i % 2 == 1 {
            // It may be refused before it has said all.
            let _ = client.write(&garbage[i / 2 % 2]);
        }
        crowd.push(client);
    }
    for _ in 0..50 {
        let start = Instant::now();
        assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    let grown = daemon.resident_kb().saturating_sub(before);
    assert!(grown < 8192, "grown by {grown} KiB");
    // Who says nothing is closed in the end, without a word.
    let idle = crowd.swap_remove(0);
    idle.set_nonblocking(false).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut word = Vec::new();
    (&idle).read_to_end(&mut word).unwrap();
    assert_eq!(word, b"");
    assert_eq!(daemon.stop().code, Some(0));
    assert!(!site.socket().exists());
}

#[test]
fn long_logins_with_their_realms_shift_no_answers() {
    let site = Site::new();
    let users = format!("dave@r:{HASH}:7:7::/:/bin/false\nsue@r:*:8:8::/:/bin/false\n");
    fs::write(site.dir.path().join("etc/passwd"), users).unwrap();
    let daemon = site.start(&["--foreground", "-a", "getpwent", "-r", "-n", "1"]);
    let long = "x".repeat(256);
    let asked = |login: &str, password: &str| {
        let reply = ask(&daemon.socket, &frame(login, password, "smtp", "r"));
        String::from_utf8_lossy(reply.get(2..4).unwrap_or_default()).into_owned()
    };
    for _ in 0..3 {
        let reply = ask(&daemon.socket, &frame(&long, &long, "smtp", &long));
        assert!(reply.ends_with(b"NO Invalid username"), "{reply:?}");
        assert_eq!(asked("dave", "secret"), "OK");
        assert_eq!(asked("sue", "secret"), "NO");
        assert_eq!(asked("dave", "wrong"), "NO");
    }
}

#[test]
fn the_oldest_idle_client_makes_room_for_the_next() {
    let site = Site::new();
    // So few descriptors leave room for 124 clients.
    let mut command = std::process::Command::new("/bin/sh");
    command
        .args(["-c", r#"ulimit -n 700; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_saslauthd"))
        .args(site.args(&["--foreground", "-a", "sasldb", "-n", "1"]));
    let daemon = Daemon::start_command(&mut command, &site.socket());
    let crowd: Vec<_> = (0..300)
        .map(|_| UnixStream::connect(site.socket()).unwrap())
        .collect();
    let start = Instant::now();
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
    assert!(start.elapsed() < Duration::from_secs(5));
    let closed = |mut client: &UnixStream| {
        client.set_nonblocking(true).unwrap();
        matches!(client.read(&mut [0]), Ok(0))
    };
    assert!(closed(&crowd[0]) && !closed(&crowd[299]));
    drop(daemon);
}

#[test]
fn a_client_that_keeps_its_end_open_has_its_reply_and_blocks_nobody() {
    let site = Site::new();
    let daemon = site.start(&["--foreground", "-a", "sasldb", "-n", "1"]);
    let mut keeping = Vec::new();
    for _ in 0..3 {
        let mut client = UnixStream::connect(site.socket()).unwrap();
        client.write_all(&alice()).unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).unwrap();
        assert_eq!(reply, b"\0\x02OK");
        keeping.push(client);
    }
    drop(daemon);
}

#[test]
fn a_fifth_field_is_read_and_dropped() {
    let site = Site::new();
    let daemon = site.start(&["--foreground", "-a", "sasldb"]);
    let mut request = alice();
    request.extend_from_slice(b"\0\x09127.0.0.1");
    assert_eq!(ask(&site.socket(), &request), b"\0\x02OK");
    drop(daemon);
}

/// The first process that another one has started.
fn first_child(of: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).unwrap();
    let lists = tasks.filter_map(|t| fs::read_to_string(t.unwrap().path().join("children")).ok());
    let all: String = lists.collect();
    all.split_whitespace().next().map(|p| p.parse().unwrap())
}

/// A field of a process's status.
fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn the_server_is_confined_and_its_workers_are_not() {
    let site = Site::new();
    let daemon = site.start(&["-d", "-a", "getpwent", "-n", "1"]);
    let dave = frame("dave", "secret", "smtp", "");
    assert_eq!(ask(&site.socket(), &dave), b"\0\x02OK");
    let starter = first_child(daemon.pid()).expect("a starter");
    let worker = first_child(starter).expect("a worker process");
    let before = status(std::process::id(), "NoNewPrivs:");
    let (seccomp, rights) = (
        status(daemon.pid(), "Seccomp:"),
        status(daemon.pid(), "CapPrm:"),
    );
    for pid in [starter, worker] {
        assert_eq!(status(pid, "NoNewPrivs:"), before);
    }
    let rights = u64::from_str_radix(&rights, 16).unwrap();
    let ordinary = status(daemon.pid(), "Uid:") != "0";
    for pid in [starter, worker] {
        assert_eq!(status(pid, "Uid:"), status(std::process::id(), "Uid:"));
    }
    let told = String::from_utf8(daemon.stop().stderr).unwrap();
    match ordinary {
        true => assert_eq!(rights, 0),
        false => {
            assert!(told.contains("it stays root"), "{told}");
            assert_eq!(rights & !0b1110, 0);
        }
    }
    assert!(
        seccomp == "2" || told.contains("not confined: seccomp"),
        "{told}"
    );
    let gone = || fs::metadata(format!("/proc/{starter}")).is_err();
    assert!(eventually(gone), "the starter ends with the server");

    let daemon = site.start(&["--foreground", "--unconfined", "-a", "getpwent", "-n", "1"]);
    assert_eq!(ask(&site.socket(), &dave), b"\0\x02OK");
    assert_eq!(status(daemon.pid(), "NoNewPrivs:"), before);
    assert_eq!(daemon.stop().code, Some(0));
}

/// Whoever starts it, the server is no longer root, and opens a store that is root's, sees that it
/// changes, and leaves nothing behind.
#[test]
fn a_server_that_was_root_s_serves_as_an_ordinary_user() {
    let site = Site::new();
    let store = site.dir.path().join("etc/sasldb2");
    let dovecot = site.dir.path().join("auth");
    let closed = |path: &Path, bits| {
        fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
    };
    closed(&store, 0o600);
    closed(site.dir.path(), 0o700);
    let more = ["-d", "-c", "-a", "sasldb", "-D"];
    let mut args = more.to_vec();
    args.push(dovecot.to_str().unwrap());
    let daemon = site.start(&args);
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
    // It answers nobody before.
    let who = ["Uid:", "Gid:"].map(|field| status(daemon.pid(), field));
    assert!(dovecot.exists());
    set_password(&store, b"alice", b"r", b"other");
    closed(&store, 0o600);
    let other = frame("alice", "other", "smtp", "r");
    assert_eq!(ask(&site.socket(), &other), b"\0\x02OK");
    assert_ne!(ask(&site.socket(), &alice()), b"\0\x02OK");
    let ended = daemon.stop();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.code, Some(0), "{told}");
    // A container may lack the right to change user.
    let ordinary = !who.iter().any(|number| number == "0");
    assert!(ordinary || told.contains("it stays root"), "{told}");
    assert!(!dovecot.exists());
    let left: Vec<_> = fs::read_dir(site.run_dir()).unwrap().collect();
    assert!(left.is_empty(), "{left:?} {told}");
}

#[test]
fn a_server_that_has_lost_its_starter_ends() {
    let site = Site::new();
    let daemon = site.start(&["--foreground", "-a", "getpwent", "-n", "1"]);
    let dave = frame("dave", "secret", "smtp", "");
    assert_eq!(ask(&site.socket(), &dave), b"\0\x02OK");
    let starter = first_child(daemon.pid()).expect("a starter").cast_signed();
    let starter = rustix::process::Pid::from_raw(starter).unwrap();
    rustix::process::kill_process(starter, rustix::process::Signal::KILL).unwrap();
    // Nobody is left who could remove what was root's.
    let ends = || UnixStream::connect(site.socket()).is_err();
    assert!(eventually(ends), "it goes on");
    let ended = daemon.stop();
    let told = String::from_utf8(ended.stderr).unwrap();
    let why = "the process that starts worker processes has died, so nobody can log in\n";
    // A worker that goes with it may say so after it.
    assert!(told.contains(why), "{told}");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn worker_processes_that_are_killed_are_replaced() {
    let site = Site::new();
    let daemon = site.start(&["--foreground", "-a", "getpwent", "-n", "1"]);
    let dave = frame("dave", "secret", "smtp", "");
    assert_eq!(ask(&site.socket(), &dave), b"\0\x02OK");
    let starter = first_child(daemon.pid()).expect("a starter");
    let pid = first_child(starter)
        .expect("a worker process")
        .cast_signed();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(ask(&site.socket(), &dave), b"\0\x02OK");
    assert_eq!(daemon.stop().code, Some(0));
    let gone = || rustix::process::test_kill_process(pid).is_err();
    assert!(eventually(gone));
}

#[test]
fn guessing_gets_slow_and_a_stranger_s_guesses_do_not_slow_others() {
    let site = Site::new();
    let daemon = site.start(&["--foreground", "-a", "getpwent", "-n", "2"]);
    let guess = frame("dave", "guess", "smtp", "");
    let start = Instant::now();
    for _ in 0..7 {
        assert_eq!(ask(&site.socket(), &guess), b"\0\x15NO Incorrect password");
    }
    // Five are free; the next two wait for one and two seconds.
    assert!(
        start.elapsed() > Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let other = frame("mallory", "x", "smtp", "");
    let start = Instant::now();
    assert_eq!(ask(&site.socket(), &other), b"\0\x13NO Invalid username");
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    drop(daemon);
}

#[test]
fn it_detaches_serves_and_leaves_nothing_behind() {
    let site = Site::new();
    let output = harness::run(
        "saslauthd",
        &site.args(&["-a", "sasldb", "-V"]),
        site.dir.path(),
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains(":auth_mech  : sasldb\n"), "{told}");
    assert!(!told.contains("listening"), "for syslog only: {told}");
    // It serves as soon as the command is over.
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
    let file = site.run_dir().join("saslauthd.pid");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let pid = fs::read_to_string(&file).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();

    let second = harness::run("saslauthd", &site.args(&["-a", "sasldb"]), site.dir.path());
    assert_eq!(second.status.code(), Some(2));
    let told = String::from_utf8(second.stderr).unwrap();
    let told: Vec<_> = told
        .lines()
        .filter_map(|l| l.split_once(" :"))
        .map(|l| l.1)
        .collect();
    assert_eq!(
        told,
        [
            "Cannot start saslauthd",
            "Another instance of saslauthd is currently running"
        ]
    );
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");

    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let empty = || fs::read_dir(site.run_dir()).unwrap().next().is_none();
    assert!(eventually(empty), "files are left behind");
}

#[test]
fn what_a_dead_daemon_left_is_replaced() {
    let site = Site::new();
    drop(site.start(&["-d", "-a", "sasldb"]));
    assert!(
        site.socket().exists(),
        "killed without a chance to clean up"
    );
    let daemon = site.start(&["-d", "-a", "sasldb"]);
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn the_service_manager_is_told() {
    let site = Site::new();
    let path = site.dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut command = program("saslauthd");
    command
        .args(site.args(&["--foreground", "-a", "sasldb"]))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let daemon = Daemon::start_command(&mut command, &site.socket());
    let mut buffer = [0; 500];
    let mut heard = || {
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    assert_eq!(heard(), format!("READY=1\nMAINPID={}\n", daemon.pid()));
    assert_eq!(ask(&site.socket(), &alice()), b"\0\x02OK");
    assert!(eventually(|| {
        let word = heard();
        word.starts_with("WATCHDOG=1\nSTATUS=") && word.contains("; 1 let in, ")
    }));
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn no_password_is_told_to_anyone() {
    let site = Site::new();
    let daemon = site.start(&["-d", "-a", "sasldb", "-c"]);
    for password in ["secret", "hunter2hunter2"] {
        ask(&site.socket(), &frame("alice", password, "smtp", "r"));
    }
    let told = String::from_utf8(daemon.stop().stderr).unwrap();
    assert!(told.contains("[user=alice]"), "{told}");
    assert!(
        !told.contains("secret") && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn mechanisms_that_can_not_start_say_why() {
    let site = Site::new();
    let cases = [
        (
            vec!["-a", "nosuch"],
            "unknown authentication mechanism: nosuch",
        ),
        (vec!["-a", "rimap"], "failed to initialize mechanism rimap"),
        (vec!["-a", "LDAP"], "failed to initialize mechanism ldap"),
    ];
    for (args, want) in cases {
        let output = harness::run("saslauthd", &site.args(&args), site.dir.path());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(want), "{told}");
    }
}

#[test]
fn testsaslauthd_reads_its_password_from_a_descriptor() {
    let site = Site::new();
    let daemon = site.start(&["--foreground", "-a", "sasldb"]);
    let asked = |password: &str| {
        let mut child = program("testsaslauthd")
            .args(["-u", "alice", "-r", "r", "--password-fd", "0", "-f"])
            .arg(site.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(password.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(
        asked("secret\n"),
        (Some(0), "0: OK \"Success.\"\n".to_owned())
    );
    assert_eq!(
        asked("secret"),
        (Some(0), "0: OK \"Success.\"\n".to_owned())
    );
    let no = "0: NO \"authentication failed\"\n".to_owned();
    assert_eq!(asked("Secret\n"), (Some(255), no));
    // The exit code is the answer, whether or not it could be written.
    for (password, want) in [("secret", 0), ("Secret", 255)] {
        let mut command = program("testsaslauthd");
        command.args(["-u", "alice", "-r", "r", "-p", password, "-f"]);
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let ended = command.arg(site.socket()).stdout(full.unwrap()).status();
        assert_eq!(ended.unwrap().code(), Some(want), "{password}");
    }
    drop(daemon);
    assert!(Path::new(&site.socket()).exists());
}
