//! Where a password comes from: a terminal, asked twice without echo, or a pipe.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{BorrowedFd, RawFd};

use libmaps::sasl::password::{MAX_PASSWORD_OCTETS, Password, PasswordError, SecretBytes};

use super::terminal::Silence;
use crate::closed_stdin;

/// Why there is no password.
#[derive(Debug)]
pub(super) enum InputError {
    /// It can't be stored.
    Bad(PasswordError),
    /// The two that were typed are not the same.
    Mismatch,
    /// It could not be read.
    Io(io::Error),
}

impl From<io::Error> for InputError {
    fn from(error: io::Error) -> Self {
        InputError::Io(error)
    }
}

/// Which input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard input: prompts where it is a terminal.
    Ask,
    /// The first line of standard input (`-p`).
    Pipe,
    /// The first line of a descriptor (`--password-fd`).
    Descriptor(u32),
}

pub(super) fn password(source: Source) -> Result<Password, InputError> {
    let octets = match source {
        Source::Ask | Source::Pipe if closed_stdin::was_closed() => {
            return Err(InputError::Io(io::Error::from_raw_os_error(libc::EBADF)));
        }
        Source::Ask if io::stdin().is_terminal() => {
            let first = ask("Password: ")?;
            let second = ask("Again (for verification): ")?;
            if first != second {
                return Err(InputError::Mismatch);
            }
            first
        }
        Source::Ask | Source::Pipe => first_line(&mut io::stdin().lock())?,
        Source::Descriptor(n) => first_line(&mut Descriptor(n))?,
    };
    Password::new(octets.expose().to_vec()).map_err(InputError::Bad)
}

/// A descriptor that the program was started with. It is read where it stands, and where the next
/// reader shall go on; it may be a socket, or opened by somebody with more rights.
struct Descriptor(u32);

impl Read for Descriptor {
    #[allow(unsafe_code)] // A descriptor's number is all that the command line gives.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let number = RawFd::try_from(self.0).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: nothing here closes descriptors; of one that is not open, read(2) says EBADF.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(rustix::io::read(descriptor, into)?)
    }
}

/// One line typed without echo.
fn ask(prompt: &str) -> Result<SecretBytes, InputError> {
    let mut out = io::stdout();
    out.write_all(prompt.as_bytes())?;
    out.flush()?;
    // A terminal hands over a whole line at a time, with Return or at ^D.
    let mut line = vec![0; MAX_PASSWORD_OCTETS];
    let octets = {
        let _silence = Silence::begin()?;
        io::stdin().lock().read(&mut line)?
    };
    line.truncate(octets);
    if line.last().is_some_and(|b| *b != b'\n') {
        // Ended by ^D, which shows no line end.
        out.write_all(b"\n")?;
    }
    Ok(without_lf(line))
}

/// All up to the first LF, or to the end; it may come in pieces.
fn first_line(from: &mut dyn Read) -> Result<SecretBytes, InputError> {
    // One octet more than a password may have, and the LF.
    let mut line = Vec::with_capacity(MAX_PASSWORD_OCTETS + 2);
    let mut octet = [0];
    while line.len() < MAX_PASSWORD_OCTETS + 2 {
        match from.read(&mut octet) {
            Ok(0) => break,
            Ok(_) => line.extend_from_slice(&octet),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        }
        if octet == [b'\n'] {
            break;
        }
    }
    Ok(without_lf(line))
}

fn without_lf(mut line: Vec<u8>) -> SecretBytes {
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    SecretBytes::new(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_and_no_more() {
        for (text, want) in [
            ("secret\n", "secret"),
            ("secret", "secret"),
            ("secret\r\n", "secret\r"),
            ("secret\n\n", "secret"),
            ("two\nlines\n", "two"),
            (" a ", " a "),
            ("", ""),
        ] {
            let line = first_line(&mut text.as_bytes()).unwrap();
            assert_eq!(line.expose(), want.as_bytes());
        }
        let long = vec![b'x'; 100_000];
        let line = first_line(&mut long.as_slice()).unwrap();
        assert!(line.expose().len() > MAX_PASSWORD_OCTETS);
    }
}
