//! Sorting any number of entries in bounded memory.
//!
//! Entries are collected in chunks; a full chunk is sorted on a thread of its
//! own while the next one is filled, and becomes a run. When the runs in
//! memory outgrow the budget they are written to a file without a name and
//! read back while all runs are merged. Entries of one LHS stay in the order
//! in which they came.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::spill::SpilledRun;
use crate::map::StoreError;
use crate::store::Sink;
use crate::store::duplicate::{Duplicate, Keep, OLD_ENTRY};

/// What one chunk holds before it is sorted, in octets of entries.
const CHUNK_OCTETS: usize = 8 << 20;

/// Where an entry stands in its chunk, with the beginning of its LHS for fast comparisons.
#[derive(Clone, Copy, Debug)]
struct Item {
    prefix: Prefix,
    at: u32,
}

/// The first 16 octets of an LHS as two numbers that sort the same; equal ones decide nothing.
type Prefix = (u64, u64);

/// What stands before each entry's octets in a chunk: line, length of LHS, length of RHS.
pub(super) const HEAD_OCTETS: usize = 16;

fn prefix_of(lhs: &[u8]) -> Prefix {
    let mut octets = [0; 16];
    let len = lhs.len().min(octets.len());
    if let (Some(to), Some(from)) = (octets.get_mut(..len), lhs.get(..len)) {
        to.copy_from_slice(from);
    }
    let whole = u128::from_be_bytes(octets);
    ((whole >> 64) as u64, whole as u64)
}

/// An entry of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) line: u64,
    pub(super) lhs: &'a [u8],
    pub(super) rhs: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record that begins at `at`; empty where the octets do not hold one.
    pub(super) fn read(octets: &'a [u8], at: usize) -> Option<Self> {
        let octets = octets.get(at..)?;
        let (line, rest) = octets.split_first_chunk::<8>()?;
        let (lhs_len, rest) = rest.split_first_chunk::<4>()?;
        let (rhs_len, rest) = rest.split_first_chunk::<4>()?;
        let (lhs, rest) = rest.split_at_checked(u32::from_le_bytes(*lhs_len) as usize)?;
        let (rhs, _) = rest.split_at_checked(u32::from_le_bytes(*rhs_len) as usize)?;
        Some(Record {
            line: u64::from_le_bytes(*line),
            lhs,
            rhs,
        })
    }

    fn octets(&self) -> usize {
        HEAD_OCTETS + self.lhs.len() + self.rhs.len()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.line.to_le_bytes());
        out.extend_from_slice(&(self.lhs.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.rhs.len() as u32).to_le_bytes());
        out.extend_from_slice(self.lhs);
        out.extend_from_slice(self.rhs);
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

    fn lhs(&self, item: &Item) -> &[u8] {
        Record::read(&self.octets, item.at as usize).map_or(&[], |r| r.lhs)
    }

    fn sort(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        items.sort_unstable_by(|a, b| {
            a.prefix
                .cmp(&b.prefix)
                .then_with(|| self.lhs(a).cmp(self.lhs(b)))
                .then(a.at.cmp(&b.at))
        });
        self.items = items;
    }

    #[cfg(test)]
    fn memory(&self) -> usize {
        self.octets.capacity() + self.items.capacity() * size_of::<Item>()
    }
}

/// A sorted run: in memory, or written to a file.
enum Run {
    Sorting(JoinHandle<Chunk>),
    Sorted(Chunk),
    Spilled(SpilledRun),
}

/// Makes the file that runs are written to when memory runs out.
pub(super) type MakeSpill = Box<dyn FnMut() -> io::Result<File>>;

/// Entries on their way to a store.
pub(super) struct Runs {
    chunk: Chunk,
    runs: Vec<Run>,
    budget_octets: usize,
    make_spill: MakeSpill,
    spill: Option<(Arc<File>, u64)>,
}

impl Runs {
    pub(super) fn new(budget_octets: usize, make_spill: MakeSpill) -> Self {
        Runs {
            chunk: Chunk::with_room(),
            runs: Vec::new(),
            budget_octets,
            make_spill,
            spill: None,
        }
    }

