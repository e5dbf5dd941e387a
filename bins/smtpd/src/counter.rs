//! Connection counts that hosts share: the program that knows them.
//!
//! It is mapremote(8) again, for the reasons told in [`crate::follower`]: this process holds one
//! end of a socket, and what it asks there is answered from Redis. It is started before the
//! rights go, and ends when the socket does.

use std::os::unix::net::UnixDatagram;
use std::process::{ChildStdout, Stdio};
use std::sync::Arc;
use std::thread;

use libmaps::policy::maps::counts_file;
use libmaps::site::Site;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tools::shared::spawn_on;

use crate::follower::tell_lines;
use crate::log::{Level, Log};

/// What its lines are about.
const ABOUT: &str = "connection counts";

/// The program that counts, where the site has one.
pub struct Counter {
    /// The way to it; it keeps packets apart.
    socket: UnixDatagram,
    out: ChildStdout,
}

impl Counter {
    /// Starts it, without a thread, if the site's ConnectionRateMap names one. What goes wrong is
    /// logged: mail goes on with the counts of this host.
    #[must_use]
    pub fn start(site: &Site, log: &Log) -> Option<Self> {
        let started = match counts_file(site) {
            Ok(None) => return None,
            Ok(Some(file)) => {
                let window = site.options.limits.connection_rate_window.0.as_secs();
                start(&file, site.root.as_deref(), window.max(1))
            }
            Err(expected) => Err(format!("ConnectionRateMap: {expected}")),
        };
        match started {
            Ok(counter) => Some(counter),
            Err(why) => {
                let text = format!("{ABOUT}: {why}; this host counts for itself");
                log.say(Level::Error, &text);
                None
            }
        }
    }

    /// The socket; what the program says from now on is logged, in a thread.
    pub fn watch(self, log: &Arc<Log>) -> UnixDatagram {
        let (out, hearing, failing) = (self.out, Arc::clone(log), Arc::clone(log));
        let watch = move || tell_lines(ABOUT, out, &hearing);
        if let Err(e) = thread::Builder::new().name("counter".into()).spawn(watch) {
            failing.say(Level::Error, &format!("{ABOUT}: {e}"));
        }
        self.socket
    }
}

fn start(
    file: &std::path::Path,
    root: Option<&std::path::Path>,
    window: u64,
) -> Result<Counter, String> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| e.to_string())?;
    let window = window.to_string();
    let mut args: Vec<&std::ffi::OsStr> = ["count", "--json", "--with-parent", "--window", &window]
        .map(AsRef::as_ref)
        .into();
    if let Some(root) = root {
        args.extend(["--root".as_ref(), root.as_os_str()]);
    }
    args.extend(["--".as_ref(), file.as_os_str()]);
    // It is waited for by nobody: it ends when this process does.
    let mut child = spawn_on(&args, Stdio::from(theirs))?;
    let out = child.stdout.take().ok_or("no pipe from it")?;
    Ok(Counter {
        socket: ours.into(),
        out,
    })
}
