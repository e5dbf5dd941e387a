//! Class hash: buckets, the two hash functions, and all pairs as stored.

use super::fault::Fault;
use super::file::PageFile;
use super::item::Item;
use super::meta::HashMeta;
use super::page::{Page, PageType};
use super::seen::Seen;
use super::values::Values;

/// What the check value of a file is the hash of, its NUL included.
const CHECK_KEY: &[u8] = b"%$sniglet^&\0";

/// The hash functions that Berkeley DB uses unless a program brings its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashFunction {
    /// FNV-1 with an offset of zero: the default since version 5 of the format.
    Fnv,
    /// h * 33 + octet: the default before that.
    Torek,
}

impl HashFunction {
    /// The function that a file was made with, if it is one of these.
    pub(super) fn of(meta: &HashMeta) -> Option<Self> {
        [HashFunction::Fnv, HashFunction::Torek]
            .into_iter()
            .find(|function| function.hash(CHECK_KEY) == meta.check_value)
    }

    fn hash(self, key: &[u8]) -> u32 {
        key.iter().fold(0_u32, |hash, &octet| match self {
            HashFunction::Fnv => hash.wrapping_mul(16_777_619) ^ u32::from(octet),
            HashFunction::Torek => hash.wrapping_mul(33).wrapping_add(octet.into()),
        })
    }
}

impl HashMeta {
    /// The bucket where a key is, if it is anywhere.
    fn bucket_of(&self, function: HashFunction, key: &[u8]) -> u32 {
        let hash = function.hash(key);
        match hash & self.high_mask {
            bucket if bucket > self.max_bucket => hash & self.low_mask,
            bucket => bucket,
        }
    }

    /// The first page of a bucket: each doubling of the table has a run of pages.
    fn page_of(&self, bucket: u32) -> Result<u32, Fault> {
        let doubling = (u32::BITS - bucket.leading_zeros()) as usize;
        self.spares
            .get(doubling)
            .and_then(|spare| spare.checked_add(bucket))
            .ok_or_else(|| Fault::damaged(0, format!("bucket {bucket} has no page")))
    }

    /// Whether a bucket may never have been written.
    ///
    /// The buckets of a new table are one run of pages, equal spares, and
    /// hold zeros until a key comes. Any later bucket is written by the split
    /// that makes it, and so is the bucket that was split.
    fn may_be_unwritten(&self, bucket: u32) -> bool {
        let first = self.spares.first();
        let doublings = self.spares.iter().take_while(|&spare| Some(spare) == first);
        let initial = 1_u64 << (doublings.count() - 1).min(32);
        u64::from(bucket) < initial && u64::from(bucket) + initial > u64::from(self.max_bucket)
    }
}

/// The values of `lhs`. Without a known hash function all buckets are searched.
pub(super) fn find(
    file: &PageFile,
    meta: &HashMeta,
    function: Option<HashFunction>,
    lhs: &[u8],
) -> Result<Option<Values>, Fault> {
    let mut walk = match function {
        Some(function) => {
            let bucket = meta.bucket_of(function, lhs);
            HashWalk::over(meta, None, bucket, bucket)
        }
        None => HashWalk::over(meta, None, 0, meta.max_bucket),
    };
    let mut seen = Seen::default();
    while let Some((key, value)) = walk.next_pair(file, &mut seen)? {
        if key.equals(file, lhs)? {
            return Ok(Some(Values::of(value)));
        }
    }
    Ok(None)
}

/// All pairs of a hash, bucket by bucket.
#[derive(Debug)]
pub(super) struct HashWalk {
    meta: HashMeta,
    function: Option<HashFunction>,
    /// The bucket to be entered next; None after the last.
    next_bucket: Option<u32>,
    last_bucket: u32,
    current: Option<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    bucket: u32,
    page: Page,
    next_index: usize,
}

impl HashWalk {
    pub(super) fn new(meta: &HashMeta, function: Option<HashFunction>) -> Self {
        HashWalk::over(meta, function, 0, meta.max_bucket)
    }

    fn over(meta: &HashMeta, function: Option<HashFunction>, first: u32, last: u32) -> Self {
        HashWalk {
            meta: meta.clone(),
            function,
            next_bucket: Some(first),
            last_bucket: last,
            current: None,
        }
    }

    /// The next key and its values. A key that stands in a bucket where no
    /// lookup would find it is an error.
    pub(super) fn next(
        &mut self,
        file: &PageFile,
        seen: &mut Seen,
    ) -> Result<Option<(Vec<u8>, Values)>, Fault> {
        let Some((key, value)) = self.next_pair(file, seen)? else {
            return Ok(None);
        };
        let key = key.read(file, seen)?;
        if let (Some(function), Some(place)) = (self.function, &self.current) {
            let right = self.meta.bucket_of(function, &key);
            if right != place.bucket {
                return Err(place.page.damaged(format!(
                    "a key of bucket {right} stands in bucket {}",
                    place.bucket
                )));
            }
        }
        Ok(Some((key, Values::of(value))))
    }

    fn next_pair(
        &mut self,
        file: &PageFile,
        seen: &mut Seen,
    ) -> Result<Option<(Item, Item)>, Fault> {
        loop {
            if let Some(place) = &mut self.current {
                let index = place.next_index;
                if index < place.page.entries()? {
                    place.next_index += 2;
                    let key = Item::on_hash(&place.page, index)?;
                    let value = Item::on_hash(&place.page, index + 1)?;
                    return Ok(Some((key, value)));
                }
                let next = place.page.next()?;
                if next != 0 {
                    let bucket = place.bucket;
                    let page = chained_page(file, next, &place.page)?;
                    seen.visit(next)?;
                    self.current = Some(Place {
                        bucket,
                        page,
                        next_index: 0,
                    });
                    continue;
                }
                self.current = None;
            }
            let Some(bucket) = self.next_bucket else {
                return Ok(None);
            };
            self.next_bucket = (bucket < self.last_bucket).then(|| bucket + 1);
            let number = self.meta.page_of(bucket)?;
            if let Some(page) = self.first_page(file, bucket, number)? {
                self.current = Some(Place {
                    bucket,
                    page,
                    next_index: 0,
                });
            }
            seen.visit(number)?;
        }
    }

    /// The first page of a bucket; None for one that was never written.
    fn first_page(&self, file: &PageFile, bucket: u32, number: u32) -> Result<Option<Page>, Fault> {
        let page = file.page_or_hole(number)?;
        if page.is_zeros() {
            if self.meta.may_be_unwritten(bucket) {
                return Ok(None);
            }
            return Err(page.damaged(format!("bucket {bucket} was overwritten with zeros")));
        }
        let page = file.page(number)?;
        check_hash_page(&page, 0)?;
        Ok(Some(page))
    }
}

fn chained_page(file: &PageFile, number: u32, before: &Page) -> Result<Page, Fault> {
    if number >= file.pages() {
        return Err(before.damaged(format!(
            "its bucket goes on at page {number}, and the file has {} pages",
            file.pages()
        )));
    }
    let page = file.page(number)?;
    check_hash_page(&page, before.number())?;
    Ok(page)
}

fn check_hash_page(page: &Page, before: u32) -> Result<(), Fault> {
    if page.page_type()? != PageType::Hash {
        return Err(page.damaged("a bucket leads to a page of another type"));
    }
    let previous = page.previous()?;
    if previous != before {
        return Err(page.damaged(format!(
            "the page before it in its bucket is {before}, not {previous}"
        )));
    }
    if page.entries()?.is_multiple_of(2) {
        Ok(())
    } else {
        Err(page.damaged("an odd number of entries: a key without a value"))
    }
}
