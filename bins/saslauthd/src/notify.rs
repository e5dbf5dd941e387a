//! Word to the service manager: sd_notify(3)'s datagrams, written here because
//! they are a few lines.
//!
//! `READY=1` once the socket listens, a `STATUS=` line of figures while it
//! serves, `WATCHDOG=1` where a watchdog is set, `STOPPING=1` at the end.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A service manager that listens.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The service manager that `NOTIFY_SOCKET` names; `None` without one.
    /// `WATCHDOG_USEC` is in microseconds.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let watchdog = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|usec| usec.parse().ok())
            .map(Duration::from_micros);
        Self::to(&name, watchdog)
    }

    /// A service manager at this address: a path, or `@` and an abstract name.
    #[must_use]
    pub fn to(name: &OsString, watchdog: Option<Duration>) -> Option<Self> {
        let to = match name.as_bytes().split_first()? {
            (b'@', name) => SocketAddr::from_abstract_name(name).ok()?,
            _ => SocketAddr::from_pathname(name).ok()?,
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        // While its folder may be entered: later this may be another user. What fails now is
        // tried again with each word.
        let _ = socket.connect_addr(&to);
        Some(Notifier {
            socket,
            to,
            watchdog,
        })
    }

    /// How often to call [`Notifier::status`]: half the watchdog's patience, ten
    /// seconds at most.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let longest = Duration::from_secs(10);
        self.watchdog.map_or(longest, |w| (w / 2).min(longest))
    }

    /// The socket listens.
    pub fn ready(&self) {
        self.send(&format!("READY=1\nMAINPID={}\n", std::process::id()));
    }

    /// Still alive, and how it goes.
    pub fn status(&self, line: &str) {
        let alive = if self.watchdog.is_some() {
            "WATCHDOG=1\n"
        } else {
            ""
        };
        self.send(&format!("{alive}STATUS={line}\n"));
    }

    /// On the way out.
    pub fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    fn send(&self, text: &str) {
        // A service manager that doesn't listen is no reason to stop serving.
        if self.socket.send(text.as_bytes()).is_err() {
            let _ = self.socket.send_to_addr(text.as_bytes(), &self.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let watchdog = Some(Duration::from_secs(4));
        let notifier = Notifier::to(&path.into_os_string(), watchdog).unwrap();
        assert_eq!(notifier.interval(), Duration::from_secs(2));
        let mut buffer = [0; 200];
        let mut heard = || {
            let count = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..count].to_vec()).unwrap()
        };
        notifier.ready();
        assert!(heard().starts_with("READY=1\nMAINPID="));
        notifier.status("3 answered");
        assert_eq!(heard(), "WATCHDOG=1\nSTATUS=3 answered\n");
        notifier.stopping();
        assert_eq!(heard(), "STOPPING=1\n");
    }
}
