//! The memory that argon2id fills.
//!
//! It is kept for the next hash: each is 19 MiB, and an allocator that puts
//! something small between two of them grows by as much again. It is wiped
//! after each hash, since what is left in it would make guessing cheap.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use argon2::Block;
use zeroize::Zeroize;

/// The blocks of a hash as this suite derives it; memory of another size is not kept.
const USUAL_BLOCKS: usize = super::argon2id::MEMORY_KIB as usize;

/// The most that is kept, whatever the number of processors: 304 MiB.
const MOST_SPARE: usize = 16;

/// What no hash uses at the moment.
static SPARE: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// The memory of one hash.
pub(super) struct Memory(Vec<Block>);

impl Memory {
    /// So many blocks, wiped; `None`: the machine has not so much.
    pub(super) fn of(blocks: usize) -> Option<Self> {
        if blocks == USUAL_BLOCKS {
            let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(spare) = spare {
                return Some(Memory(spare));
            }
        }
        let mut memory = Vec::new();
        memory.try_reserve_exact(blocks).ok()?;
        memory.resize(blocks, Block::new());
        Some(Memory(memory))
    }
}

impl AsMut<[Block]> for Memory {
    fn as_mut(&mut self) -> &mut [Block] {
        &mut self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
        if self.0.len() != USUAL_BLOCKS {
            return;
        }
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < processors.min(MOST_SPARE) {
            spare.push(std::mem::take(&mut self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_wiped(memory: &mut Memory) -> bool {
        let mut blocks = memory.as_mut().iter();
        blocks.all(|block| block.as_ref().iter().all(|word| *word == 0))
    }

    #[test]
    fn memory_comes_wiped() {
        for blocks in [USUAL_BLOCKS, 64] {
            for _ in 0..3 {
                let mut memory = Memory::of(blocks).unwrap();
                assert_eq!(memory.as_mut().len(), blocks);
                assert!(is_wiped(&mut memory));
                for block in memory.as_mut() {
                    *block.as_mut().first_mut().unwrap() = 7;
                }
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_can_be_used_at_once() {
        let all: Vec<_> = (0..MOST_SPARE + 1)
            .map(|_| Memory::of(USUAL_BLOCKS).unwrap())
            .collect();
        drop(all);
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let spare = SPARE.lock().unwrap().len();
        assert!(spare <= processors.min(MOST_SPARE), "{spare}");
    }

    #[test]
    fn more_than_there_is_is_none() {
        assert!(Memory::of(usize::MAX / 1024).is_none());
    }
}
