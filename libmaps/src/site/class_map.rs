//! Words of classes from shared maps: read from the replicas on this host.

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Severity};
use super::load::Loaded;
use super::mc::FILE_OCTETS;
use super::model::shared_class::{ClassMap, Words};
use crate::map::{Map, MapClass, MapName, StoreError};
use crate::store;

/// The words of a replica, and the map itself, which keeps the file open.
///
/// # Errors
/// When it can't be read, or holds more than a class file may.
pub fn read(replica: &Path) -> Result<(Box<dyn Map>, Words), StoreError> {
    let opened = store::open_any(replica, MapName::new(MapClass::Ldap, replica))?;
    let map = opened.into_map();
    let (mut words, mut octets) = (Words::new(), 0);
    for entry in map.iter() {
        let word = entry?.lhs;
        octets += word.as_bytes().len() as u64;
        if octets > FILE_OCTETS {
            return Err(StoreError::Unsupported {
                path: replica.into(),
                why: format!("a class of more than {FILE_OCTETS} octets is not held in memory"),
            });
        }
        words.push(word.as_bytes().into());
    }
    Ok((map, words))
}

/// Fills the classes of a configuration that was read without their shared words.
pub fn fill(loaded: &mut Loaded) {
    if loaded.site.shared_classes.is_empty() {
        return;
    }
    let (mut words, mut faults) = (Vec::new(), Vec::new());
    for map in loaded.site.shared_classes.maps() {
        let found = map.replica(&loaded.site).and_then(|path| read(&path));
        match found {
            Ok((_, found)) => words.push(Some(Arc::new(found))),
            Err(error) => {
                words.push(None);
                faults.extend(fault(map, &error));
            }
        }
    }
    loaded.site.fill_classes(words);
    loaded.diagnostics.extend(faults);
}

/// What is told of a class whose words can't be had; one that is optional may be missing.
fn fault(map: &ClassMap, error: &StoreError) -> Option<Diagnostic> {
    let class = &map.class;
    let text = match error {
        StoreError::Missing { .. } if map.map.optional => return None,
        StoreError::Missing { path } => format!(
            "class {class}: its words were never fetched to this host ({} is missing): \
             mapctl follow --once fetches them",
            path.display()
        ),
        error => format!("class {class}: {error}"),
    };
    Some(Diagnostic::new(&map.place, Severity::Error, text))
}
