//! The socket of `-D`, as Postfix and Exim speak to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libmaps::sasl::Password;
use libmaps::sasl::mechanism::{ClientExchange, ClientSetup, Mechanism, Nonce, Offer};

#[allow(
    dead_code,
    reason = "shared with the other tests, each of which uses a part"
)]
mod harness;
use harness::{Daemon, ask, eventually, frame, set_password};

const ALL: &str = "SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5 PLAIN LOGIN";

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        set_password(
            &dir.path().join("etc/sasldb2"),
            b"alice",
            b"mx.example",
            b"secret",
        );
        Site { dir }
    }

    /// As [`Site::new`], but hosts share the accounts: here is the replica, in which alice's
    /// password is another, and her old store still lies beside it.
    fn shared() -> Self {
        let site = Site::new();
        let lines = "host db.example\nuser mail\nreplica /etc/replica.db\n";
        fs::write(site.path("etc/sasldb2.pgsql"), lines).unwrap();
        set_password(
            &site.path("etc/replica.db"),
            b"alice",
            b"mx.example",
            b"newer",
        );
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, more: &[&str]) -> Daemon {
        let text = |name: &str| self.path(name).display().to_string();
        let mut args: Vec<String> = ["-a", "sasldb", "-d", "-m"].map(String::from).to_vec();
        args.extend([
            text("run"),
            "--root".into(),
            text(""),
            "-D".into(),
            text("auth"),
        ]);
        args.extend(["--realm".into(), "mx.example".into()]);
        args.extend(more.iter().map(|word| (*word).to_owned()));
        let daemon = Daemon::start(&args, &self.path("run/mux"), self.dir.path());
        assert!(eventually(|| UnixStream::connect(self.path("auth")).is_ok()));
        daemon
    }

    fn client(&self) -> Client {
        let mut stream = UnixStream::connect(self.path("auth")).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .unwrap();
        stream.write_all(b"VERSION\t1\t2\nCPID\t77\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut greeting = Vec::new();
        while greeting.last().is_none_or(|line| line != "DONE") {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0);
            greeting.push(line.trim_end().to_owned());
        }
        Client {
            stream,
            lines,
            greeting,
        }
    }
}

struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    greeting: Vec<String>,
}

impl Client {
    /// Says a line, and hears one; empty at the end of the connection.
    fn say(&mut self, line: &str) -> String {
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
        let mut heard = String::new();
        let _ = self.lines.read_line(&mut heard);
        heard.trim_end_matches('\n').to_owned()
    }

    /// Logs in by a mechanism; the last line that is heard.
    fn log_in(&mut self, mechanism: Mechanism, user: &str, password: &str) -> String {
        let setup = ClientSetup {
            authid: user.into(),
            authzid: Vec::new(),
            password: Password::new(password.into()).unwrap(),
            realm: None,
            service: "smtp".into(),
            host: "mx.example".into(),
            bindings: Vec::new(),
            plus: Offer::NotOffered,
        };
        let mut exchange = ClientExchange::new(mechanism, setup, Nonce::random().unwrap());
        let initial = exchange.initial().unwrap();
        let initial = initial.map_or(String::new(), |octets| {
            format!("\tresp={}", STANDARD.encode(octets))
        });
        let name = mechanism.name();
        let auth = format!(
            "AUTH\t1\t{name}\tservice=smtp\tnologin\tlip=192.0.2.1\trip=192.0.2.2\tsecured{initial}"
        );
        let mut heard = self.say(&auth);
        while let Some(challenge) = heard.strip_prefix("CONT\t1\t") {
            let challenge = STANDARD.decode(challenge).unwrap();
            heard = match exchange.respond(&challenge) {
                Ok(response) => self.say(&format!("CONT\t1\t{}", STANDARD.encode(response))),
                Err(error) => return error.to_string(),
            };
        }
        if heard.starts_with("OK") {
            exchange.accepted().unwrap();
        }
        heard
    }
}

