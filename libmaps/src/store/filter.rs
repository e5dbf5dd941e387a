//! A filter for absent LHSs, so that most misses never reach the store.
//!
//! Nearly all probes of a mail decision are misses. The filter is a
//! split-block Bloom filter (the one that Parquet's format specification
//! publishes): an LHS sets one bit in each of the eight words of one 32-octet
//! block, so a question costs one cache line. At 12 bits an entry about one
//! absent LHS in 200 goes on to the store; a present one always does.

use xxhash_rust::xxh3::xxh3_64;

const WORDS: usize = 8;
const BLOCK_OCTETS: usize = WORDS * 4;
const BITS_PER_ENTRY: u64 = 12;
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The hash of an LHS that the filter works with (XXH3, 64 bits, seed 0).
#[must_use]
pub fn hash(lhs: &[u8]) -> u64 {
    xxh3_64(lhs)
}

/// One block; at an address that is a multiple of its size it lies in one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(32))]
struct Block([u32; WORDS]);

/// A set of LHSs that may say "perhaps" of an absent one, never "no" of a present one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// An empty filter with room for `entries` LHSs.
    #[must_use]
    pub fn with_room_for(entries: u64) -> Self {
        let bits = entries.max(1).saturating_mul(BITS_PER_ENTRY);
        let blocks = bits.div_ceil(BLOCK_OCTETS as u64 * 8);
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX / BLOCK_OCTETS);
        Filter {
            blocks: vec![Block::default(); blocks],
        }
    }

    /// A filter of these hashes.
    #[must_use]
    pub fn of(hashes: &[u64]) -> Self {
        let mut filter = Filter::with_room_for(hashes.len() as u64);
        for hash in hashes {
            filter.insert(*hash);
        }
        filter
    }

    /// How many LHSs the filter has room for before its answers get poor.
    #[must_use]
    pub fn room(&self) -> u64 {
        (self.blocks.len() * BLOCK_OCTETS * 8) as u64 / BITS_PER_ENTRY
    }

    /// Notes an LHS by its [`hash`].
    pub fn insert(&mut self, hash: u64) {
        let at = self.block_of(hash);
        if let Some(Block(words)) = self.blocks.get_mut(at) {
            for (word, salt) in words.iter_mut().zip(SALTS) {
                *word |= bit(hash, salt);
            }
        }
    }

    /// `false`: no LHS of this hash was ever noted. `true`: perhaps one was.
    #[must_use]
    pub fn may_contain(&self, hash: u64) -> bool {
        let block = self.blocks.get(self.block_of(hash));
        // All eight words are asked, as no processor can guess which of them says no.
        block.is_none_or(|Block(words)| {
            let missing = words.iter().zip(SALTS).fold(0, |missing, (word, salt)| {
                missing | (bit(hash, salt) & !word)
            });
            missing == 0
        })
    }

    /// The filter as octets: the blocks in order, each word little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = self.blocks.iter().flat_map(|block| block.0);
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The filter that [`Filter::to_bytes`] wrote, or `None` where the length cannot be one.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Self> {
        let (chunks, rest) = octets.as_chunks::<BLOCK_OCTETS>();
        if chunks.is_empty() || !rest.is_empty() {
            return None;
        }
        let blocks = chunks.iter().map(|chunk| {
            let mut block = Block::default();
            let (words, _) = chunk.as_chunks::<4>();
            for (word, octets) in block.0.iter_mut().zip(words) {
                *word = u32::from_le_bytes(*octets);
            }
            block
        });
        Some(Filter {
            blocks: blocks.collect(),
        })
    }

    fn block_of(&self, hash: u64) -> usize {
        // The upper half, scaled to the number of blocks without a division.
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }
}

fn bit(hash: u64, salt: u32) -> u32 {
    1 << ((hash as u32).wrapping_mul(salt) >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_present_lhs_is_never_hidden(keys: Vec<Vec<u8>>) {
            let hashes: Vec<u64> = keys.iter().map(|k| hash(k)).collect();
            let filter = Filter::from_bytes(&Filter::of(&hashes).to_bytes()).unwrap();
            for h in hashes {
                prop_assert!(filter.may_contain(h));
            }
        }

        #[test]
        fn any_octets_make_a_filter_or_none(octets: Vec<u8>, h: u64) {
            if let Some(filter) = Filter::from_bytes(&octets) {
                let _ = filter.may_contain(h);
                prop_assert_eq!(filter.to_bytes(), octets);
            }
        }
    }

    #[test]
    fn few_absent_ones_pass() {
        let hashes: Vec<u64> = (0..100_000u32).map(|n| hash(&n.to_be_bytes())).collect();
        let filter = Filter::of(&hashes);
        let passed = (100_000..200_000u32)
            .filter(|n| filter.may_contain(hash(&n.to_be_bytes())))
            .count();
        assert!(passed < 1_000, "{passed} of 100,000");
    }
}
