//! Replays what Cyrus SASL's saslauthd and testsaslauthd were recorded doing.
//!
//! `testdata/conformance/saslauthd.jsonl` has whole runs,
//! `wire-saslauthd.jsonl` exchanges on the socket; text is octets as Latin-1.
//! The site's files, which the recordings laid over `/etc`, stand below
//! `--root` here, so that no privilege is needed. Cases that this suite answers
//! otherwise on purpose are named below and in `differences-saslauthd.md`; they
//! must differ, or the row is out of date.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

#[allow(
    dead_code,
    reason = "shared with the other tests, each of which uses a part"
)]
mod harness;
use harness::{Daemon, converse, eventually, host, latin1, octets, program, set_password};

const DIFFERENT: [&str; 6] = [
    "tsa-R-negative",
    "testsaslauthd-tsa-R-negative",
    "sad-nul-in-password",
    "saslauthd-wire-sad-nul-in-password",
    "sac-changed",
    "saslauthd-wire-sac-changed",
];

#[test]
fn recorded_runs() {
    replay("saslauthd.jsonl");
}

#[test]
fn recorded_exchanges() {
    replay("wire-saslauthd.jsonl");
}

fn replay(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/conformance")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    let cases: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(cases.len() > 50);
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let id = case["id"].as_str().unwrap();
                    let bad = Run::new(case).play();
                    let differs = DIFFERENT.contains(&id);
                    if differs && bad.is_empty() {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("{id}: differs no more"));
                    }
                    if !differs {
                        let lines = bad.into_iter().map(|b| format!("{id}: {b}"));
                        failures.lock().unwrap().extend(lines);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// One case in a fresh folder.
struct Run<'a> {
    case: &'a Value,
    dir: tempfile::TempDir,
    daemon: Option<Daemon>,
    bad: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Value) -> Self {
        Run {
            case,
            dir: tempfile::tempdir().unwrap(),
            daemon: None,
            bad: Vec::new(),
        }
    }

    fn play(mut self) -> Vec<String> {
        for (name, spec) in self.case["files"].as_object().unwrap() {
            let path = self.path(name);
            if spec["dir"] == true {
                fs::create_dir_all(&path).unwrap();
            } else {
                let content = spec.as_str().or(spec["content"].as_str()).unwrap_or("");
                fs::write(&path, octets(content)).unwrap();
            }
        }
        for step in self.case["steps"].as_array().unwrap() {
            self.step(step);
            if !self.bad.is_empty() {
                break;
            }
        }
        self.bad
    }

    fn step(&mut self, step: &Value) {
        if step.get("argv").is_some() {
            self.run(step);
        } else if let Some(argv) = step.get("daemon") {
            self.start(argv, step);
        } else if step.get("connect").is_some() {
            self.connect(step);
        } else if step.get("stop").is_some() {
            let ended = self.daemon.take().expect("a daemon").stop();
            self.expect(step, "exit", &ended.code.into());
            self.expect_text(step, "stdout", &ended.stdout);
            self.expect_text(step, "stderr", &ended.stderr);
        } else if step.get("stat").is_some() {
            self.stat(step);
        } else if let Some(dir) = step["ls"].as_str() {
            let names = fs::read_dir(self.path(dir)).unwrap();
            let mut names: Vec<_> = names
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            self.expect(step, "names", &names.into());
        } else if let Some(seconds) = step["sleep"].as_f64() {
            thread::sleep(Duration::from_secs_f64(seconds));
        } else {
            panic!("unknown step {step}");
        }
    }

    fn run(&mut self, step: &Value) {
        let argv = self.words(&step["argv"]);
        let name = argv[0].to_str().unwrap();
        if name == "saslpasswd2" {
            let argv: Vec<_> = argv.iter().map(|a| a.to_str().unwrap()).collect();
            self.set_password(&argv, step["stdin"].as_str().unwrap());
            return;
        }
        let serve = step.get("serve").map(|spec| {
            let path = self.path(spec["path"].as_str().unwrap());
            Canned::start(&path, &spec["reply"])
        });
        let output = harness::run(name, &argv[1..], self.dir.path());
        self.expect(step, "exit", &output.status.code().into());
        self.expect_text(step, "stdout", &output.stdout);
        self.expect_text(step, "stderr", &output.stderr);
        if let Some(serve) = serve {
            self.expect(step, "requests", &serve.finish().into());
        }
    }

    /// `saslpasswd2 -p -c -f FILE [-u REALM] USER`, by the library it calls.
    fn set_password(&self, argv: &[&str], stdin: &str) {
        let after = |flag: &str| {
            let at = argv.iter().position(|a| *a == flag)?;
            argv.get(at + 1).map(|a| (*a).to_owned())
        };
        let user = argv.last().unwrap();
        let (user, realm) = match user.split_once('@') {
            Some((user, realm)) => (user, realm.to_owned()),
            None => (*user, after("-u").unwrap_or_else(host)),
        };
        let file = self.path(&after("-f").unwrap());
        let password = octets(stdin.trim_end_matches('\n'));
        set_password(&file, user.as_bytes(), realm.as_bytes(), &password);
    }

    fn start(&mut self, argv: &Value, step: &Value) {
        let argv = self.words(argv);
        let socket = self.path(step["socket"].as_str().unwrap());
        let root = self.root(&step["bind"]);
        let mut command = program(argv[0].to_str().unwrap());
        command.args(&argv[1..]).arg("--root").arg(root);
        // A connection would stand in the log, so the socket is only looked at.
        command.current_dir(self.dir.path());
        self.daemon = Some(Daemon::start_command_quietly(&mut command, &socket));
    }

    /// A root with the files that the recording laid over the system's.
    fn root(&self, bind: &Value) -> PathBuf {
        let root = self.path("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        for (target, source) in bind.as_object().into_iter().flatten() {
            let link = root.join(target.trim_start_matches('/'));
            let _ = fs::remove_file(&link);
            symlink(self.path(source.as_str().unwrap()), link).unwrap();
        }
        root
    }

    fn connect(&mut self, step: &Value) {
        let pieces: Vec<Vec<u8>> = match &step["send"] {
            Value::Array(pieces) => pieces.iter().map(|p| octets(p.as_str().unwrap())).collect(),
            one => vec![octets(one.as_str().unwrap())],
        };
        let pause = Duration::from_secs_f64(step["chunk_delay"].as_f64().unwrap_or(0.3));
        let socket = self.path(step["connect"].as_str().unwrap());
        let got = converse(&socket, &pieces, pause);
        let end = if got.is_some() {
            "closed"
        } else {
            "connect failed"
        };
        self.expect(step, "end", &end.into());
        self.expect(step, "recv", &latin1(&got.unwrap_or_default()).into());
    }

    fn stat(&mut self, step: &Value) {
        let metadata = fs::symlink_metadata(self.path(step["stat"].as_str().unwrap())).unwrap();
        let kind = if metadata.file_type().is_socket() {
            "socket"
        } else {
            "other"
        };
        self.expect(step, "type", &kind.into());
        let mode = format!("{:04o}", metadata.permissions().mode() & 0o7777);
        self.expect(step, "mode", &mode.into());
    }

    fn expect(&mut self, step: &Value, field: &str, got: &Value) {
        let Some(want) = step.get(field) else { return };
        if want != got {
            self.bad.push(format!("{field}: want {want} got {got}"));
        }
    }

    fn expect_text(&mut self, step: &Value, field: &str, got: &[u8]) {
        let Some(want) = step[field].as_str() else {
            return;
        };
        let got = without_pids(&latin1(got));
        if let Some(lines) = step["stderr_lines"].as_array()
            && field == "stderr"
        {
            // These lines, in this order, among others.
            let mut rest = got.lines();
            for line in lines {
                let line = line.as_str().unwrap();
                if !rest.any(|l| l.contains(line)) {
                    self.bad
                        .push(format!("{field}: no {line:?} in order in {got}"));
                }
            }
            return;
        }
        let want = self.text(want);
        if want != got {
            self.bad.push(format!("{field}: want {want:?} got {got:?}"));
        }
    }

    fn text(&self, text: &str) -> String {
        text.replace("{DIR}", self.dir.path().to_str().unwrap())
            .replace("{HOST}", &host())
    }

    fn words(&self, argv: &Value) -> Vec<OsString> {
        let words = argv.as_array().unwrap().iter();
        words
            .map(|w| OsString::from_vec(octets(&self.text(w.as_str().unwrap()))))
            .collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(self.text(name))
    }
}

