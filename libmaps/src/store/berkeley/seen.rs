//! Which pages a traversal has visited: each is visited at most once.

use std::collections::HashMap;

use super::fault::Fault;

const PAGES_PER_CHUNK: u32 = 4096;

/// A set of page numbers whose memory grows with the pages visited, an eighth
/// of an octet each, and not with numbers that stand in the file.
#[derive(Debug, Default)]
pub(super) struct Seen {
    chunks: HashMap<u32, Box<[u64; PAGES_PER_CHUNK as usize / 64]>>,
}

impl Seen {
    /// Notes a visit; an error if it is the second one.
    pub(super) fn visit(&mut self, page: u32) -> Result<(), Fault> {
        let chunk = self
            .chunks
            .entry(page / PAGES_PER_CHUNK)
            .or_insert_with(|| Box::new([0; PAGES_PER_CHUNK as usize / 64]));
        let (word, bit) = place(page);
        match chunk.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                Ok(())
            }
            _ => Err(Fault::damaged(page, "two ways lead to this page")),
        }
    }

    /// Whether the page was visited.
    pub(super) fn contains(&self, page: u32) -> bool {
        let (word, bit) = place(page);
        self.chunks
            .get(&(page / PAGES_PER_CHUNK))
            .and_then(|chunk| chunk.get(word))
            .is_some_and(|word| word & bit != 0)
    }
}

fn place(page: u32) -> (usize, u64) {
    let within = page % PAGES_PER_CHUNK;
    ((within / 64) as usize, 1 << (within % 64))
}
