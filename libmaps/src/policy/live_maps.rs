//! The site's maps, live: a snapshot for each transaction or request.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::decision::Traced;
use crate::live::{Live, Refresh};
use crate::map::{Map, MapName, StoreError};
use crate::policy::alias_text::AliasText;
use crate::policy::broken_map::BrokenMap;
use crate::policy::flagged_map::MapFlags;
use crate::policy::maps::{Handle, Maps, check_connection, file_of, remote_of};
use crate::site::model::{MapSpec, Site};
use crate::store::SocketMap;

/// How a map behind a socket is asked; a program that must not wait wraps it.
pub type Remote<'a> = &'a dyn Fn(SocketMap) -> Arc<dyn Map>;

/// Asks a map behind a socket on the spot.
#[must_use]
pub fn at_once(map: SocketMap) -> Arc<dyn Map> {
    Arc::new(map)
}

/// The maps of a site.
pub struct LiveMaps {
    access: Option<LiveMap>,
    authinfo: Option<LiveMap>,
    mailertable: Option<LiveMap>,
    virtusertable: Option<LiveMap>,
    genericstable: Option<LiveMap>,
    domaintable: Option<LiveMap>,
    aliases: Vec<LiveMap>,
}

impl LiveMaps {
    /// Opens every map of the site. An alias file may be missing with its map; of one without a
    /// map see [`alias_text`](crate::policy::alias_text).
    ///
    /// # Errors
    /// When a map that is not optional can't be opened.
    pub fn open(site: &Site, remote: Remote<'_>) -> Result<Self, StoreError> {
        // A host without aliases still takes mail for its users.
        let maps = LiveMaps::start(site, remote, Absence::Allowed)?;
        for map in maps.all() {
            map.refresh()?;
        }
        Ok(maps)
    }

    /// Watches every map of the site, without looking whether they can be opened. Those that are
    /// not optional are broken while they are missing, alias files among them.
    ///
    /// # Errors
    /// When the site names a map in a way that can't be.
    pub fn watch(site: &Site, remote: Remote<'_>) -> Result<Self, StoreError> {
        LiveMaps::start(site, remote, Absence::AsConfigured)
    }

    fn start(site: &Site, remote: Remote<'_>, of_aliases: Absence) -> Result<Self, StoreError> {
        let features = &site.features;
        let start = |spec: Option<&MapSpec>| match spec {
            Some(spec) => LiveMap::of(site, spec, remote),
            None => Ok(None),
        };
        let mut aliases = Vec::new();
        for file in site.alias_files() {
            aliases.extend(LiveMap::aliases(site, &file.map, remote, of_aliases)?);
        }
        Ok(LiveMaps {
            access: start(features.access.as_ref().map(|access| &access.map))?,
            authinfo: start(features.authinfo.as_ref())?,
            mailertable: start(features.mailertable.as_ref())?,
            virtusertable: start(features.virtusertable.as_ref())?,
            genericstable: start(features.genericstable.as_ref())?,
            domaintable: start(features.domaintable.as_ref())?,
            aliases,
        })
    }

    /// The alias files that are read as they stand, since nobody has built a map of them.
    pub fn texts(&self) -> impl Iterator<Item = PathBuf> {
        self.aliases.iter().filter_map(LiveMap::text)
    }

    fn all(&self) -> impl Iterator<Item = &LiveMap> {
        let tables = [
            &self.access,
            &self.authinfo,
            &self.mailertable,
            &self.virtusertable,
            &self.genericstable,
            &self.domaintable,
        ];
        tables.into_iter().flatten().chain(&self.aliases)
    }

    /// Looks for newer maps, and takes a snapshot. A map that can't be read keeps its
    /// last good content; without any, each question to it is an error. Each such error is handed
    /// to `report`.
    pub fn snapshot(&self, mut report: impl FnMut(&StoreError)) -> Maps {
        let mut take = |map: &LiveMap| {
            let fresh = map.refresh();
            if let Err(error) = &fresh {
                report(error);
            }
            match (map.handle(), fresh) {
                (None, Err(error)) => Some(Traced::new(map.broken(&error))),
                (current, _) => current,
            }
        };
        let mut table = |map: &Option<LiveMap>| map.as_ref().and_then(&mut take);
        Maps {
            access: table(&self.access),
            authinfo: table(&self.authinfo),
            mailertable: table(&self.mailertable),
            virtusertable: table(&self.virtusertable),
            genericstable: table(&self.genericstable),
            domaintable: table(&self.domaintable),
            aliases: self.aliases.iter().filter_map(&mut take).collect(),
        }
    }
}

/// A map that is open, and watched.
type Opened = Live<Handle>;

/// A map of the site: a file that others replace, or a server behind a socket.
pub struct LiveMap(Kind);

