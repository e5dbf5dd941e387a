//! A draft seen by redb: large pieces of it in memory, and its first failure remembered.
//!
//! redb writes page by page, and some pages twice: first with their entries,
//! then with the checksums of what stands below them. So new pages are gathered
//! in chunks, which go to the file when they outgrow their memory and when the
//! store is closed. What is written again to a chunk that is in the file goes
//! there at once: that is a page here and there.
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

use super::format::HEADER_OCTETS;
use super::guard::Guard;
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
    /// Of a draft that begins as a copy of somebody's map.
    guard: Option<Guard>,
}

/// The chunks that are new and not in the file yet.
#[derive(Debug)]
struct Chunks {
    /// The length of the draft; the file has it too.
    len: u64,
    /// The chunks before this one were in the file from the beginning.
    first_new: u64,
    changed: BTreeMap<u64, Chunk>,
    /// The chunks that were written to at any time.
    written: BTreeSet<u64>,
    /// Memory of a chunk that went to the file, for the next one: that is faster than new memory.
    spare: Vec<u8>,
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
        let guard = match len {
            0 => None,
            len => Some(guard_of(&file, len)?),
        };
        let draft = DraftFile {
            guard,
            file,
            watch: watch.clone(),
            state: Mutex::new(Chunks {
                len,
                first_new: len.div_ceil(CHUNK),
                changed: BTreeMap::new(),
                written: BTreeSet::new(),
                spare: Vec::new(),
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
    /// Whether the file is more than twice as long as what was written to it: redb doubles it
    /// when it is full, and what nothing was written to takes no place on the disk.
    pub(super) fn is_mostly_holes(&self) -> bool {
        let len = self.0.len.load(Ordering::Relaxed);
        let written = self.0.written_octets.load(Ordering::Relaxed);
        len > written.saturating_mul(2)
    }

    /// The first error, if there was one, as one of the file at `path`.
    pub(super) fn check(&self, path: &Path) -> Result<(), StoreError> {
        match self.0.error.get() {
            None => Ok(()),
            Some((action, e)) => Err(StoreError::io(path, action, copied(e))),
        }
    }
}

/// Judges the map that the draft of `len` octets is a copy of.
fn guard_of(file: &DiskFile, len: u64) -> io::Result<Guard> {
    let octets = usize::try_from(len).unwrap_or(HEADER_OCTETS);
    let mut header = vec![0; octets.min(HEADER_OCTETS)];
    patiently(|| file.file().read_exact_at(&mut header, 0))?;
    Guard::new(&header, len)
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
            overlap(*number, offset, out.len(), |in_chunk, in_range| {
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
            if !self.changed.contains_key(&number) {
                let is_new = self.written.insert(number) && number >= self.first_new;
                if !is_new {
                    self.write_through(file, number, offset, data)?;
                    continue;
                }
                let octets = self.zeros(number);
                let touched = self.clock;
                self.changed.insert(number, Chunk { octets, touched });
            }
            self.clock += 1;
            if let Some(chunk) = self.changed.get_mut(&number) {
                chunk.touched = self.clock;
                overlap(number, offset, data.len(), |in_chunk, in_range| {
                    if let (Some(to), Some(from)) =
                        (chunk.octets.get_mut(in_chunk), data.get(in_range))
                    {
                        to.copy_from_slice(from);
                    }
                });
            }
            self.make_room(file)?;
        }
        Ok(())
    }

    /// Writes what of `data` lies in a chunk that is in the file.
    fn write_through(
        &self,
        file: &DiskFile,
        number: u64,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        let mut done = Ok(());
        overlap(number, offset, data.len(), |_, in_range| {
            let at = offset + in_range.start as u64;
            done = file.write_all_at(data.get(in_range).unwrap_or_default(), at);
        });
        done
    }

    /// A chunk that nothing was written to; the last one is as long as the draft goes.
    fn zeros(&mut self, number: u64) -> Vec<u8> {
        let len = CHUNK.min(self.len.saturating_sub(number * CHUNK));
        let mut octets = std::mem::take(&mut self.spare);
        octets.clear();
        octets.resize(usize::try_from(len).unwrap_or_default(), 0);
        octets
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
        // Few of them are written to again: what is on the disk by then need not be waited for
        // at the end.
        file.begin_to_sync(number * CHUNK, CHUNK);
        if let Some(chunk) = self.changed.remove(&number) {
            self.spare = chunk.octets;
        }
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

/// Calls `f` with the part that a range covers of chunk `number`, and the part of the range.
fn overlap(
    number: u64,
    offset: u64,
    len: usize,
    f: impl FnOnce(std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let start = number * CHUNK;
    let from = offset.max(start);
    let to = (offset + len as u64).min(start + CHUNK);
    if from < to {
        f(
            (from - start) as usize..(to - start) as usize,
            (from - offset) as usize..(to - offset) as usize,
        );
    }
}

impl StorageBackend for DraftFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.chunks().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.noted("read", self.chunks().read(&self.file, offset, out))?;
        match &self.guard {
            Some(guard) => self.noted("read", guard.judge(offset, out)),
            None => Ok(()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.0.len.store(len, Ordering::Relaxed);
        self.noted("write", self.chunks().set_len(&self.file, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some(guard) = &self.guard {
            guard.note_written(offset, data.len());
        }
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