#[test]
fn every_mechanism_logs_in_and_out() {
    let site = Site::new();
    let daemon = site.start(&["--mechs", ALL]);
    for name in ALL.split(' ') {
        let mechanism = Mechanism::parse(name.as_bytes()).unwrap();
        let mut client = site.client();
        let user = if name == "DIGEST-MD5" {
            "alice"
        } else {
            "alice@mx.example"
        };
        assert_eq!(
            client.log_in(mechanism, user, "secret"),
            format!("OK\t1\tuser={user}"),
            "{name}"
        );
        // One connection serves many, in turn.
        if mechanism.sends_password() {
            // What SASLprep makes equal is told as one.
            let other = client.log_in(mechanism, "al\u{ad}ice", "secret");
            assert_eq!(other, "OK\t1\tuser=alice", "{name}");
        }
        let wrong = client.log_in(mechanism, "alice", "wrong");
        assert_eq!(wrong, "FAIL\t1\tuser=alice", "{name}");
        let nobody = client.log_in(mechanism, "nobody", "secret");
        assert_eq!(nobody, "FAIL\t1\tuser=nobody", "{name}");
        assert_eq!(
            client.log_in(mechanism, "alice", "secret"),
            "OK\t1\tuser=alice",
            "{name}"
        );
    }
    // The socket of saslauthd's own protocol is there as ever.
    let answer = ask(
        &site.path("run/mux"),
        &frame("alice", "secret", "smtp", "mx.example"),
    );
    assert_eq!(&answer[2..4], b"OK");
    // A changed password counts at once.
    set_password(&site.path("etc/sasldb2"), b"alice", b"mx.example", b"other");
    let mut client = site.client();
    assert_eq!(
        client.log_in(Mechanism::Plain, "alice", "secret"),
        "FAIL\t1\tuser=alice"
    );
    assert_eq!(
        client.log_in(Mechanism::Plain, "alice", "other"),
        "OK\t1\tuser=alice"
    );
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0));
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        log.contains("auth failure: [user=nobody] [mech=PLAIN] [rip=192.0.2.2]"),
        "{log}"
    );
    assert!(!log.contains("secret") && !log.contains("other"), "{log}");
    assert!(!site.path("auth").exists());
}

#[test]
fn accounts_that_hosts_share_are_read_from_their_replica() {
    let site = Site::shared();
    let daemon = site.start(&["--mechs", ALL]);
    let mux = |password: &str| {
        let request = frame("alice", password, "smtp", "mx.example");
        ask(&site.path("run/mux"), &request)[2..4].to_vec()
    };
    let mut client = site.client();
    for mechanism in [Mechanism::Plain, Mechanism::CramMd5] {
        // The old store is not asked: its password may have been taken away.
        let old = client.log_in(mechanism, "alice", "secret");
        assert_eq!(old, "FAIL\t1\tuser=alice");
        let new = client.log_in(mechanism, "alice", "newer");
        assert_eq!(new, "OK\t1\tuser=alice");
    }
    assert_eq!(mux("secret"), b"NO");
    assert_eq!(mux("newer"), b"OK");
    // The follower publishes a newer replica.
    set_password(
        &site.path("etc/replica.db"),
        b"alice",
        b"mx.example",
        b"newest",
    );
    assert_eq!(
        client.log_in(Mechanism::Plain, "alice", "newest"),
        "OK\t1\tuser=alice"
    );
    assert_eq!(mux("newer"), b"NO");
    assert_eq!(mux("newest"), b"OK");
    drop(daemon);

    // A store that is named counts, and one that can't be is no store.
    let named = Site::shared();
    let _daemon = named.start(&["-O", "/etc/sasldb2"]);
    let mut client = named.client();
    assert_eq!(
        client.log_in(Mechanism::Plain, "alice", "secret"),
        "OK\t1\tuser=alice"
    );
    let wrong = Site::shared();
    fs::write(wrong.path("etc/sasldb2.pgsql"), "what\n").unwrap();
    let root = wrong.path("").display().to_string();
    let run_dir = wrong.path("run").display().to_string();
    let args = ["-a", "sasldb", "-d", "-m", &run_dir, "--root", &root];
    let ran = harness::run("saslauthd", &args, wrong.dir.path());
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("sasldb2.pgsql: line 1: \"what\""), "{said}");
}

