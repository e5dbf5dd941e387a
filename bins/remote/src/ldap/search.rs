//! What is searched for, and what the entries that are found mean.

use ldap3::{SearchEntry, ldap_escape};
use libmaps::site::Machine;
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;

use super::Entries;
use crate::fault::Fault;

/// What is searched for.
pub(super) struct Search {
    pub(super) base: String,
    pub(super) filter: String,
    /// The attribute that is the LHS; none of a class, whose LHS are the words.
    pub(super) key: Option<String>,
    pub(super) value: String,
    pub(super) kind: Kind,
    pub(super) empty: Empty,
}

/// What a search that finds nothing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    /// That something is wrong: rights, the base, a name.
    Fault,
    /// That the map has no entries.
    Map,
}

/// What a map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value a key.
    Map,
    /// Values are members, which are put together.
    Aliases,
    /// Values are words of a class; the map has an entry for each.
    Class,
}

impl Kind {
    /// The most octets of a map, which is held in memory; of a class the server holds them, too.
    pub(super) fn max_octets(self) -> usize {
        match self {
            Kind::Map | Kind::Aliases => 1 << 30,
            Kind::Class => 32 << 20,
        }
    }
}

impl Search {
    /// sendmail's defaults for class `ldap`, unless the connection file says otherwise.
    pub(super) fn of(connection: &Connection) -> Result<Self, Fault> {
        let words = &connection.words;
        let wrong = |why: &str| Fault::new(SysExit::Config, why.to_owned());
        let kind = match words.get("kind") {
            Some("aliases") => Kind::Aliases,
            Some("map") => Kind::Map,
            Some("class") => Kind::Class,
            Some(_) => return Err(wrong("kind: expected map, aliases or class")),
            None if connection.map == "aliases" => Kind::Aliases,
            None => Kind::Map,
        };
        let name = ldap_escape(connection.map.as_str());
        let cluster = words.get("cluster-name").map(|cluster| {
            let cluster = ldap_escape(cluster);
            format!("(sendmailMTACluster={cluster})")
        });
        let host = match words.get("host-name") {
            Some(host) => host.to_owned(),
            // sendmail's $j.
            None => Machine::of(connection.root.as_deref())?.name,
        };
        let host = ldap_escape(host.as_str());
        let whose = format!("(|{}(sendmailMTAHost={host}))", cluster.unwrap_or_default());
        let filter = match (words.get("filter"), kind) {
            (Some(filter), _) => filter.to_owned(),
            (None, Kind::Map) => {
                format!("(&(objectClass=sendmailMTAMapObject){whose}(sendmailMTAMapName={name}))")
            }
            (None, Kind::Aliases) => format!(
                "(&(objectClass=sendmailMTAAliasObject){whose}(sendmailMTAAliasGrouping={name}))"
            ),
            (None, Kind::Class) => {
                format!("(&(objectClass=sendmailMTAClass){whose}(sendmailMTAClassName={name}))")
            }
        };
        let value = match kind {
            Kind::Map => "sendmailMTAMapValue",
            Kind::Aliases => "sendmailMTAAliasValue",
            Kind::Class => "sendmailMTAClassValue",
        };
        let key = words.get("key-attribute").unwrap_or("sendmailMTAKey");
        Ok(Search {
            base: words
                .get("base")
                .ok_or_else(|| wrong("base: it is missing, where the search begins"))?
                .to_owned(),
            filter,
            key: (kind != Kind::Class).then(|| key.to_owned()),
            value: words.get("value-attribute").unwrap_or(value).into(),
            kind,
            empty: match words.get("empty") {
                None | Some("no") => Empty::Fault,
                Some("yes") => Empty::Map,
                Some(_) => return Err(wrong("empty: expected yes or no")),
            },
        })
    }

    pub(super) fn take(&self, entry: SearchEntry, entries: &mut Entries) -> Result<usize, Fault> {
        let dn = entry.dn.clone();
        let attribute = |name: &str| -> Vec<Vec<u8>> {
            let same = |key: &&String| key.eq_ignore_ascii_case(name);
            let text = entry
                .attrs
                .keys()
                .find(same)
                .and_then(|k| entry.attrs.get(k));
            let binary = entry.bin_attrs.keys().find(same);
            let binary = binary.and_then(|k| entry.bin_attrs.get(k));
            let text = text.into_iter().flatten().map(|v| v.clone().into_bytes());
            text.chain(binary.into_iter().flatten().cloned()).collect()
        };
        let bad = |why: &str| Fault::new(SysExit::DataErr, format!("{dn}: {why}"));
        let mut values = attribute(&self.value);
        let Some(key) = &self.key else {
            return Ok(take_words(&values, entries));
        };
        let value = match (self.kind, values.len()) {
            (_, 0) => return Err(bad(&format!("it has no {}", self.value))),
            (Kind::Map, 1) => values.swap_remove(0),
            (Kind::Map, _) => return Err(bad(&format!("it has several {}", self.value))),
            (Kind::Aliases | Kind::Class, _) => values.join(&b", "[..]),
        };
        let keys = attribute(key);
        if keys.is_empty() {
            return Err(bad(&format!("it has no {key}")));
        }
        let mut octets = 0;
        for key in keys {
            let key = key.to_ascii_lowercase();
            octets += key.len() + value.len();
            if let Some(other) = entries.insert(key.clone(), value.clone())
                && other != value
            {
                let key = String::from_utf8_lossy(&key);
                return Err(bad(&format!(
                    "another entry has the key {key} and another value"
                )));
            }
        }
        Ok(octets)
    }
}

/// Takes the words of a class: several may stand in a value (op.me, "F"). An entry without any is
/// a class without words.
fn take_words(values: &[Vec<u8>], entries: &mut Entries) -> usize {
    let mut octets = 0;
    let words = values.iter().flat_map(|v| v.split(u8::is_ascii_whitespace));
    for word in words.filter(|word| !word.is_empty()) {
        let key = word.to_ascii_lowercase();
        octets += 2 * word.len();
        entries.entry(key).or_insert_with(|| word.to_vec());
    }
    octets
}
