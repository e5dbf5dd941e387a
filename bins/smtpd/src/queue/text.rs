//! The text of a queued message, which knows how long it is.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

/// The text of a queued message.
#[derive(Debug)]
pub struct Text {
    stored: Stored,
    octets: u64,
}

/// Where it is.
#[derive(Debug)]
pub(crate) enum Stored {
    /// A small one.
    Memory(Cursor<Arc<[u8]>>),
    /// A large one.
    File(File),
}

impl Text {
    /// A text that its envelope says is so long.
    pub(crate) fn new(stored: Stored, octets: u64) -> Self {
        Text { stored, octets }
    }

    /// A reader from the start. It ends where all of the text has been read; a text that is
    /// shorter than its envelope says is [`io::ErrorKind::UnexpectedEof`] at its end: a file
    /// system after a crash, or a restore, may have left a part of it.
    #[must_use]
    pub fn into_reader(self) -> Reader {
        Reader {
            seen: 0,
            octets: self.octets,
            from: self.stored,
        }
    }
}

/// Reads a text that knows how long it is.
#[derive(Debug)]
pub struct Reader {
    from: Stored,
    /// Octets that were read, and those that there are.
    seen: u64,
    octets: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = match &mut self.from {
            Stored::Memory(octets) => octets.read(buffer)?,
            Stored::File(file) => file.read(buffer)?,
        };
        self.seen = self.seen.saturating_add(got as u64);
        if got == 0 && !buffer.is_empty() && self.seen < self.octets {
            let (seen, octets) = (self.seen, self.octets);
            let why = format!("of the text {seen} octets are there, of {octets}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_whole_or_an_error() {
        let read = |octets| {
            let mut out = Vec::new();
            let text = Text::new(
                Stored::Memory(Cursor::new(b"text\r\n".as_slice().into())),
                octets,
            );
            let read = text.into_reader().read_to_end(&mut out);
            (read.map_err(|error| error.to_string()), out.len())
        };
        assert_eq!(read(6), (Ok(6), 6));
        let why = "of the text 6 octets are there, of 7".to_owned();
        assert_eq!(read(7), (Err(why), 6));
    }
}
