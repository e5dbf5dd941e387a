//! What is searched for, and what the entries that are found mean.

use ldap3::{SearchEntry, ldap_escape};
use libmaps::site::ldap::attributes::{Attribute, Attributes, Role};
use libmaps::store::shared::{Connection, Words};
use libmaps::sysexits::SysExit;

use super::Entries;
use super::own::{Own, host_of};
use super::reference::{Reference, check_nesting};
use crate::fault::Fault;

/// What is searched for.
pub(super) struct Search {
    pub(super) base: String,
    pub(super) filter: String,
    /// The attribute that is the LHS; none of a class, whose LHS are the words.
    pub(super) key: Option<String>,
    pub(super) attributes: Attributes,
    pub(super) kind: Kind,
    pub(super) empty: Empty,
    /// Of sendmail's own schema, what its entries are; none of what is the site's own.
    pub(super) own: Option<Own>,
    pub(super) transactions: Transactions,
}

/// Whether maps are written by transactions, of which consumers of the server may lose a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transactions {
    /// The site says that there are none.
    Welcome,
    /// It does not.
    Refused,
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

    fn of(words: &Words, map: &str) -> Result<Self, Fault> {
        Ok(match words.get("kind") {
            Some("aliases") => Kind::Aliases,
            Some("map") => Kind::Map,
            Some("class") => Kind::Class,
            Some(_) => return Err(wrong("kind: expected map, aliases or class")),
            None if map == "aliases" => Kind::Aliases,
            None => Kind::Map,
        })
    }
}

/// An entry that was found.
pub(super) struct Found {
    pub(super) dn: String,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) values: Vec<Vec<u8>>,
    /// Searches that give further values.
    pub(super) references: Vec<Reference>,
}

impl Found {
    /// A fault of this entry's.
    pub(super) fn fault(&self, why: &str) -> Fault {
        Fault::new(SysExit::DataErr, format!("{}: {why}", self.dn))
    }

    /// How much of it is held in memory.
    pub(super) fn octets(&self) -> usize {
        let values = self.values.iter().map(Vec::len);
        let references = self.references.iter().map(|r| r.text().len());
        values.chain(references).sum::<usize>() + self.dn.len()
    }
}

fn wrong(why: &str) -> Fault {
    Fault::new(SysExit::Config, why.to_owned())
}

impl Search {
    /// sendmail's defaults for class `ldap`, unless the connection file says otherwise.
    pub(super) fn of(connection: &Connection) -> Result<Self, Fault> {
        let words = &connection.words;
        let kind = Kind::of(words, &connection.map)?;
        let filter = match words.get("filter") {
            Some(filter) => filter.to_owned(),
            None => filter_of(connection, kind)?,
        };
        check_nesting(&filter).map_err(|why| wrong(&format!("filter: {why}")))?;
        let attributes = words.get("value-attribute");
        let attributes = attributes.unwrap_or(kind.schema().values);
        let key = words.get("key-attribute").unwrap_or("sendmailMTAKey");
        let base = words
            .get("base")
            .ok_or_else(|| wrong("base: it is missing, where the search begins"))?;
        Ok(Search {
            base: base.to_owned(),
            filter,
            key: (kind != Kind::Class).then(|| key.to_owned()),
            attributes: Attributes::parse(attributes)
                .map_err(|why| wrong(&format!("value-attribute: {why}")))?,
            kind,
            empty: match words.get("empty") {
                None | Some("no") => Empty::Fault,
                Some("yes") => Empty::Map,
                Some(_) => return Err(wrong("empty: expected yes or no")),
            },
            own: Own::of(connection, kind, base)?,
            transactions: match words.get("transactions") {
                None | Some("no") => Transactions::Refused,
                Some("yes") => Transactions::Welcome,
                Some(_) => return Err(wrong("transactions: expected yes or no")),
            },
        })
    }

    /// The names of the attributes to ask for.
    pub(super) fn names(&self) -> Vec<&str> {
        let attributes = self.attributes.iter().map(|a| a.name.as_str());
        let mut names: Vec<&str> = attributes.collect();
        names.extend(["objectClass", "entryCSN"]);
        names.extend(self.key.as_deref());
        names
    }

