//! A daemon in a fresh folder, clients for it, and accounts made as saslpasswd2 makes them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use libmaps::sasl::edit::{AuthPassword, Keep, NewAccount, SaslDbEdit, derive_all};
use libmaps::sasl::secret::Recipe;
use libmaps::sasl::{Password, UserId};

/// Text of the recordings: octets as Latin-1.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("Latin-1"))
        .collect()
}

pub(crate) fn latin1(octets: &[u8]) -> String {
    octets.iter().map(|b| char::from(*b)).collect()
}

pub(crate) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    name.trim().to_lowercase()
}

/// One of this package's programs, under its bare name.
pub(crate) fn program(name: &str) -> Command {
    let path = match name {
        "saslauthd" => env!("CARGO_BIN_EXE_saslauthd"),
        "testsaslauthd" => env!("CARGO_BIN_EXE_testsaslauthd"),
        other => panic!("no program {other}"),
    };
    let mut command = Command::new(path);
    command.arg0(name).env_remove("NOTIFY_SOCKET");
    command
}

/// Runs a program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(name: &str, args: &[S], dir: &Path) -> Output {
    program(name)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

type Known = HashMap<(Vec<u8>, Vec<u8>, Vec<u8>), NewAccount>;
static DERIVED: Mutex<Option<Known>> = Mutex::new(None);

/// Sets a password in a sasldb2. What is derived for one is kept for the next test.
pub(crate) fn set_password(path: &Path, user: &[u8], realm: &[u8], password: &[u8]) {
    let key = (user.to_vec(), realm.to_vec(), password.to_vec());
    let known = DERIVED
        .lock()
        .unwrap()
        .get_or_insert_default()
        .get(&key)
        .cloned();
    let account = known.unwrap_or_else(|| {
        let who = UserId::new(user, realm).unwrap();
        let password = Password::new(password.to_vec()).unwrap();
        let one = [(who, password)];
        let made = derive_all(&one, &Recipe::default(), Keep::Hashes, &|_| ());
        made.unwrap().remove(0)
    });
    let mut edit = SaslDbEdit::begin(path, "test").unwrap();
    edit.set(&account, AuthPassword::Omit).unwrap();
    edit.publish().unwrap();
    DERIVED
        .lock()
        .unwrap()
        .get_or_insert_default()
        .insert(key, account);
}

/// A running saslauthd; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) socket: PathBuf,
}

/// How a daemon ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Daemon {
    /// Starts a daemon that stays in the foreground, and waits for its socket.
    pub(crate) fn start<S: AsRef<OsStr>>(args: &[S], socket: &Path, dir: &Path) -> Daemon {
        Self::start_command(program("saslauthd").args(args).current_dir(dir), socket)
    }

    pub(crate) fn start_command(command: &mut Command, socket: &Path) -> Daemon {
        let daemon = Self::spawn(command, socket);
        let up = eventually(|| UnixStream::connect(socket).is_ok());
        assert!(up, "no socket at {}", socket.display());
        daemon
    }

    pub(crate) fn spawn(command: &mut Command, socket: &Path) -> Daemon {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Daemon {
            child,
            socket: socket.to_owned(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in kilobytes.
    pub(crate) fn resident_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// SIGTERM, and the end that comes of it.
    pub(crate) fn stop(mut self) -> Ended {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = eventually(|| self.child.try_wait().unwrap().is_some());
        assert!(ended, "still there after SIGTERM");
        let code = self.child.wait().unwrap().code();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut stdout)
            .unwrap();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_end(&mut stderr)
            .unwrap();
        Ended {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request as the protocol writes it.
pub(crate) fn frame(login: &str, password: &str, service: &str, realm: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    for field in [login, password, service, realm] {
        frame.extend_from_slice(&u16::try_from(field.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(field.as_bytes());
    }
    frame
}

/// Connects, sends pieces, ends its side and reads to the end; `None`: no connection.
pub(crate) fn converse(socket: &Path, pieces: &[Vec<u8>], pause: Duration) -> Option<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    for (i, piece) in pieces.iter().enumerate() {
        if i > 0 {
            thread::sleep(pause);
        }
        // A daemon that has refused already may have closed.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    Some(reply)
}

/// Asks once.
pub(crate) fn ask(socket: &Path, frame: &[u8]) -> Vec<u8> {
    converse(socket, &[frame.to_vec()], Duration::ZERO).expect("a connection")
}

/// Tries for twenty seconds.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}
