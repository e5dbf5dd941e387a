//! The site's maps, live: a snapshot for each transaction.

use std::sync::Arc;

use libmaps::decision::Traced;
use libmaps::map::{Entries, Map, MapName, StoreError};
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
        site: &'a Site,
        names: &'a dyn HostNames,
        daemon_flags: &'a str,
    ) -> Addressing<'a, Arc<dyn Map>> {
        Addressing {
            site,
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
pub struct LiveMaps(live_maps::LiveMaps);

impl LiveMaps {
    /// Opens every map of the site.
    ///
    /// # Errors
    /// When a map that is not optional can't be opened.
    pub fn open(site: &Site) -> Result<Self, StoreError> {
        let aside = |map: SocketMap| -> Arc<dyn Map> { Arc::new(Aside(map)) };
        live_maps::LiveMaps::open(site, &aside).map(LiveMaps)
    }

    /// Looks for newer maps, and takes a snapshot. A map that can't be read keeps its
    /// last good content; each such error is handed to `report`.
    pub fn snapshot(&self, report: impl FnMut(&StoreError)) -> Arc<Snapshot> {
        let policy = self.0.snapshot(report);
        Arc::new(Snapshot {
            routes: policy.route_tables(),
            aliases: policy.aliases.clone(),
            policy,
        })
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
