//! A program on a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// What is typed, and when.
pub(crate) struct Input {
    /// Typed after this has appeared.
    pub(crate) wait: Vec<u8>,
    /// In these pieces.
    pub(crate) send: Vec<Vec<u8>>,
    /// Whether echo stays on; else it is waited for until it is off.
    pub(crate) echoes: bool,
}

/// What was seen.
pub(crate) struct Seen {
    pub(crate) status: ExitStatus,
    pub(crate) transcript: Vec<u8>,
    pub(crate) echo_after: bool,
}

/// Runs a program on a new terminal and types.
#[allow(unsafe_code)] // terminals have no safe form in std
pub(crate) fn converse(mut command: Command, inputs: &[Input]) -> Seen {
    let (mut ours, theirs) = (-1, -1);
    let mut theirs = theirs;
    // SAFETY: both pointers are to live integers; the others may be null.
    let made = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(made, 0, "a terminal");
    // SAFETY: openpty gave us both descriptors.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    command
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs.try_clone().unwrap());
    // SAFETY: setsid and ioctl are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut keyboard = File::from(ours.try_clone().unwrap());
    let mut screen = File::from(ours.try_clone().unwrap());
    let text = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        let mut octets = [0; 4096];
        // Reading fails once nobody has the other side open.
        while let Ok(n @ 1..) = screen.read(&mut octets) {
            shared.lock().unwrap().extend_from_slice(&octets[..n]);
        }
    });
    let started = Instant::now();
    let mut from = 0;
    for input in inputs {
        loop {
            let text = text.lock().unwrap();
            let found = find(&text[from..], &input.wait);
            if let Some(at) = found {
                from += at + input.wait.len();
                break;
            }
            drop(text);
            if child.try_wait().unwrap().is_some() || started.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        while !input.echoes
            && echoes(&theirs)
            && child.try_wait().unwrap().is_none()
            && started.elapsed() < PATIENCE
        {
            std::thread::sleep(PAUSE);
        }
        for piece in &input.send {
            keyboard.write_all(piece).unwrap();
        }
    }
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::sleep(PAUSE);
    }
    let status = child.wait().unwrap();
    let echo_after = echoes(&theirs);
    drop(theirs);
    reader.join().unwrap();
    let transcript = text.lock().unwrap().clone();
    Seen {
        status,
        transcript,
        echo_after,
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|w| w == part)
}

#[allow(unsafe_code)] // as in `converse`
fn echoes(terminal: &OwnedFd) -> bool {
    // SAFETY: an all-zero termios is a valid value that tcgetattr overwrites.
    let mut now: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live termios.
    let got = unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut now) };
    assert_eq!(got, 0);
    now.c_lflag & libc::ECHO != 0
}
