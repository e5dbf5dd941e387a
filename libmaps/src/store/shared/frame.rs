//! Frames: entries on their way to and from mapremote(8), and in the blobs that Redis keeps.
//!
//! ```text
//! frame  = length(lhs) place length(rhs) lhs rhs      three big-endian u32
//! ```
//!
//! A frame of a difference whose length of the RHS is [`GONE`] says that the
//! LHS has no value any more. The frame with [`END`] for the length of the LHS
//! is the last one; nothing else stands in it.

use std::io::{self, Read, Write};

/// In the place of the RHS's length: the LHS is gone.
pub const GONE: u32 = u32::MAX;
/// In the place of the LHS's length: the end.
pub const END: u32 = u32::MAX;
/// LHS and RHS together are shorter than this, in octets: more is a damaged stream.
pub const MAX_ENTRY_OCTETS: u64 = 256 << 20;

const HEAD_OCTETS: usize = 12;

/// One entry, or a mark that an LHS is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The LHS.
    pub lhs: &'a [u8],
    /// The place of the value among those of the LHS, from 0.
    pub place: u32,
    /// The value; none: the LHS is gone.
    pub rhs: Option<&'a [u8]>,
}

impl<'a> Frame<'a> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// An entry of [`MAX_ENTRY_OCTETS`] or more.
    pub fn append(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let rhs = self.rhs.unwrap_or_default();
        if (self.lhs.len() as u64).saturating_add(rhs.len() as u64) >= MAX_ENTRY_OCTETS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an entry of 256 MiB or more can't be shared",
            ));
        }
        let length = |octets: &[u8]| u32::try_from(octets.len()).unwrap_or(GONE);
        out.extend_from_slice(&length(self.lhs).to_be_bytes());
        out.extend_from_slice(&self.place.to_be_bytes());
        out.extend_from_slice(&self.rhs.map_or(GONE, length).to_be_bytes());
        out.extend_from_slice(self.lhs);
        out.extend_from_slice(rhs);
        Ok(())
    }

    /// The first frame of `octets` and what follows it; `None` at the end of them.
    ///
    /// # Errors
    /// `octets` end within a frame, or a length is too large.
    pub fn split(octets: &'a [u8]) -> io::Result<Option<(Self, &'a [u8])>> {
        if octets.is_empty() {
            return Ok(None);
        }
        let cut = || io::Error::new(io::ErrorKind::InvalidData, "it ends within an entry");
        let (head, rest) = octets.split_first_chunk::<HEAD_OCTETS>().ok_or_else(cut)?;
        let Head {
            lhs_octets,
            place,
            rhs_octets,
        } = Head::read(head)?;
        let (lhs, rest) = rest.split_at_checked(lhs_octets).ok_or_else(cut)?;
        let (rhs, rest) = match rhs_octets {
            None => (None, rest),
            Some(length) => {
                let (rhs, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
                (Some(rhs), rest)
            }
        };
        Ok(Some((Frame { lhs, place, rhs }, rest)))
    }
}

/// Writes the last frame.
///
/// # Errors
/// The writer's.
pub fn write_end(out: &mut impl Write) -> io::Result<()> {
    let mut head = [0; HEAD_OCTETS];
    if let Some(length) = head.first_chunk_mut::<4>() {
        *length = END.to_be_bytes();
    }
    out.write_all(&head)
}

struct Head {
    lhs_octets: usize,
    place: u32,
    rhs_octets: Option<usize>,
}

impl Head {
    fn read(head: &[u8; HEAD_OCTETS]) -> io::Result<Self> {
        let number = |at: usize| {
            let octets = head.get(at..).and_then(|rest| rest.first_chunk::<4>());
            octets.map_or(0, |octets| u32::from_be_bytes(*octets))
        };
        let (lhs, place, rhs) = (number(0), number(4), number(8));
        let rhs_octets = (rhs != GONE).then_some(rhs);
        if u64::from(lhs) + u64::from(rhs_octets.unwrap_or(0)) >= MAX_ENTRY_OCTETS {
            let why = "an entry is longer than any can be";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Head {
            lhs_octets: lhs as usize,
            place,
            rhs_octets: rhs_octets.map(|length| length as usize),
        })
    }
}

/// Reads frames one by one into memory that is used again.
#[derive(Debug)]
pub struct Frames<R> {
    input: R,
    octets: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// Frames from `input`, which should be buffered.
    pub fn new(input: R) -> Self {
        Frames {
            input,
            octets: Vec::new(),
        }
    }

    /// The next frame, whole, as [`Frame::split`] takes it; `None` after the last one.
    ///
    /// # Errors
    /// The input ends before the last frame, or can't be read, or a length is too large.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let mut head = [0; HEAD_OCTETS];
        self.input.read_exact(&mut head)?;
        if head.first_chunk::<4>() == Some(&END.to_be_bytes()) {
            return Ok(None);
        }
        let read = Head::read(&head)?;
        let body = read.lhs_octets + read.rhs_octets.unwrap_or(0);
        self.octets.clear();
        self.octets.extend_from_slice(&head);
        // A length that lies costs no more memory than there are octets.
        let got = self
            .input
            .by_ref()
            .take(body as u64)
            .read_to_end(&mut self.octets)?;
        match got == body {
            true => Ok(Some(&self.octets)),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back(entries in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..20), any::<u32>(),
             proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))), 0..8)
        ) {
            let mut stream = Vec::new();
            for (lhs, place, rhs) in &entries {
                Frame { lhs, place: *place, rhs: rhs.as_deref() }.append(&mut stream).unwrap();
            }
            let mut rest = stream.as_slice();
            for (lhs, place, rhs) in &entries {
                let (frame, behind) = Frame::split(rest).unwrap().unwrap();
                prop_assert_eq!(frame, Frame { lhs, place: *place, rhs: rhs.as_deref() });
                rest = behind;
            }
            prop_assert!(Frame::split(rest).unwrap().is_none());
            write_end(&mut stream).unwrap();
            let mut frames = Frames::new(stream.as_slice());
            for _ in &entries {
                prop_assert!(frames.next_frame().unwrap().is_some());
            }
            prop_assert!(frames.next_frame().unwrap().is_none());
        }

        #[test]
        fn any_octets_end_in_a_frame_or_an_error(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = octets.as_slice();
            while let Ok(Some((_, behind))) = Frame::split(rest) {
                prop_assert!(behind.len() < rest.len());
                rest = behind;
            }
            let mut frames = Frames::new(octets.as_slice());
            while let Ok(Some(_)) = frames.next_frame() {}
        }
    }
}
