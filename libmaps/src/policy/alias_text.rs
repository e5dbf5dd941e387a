//! Alias files that newaliases has not built a map of.
//!
//! An absent alias would let nobody in where the text holds him, so a text without its map is not
//! passed over. Of a file that the site names without a class (`implicit`) the text itself is
//! read, as sendmail does, and read again when it was changed. With a class the map must be there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::build::alias_text;
use crate::decision::Traced;
use crate::map::{Map, StoreError};
use crate::opening::Seen;
use crate::policy::flagged_map::MapFlags;
use crate::policy::maps::{Handle, file_of};
use crate::site::Site;
use crate::site::alias_files::{AliasSite, SpecFault};
use crate::site::model::MapSpec;
use crate::store;

/// The text of an alias file, below the site's root; `None` for classes that are built of no text
/// of that name here.
#[must_use]
pub fn text_of(site: &Site, spec: &MapSpec) -> Option<PathBuf> {
    let built = ["hash", "btree", "dbm", "cdb", "implicit"];
    built
        .contains(&spec.class.as_str())
        .then(|| site.below(&spec.path))
}

/// An alias file that stands in for its map while that is missing.
pub(super) struct AliasText {
    text: PathBuf,
    map: PathBuf,
    way: Way,
    current: Mutex<Option<(Seen, Handle)>>,
    /// One that is too large, and why: it is not read again until it is another.
    refused: Mutex<Option<(Seen, String)>>,
}

/// What is done with a text that has no map.
enum Way {
    /// It is read.
    Read(Box<Reading>),
    /// Its map is needed.
    Build,
}

/// How a text is read.
struct Reading {
    rules: AliasSite,
    flags: MapFlags,
}

impl AliasText {
    /// The text of this alias file; `None` where nothing is built of one, or the map may be missing
    /// (`-o`).
    ///
    /// # Errors
    /// When the site's alias files make no sense.
    pub(super) fn of(site: &Site, spec: &MapSpec) -> Result<Option<Self>, StoreError> {
        let (Some(text), Some((_, map))) = (text_of(site, spec), file_of(site, spec)) else {
            return Ok(None);
        };
        let way = match spec.class.as_str() {
            "implicit" => Way::Read(Box::new(Reading {
                rules: AliasSite::rules_of(site).map_err(|SpecFault(why)| {
                    StoreError::Unsupported {
                        path: text.clone(),
                        why,
                    }
                })?,
                flags: MapFlags::of(spec),
            })),
            _ if spec.optional => return Ok(None),
            _ => Way::Build,
        };
        Ok(Some(AliasText {
            text,
            map,
            way,
            current: Mutex::new(None),
            refused: Mutex::new(None),
        }))
    }

    /// Reads the text if it is there and is not the one that was read.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`] where the map is needed; a text that can't be read, or was there
    /// before: what was read of it stays.
    pub(super) fn refresh(&self) -> Result<(), StoreError> {
        let Way::Read(reading) = &self.way else {
            return match store::open_for_reading(&self.text) {
                Err(StoreError::Missing { .. }) => Ok(()),
                _ => Err(StoreError::NotBuilt {
                    path: self.map.clone(),
                    text: self.text.clone(),
                }),
            };
        };
        let file = match reading.rules.open_text(&self.text) {
            Err(StoreError::Missing { .. }) if self.current().is_none() => return Ok(()),
            opened => opened?,
        };
        let facts = file
            .metadata()
            .map_err(|error| StoreError::io(&self.text, "stat", error))?;
        let seen = Seen::in_(&facts);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(known, _)| *known == seen) {
            return Ok(());
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, why)) = refused.as_ref().filter(|(known, _)| *known == seen) {
            let (path, why) = (self.text.clone(), why.clone());
            return Err(StoreError::TooLarge { path, why });
        }
        let read = alias_text::read(file, &self.text, &reading.rules.grammar);
        *refused = match &read {
            Err(StoreError::TooLarge { why, .. }) => Some((seen, why.clone())),
            _ => None,
        };
        let map: Arc<dyn Map> = Arc::new(read?);
        *current = Some((seen, Traced::new(reading.flags.over_bare(map))));
        Ok(())
    }

    /// What was read.
    pub(super) fn current(&self) -> Option<Handle> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(_, handle)| handle.clone())
    }

    /// Forgets what was read, as there is a map now.
    pub(super) fn forget(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The text itself.
    pub(super) fn path(&self) -> &Path {
        &self.text
    }
}
