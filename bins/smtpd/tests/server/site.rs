//! A site below a fresh root, and the server that runs on it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libmaps::sasl::edit::{AuthPassword, NewAccount, SaslDbEdit};
use libmaps::sasl::key::UserId;
use libmaps::sasl::password::Password;
use libmaps::sasl::secret::{Recipe, Salts, Secrets};
use smtpd::tables;
use tempfile::TempDir;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);

pub(crate) const HOST: &str = "mail.example.test";

/// A site that is laid out and not yet started.
pub(crate) struct Site {
    root: TempDir,
}

/// A running server; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    ports: HashMap<String, u16>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// A site of this `sendmail.mc`; host, alias file, DNS and the default listener are given.
    pub(crate) fn new(mc: &str) -> Self {
        let site = Site::bare();
        site.write("etc/mail/sendmail.mc", &Site::mc(mc));
        site
    }

    /// What [`Site::new`] makes of a piece of configuration.
    pub(crate) fn mc(piece: &str) -> String {
        let daemon = if piece.contains("DAEMON_OPTIONS") {
            ""
        } else {
            "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl\n"
        };
        format!(
            "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `{HOST}')dnl\n\
             define(`ALIAS_FILE', `/etc/mail/aliases')dnl\ndefine(`confDEF_USER_ID', `8:8')dnl\n\
             FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n\
             {daemon}{piece}\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
        )
    }

    /// A site without `sendmail.mc`.
    pub(crate) fn bare() -> Self {
        // A list that the group of whoever tests could write to is none.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let site = Site { root };
        site.write("etc/mail/service.switch", "hosts files\naliases files\n");
        site.write(
            "etc/hosts",
            &format!("127.0.0.1 {HOST} localhost\n127.0.0.2 client.example.com\n"),
        );
        site.write("etc/mail/aliases", "archive: /etc/mail/out.mbox\n");
        tables::build_aliases(&site.path("etc/mail/aliases")).unwrap();
        site.write("etc/mail/out.mbox", "");
        let _ = std::os::unix::fs::chown(site.path("etc/mail/out.mbox"), Some(8), Some(8));
        site
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a file that only its owner reads.
    pub(crate) fn write_private(&self, name: &str, text: &str) {
        self.write(name, text);
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(name), mode).unwrap();
    }

    pub(crate) fn table(&self, name: &str, text: &str) {
        self.write(name, text);
        tables::build_table(&self.path(name)).unwrap();
    }

    /// What `saslpasswd2 -c -u REALM USER` does.
    pub(crate) fn account(&self, user: &str, realm: &str, password: &str, auth: AuthPassword) {
        let user = UserId::new(user.as_bytes(), realm.as_bytes()).unwrap();
        let password = Password::new(password.as_bytes().to_vec()).unwrap();
        let salts = Salts::random().unwrap();
        let secrets = Secrets::derive(&user, &password, &Recipe::default(), &salts).unwrap();
        let mut edit = SaslDbEdit::begin(&self.path("etc/sasldb2"), "test").unwrap();
        edit.set(&NewAccount { user, secrets }, auth).unwrap();
        edit.publish().unwrap();
    }

    pub(crate) fn start(&self) -> Server {
        self.start_with(|_| {})
    }

    /// Starts the server after a change to its command.
    pub(crate) fn start_with(&self, change: impl FnOnce(&mut Command)) -> Server {
        let mut command = self.command();
        change(&mut command);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let server = Server::greet(child, || lines.next()?.ok());
        let more = Arc::clone(&server.log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                more.lock().unwrap().push(line);
            }
        });
        server
    }

    /// Starts the server that logs to a socket, from which its first lines are read.
    pub(crate) fn start_logging(&self, target: &str, socket: &UnixDatagram) -> Server {
        let mut command = self.command();
        let child = command.args(["--log", target]).spawn().unwrap();
        Server::greet(child, || {
            let mut text = vec![0; 65_536];
            let octets = socket.recv(&mut text).ok()?;
            Some(String::from_utf8_lossy(&text[..octets]).into_owned())
        })
    }

    /// The server's command.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpd"));
        command.arg("--root").arg(self.root.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs it to its end: exit status and what it said.
    pub(crate) fn run_to_end(&self, args: &[&str]) -> (ExitStatus, String) {
        let out = self
            .command()
            .args(args)
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status, String::from_utf8_lossy(&text).into_owned())
    }

    /// The text of a file once it holds this.
    pub(crate) fn text_with(&self, name: &str, want: &str) -> String {
        let mut text = String::new();
        let found = wait_until(|| {
            text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            text.contains(want)
        });
        assert!(found, "{name}: {want:?} is not in {text:?}");
        text
    }
}

impl Server {
    /// Waits until the server is ready, and learns its ports.
    fn greet(child: Child, mut next: impl FnMut() -> Option<String>) -> Self {
        let mut server = Server {
            child,
            ports: HashMap::new(),
            log: Arc::default(),
        };
        let mut said = Vec::new();
        loop {
            let line = next().unwrap_or_else(|| panic!("the server ended: {said:#?}"));
            if let Some((_, rest)) = line.split_once("listening name=") {
                let (name, addr) = rest.split_once(" addr=").unwrap();
                let addr = addr.lines().next().unwrap();
                let port = addr.rsplit_once(':').unwrap().1;
                let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
                server
                    .ports
                    .insert(name.to_owned(), digits.parse().unwrap());
            }
            let first = line.lines().next().unwrap_or_default();
            let ready = first.ends_with(": ready")
                || first == "MESSAGE=ready"
                || line.contains("\"text\":\"ready\"");
            said.push(line);
            if ready {
                *server.log.lock().unwrap() = said;
                return server;
            }
        }
    }

    /// The port of the listener of this name.
    pub(crate) fn port(&self, name: &str) -> u16 {
        self.ports[name]
    }

    /// The only listener's port.
    pub(crate) fn only_port(&self) -> u16 {
        assert_eq!(self.ports.len(), 1, "{:?}", self.ports);
        *self.ports.values().next().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// The first log line with this text, once there is one.
    pub(crate) fn log_with(&self, want: &str) -> String {
        let mut line = None;
        wait_until(|| {
            let log = self.log.lock().unwrap();
            line = log.iter().find(|l| l.contains(want)).cloned();
            line.is_some()
        });
        line.unwrap_or_else(|| panic!("{want:?} is not in {:#?}", self.log.lock().unwrap()))
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.expect("the server did not end")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something; false if it does not come.
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let mut waited = Duration::ZERO;
    while !done() {
        if waited >= PATIENCE {
            return false;
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
    true
}
