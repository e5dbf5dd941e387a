//! The table of map classes: the words administrators write, and what each means.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::map::{MapClass, StoreError};
use crate::store::path::with_suffix;
use crate::store::shared::Connection;

/// One word for a kind of map, as `makemap TYPE` and `mapctl` take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassWord {
    /// The word.
    pub word: &'static str,
    /// The class of a new map.
    pub class: MapClass,
    /// What the file's name ends in.
    pub suffix: &'static str,
    /// Whether a map of another class may answer to the word.
    pub reads: Reads,
    /// Whether `makemap -l` lists it.
    pub listed: Listed,
    /// What stands in the file.
    pub holds: Holds,
}

/// Which maps answer to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Only those of the class.
    TheClass,
    /// Whatever stands under the name.
    Any,
}

/// Whether a word is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is a class of its own.
    Yes,
    /// It is an old name that keeps working.
    No,
}

/// What stands in the file of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The entries.
    Entries,
    /// Where the map is that hosts share: a connection file.
    Connection,
}

const fn row(word: &'static str, class: MapClass, suffix: &'static str) -> ClassWord {
    ClassWord {
        word,
        class,
        suffix,
        reads: Reads::TheClass,
        listed: Listed::Yes,
        holds: Holds::Entries,
    }
}

const fn shared(word: &'static str, class: MapClass, suffix: &'static str) -> ClassWord {
    ClassWord {
        reads: Reads::Any,
        holds: Holds::Connection,
        ..row(word, class, suffix)
    }
}

/// Every word, in the order in which `makemap -l` prints them.
pub const CLASSES: &[ClassWord] = &[
    row("hash", MapClass::Hash, ".db"),
    row("btree", MapClass::Btree, ".db"),
    row("cdb", MapClass::Cdb, ".cdb"),
    #[cfg(feature = "sled")]
    row("sled", MapClass::Sled, ".sled"),
    shared("pgsql", MapClass::Pgsql, ".pgsql"),
    shared("redis", MapClass::Redis, ".redis"),
    shared("ldap", MapClass::Ldap, ".ldap"),
    ClassWord {
        reads: Reads::Any,
        ..row("implicit", MapClass::Hash, ".db")
    },
    ClassWord {
        listed: Listed::No,
        ..row("dbm", MapClass::Hash, ".db")
    },
];

impl ClassWord {
    /// The row of a word; the words are in lower case, as makemap(8) wants them.
    #[must_use]
    pub fn find(word: &str) -> Option<&'static ClassWord> {
        CLASSES.iter().find(|row| row.word == word)
    }

    /// The file of a map of this kind: its name with the suffix.
    #[must_use]
    pub fn file(&self, name: &OsStr) -> PathBuf {
        with_suffix(name, self.suffix)
    }

    /// The connection file of a shared map of this kind, read; `None` of other kinds.
    ///
    /// # Errors
    /// As [`Connection::read`].
    pub fn connection(
        &self,
        name: &OsStr,
        root: Option<&Path>,
    ) -> Result<Option<Connection>, StoreError> {
        match self.holds {
            Holds::Entries => Ok(None),
            Holds::Connection => Connection::read(self.class, &self.file(name), root).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_name_their_files() {
        for (n, row) in CLASSES.iter().enumerate() {
            assert!(
                CLASSES
                    .iter()
                    .skip(n + 1)
                    .all(|other| other.word != row.word)
            );
        }
        let file =
            |word: &str, name: &str| ClassWord::find(word).map(|row| row.file(OsStr::new(name)));
        assert_eq!(file("hash", "access"), Some("access.db".into()));
        assert_eq!(file("cdb", "access"), Some("access.cdb".into()));
        assert_eq!(file("pgsql", "access"), Some("access.pgsql".into()));
        assert_eq!(file("HASH", "access"), None);
    }
}
