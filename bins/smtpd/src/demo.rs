//! `smtpd demo`: the README's first command.
//!
//! Lays a sample site out in a fresh folder, builds its maps, adds a user, makes a
//! certificate, starts the server on loopback, talks to it, changes a map while it
//! runs, passes a message on to another host (which it plays itself), and says what came
//! of each step. With `--once` it ends then; without, the
//! server stays up and the commands to try next are printed.

mod client;
mod screen;
mod sink;
mod steps;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libmaps::sasl::edit::{AuthPassword, NewAccount, SaslDbEdit};
use libmaps::sasl::key::UserId;
use libmaps::sasl::password::Password;
use libmaps::sasl::secret::{Recipe, Salts, Secrets};
use libmaps::sysexits::SysExit;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tools::demo_folder::{AtTheEnd, DemoFolder};
use tools::report::{complain, finish};

use crate::tables;

use screen::{Screen, Unwritten};

/// How often is looked whether the server still runs.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const HOST: &str = "mx.demo.example";
const FILES: [(&str, &str); 8] = [
    (
        "etc/mail/sendmail.mc",
        include_str!("demo/site/sendmail.mc"),
    ),
    ("etc/mail/access", include_str!("demo/site/access")),
    (
        "etc/mail/virtusertable",
        include_str!("demo/site/virtusertable"),
    ),
    ("etc/mail/aliases", include_str!("demo/site/aliases")),
    ("etc/mail/local-host-names", "demo.example\nshop.example\n"),
    (
        "etc/mail/service.switch",
        "hosts files\naliases files\npasswd files\n",
    ),
    ("etc/hosts", include_str!("demo/site/hosts")),
    ("etc/sasl2/Sendmail.conf", "pwcheck_method: auxprop\n"),
];

/// A demo that did not come off.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the demo.
#[must_use]
pub fn demo(args: &[OsString]) -> ExitCode {
    let once = match args {
        [] => Stay::Up,
        [word] if word == "--once" => Stay::Once,
        _ => {
            complain(&[b"usage: smtpd demo [--once]"]);
            return SysExit::Usage.into();
        }
    };
    match run(once) {
        Ok(steps::Verdict::AllAsExpected) => SysExit::Ok.into(),
        Ok(steps::Verdict::SomeNot) => SysExit::Software.into(),
        Err(error) => match error.downcast::<Unwritten>() {
            Ok(unwritten) => finish("smtpd", Err(unwritten.0), SysExit::Ok),
            Err(error) => {
                complain(&[format!("smtpd demo: {error}").as_bytes()]);
                SysExit::Software.into()
            }
        },
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    Up,
    Once,
}

fn run(stay: Stay) -> Result<steps::Verdict, Failure> {
    // From here on a signal ends the demo only when its folder is removed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ending = runtime.block_on(async { Ending::new() })?;
    let folder = DemoFolder::make("smtpd", AtTheEnd::Remove)?;
    let root = folder.path();
    // The DefaultUser must reach its file below it.
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    let mut screen = Screen::open();
    screen.line(format_args!("A sample site below {}\n", root.display()))?;
    let sink = sink::Sink::start()?;
    lay_out(root, sink.port)?;
    let server = Server::start(root)?;
    let verdict = steps::all(root, &server, &sink, &mut screen)?;
    if stay == Stay::Up {
        let (port, root) = (server.port, root.display());
        for line in [
            format!(
                "\nThe server stays up on 127.0.0.1:{port}; Ctrl-C ends it and removes the folder. Try:"
            ),
            format!(
                "  swaks --server 127.0.0.1:{port} -tls -a PLAIN -au alice -ap wonderland -f alice@demo.example -t archive@demo.example"
            ),
            format!("  openssl s_client -quiet -starttls smtp -connect 127.0.0.1:{port}"),
            format!(
                "  $EDITOR {root}/etc/mail/access && makemap hash {root}/etc/mail/access < {root}/etc/mail/access"
            ),
            format!("  mailq --root {root}"),
            format!("  smtpd check --root {root}"),
        ] {
            screen.line(format_args!("{line}"))?;
        }
        runtime.block_on(ending.wait(&server));
    }
    Ok(verdict)
}

/// Signals that end the demo.
struct Ending([Signal; 3]);

impl Ending {
    fn new() -> io::Result<Self> {
        Ok(Ending([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Until one comes, or the server has ended by itself.
    async fn wait(self, server: &Server) {
        let Ending([mut interrupt, mut terminate, mut hangup]) = self;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return,
                _ = terminate.recv() => return,
                _ = hangup.recv() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            if server.has_ended() {
                return;
            }
        }
    }
}

/// `sink_port` is where the server of friend.example listens.
fn lay_out(root: &Path, sink_port: u16) -> Result<(), Failure> {
    for (name, text) in FILES {
        let path = root.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
    }
    fs::write(
        root.join("etc/mail/mailertable"),
        format!("friend.example\tesmtp:[127.0.0.1]:{sink_port}\n"),
    )?;
    let archive = root.join("etc/mail/archive.mbox");
    fs::write(&archive, "")?;
    // Where we are root, delivery to files runs as the DefaultUser, 8:8.
    let _ = std::os::unix::fs::chown(&archive, Some(8), Some(8));
    for table in ["access", "virtusertable", "mailertable"] {
        tables::build_table(&root.join("etc/mail").join(table))?;
    }
    tables::build_aliases(&root.join("etc/mail/aliases"))?;
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    fs::write(root.join("etc/mail/server.crt"), made.cert.pem())?;
    let key = root.join("etc/mail/server.key");
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    add_user(root)
}

/// What `saslpasswd2 alice` does.
fn add_user(root: &Path) -> Result<(), Failure> {
    let user = UserId::new(b"alice", HOST.as_bytes())?;
    let password = Password::new(b"wonderland".to_vec())?;
    let secrets = Secrets::derive(&user, &password, &Recipe::default(), &Salts::random()?)?;
    let mut edit = SaslDbEdit::begin(&root.join("etc/sasldb2"), "smtpd demo")?;
    edit.set(&NewAccount { user, secrets }, AuthPassword::Omit)?;
    edit.publish()?;
    Ok(())
}

/// The server of the demo, and what it logs.
struct Server {
    child: Mutex<Child>,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(root: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--root")
            .arg(root)
            .args(["--log", "json"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = child.stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(output).lines();
        let (mut port, mut said) = (None, Vec::new());
        loop {
            let Some(line) = lines.next().transpose()? else {
                return Err(format!("the server ended: {}", said.join("\n")).into());
            };
            if let Some((_, addr)) = line.split_once(" addr=127.0.0.1:") {
                port = addr
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect::<String>()
                    .parse()
                    .ok();
            }
            let ready = line.contains("\"ready\"");
            said.push(line);
            if ready {
                break;
            }
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Ok(Server {
            child: Mutex::new(child),
            port: port.ok_or("the server has no port")?,
            log,
        })
    }

    /// The newest line with all these words, as JSON.
    fn logged(&self, words: &[&str]) -> Option<serde_json::Value> {
        for _ in 0..40 {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let found = log
                .iter()
                .rev()
                .find(|l| words.iter().all(|w| l.contains(w)))
                .cloned();
            drop(log);
            if let Some(line) = found {
                return serde_json::from_str(&line).ok();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        None
    }

    fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
