//! What is done where an LHS comes more than once.

use std::collections::BinaryHeap;
use std::ops::Deref;

/// How many duplicates, and bad lines, are remembered one by one; more are only counted.
pub(crate) const REMEMBERED: usize = 100_000;

/// An LHS that came again; in the order of lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duplicate {
    /// The line of the later entry.
    pub line: u64,
    /// The LHS.
    pub lhs: Box<[u8]>,
}

/// The line number of an entry that the map had before; such entries are never refused.
pub const OLD_ENTRY: u64 = 0;

/// Which of several entries of one LHS are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The first, and all that the map had before.
    First,
    /// The last.
    Last,
    /// All of them.
    All,
}

/// LHSs that came again, in the order of their lines: the first of them, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DuplicateList {
    first: Vec<Duplicate>,
    count: u64,
}

impl DuplicateList {
    /// How many there were, those that are not in the list included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many there were that are not in the list.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.count - self.first.len() as u64
    }
}

impl Deref for DuplicateList {
    type Target = [Duplicate];

    fn deref(&self) -> &[Duplicate] {
        &self.first
    }
}

/// Takes duplicates in any order and remembers those of the first lines.
#[derive(Debug, Default)]
pub(crate) struct DuplicateHeap {
    first: BinaryHeap<Duplicate>,
    count: u64,
}

impl DuplicateHeap {
    pub(crate) fn push(&mut self, line: u64, lhs: &[u8]) {
        self.push_within(line, lhs, REMEMBERED);
    }

    fn push_within(&mut self, line: u64, lhs: &[u8], room: usize) {
        self.count += 1;
        if self.first.len() >= room {
            match self.first.peek() {
                Some(last) if line < last.line => drop(self.first.pop()),
                _ => return,
            }
        }
        self.first.push(Duplicate {
            line,
            lhs: lhs.into(),
        });
    }

    pub(crate) fn into_list(self) -> DuplicateList {
        DuplicateList {
            first: self.first.into_sorted_vec(),
            count: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_the_first_lines_are_remembered() {
        let mut heap = DuplicateHeap::default();
        for line in [9, 3, 7, 1, 8, 2, 2] {
            heap.push_within(line, format!("k{line}").as_bytes(), 3);
        }
        let list = heap.into_list();
        let lines: Vec<u64> = list.iter().map(|duplicate| duplicate.line).collect();
        assert_eq!(
            (lines, list.count(), list.left_out()),
            (vec![1, 2, 2], 7, 4)
        );
    }
}
