//! Entries of a map as whoever changes them needs them: what else they are, and of what.

use libmaps::site::ldap::attributes::Role;
use libmaps::sysexits::SysExit;

use super::Directory;
use super::reference::Scope;
use super::search::{Found, Search, values};
use crate::fault::Fault;

/// Whom an entry of sendmail's schema is valid for.
const OWNERS: [&str; 2] = ["sendmailMTAHost", "sendmailMTACluster"];
/// Which map it is of.
const MAPS: [&str; 2] = ["sendmailMTAMapName", "sendmailMTAAliasGrouping"];

/// An entry, and what else it is.
pub(super) struct There {
    pub(super) found: Found,
    /// Its newest change.
    pub(super) csn: Vec<u8>,
    classes: Vec<Vec<u8>>,
    /// How many hosts and clusters it is valid for.
    owners: usize,
    /// How many maps it is of.
    maps: usize,
}

impl There {
    /// Why an entry is more than this key of this map: what else would go with it may be a person.
    pub(super) fn more_than_an_entry(&self, search: &Search) -> Option<&'static str> {
        let Some(own) = &search.own else {
            return Some(
                "the filter or the attributes are the site's own, and an entry that they find may \
                 be more than one of this map",
            );
        };
        let mut classes = self.classes.iter();
        match self {
            There { classes: all, .. } if all.is_empty() || !classes.all(|c| own.is_class(c)) => {
                Some("it is of other object classes too")
            }
            There { owners, .. } if *owners > 1 => {
                Some("it is valid for several hosts or clusters")
            }
            There { maps, .. } if *maps > 1 => Some("it is of several maps"),
            _ => None,
        }
    }
}

/// The attribute that a value is written to.
pub(super) fn value_name(search: &Search) -> Result<String, Fault> {
    let mut values = search.attributes.iter().filter(|a| a.role == Role::Value);
    match (values.next(), values.next()) {
        (Some(attribute), None) => Ok(attribute.name.clone()),
        _ => {
            let why = "value-attribute: which of several is to be changed is not known";
            Err(Fault::new(SysExit::Config, why))
        }
    }
}

/// An entry is changed where it is this key's alone.
pub(super) fn check_keys(entry: &Found) -> Result<(), Fault> {
    match entry.keys.len() {
        0 | 1 => Ok(()),
        _ => Err(entry.fault("other keys would change with it: ldapmodify(1)")),
    }
}

/// A value is changed that the entry says itself.
pub(super) fn check_value(entry: &Found) -> Result<(), Fault> {
    match entry.references.is_empty() {
        true => Ok(()),
        false => Err(entry.fault("its value is a search, which ldapmodify(1) changes")),
    }
}

impl Directory {
    /// The entries that a filter finds below the map's base.
    pub(super) async fn entries_of(
        &mut self,
        search: &Search,
        filter: &str,
        mut take: impl FnMut(There) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut names = search.names();
        names.extend(OWNERS.into_iter().chain(MAPS));
        self.find(&search.base, Scope::Subtree, filter, names, |entry| {
            let count = |name: &&str| values(&entry, name).len();
            take(There {
                found: search.read(&entry, search.attributes.iter())?,
                csn: values(&entry, "entryCSN").concat(),
                classes: values(&entry, "objectClass"),
                owners: OWNERS.iter().map(count).sum(),
                maps: MAPS.iter().map(count).sum(),
            })
        })
        .await
    }
}
