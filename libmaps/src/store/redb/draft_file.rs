//! A draft seen by redb: large pieces of it in memory, and its first failure remembered.
//!
//! redb writes page by page, and many pages twice: first with their entries,
//! then with the checksums of what stands below them. So pages are gathered in
//! chunks, which go to the file when they outgrow their memory and when the
//! store is closed.
//!
//! redb writes once more when a store is closed, and a close has no result: a
//! failure there would be lost and a store published that was not closed
//! cleanly. So the backend keeps the first error, and [`Watch::check`] gives
//! it to whoever closed the store.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redb::StorageBackend;

use super::snapshot::overlap;
use crate::map::StoreError;
use crate::store::disk::{DiskFile, patiently};

/// What is read and written at once, in octets.
const CHUNK: u64 = 256 << 10;

/// A draft's file: nobody else sees it and it is synced once, by the publisher, when it is
/// whole; syncing at each of redb's commits would buy nothing.
#[derive(Debug)]
pub(super) struct DraftFile {
    file: DiskFile,
    watch: Watch,
    state: Mutex<Chunks>,
}

/// The chunks that were changed and are not in the file yet.
#[derive(Debug)]
struct Chunks {
    /// The length of the draft; the file has it too.
    len: u64,
    /// Where the octets that were ever written end: behind them the file has zeros.
    written_end: u64,
    changed: BTreeMap<u64, Chunk>,
    /// The chunks that were written to at any time.
    written: BTreeSet<u64>,
    most_chunks: usize,
    /// Counts the writes, to tell which chunk was left alone for longest.
    clock: u64,
}

#[derive(Debug)]
struct Chunk {
    octets: Vec<u8>,
    touched: u64,
}

/// What is known of a [`DraftFile`] that redb has taken: its first error, and its size.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    error: OnceLock<(&'static str, io::Error)>,
    len: AtomicU64,
    written_octets: AtomicU64,
}

impl DraftFile {
    /// The draft in `file`, with about `memory_octets` of it in memory.
    pub(super) fn new(file: DiskFile, memory_octets: u64) -> io::Result<(Self, Watch)> {
        let watch = Watch::default();
        let len = patiently(|| file.file().metadata())?.len();
        let draft = DraftFile {
            file,
            watch: watch.clone(),
            state: Mutex::new(Chunks {
                len,
                written_end: len,
                changed: BTreeMap::new(),
                written: BTreeSet::new(),
                most_chunks: usize::try_from(memory_octets / CHUNK).unwrap_or(usize::MAX),
                clock: 0,
            }),
        };
        Ok((draft, watch))
    }

    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted<T>(&self, action: &'static str, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|e| {
            // A second error follows from the first, which is the one to tell.
            let _ = self.watch.0.error.set((action, copied(e)));
        })
    }
}

impl Watch {
    /// Whether the file is more than half as long again as what was written to it.
    pub(super) fn is_mostly_holes(&self) -> bool {
        let len = self.0.len.load(Ordering::Relaxed);
        let written = self.0.written_octets.load(Ordering::Relaxed);
        len > written.saturating_add(written / 2)
    }

    /// The first error, if there was one, as one of the file at `path`.
    pub(super) fn check(&self, path: &Path) -> Result<(), StoreError> {
        match self.0.error.get() {
            None => Ok(()),
            Some((action, e)) => Err(StoreError::io(path, action, copied(e))),
        }
    }
}

/// The same error again: errors can't be cloned, but those of the system are numbers.
fn copied(e: &io::Error) -> io::Error {
    e.raw_os_error()
        .map_or_else(|| e.kind().into(), io::Error::from_raw_os_error)
}

impl Chunks {
    fn read(&self, file: &DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let numbers = offset / CHUNK..end.div_ceil(CHUNK);
        let held = self.changed.range(numbers.clone()).count() as u64;
        if held < numbers.end - numbers.start {
            file.file().read_exact_at(out, offset)?;
        }
        for (number, chunk) in self.changed.range(numbers) {
            overlap(CHUNK, *number, offset, out.len(), |in_chunk, in_range| {
                if let (Some(from), Some(to)) = (chunk.octets.get(in_chunk), out.get_mut(in_range))
                {
                    to.copy_from_slice(from);
                }
            });
        }
        Ok(())
    }

    fn write(&mut self, file: &DiskFile, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for number in offset / CHUNK..end.div_ceil(CHUNK) {
            self.clock += 1;
            let touched = self.clock;
            if !self.changed.contains_key(&number) {
                let octets = self.load(file, number)?;
                self.written.insert(number);
                self.changed.insert(number, Chunk { octets, touched });
            }
            if let Some(chunk) = self.changed.get_mut(&number) {
                chunk.touched = touched;
                overlap(CHUNK, number, offset, data.len(), |in_chunk, in_range| {
                    if let (Some(to), Some(from)) =
                        (chunk.octets.get_mut(in_chunk), data.get(in_range))
                    {
                        to.copy_from_slice(from);
                    }
                });
            }
            self.make_room(file)?;
        }
        self.written_end = self.written_end.max(end);
        Ok(())
    }

