//! One file of the journal.
//!
//! ```text
//! header   "SMTPDJ1\n", generation, number of the first frame, key (16 octets), check
//! frame    number, length, check; then so many octets: changes that happen together
//! ```
//! Numbers are eight octets, the least first; a check is SipHash-2-4 of what it stands
//! for (128 bits) with the key of the file. A file is written over again and again, since a
//! sync is cheaper where the file does not grow. What stood there before can't pass for
//! a frame, whatever the text of a message looks like: it would have to know the key, which
//! is new and random each time.

use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use libmaps::store::disk::DiskFile;
use siphasher::sip128::{Hasher128, SipHasher24};

const MAGIC: &[u8; 8] = b"SMTPDJ1\n";
const HEADER_OCTETS: usize = 8 + 8 + 8 + 16 + 16;
/// Octets before the changes of a frame.
pub(super) const FRAME_OCTETS: usize = 8 + 8 + 16;
/// A file grows by so much at a time.
const STEP_OCTETS: u64 = 256 * 1024;

/// A file with frames.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    file: DiskFile,
    head: Head,
    /// Where the next frame goes.
    end: u64,
    /// How long the file is.
    length: u64,
}

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Files were begun in this order.
    pub(super) generation: u64,
    /// The number of the first frame.
    pub(super) first: u64,
    key: [u8; 16],
}

/// Why a frame could not be made durable.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// It could not be written; another may go to its place.
    Write(io::Error),
    /// It was written, perhaps, and nobody knows whether it stays.
    Sync(io::Error),
}

impl Segment {
    /// A file that has no header yet, or one that does not count.
    pub(super) fn new(path: PathBuf, file: DiskFile) -> io::Result<Self> {
        let length = file.file().metadata()?.len();
        Ok(Segment {
            path,
            file,
            head: Head::default(),
            end: HEADER_OCTETS as u64,
            length,
        })
    }

    /// Reads the header; `None` where it was never finished. It fits into one sector, so one
    /// that has begun is whole, or it was damaged later: that is an error.
    pub(super) fn read_head(&mut self) -> io::Result<Option<Head>> {
        if self.length < HEADER_OCTETS as u64 {
            return Ok(None);
        }
        let mut octets = [0; HEADER_OCTETS];
        self.file.file().read_exact_at(&mut octets, 0)?;
        self.end = HEADER_OCTETS as u64;
        let head = Head::decode(&octets);
        if head.is_none() && octets.starts_with(MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "damaged header of a journal",
            ));
        }
        self.head = head.unwrap_or_default();
        Ok(head)
    }

    /// Reads the next frame: its number and its changes. `None` where none was finished.
    pub(super) fn read_frame(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some((number, mut frame)) = self.frame_at(self.end)? else {
            return Ok(None);
        };
        self.end += frame.len() as u64;
        Ok(Some((number, frame.split_off(FRAME_OCTETS))))
    }

    /// Whether a frame of this number stands right behind what does not read as one. Then that
    /// was one, and was promised: the next is written only when it is durable.
    pub(super) fn is_followed_by(&self, number: u64) -> io::Result<bool> {
        let Some((start, _)) = self.start_at(self.end)? else {
            return Ok(false);
        };
        let octets = number_at(&start, 8).saturating_add(FRAME_OCTETS as u64);
        let next = self.frame_at(self.end.saturating_add(octets))?;
        Ok(next.is_some_and(|(found, _)| found == number))
    }

    /// The frame at this place, with its number, if it passes its check.
    fn frame_at(&self, at: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some((start, room)) = self.start_at(at)? else {
            return Ok(None);
        };
        let (number, length) = (number_at(&start, 0), number_at(&start, 8));
        if length > room {
            return Ok(None);
        }
        let mut frame = vec![0; FRAME_OCTETS + usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.file().read_exact_at(&mut frame, at)?;
        if start.get(16..) != Some(check_of_frame(&self.head.key, &frame).as_slice()) {
            return Ok(None);
        }
        Ok(Some((number, frame)))
    }

    /// What may be the start of a frame, and how many octets there are behind it.
    fn start_at(&self, at: u64) -> io::Result<Option<([u8; FRAME_OCTETS], u64)>> {
        let room = self.length.saturating_sub(at);
        let Some(room) = room.checked_sub(FRAME_OCTETS as u64) else {
            return Ok(None);
        };
        let mut start = [0; FRAME_OCTETS];
        self.file.file().read_exact_at(&mut start, at)?;
        Ok(Some((start, room)))
    }

    /// Octets that frames take.
    pub(super) fn octets(&self) -> u64 {
        self.end
    }

    /// Whether no frame of it is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.end == HEADER_OCTETS as u64
    }

    /// Begins anew: what stood here counts no more, when this returns.
    pub(super) fn begin(&mut self, generation: u64, first: u64) -> io::Result<()> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let head = Head {
            generation,
            first,
            key,
        };
        self.file.write_all_at(&head.encode(), 0)?;
        self.length = self.length.max(HEADER_OCTETS as u64);
        self.file.sync_data()?;
        self.head = head;
        self.end = HEADER_OCTETS as u64;
        Ok(())
    }

    /// Makes a frame durable. The first octets of `frame`, as many as [`FRAME_OCTETS`], are
    /// filled in here; behind it zeros may be put, so that the file grows in steps.
    pub(super) fn append(&mut self, number: u64, frame: &mut Vec<u8>) -> Result<(), Unwritten> {
        let octets = frame.len() as u64;
        let length = octets.saturating_sub(FRAME_OCTETS as u64);
        put(frame, 0, &number.to_le_bytes());
        put(frame, 8, &length.to_le_bytes());
        let check = check_of_frame(&self.head.key, frame);
        put(frame, 16, &check);
        let mut end = self.end + octets;
        if end > self.length {
            end = end.next_multiple_of(STEP_OCTETS);
            let whole = usize::try_from(end - self.end).unwrap_or(usize::MAX);
            frame.resize(whole, 0);
        }
        if let Err(error) = self.file.write_all_at(frame, self.end) {
            // It was not accepted, so it must not come up after a crash. All of it may stand
            // there: what failed may have been the zeros.
            self.length = self.end;
            let undone = self.file.set_len(self.end);
            return Err(match undone.and_then(|()| self.file.sync_data()) {
                Ok(()) => Unwritten::Write(error),
                Err(_) => Unwritten::Sync(error),
            });
        }
        self.length = self.length.max(end);
        self.file.sync_data().map_err(Unwritten::Sync)?;
        self.end += octets;
        Ok(())
    }

    /// Gives back what it has grown beyond this length.
    pub(super) fn shrink(&mut self, octets: u64) -> io::Result<()> {
        if self.length > octets {
            self.file.set_len(octets)?;
            self.length = octets;
        }
        Ok(())
    }
}

