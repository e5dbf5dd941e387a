//! The octets of a cdb: in the file, and in memory once they are asked for often.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::map::StoreError;
use crate::store::disk::patiently;
use crate::store::residence::{MAX_OCTETS, Residence};

/// What is read at once where all is read, in octets.
pub(super) const CHUNK_OCTETS: usize = 256 << 10;

/// A file, which nobody changes.
pub(super) struct Contents {
    file: Arc<File>,
    path: PathBuf,
    octets: u64,
    residence: Arc<Residence<Vec<u8>>>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("path", &self.path)
            .field("octets", &self.octets)
            .finish_non_exhaustive()
    }
}

impl Contents {
    /// Of `file`, which was found at `path`.
    pub(super) fn new(file: File, path: &Path) -> Result<Self, StoreError> {
        let octets = patiently(|| file.metadata())
            .map_err(|error| StoreError::io(path, "stat", error))?
            .len();
        Ok(Contents {
            file: Arc::new(file),
            path: path.into(),
            octets,
            residence: Arc::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file, in octets.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn read(&self, octets: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.file.read_exact_at(octets, at).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.cut_off()
            } else {
                StoreError::io(&self.path, "read", error)
            }
        })
    }

    /// Counts a probe of the map, which has about so many entries: one that is asked often is
    /// read into memory.
    pub(super) fn note_probe(&self, entries: u64) {
        let count = usize::try_from(self.octets);
        let count = count.ok().filter(|count| *count <= MAX_OCTETS);
        if let Some(count) = count
            && self.residence.is_time(entries)
        {
            let file = Arc::clone(&self.file);
            self.residence.fill(move || all_of(&file, count));
        }
    }

    /// Waits until the file is in memory, if that has begun.
    pub(super) fn settle(&self) {
        self.residence.settle();
    }

    /// The part that begins at `at`, of which what is read for another part may be read too: so
    /// many octets `ahead`, and not beyond `end`.
    pub(super) fn window(&self, ahead: usize, end: u64) -> Window<'_> {
        Window {
            contents: self,
            ahead,
            end,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    fn cut_off(&self) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            page: None,
            why: "it was cut while it was read".into(),
        }
    }
}

/// What the file holds, of which there are `count` octets; `None` where it can't be read, and
/// when nobody holds the map any more.
fn all_of(file: &Arc<File>, count: usize) -> Option<Vec<u8>> {
    let mut all = vec![0; count];
    let mut at = 0;
    for chunk in all.chunks_mut(CHUNK_OCTETS) {
        if Arc::strong_count(file) == 1 {
            return None;
        }
        patiently(|| file.read_exact_at(chunk, at)).ok()?;
        at += chunk.len() as u64;
    }
    Some(all)
}

/// Gives parts of the contents; of those in the file, it reads some more at once.
#[derive(Debug)]
pub(super) struct Window<'a> {
    contents: &'a Contents,
    ahead: usize,
    end: u64,
    chunk: Vec<u8>,
    /// Where in the file the chunk begins.
    chunk_at: u64,
}

impl Window<'_> {
    /// The `count` octets at `at`; the caller has checked that they end where the window ends,
    /// or before.
    pub(super) fn octets(&mut self, at: u64, count: usize) -> Result<&[u8], StoreError> {
        if let Some(all) = self.contents.residence.get() {
            let start = usize::try_from(at).unwrap_or(usize::MAX);
            let part = all.get(start..start.saturating_add(count));
            return part.ok_or_else(|| self.contents.cut_off());
        }
        if count == 0 {
            return Ok(&[]);
        }
        let end = at + count as u64;
        if at < self.chunk_at || end > self.chunk_at + self.chunk.len() as u64 {
            let rest = self.end.saturating_sub(at);
            let size = rest.min(self.ahead as u64) as usize;
            self.chunk.resize(size.max(count), 0);
            self.chunk_at = at;
            self.contents.read(&mut self.chunk, at)?;
        }
        let start = (at - self.chunk_at) as usize;
        let part = self.chunk.get(start..start + count);
        part.ok_or_else(|| self.contents.cut_off())
    }
}
