//! The process itself: detaching, signals, descriptors, random octets.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, Rlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::server::CONNECTIONS_LIMIT;

/// First argument of the process that a daemon detaches as.
pub(crate) const DETACHED: &str = "--detached";

/// Threads at most, whatever `-n` says.
pub(crate) const THREADS_LIMIT: usize = 256;

/// Starts the daemon as another process; waits until it serves, or tells why not.
pub(crate) fn detach(args: &[OsString]) -> io::Result<ExitCode> {
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .arg0("saslauthd")
        .arg(DETACHED)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut word = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut word)?;
    }
    if !word.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    let code = status.code().and_then(|c| u8::try_from(c).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// SIGTERM and SIGINT stop; SIGHUP is nothing.
pub(crate) fn catch_signals(stop: &UnixStream) -> io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, stop.try_clone()?)?;
    }
    // A handler that does nothing, not SIG_IGN: workers would inherit that.
    signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// The socket listens: lets the first process end, and the terminal go.
pub(crate) fn leave_terminal() -> io::Result<()> {
    // Already a session's leader where a service manager made it one.
    let _ = rustix::process::setsid();
    let mut stdout = io::stdout();
    stdout.write_all(b"ready\n")?;
    stdout.flush()?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// As many descriptors as the system allows; gives the connections they serve.
pub(crate) fn raise_descriptors() -> usize {
    /// For standard streams, worker sockets, name service and the like.
    const OWN: u64 = 64 + 2 * THREADS_LIMIT as u64;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(65_536);
    let raised = Rlimit {
        current: Some(wanted.max(limit.current.unwrap_or(u64::MAX).min(65_536))),
        maximum: limit.maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    let now = rustix::process::getrlimit(Resource::Nofile).current;
    let connections = now.unwrap_or(u64::MAX).saturating_sub(OWN).max(64);
    usize::try_from(connections).map_or(CONNECTIONS_LIMIT, |c| c.min(CONNECTIONS_LIMIT))
}

pub(crate) fn random_key() -> io::Result<[u8; 64]> {
    let mut key = [0; 64];
    let flags = rustix::rand::GetRandomFlags::empty();
    let count = rustix::rand::getrandom(&mut key, flags)?;
    if count < key.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(key)
}
