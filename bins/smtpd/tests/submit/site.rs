//! A site in a folder of its own, a caller called bob, and a server that can be started and killed.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smtpd::tables;
use tempfile::TempDir;

/// Where messages are dropped.
pub(crate) const DROP: &str = "var/spool/clientmqueue";

/// How long is waited for what must come.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Site {
    folder: TempDir,
    server: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/sendmail")
}

/// The number of the user who calls sendmail; where the tests run as root, an ordinary one.
pub(crate) fn caller() -> u32 {
    let own = fs::metadata("/proc/self").unwrap().uid();
    if own == 0 { 12_345 } else { own }
}

fn runs_as_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

impl Site {
    /// The site of the testdata, without a server.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mode = |path: &str, mode| {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("", 0o755);
        mode("etc", 0o755);
        mode("etc/mail", 0o755);
        mode("bin", 0o755);
        mode("var", 0o755);
        mode("var/spool", 0o755);
        mode("var/mail", 0o777);
        mode("open", 0o777);
        mode(DROP, 0o770);
        let uid = caller();
        if runs_as_root() {
            std::os::unix::fs::chown(root.join(DROP), Some(uid), Some(uid)).unwrap();
        }
        for name in ["passwd", "hosts"] {
            lay_out(root, name, &format!("etc/{name}"));
        }
        for name in [
            "sendmail.mc",
            "aliases",
            "members",
            "virtusertable",
            "access",
            "local-host-names",
            "service.switch",
        ] {
            lay_out(root, name, &format!("etc/mail/{name}"));
        }
        tables::build_aliases(&root.join("etc/mail/aliases")).unwrap();
        for name in ["virtusertable", "access"] {
            tables::build_table(&root.join("etc/mail").join(name)).unwrap();
            let db = root.join("etc/mail").join(format!("{name}.db"));
            fs::set_permissions(db, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let aliases = root.join("etc/mail/aliases.db");
        fs::set_permissions(aliases, fs::Permissions::from_mode(0o644)).unwrap();
        // Where the caller may run them, wherever the build is.
        for name in ["sendmail", "smtpd"] {
            fs::copy(program(name), root.join("bin").join(name)).unwrap();
        }
        Site {
            folder,
            server: None,
            log: Arc::default(),
        }
    }

    pub(crate) fn with_server() -> Self {
        let mut site = Site::new();
        site.start();
        site
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn drop_folder(&self) -> PathBuf {
        self.root().join(DROP)
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let mut child = Command::new(program("smtpd"))
            .arg("--root")
            .arg(self.root())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::clone(&self.log);
        loop {
            let line = lines.next().expect("the server ended").unwrap();
            log.lock().unwrap().push_str(&format!("{line}\n"));
            if line.ends_with(": ready") {
                break;
            }
        }
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        self.server = Some(child);
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A call of sendmail by bob.
    pub(crate) fn sendmail(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = Command::new(self.root().join("bin/sendmail"));
        command.arg("--root").arg(self.root()).args(args);
        run(command, stdin)
    }

    /// The same by whoever runs the tests.
    pub(crate) fn sendmail_as_owner(&self, args: &[&str]) -> Output {
        Command::new(self.root().join("bin/sendmail"))
            .arg("--root")
            .arg(self.root())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn mailq(&self, args: &[&str]) -> String {
        let out = Command::new(env!("CARGO_BIN_EXE_mailq"))
            .arg("--root")
            .arg(self.root())
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    /// Ids and senders of all messages in the queue.
    pub(crate) fn queued(&self) -> Vec<(String, String)> {
        let text = self.mailq(&["--json"]);
        let rows = text.lines().filter(|line| line.starts_with('{'));
        let rows = rows.map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        let word = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.map(|row| (word(&row, "id"), word(&row, "sender")))
            .collect()
    }

    /// Files in the drop folder with this ending.
    pub(crate) fn dropped(&self, ending: &str) -> Vec<PathBuf> {
        let all = fs::read_dir(self.drop_folder()).unwrap();
        let all = all.map(|entry| entry.unwrap().path());
        let mut all: Vec<PathBuf> = all
            .filter(|path| path.extension().is_some_and(|e| e == ending))
            .collect();
        all.sort();
        all
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Site) -> bool) {
        for _ in 0..TRIES {
            if holds(self) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("{what} never came; the log:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn read(&self, file: &str) -> String {
        let text = fs::read(self.root().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Runs it as bob with this on standard input.
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Output {
    if runs_as_root() {
        command.uid(caller()).gid(caller());
    }
    command
        .env_clear()
        .env("USER", "root")
        .env("LOGNAME", "root")
        .env("NAME", "Nobody Asked")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = loop {
        match command.spawn() {
            // A child of another test has not yet let go of the program that was copied.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(PAUSE);
            }
            spawned => break spawned.unwrap(),
        }
    };
    // A program that refuses its command line does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

pub(crate) fn program(name: &str) -> &'static str {
    match name {
        "sendmail" => env!("CARGO_BIN_EXE_sendmail"),
        _ => env!("CARGO_BIN_EXE_smtpd"),
    }
}

fn lay_out(root: &Path, name: &str, to: &str) {
    let text = fs::read_to_string(testdata().join("site").join(name)).unwrap();
    let text = text.replace("{UID}", &caller().to_string());
    fs::write(root.join(to), text).unwrap();
}
