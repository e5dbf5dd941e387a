//! Servers that are measured: started, asked, ended.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{ours, postfix, sendmail};
use crate::report::{Report, Whose};
use crate::setting::Bench;
use crate::tree;

/// A server that does not greet after so long does not run.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It takes mail and keeps it.
    Holding,
    /// It asks its tables about every recipient.
    Tables,
    /// It takes mail, and has a certificate. Ours alone is asked for this.
    Tls,
    /// It passes mail on to this port.
    Relaying(u16),
}

/// A server and its name.
pub(super) struct Server {
    /// What stands in the table.
    pub(super) title: &'static str,
    /// Ours, or a peer's.
    pub(super) whose: Whose,
    /// It runs.
    pub(super) running: Running,
}

/// A server that runs; dropped, it ends.
pub(super) struct Running {
    child: Child,
    /// Where it listens.
    pub(super) port: u16,
    /// For whom it takes mail.
    pub(super) recipient: String,
}

/// Starts a server of this kind on this port.
pub(super) type Start = fn(&Bench, Role, u16) -> io::Result<Command>;

/// Ours first, then the peers.
pub(super) const ALL: [(&str, Whose, Start); 3] = [
    (ours::TITLE, Whose::Ours, ours::command),
    (sendmail::TITLE, Whose::APeers, sendmail::command),
    (postfix::TITLE, Whose::APeers, postfix::command),
];

impl Server {
    /// Starts ours and the peers; one that does not start is left out.
    ///
    /// # Errors
    /// Ours does not start.
    pub(super) fn start_all(
        bench: &Bench,
        role: Role,
        report: &mut Report,
    ) -> io::Result<Vec<Server>> {
        let mut servers = Vec::new();
        for (title, whose, start) in ALL {
            match Running::start(bench, role, start) {
                Ok(running) => servers.push(Server {
                    title,
                    whose,
                    running,
                }),
                Err(error) if whose == Whose::Ours => return Err(error),
                Err(error) => {
                    let why = format!("{title}: {error}");
                    if !report.skipped.contains(&why) {
                        report.skipped.push(why);
                    }
                }
            }
        }
        Ok(servers)
    }
}

impl Running {
    /// Starts a server and waits for its greeting.
    pub(super) fn start(bench: &Bench, role: Role, start: Start) -> io::Result<Self> {
        let port = free_port()?;
        let mut command = start(bench, role, port)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.map_err(|e| io::Error::other(format!("{command:?}: {e}")))?;
        let mut running = Running {
            child,
            port,
            recipient: "root@mx.bench.example".into(),
        };
        let begun = Instant::now();
        while !greets(port) {
            if let Some(status) = running.child.try_wait()? {
                return Err(io::Error::other(format!("{command:?}: {status}")));
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{command:?}: does not greet")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(running)
    }

    /// What it has used of the processors.
    pub(super) fn cpu(&self) -> io::Result<Duration> {
        tree::cpu(self.child.id())
    }

    /// The memory of all its processes, in octets; what several share counts once.
    pub(super) fn memory(&self) -> io::Result<u64> {
        tree::memory(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What runs in a namespace ends with its first process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the loopback net that nobody has at this moment.
pub(super) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let mut line = String::new();
    let waits = stream.set_read_timeout(Some(Duration::from_secs(5)));
    waits.is_ok() && BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("220")
}

/// A command in mount and process namespaces of its own: `script` gets the words as `$1`,
/// `$2`. All that it starts ends with its shell, which must wait for it: a server that
/// changes its rights would no longer be told that this program has gone.
pub(super) fn apart(script: &str, words: &[&Path]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--uts", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", script, "sh"]).args(words);
    command
}

/// Where what a server complains about goes.
pub(super) fn log(folder: &Path) -> io::Result<Stdio> {
    Ok(fs::File::create(folder.join("stderr"))?.into())
}

/// Runs a command that has to end well.
pub(super) fn done(command: &mut Command) -> io::Result<()> {
    match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("{command:?}: {status}"))),
        Err(error) => Err(io::Error::other(format!("{command:?}: {error}"))),
    }
}
