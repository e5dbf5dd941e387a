//! The tables of a site: the text of each and the map that was built from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::relay::{Blame, Relay};
use super::{Item, Kind, read_items};
use crate::decision::Traced;
use crate::map::{Entry, Map, StoreError};
use crate::policy::maps::{Handle, Maps, file_of, open_map};
use crate::site::model::{MapSpec, WHOLE_FILE};
use crate::site::{Diagnostic, Place, Severity, Site};
use crate::store::memory::MemoryMap;
use crate::store::shared::Connection;

/// One table.
pub(super) struct Table {
    pub(super) kind: Kind,
    pub(super) spec: MapSpec,
    /// Its text, below the root; none where there is no such file.
    pub(super) text: Option<PathBuf>,
    /// Its map, below the root; none for classes without one.
    pub(super) map: Option<PathBuf>,
}

/// All tables of a site.
pub(super) struct Sources {
    pub(super) files: Vec<Table>,
}

impl Sources {
    pub(super) fn of(site: &Site) -> Self {
        let features = &site.features;
        let tables = [
            (
                Kind::Access,
                features.access.as_ref().map(|access| &access.map),
            ),
            (Kind::Mailertable, features.mailertable.as_ref()),
            (Kind::Virtusertable, features.virtusertable.as_ref()),
            (Kind::Genericstable, features.genericstable.as_ref()),
            (Kind::Domaintable, features.domaintable.as_ref()),
        ];
        let tables = tables
            .into_iter()
            .filter_map(|(kind, spec)| Some((kind, spec?.clone())));
        let aliases = site.alias_files().into_iter();
        let aliases = aliases.map(|file| (Kind::Aliases, file.map));
        let files = tables.chain(aliases).map(|(kind, spec)| {
            // A FEATURE may name the map with its suffix; the text has none.
            let path = match spec.path.extension() {
                Some(suffix) if suffix == "db" => spec.path.with_extension(""),
                _ => spec.path.clone(),
            };
            let full = site.below(&path);
            // Nor is a connection file one.
            let is_file = Connection::class_of(&path).is_none()
                && std::fs::metadata(&full).is_ok_and(|facts| facts.is_file());
            Table {
                kind,
                text: is_file.then_some(full),
                map: file_of(site, &spec).map(|(_, path)| path),
                spec,
            }
        });
        Sources {
            files: files.collect(),
        }
    }

    /// The tables as they would be after a rebuild: from the text where there is one, else the map.
    pub(super) fn maps(&self, site: &Site) -> (Maps, Vec<Diagnostic>) {
        let mut maps = Maps::default();
        let mut faults = Vec::new();
        for table in &self.files {
            let opened = match table.kind {
                // Nobody's permission to relay depends on them.
                Kind::Aliases | Kind::Genericstable => continue,
                _ => table.open(site),
            };
            let handle = match opened {
                Ok(handle) => handle,
                Err(StoreError::Missing { .. }) => continue,
                Err(error) => {
                    let path = table.map.as_deref().unwrap_or(&table.spec.path);
                    let place = Place::new(path, 0);
                    faults.push(Diagnostic::new(&place, Severity::Error, error.to_string()));
                    continue;
                }
            };
            match table.kind {
                Kind::Access => maps.access = handle,
                Kind::Mailertable => maps.mailertable = handle,
                Kind::Virtusertable => maps.virtusertable = handle,
                _ => maps.domaintable = handle,
            }
        }
        (maps, faults)
    }

    /// The finding that a stranger may relay, at the line that lets him.
    pub(super) fn place_relay(&self, site: &Site, relay: &Relay) -> Diagnostic {
        let said = |what: &str| site.places.get(what).cloned();
        let by_feature = relay
            .features
            .first()
            .and_then(|name| said(&format!("FEATURE({name})")));
        let place = match &relay.blame {
            Blame::Entry { lhs, .. } => self.line_of(lhs),
            Blame::Class(_) => said("RELAY_DOMAIN"),
            Blame::Nothing => None,
        };
        let whole = || said(WHOLE_FILE);
        let place = place
            .or(by_feature)
            .or_else(whole)
            .unwrap_or_else(|| Place::new(Path::new(crate::site::load::DEFAULT_FILE), 0));
        Diagnostic::new(&place, relay.severity(), relay.to_string())
    }

    /// Where an entry of the access map stands in its text.
    fn line_of(&self, lhs: &[u8]) -> Option<Place> {
        let table = self.files.iter().find(|t| t.kind == Kind::Access)?;
        let text = table.text.as_ref()?;
        let line = table.items().ok()?.iter().find(|i| i.lhs == lhs)?.line;
        Some(Place::new(text.as_path(), line))
    }
}

impl Table {
    /// The entries of the text; none where there is no text.
    pub(super) fn items(&self) -> std::io::Result<Vec<Item>> {
        match &self.text {
            Some(path) => Ok(read_items(std::fs::File::open(path)?)?.0),
            None => Ok(Vec::new()),
        }
    }

    fn open(&self, site: &Site) -> Result<Option<Handle>, StoreError> {
        if self.text.is_none() {
            return open_map(site, &self.spec);
        }
        // A text that can't be read was reported when it was checked.
        let items = self.items().unwrap_or_default();
        let entries = items.into_iter().map(|item| Entry::new(item.lhs, item.rhs));
        let map: Arc<dyn Map> =
            Arc::new(MemoryMap::new(&self.spec.path.to_string_lossy(), entries));
        Ok(Some(Traced::new(map)))
    }
}
