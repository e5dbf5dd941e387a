//! The maps of a site, as one snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use crate::decision::Traced;
use crate::map::{Map, MapClass, MapName, StoreError};
use crate::policy::alias_text::AliasText;
use crate::policy::flagged_map::MapFlags;
use crate::policy::route::tables::RouteTables;
use crate::site::model::{FileName, MapSpec, Site};
use crate::store::path::with_suffix;
use crate::store::shared::Connection;
use crate::store::socketmap::{DEFAULT_PATIENCE, Endpoint, SocketMap};
use crate::table::access::AccessMap;
use crate::table::aliases::AliasTable;
use crate::table::domaintable::DomainTable;
use crate::table::generics::GenericsTable;
use crate::table::mailertable::MailerTable;
use crate::table::virtusertable::VirtUserTable;

/// A map that policy asks; cheap to clone.
pub type Handle = Traced<Arc<dyn Map>>;

/// The maps of one moment: taken at the start of a transaction and held to its end.
///
/// A map that the site does not have, or that is optional and missing, is `None`.
#[derive(Clone, Default)]
pub struct Maps {
    /// FEATURE(access_db).
    pub access: Option<Handle>,
    /// FEATURE(authinfo).
    pub authinfo: Option<Handle>,
    /// FEATURE(mailertable).
    pub mailertable: Option<Handle>,
    /// FEATURE(virtusertable).
    pub virtusertable: Option<Handle>,
    /// FEATURE(genericstable).
    pub genericstable: Option<Handle>,
    /// FEATURE(domaintable).
    pub domaintable: Option<Handle>,
    /// The alias files, in the order in which they are asked.
    pub aliases: Vec<Handle>,
}

impl Maps {
    /// Opens every map of the site.
    ///
    /// # Errors
    /// When a map can't be opened; a missing one only if it is not optional (`-o`). Of alias files see
    /// [`open_aliases`].
    pub fn open(site: &Site) -> Result<Self, StoreError> {
        let features = &site.features;
        let open = |spec: Option<&MapSpec>| match spec {
            Some(spec) => open_map(site, spec),
            None => Ok(None),
        };
        let mut aliases = Vec::new();
        for file in site.alias_files() {
            aliases.extend(open_aliases(site, &file.map)?);
        }
        Ok(Maps {
            access: open(features.access.as_ref().map(|access| &access.map))?,
            authinfo: open(features.authinfo.as_ref())?,
            mailertable: open(features.mailertable.as_ref())?,
            virtusertable: open(features.virtusertable.as_ref())?,
            genericstable: open(features.genericstable.as_ref())?,
            domaintable: open(features.domaintable.as_ref())?,
            aliases,
        })
    }

    /// The tables that route and rewrite ask.
    #[must_use]
    pub fn route_tables(&self) -> RouteTables<Arc<dyn Map>> {
        RouteTables {
            mailertable: self.mailertable.clone().map(MailerTable::of),
            virtusertable: self.virtusertable.clone().map(VirtUserTable::of),
            genericstable: self.genericstable.clone().map(GenericsTable::of),
            domaintable: self.domaintable.clone().map(DomainTable::of),
        }
    }

    /// The aliases.
    #[must_use]
    pub fn alias_table(&self) -> AliasTable<Arc<dyn Map>> {
        AliasTable::new(self.aliases.iter().cloned())
    }

    /// The access map, searched as the site says.
    #[must_use]
    pub fn access<'a>(&'a self, site: &'a Site) -> Option<AccessMap<'a, Arc<dyn Map>>> {
        Some(AccessMap::new(
            self.access.as_ref()?,
            site.features.access.as_ref()?,
        ))
    }
}

/// Class and file of a map below the site's root; `None` for classes that are no files of entries.
#[must_use]
pub fn file_of(site: &Site, spec: &MapSpec) -> Option<(MapClass, PathBuf)> {
    let (class, file) = named_by(site, spec)?;
    // A shared map is read from its replica; a connection file that is wrong is an error of
    // whoever opens it.
    let replica = Connection::readable(&file, site.root.as_deref());
    Some((class, replica.unwrap_or(file)))
}