    /// Takes an entry; one LHS and RHS together must stay below 4 GiB.
    pub(super) fn push(&mut self, record: Record<'_>) -> io::Result<()> {
        let octets = record.octets();
        let full = self.chunk.octets.len().saturating_add(octets) > CHUNK_OCTETS;
        if full && !self.chunk.items.is_empty() {
            self.end_chunk()?;
        }
        let at = u32::try_from(self.chunk.octets.len())
            .ok()
            .filter(|_| u32::try_from(octets).is_ok())
            .ok_or(io::ErrorKind::FileTooLarge)?;
        self.chunk.items.push(Item {
            prefix: prefix_of(record.lhs),
            at,
        });
        record.write(&mut self.chunk.octets);
        Ok(())
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        let mut chunk = std::mem::replace(&mut self.chunk, Chunk::with_room());
        let sorting = std::thread::Builder::new()
            .name("sort".into())
            .spawn(move || {
                chunk.sort();
                chunk
            })?;
        self.runs.push(Run::Sorting(sorting));
        let in_memory = self
            .runs
            .iter()
            .filter(|run| !matches!(run, Run::Spilled(_)))
            .count();
        // A chunk costs its octets and, at 16 octets of LHS and RHS, as much again for its items.
        if in_memory * CHUNK_OCTETS * 2 > self.budget_octets {
            self.spill_runs()?;
        }
        Ok(())
    }

    /// Writes every run that is in memory to the spill file.
    fn spill_runs(&mut self) -> io::Result<()> {
        for run in std::mem::take(&mut self.runs) {
            let chunk = match run {
                Run::Spilled(run) => {
                    self.runs.push(Run::Spilled(run));
                    continue;
                }
                Run::Sorted(chunk) => chunk,
                Run::Sorting(handle) => joined(handle)?,
            };
            if self.spill.is_none() {
                self.spill = Some((Arc::new((self.make_spill)()?), 0));
            }
            if let Some((file, end)) = &mut self.spill {
                let records = chunk
                    .items
                    .iter()
                    .filter_map(|item| Record::read(&chunk.octets, item.at as usize));
                let run = SpilledRun::write(Arc::clone(file), *end, records)?;
                *end = run.end();
                self.runs.push(Run::Spilled(run));
            }
        }
        Ok(())
    }

    /// Hands all entries to `sink` in LHS order; returns the later entries of an LHS, in line order.
    pub(super) fn merge(
        mut self,
        keep: Keep,
        on_io: &dyn Fn(io::Error) -> StoreError,
        sink: &mut Sink<'_>,
    ) -> Result<Vec<Duplicate>, StoreError> {
        let mut last = std::mem::take(&mut self.chunk);
        last.sort();
        self.runs.push(Run::Sorted(last));
        let mut sources = Vec::new();
        for run in self.runs {
            let source = match run {
                Run::Spilled(run) => Source::Spilled(run),
                Run::Sorted(chunk) => Source::Memory { chunk, next: 0 },
                Run::Sorting(handle) => Source::Memory {
                    chunk: joined(handle).map_err(on_io)?,
                    next: 0,
                },
            };
            sources.push(source);
        }
        Merge::new(sources).map_err(on_io)?.run(keep, on_io, sink)
    }

    /// The memory held by runs, in octets; an estimate for tests.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let runs = self.runs.iter().map(|run| match run {
            Run::Sorting(_) => CHUNK_OCTETS * 2,
            Run::Sorted(chunk) => chunk.memory(),
            Run::Spilled(_) => 0,
        });
        runs.sum::<usize>() + self.chunk.memory()
    }
}

fn joined(handle: JoinHandle<Chunk>) -> io::Result<Chunk> {
    handle
        .join()
        .map_err(|_| io::Error::other("a sorting thread stopped"))
}

enum Source {
    Memory { chunk: Chunk, next: usize },
    Spilled(SpilledRun),
}

