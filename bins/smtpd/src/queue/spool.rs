//! The text of a message while it is received: in memory while it is small, in a file
//! beyond that.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use libmaps::store::disk::{Disk, DiskFile};

use super::Body;

/// Texts up to this size never see a file of their own.
const MAX_SMALL_OCTETS: usize = 64 * 1024;

/// A message text on its way in. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    small: Vec<u8>,
    file: Option<DiskFile>,
    octets: u64,
    kept: bool,
}

impl Spool {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Spool {
            disk,
            path,
            small: Vec::new(),
            file: None,
            octets: 0,
            kept: false,
        }
    }

    /// Takes the next piece. This may write to a file; pieces are small and go to the
    /// page cache.
    ///
    /// # Errors
    /// When the file can't be made or written.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.octets += piece.len() as u64;
        if self.file.is_none() && self.small.len() + piece.len() <= MAX_SMALL_OCTETS {
            self.small.extend_from_slice(piece);
            return Ok(());
        }
        if self.file.is_none() {
            let file = self.disk.create(&self.path, 0o600)?;
            let mut file = DiskFile::new(Arc::clone(&self.disk), file);
            file.write_all(&self.small)?;
            self.small = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(piece),
            None => Ok(()),
        }
    }

    /// Octets that are held in memory.
    #[must_use]
    pub fn small_octets(&self) -> usize {
        self.small.capacity()
    }

    /// Octets taken so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The finished text; a large one is synced (which blocks).
    ///
    /// # Errors
    /// When the file can't be synced.
    pub fn finish(mut self) -> io::Result<Body> {
        match self.file.take() {
            None => Ok(Body::Small(std::mem::take(&mut self.small))),
            Some(file) => {
                file.sync()?;
                self.kept = true;
                Ok(Body::Large)
            }
        }
    }

    /// Whether finishing will wait for the disk.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.file.is_some() || (!self.kept && self.octets > MAX_SMALL_OCTETS as u64) {
            let _ = self.disk.remove_file(&self.path);
        }
    }
}