impl Head {
    fn encode(&self) -> [u8; HEADER_OCTETS] {
        let mut octets = [0; HEADER_OCTETS];
        put(&mut octets, 0, MAGIC);
        put(&mut octets, 8, &self.generation.to_le_bytes());
        put(&mut octets, 16, &self.first.to_le_bytes());
        put(&mut octets, 24, &self.key);
        let check = check(&self.key, octets.get(..40).unwrap_or_default(), &[]);
        put(&mut octets, 40, &check);
        octets
    }

    fn decode(octets: &[u8; HEADER_OCTETS]) -> Option<Head> {
        let head = Head {
            generation: number_at(octets, 8),
            first: number_at(octets, 16),
            key: octets.get(24..40)?.try_into().ok()?,
        };
        (head.encode() == *octets).then_some(head)
    }
}

/// The check of a frame: of its number and length, and of its changes.
fn check_of_frame(key: &[u8; 16], frame: &[u8]) -> [u8; 16] {
    let start = frame.get(..16).unwrap_or_default();
    check(key, start, frame.get(FRAME_OCTETS..).unwrap_or_default())
}

fn check(key: &[u8; 16], start: &[u8], rest: &[u8]) -> [u8; 16] {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(start);
    hasher.write(rest);
    let hash = hasher.finish128();
    let mut octets = [0; 16];
    put(&mut octets, 0, &hash.h1.to_le_bytes());
    put(&mut octets, 8, &hash.h2.to_le_bytes());
    octets
}

fn put(octets: &mut [u8], at: usize, piece: &[u8]) {
    if let Some(place) = octets.get_mut(at..at + piece.len()) {
        place.copy_from_slice(piece);
    }
}

fn number_at(octets: &[u8], at: usize) -> u64 {
    let octets = octets.get(at..).and_then(|rest| rest.first_chunk());
    octets.map_or(0, |octets| u64::from_le_bytes(*octets))
}
