//! Entries in memory, for a map that is asked often: a hash table. A hit costs two cache lines
//! and not a walk down a tree of pages.

use crate::map::{Map, StoreError};
use crate::store::filter;
use crate::store::residence::MAX_OCTETS;

/// A place is looked for in so many slots at the most: who can choose LHSs can have the map
/// left to the store, but not make lookups slow.
const MAX_STEPS: usize = 256;

/// A hash table with open addressing.
#[derive(Debug)]
pub(super) struct Resident {
    slots: Vec<Slot>,
    /// Entries one behind the other: length of LHS and of RHS, then both.
    octets: Vec<u8>,
}

/// A part of the hash, to tell most strangers apart, and the place of the entry, counted from
/// one; 0 in an empty slot.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    tag: u32,
    place: u32,
}

impl Resident {
    /// The entries of `map`, of which there are `count`. An error: they stay in the store, since
    /// they are too large, can't be read, or are no longer wanted.
    pub(super) fn of(
        map: &dyn Map,
        count: u64,
        wanted: impl Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let path = &map.name().path;
        let too_large = || StoreError::TooLarge {
            path: path.clone(),
            why: "the entries do not fit in memory".into(),
        };
        let slots = usize::try_from(count.max(8).saturating_add(count / 2));
        let slots = slots
            .ok()
            .filter(|slots| *slots <= MAX_OCTETS / size_of::<Slot>())
            .ok_or_else(too_large)?;
        let mut resident = Resident {
            slots: vec![Slot::default(); slots],
            octets: Vec::new(),
        };
        let mut turn: u32 = 0;
        map.for_each(&mut |lhs, rhs| {
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(4096) && !wanted() {
                return Err(StoreError::Missing { path: path.clone() });
            }
            match resident.insert(lhs, rhs) {
                true => Ok(()),
                false => Err(too_large()),
            }
        })?;
        resident.octets.shrink_to_fit();
        Ok(resident)
    }

    fn insert(&mut self, lhs: &[u8], rhs: &[u8]) -> bool {
        let hash = filter::hash(lhs);
        let Some(steps) = self.steps(hash) else {
            return false;
        };
        let room = MAX_OCTETS - self.slots.len() * size_of::<Slot>();
        let needed = self.octets.len() + 8 + lhs.len() + rhs.len();
        let (Ok(place), true) = (u32::try_from(self.octets.len() + 1), needed <= room) else {
            return false;
        };
        for at in steps {
            if let Some(slot) = self.slots.get_mut(at)
                && slot.place == 0
            {
                let tag = hash as u32;
                *slot = Slot { tag, place };
                for part in [lhs, rhs] {
                    self.octets
                        .extend_from_slice(&(part.len() as u32).to_le_bytes());
                }
                self.octets.extend_from_slice(lhs);
                self.octets.extend_from_slice(rhs);
                return true;
            }
        }
        false
    }

    /// What stands under `lhs`, whose hash is the filter's.
    pub(super) fn get(&self, lhs: &[u8], hash: u64) -> Option<&[u8]> {
        for at in self.steps(hash)? {
            let slot = self.slots.get(at)?;
            if slot.place == 0 {
                return None;
            }
            if slot.tag == hash as u32
                && let Some((found, rhs)) = self.entry(slot.place)
                && found == lhs
            {
                return Some(rhs);
            }
        }
        None
    }

    fn entry(&self, place: u32) -> Option<(&[u8], &[u8])> {
        let rest = self.octets.get(place as usize - 1..)?;
        let (lhs_len, rest) = rest.split_first_chunk::<4>()?;
        let (rhs_len, rest) = rest.split_first_chunk::<4>()?;
        let (lhs, rest) = rest.split_at_checked(u32::from_le_bytes(*lhs_len) as usize)?;
        Some((lhs, rest.get(..u32::from_le_bytes(*rhs_len) as usize)?))
    }

    /// The slots in which an entry of this hash may stand, in their order.
    fn steps(&self, hash: u64) -> Option<impl Iterator<Item = usize> + use<>> {
        let slots = self.slots.len();
        // The upper half, scaled to the number of slots without a division.
        let first = usize::try_from(((hash >> 32) * slots as u64) >> 32).ok()?;
        Some((first..slots).chain(0..first).take(MAX_STEPS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn map(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> MemoryMap {
        let entries = entries
            .iter()
            .map(|(l, r)| Entry::new(l.as_slice(), r.as_slice()));
        MemoryMap::new("m.db", entries)
    }

    proptest! {
        #[test]
        fn it_answers_as_the_map_does(entries: BTreeMap<Vec<u8>, Vec<u8>>, other: Vec<Vec<u8>>) {
            let resident = Resident::of(&map(&entries), entries.len() as u64, || true).unwrap();
            for lhs in entries.keys().chain(&other) {
                prop_assert_eq!(resident.get(lhs, filter::hash(lhs)), entries.get(lhs).map(Vec::as_slice));
            }
        }
    }

    #[test]
    fn what_is_too_large_is_left_to_the_store() {
        let large = BTreeMap::from([(b"a".to_vec(), vec![0; MAX_OCTETS])]);
        assert!(Resident::of(&map(&large), 1, || true).is_err());
        let none = BTreeMap::new();
        assert!(Resident::of(&map(&none), u64::MAX / 4, || true).is_err());
    }

    #[test]
    fn nothing_is_read_for_a_map_that_is_gone() {
        let all = (0..9000u32).map(|n| (n.to_be_bytes().into(), b"x".into()));
        assert!(Resident::of(&map(&all.collect()), 9000, || false).is_err());
    }
}
