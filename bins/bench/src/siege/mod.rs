//! The server under siege: many clients that are slow, or say much, or guess passwords.
//!
//! Each attack is made against the built server. Meanwhile an honest client must get its
//! message through, and the server's memory must stay within bounds.

mod login;
mod many;
mod slow;
mod talk;

pub use login::login_times;
pub use many::{header_lines, recipients};
pub use slow::{handshakes, slow_senders};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::fire::server::Server;
use crate::fire::site::Site;
use talk::Talk;

/// What is attacked, and how much.
#[derive(Clone, Debug)]
pub struct Siege {
    /// The folder with `smtpd`.
    pub programs: PathBuf,
    /// An empty folder; the site is laid out there.
    pub folder: PathBuf,
    /// How many connections, recipients, lines or tries.
    pub size: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was counted.
    pub counts: Vec<(&'static str, u64)>,
    /// What was measured, with its unit.
    pub measures: Vec<(&'static str, String)>,
    /// What was promised and not kept.
    pub losses: Vec<String>,
}

impl Outcome {
    /// A count by its name.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        let found = self.counts.iter().find(|(name, _)| *name == what);
        found.map_or(0, |(_, count)| *count)
    }

    fn lose_unless(&mut self, kept: bool, what: impl FnOnce() -> String) {
        if !kept {
            self.losses.push(what());
        }
    }
}

/// Memory that the server may take beyond what it had before an attack by one client, in KiB.
const MOST_KIB: u64 = 64 * 1024;

/// A server under attack.
struct Besieged {
    server: Server,
}

impl Besieged {
    fn start(
        siege: &Siege,
        mc: &str,
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        // Nobody listens there: what is for other hosts waits.
        let site = Site::lay_out(&siege.folder, 9, 9, mc)?;
        prepare(site.root())?;
        let server = Server::start(&siege.programs, site.root(), &[])?;
        Ok(Besieged { server })
    }

    fn connect(&self) -> io::Result<Talk> {
        Talk::connect(self.server.port())
    }

    /// A figure of `/proc/PID/status` in KiB.
    fn memory_kib(&self, name: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let figure = line.and_then(|line| line.split_whitespace().next());
        let figure = figure.and_then(|figure| figure.parse().ok());
        figure.ok_or_else(|| io::Error::other(format!("{name}: not known of the server")))
    }

    /// The message of an honest client of another address; it must be taken.
    fn honest(&self, outcome: &mut Outcome) {
        let sent = Talk::connect_alone(self.server.port()).and_then(|mut talk| {
            talk.exchange("", "220")?;
            talk.exchange("HELO honest.example", "250")?;
            talk.exchange("MAIL FROM:<a@b.example>", "250")?;
            talk.exchange("RCPT TO:<archive>", "250")?;
            talk.exchange("DATA", "354")?;
            talk.exchange("Subject: honest\r\n\r\nx\r\n.", "250")?;
            talk.exchange("QUIT", "221")
        });
        match sent {
            Ok(_) => match outcome.counts.iter_mut().find(|(name, _)| *name == HONEST) {
                Some((_, count)) => *count += 1,
                None => outcome.counts.push((HONEST, 1)),
            },
            Err(error) => outcome.losses.push(format!("an honest client: {error}")),
        }
    }
}

/// The count of messages by honest clients.
const HONEST: &str = "honest messages taken meanwhile";
