//! Standard output that remembers what it could not write.

use std::io::{self, Write};
use std::process::ExitCode;

use libmaps::sysexits::SysExit;
use tools::report::finish;

/// A writer, and its first error.
pub(super) struct Output<W> {
    out: W,
    lost: Option<io::Error>,
}

impl<W: Write> Output<W> {
    pub(super) fn new(out: W) -> Self {
        Output { out, lost: None }
    }

    /// Writes out what is left; says what was lost, and gives the exit code for that. A reader
    /// that went away is no error.
    pub(super) fn end(&mut self) -> Option<ExitCode> {
        let _ = self.flush();
        let lost = self.lost.take()?;
        let is_error = lost.kind() != io::ErrorKind::BrokenPipe;
        is_error.then(|| finish("sendmail", Err(lost), SysExit::Ok))
    }

    fn note(&mut self, error: &io::Error) {
        let again = || match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        };
        if error.kind() != io::ErrorKind::Interrupted {
            self.lost.get_or_insert_with(again);
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.out.write(octets);
        written.inspect_err(|error| self.note(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        flushed.inspect_err(|error| self.note(error))
    }
}
