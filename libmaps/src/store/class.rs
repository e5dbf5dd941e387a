//! The table of map classes: the words administrators write, and what each means.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::map::MapClass;
use crate::store::path::with_suffix;

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

const fn row(word: &'static str, class: MapClass, suffix: &'static str) -> ClassWord {
    ClassWord {
        word,
        class,
        suffix,
        reads: Reads::TheClass,
        listed: Listed::Yes,
    }
}

/// Every word, in the order in which `makemap -l` prints them.
pub const CLASSES: &[ClassWord] = &[
    row("hash", MapClass::Hash, ".db"),
    row("btree", MapClass::Btree, ".db"),
    row("cdb", MapClass::Cdb, ".cdb"),
    #[cfg(feature = "sled")]
    row("sled", MapClass::Sled, ".sled"),
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
        assert_eq!(file("HASH", "access"), None);
    }
}