#[test]
fn a_replica_that_was_never_made_is_no_wrong_password() {
    let site = Site::shared();
    fs::remove_file(site.path("etc/replica.db")).unwrap();
    let _daemon = site.start(&["--mechs", ALL]);
    let mut client = site.client();
    for name in ALL.split(' ') {
        let mechanism = Mechanism::parse(name.as_bytes()).unwrap();
        let heard = client.log_in(mechanism, "alice", "newer");
        assert!(
            heard.starts_with("FAIL\t1\t") && heard.ends_with("\ttemp"),
            "{heard}"
        );
    }
    // It comes.
    let replica = site.path("etc/replica.db");
    set_password(&replica, b"alice", b"mx.example", b"newer");
    let heard = client.log_in(Mechanism::Plain, "alice", "newer");
    assert_eq!(heard, "OK\t1\tuser=alice");
}

#[test]
fn a_replica_without_a_folder_stops_the_start() {
    let site = Site::shared();
    let lines = "host db.example\nuser mail\nreplica /var/lib/mailmaps/sasldb2.db\n";
    fs::write(site.path("etc/sasldb2.pgsql"), lines).unwrap();
    let (root, run_dir) = (site.path(""), site.path("run"));
    let (root, run_dir) = (root.display().to_string(), run_dir.display().to_string());
    let args = ["-a", "sasldb", "-d", "-m", &run_dir, "--root", &root];
    let ran = harness::run("saslauthd", &args, site.dir.path());
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("/var/lib/mailmaps: no such folder"), "{said}");
}

#[test]
fn the_greeting_names_what_is_offered() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let mut client = site.client();
    let mechs: Vec<&str> = client
        .greeting
        .iter()
        .filter_map(|line| line.strip_prefix("MECH\t"))
        .collect();
    let want = [
        "SCRAM-SHA-256\tmutual-auth",
        "SCRAM-SHA-1\tmutual-auth",
        "PLAIN\tplaintext",
        "LOGIN\tplaintext",
    ];
    assert_eq!(mechs, want);
    assert_eq!(client.greeting[0], "VERSION\t1\t1");
    for head in ["SPID\t", "CUID\t", "COOKIE\t"] {
        assert!(
            client.greeting.iter().any(|line| line.starts_with(head)),
            "{head}"
        );
    }
    // CRAM-MD5 only where it is listed.
    assert_eq!(client.say("AUTH\t9\tCRAM-MD5\tservice=smtp"), "FAIL\t9");
}

#[test]
fn odd_words_and_their_answers() {
    let site = Site::new();
    let _daemon = site.start(&["--mechs", ALL]);
    for (said, want) in [
        ("AUTH\t1\tNOSUCH\tservice=smtp", "FAIL\t1"),
        ("AUTH\t1\tEXTERNAL\tservice=smtp\tresp=", "FAIL\t1"),
        ("AUTH\t1", "FAIL\t1"),
        ("AUTH\t1\tPLAIN\tservice=smtp\tresp=*not base64*", "FAIL\t1"),
        ("AUTH\t1\tPLAIN\tservice=smtp\tresp==", "FAIL\t1"),
        ("AUTH\t1\tPLAIN\tservice=smtp", "CONT\t1\t"),
        ("AUTH\t1\tLOGIN", "CONT\t1\tVXNlcm5hbWU6"),
        ("CONT\t5\tAGFsaWNlAHNlY3JldA==", "FAIL\t5"),
        ("CANCEL\t5\nAUTH\t1\tNOSUCH", "FAIL\t1"),
        // Acting as another.
        (
            "AUTH\t1\tPLAIN\tresp=Ym9iAGFsaWNlAHNlY3JldA==",
            "FAIL\t1\tuser=alice",
        ),
        // Not worth more words.
        ("AUTH\t-1\tPLAIN", ""),
        ("AUTH\t99999999999\tPLAIN", ""),
        ("AUTH\tx\tPLAIN", ""),
        ("HELO you", ""),
        ("AUTH\t1\tPLAIN\nAUTH\t1\tPLAIN", "CONT\t1\t"),
    ] {
        assert_eq!(site.client().say(said), want, "{said}");
    }
    // The same number twice ends the connection.
    let mut client = site.client();
    assert_eq!(client.say("AUTH\t1\tPLAIN"), "CONT\t1\t");
    assert_eq!(client.say("AUTH\t1\tPLAIN"), "");
    // As many at a time as may be, and no more.
    let mut client = site.client();
    for number in 0..64 {
        let heard = client.say(&format!("AUTH\t{number}\tPLAIN"));
        assert_eq!(heard, format!("CONT\t{number}\t"));
    }
    assert_eq!(client.say("AUTH\t64\tPLAIN"), "FAIL\t64\ttemp");
}

