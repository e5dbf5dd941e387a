//! Entries of one LHS in a cdb that is being written.
//!
//! The records stand in the file in the order they came, so nothing is sorted:
//! when the hash tables are about to be laid out, those of one table are looked
//! through for records of equal hashes, and only these are read back and
//! compared. Where entries go, the records behind them move up.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::writer::{Slot, table_of};
use super::{HEADER_OCTETS, PAIR_OCTETS, pair};
use crate::store::disk::DiskFile;
use crate::store::duplicate::{DuplicateHeap, Keep, OLD_ENTRY};

/// What moves at once when records go.
const WINDOW_OCTETS: usize = 256 << 10;

/// Stands in [`Seen`] for nothing.
const NONE: u32 = u32::MAX;

/// The entries that are not kept.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where their records begin.
    pub(super) dropped: Vec<u32>,
    /// Those that are an error, or would be.
    pub(super) duplicates: DuplicateHeap,
}

/// Looks for entries of one LHS among `slots`, which come table by table.
pub(super) fn find(file: &File, slots: &[Slot], keep: Keep) -> io::Result<Found> {
    let mut found = Found::default();
    if keep == Keep::All {
        return Ok(found);
    }
    let mut seen = Seen::default();
    for own in slots.chunk_by(|a, b| table_of(a) == table_of(b)) {
        seen.look_through(file, own, keep, &mut found)?;
    }
    found.dropped.sort_unstable();
    Ok(found)
}

/// The LHSs of one table by their hashes: a table of the slots' numbers.
#[derive(Debug, Default)]
struct Seen {
    numbers: Vec<u32>,
}

impl Seen {
    fn look_through(
        &mut self,
        file: &File,
        own: &[Slot],
        keep: Keep,
        found: &mut Found,
    ) -> io::Result<()> {
        self.numbers.clear();
        self.numbers
            .resize((own.len() * 2).next_power_of_two(), NONE);
        for (number, slot) in own.iter().enumerate() {
            let Some((place, earlier)) = self.place_of(file, own, slot)? else {
                continue;
            };
            let Some(earlier) = earlier else {
                // A cdb has room for fewer than 2^32 records.
                *place = number as u32;
                continue;
            };
            let line = u64::from(slot.line);
            if line != OLD_ENTRY {
                let lhs = read_lhs(file, slot.position)?;
                found.duplicates.push(line, &lhs);
            }
            if keep == Keep::Last {
                found.dropped.push(earlier.position);
                *place = number as u32;
            } else if line != OLD_ENTRY {
                found.dropped.push(slot.position);
            }
        }
        Ok(())
    }

    /// The place for the LHS of `slot`, and the entry of the same LHS that has it already.
    fn place_of<'a>(
        &mut self,
        file: &File,
        own: &'a [Slot],
        slot: &Slot,
    ) -> io::Result<Option<(&mut u32, Option<&'a Slot>)>> {
        let mask = self.numbers.len().wrapping_sub(1);
        let mut at = slot.check as usize & mask;
        // Half of the places are free, so one is found.
        let earlier = loop {
            let number = self.numbers.get(at).copied().unwrap_or(NONE);
            let Some(there) = own.get(number as usize) else {
                break None;
            };
            let perhaps = (there.hash, there.check) == (slot.hash, slot.check);
            if perhaps && same_lhs(file, there.position, slot.position)? {
                break Some(there);
            }
            at = (at + 1) & mask;
        };
        Ok(self.numbers.get_mut(at).map(|place| (place, earlier)))
    }
}

fn same_lhs(file: &File, one: u32, other: u32) -> io::Result<bool> {
    Ok(read_lhs(file, one)? == read_lhs(file, other)?)
}

fn read_lhs(file: &File, position: u32) -> io::Result<Vec<u8>> {
    let (lhs_octets, _) = read_lengths(file, position)?;
    let mut lhs = vec![0; lhs_octets as usize];
    file.read_exact_at(&mut lhs, u64::from(position) + PAIR_OCTETS as u64)?;
    Ok(lhs)
}

fn read_lengths(file: &File, position: u32) -> io::Result<(u32, u32)> {
    let mut lengths = [0; PAIR_OCTETS];
    file.read_exact_at(&mut lengths, position.into())?;
    pair(&lengths).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Takes the records at `dropped`, which is sorted, out of the file and the slots, and gives
/// the new end of the records; `end` is the old one.
pub(super) fn close_up(
    file: &DiskFile,
    dropped: &[u32],
    slots: &mut Vec<Slot>,
    end: u32,
) -> io::Result<u32> {
    // Where each gap begins, and how many octets are gone up to its end.
    let mut gaps = Vec::with_capacity(dropped.len());
    let (mut gone, mut kept_to) = (0_u32, HEADER_OCTETS as u32);
    for &start in dropped {
        let (lhs_octets, rhs_octets) = read_lengths(file.file(), start)?;
        let record = PAIR_OCTETS as u32 + lhs_octets + rhs_octets;
        shift(file, kept_to, start, gone)?;
        gone += record;
        kept_to = start + record;
        gaps.push((start, gone));
    }
    shift(file, kept_to, end, gone)?;
    slots.retain_mut(|slot| {
        let before = gaps.partition_point(|(start, _)| *start <= slot.position);
        match before.checked_sub(1).and_then(|last| gaps.get(last)) {
            Some((start, _)) if *start == slot.position => return false,
            Some((_, gone)) => slot.position -= gone,
            None => {}
        }
        true
    });
    file.set_len((end - gone).into())?;
    Ok(end - gone)
}

/// Moves the octets between two positions up by `by`.
fn shift(file: &DiskFile, from: u32, to: u32, by: u32) -> io::Result<()> {
    let mut window = vec![0; WINDOW_OCTETS.min((to - from) as usize)];
    let mut at = from;
    while at < to && by > 0 {
        let len = window.len().min((to - at) as usize);
        let part = window.get_mut(..len).unwrap_or_default();
        file.file().read_exact_at(part, at.into())?;
        file.write_all_at(part, (at - by).into())?;
        at += len as u32;
    }
    Ok(())
}
