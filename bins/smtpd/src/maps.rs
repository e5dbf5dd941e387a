//! The site's maps, live: a snapshot for each transaction.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use libmaps::decision::Traced;
use libmaps::live::{Live, Refresh};
use libmaps::map::{Map, StoreError};
use libmaps::policy::maps::Maps;
use libmaps::policy::route::tables::RouteTables;
use libmaps::site::Site;
use libmaps::site::model::MapSpec;
use libmaps::store;
use libmaps::table::aliases::AliasTable;
use libmaps::table::domaintable::DomainTable;
use libmaps::table::generics::GenericsTable;
use libmaps::table::mailertable::MailerTable;
use libmaps::table::virtusertable::VirtUserTable;

/// A map as the tables hold it.
pub type AnyMap = Traced<Arc<dyn Map>>;

/// All maps of one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// For the rulesets.
    pub policy: Maps,
    /// For routing.
    pub routes: RouteTables<Arc<dyn Map>>,
    /// The alias files, in order.
    pub aliases: Vec<AnyMap>,
}

impl Snapshot {
    /// The alias table.
    ///
    /// # Errors
    /// When an alias file can't be read.
    pub fn alias_table(&self) -> Result<AliasTable<Arc<dyn Map>>, libmaps::decision::LookupError> {
        AliasTable::new(self.aliases.iter().cloned())
    }
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

/// A map that is open, and watched.
type Opened = Live<Arc<dyn Map>>;

/// A map that may not be there yet, if it is optional.
struct LiveMap {
    path: PathBuf,
    presence: Presence,
    live: Mutex<Option<Arc<Opened>>>,
}

/// Whether a map must be there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Needed,
    Optional,
}

impl LiveMaps {
    /// Opens every map of the site.
    ///
    /// # Errors
    /// When a map that is not optional can't be opened.
    pub fn open(site: &Site) -> Result<Self, StoreError> {
        let features = &site.features;
        let open = |spec: Option<&MapSpec>| spec.map(|s| LiveMap::open(site, s)).transpose();
        let mut aliases = Vec::new();
        for file in site.alias_files() {
            let mut map = LiveMap::start(site, &file.map);
            // A host without a built alias file still takes mail for its users, as sendmail's does.
            map.presence = Presence::Optional;
            map.refresh()?;
            aliases.push(map);
        }
        Ok(LiveMaps {
            access: open(features.access.as_ref().map(|a| &a.map))?,
            authinfo: open(features.authinfo.as_ref())?,
            mailertable: open(features.mailertable.as_ref())?,
            virtusertable: open(features.virtusertable.as_ref())?,
            genericstable: open(features.genericstable.as_ref())?,
            domaintable: open(features.domaintable.as_ref())?,
            aliases,
        })
    }

    /// Looks for newer maps, and takes a snapshot. A map that can't be read keeps its
    /// last good content; each such error is handed to `report`.
    pub fn snapshot(&self, mut report: impl FnMut(&StoreError)) -> Snapshot {
        let mut take = |map: &Option<LiveMap>| {
            let map = map.as_ref()?;
            if let Err(error) = map.refresh() {
                report(&error);
            }
            map.current()
        };
        let (access, authinfo) = (take(&self.access), take(&self.authinfo));
        let (mailertable, virtusertable) = (take(&self.mailertable), take(&self.virtusertable));
        let (genericstable, domaintable) = (take(&self.genericstable), take(&self.domaintable));
        let aliases: Vec<AnyMap> = self
            .aliases
            .iter()
            .filter_map(|map| {
                if let Err(error) = map.refresh() {
                    report(&error);
                }
                map.current().map(Traced::new)
            })
            .collect();
        Snapshot {
            policy: Maps {
                access: access.map(Traced::new),
                authinfo: authinfo.map(Traced::new),
                mailertable: mailertable.clone().map(Traced::new),
                virtusertable: virtusertable.clone().map(Traced::new),
                genericstable: genericstable.clone().map(Traced::new),
                domaintable: domaintable.clone().map(Traced::new),
                aliases: aliases.clone(),
            },
            routes: RouteTables {
                mailertable: mailertable.map(MailerTable::new),
                virtusertable: virtusertable.map(VirtUserTable::new),
                genericstable: genericstable.map(GenericsTable::new),
                domaintable: domaintable.map(DomainTable::new),
            },
            aliases,
        }
    }
}

impl LiveMap {
    fn start(site: &Site, spec: &MapSpec) -> Self {
        LiveMap {
            path: database_of(&site.below(&spec.path)),
            presence: if spec.optional {
                Presence::Optional
            } else {
                Presence::Needed
            },
            live: Mutex::new(None),
        }
    }

    fn open(site: &Site, spec: &MapSpec) -> Result<Self, StoreError> {
        let map = LiveMap::start(site, spec);
        map.refresh()?;
        Ok(map)
    }

    fn refresh(&self) -> Result<(), StoreError> {
        let live = self
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(live) = live {
            return match live.refresh() {
                Refresh::KeptOld(error) => Err(error),
                _ => Ok(()),
            };
        }
        let opened = Live::open(self.path.clone(), |path| {
            store::open(path).map(Arc::<dyn Map>::from)
        });
        match opened {
            Ok(opened) => {
                let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
                *live = Some(Arc::new(opened));
                Ok(())
            }
            Err(StoreError::Missing { .. }) if self.presence == Presence::Optional => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn current(&self) -> Option<Arc<dyn Map>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let live = live.as_ref()?;
        Some((*live.snapshot()).clone())
    }
}

/// The file of a map: the path with `.db`, unless it has that already.
fn database_of(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|e| e == "db") {
        return path.into();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".db");
    name.into()
}
