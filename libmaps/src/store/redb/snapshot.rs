//! A published store seen by redb: the file as it is, and what redb writes kept in memory.
//!
//! redb's own read-only opening holds flock(2) on the file for as long as the
//! snapshot lives. A published file is never changed, so no lock is needed,
//! and without one a writer that must wait for *foreign* locks is not held up
//! by our own readers. redb has no lock-free way to open a store read-only, so
//! it is opened for writing over this backend, which never writes to the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;

use crate::store::disk::patiently;

const CHUNK: u64 = 4096;

/// The file below and the few chunks that redb changed above it.
#[derive(Debug)]
pub(super) struct Snapshot {
    file: File,
    state: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    len: u64,
    /// Chunk number to its octets; a chunk stands here once redb wrote to it.
    chunks: BTreeMap<u64, Vec<u8>>,
}

impl Snapshot {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = patiently(|| file.metadata())?.len();
        Ok(Snapshot {
            file,
            state: Mutex::new(Overlay {
                len,
                chunks: BTreeMap::new(),
            }),
        })
    }

    fn overlay(&self) -> std::sync::MutexGuard<'_, Overlay> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the file holds of the range; past its end there are zeros.
    fn read_below(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        while !out.is_empty() {
            let got = patiently(|| self.file.read_at(out, at))?;
            if got == 0 {
                out.fill(0);
                return Ok(());
            }
            at += got as u64;
            out = out.get_mut(got..).unwrap_or_default();
        }
        Ok(())
    }
}

impl StorageBackend for Snapshot {
    fn len(&self) -> io::Result<u64> {
        Ok(self.overlay().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let overlay = self.overlay();
        let end = offset.saturating_add(out.len() as u64);
        if end > overlay.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let changed = overlay
            .chunks
            .range(offset / CHUNK..end.div_ceil(CHUNK))
            .next()
            .is_some();
        if !changed {
            drop(overlay);
            return self.read_below(offset, out);
        }
        self.read_below(offset, out)?;
        for (number, chunk) in overlay.chunks.range(offset / CHUNK..end.div_ceil(CHUNK)) {
            overlap(CHUNK, *number, offset, out.len(), |in_chunk, in_range| {
                if let (Some(from), Some(to)) = (chunk.get(in_chunk), out.get_mut(in_range)) {
                    to.copy_from_slice(from);
                }
            });
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut overlay = self.overlay();
        overlay.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut overlay = self.overlay();
        let end = offset.saturating_add(data.len() as u64);
        for number in offset / CHUNK..end.div_ceil(CHUNK) {
            let mut chunk = match overlay.chunks.remove(&number) {
                Some(chunk) => chunk,
                None => {
                    let mut chunk = vec![0; CHUNK as usize];
                    self.read_below(number * CHUNK, &mut chunk)?;
                    chunk
                }
            };
            overlap(CHUNK, number, offset, data.len(), |in_chunk, in_range| {
                if let (Some(to), Some(from)) = (chunk.get_mut(in_chunk), data.get(in_range)) {
                    to.copy_from_slice(from);
                }
            });
            overlay.chunks.insert(number, chunk);
        }
        Ok(())
    }
}

/// Calls `f` with the part that a range covers of chunk `number`, of those of `chunk_octets`,
/// and the part of the range.
pub(super) fn overlap(
    chunk_octets: u64,
    number: u64,
    offset: u64,
    len: usize,
    f: impl FnOnce(std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let start = number * chunk_octets;
    let from = offset.max(start);
    let to = (offset + len as u64).min(start + chunk_octets);
    if from < to {
        f(
            (from - start) as usize..(to - start) as usize,
            (from - offset) as usize..(to - offset) as usize,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn writes_stay_in_memory() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        let snapshot = Snapshot::new(file.try_clone().unwrap()).unwrap();
        snapshot.write(4000, &[2; 200]).unwrap();
        snapshot.set_len(12_000).unwrap();
        let mut out = vec![9; 12_000];
        snapshot.read(0, &mut out).unwrap();
        let mut want = vec![1; 10_000];
        want[4000..4200].fill(2);
        want.resize(12_000, 0);
        assert_eq!(out, want);
        assert!(snapshot.read(11_999, &mut [0; 2]).is_err());
        let mut below = vec![0; 10_000];
        file.read_exact_at(&mut below, 0).unwrap();
        assert_eq!(below, vec![1; 10_000]);
    }
}
