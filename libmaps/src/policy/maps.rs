//! The maps of a site, as one snapshot.

use std::sync::Arc;

use crate::decision::Traced;
use crate::map::Map;
use crate::site::model::Site;
use crate::table::access::AccessMap;

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
    /// The access map, searched as the site says.
    #[must_use]
    pub fn access<'a>(&'a self, site: &'a Site) -> Option<AccessMap<'a, Arc<dyn Map>>> {
        Some(AccessMap::new(
            self.access.as_ref()?,
            site.features.access.as_ref()?,
        ))
    }
}
