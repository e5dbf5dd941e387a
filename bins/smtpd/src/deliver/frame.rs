//! A message on its way to the process that writes it to a file: in frames, so that an
//! end that came too early, with the server's, is not taken for the message's.
//!
//! A frame is its length in octets, four octets in network order, and that many octets;
//! a frame of length 0 ends the message.

use std::io::{self, Read, Write};

/// Longest frame.
const MAX_FRAME_OCTETS: usize = 64 * 1024;

/// Writes frames.
pub(crate) struct FrameWriter<W: Write> {
    out: W,
    frame: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        FrameWriter {
            out,
            frame: Vec::new(),
        }
    }

    /// Ends the message.
    ///
    /// # Errors
    /// What writing says.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.out.write_all(&0u32.to_be_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let room = MAX_FRAME_OCTETS - self.frame.len();
        let taken = octets.get(..room).unwrap_or(octets);
        self.frame.extend_from_slice(taken);
        if self.frame.len() == MAX_FRAME_OCTETS {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.frame.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&self.frame)?;
        self.frame.clear();
        Ok(())
    }
}

/// Reads what [`FrameWriter`] wrote; an end before the last frame is an error.
pub(crate) struct FrameReader<R: Read> {
    input: R,
    state: State,
}

enum State {
    /// So many octets of the frame are left.
    Inside(u32),
    Ended,
}

impl<R: Read> FrameReader<R> {
    pub(crate) fn new(input: R) -> Self {
        FrameReader {
            input,
            state: State::Inside(0),
        }
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match self.state {
            State::Ended => return Ok(0),
            State::Inside(0) => {
                let mut length = [0; 4];
                self.input.read_exact(&mut length)?;
                match u32::from_be_bytes(length) {
                    0 => {
                        self.state = State::Ended;
                        return Ok(0);
                    }
                    length => length,
                }
            }
            State::Inside(left) => left,
        };
        let room = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let octets = self
            .input
            .read(buffer.get_mut(..room).unwrap_or_default())?;
        if octets == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.state = State::Inside(left - u32::try_from(octets).unwrap_or(left));
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_whole_or_is_an_error() {
        let message: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let mut sent = Vec::new();
        let mut writer = FrameWriter::new(&mut sent);
        for piece in message.chunks(777) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap();
        let mut got = Vec::new();
        FrameReader::new(&*sent).read_to_end(&mut got).unwrap();
        assert_eq!(got, message);
        for end in [0, 3, 4, 5, 70_000, sent.len() - 4, sent.len() - 1] {
            let mut got = Vec::new();
            assert!(
                FrameReader::new(&sent[..end])
                    .read_to_end(&mut got)
                    .is_err(),
                "cut at {end}"
            );
        }
    }
}
