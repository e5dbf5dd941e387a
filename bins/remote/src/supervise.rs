//! `mapremote follow --with-parent`: a process that does nothing but start the one which
//! follows, anew whenever it ends.
//!
//! A server that gives up its rights can't start programs any more; this
//! process keeps those it was started with. It ends when its standard input
//! does, and then so does the one that works, whose standard input is a pipe
//! from here.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::log::Log;

/// The first pause before a start; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// One that ran for so long was well.
const WELL: Duration = Duration::from_secs(60);

/// Starts this program with these arguments, again and again, until standard input ends.
///
/// # Errors
/// The program can't be found, or no thread be started.
pub fn supervise(args: &[OsString], log: &Log) -> Result<(), Fault> {
    thread::Builder::new().name("parent".into()).spawn(|| {
        wait_for_the_end();
        std::process::exit(0);
    })?;
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let child = Command::new(program())
            .args(args)
            .stdin(Stdio::piped())
            .spawn();
        let why = match child.and_then(|mut child| {
            // wait() would close it.
            let input = child.stdin.take();
            let ended = child.wait();
            drop(input);
            ended
        }) {
            Ok(status) => format!("it ended with {status}"),
            Err(e) => format!("it can't be started: {e}"),
        };
        log.restarted(&why);
        if started.elapsed() >= WELL {
            pause = FIRST_PAUSE;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// This program: by its name, or, where that was removed, the very file that runs.
fn program() -> PathBuf {
    let named = std::env::current_exe().ok().filter(|path| path.is_file());
    named.unwrap_or_else(|| "/proc/self/exe".into())
}

/// Waits until standard input ends; nothing is ever written there.
pub fn wait_for_the_end() {
    let mut octet = [0];
    while io::stdin().read(&mut octet).is_ok_and(|got| got > 0) {}
}
