//! Stores: entries on disk, one file per class, and how they are published.

mod acl;
pub mod berkeley;
pub mod cdb;
pub mod class;
pub mod disk;
pub mod duplicate;
pub mod filter;
pub mod lock;
pub mod memory;
mod merge;
pub mod path;
pub mod publish;
pub mod redb;
mod residence;
pub mod shared;
#[cfg(feature = "sled")]
pub mod sled;
pub mod sniff;
pub mod socketmap;

pub use berkeley::BerkeleyMap;
pub use cdb::{CdbMap, CdbWriter};
pub use memory::MemoryMap;
pub use redb::RedbMap;
pub use residence::keep_maps_in_files;
#[cfg(feature = "sled")]
pub use sled::SledMap;
pub use sniff::{Format, SNIFF_OCTETS, sniff};
pub use socketmap::SocketMap;

use std::fs::File;
use std::path::Path;

pub use crate::map::Sink;
use crate::map::{KeyCase, Map, MapClass, MapName, StoreError};
use crate::opening;

/// An open map of a known kind.
#[derive(Debug)]
#[non_exhaustive]
pub enum Opened {
    /// A redb store, built as `hash` or `btree`.
    Redb(Box<RedbMap>),
    /// A Berkeley DB file: read only.
    Berkeley(BerkeleyMap),
    /// A constant database.
    Cdb(CdbMap),
    /// A map behind a socket: lookups only.
    Socket(Box<SocketMap>),
    /// A sled store.
    #[cfg(feature = "sled")]
    Sled(SledMap),
}

impl Opened {
    /// The map itself.
    #[must_use]
    pub fn into_map(self) -> Box<dyn Map> {
        match self {
            Opened::Redb(map) => map,
            Opened::Berkeley(map) => Box::new(map),
            Opened::Cdb(map) => Box::new(map),
            Opened::Socket(map) => map,
            #[cfg(feature = "sled")]
            Opened::Sled(map) => Box::new(map),
        }
    }

    /// Refuses a map of another class than the administrator said.
    ///
    /// # Errors
    /// [`StoreError::Foreign`].
    pub fn expect_class(&self, class: MapClass, path: &Path) -> Result<(), StoreError> {
        let found = self.class();
        if found == class {
            return Ok(());
        }
        Err(StoreError::Foreign {
            path: path.into(),
            why: format!("Invalid argument: a {found} map, not a {class} map"),
        })
    }

    /// Whether several values of one LHS may stand in it.
    #[must_use]
    pub fn keeps_duplicates(&self) -> bool {
        match self {
            Opened::Redb(map) => map.meta().duplicates == redb::Duplicates::Kept,
            Opened::Berkeley(map) => map.keeps_duplicates(),
            Opened::Cdb(_) => true,
            Opened::Socket(_) => false,
            #[cfg(feature = "sled")]
            Opened::Sled(_) => false,
        }
    }

    /// Whether the map says that it was built with this option of makemap(8), such as `-N`; no
    /// more than redb maps say such things.
    #[must_use]
    pub fn says(&self, option: &str) -> bool {
        match self {
            Opened::Redb(map) => map.meta().options.split(' ').any(|said| said == option),
            _ => false,
        }
    }

    /// In which letters its keys are asked for where nobody has said so: as it was built, folded
    /// unless it says that capitals were kept (`-f`).
    #[must_use]
    pub fn key_case(&self) -> KeyCase {
        match self.says("-f") {
            true => KeyCase::AsGiven,
            false => KeyCase::Folded,
        }
    }

    /// The class that the file itself says it has.
    #[must_use]
    pub fn class(&self) -> MapClass {
        match self {
            Opened::Redb(map) => map.meta().class,
            Opened::Berkeley(map) => map.class(),
            Opened::Cdb(_) => MapClass::Cdb,
            Opened::Socket(_) => MapClass::Socket,
            #[cfg(feature = "sled")]
            Opened::Sled(_) => MapClass::Sled,
        }
    }
}

/// Opens the map in the file at `path`, which is told by its first octets.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Foreign`] for a file that is no map, and whatever
/// keeps it from being read.
pub fn open(path: &Path) -> Result<Box<dyn Map>, StoreError> {
    // The class is what the file says; the name is made with it once it is known.
    Ok(open_any(path, MapName::new(MapClass::Hash, path))?.into_map())
}

/// As [`open`], under the name that the administrator used for it.
///
/// # Errors
/// As [`open`].
pub fn open_any(path: &Path, name: MapName) -> Result<Opened, StoreError> {
    open_file(open_for_reading(path)?, path, name)
}

/// Opens the map in `file`, which was found at `path`.
///
/// # Errors
/// As [`open`].
pub fn open_file(file: File, path: &Path, name: MapName) -> Result<Opened, StoreError> {
    let foreign = |why: &str| {
        Err(StoreError::Foreign {
            path: path.into(),
            why: format!("Invalid argument: {why}"),
        })
    };
    #[cfg(feature = "sled")]
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Ok(Opened::Sled(SledMap::open(path, name)?));
    }
    match sniff::sniff_file(&file, path)? {
        Format::Redb => Ok(Opened::Redb(Box::new(RedbMap::open(file, path, name)?))),
        Format::Berkeley => Ok(Opened::Berkeley(BerkeleyMap::from_file(file, path, name)?)),
        Format::Cdb => Ok(Opened::Cdb(CdbMap::from_file(file, path, name)?)),
        // A cdb has no magic: one that is damaged is known only by what it was asked for as.
        Format::Unknown if name.class == MapClass::Cdb => {
            Ok(Opened::Cdb(CdbMap::from_file(file, path, name)?))
        }
        Format::Empty => foreign("the file is empty, not a map"),
        Format::Unknown => foreign("not a map of any known format"),
    }
}

/// Opens a file for reading without being held up by a FIFO or caught by a device.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Unsafe`] for what is no regular file, and the
/// system's own errors.
pub fn open_for_reading(path: &Path) -> Result<File, StoreError> {
    let file = opening::file(path).map_err(|e| StoreError::io(path, "open", e))?;
    let metadata =
        disk::patiently(|| file.metadata()).map_err(|e| StoreError::io(path, "stat", e))?;
    let folder_map = cfg!(feature = "sled") && metadata.is_dir();
    if !metadata.is_file() && !folder_map {
        return Err(StoreError::Unsafe {
            path: path.into(),
            why: "Regular files only",
        });
    }
    Ok(file)
}