enum Kind {
    File {
        name: MapName,
        path: PathBuf,
        flags: MapFlags,
        presence: Presence,
        live: Mutex<Option<Arc<Opened>>>,
        /// What stands in for a map that is missing.
        text: Option<Box<AliasText>>,
    },
    Remote(Handle),
}

/// Which alias files may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// All of them.
    Allowed,
    /// Those with `-o`.
    AsConfigured,
}

/// Whether a map must be there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Needed,
    Optional,
}

impl LiveMap {
    /// The map that a site names so; `None` for classes that have no entries. Nothing is opened yet.
    ///
    /// # Errors
    /// When the address of a map behind a socket is none.
    pub fn of(site: &Site, spec: &MapSpec, remote: Remote<'_>) -> Result<Option<Self>, StoreError> {
        let presence = match spec.optional {
            true => Presence::Optional,
            false => Presence::Needed,
        };
        LiveMap::start(site, spec, remote, presence, None)
    }

    /// As [`of`](Self::of) for an alias file, whose text may stand in for its map.
    ///
    /// # Errors
    /// As [`of`](Self::of), and when the site's alias files make no sense.
    pub fn aliases(
        site: &Site,
        spec: &MapSpec,
        remote: Remote<'_>,
        absence: Absence,
    ) -> Result<Option<Self>, StoreError> {
        let presence = match absence {
            // One without a replica of shared aliases would say that nobody has them.
            Absence::Allowed if !spec.is_shared() => Presence::Optional,
            _ if spec.optional => Presence::Optional,
            _ => Presence::Needed,
        };
        let text = AliasText::of(site, spec)?;
        LiveMap::start(site, spec, remote, presence, text)
    }

    fn start(
        site: &Site,
        spec: &MapSpec,
        remote: Remote<'_>,
        presence: Presence,
        text: Option<AliasText>,
    ) -> Result<Option<Self>, StoreError> {
        if let Some(map) = remote_of(spec)? {
            let map = MapFlags::of(spec).over_bare(remote(map));
            return Ok(Some(LiveMap(Kind::Remote(Traced::new(map)))));
        }
        check_connection(site, spec)?;
        let file = file_of(site, spec).map(|(class, path)| Kind::File {
            name: MapName::new(class, &spec.path),
            path,
            flags: MapFlags::of(spec),
            presence,
            live: Mutex::new(None),
            text: text.map(Box::new),
        });
        Ok(file.map(LiveMap))
    }

    /// Opens the map if it is not open, or a newer one if there is one.
    ///
    /// # Errors
    /// When it can't be read: what was open before stays. A missing optional map is none.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let Kind::File {
            name,
            path,
            flags,
            presence,
            live,
            text,
        } = &self.0
        else {
            return Ok(());
        };
        let open = live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(open) = open {
            return match open.refresh() {
                Refresh::KeptOld(error) => Err(error),
                _ => Ok(()),
            };
        }
        match Live::open(path.clone(), opener(name.clone(), flags.clone())) {
            Ok(opened) => {
                let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
                *live = Some(Arc::new(opened));
                if let Some(text) = text {
                    text.forget();
                }
                Ok(())
            }
            Err(error @ StoreError::Missing { .. }) => {
                if let Some(text) = text {
                    text.refresh()?;
                    if text.current().is_some() {
                        return Ok(());
                    }
                }
                match presence {
                    Presence::Optional => Ok(()),
                    Presence::Needed => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The text that is read in the place of the map, if one is.
    fn text(&self) -> Option<PathBuf> {
        match &self.0 {
            Kind::File {
                text: Some(text), ..
            } if text.current().is_some() => Some(text.path().into()),
            _ => None,
        }
    }

    /// The map while it can't be opened.
    fn broken(&self, error: &StoreError) -> Arc<dyn Map> {
        match &self.0 {
            Kind::Remote(map) => Arc::clone(map.map()),
            Kind::File { name, .. } => Arc::new(BrokenMap::new(name.clone(), error)),
        }
    }

    /// The map as it is; `None` where it never could be opened.
    #[must_use]
    pub fn current(&self) -> Option<Arc<dyn Map>> {
        self.handle().map(|handle| Arc::clone(handle.map()))
    }

    fn handle(&self) -> Option<Handle> {
        match &self.0 {
            Kind::Remote(map) => Some(map.clone()),
            Kind::File { live, text, .. } => {
                let live = live.lock().unwrap_or_else(PoisonError::into_inner);
                match live.as_ref() {
                    Some(live) => Some(Handle::clone(&live.snapshot())),
                    None => text.as_ref()?.current(),
                }
            }
        }
    }
}

fn opener(
    name: MapName,
    flags: MapFlags,
) -> impl Fn(&Path) -> Result<Handle, StoreError> + Send + Sync {
    move |path| {
        let opened = crate::store::open_any(path, name.clone())?;
        Ok(Traced::new(flags.over_file(opened)))
    }
}

#[cfg(test)]
#[path = "live_maps_tests.rs"]
mod tests;
