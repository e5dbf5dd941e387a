//! What saslauthd says: to syslog, and to standard error before it detaches
//! and with `-d`.
//!
//! Lines for syslog go to `/dev/log` as datagrams that are dropped rather than
//! waited for: a stuck log daemon must not stop logins. Names come from
//! strangers, so octets that steer a terminal or end a line are shown as `\ooo`.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How important a line is; the numbers are those of syslog, facility `auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something that an administrator should mend.
    Error,
    /// Start, stop and failed logins.
    Info,
    /// With `-V` and `-d` only.
    Debug,
}

impl Level {
    fn priority(self) -> u8 {
        const AUTH: u8 = 4 << 3;
        match self {
            Level::Error => AUTH | 3,
            Level::Info => AUTH | 6,
            Level::Debug => AUTH | 7,
        }
    }
}

/// Whether debug lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors and information.
    Normal,
    /// Debug lines as well.
    Verbose,
}

/// Where lines go.
#[derive(Debug)]
pub struct Log {
    verbosity: Verbosity,
    to_stderr: AtomicBool,
    syslog: Mutex<Option<UnixDatagram>>,
    /// What was told at times, last, and when.
    repeated: Mutex<Option<(String, Instant)>>,
}

/// So long an error that each request may meet is not told again.
const SILENCE: Duration = Duration::from_secs(60);

impl Log {
    /// A log that writes to standard error and syslog.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        Log {
            verbosity,
            to_stderr: AtomicBool::new(true),
            syslog: Mutex::new(None),
            repeated: Mutex::new(None),
        }
    }

    /// From here on to syslog only.
    pub fn detach(&self) {
        self.to_stderr.store(false, Ordering::Relaxed);
    }

    /// To standard error as well.
    pub fn attach(&self) {
        self.to_stderr.store(true, Ordering::Relaxed);
    }

    /// Something that an administrator should mend.
    pub fn error(&self, text: impl AsRef<[u8]>) {
        self.line(Level::Error, text.as_ref());
    }

    /// As [`Log::error`], for one that each request may meet: the same words once a minute.
    pub fn error_at_times(&self, text: &str) {
        if self.is_due(text, Instant::now()) {
            self.error(text);
        }
    }

    fn is_due(&self, text: &str, now: Instant) -> bool {
        let mut last = self.repeated.lock().unwrap_or_else(PoisonError::into_inner);
        let told = matches!(&*last, Some((said, when))
            if said == text && now.saturating_duration_since(*when) < SILENCE);
        if !told {
            *last = Some((text.to_owned(), now));
        }
        !told
    }

    /// Start, stop and failed logins.
    pub fn info(&self, text: impl AsRef<[u8]>) {
        self.line(Level::Info, text.as_ref());
    }

    /// A line for `-V` and `-d`.
    pub fn debug(&self, text: impl AsRef<[u8]>) {
        self.line(Level::Debug, text.as_ref());
    }

    /// True where debug lines are kept.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    fn line(&self, level: Level, text: &[u8]) {
        if level == Level::Debug && !self.is_verbose() {
            return;
        }
        let text = shown(text);
        let pid = std::process::id();
        if self.to_stderr.load(Ordering::Relaxed) {
            let mut line = format!("saslauthd[{pid}] :").into_bytes();
            line.extend_from_slice(&text);
            line.push(b'\n');
            // Nobody can be told that standard error doesn't work.
            let _ = std::io::stderr().write_all(&line);
        }
        // The original pads the name of a function here, which Debian's build leaves empty.
        let mut line = format!("<{}>saslauthd[{pid}]: {:16}: ", level.priority(), "").into_bytes();
        line.extend_from_slice(&text);
        self.to_syslog(&line);
    }

    fn to_syslog(&self, line: &[u8]) {
        let Ok(mut socket) = self.syslog.lock() else {
            return;
        };
        if socket.as_ref().is_some_and(|s| s.send(line).is_ok()) {
            return;
        }
        // Not open yet, or the log daemon was started anew. A full queue ends
        // here as well: the line is dropped.
        *socket = open_syslog();
        if let Some(s) = socket.as_ref() {
            let _ = s.send(line);
        }
    }
}

fn open_syslog() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect("/dev/log").ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

/// The text with control characters as `\ooo`; octets above 127 stay.
fn shown(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for b in text {
        if *b < b' ' || *b == 0x7f {
            out.extend_from_slice(format!("\\{b:03o}").as_bytes());
        } else {
            out.push(*b);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b"auth failure: [user=a]", b"auth failure: [user=a]"),
            (b"a\nb\x1b[2J\x7f", b"a\\012b\\033[2J\\177"),
            (b"\xc3\xa4 \xff", b"\xc3\xa4 \xff"),
            (b"\0", b"\\000"),
        ];
        for (text, want) in cases {
            assert_eq!(shown(text), want);
        }
    }

    #[test]
    fn what_each_request_meets_is_told_once_a_minute() {
        let log = Log::new(Verbosity::Normal);
        let start = Instant::now();
        for (text, seconds, want) in [
            ("a", 0, true),
            ("a", 59, false),
            ("a", 60, true),
            ("a", 61, false),
            ("b", 61, true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(log.is_due(text, now), want, "{text} {seconds}");
        }
    }

    #[test]
    fn priorities_are_those_of_the_auth_facility() {
        let got = [Level::Error, Level::Info, Level::Debug].map(Level::priority);
        assert_eq!(got, [35, 38, 39]);
    }
}
