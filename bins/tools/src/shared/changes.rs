//! What is different between two maps, in so many keys at the most.

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

/// The keys among `changed` in which `new` differs from `old`, which is the same in all others and
/// has this digest, `None` when they are too many; and the digest of `new`.
pub(super) fn at(
    changed: &[Lhs],
    old: &dyn Map,
    new: &dyn Map,
    mut digest: Digest,
    entries: u64,
) -> Result<(Digest, Option<Changes>), StoreError> {
    let mut few = Some(Few::of(entries));
    for lhs in changed {
        let (before, after) = (old.get_all(lhs.as_bytes())?, new.get_all(lhs.as_bytes())?);
        if before == after {
            continue;
        }
        for (rhs, place) in before.iter().zip(0..) {
            digest.remove(lhs.as_bytes(), place, rhs.as_bytes());
        }
        for (rhs, place) in after.iter().zip(0..) {
            digest.add(lhs.as_bytes(), place, rhs.as_bytes());
        }
        if let Some(kept) = &mut few
            && kept.add(lhs.clone(), after) == Extent::TooLarge
        {
            few = None;
        }
    }
    Ok((digest, few.map(|few| few.changes)))
}

/// The digest of `new`, which has so many entries, and the keys in which it differs from `old`;
/// `None` when they are too many.
pub(super) fn between(
    old: &dyn Map,
    new: &dyn Map,
    entries: u64,
) -> Result<(Digest, Option<Changes>), StoreError> {
    let mut digest = Digest::default();
    let mut comparison = Some(Comparison::with(old, entries)?);
    with_places(new, &mut |lhs, place, rhs| {
        digest.add(lhs, place, rhs);
        if let Some(going_on) = &mut comparison
            && going_on.take(lhs, place, rhs)? == Extent::TooLarge
        {
            comparison = None;
        }
        Ok(())
    })?;
    let changes = match comparison {
        Some(comparison) => comparison.end()?,
        None => None,
    };
    Ok((digest, changes))
}

/// Whether a difference is worth more than everything, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Small,
    TooLarge,
}

/// Changes, as long as they are few.
struct Few {
    changes: Changes,
    octets: usize,
    most: u64,
}

impl Few {
    /// For a map of so many entries.
    fn of(entries: u64) -> Self {
        Few {
            changes: Vec::new(),
            octets: 0,
            most: (entries / WORTH_IT).max(ALWAYS_FEW),
        }
    }

    fn add(&mut self, lhs: Lhs, values: Vec<Rhs>) -> Extent {
        let values_octets: usize = values.iter().map(|rhs| rhs.as_bytes().len()).sum();
        self.octets += lhs.as_bytes().len() + values_octets;
        self.changes.push((lhs, values));
        self.extent()
    }

    fn extent(&self) -> Extent {
        match self.changes.len() as u64 > self.most || self.octets > MAX_OCTETS {
            true => Extent::TooLarge,
            false => Extent::Small,
        }
    }
}

/// A walk through two maps, in the order of their LHSs; what is the same in both is not copied.
struct Comparison<'a> {
    old: Groups<'a>,
    /// The old group that is next, or that of the LHS in hand.
    before: Option<Group>,
    /// The LHS in hand, and its new values.
    after: Option<(Lhs, After)>,
    few: Few,
}

/// The new values of an LHS, as far as they have come.
enum After {
    /// So many, which are the first of the old ones.
    Same(usize),
    Other(Vec<Rhs>),
}

impl<'a> Comparison<'a> {
    fn with(old: &'a dyn Map, entries: u64) -> Result<Self, StoreError> {
        let mut old = Groups::of(old);
        Ok(Comparison {
            before: old.next()?,
            old,
            after: None,
            few: Few::of(entries),
        })
    }

    /// Takes the next entry of the new map.
    fn take(&mut self, lhs: &[u8], place: u32, rhs: &[u8]) -> Result<Extent, StoreError> {
        if place == 0 {
            self.end_group()?;
            self.pass_to(Some(lhs))?;
        }
        let before = self
            .before
            .as_ref()
            .filter(|(old, _)| old.as_bytes() == lhs);
        let old = before.map_or(&[][..], |(_, values)| values);
        let after = self.after.get_or_insert_with(|| {
            let lhs = before.map_or_else(|| Lhs::from(lhs), |(lhs, _)| lhs.clone());
            (lhs, After::Same(0))
        });
        match &mut after.1 {
            After::Same(count) if old.get(*count).is_some_and(|v| v.as_bytes() == rhs) => {
                *count += 1;
            }
            After::Same(count) => {
                let mut values = old.get(..*count).unwrap_or_default().to_vec();
                values.push(Rhs::from(rhs));
                after.1 = After::Other(values);
            }
            After::Other(values) => values.push(Rhs::from(rhs)),
        }
        Ok(self.few.extent())
    }

    /// Compares the group in hand, now that it is whole.
    fn end_group(&mut self) -> Result<(), StoreError> {
        let Some((lhs, after)) = self.after.take() else {
            return Ok(());
        };
        let is_old = self.before.as_ref().is_some_and(|(old, _)| *old == lhs);
        let before = match is_old {
            true => std::mem::replace(&mut self.before, self.old.next()?),
            false => None,
        };
        let had = before.map_or_else(Vec::new, |(_, values)| values);
        match after {
            After::Same(count) if count == had.len() => {}
            After::Same(count) => {
                self.few.add(lhs, had.into_iter().take(count).collect());
            }
            After::Other(values) => {
                self.few.add(lhs, values);
            }
        }
        Ok(())
    }

    /// Notes that the old LHSs before this one, or all that are left, are gone.
    fn pass_to(&mut self, lhs: Option<&[u8]>) -> Result<(), StoreError> {
        while let Some((old, _)) = &self.before
            && lhs.is_none_or(|lhs| old.as_bytes() < lhs)
            && self.few.extent() == Extent::Small
        {
            let gone = std::mem::replace(&mut self.before, self.old.next()?);
            if let Some((old, _)) = gone {
                self.few.add(old, Vec::new());
            }
        }
        Ok(())
    }

    /// The changes, or `None`, when the new map has no more entries.
    fn end(mut self) -> Result<Option<Changes>, StoreError> {
        self.end_group()?;
        self.pass_to(None)?;
        Ok((self.few.extent() == Extent::Small).then_some(self.few.changes))
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
#[path = "changes_tests.rs"]
mod tests;
