//! Sorting any number of entries in bounded memory.
//!
//! Entries are collected in chunks; a full chunk is sorted on a thread of its
//! own while the next one is filled, and becomes a run, with its records in
//! order one behind the other, so that a merge reads memory forwards. When the
//! runs in memory outgrow the budget they are written to a file without a name
//! and read back while all runs are merged. Entries of one LHS stay in the
//! order in which they came.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::merge::{self, BATCH_OCTETS, Merge, Source};
use super::record::{Prefix, Record, prefix_of};
use super::spill::{SpillWriter, SpilledRun};
use crate::map::StoreError;
use crate::store::Sink;
use crate::store::duplicate::{DuplicateList, Keep};

/// What one chunk holds before it is sorted, in octets of entries, and again in octets of
/// items: so much stays in a processor's cache while it is sorted.
const CHUNK_OCTETS: usize = 2 << 20;

/// Where an entry stands in its chunk, with the beginning of its LHS for fast comparisons, in
/// two halves so that an item is no larger than it need be.
#[derive(Clone, Copy, Debug)]
struct Item {
    prefix: (u64, u64),
    at: u32,
    len: u32,
}

impl Item {
    fn prefix(&self) -> Prefix {
        Prefix::from(self.prefix.0) << 64 | Prefix::from(self.prefix.1)
    }
}

#[derive(Debug, Default)]
struct Chunk {
    octets: Vec<u8>,
    items: Vec<Item>,
}

impl Chunk {
    fn with_room() -> Self {
        Chunk {
            octets: Vec::with_capacity(CHUNK_OCTETS),
            items: Vec::new(),
        }
    }

    /// Whether an entry of so many octets should go to the next chunk.
    fn is_full_for(&self, octets: usize) -> bool {
        let items = (self.items.len() + 1) * size_of::<Item>();
        !self.items.is_empty()
            && (self.octets.len().saturating_add(octets) > CHUNK_OCTETS || items > CHUNK_OCTETS)
    }

    fn octets_of(&self, item: &Item) -> &[u8] {
        let at = item.at as usize;
        let octets = self.octets.get(at..at + item.len as usize);
        octets.unwrap_or_default()
    }

    fn lhs(&self, item: &Item) -> &[u8] {
        Record::split(self.octets_of(item)).map_or(&[], |(r, _)| r.lhs)
    }

    /// The records in LHS order, those of one LHS in the order in which they came. The chunk is
    /// empty then, with its memory.
    fn sort(&mut self) -> Vec<u8> {
        let mut items = std::mem::take(&mut self.items);
        // Numbers sort without a jump that a processor has to guess; what they leave undecided
        // is decided after that.
        items.sort_unstable_by_key(Item::prefix);
        for equals in items.chunk_by_mut(|a, b| a.prefix == b.prefix) {
            if equals.len() > 1 {
                equals.sort_unstable_by(|a, b| self.lhs(a).cmp(self.lhs(b)).then(a.at.cmp(&b.at)));
            }
        }
        let mut sorted = Vec::with_capacity(self.octets.len());
        for item in &items {
            sorted.extend_from_slice(self.octets_of(item));
        }
        items.clear();
        self.items = items;
        self.octets.clear();
        sorted
    }

    #[cfg(test)]
    fn memory(&self) -> usize {
        self.octets.capacity() + self.items.capacity() * size_of::<Item>()
    }
}

/// A sorted run: in memory, or written to a file.
enum Run {
    /// The sorted records to come, and the chunk, empty.
    Sorting(JoinHandle<(Vec<u8>, Chunk)>),
    Sorted(Vec<u8>),
    Spilled(SpilledRun),
}

/// Makes the file that runs are written to when memory runs out.
pub(super) type MakeSpill = Box<dyn FnMut() -> io::Result<File>>;

/// Entries on their way to a store.
pub(super) struct Runs {
    chunk: Chunk,
    /// Chunks that were sorted: memory that is used again is faster than new.
    spare: Vec<Chunk>,
    runs: Vec<Run>,
    budget_octets: usize,
    make_spill: MakeSpill,
    spill: Option<(Arc<File>, u64)>,
}

impl Runs {
    pub(super) fn new(budget_octets: usize, make_spill: MakeSpill) -> Self {
        Runs {
            chunk: Chunk::with_room(),
            spare: Vec::new(),
            runs: Vec::new(),
            budget_octets,
            make_spill,
            spill: None,
        }
    }