impl Source {
    fn head(&self) -> Option<(Prefix, Record<'_>)> {
        match self {
            Source::Memory { chunk, next } => {
                let item = chunk.items.get(*next)?;
                let record = Record::read(&chunk.octets, item.at as usize)?;
                Some((item.prefix, record))
            }
            Source::Spilled(run) => {
                let record = run.head()?;
                Some((prefix_of(record.lhs), record))
            }
        }
    }

    fn advance(&mut self) -> io::Result<()> {
        match self {
            Source::Memory { next, .. } => {
                *next += 1;
                Ok(())
            }
            Source::Spilled(run) => run.advance(),
        }
    }
}

/// A merge of sorted sources; of equal LHSs the earlier source comes first.
struct Merge {
    sources: Vec<Source>,
    /// A binary heap of source numbers, the least head on top.
    heap: Vec<usize>,
    prefixes: Vec<Prefix>,
}

impl Merge {
    fn new(mut sources: Vec<Source>) -> io::Result<Self> {
        for source in &mut sources {
            if let Source::Spilled(run) = source {
                run.begin()?;
            }
        }
        let mut merge = Merge {
            prefixes: sources
                .iter()
                .map(|s| s.head().map_or((0, 0), |h| h.0))
                .collect(),
            heap: (0..sources.len())
                .filter(|n| sources.get(*n).is_some_and(|s| s.head().is_some()))
                .collect(),
            sources,
        };
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(at);
        }
        Ok(merge)
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        let prefix = |n: usize| self.prefixes.get(n);
        let lhs = |n: usize| self.sources.get(n).and_then(Source::head).map(|h| h.1.lhs);
        prefix(a)
            .cmp(&prefix(b))
            .then_with(|| lhs(a).cmp(&lhs(b)))
            .then(a.cmp(&b))
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if let (Some(c), Some(l)) = (self.heap.get(child), self.heap.get(least))
                    && self.compare(*c, *l) == Ordering::Less
                {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    /// The source whose head is the least of all.
    fn top(&self) -> Option<usize> {
        self.heap.first().copied()
    }

    fn advance(&mut self) -> io::Result<()> {
        let Some(top) = self.top() else { return Ok(()) };
        let mut ended = true;
        if let Some(source) = self.sources.get_mut(top) {
            source.advance()?;
            if let Some((prefix, _)) = source.head() {
                ended = false;
                if let Some(slot) = self.prefixes.get_mut(top) {
                    *slot = prefix;
                }
            }
        }
        if ended {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }

    fn run(
        mut self,
        keep: Keep,
        on_io: &dyn Fn(io::Error) -> StoreError,
        sink: &mut Sink<'_>,
    ) -> Result<Vec<Duplicate>, StoreError> {
        let mut duplicates = Vec::new();
        // The LHS of the group in hand, and with Keep::Last the RHS that may yet be replaced.
        let (mut lhs, mut rhs): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        let mut group = false;
        while let Some((_, record)) = self
            .top()
            .and_then(|top| self.sources.get(top))
            .and_then(Source::head)
        {
            let again = group && record.lhs == lhs.as_slice();
            let refused = again && keep != Keep::All && record.line != OLD_ENTRY;
            if refused {
                duplicates.push(Duplicate {
                    line: record.line,
                    lhs: record.lhs.into(),
                });
            }
            if !again {
                if group && keep == Keep::Last {
                    sink(&lhs, &rhs)?;
                }
                group = true;
                lhs.clear();
                lhs.extend_from_slice(record.lhs);
            }
            match keep {
                Keep::All => sink(record.lhs, record.rhs)?,
                Keep::First if !refused => sink(record.lhs, record.rhs)?,
                Keep::First => {}
                Keep::Last => {
                    rhs.clear();
                    rhs.extend_from_slice(record.rhs);
                }
            }
            self.advance().map_err(on_io)?;
        }
        if group && keep == Keep::Last {
            sink(&lhs, &rhs)?;
        }
        duplicates.sort_unstable_by(|a, b| a.line.cmp(&b.line).then(a.lhs.cmp(&b.lhs)));
        Ok(duplicates)
    }
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
