//! Items too long for a page: a chain of overflow pages.

use super::fault::Fault;
use super::file::PageFile;
use super::page::PageType;
use super::seen::Seen;

/// Where such an item begins and how long it says it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overflow {
    pub(super) first: u32,
    pub(super) octets: u32,
    /// The page that says so, for errors.
    pub(super) claimed_on: u32,
}

impl Overflow {
    /// The whole item. The chain must give the claimed length exactly.
    pub(super) fn read(&self, file: &PageFile, seen: &mut Seen) -> Result<Vec<u8>, Fault> {
        let octets = self.claimed(file)?;
        let mut item = Vec::new();
        let mut chain = Chain::new(self.first);
        while item.len() < octets {
            if !chain.append_next(file, &mut item)? {
                return Err(Fault::damaged(
                    chain.previous,
                    format!(
                        "an overflow chain ends after {} of {octets} octets",
                        item.len()
                    ),
                ));
            }
            seen.visit(chain.previous)?;
        }
        if item.len() > octets || chain.next != 0 {
            return Err(Fault::damaged(
                chain.previous,
                format!("an overflow chain is longer than its item of {octets} octets"),
            ));
        }
        Ok(item)
    }

    /// At most `limit` octets from the beginning of the item.
    pub(super) fn prefix(&self, file: &PageFile, limit: usize) -> Result<Vec<u8>, Fault> {
        let limit = limit.min(self.claimed(file)?);
        let mut item = Vec::new();
        let mut chain = Chain::new(self.first);
        while item.len() < limit {
            if !chain.append_next(file, &mut item)? {
                return Err(Fault::damaged(
                    chain.previous,
                    "an overflow chain ends too early",
                ));
            }
        }
        item.truncate(limit);
        Ok(item)
    }

    fn claimed(&self, file: &PageFile) -> Result<usize, Fault> {
        if u64::from(self.octets) > file.octets() {
            return Err(Fault::damaged(
                self.claimed_on,
                format!("an item of {} octets is longer than the file", self.octets),
            ));
        }
        Ok(self.octets as usize)
    }
}

struct Chain {
    previous: u32,
    next: u32,
}

impl Chain {
    fn new(first: u32) -> Self {
        Chain {
            previous: 0,
            next: first,
        }
    }

    /// Appends the octets of the next page, at least one; false at the end of the chain.
    fn append_next(&mut self, file: &PageFile, item: &mut Vec<u8>) -> Result<bool, Fault> {
        if self.next == 0 {
            return Ok(false);
        }
        let page = file.page(self.next)?;
        if page.page_type()? != PageType::Overflow {
            return Err(page.damaged("an overflow chain leads to a page of another type"));
        }
        let previous = page.previous()?;
        if previous != self.previous {
            return Err(page.damaged(format!(
                "the overflow page before it is {}, not {previous}",
                self.previous
            )));
        }
        let used = usize::from(page.free_offset()?);
        match page.body().get(..used) {
            Some(octets) if used > 0 => item.extend_from_slice(octets),
            _ => return Err(page.damaged(format!("an overflow page of {used} octets"))),
        }
        self.previous = page.number();
        self.next = page.next()?;
        Ok(true)
    }
}