    /// A chunk as the file has it; the last one is as long as the draft goes.
    fn load(&self, file: &DiskFile, number: u64) -> io::Result<Vec<u8>> {
        let start = number * CHUNK;
        let len = CHUNK.min(self.len.saturating_sub(start));
        let mut octets = vec![0; usize::try_from(len).unwrap_or_default()];
        let there = self.written_end.saturating_sub(start).min(len);
        let there = usize::try_from(there).unwrap_or_default();
        if let Some(there) = octets.get_mut(..there) {
            file.file().read_exact_at(there, start)?;
        }
        Ok(octets)
    }

    /// Writes the chunk that was left alone for longest where there are too many.
    fn make_room(&mut self, file: &DiskFile) -> io::Result<()> {
        if self.changed.len() <= self.most_chunks {
            return Ok(());
        }
        let oldest = self.changed.iter().min_by_key(|(_, chunk)| chunk.touched);
        let Some((&number, chunk)) = oldest else {
            return Ok(());
        };
        file.write_all_at(&chunk.octets, number * CHUNK)?;
        self.changed.remove(&number);
        Ok(())
    }

    fn write_all(&mut self, file: &DiskFile) -> io::Result<()> {
        for (number, chunk) in &self.changed {
            file.write_all_at(&chunk.octets, number * CHUNK)?;
        }
        self.changed.clear();
        Ok(())
    }

    fn set_len(&mut self, file: &DiskFile, len: u64) -> io::Result<()> {
        // The chunk that the old or the new end goes through has another length from now on.
        self.write_ends(file, self.len.min(len) / CHUNK)?;
        file.set_len(len)?;
        self.len = len;
        self.written_end = self.written_end.min(len);
        Ok(())
    }

    /// Writes chunk `first` and forgets those behind it, which a shorter draft has no more.
    fn write_ends(&mut self, file: &DiskFile, first: u64) -> io::Result<()> {
        let ends = self.changed.split_off(&first);
        for (number, chunk) in ends.iter().take_while(|(number, _)| **number == first) {
            file.write_all_at(&chunk.octets, number * CHUNK)?;
        }
        Ok(())
    }
}

impl StorageBackend for DraftFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.chunks().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.noted("read", self.chunks().read(&self.file, offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.0.len.store(len, Ordering::Relaxed);
        self.noted("write", self.chunks().set_len(&self.file, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut chunks = self.chunks();
        let result = chunks.write(&self.file, offset, data);
        let written_octets = chunks.written.len() as u64 * CHUNK;
        self.watch
            .0
            .written_octets
            .store(written_octets, Ordering::Relaxed);
        self.noted("write", result)
    }

    fn close(&self) -> io::Result<()> {
        self.noted("write", self.chunks().write_all(&self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::System;
    use proptest::prelude::*;
    use std::fs::File;

    fn on_disk(file: File) -> DiskFile {
        DiskFile::new(Arc::new(System), file)
    }

    #[test]
    fn the_first_error_is_remembered() {
        let path = Path::new("m.db");
        let (draft, watch) = DraftFile::new(on_disk(tempfile::tempfile().unwrap()), 0).unwrap();
        draft.set_len(4).unwrap();
        draft.write(0, b"text").unwrap();
        assert!(watch.check(path).is_ok());
        assert!(draft.read(2, &mut [0; 9]).is_err());
        assert!(draft.set_len(u64::MAX).is_err());
        let error = watch.check(path).unwrap_err().to_string();
        assert!(error.starts_with("m.db: cannot read it: "), "{error}");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Length(usize),
        Write(usize, usize, u8),
        Read(usize, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let end = 5 * CHUNK as usize;
        let step = prop_oneof![
            1 => (0..end).prop_map(Step::Length),
            4 => (0..end, 0..end / 3, 1u8..).prop_map(|(at, len, octet)| Step::Write(at, len, octet)),
            2 => (0..end, 0..end / 3).prop_map(|(at, len)| Step::Read(at, len)),
        ];
        proptest::collection::vec(step, 1..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_draft_is_what_was_written(steps in steps(), memory in 0..4 * CHUNK) {
            let file = tempfile::tempfile().unwrap();
            let (draft, watch) = DraftFile::new(on_disk(file.try_clone().unwrap()), memory).unwrap();
            let mut want: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Length(len) => {
                        draft.set_len(len as u64).unwrap();
                        want.resize(len, 0);
                    }
                    Step::Write(at, len, octet) => {
                        let at = at.min(want.len());
                        let end = (at + len).min(want.len());
                        want[at..end].fill(octet);
                        draft.write(at as u64, &want[at..end]).unwrap();
                    }
                    Step::Read(at, len) => {
                        let at = at.min(want.len());
                        let end = (at + len).min(want.len());
                        let mut got = vec![7; end - at];
                        draft.read(at as u64, &mut got).unwrap();
                        prop_assert!(got == want[at..end]);
                    }
                }
            }
            draft.close().unwrap();
            let mut got = vec![7; want.len()];
            file.read_exact_at(&mut got, 0).unwrap();
            prop_assert!(got == want);
            prop_assert_eq!(file.metadata().unwrap().len(), want.len() as u64);
            prop_assert!(watch.check(Path::new("m.db")).is_ok());
        }
    }
}
