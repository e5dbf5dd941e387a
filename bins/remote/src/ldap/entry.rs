//! Changing one entry of a map: what a directory does at once, whole or not at all.

use std::collections::HashSet;
use std::time::Duration;

use ldap3::{LdapError, LdapResult, Mod, dn_escape, ldap_escape};
use libmaps::site::Machine;
use libmaps::site::ldap::attributes::Role;
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;

use super::reference::Scope;
use super::search::{Found, Kind, Search, values};
use super::{Directory, Engine, read_alone};
use crate::fault::{Fault, within};
use crate::replica::{self, How};

/// Entries of one key that are looked at; more than one is an error.
const MAX_ENTRIES: usize = 8;
/// How often the replica is tried again, and the first pause before that; each further one is
/// longer by as much.
const MAX_PAUSES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Whom an entry of sendmail's schema is valid for.
const OWNERS: [&str; 2] = ["sendmailMTAHost", "sendmailMTACluster"];
/// Which map it is of.
const MAPS: [&str; 2] = ["sendmailMTAMapName", "sendmailMTAAliasGrouping"];

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The directory has it, and the replica of this host, too.
    Done,
    /// There is no such key to delete.
    Absent,
}

/// Gives a key this value, or without one deletes it, and brings the replica up to date.
///
/// # Errors
/// Of what is refused the directory is as it was; where it does not answer in time, it may have
/// the change all the same. What goes wrong with the replica afterwards says that the directory
/// has the change.
pub async fn change(
    connection: &Connection,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<Changed, Fault> {
    let search = Search::of(connection)?;
    let Some(key_name) = search.key.clone().filter(|_| search.kind != Kind::Class) else {
        let why = "the words of a class are changed with ldapmodify(1)";
        return Err(Fault::new(SysExit::Config, why));
    };
    let key = str::from_utf8(key).map_err(|_| bad("the key is no UTF-8"))?;
    if key.is_empty() || key.contains('\0') {
        return Err(bad("a key in a directory is a text without NUL"));
    }
    let value_name = value_name(&search)?;
    let mut engine = Directory::connect(&connection.server).await?;
    // What can't be followed is not changed either.
    let contexts = engine.contexts([search.base.as_str()]).await?;
    let state = engine.state(&contexts).await?;
    engine.check_ahead(connection, &state).await?;
    let filter = format!("(&{}({key_name}={}))", search.filter, ldap_escape(key));
    let mut found = engine.entries_of(&search, &filter).await?;
    let is_new = found.is_empty();
    let done = match (found.pop(), value) {
        (Some(entry), _) if !found.is_empty() => {
            let others: Vec<&str> = found.iter().map(|other| other.found.dn.as_str()).collect();
            let why = format!("the key is in several entries, as in {}", others.join("; "));
            return Err(entry.found.fault(&why));
        }
        (None, None) => return Ok(Changed::Absent),
        (None, Some(value)) => {
            let new = New::of(connection, &search, key)?;
            engine.add(new, &value_name, value).await?
        }
        (Some(There { found: entry, .. }), Some(value)) => {
            check_keys(&entry)?;
            check_value(&entry)?;
            let values = HashSet::from([value.to_vec()]);
            let change = vec![Mod::Replace(value_name.into_bytes(), values)];
            let asked = engine.ldap.modify(&entry.dn, change);
            within(engine.timeout, asked).await?
        }
        (Some(entry), None) => {
            entry.check_alone(connection, &search)?;
            check_keys(&entry.found)?;
            let asked = engine.ldap.delete(&entry.found.dn);
            within(engine.timeout, asked).await?
        }
    };
    match (done.rc, is_new) {
        (0, _) => {}
        // Another has deleted it meanwhile.
        (32, false) if value.is_none() => return Ok(Changed::Absent),
        _ => return Err(refused(&done)),
    }
    let mut followed = engine.bring(connection).await;
    for n in 1..=MAX_PAUSES {
        // Others change entries too, perhaps faster than a map is read.
        if !followed
            .as_ref()
            .is_err_and(|fault| fault.exit == SysExit::TempFail)
        {
            break;
        }
        tokio::time::sleep(PAUSE * n).await;
        followed = engine.bring(connection).await;
    }
    followed.map_err(|fault| {
        let why = format!("the directory has the change, and not the replica: {fault}");
        Fault::new(fault.exit, why)
    })?;
    Ok(Changed::Done)
}

fn bad(why: &str) -> Fault {
    Fault::new(SysExit::DataErr, why)
}

/// The words of a connection file that make entries others than those of sendmail's schema.
const OWN: [&str; 3] = ["filter", "key-attribute", "value-attribute"];

/// Whether what is searched for is the site's own.
fn is_own(connection: &Connection) -> bool {
    OWN.iter().any(|word| connection.words.get(word).is_some())
}

/// An entry of a key, and what else it is.
struct There {
    found: Found,
    classes: Vec<Vec<u8>>,
    /// How many hosts and clusters it is valid for.
    owners: usize,
    /// How many maps it is of.
    maps: usize,
}

impl There {
    /// An entry is deleted where it is of this key of this map and nothing else: what else would go
    /// with it may be a person.
    fn check_alone(&self, connection: &Connection, search: &Search) -> Result<(), Fault> {
        let of_map = [
            "top",
            "sendmailMTA",
            "sendmailMTAMap",
            "sendmailMTAMapObject",
        ];
        let of_aliases = [
            "top",
            "sendmailMTA",
            "sendmailMTAAlias",
            "sendmailMTAAliasObject",
        ];
        let ours = match search.kind {
            Kind::Aliases => of_aliases,
            Kind::Map | Kind::Class => of_map,
        };
        let is_ours = |class: &Vec<u8>| {
            let mut ours = ours.iter();
            ours.any(|own| class.eq_ignore_ascii_case(own.as_bytes()))
        };
        let why = match self {
            _ if is_own(connection) => {
                "the filter or the attributes are the site's own, and an entry that they find may \
                 be more than one of this map"
            }
            There { classes, .. } if classes.is_empty() || !classes.iter().all(is_ours) => {
                "it is of other object classes too"
            }
            There { owners, .. } if *owners > 1 => "it is valid for several hosts or clusters",
            There { maps, .. } if *maps > 1 => "it is of several maps",
            _ => return Ok(()),
        };
        let why = format!(
            "{}: not deleted, since {why}: take the value out with ldapmodify(1), or the whole \
             entry with ldapdelete(1)",
            self.found.dn
        );
        Err(Fault::new(SysExit::Config, why))
    }
}

/// The attribute that a value is written to.
fn value_name(search: &Search) -> Result<String, Fault> {
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
fn check_keys(entry: &Found) -> Result<(), Fault> {
    match entry.keys.len() {
        0 | 1 => Ok(()),
        _ => Err(entry.fault("other keys would change with it: ldapmodify(1)")),
    }
}

/// A value is changed that the entry says itself.
fn check_value(entry: &Found) -> Result<(), Fault> {
    match entry.references.is_empty() {
        true => Ok(()),
        false => Err(entry.fault("its value is a search, which ldapmodify(1) changes")),
    }
}

/// Why the directory did not take a change.
fn refused(done: &LdapResult) -> Fault {
    if let (10, Some(other)) = (done.rc, done.refs.first()) {
        let why = format!("the server takes no changes, name the one that does: {other}");
        return Fault::new(SysExit::Config, why);
    }
    let fault = Fault::from(LdapError::from(done.clone()));
    // undefinedAttributeType, constraintViolation, invalidAttributeSyntax, objectClassViolation:
    // it is the value that does not fit (RFC 4511 appendix A.2).
    match done.rc {
        17 | 19 | 21 | 65 => Fault::new(SysExit::DataErr, fault.why),
        _ => fault,
    }
}

/// An entry of sendmail's schema that is to be made.
struct New {
    dn: String,
    attributes: Vec<(String, String)>,
}

impl New {
    fn of(connection: &Connection, search: &Search, key: &str) -> Result<Self, Fault> {
        let words = &connection.words;
        if is_own(connection) {
            let why = "there is no such entry, and what else a new one needs is not known where \
                       the filter or the attributes are the site's own: ldapadd(1)";
            return Err(Fault::new(SysExit::Config, why));
        }
        let whose = match (words.get("cluster-name"), words.get("host-name")) {
            (Some(cluster), _) => ("sendmailMTACluster", cluster.to_owned()),
            (None, Some(host)) => ("sendmailMTAHost", host.to_owned()),
            (None, None) => {
                let host = Machine::of(connection.root.as_deref())?.name;
                ("sendmailMTAHost", host)
            }
        };
        let (class, name) = match search.kind {
            Kind::Map => ("sendmailMTAMapObject", "sendmailMTAMapName"),
            Kind::Aliases => ("sendmailMTAAliasObject", "sendmailMTAAliasGrouping"),
            Kind::Class => return Err(read_alone()),
        };
        let named = [
            ("sendmailMTAKey", key.to_owned()),
            (name, connection.map.clone()),
            whose,
        ];
        let parts: Vec<String> = named
            .iter()
            .map(|(name, value)| format!("{name}={}", dn_escape(value.as_str())))
            .collect();
        let mut attributes = vec![("objectClass".to_owned(), class.to_owned())];
        attributes.extend(named.map(|(name, value)| (name.to_owned(), value)));
        Ok(New {
            dn: format!("{},{}", parts.join("+"), search.base),
            attributes,
        })
    }
}

impl Directory {
    async fn entries_of(&mut self, search: &Search, filter: &str) -> Result<Vec<There>, Fault> {
        let mut found = Vec::new();
        let mut names = search.names();
        names.extend(OWNERS.into_iter().chain(MAPS));
        self.find(&search.base, Scope::Subtree, filter, names, |entry| {
            if found.len() >= MAX_ENTRIES {
                return Err(bad("the key is in very many entries"));
            }
            let count = |name: &&str| values(&entry, name).len();
            found.push(There {
                found: search.read(&entry, search.attributes.iter())?,
                classes: values(&entry, "objectClass"),
                owners: OWNERS.iter().map(count).sum(),
                maps: MAPS.iter().map(count).sum(),
            });
            Ok(())
        })
        .await?;
        Ok(found)
    }

    async fn add(&mut self, new: New, name: &str, value: &[u8]) -> Result<LdapResult, Fault> {
        let attributes = new.attributes.into_iter();
        let mut all: Vec<(Vec<u8>, HashSet<Vec<u8>>)> = attributes
            .map(|(name, value)| (name.into_bytes(), HashSet::from([value.into_bytes()])))
            .collect();
        let value = HashSet::from([value.to_vec()]);
        all.push((name.as_bytes().to_vec(), value.clone()));
        let added = within(self.timeout, self.ldap.add(&new.dn, all)).await?;
        // entryAlreadyExists: another has made it meanwhile.
        if added.rc != 68 {
            return Ok(added);
        }
        let change = vec![Mod::Replace(name.as_bytes().to_vec(), value)];
        within(self.timeout, self.ldap.modify(&new.dn, change)).await
    }

    /// Makes what the directory has now the replica.
    async fn bring(&mut self, connection: &Connection) -> Result<(), Fault> {
        let head = self.look(connection).await?;
        if let Some(there) = head.map_or(Ok(None), |head| head.current.known())? {
            replica::update(self, connection, &there, How::AtAnyPrice).await?;
        }
        Ok(())
    }
}
