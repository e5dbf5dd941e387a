//! Changing one entry of a map: what any directory does at once, whole or not at all.
//!
//! Where maps are written whole too (`super::job`), the change is made by a transaction with
//! that of the map's marker, so that no writer misses it.

use std::time::Duration;

use ldap3::{LdapResult, ldap_escape};
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;

use super::change::{Change, refused};
use super::marker::{as_it_was, touch};
use super::own::Own;
use super::owned::{check_keys, check_value, value_name};
use super::read::{State, is_alone};
use super::search::{Kind, Search, Transactions};
use super::transaction::Ended;
use super::{Directory, Engine};
use crate::fault::Fault;

/// Entries of one key that are looked at; more than one is an error.
const MAX_ENTRIES: usize = 8;
/// How often a change begins again because another came before it, and the first pause before that;
/// each further one is longer by as much.
const MAX_TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);

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
    let mut edit = Edit {
        filter: format!("(&{}({key_name}={}))", search.filter, ldap_escape(key)),
        attribute: value_name(&search)?,
        search,
        key,
        value,
        directory: Directory::connect(&connection.server).await?,
    };
    let directory = &mut edit.directory;
    // What can't be followed is not changed either.
    let contexts = directory.contexts([edit.search.base.as_str()]).await?;
    let state = directory.state(&contexts).await?;
    directory.check_ahead(connection, &state).await?;
    match edit.make(&state).await? {
        Changed::Done => edit.directory.bring(connection).await?,
        Changed::Absent => return Ok(Changed::Absent),
    }
    Ok(Changed::Done)
}

fn bad(why: &str) -> Fault {
    Fault::new(SysExit::DataErr, why)
}

/// A change that is to be made.
struct Edit<'a> {
    directory: Directory,
    search: Search,
    /// What finds the key's entry.
    filter: String,
    attribute: String,
    key: &'a str,
    value: Option<&'a [u8]>,
}

impl Edit<'_> {
    async fn make(&mut self, state: &State) -> Result<Changed, Fault> {
        let own = self.search.own.clone();
        let is_welcome = self.search.transactions == Transactions::Welcome && is_alone(state);
        for n in 1..=MAX_TRIES {
            let marker = match &own {
                Some(own) if is_welcome => self.directory.marker(own).await?,
                _ => None,
            };
            let Some(change) = self.find().await? else {
                return Ok(Changed::Absent);
            };
            let (Some(own), Some(marker)) = (&own, marker) else {
                return self.make_alone(change).await;
            };
            if self.make_with_marker(own, &marker, change).await? == Ended::Made {
                // See the end of a whole map.
                let _ = self.directory.touch_marker(own).await;
                return Ok(Changed::Done);
            }
            tokio::time::sleep(PAUSE * n).await;
        }
        let why = "other writers change the map all the time";
        Err(Fault::new(SysExit::TempFail, why))
    }

    /// The change that the directory needs; none: there is no such key to delete.
    async fn find(&mut self) -> Result<Option<Change>, Fault> {
        let mut found = Vec::new();
        let search = &self.search;
        let asked = self.directory.entries_of(search, &self.filter, |there| {
            if found.len() >= MAX_ENTRIES {
                return Err(bad("the key is in very many entries"));
            }
            found.push(there);
            Ok(())
        });
        asked.await?;
        Ok(match (found.pop(), self.value) {
            (Some(entry), _) if !found.is_empty() => {
                let others: Vec<&str> = found.iter().map(|o| o.found.dn.as_str()).collect();
                let why = format!("the key is in several entries, as in {}", others.join("; "));
                return Err(entry.found.fault(&why));
            }
            (None, None) => None,
            (None, Some(value)) => Some(self.new_entry(value)?),
            (Some(there), Some(value)) => {
                check_keys(&there.found)?;
                check_value(&there.found)?;
                Some(Change::Replace {
                    dn: there.found.dn,
                    attribute: self.attribute.clone(),
                    value: value.to_vec(),
                })
            }
            (Some(there), None) => {
                if let Some(why) = there.more_than_an_entry(search) {
                    let why = format!(
                        "{}: not deleted, since {why}: take the value out with ldapmodify(1), or \
                         the whole entry with ldapdelete(1)",
                        there.found.dn
                    );
                    return Err(Fault::new(SysExit::Config, why));
                }
                check_keys(&there.found)?;
                let dn = there.found.dn;
                Some(Change::Delete { dn })
            }
        })
    }

    fn new_entry(&self, value: &[u8]) -> Result<Change, Fault> {
        let Some(own) = &self.search.own else {
            let why = "there is no such entry, and what else a new one needs is not known where \
                       the filter or the attributes are the site's own: ldapadd(1)";
            return Err(Fault::new(SysExit::Config, why));
        };
        let (dn, mut attributes) = own.entry(self.key).map_err(|why| bad(&why))?;
        attributes.push((self.attribute.clone().into_bytes(), [value.to_vec()].into()));
        Ok(Change::Add { dn, attributes })
    }

    /// By an operation of its own, which any server has.
    async fn make_alone(&mut self, change: Change) -> Result<Changed, Fault> {
        let (is_new, is_deleted, dn) = match &change {
            Change::Add { dn, .. } => (true, false, dn.clone()),
            Change::Replace { dn, .. } => (false, false, dn.clone()),
            Change::Delete { dn } => (false, true, dn.clone()),
        };
        let mut done: LdapResult = self.directory.perform(change).await?;
        // entryAlreadyExists: another has made it meanwhile.
        if let (68, true, Some(value)) = (done.rc, is_new, self.value) {
            let replaced = Change::Replace {
                dn,
                attribute: self.attribute.clone(),
                value: value.to_vec(),
            };
            done = self.directory.perform(replaced).await?;
        }
        match (done.rc, is_deleted) {
            (0, _) => Ok(Changed::Done),
            // Another has deleted it meanwhile.
            (32, true) => Ok(Changed::Absent),
            _ => Err(refused(&done)),
        }
    }

    async fn make_with_marker(
        &mut self,
        own: &Own,
        marker: &str,
        change: Change,
    ) -> Result<Ended, Fault> {
        let asserted = as_it_was(marker);
        let directory = &mut self.directory;
        let mut transaction = directory.start().await?;
        directory
            .add_to(&mut transaction, touch(own)?, Some(&asserted))
            .await?;
        directory.add_to(&mut transaction, change, None).await?;
        directory.end(transaction).await
    }
}
