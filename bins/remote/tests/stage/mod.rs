//! What the tests of every engine need: hosts (folders), programs, processes that end with the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    missing_docs,
    unreachable_pub
)]

pub mod running;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use libmaps::map::{Map, MapClass, MapName};
use libmaps::store;

/// How long anything may take before a test fails; nothing is judged by it otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A host: a folder with connection files and replicas.
pub struct Host {
    dir: tempfile::TempDir,
}

/// What a program came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Host {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A mail server on it is another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Host { dir }
    }

    /// One with a mail server, whose configuration this is.
    pub fn with_site(mc: &str) -> Self {
        let host = Host::new();
        for folder in ["etc/mail", "var/spool/mqueue"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        host.write("etc/mail/sendmail.mc", mc);
        host.write("etc/mail/service.switch", "hosts files\naliases files\n");
        host.write("etc/hosts", "127.0.0.1 mail.example.test localhost\n");
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A file with mode 0600.
    pub fn write_secret(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let program = words.next().unwrap();
        let mut command = match program {
            "mapremote" => Command::new(env!("CARGO_BIN_EXE_mapremote")),
            _ => {
                let programs = Path::new(env!("CARGO_BIN_EXE_mapremote")).parent().unwrap();
                let front = programs.join("examples/front");
                // `cargo test --test NAME` alone builds no examples.
                assert!(
                    front.is_file(),
                    "cargo build -p remote --examples builds the programs in front"
                );
                let mut front = Command::new(front);
                front.arg(program);
                front
            }
        };
        command.args(words).current_dir(self.dir.path());
        command
    }

    /// Runs a program of ours in the folder; words are separated by single blanks.
    pub fn run(&self, line: &str, input: &str) -> Ran {
        let mut child = self
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses at once reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(child.wait_with_output().unwrap())
    }

    /// As [`Host::run`], and it must end well.
    pub fn good(&self, line: &str, input: &str) -> String {
        let ran = self.run(line, input);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}: {}", ran.out);
        ran.out
    }

    /// The entries of the replica of a connection file, a line each; none: there is no replica.
    pub fn replica(&self, file: &str) -> Option<Vec<String>> {
        let path = self.path(&format!("{file}.db"));
        let map = store::open_any(&path, MapName::new(MapClass::Hash, &path));
        let map = map.ok()?.into_map();
        let line = |e: libmaps::map::Entry| format!("{} {}", e.lhs, e.rhs);
        Some(map.iter().map(|e| line(e.unwrap())).collect())
    }

    /// Starts a follower.
    pub fn follow(&self, files: &str) -> Follower {
        let mut child = self
            .command(&format!("mapremote follow --json {files}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let (tell, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        Follower {
            process: Process(child),
            events,
        }
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A process that is killed with the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A follower and what it says.
pub struct Follower {
    pub process: Process,
    events: Receiver<serde_json::Value>,
}

impl Follower {
    /// Waits for an event; those before it are passed over.
    pub fn wait(&self, is_it: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) if is_it(&event) => return event,
                Ok(_) => {}
                Err(e) => panic!("the follower did not say it: {e}"),
            }
        }
    }

    pub fn wait_for(&self, event: &str) -> serde_json::Value {
        self.wait(|e| e["event"] == event)
    }

    pub fn wait_for_generation(&self, number: u64) -> serde_json::Value {
        self.wait(|e| e["generation"].as_u64().is_some_and(|n| n >= number))
    }
}

/// A port of this machine that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until `done` says so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says why a test does nothing.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A map that is open for reading, whole.
pub fn open(path: &Path) -> Box<dyn Map> {
    store::open(path).unwrap()
}
