//! A map that is there and can't be read.

use std::io;

use crate::map::{Entries, Map, MapName, StoreError};
use crate::rhs::Rhs;

/// Stands in for a map that never could be opened: every question fails, for now. An absent map
/// would let those in whom its entries keep out.
#[derive(Debug)]
pub(super) struct BrokenMap {
    name: MapName,
    why: String,
}

impl BrokenMap {
    /// The map of this name, which this error kept from being opened.
    pub(super) fn new(name: MapName, error: &StoreError) -> Self {
        BrokenMap {
            name,
            why: error.to_string(),
        }
    }

    fn error(&self) -> StoreError {
        StoreError::Io {
            path: self.name.path.clone(),
            action: "open",
            source: io::Error::other(self.why.clone()),
        }
    }
}

impl Map for BrokenMap {
    fn get(&self, _: &[u8]) -> Result<Option<Rhs>, StoreError> {
        Err(self.error())
    }

    fn iter(&self) -> Entries<'_> {
        Box::new(std::iter::once(Err(self.error())))
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}