#[test]
fn who_does_not_speak_the_protocol_is_sent_away() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    for octets in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"VERSION\t2\t0\n",
        b"AUTH\t1\tPLAIN\n",
        b"\n",
        &[b'x'; 30_000],
        b"VERSION\t1\t0\n\xff\xfe\x00\n",
    ] {
        let mut stream = UnixStream::connect(site.path("auth")).unwrap();
        let _ = stream.write_all(octets);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains("OK\t") && !said.contains("FAIL"), "{said}");
    }
}

#[test]
fn without_a_store_nobody_gets_in_and_nothing_breaks() {
    let site = Site::new();
    fs::remove_file(site.path("etc/sasldb2")).unwrap();
    let _daemon = site.start(&[]);
    let mut client = site.client();
    assert_eq!(
        client.log_in(Mechanism::Plain, "alice", "secret"),
        "FAIL\t1\tuser=alice"
    );
    fs::write(site.path("etc/sasldb2"), "nonsense").unwrap();
    let heard = client.log_in(Mechanism::Plain, "bob", "secret");
    assert!(
        heard.starts_with("FAIL\t1") && heard.ends_with("\ttemp"),
        "{heard}"
    );
    fs::remove_file(site.path("etc/sasldb2")).unwrap();
    set_password(
        &site.path("etc/sasldb2"),
        b"carol",
        b"mx.example",
        b"secret",
    );
    assert_eq!(
        client.log_in(Mechanism::Plain, "carol", "secret"),
        "OK\t1\tuser=carol"
    );
}

/// While a login's line is full, neither of these is told more than "not now".
fn answers_are_alike(guess: &str, right: &str) {
    let site = Site::new();
    let daemon = site.start(&[]);
    let auth = |guess: &str| format!("AUTH\t1\tPLAIN\tservice=smtp\tresp={guess}");
    // Each failure makes the checks after it wait, until no more are let into the line.
    let mut waiting = Vec::new();
    let full = eventually(|| {
        let mut client = site.client();
        let moment = std::time::Duration::from_millis(100);
        client.stream.set_read_timeout(Some(moment)).unwrap();
        let said = client.say(&auth(guess));
        waiting.push(client);
        said.ends_with("\ttemp")
    });
    assert!(full);
    // Other spellings of the name stand in the same line.
    let spelled = |name: &str| STANDARD.encode(format!("\0{name}\0secret"));
    let hyphens = spelled("al\u{ad}ice\u{ad}");
    for text in [guess, right, &hyphens, &spelled("\u{ff41}lice")] {
        let said = site.client().say(&auth(text));
        assert_eq!(said, "FAIL\t1\tuser=alice\ttemp", "{text}");
    }
    // By LOGIN, name and password come one after the other.
    let mut client = site.client();
    for (said, heard) in [
        ("AUTH\t1\tLOGIN", "CONT\t1\tVXNlcm5hbWU6"),
        ("CONT\t1\tYWxpY2U=", "CONT\t1\tUGFzc3dvcmQ6"),
        ("CONT\t1\tc2VjcmV0", "FAIL\t1\tuser=alice\ttemp"),
    ] {
        assert_eq!(client.say(said), heard, "{said}");
    }
    // Others do not wait for the hashing of guesses that can't come in.
    drop(waiting);
    let ended = daemon.stop();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    for mech in ["PLAIN", "LOGIN"] {
        let line = format!(
            "auth failure: [user=alice] [mech={mech}] [rip=unknown] \
             [reason=too many failures, not checked]"
        );
        assert!(log.contains(&line), "{log}");
    }
}

#[test]
fn a_long_line_does_not_tell_the_right_password() {
    answers_are_alike(
        &STANDARD.encode("\0alice\0wrong"),
        &STANDARD.encode("\0alice\0secret"),
    );
}

#[test]
fn acting_as_another_does_not_tell_the_right_password() {
    answers_are_alike(
        &STANDARD.encode("bob\0alice\0secret"),
        &STANDARD.encode("bob\0alice\0wrong"),
    );
}