/// Class and the file that the administrator named.
fn named_by(site: &Site, spec: &MapSpec) -> Option<(MapClass, PathBuf)> {
    let class = spec.stored()?;
    let suffix = match class {
        MapClass::Cdb => ".cdb",
        MapClass::Sled => ".sled",
        MapClass::Pgsql => ".pgsql",
        MapClass::Redis => ".redis",
        MapClass::Ldap => ".ldap",
        _ => ".db",
    };
    let file = match spec.file_name {
        FileName::WithSuffix => with_suffix(spec.path.as_os_str(), suffix),
        FileName::AsWritten => spec.path.clone(),
    };
    Some((class, site.below(&file)))
}

/// Reads the connection file of a shared map.
///
/// # Errors
/// As [`Connection::read`]; other maps have none.
pub fn check_connection(site: &Site, spec: &MapSpec) -> Result<(), StoreError> {
    match named_by(site, spec) {
        Some((_, file)) => Connection::readable(&file, site.root.as_deref()).map(drop),
        None => Ok(()),
    }
}

/// The connection files of the site's shared maps, those of `K` lines among them, below its root,
/// each once.
#[must_use]
pub fn connection_files(site: &Site) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let own = site.maps.values().cloned();
    for spec in site.asked_maps().into_iter().chain(own) {
        if let Some((_, file)) = named_by(site, &spec)
            && Connection::class_of(&file).is_some()
            && !files.contains(&file)
        {
            files.push(file);
        }
    }
    files
}

/// The socket of this machine behind which a map is, if it is.
#[must_use]
pub fn socket_of(spec: &MapSpec) -> Option<PathBuf> {
    match spec.address()?.ok()?.endpoint {
        Endpoint::Unix(path) => Some(path),
        Endpoint::Inet(..) => None,
    }
}

/// The connection file of the counts that hosts share (ConnectionRateMap), below the site's
/// root; `None` where each counts for itself.
///
/// # Errors
/// What the option should have been.
pub fn counts_file(site: &Site) -> Result<Option<PathBuf>, &'static str> {
    let text = site.options.limits.connection_rate_map.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text.split_once(':') {
        Some(("redis", path)) if !path.trim().is_empty() => {
            let named = named_by(site, &MapSpec::new("redis", path.trim()));
            Ok(named.map(|(_, file)| file))
        }
        _ => Err("expected redis: and the path of a connection file, see mapremote(5)"),
    }
}

/// The map behind a socket that a site names; `None` for other classes.
///
/// # Errors
/// When its address is none.
pub fn remote_of(spec: &MapSpec) -> Result<Option<SocketMap>, StoreError> {
    let Some(address) = spec.address() else {
        return Ok(None);
    };
    let address = address.map_err(|fault| StoreError::Unsupported {
        path: spec.path.clone(),
        why: fault.to_string(),
    })?;
    let patience = spec.patience().unwrap_or(DEFAULT_PATIENCE);
    Ok(Some(SocketMap::new(address, patience)))
}

/// Opens the map of an alias file, or reads its text where that stands in for the map; `None` where
/// both are missing.
///
/// # Errors
/// When it can't be opened, or has a text and has not been built.
pub fn open_aliases(site: &Site, spec: &MapSpec) -> Result<Option<Handle>, StoreError> {
    let mut may_be_missing = spec.clone();
    may_be_missing.optional = true;
    if let Some(map) = open_map(site, &may_be_missing)? {
        return Ok(Some(map));
    }
    match AliasText::of(site, spec)? {
        Some(text) => {
            text.refresh()?;
            Ok(text.current())
        }
        None => Ok(None),
    }
}

/// Opens one map, to be asked as its flags say; `None` for an optional one that is missing, and for classes that have no entries.
///
/// # Errors
/// When it can't be opened.
pub fn open_map(site: &Site, spec: &MapSpec) -> Result<Option<Handle>, StoreError> {
    let flags = MapFlags::of(spec);
    if let Some(map) = remote_of(spec)? {
        return Ok(Some(Traced::new(flags.over_bare(Arc::new(map)))));
    }
    let Some((class, path)) = file_of(site, spec) else {
        return Ok(None);
    };
    let name = MapName::new(class, &spec.path);
    let path = Connection::readable(&path, site.root.as_deref())?;
    match crate::store::open_any(&path, name) {
        Ok(opened) => Ok(Some(Traced::new(flags.over_file(opened)))),
        Err(StoreError::Missing { .. }) if spec.optional => Ok(None),
        Err(error) => Err(error),
    }
}
