//! Which map a command line means: its type word, its name, and its file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use libmaps::map::{Map, MapClass, MapName, StoreError};
use libmaps::store::class::{ClassWord, Holds, Reads};
use libmaps::store::lock::wait_for_writers;
use libmaps::store::path::{Access, Safety, Shape, folder_warnings, open_checked};
use libmaps::store::shared::{Connection, Wish};
use libmaps::store::{self, Opened};

use crate::report::{complain, octets};
use crate::shared::Writer;

/// A map named on a command line.
#[derive(Clone, Debug)]
pub struct Target {
    /// The row of the type word.
    pub row: &'static ClassWord,
    /// The name as it was typed; messages show it.
    pub name: OsString,
    /// The file; of a shared map, its connection file, and once that was read, the replica.
    pub path: PathBuf,
    /// Of a shared map: its connection file, read.
    pub shared: Option<Connection>,
}

impl Target {
    /// The map of this type and name, or `None` for a type that is not known.
    #[must_use]
    pub fn new(word: &OsStr, name: &OsStr) -> Option<Self> {
        let row = ClassWord::find(word.to_str()?)?;
        Some(Target {
            row,
            name: name.to_owned(),
            path: row.file(name),
            shared: None,
        })
    }

    /// Reads the connection file of a shared map; other maps are as they are.
    ///
    /// # Errors
    /// As [`Connection::read`].
    pub fn resolved(mut self) -> Result<Self, StoreError> {
        if let Some(connection) = self.row.connection(&self.name, None)? {
            self.path.clone_from(&connection.replica);
            self.shared = Some(connection);
        }
        Ok(self)
    }

    /// The class of a new map: a replica is a hash map.
    #[must_use]
    pub fn new_class(&self) -> MapClass {
        match self.shared {
            Some(_) => MapClass::Hash,
            None => self.row.class,
        }
    }

    /// Waits for the right to write a shared map; `None` of a map of this host alone.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub fn writer(&self, wish: Wish) -> Result<Option<Writer>, StoreError> {
        let shared = self.shared.as_ref();
        shared.map(|c| Writer::begin(c, wish)).transpose()
    }

    /// The map's name as errors of the library show it.
    #[must_use]
    pub fn map_name(&self) -> MapName {
        MapName::new(self.row.class, &self.path)
    }

    /// Says what there is to say of the folders on the way to a map that could not be opened.
    pub fn warn_of_path(&self, safety: Safety, trusted: Option<u32>) {
        for warning in folder_warnings(&self.path, safety, trusted) {
            complain(&[warning.as_bytes()]);
        }
    }

    /// Opens the map for reading, after sendmail's checks of the path and after any other
    /// program that holds a lock on it.
    ///
    /// # Errors
    /// As [`store::open_any`], and [`StoreError::Foreign`] for a map of another class.
    pub fn open(&self, safety: Safety, trusted: Option<u32>) -> Result<Box<dyn Map>, StoreError> {
        Ok(self.opened(safety, trusted)?.into_map())
    }

    /// As [`Target::open`], with what is known of the map's kind.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub fn opened(&self, safety: Safety, trusted: Option<u32>) -> Result<Opened, StoreError> {
        let shape = Shape::of(self.row.class);
        let opened = open_checked(&self.path, shape, Access::Read, safety, trusted);
        let (checked, file) = opened.inspect_err(|_| self.warn_of_path(safety, trusted))?;
        for warning in &checked.warnings {
            complain(&[warning.as_bytes()]);
        }
        let Some(file) = file else {
            return Err(StoreError::Missing { path: checked.path });
        };
        wait_for_writers(&file, &self.path)?;
        let opened = store::open_file(file, &self.path, self.map_name())?;
        if self.row.reads == Reads::TheClass {
            opened.expect_class(self.row.class, &self.path)?;
        }
        Ok(opened)
    }
}

/// Type and name of a shared map that is named in one word, as in `pgsql:access`.
#[must_use]
pub fn split_shared(operand: &OsStr) -> Option<(OsString, OsString)> {
    let text = octets(operand);
    let colon = text.iter().position(|c| *c == b':')?;
    let (word, name) = text.split_at(colon);
    let row = ClassWord::find(std::str::from_utf8(word).ok()?)?;
    let name = OsStr::from_bytes(name.get(1..)?).to_owned();
    (row.holds == Holds::Connection).then(|| (row.word.into(), name))
}

/// Why there is no map of this type.
#[must_use]
pub fn unknown_type(word: &OsStr) -> &'static str {
    match word.eq_ignore_ascii_case("sled") {
        true => "these programs were built without sled",
        false => "Unknown database type",
    }
}

/// Why a map can't be opened. Of a shared one that is not there, the file that is missing is not
/// the one that was named.
#[must_use]
pub fn reason_of(error: &StoreError) -> String {
    match error {
        StoreError::Missing { path } if Connection::class_of(path).is_some() => format!(
            "{}: {} (the connection file, see mapremote(5))",
            path.display(),
            error.reason()
        ),
        _ => error.reason(),
    }
}

/// `PROGRAM: error opening type TYPE map NAME: REASON`, as the originals say it.
pub fn complain_of_opening(program: &str, word: &OsStr, name: &OsStr, reason: &str) {
    complain(&[
        program.as_bytes(),
        b": error opening type ",
        octets(word),
        b" map ",
        octets(name),
        b": ",
        reason.as_bytes(),
    ]);
}