/// `saslauthd[123] :` as the recordings write it.
fn without_pids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("saslauthd[") {
        out.push_str(before);
        out.push_str("saslauthd[{PID}");
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

/// A server that reads what comes, says what it was told to, and closes.
struct Canned {
    stop: std::sync::Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<String>>,
}

impl Canned {
    fn start(path: &Path, reply: &Value) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let pieces: Vec<Vec<u8>> = match reply {
            Value::Array(pieces) => pieces.iter().map(|p| octets(p.as_str().unwrap())).collect(),
            one => vec![octets(one.as_str().unwrap_or(""))],
        };
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut requests = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        requests.push(latin1(&read_request(&mut stream)));
                        for piece in &pieces {
                            let _ = stream.write_all(piece);
                            thread::sleep(Duration::from_millis(10));
                        }
                    }
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
            requests
        });
        Canned { stop, thread }
    }

    fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Four counted strings, or what came before the client stopped.
fn read_request(stream: &mut std::os::unix::net::UnixStream) -> Vec<u8> {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut got = Vec::new();
    for _ in 0..4 {
        let mut count = [0; 2];
        if stream.read_exact(&mut count).is_err() {
            return got;
        }
        let mut field = vec![0; usize::from(u16::from_be_bytes(count))];
        stream.read_exact(&mut field).unwrap();
        got.extend_from_slice(&count);
        got.extend_from_slice(&field);
    }
    got
}

impl Daemon {
    fn start_command_quietly(command: &mut std::process::Command, socket: &Path) -> Daemon {
        let daemon = Daemon::spawn(command, socket);
        let open = || fs::metadata(socket).is_ok_and(|m| m.permissions().mode() & 0o7777 == 0o777);
        assert!(eventually(open), "no socket");
        daemon
    }
}
