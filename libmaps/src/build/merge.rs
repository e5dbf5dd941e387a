//! Merging sorted runs, on a thread of its own where there is much.

use std::io;
use std::sync::mpsc;

use super::record::{Prefix, Record, prefix_of};
use super::spill::SpilledRun;
use crate::map::StoreError;
use crate::store::Sink;
use crate::store::duplicate::{DuplicateHeap, DuplicateList, Keep, OLD_ENTRY};

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
    /// The octets from the record in front on.
    fn rest(&self) -> &[u8] {
        match self {
            Source::Memory { octets, at } => octets.get(*at..).unwrap_or_default(),
            Source::Spilled(run) => run.rest(),
        }
    }

    /// Goes on to the next record, behind one of so many octets.
    fn advance(&mut self, len: usize) -> io::Result<()> {
        match self {
            Source::Memory { at, .. } => {
                *at += len;
                Ok(())
            }
            Source::Spilled(run) => run.advance(len),
        }
    }
}

/// The record in front of a source, taken apart once: where its parts stand in the source.
#[derive(Clone, Copy, Debug)]
struct Head {
    line: u64,
    lhs_at: usize,
    rhs_at: usize,
    end: usize,
}

impl Head {
    fn of(source: &Source) -> Option<Self> {
        let octets = source.rest();
        let (record, rest) = Record::split(octets)?;
        let end = octets.len() - rest.len();
        let rhs_at = end - record.rhs.len();
        Some(Head {
            line: record.line,
            lhs_at: rhs_at - record.lhs.len(),
            rhs_at,
            end,
        })
    }

    fn record<'a>(&self, source: &'a Source) -> Record<'a> {
        let octets = source.rest();
        Record {
            line: self.line,
            lhs: octets.get(self.lhs_at..self.rhs_at).unwrap_or_default(),
            rhs: octets.get(self.rhs_at..self.end).unwrap_or_default(),
        }
    }
}

/// What sources that have ended sort by: behind all others, for which no number is too large.
const ENDED: Prefix = Prefix::MAX;

/// A merge of sorted sources; of equal LHSs the earlier source comes first.
///
/// A tournament: each inner node of a tree over the sources holds the source that lost there,
/// so that the next least record is found with one comparison a level.
pub(super) struct Merge {
    sources: Vec<Source>,
    heads: Vec<Option<Head>>,
    /// The beginning of each head's LHS.
    prefixes: Vec<Prefix>,
    /// Node 1 is the root; the children of node n are 2n and 2n+1, and source n is the leaf
    /// behind all nodes.
    losers: Vec<usize>,
    winner: usize,
}

impl Merge {
    pub(super) fn new(mut sources: Vec<Source>) -> io::Result<Self> {
        for source in &mut sources {
            if let Source::Spilled(run) = source {
                run.begin()?;
            }
        }
        let count = sources.len();
        let mut merge = Merge {
            heads: vec![None; count],
            prefixes: vec![ENDED; count],
            losers: vec![0; count],
            winner: 0,
            sources,
        };
        for n in 0..count {
            merge.take_head(n);
        }
        // Who wins at each node, leaves included.
        let mut winners: Vec<usize> = (0..count).map(|n| n.saturating_sub(count)).collect();
        winners.extend(0..count);
        for node in (1..count).rev() {
            let (Some(&left), Some(&right)) = (winners.get(2 * node), winners.get(2 * node + 1))
            else {
                continue;
            };
            let (winner, loser) = match merge.comes_first(right, left) {
                true => (right, left),
                false => (left, right),
            };
            if let (Some(w), Some(l)) = (winners.get_mut(node), merge.losers.get_mut(node)) {
                (*w, *l) = (winner, loser);
            }
        }
        merge.winner = winners.get(1).copied().unwrap_or(0);
        Ok(merge)
    }

    /// Takes apart what is in front of source `n` now.
    fn take_head(&mut self, n: usize) {
        let head = self.sources.get(n).and_then(Head::of);
        let prefix = match (head, self.sources.get(n)) {
            (Some(head), Some(source)) => prefix_of(head.record(source).lhs),
            _ => ENDED,
        };
        if let (Some(h), Some(p)) = (self.heads.get_mut(n), self.prefixes.get_mut(n)) {
            (*h, *p) = (head, prefix);
        }
    }

    fn record(&self, n: usize) -> Option<Record<'_>> {
        let head = self.heads.get(n)?.as_ref()?;
        Some(head.record(self.sources.get(n)?))
    }

    fn comes_first(&self, a: usize, b: usize) -> bool {
        let prefix = |n: usize| self.prefixes.get(n).copied().unwrap_or(ENDED);
        let (left, right) = (prefix(a), prefix(b));
        match left == right {
            false => left < right,
            true => self.comes_first_of_equals(a, b),
        }
    }

    #[cold]
    fn comes_first_of_equals(&self, a: usize, b: usize) -> bool {
        match (self.record(a), self.record(b)) {
            (Some(left), Some(right)) => left.lhs.cmp(right.lhs).then(a.cmp(&b)).is_lt(),
            (left, _) => left.is_some(),
        }
    }

    /// The least record.
    pub(super) fn head(&self) -> Option<Record<'_>> {
        self.record(self.winner)
    }

    pub(super) fn advance(&mut self) -> io::Result<()> {
        let mut winner = self.winner;
        let Some(Some(head)) = self.heads.get(winner).copied() else {
            return Ok(());
        };
        if let Some(source) = self.sources.get_mut(winner) {
            source.advance(head.end)?;
        }
        self.take_head(winner);
        let mut node = (self.sources.len() + winner) / 2;
        while node > 0 {
            if let Some(loser) = self.losers.get(node).copied()
                && self.comes_first(loser, winner)
            {
                if let Some(slot) = self.losers.get_mut(node) {
                    *slot = winner;
                }
                winner = loser;
            }
            node /= 2;
        }
        self.winner = winner;
        Ok(())
    }

    /// Hands all entries to `sink` in LHS order; returns the later entries of an LHS, in line order.
    pub(super) fn run(
        mut self,
        keep: Keep,
        on_io: &dyn Fn(io::Error) -> StoreError,
        sink: &mut Sink<'_>,
    ) -> Result<DuplicateList, StoreError> {
        let mut duplicates = DuplicateHeap::default();
        // The LHS of the group in hand, and with Keep::Last the RHS that may yet be replaced.
        let (mut lhs, mut rhs): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        let mut group = false;
        while let Some(record) = self.head() {
            let again = group && record.lhs == lhs.as_slice();
            let refused = again && keep != Keep::All && record.line != OLD_ENTRY;
            if refused {
                duplicates.push(record.line, record.lhs);
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
        Ok(duplicates.into_list())
    }
}

/// Merges on a thread of its own, which hands the entries over in batches.
pub(super) fn on_a_thread(
    merge: Merge,
    keep: Keep,
    on_io: &(dyn Fn(io::Error) -> StoreError + Sync),
    sink: &mut Sink<'_>,
) -> Result<DuplicateList, StoreError> {
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