    /// Reads these attributes of an entry, and its keys.
    pub(super) fn read<'a>(
        &self,
        entry: &SearchEntry,
        attributes: impl IntoIterator<Item = &'a Attribute>,
    ) -> Result<Found, Fault> {
        let mut found = Found {
            dn: entry.dn.clone(),
            keys: match &self.key {
                Some(key) => values(entry, key),
                None => Vec::new(),
            },
            values: Vec::new(),
            references: Vec::new(),
        };
        let classes = values(entry, "objectClass");
        let is_of = |class: &String| {
            classes
                .iter()
                .any(|c| c.eq_ignore_ascii_case(class.as_bytes()))
        };
        for attribute in attributes {
            if !attribute.of_classes.is_empty() && !attribute.of_classes.iter().any(is_of) {
                continue;
            }
            for value in values(entry, &attribute.name) {
                match Reference::of(attribute.role, &value) {
                    Ok(None) => found.values.push(value),
                    Ok(Some(reference)) => found.references.push(reference),
                    Err(why) => return Err(found.fault(&format!("{}: {why}", attribute.name))),
                }
            }
        }
        // As sendmail's flag -1 and its maps without -z: the first value is all.
        if self.kind == Kind::Map && !found.values.is_empty() {
            found.references.clear();
        }
        Ok(found)
    }

    /// The attributes that a URL names, each as our own list has it, if it does.
    pub(super) fn attributes_of(&self, names: &[String]) -> Vec<Attribute> {
        let plain = |name: &String| Attribute {
            name: name.clone(),
            role: Role::Value,
            of_classes: Vec::new(),
        };
        let is_wanted = |name: &&String| !name.eq_ignore_ascii_case("objectClass");
        let own = |name: &String| self.attributes.named(name).cloned();
        let names = names.iter().filter(is_wanted);
        names
            .map(|name| own(name).unwrap_or_else(|| plain(name)))
            .collect()
    }

    /// The value of an entry whose searches were made; none: it has none, or a map's has several.
    pub(super) fn value_of(&self, found: &Found) -> Option<Vec<u8>> {
        match (self.kind, found.values.as_slice()) {
            (_, []) => None,
            (Kind::Map, [value]) => Some(value.clone()),
            (Kind::Map, _) => None,
            (Kind::Aliases | Kind::Class, values) => Some(values.join(&b", "[..])),
        }
    }

    /// Puts an entry, whose searches were made, into the map; says how many octets it takes.
    pub(super) fn put(&self, found: &Found, entries: &mut Entries) -> Result<usize, Fault> {
        let Some(key) = &self.key else {
            return Ok(put_words(&found.values, entries));
        };
        let Some(value) = self.value_of(found) else {
            let named = self.attributes.of_values();
            return match (found.values.is_empty(), found.references.is_empty()) {
                // For sendmail there is no such key then.
                (true, false) => Ok(0),
                (true, true) => Err(found.fault(&format!("it has no {named}"))),
                (false, false) => Err(found.fault("its searches find several values")),
                (false, true) => Err(found.fault(&format!("it has several {named}"))),
            };
        };
        if found.keys.is_empty() {
            return Err(found.fault(&format!("it has no {key}")));
        }
        let mut octets = 0;
        for key in &found.keys {
            let key = key.to_ascii_lowercase();
            octets += key.len() + value.len();
            if let Some(other) = entries.insert(key.clone(), value.clone())
                && other != value
            {
                let key = String::from_utf8_lossy(&key);
                return Err(found.fault(&format!(
                    "another entry has the key {key} and another value"
                )));
            }
        }
        Ok(octets)
    }
}

/// The filter for entries of sendmail's schema.
fn filter_of(connection: &Connection, kind: Kind) -> Result<String, Fault> {
    let words = &connection.words;
    let name = ldap_escape(connection.map.as_str());
    let cluster = words.get("cluster-name").map(|cluster| {
        let cluster = ldap_escape(cluster);
        format!("(sendmailMTACluster={cluster})")
    });
    let host = host_of(connection)?;
    let host = ldap_escape(host.as_str());
    let whose = format!("(|{}(sendmailMTAHost={host}))", cluster.unwrap_or_default());
    let schema = kind.schema();
    let (class, named) = (schema.class, schema.name);
    Ok(format!("(&(objectClass={class}){whose}({named}={name}))"))
}

/// The values of an attribute, text or not.
pub(super) fn values(entry: &SearchEntry, name: &str) -> Vec<Vec<u8>> {
    let same = |key: &&String| key.eq_ignore_ascii_case(name);
    let text = entry.attrs.keys().find(same);
    let text = text.and_then(|key| entry.attrs.get(key));
    let binary = entry.bin_attrs.keys().find(same);
    let binary = binary.and_then(|key| entry.bin_attrs.get(key));
    let text = text.into_iter().flatten().map(|v| v.clone().into_bytes());
    text.chain(binary.into_iter().flatten().cloned()).collect()
}

/// Puts the words of a class: several may stand in a value (op.me, "F").
fn put_words(values: &[Vec<u8>], entries: &mut Entries) -> usize {
    let mut octets = 0;
    let words = values.iter().flat_map(|v| v.split(u8::is_ascii_whitespace));
    for word in words.filter(|word| !word.is_empty()) {
        let key = word.to_ascii_lowercase();
        octets += 2 * word.len();
        entries.entry(key).or_insert_with(|| word.to_vec());
    }
    octets
}
