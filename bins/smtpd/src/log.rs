//! Log lines, in sendmail's words.
//!
//! Client text never brings a line end or an escape sequence into a log: control
//! octets are written as `\ooo`. Nor does it make a line so long that whoever takes it cuts its
//! end off: what says where a message comes from stands there. Secrets are not handed to this
//! module at all.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use libmaps::decision::Trace;

use crate::clock::{Civil, now_unix};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error, with the time before each line.
    Stderr,
    /// syslog(3), facility mail, at this socket.
    Syslog(PathBuf),
    /// The journal, with fields, at this socket.
    Journal(PathBuf),
    /// Standard error, a JSON object a line.
    Json,
}

impl std::str::FromStr for Target {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let (kind, socket) = match word.split_once(':') {
            Some((kind, socket)) => (kind, Some(socket)),
            None => (word, None),
        };
        match (kind, socket) {
            ("stderr", None) => Ok(Target::Stderr),
            ("syslog", socket) => Ok(Target::Syslog(socket.unwrap_or(SYSLOG).into())),
            ("journal", socket) => Ok(Target::Journal(socket.unwrap_or(JOURNAL).into())),
            ("json", None) => Ok(Target::Json),
            _ => Err("expected stderr, syslog, journal or json"),
        }
    }
}

/// How grave a line is, with syslog's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An error of ours.
    Error = 3,
    /// Something an administrator should see.
    Warning = 4,
    /// Something that was refused.
    Notice = 5,
    /// Everyday life.
    Info = 6,
}

/// The log.
#[derive(Debug)]
pub struct Log {
    target: Target,
    socket: Mutex<Option<UnixDatagram>>,
    pid: u32,
}

/// A line of the JSON log.
#[derive(serde::Serialize)]
struct Entry<'a> {
    time: u64,
    level: &'static str,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Vec<String>>,
}

/// Most octets of a line, without what stands before its text: rsyslog cuts a line at 8 KiB.
const MAX_LINE_OCTETS: usize = 7500;
/// Most characters of a Message-Id, as with sendmail.
const MAX_MESSAGE_ID: usize = 100;
/// Most characters of a sender, as with sendmail.
const MAX_SENDER: usize = 200;
/// LOG_MAIL.
const FACILITY: u8 = 2;
const SYSLOG: &str = "/dev/log";
const JOURNAL: &str = "/run/systemd/journal/socket";

impl Log {
    /// Opens the log.
    #[must_use]
    pub fn open(target: Target) -> Self {
        let socket = match &target {
            Target::Syslog(path) | Target::Journal(path) => connect(path),
            Target::Stderr | Target::Json => None,
        };
        Log {
            target,
            socket: Mutex::new(socket),
            pid: std::process::id(),
        }
    }

    /// Whether lines go where whoever started this program at a terminal does not see them.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.target, Target::Syslog(_))
    }

    /// A line about no message.
    pub fn say(&self, level: Level, text: &str) {
        self.line(level, None, text, None);
    }

    /// A line about a message.
    pub fn about(&self, level: Level, id: &str, text: &str) {
        self.line(level, Some(id), text, None);
    }

    /// A line with the trace of a decision, which JSON and the journal show.
    pub fn line(&self, level: Level, id: Option<&str>, text: &str, trace: Option<&Trace>) {
        let text = bounded(text);
        let plain = match id {
            Some(id) => format!("{id}: {text}"),
            None => text.clone(),
        };
        match &self.target {
            Target::Stderr => {
                let time = Civil::local(now_unix()).syslog();
                write_stderr(&format!("{time} smtpd[{}]: {plain}\n", self.pid));
            }
            Target::Json => {
                let trace = trace.map(|t| t.probes().map(|probe| probe.to_string()).collect());
                let object = Entry {
                    time: now_unix(),
                    level: level_name(level),
                    pid: self.pid,
                    id,
                    text: &text,
                    trace,
                };
                let object = serde_json::to_string(&object).unwrap_or_default();
                write_stderr(&format!("{object}\n"));
            }
            Target::Syslog(path) => {
                let number = FACILITY << 3 | level as u8;
                let time = Civil::local(now_unix()).syslog();
                let line = format!("<{number}>{time} smtpd[{}]: {plain}", self.pid);
                self.send(path, line.as_bytes());
            }
            Target::Journal(path) => {
                let mut entry = format!(
                    "MESSAGE={plain}\nPRIORITY={}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER=smtpd\n",
                    level as u8
                );
                if let Some(id) = id {
                    entry.push_str(&format!("SMTPD_QUEUE_ID={id}\n"));
                }
                self.send(path, entry.as_bytes());
            }
        }
    }

    /// A log that is gone is connected anew once; a line that can't be sent goes to
    /// standard error, so that nothing is lost silently.
    fn send(&self, path: &Path, datagram: &[u8]) {
        let mut socket = self.socket.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(open) = socket.as_ref()
            && open.send(datagram).is_ok()
        {
            return;
        }
        *socket = connect(path);
        if socket.as_ref().is_none_or(|s| s.send(datagram).is_err()) {
            write_stderr(&format!("{}\n", String::from_utf8_lossy(datagram)));
        }
    }
}

fn connect(path: &Path) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(path).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

fn write_stderr(line: &str) {
    // A closed standard error is no reason to stop taking mail.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
    }
}

/// As much of a Message-Id as a line has room for.
pub(crate) fn message_id(id: &str) -> &str {
    beginning(id, MAX_MESSAGE_ID)
}

/// As much of a sender as a line has room for.
pub(crate) fn sender(address: &str) -> &str {
    beginning(address, MAX_SENDER)
}

fn beginning(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters);
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// The text with control characters (C0, DEL and C1) as `\ooo`.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_clean(&mut out, c));
    out
}

fn push_clean(out: &mut String, c: char) {
    match c.is_control() {
        true => out.push_str(&format!("\\{:03o}", c as u32)),
        false => out.push(c),
    }
}

/// As [`clean`], and no longer than a line may be.
fn bounded(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE_OCTETS));
    for c in text.chars() {
        let before = out.len();
        push_clean(&mut out, c);
        if out.len() > MAX_LINE_OCTETS {
            out.truncate(before);
            out.push_str("...");
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_ends_from_strangers() {
        assert_eq!(clean("a\r\nb\x1b[0m"), "a\\015\\012b\\033[0m");
        assert_eq!(clean("a\u{9b}31m\x7fb\u{e9}"), "a\\23331m\\177b\u{e9}");
    }

    #[test]
    fn no_line_is_longer_than_a_log_takes() {
        let longest = "x".repeat(MAX_LINE_OCTETS);
        assert_eq!(bounded(&longest), longest);
        assert_eq!(bounded(&format!("{longest}y")), format!("{longest}..."));
        let controls = bounded(&"\x01".repeat(MAX_LINE_OCTETS));
        assert!(controls.len() <= MAX_LINE_OCTETS + 3, "{}", controls.len());
        assert!(controls.ends_with("\\001..."), "{controls}");
    }

    #[test]
    fn of_a_long_id_the_beginning_is_logged() {
        let id = "\u{e9}".repeat(101);
        assert_eq!(message_id(&id), "\u{e9}".repeat(100));
        assert_eq!(message_id("<1@b.example>"), "<1@b.example>");
        assert_eq!(sender(&"x".repeat(300)), "x".repeat(200));
    }
}