    /// Takes an entry; one LHS and RHS together must stay below 4 GiB.
    pub(super) fn push(&mut self, record: Record<'_>) -> io::Result<()> {
        let octets = record.most_octets();
        if self.chunk.is_full_for(octets) {
            self.end_chunk()?;
        }
        let at = u32::try_from(self.chunk.octets.len())
            .ok()
            .filter(|_| u32::try_from(octets).is_ok())
            .ok_or(io::ErrorKind::FileTooLarge)?;
        record.write(&mut self.chunk.octets);
        let prefix = prefix_of(record.lhs);
        self.chunk.items.push(Item {
            prefix: ((prefix >> 64) as u64, prefix as u64),
            at,
            len: (self.chunk.octets.len() - at as usize) as u32,
        });
        Ok(())
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        self.take_sorted()?;
        let next = self.spare.pop().unwrap_or_else(Chunk::with_room);
        let mut chunk = std::mem::replace(&mut self.chunk, next);
        let sorting = std::thread::Builder::new()
            .name("sort".into())
            .spawn(move || (chunk.sort(), chunk))?;
        self.runs.push(Run::Sorting(sorting));
        let in_memory = self
            .runs
            .iter()
            .filter(|run| !matches!(run, Run::Spilled(_)))
            .count();
        if in_memory * CHUNK_OCTETS > self.budget_octets {
            self.spill_runs()?;
        }
        Ok(())
    }

    /// Takes what the sorting threads have finished.
    fn take_sorted(&mut self) -> io::Result<()> {
        for run in &mut self.runs {
            if matches!(run, Run::Sorting(handle) if handle.is_finished()) {
                let finished = std::mem::replace(run, Run::Sorted(Vec::new()));
                if let Run::Sorting(handle) = finished {
                    let (sorted, chunk) = joined(handle)?;
                    *run = Run::Sorted(sorted);
                    spared(&mut self.spare, chunk);
                }
            }
        }
        Ok(())
    }

    /// Merges the runs that are in memory to one in the spill file.
    fn spill_runs(&mut self) -> io::Result<()> {
        let mut sources = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            match run {
                Run::Spilled(run) => self.runs.push(Run::Spilled(run)),
                Run::Sorted(octets) => sources.push(Source::Memory { octets, at: 0 }),
                Run::Sorting(handle) => {
                    let (octets, chunk) = joined(handle)?;
                    spared(&mut self.spare, chunk);
                    sources.push(Source::Memory { octets, at: 0 });
                }
            }
        }
        if self.spill.is_none() {
            self.spill = Some((Arc::new((self.make_spill)()?), 0));
        }
        if let Some((file, end)) = &mut self.spill {
            let mut merge = Merge::new(sources)?;
            let mut writer = SpillWriter::new(Arc::clone(file), *end);
            while let Some(record) = merge.head() {
                writer.put(record)?;
                merge.advance()?;
            }
            let run = writer.finish()?;
            *end = run.end();
            self.runs.push(Run::Spilled(run));
        }
        Ok(())
    }

    /// Hands all entries to `sink` in LHS order; returns the later entries of an LHS, in line order.
    ///
    /// The merge has a thread of its own where there is more than a batch, so that the store
    /// takes entries while the next ones are found.
    pub(super) fn merge(
        mut self,
        keep: Keep,
        on_io: &(dyn Fn(io::Error) -> StoreError + Sync),
        sink: &mut Sink<'_>,
    ) -> Result<DuplicateList, StoreError> {
        let is_small = self.runs.is_empty() && self.chunk.octets.len() < BATCH_OCTETS;
        self.runs.push(Run::Sorted(self.chunk.sort()));
        (self.chunk, self.spare) = Default::default();
        let mut sources = Vec::new();
        for run in self.runs {
            let source = match run {
                Run::Spilled(run) => Source::Spilled(run),
                Run::Sorted(octets) => Source::Memory { octets, at: 0 },
                Run::Sorting(handle) => Source::Memory {
                    octets: joined(handle).map_err(on_io)?.0,
                    at: 0,
                },
            };
            sources.push(source);
        }
        let merge = Merge::new(sources).map_err(on_io)?;
        if is_small {
            return merge.run(keep, on_io, sink);
        }
        merge::on_a_thread(merge, keep, on_io, sink)
    }

    /// The memory held by runs, in octets; an estimate for tests.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let runs = self.runs.iter().map(|run| match run {
            Run::Sorting(_) => CHUNK_OCTETS * 2,
            Run::Sorted(sorted) => sorted.capacity(),
            Run::Spilled(_) => 0,
        });
        let spare: usize = self.spare.iter().map(Chunk::memory).sum();
        runs.sum::<usize>() + self.chunk.memory() + spare
    }
}

/// Keeps a chunk, but for one that a large entry made large.
fn spared(spare: &mut Vec<Chunk>, chunk: Chunk) {
    if chunk.octets.capacity() <= 2 * CHUNK_OCTETS {
        spare.push(chunk);
    }
}

fn joined(handle: JoinHandle<(Vec<u8>, Chunk)>) -> io::Result<(Vec<u8>, Chunk)> {
    handle
        .join()
        .map_err(|_| io::Error::other("a sorting thread stopped"))
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
