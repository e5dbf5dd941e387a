//! Where the demo prints: standard output, which may be closed or full.

use std::fmt::Arguments;
use std::io::{self, StdoutLock, Write};

/// Standard output took no more.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
pub(super) struct Unwritten(pub(super) io::Error);

/// Standard output.
pub(super) struct Screen(StdoutLock<'static>);

impl Screen {
    pub(super) fn open() -> Self {
        Screen(io::stdout().lock())
    }

    /// Prints a line.
    ///
    /// # Errors
    /// It can't be printed, and then the demo ends.
    pub(super) fn line(&mut self, text: Arguments<'_>) -> Result<(), Unwritten> {
        writeln!(self.0, "{text}").map_err(Unwritten)
    }
}
