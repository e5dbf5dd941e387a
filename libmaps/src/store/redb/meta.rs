//! What a redb map says of itself: its table `meta`.

use std::path::Path;
use std::str::FromStr;

use redb::{ReadOnlyTable, Table};

use super::{Octets, from_redb};
use crate::map::{MapClass, StoreError};
use crate::store::shared::Origin;

/// The format number that this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// The row of the table `filter` that holds the filter; in maps of before there was that table,
/// one of `meta`, which made each opening read it.
pub(super) const FILTER_KEY: &str = "filter";

/// Whether a map holds several values of one LHS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// One value an LHS.
    None,
    /// Built with `-d`: all values, in the order of the source.
    Kept,
}

/// What a redb map says of itself.
///
/// Each field is a text under its name in the table `meta`: `format`, `class`,
/// `duplicates` (`none`, `kept`), `entries`, `options`, `source` (the XXH3-128
/// digest of the source, 32 hexadecimal digits), `origin` (of a replica) and `program`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `hash` or `btree`: the word it was built with.
    pub class: MapClass,
    /// Whether it holds several values of one LHS.
    pub duplicates: Duplicates,
    /// How many entries it holds.
    pub entries: u64,
    /// The options it was built with, as on a command line; may be empty.
    pub options: String,
    /// The digest of the source it was built from; `None` after an edit.
    pub source: Option<String>,
    /// The program that built it, and its version.
    pub program: String,
    /// Of a replica of a shared map: which generation it holds. An edit of the file forgets it.
    pub origin: Option<Origin>,
}

impl Meta {
    pub(super) fn read(
        table: &ReadOnlyTable<&'static str, Octets>,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let text = |key: &str| -> Result<Option<String>, StoreError> {
            let value = table.get(key).map_err(|e| from_redb(path, e))?;
            Ok(value.map(|v| String::from_utf8_lossy(v.value()).into_owned()))
        };
        let damaged = |why: String| StoreError::Corrupt {
            path: path.into(),
            page: None,
            why,
        };
        let format = number::<u32>(text("format")?)
            .ok_or_else(|| damaged("its format number is missing".into()))?;
        if format != FORMAT {
            return Err(StoreError::Unsupported {
                path: path.into(),
                why: format!("map format {format}; this program reads format {FORMAT}"),
            });
        }
        let class = match text("class")?.as_deref() {
            Some("hash") => MapClass::Hash,
            Some("btree") => MapClass::Btree,
            other => return Err(damaged(format!("its class is {other:?}"))),
        };
        let duplicates = match text("duplicates")?.as_deref() {
            Some("none") => Duplicates::None,
            Some("kept") => Duplicates::Kept,
            other => return Err(damaged(format!("its duplicates are {other:?}"))),
        };
        let entries = number(text("entries")?)
            .ok_or_else(|| damaged("its number of entries is missing".into()))?;
        Ok(Meta {
            class,
            duplicates,
            entries,
            options: text("options")?.unwrap_or_default(),
            source: text("source")?,
            program: text("program")?.unwrap_or_default(),
            origin: text("origin")?.as_deref().and_then(Origin::parse),
        })
    }

    pub(super) fn write(
        &self,
        table: &mut Table<'_, &'static str, Octets>,
        path: &Path,
    ) -> Result<(), StoreError> {
        let duplicates = match self.duplicates {
            Duplicates::None => "none",
            Duplicates::Kept => "kept",
        };
        let texts = [
            ("format", FORMAT.to_string()),
            ("class", self.class.to_string()),
            ("duplicates", duplicates.to_string()),
            ("entries", self.entries.to_string()),
            ("options", self.options.clone()),
            ("program", self.program.clone()),
        ];
        for (key, text) in &texts {
            table
                .insert(*key, text.as_bytes())
                .map_err(|e| from_redb(path, e))?;
        }
        match &self.source {
            Some(digest) => table.insert("source", digest.as_bytes()),
            None => table.remove("source"),
        }
        .map_err(|e| from_redb(path, e))?;
        match &self.origin {
            Some(origin) => table.insert("origin", origin.to_string().as_bytes()),
            None => table.remove("origin"),
        }
        .map_err(|e| from_redb(path, e))?;
        Ok(())
    }
}

fn number<T: FromStr>(text: Option<String>) -> Option<T> {
    text?.parse().ok()
}
