//! The pages of a file, read by position through a bounded cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::fault::Fault;
use super::layout;
use super::meta::{META_OCTETS, META_SUM_AT, Meta, Sums};
use super::page::{ByteOrder, Page};
use crate::store::disk::patiently;

/// The cache holds at most this many octets of pages.
const CACHE_OCTETS: usize = 2 << 20;
const HEADER_OCTETS: usize = 26;
/// The header of a page with a checksum: two octets of padding, then the sum.
const SUMMED_HEADER_OCTETS: usize = 32;
const SUM_AT: usize = 28;

/// An open Berkeley file as an array of pages.
///
/// A page is checked when it is read (its number, its checksum, that its items
/// fill it) and then kept in a direct-mapped cache of [`CACHE_OCTETS`], whatever
/// the file's length.
#[derive(Debug)]
pub(super) struct PageFile {
    file: File,
    order: ByteOrder,
    page_octets: usize,
    pages: u32,
    sums: Sums,
    cache: Mutex<Vec<Option<Page>>>,
}

impl PageFile {
    /// Takes an open file and reads its first page.
    pub(super) fn open(file: File) -> Result<(Self, Meta), Fault> {
        let length = patiently(|| file.metadata()).map_err(Fault::Io)?.len();
        let mut first = [0; META_OCTETS];
        let mut filled = 0;
        while let Some(rest) = first.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Io(error)),
            }
        }
        let first = first.get(..filled).unwrap_or_default();
        let meta = Meta::parse(first)?;
        if meta.sums == Sums::Present {
            check_sum(first, META_SUM_AT, meta.order)
                .ok_or_else(|| Fault::damaged(0, "the checksum does not match"))?;
        }
        let page_octets = u64::from(meta.page_octets);
        let pages = length / page_octets;
        if pages * page_octets != length || pages <= u64::from(meta.last_page) {
            return Err(Fault::damaged(
                meta.last_page,
                format!(
                    "the file has {length} octets; its last page, {}, ends at {}",
                    meta.last_page,
                    (u64::from(meta.last_page) + 1) * page_octets
                ),
            ));
        }
        let page_octets = meta.page_octets as usize;
        let slots = (CACHE_OCTETS / page_octets).min(usize::try_from(pages).unwrap_or(usize::MAX));
        let file = PageFile {
            file,
            order: meta.order,
            page_octets,
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
            sums: meta.sums,
            cache: Mutex::new(vec![None; slots]),
        };
        Ok((file, meta))
    }

    /// How many pages the file has, the first one included.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// The length of the file.
    pub(super) fn octets(&self) -> u64 {
        u64::from(self.pages) * self.page_octets as u64
    }

    /// Page `number`, which must bear that number and a right checksum.
    pub(super) fn page(&self, number: u32) -> Result<Page, Fault> {
        let page = self.page_or_hole(number)?;
        let own = page.own_number()?;
        if own != number {
            return Err(page.damaged(format!("the page bears the number {own}")));
        }
        Ok(page)
    }

    /// As [`PageFile::page`], but a page of zeros is given as it is: in a hash
    /// a bucket that was never written.
    pub(super) fn page_or_hole(&self, number: u32) -> Result<Page, Fault> {
        if number == 0 || number >= self.pages {
            return Err(Fault::damaged(
                number,
                format!("there is no such page; the file has {} pages", self.pages),
            ));
        }
        if let Some(page) = self.cached(number) {
            return Ok(page);
        }
        let page = self.read(number)?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = cache.len().max(1);
        if let Some(slot) = cache.get_mut(number as usize % slots) {
            *slot = Some(page.clone());
        }
        Ok(page)
    }

    /// Page `number` without a look at the cache, which stays as it is: for one pass over the file.
    pub(super) fn read(&self, number: u32) -> Result<Page, Fault> {
        let mut octets = vec![0; self.page_octets];
        let at = u64::from(number) * self.page_octets as u64;
        self.file
            .read_exact_at(&mut octets, at)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    Fault::damaged(number, "the file was cut while it was read")
                }
                _ => Fault::Io(error),
            })?;
        let header_octets = match self.sums {
            Sums::Absent => HEADER_OCTETS,
            Sums::Present => SUMMED_HEADER_OCTETS,
        };
        let page = Page::new(number, Arc::from(octets), self.order, header_octets);
        if self.sums == Sums::Present && !page.is_zeros() {
            check_sum(page.slice(0..page.size())?, SUM_AT, self.order)
                .ok_or_else(|| page.damaged("the checksum does not match"))?;
        }
        layout::check(&page)?;
        Ok(page)
    }

    fn cached(&self, number: u32) -> Option<Page> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(number as usize % cache.len().max(1))?
            .as_ref()
            .filter(|page| page.number() == number)
            .cloned()
    }
}

/// `Some` if the u32 at `at` is the sum of all octets, itself taken as zero:
/// for each octet, sum * 33 + octet.
fn check_sum(octets: &[u8], at: usize, order: ByteOrder) -> Option<()> {
    let stored = order.u32(octets, at)?;
    let add = |sum: u32, &octet: &u8| sum.wrapping_mul(33).wrapping_add(octet.into());
    let sum = octets.get(..at)?.iter().fold(0, add);
    let sum = [0_u8; 4].iter().fold(sum, add);
    let sum = octets.get(at + 4..)?.iter().fold(sum, add);
    (sum == stored).then_some(())
}
