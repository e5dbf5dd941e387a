//! Berkeley DB files, read without libdb: hash versions 8 to 10 and btree
//! versions 9 and 10, either byte order, every page size, overflow items,
//! duplicates on their page and in trees of their own, pages with checksums.
//!
//! Nothing is ever written. Keys and values are given as stored: makemap's
//! `-N`, newaliases, postmap and postalias end both in a NUL, which is part of
//! them here.
//!
//! A lookup goes straight to the bucket or the leaf. A hash file of a program
//! that brought its own hash function is known by the check value in its first
//! page; there each lookup searches all buckets.
//!
//! A file may be hostile. Pages are read by position through a cache of fixed
//! size; no length in the file is believed beyond the file's own; a traversal
//! visits each page at most once. An error names the page.

mod btree;
mod entries;
mod fault;
mod file;
mod hash;
mod item;
mod layout;
mod meta;
mod overflow;
mod page;
mod seen;
mod tree;
mod values;

use std::fs::File;
use std::path::Path;

use crate::map::{Entries, Map, MapClass, MapName, StoreError};
use crate::rhs::Rhs;
use crate::store::open_for_reading;

use entries::BerkeleyEntries;
use fault::Fault;
use file::PageFile;
use hash::HashFunction;
use meta::{Duplicates, Kind};
use seen::Seen;
use values::Values;

pub(in crate::store) use meta::is_berkeley;

/// An open Berkeley DB file.
///
/// ```no_run
/// # fn main() -> Result<(), libmaps::map::StoreError> {
/// use libmaps::map::{Map, MapClass, MapName};
/// use libmaps::store::BerkeleyMap;
///
/// let path = std::path::Path::new("/etc/mail/access.db");
/// let map = BerkeleyMap::open(path, MapName::new(MapClass::Hash, "/etc/mail/access"))?;
/// println!("class {}, {} entries", map.class(), map.iter().count());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BerkeleyMap {
    name: MapName,
    path: std::path::PathBuf,
    file: PageFile,
    kind: Kind,
    function: Option<HashFunction>,
}

impl BerkeleyMap {
    /// Opens the file at `path`; `name` is what the administrator wrote.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`]: no Berkeley DB file, or one of a kind that
    /// is not a map (record numbers, queues, several named databases), or
    /// encrypted, or of an unknown version. [`StoreError::Corrupt`]: the first
    /// page is damaged or the file shorter than it says.
    pub fn open(path: &Path, name: MapName) -> Result<Self, StoreError> {
        BerkeleyMap::from_file(open_for_reading(path)?, path, name)
    }

    /// As [`BerkeleyMap::open`], for a file that is open already.
    ///
    /// # Errors
    /// As [`BerkeleyMap::open`].
    pub fn from_file(file: File, path: &Path, name: MapName) -> Result<Self, StoreError> {
        let (file, meta) = PageFile::open(file).map_err(|fault| fault.at(path))?;
        let function = match &meta.kind {
            Kind::Hash(hash) => HashFunction::of(hash),
            Kind::Btree(_) => None,
        };
        Ok(BerkeleyMap {
            name,
            path: path.into(),
            file,
            kind: meta.kind,
            function,
        })
    }

    /// The class of the file itself, whatever its name says: hash or btree.
    #[must_use]
    pub fn class(&self) -> MapClass {
        match self.kind {
            Kind::Hash(_) => MapClass::Hash,
            Kind::Btree(_) => MapClass::Btree,
        }
    }

    /// Whether the file may hold several values of one key.
    #[must_use]
    pub fn keeps_duplicates(&self) -> bool {
        let duplicates = match &self.kind {
            Kind::Hash(meta) => meta.duplicates,
            Kind::Btree(meta) => meta.duplicates,
        };
        duplicates != Duplicates::Refused
    }

    fn find(&self, lhs: &[u8]) -> Result<Vec<Values>, Fault> {
        match &self.kind {
            Kind::Hash(meta) => Ok(hash::find(&self.file, meta, self.function, lhs)?
                .into_iter()
                .collect()),
            Kind::Btree(meta) => btree::find(&self.file, meta, lhs),
        }
    }

    fn first_value(&self, lhs: &[u8]) -> Result<Option<Rhs>, Fault> {
        for mut values in self.find(lhs)? {
            if let Some(value) = values.next(&self.file, &mut Seen::default())? {
                return Ok(Some(value.into()));
            }
        }
        Ok(None)
    }

    fn every_value(&self, lhs: &[u8]) -> Result<Vec<Rhs>, Fault> {
        let mut seen = Seen::default();
        let mut found = Vec::new();
        for mut values in self.find(lhs)? {
            while let Some(value) = values.next(&self.file, &mut seen)? {
                found.push(value.into());
            }
        }
        Ok(found)
    }
}

impl Map for BerkeleyMap {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        self.first_value(lhs).map_err(|fault| fault.at(&self.path))
    }

    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        self.every_value(lhs).map_err(|fault| fault.at(&self.path))
    }

    /// A btree's entries come in LHS order, a hash's as stored. A damaged file
    /// yields what stands before the damage, then one error, then nothing.
    fn iter(&self) -> Entries<'_> {
        Box::new(BerkeleyEntries::new(self))
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}
