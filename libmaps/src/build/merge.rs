//! Merging sorted runs, on a thread of its own where there is much.

use std::cmp::Ordering;
use std::io;
use std::sync::mpsc;

use super::record::{Prefix, Record, prefix_of};
use super::spill::SpilledRun;
use crate::map::StoreError;
use crate::store::Sink;
use crate::store::duplicate::{Duplicate, Keep, OLD_ENTRY};

/// What the merging thread hands over at once, in octets of entries.
pub(super) const BATCH_OCTETS: usize = 256 << 10;

/// How many batches wait for the store at the most.
const BATCHES_WAITING: usize = 4;

/// A sorted run that is being read.
pub(super) enum Source {
    Memory { octets: Vec<u8>, at: usize },
    Spilled(SpilledRun),
}

impl Source {
    fn head(&self) -> Option<Record<'_>> {
        match self {
            Source::Memory { octets, at } => Record::split(octets.get(*at..)?).map(|(r, _)| r),
            Source::Spilled(run) => run.head(),
        }
    }

    fn advance(&mut self) -> io::Result<()> {
        match self {
            Source::Memory { octets, at } => {
                let rest = octets
                    .get(*at..)
                    .and_then(Record::split)
                    .map(|(_, rest)| rest);
                *at = octets.len() - rest.map_or(0, <[u8]>::len);
                Ok(())
            }
            Source::Spilled(run) => run.advance(),
        }
    }
}

/// A merge of sorted sources; of equal LHSs the earlier source comes first.
pub(super) struct Merge {
    sources: Vec<Source>,
    /// A binary heap of source numbers, the least head on top.
    heap: Vec<usize>,
    prefixes: Vec<Prefix>,
}

impl Merge {
    pub(super) fn new(mut sources: Vec<Source>) -> io::Result<Self> {
        for source in &mut sources {
            if let Source::Spilled(run) = source {
                run.begin()?;
            }
        }
        let mut merge = Merge {
            prefixes: sources
                .iter()
                .map(|s| s.head().map_or((0, 0), |r| prefix_of(r.lhs)))
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
        let lhs = |n: usize| self.sources.get(n).and_then(Source::head).map(|r| r.lhs);
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

    /// The least record.
    pub(super) fn head(&self) -> Option<Record<'_>> {
        self.sources.get(self.top()?)?.head()
    }

    pub(super) fn advance(&mut self) -> io::Result<()> {
        let Some(top) = self.top() else { return Ok(()) };
        let mut ended = true;
        if let Some(source) = self.sources.get_mut(top) {
            source.advance()?;
            if let Some(record) = source.head() {
                ended = false;
                if let Some(slot) = self.prefixes.get_mut(top) {
                    *slot = prefix_of(record.lhs);
                }
            }
        }
        if ended {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }

    /// Hands all entries to `sink` in LHS order; returns the later entries of an LHS, in line order.
    pub(super) fn run(
        mut self,
        keep: Keep,
        on_io: &dyn Fn(io::Error) -> StoreError,
        sink: &mut Sink<'_>,
    ) -> Result<Vec<Duplicate>, StoreError> {
        let mut duplicates = Vec::new();
        // The LHS of the group in hand, and with Keep::Last the RHS that may yet be replaced.
        let (mut lhs, mut rhs): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        let mut group = false;
        while let Some(record) = self.head() {
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

/// Merges on a thread of its own, which hands the entries over in batches.
pub(super) fn on_a_thread(
    merge: Merge,
    keep: Keep,
    on_io: &(dyn Fn(io::Error) -> StoreError + Sync),
    sink: &mut Sink<'_>,
) -> Result<Vec<Duplicate>, StoreError> {
    std::thread::scope(|scope| {
        let (full, batches) = mpsc::sync_channel::<Vec<u8>>(BATCHES_WAITING);
        let (used, empty) = mpsc::channel::<Vec<u8>>();
        let merging = std::thread::Builder::new()
            .name("merge".into())
            .spawn_scoped(scope, move || {
                // Nobody takes a batch: the store failed, and its error is the one to tell.
                let hand_over = |batch| {
                    full.send(batch)
                        .map_err(|_| on_io(io::ErrorKind::BrokenPipe.into()))
                };
                let mut batch = Vec::with_capacity(BATCH_OCTETS);
                let duplicates = merge.run(keep, on_io, &mut |lhs, rhs| {
                    let record = Record { line: 0, lhs, rhs };
                    if !batch.is_empty() && batch.len() + record.most_octets() > BATCH_OCTETS {
                        let mut next = empty.try_recv().unwrap_or_default();
                        next.clear();
                        hand_over(std::mem::replace(&mut batch, next))?;
                    }
                    record.write(&mut batch);
                    Ok(())
                })?;
                hand_over(batch)?;
                Ok(duplicates)
            })
            .map_err(on_io)?;
        let stored = batches.iter().try_for_each(|batch| {
            let mut rest = batch.as_slice();
            while let Some((record, behind)) = Record::split(rest) {
                sink(record.lhs, record.rhs)?;
                rest = behind;
            }
            let _ = used.send(batch);
            Ok(())
        });
        drop(batches);
        let merged = merging
            .join()
            .unwrap_or_else(|_| Err(on_io(io::Error::other("the merging thread stopped"))));
        stored.and(merged)
    })
}
