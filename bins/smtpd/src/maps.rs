//! The site's maps, live: a snapshot for each transaction.

use std::path::PathBuf;
use std::sync::Arc;

use libmaps::decision::Traced;
use libmaps::map::{Entries, Map, MapName, StoreError};
use libmaps::policy::live_classes::{ClassNews, LiveClasses};
use libmaps::policy::live_maps;
use libmaps::policy::maps::Maps;
use libmaps::policy::route::canonify::{Addressing, HostNames};
use libmaps::policy::route::tables::RouteTables;
use libmaps::rhs::Rhs;
use libmaps::site::Site;
use libmaps::store::SocketMap;
use libmaps::table::aliases::AliasTable;

use crate::aside::aside;

/// A map as the tables hold it.
pub type AnyMap = Traced<Arc<dyn Map>>;

/// All maps of one moment.
pub struct Snapshot {
    /// The configuration, with the words that classes have from shared maps at this moment.
    pub site: Arc<Site>,
    /// For the rulesets.
    pub policy: Maps,
    /// For routing.
    pub routes: RouteTables<Arc<dyn Map>>,
    /// The alias files, in order.
    pub aliases: Vec<AnyMap>,
}

impl Snapshot {
    /// How addresses are read and routed by the maps of this moment.
    pub fn addressing<'a>(
        &'a self,
        names: &'a dyn HostNames,
        daemon_flags: &'a str,
    ) -> Addressing<'a, Arc<dyn Map>> {
        Addressing {
            site: &self.site,
            tables: &self.routes,
            names,
            daemon_flags,
        }
    }

    /// The alias table.
    pub fn alias_table(&self) -> AliasTable<Arc<dyn Map>> {
        AliasTable::new(self.aliases.iter().cloned())
    }
}

/// The maps of a site.
pub struct LiveMaps {
    maps: live_maps::LiveMaps,
    classes: LiveClasses,
}

impl LiveMaps {
    /// Opens every map of the site.
    ///
    /// # Errors
    /// When a map that is not optional can't be opened.
    pub fn open(site: &Arc<Site>) -> Result<Self, StoreError> {
        let aside = |map: SocketMap| -> Arc<dyn Map> { Arc::new(Aside(map)) };
        Ok(LiveMaps {
            maps: live_maps::LiveMaps::open(site, &aside)?,
            classes: LiveClasses::of(site),
        })
    }

    /// Looks for newer maps, and takes a snapshot. A map that can't be read keeps its
    /// last good content; each such error is handed to `on_map`, and what is new about those of
    /// classes to `on_class`.
    pub fn snapshot(
        &self,
        on_map: impl FnMut(&StoreError),
        on_class: impl FnMut(ClassNews<'_>),
    ) -> Arc<Snapshot> {
        let policy = self.maps.snapshot(on_map);
        Arc::new(Snapshot {
            site: self.classes.site(on_class),
            routes: policy.route_tables(),
            aliases: policy.aliases.clone(),
            policy,
        })
    }

    /// The alias files that are read as they stand, since nobody has built a map of them.
    pub fn texts(&self) -> impl Iterator<Item = PathBuf> {
        self.maps.texts()
    }

    /// The configuration with its classes as they are now; news as in [`LiveMaps::snapshot`].
    pub fn site(&self, on_class: impl FnMut(ClassNews<'_>)) -> Arc<Site> {
        self.classes.site(on_class)
    }
}

/// A map behind a socket: while its server is waited for, the other sessions of this
/// thread go on in another.
struct Aside(SocketMap);

impl Aside {
    fn wait<T>(&self, ask: impl FnOnce(&SocketMap) -> T) -> T {
        aside(|| ask(&self.0))
    }
}

impl Map for Aside {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        self.wait(|map| map.get(lhs))
    }

    fn iter(&self) -> Entries<'_> {
        self.0.iter()
    }

    fn name(&self) -> &MapName {
        self.0.name()
    }
}
