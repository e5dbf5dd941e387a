//! What is different between two maps, in so many keys at the most.

use std::cmp::Ordering;
use std::iter::Peekable;

use libmaps::lhs::Lhs;
use libmaps::map::{Entries, Map, StoreError};
use libmaps::rhs::Rhs;
use libmaps::store::shared::Digest;

/// Keys of a difference that is always worth more than sending everything.
const ALWAYS_FEW: u64 = 1_000;
/// A difference has a tenth of the keys at the most.
const WORTH_IT: u64 = 10;
/// The most octets of a difference, which is held in memory.
const MAX_OCTETS: usize = 64 << 20;

/// An LHS with all its values.
type Group = (Lhs, Vec<Rhs>);

/// The keys that differ, each with all its new values; none: it is gone.
pub(super) type Changes = Vec<Group>;

/// Where entries go with their places.
pub(super) type PlacedSink<'a> = dyn FnMut(&[u8], u32, &[u8]) -> Result<(), StoreError> + 'a;

/// The digest of a map.
pub(super) fn digest_of(map: &dyn Map) -> Result<Digest, StoreError> {
    let mut digest = Digest::default();
    with_places(map, &mut |lhs, place, rhs| {
        digest.add(lhs, place, rhs);
        Ok(())
    })?;
    Ok(digest)
}

/// Hands every entry over with its place among the values of its LHS.
pub(super) fn with_places(map: &dyn Map, sink: &mut PlacedSink<'_>) -> Result<(), StoreError> {
    let (mut last, mut place): (Option<Vec<u8>>, u32) = (None, 0);
    map.for_each(&mut |lhs, rhs| {
        match &mut last {
            Some(last) if last.as_slice() == lhs => place += 1,
            Some(last) => {
                place = 0;
                last.clear();
                last.extend_from_slice(lhs);
            }
            None => last = Some(lhs.to_vec()),
        }
        sink(lhs, place, rhs)
    })
}

/// The keys in which `new` differs from `old`; `None` when they are too many.
pub(super) fn between(
    old: &dyn Map,
    new: &dyn Map,
    entries: u64,
) -> Result<Option<Changes>, StoreError> {
    let most = (entries / WORTH_IT).max(ALWAYS_FEW);
    let (mut old, mut new) = (Groups::of(old), Groups::of(new));
    let (mut before, mut after) = (old.next()?, new.next()?);
    let (mut changes, mut octets) = (Vec::new(), 0);
    loop {
        let order = match (&before, &after) {
            (None, None) => return Ok(Some(changes)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let change = match order {
            Ordering::Less => before.take().map(|(lhs, _)| (lhs, Vec::new())),
            Ordering::Greater => after.take(),
            Ordering::Equal => {
                let same = before == after;
                before = None;
                after.take().filter(|_| !same)
            }
        };
        if let Some((lhs, values)) = change {
            let values_octets: usize = values.iter().map(|rhs| rhs.as_bytes().len()).sum();
            octets += lhs.as_bytes().len() + values_octets;
            changes.push((lhs, values));
            if changes.len() as u64 > most || octets > MAX_OCTETS {
                return Ok(None);
            }
        }
        if before.is_none() {
            before = old.next()?;
        }
        if after.is_none() {
            after = new.next()?;
        }
    }
}

/// The entries of a map, taken together by LHS.
struct Groups<'a>(Peekable<Entries<'a>>);

impl<'a> Groups<'a> {
    fn of(map: &'a dyn Map) -> Self {
        Groups(map.iter().peekable())
    }

    fn next(&mut self) -> Result<Option<Group>, StoreError> {
        let Some(first) = self.0.next().transpose()? else {
            return Ok(None);
        };
        let mut values = vec![first.rhs];
        let same = |next: &Result<libmaps::map::Entry, StoreError>| {
            next.as_ref().is_ok_and(|next| next.lhs == first.lhs)
        };
        while let Some(Ok(next)) = self.0.next_if(same) {
            values.push(next.rhs);
        }
        Ok(Some((first.lhs, values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmaps::map::Entry;
    use libmaps::store::MemoryMap;

    fn map(text: &str) -> MemoryMap {
        let entries = text.split_whitespace().map(|e| {
            let (lhs, rhs) = e.split_once('=').unwrap();
            Entry::new(lhs, rhs)
        });
        MemoryMap::new("m", entries.collect::<Vec<_>>())
    }

    #[test]
    fn added_removed_and_changed_keys_are_found() {
        let changes = between(&map("a=1 b=2 c=3 d=4"), &map("b=2 c=4 d=4 e=5"), 4)
            .unwrap()
            .unwrap();
        let shown: Vec<String> = changes
            .iter()
            .map(|(lhs, values)| format!("{lhs}={values:?}"))
            .collect();
        assert_eq!(shown, ["a=[]", "c=[Rhs(4)]", "e=[Rhs(5)]"]);
        assert_eq!(between(&map(""), &map(""), 0).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn too_many_changes_are_none() {
        let new: String = (0..1_002).map(|n| format!("k{n}=v ")).collect();
        assert_eq!(between(&map(""), &map(&new), 1_002).unwrap(), None);
    }
}
