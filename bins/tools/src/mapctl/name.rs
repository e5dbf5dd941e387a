//! Map names as mapctl takes them: `class:path`, or a path alone.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libmaps::map::{Map, MapName, StoreError};
use libmaps::store::class::{ClassWord, Reads};
use libmaps::store::lock::wait_for_writers;
use libmaps::store::{self, Opened};
use libmaps::sysexits::SysExit;

use super::Failure;

/// A map as it was named: a class word, if there was one, and a file.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) row: Option<&'static ClassWord>,
    /// The name without the class.
    pub(crate) name: OsString,
    /// The file: the name with the class's suffix, unless there is only one without it.
    pub(crate) path: PathBuf,
}

impl Named {
    /// Takes `class:path` or a path apart.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, Failure> {
        let octets = text.as_bytes();
        let colon = octets.iter().position(|b| *b == b':');
        let before = colon.and_then(|at| octets.get(..at));
        let (row, name) = match (before, colon) {
            (Some(word), Some(at)) if !word.contains(&b'/') => {
                let word = String::from_utf8_lossy(word);
                let row = ClassWord::find(&word).ok_or_else(|| {
                    let text = format!("{word}: no class of maps; see makemap -l");
                    Failure::Other(SysExit::Usage, text)
                })?;
                let name = octets.get(at + 1..).unwrap_or_default();
                (Some(row), OsString::from_vec(name.to_vec()))
            }
            _ => (None, text.to_owned()),
        };
        let bare = PathBuf::from(&name);
        let row_or_hash = row.or_else(|| ClassWord::find("hash"));
        let full = row_or_hash.map_or_else(|| bare.clone(), |row| row.file(&name));
        // `hash:access` beside its source is access.db; `hash:sasldb2` is sasldb2 itself.
        let path = match !full.exists() && bare.is_file() {
            true => bare,
            false => full,
        };
        Ok(Named { row, name, path })
    }

    /// Opens the map for reading; the class must be the one that was named, if one was.
    pub(crate) fn open(&self) -> Result<Opened, StoreError> {
        let class = self
            .row
            .map_or(libmaps::map::MapClass::Hash, |row| row.class);
        let file = store::open_for_reading(&self.path)?;
        wait_for_writers(&file, &self.path)?;
        let opened = store::open_file(file, &self.path, MapName::new(class, &self.path))?;
        if let Some(row) = self.row
            && row.reads == Reads::TheClass
        {
            opened.expect_class(row.class, &self.path)?;
        }
        Ok(opened)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// All values of a key, as it stands, or as an alias map stores it, with a NUL at its end.
pub(crate) fn values(map: &dyn Map, key: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = map.get_all(key)?;
    if found.is_empty() {
        found = map.get_all(&[key, b"\0"].concat())?;
    }
    let values = found.into_iter().map(|rhs| {
        let octets = rhs.as_bytes();
        octets.strip_suffix(b"\0").unwrap_or(octets).to_vec()
    });
    Ok(values.collect())
}
