//! A password from the terminal or from a descriptor.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use zeroize::Zeroizing;

/// The longest password that is read, in octets.
const LIMIT_OCTETS: usize = 65_536;

/// True where there is someone to ask.
#[must_use]
pub fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// Asks on the terminal without echo. `None` where the user broke it off; the
/// terminal is as it was before, then too.
///
/// # Errors
/// The terminal fails.
pub fn ask(prompt: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let stdin = io::stdin();
    let (broken, signal) = UnixStream::pair()?;
    let mut hooks = Vec::new();
    for number in [SIGINT, SIGTERM, SIGHUP] {
        hooks.push(signal_hook::low_level::pipe::register(
            number,
            signal.try_clone()?,
        )?);
    }
    let mut stderr = io::stderr();
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    let quiet = Quiet::start(&stdin)?;
    let line = loop {
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&broken, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [input, broken] = fds;
        if !broken.revents().is_empty() {
            break None;
        }
        if !input.revents().is_empty() {
            // A terminal gives a whole line at once.
            let mut line = Zeroizing::new(vec![0; 4096]);
            let count = rustix::io::read(&stdin, line.as_mut_slice())?;
            line.truncate(count);
            break Some(line);
        }
    };
    drop(quiet);
    for hook in hooks {
        signal_hook::low_level::unregister(hook);
    }
    stderr.write_all(b"\n")?;
    Ok(line.map(without_newline))
}

/// Reads a password from a descriptor up to its first line end or its end.
///
/// # Errors
/// The descriptor can't be read, or there is too much.
pub fn from_fd(fd: i32) -> io::Result<Zeroizing<Vec<u8>>> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[allow(unsafe_code)] // A descriptor's number is all that the command line gives.
    // SAFETY: nothing here closes descriptors; of one that is not open, read(2) says EBADF.
    let descriptor = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut text = Zeroizing::new(Vec::with_capacity(LIMIT_OCTETS));
    let mut byte = [0; 1];
    while text.len() < LIMIT_OCTETS {
        // An octet at a time: it is read where it stands, and where the next reader shall go on.
        let count = match rustix::io::read(descriptor, &mut byte) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done?,
        };
        if count == 0 || byte == *b"\n" {
            return Ok(text);
        }
        text.extend_from_slice(&byte);
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

fn without_newline(mut line: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    line
}

/// A terminal without echo, until this is dropped.
struct Quiet<'a, Fd: AsFd> {
    fd: &'a Fd,
    before: Termios,
}

impl<'a, Fd: AsFd> Quiet<'a, Fd> {
    fn start(fd: &'a Fd) -> io::Result<Self> {
        let before = tcgetattr(fd)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(fd, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { fd, before })
    }
}

impl<Fd: AsFd> Drop for Quiet<'_, Fd> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.fd, OptionalActions::Now, &self.before);
    }
}
