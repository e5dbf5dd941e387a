//! A terminal that does not echo, and echoes again whatever happens.

use std::io;
use std::sync::OnceLock;

/// The terminal as it was, for the signal handler.
static BEFORE: OnceLock<libc::termios> = OnceLock::new();

/// Signals that end the program while it waits for a password.
const DEADLY: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Echo is off while this lives; only the line end is shown.
pub(super) struct Silence {
    before: libc::termios,
}

impl Silence {
    /// Turns echo off on standard input. A signal that ends the program turns it on first.
    #[allow(unsafe_code)] // termios and signals have no safe form in std
    pub(super) fn begin() -> io::Result<Self> {
        // SAFETY: an all-zero termios is a valid value that tcgetattr overwrites.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live termios.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let before = *BEFORE.get_or_init(|| before);
        // SAFETY: an all-zero sigaction is a valid value; the handler calls only
        // functions that are async-signal-safe (tcsetattr, raise).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = restore as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER;
            for signal in DEADLY {
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
        let mut silent = before;
        silent.c_lflag &= !(libc::ECHO | libc::ECHOE | libc::ECHOK);
        silent.c_lflag |= libc::ECHONL;
        // SAFETY: the pointer is to a live termios.
        if unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &raw const silent) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Silence { before })
    }
}

impl Drop for Silence {
    #[allow(unsafe_code)] // as in `begin`
    fn drop(&mut self) {
        // SAFETY: the pointer is to a live termios.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw const self.before) };
    }
}

#[allow(unsafe_code)] // as in `Silence::begin`
extern "C" fn restore(signal: libc::c_int) {
    if let Some(before) = BEFORE.get() {
        // SAFETY: the pointer is to a static termios; both calls are async-signal-safe.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before) };
    }
    // SAFETY: SA_RESETHAND has put the default action back, which ends the program.
    unsafe { libc::raise(signal) };
}
