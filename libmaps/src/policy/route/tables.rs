//! The tables that decide where mail goes and what addresses become.

use crate::table::domaintable::DomainTable;
use crate::table::generics::GenericsTable;
use crate::table::mailertable::MailerTable;
use crate::table::virtusertable::VirtUserTable;

/// The tables of a site that bear on addresses; absent where the site has no such FEATURE.
#[derive(Clone)]
pub struct RouteTables<M> {
    /// FEATURE(mailertable).
    pub mailertable: Option<MailerTable<M>>,
    /// FEATURE(virtusertable).
    pub virtusertable: Option<VirtUserTable<M>>,
    /// FEATURE(genericstable).
    pub genericstable: Option<GenericsTable<M>>,
    /// FEATURE(domaintable).
    pub domaintable: Option<DomainTable<M>>,
}

impl<M> Default for RouteTables<M> {
    fn default() -> Self {
        RouteTables {
            mailertable: None,
            virtusertable: None,
            genericstable: None,
            domaintable: None,
        }
    }
}
