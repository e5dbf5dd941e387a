//! The entries of sendmail's own schema: what those of a map are called, and how new ones are made.

use std::collections::HashSet;

use ldap3::dn_escape;
use libmaps::site::Machine;
use libmaps::store::shared::Connection;

use super::search::Kind;
use crate::fault::Fault;

/// The words of a connection file that make entries others than those of sendmail's schema.
const OWN: [&str; 3] = ["filter", "key-attribute", "value-attribute"];
/// The key and the map's name of an entry that is made and deleted again to see what is allowed.
const PROBE: &str = "mapremote-probe";
/// The longest first part of a name that OpenLDAP's back-mdb keeps, in octets: it keeps the part
/// twice, in an item of 511.
const MAX_RDN_OCTETS: usize = 240;

/// The attributes of an entry that is to be made.
pub(super) type Made = Vec<(Vec<u8>, HashSet<Vec<u8>>)>;

/// What sendmail's schema calls the parts of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    /// The class of an entry.
    pub(super) class: &'static str,
    /// The attribute that says of which map an entry is.
    pub(super) name: &'static str,
    /// The attributes that are values, as sendmail's `-v` has them.
    pub(super) values: &'static str,
}

impl Kind {
    /// Its own list for aliases asks for searches in entries of class sendmailMTAMapObject, which
    /// aliases are not; cf/README says what was meant.
    pub(super) fn schema(self) -> Schema {
        match self {
            Kind::Map => Schema {
                class: "sendmailMTAMapObject",
                name: "sendmailMTAMapName",
                values: "sendmailMTAMapValue,\
                     sendmailMTAMapSearch:FILTER:sendmailMTAMapObject,\
                     sendmailMTAMapURL:URL:sendmailMTAMapObject",
            },
            Kind::Aliases => Schema {
                class: "sendmailMTAAliasObject",
                name: "sendmailMTAAliasGrouping",
                values: "sendmailMTAAliasValue,\
                     sendmailMTAAliasSearch:FILTER:sendmailMTAAliasObject,\
                     sendmailMTAAliasURL:URL:sendmailMTAAliasObject",
            },
            Kind::Class => Schema {
                class: "sendmailMTAClass",
                name: "sendmailMTAClassName",
                values: "sendmailMTAClassValue,\
                     sendmailMTAClassSearch:FILTER:sendmailMTAClass,\
                     sendmailMTAClassURL:URL:sendmailMTAClass",
            },
        }
    }
}

/// The host whose entries count: sendmail's $j.
pub(super) fn host_of(connection: &Connection) -> Result<String, Fault> {
    match connection.words.get("host-name") {
        Some(host) => Ok(host.to_owned()),
        None => Ok(Machine::of(connection.root.as_deref())?.name),
    }
}

/// A map whose entries are those of sendmail's own schema, so that it is known what a new one
/// needs.
#[derive(Clone, Debug)]
pub(super) struct Own {
    schema: Schema,
    /// The class of the entry that stands for the whole map.
    whole: &'static str,
    /// All classes that an entry of the map and nothing else is of.
    classes: [&'static str; 4],
    base: String,
    map: String,
    /// Whom new entries are valid for: the attribute and its value.
    owner: (&'static str, String),
}

impl Own {
    /// `None`: the filter or the attributes are the site's own, or it is a class.
    pub(super) fn of(
        connection: &Connection,
        kind: Kind,
        base: &str,
    ) -> Result<Option<Self>, Fault> {
        let words = &connection.words;
        let (whole, classes) = match kind {
            _ if OWN.iter().any(|word| words.get(word).is_some()) => return Ok(None),
            Kind::Class => return Ok(None),
            Kind::Map => (
                "sendmailMTAMap",
                [
                    "top",
                    "sendmailMTA",
                    "sendmailMTAMap",
                    "sendmailMTAMapObject",
                ],
            ),
            Kind::Aliases => (
                "sendmailMTAAlias",
                [
                    "top",
                    "sendmailMTA",
                    "sendmailMTAAlias",
                    "sendmailMTAAliasObject",
                ],
            ),
        };
        Ok(Some(Own {
            schema: kind.schema(),
            whole,
            classes,
            base: base.to_owned(),
            map: connection.map.clone(),
            owner: match words.get("cluster-name") {
                Some(cluster) => ("sendmailMTACluster", cluster.to_owned()),
                None => ("sendmailMTAHost", host_of(connection)?),
            },
        }))
    }

    /// Whether a class is one of an entry of the map and nothing else.
    pub(super) fn is_class(&self, class: &[u8]) -> bool {
        let mut all = self.classes.iter();
        all.any(|own| class.eq_ignore_ascii_case(own.as_bytes()))
    }

    /// The name and the attributes, but for the value, of a new entry; or why the key can be in no
    /// entry's name.
    pub(super) fn entry(&self, key: &str) -> Result<(String, Made), String> {
        let (owner, whose) = (self.owner.0, self.owner.1.as_str());
        let parts = [
            ("sendmailMTAKey", key),
            (self.schema.name, &self.map),
            (owner, whose),
        ];
        let dn = self.dn(&parts)?;
        Ok((dn, made(self.schema.class, &parts)))
    }

    /// The name of the entry that stands for the whole map.
    pub(super) fn marker_dn(&self) -> Result<String, String> {
        self.dn(&self.marker_parts())
    }

    /// The attributes of the entry that stands for the whole map, with this text.
    pub(super) fn marker(&self, text: &str) -> Made {
        let [name, owner] = self.marker_parts();
        made(self.whole, &[name, owner, ("description", text)])
    }

    fn marker_parts(&self) -> [(&'static str, &str); 2] {
        [(self.schema.name, &self.map), (self.owner.0, &self.owner.1)]
    }

    /// An entry as those of the map, but of a map that nobody has and valid for nobody.
    pub(super) fn probe(&self) -> Result<(String, Made), String> {
        let parts = [("sendmailMTAKey", PROBE), (self.schema.name, PROBE)];
        Ok((self.dn(&parts)?, made(self.schema.class, &parts)))
    }

    fn dn(&self, parts: &[(&str, &str)]) -> Result<String, String> {
        let parts: Vec<String> = parts
            .iter()
            .map(|(name, value)| format!("{name}={}", dn_escape(*value)))
            .collect();
        let rdn = parts.join("+");
        match rdn.len() > MAX_RDN_OCTETS {
            true => Err(format!(
                "an entry's name would begin with {} octets: a directory takes {MAX_RDN_OCTETS}",
                rdn.len()
            )),
            false => Ok(format!("{rdn},{}", self.base)),
        }
    }
}

fn made(class: &str, parts: &[(&str, &str)]) -> Made {
    let of_class = [("objectClass", class)];
    let all = of_class.iter().chain(parts);
    all.map(|(name, value)| {
        let values = HashSet::from([value.as_bytes().to_vec()]);
        (name.as_bytes().to_vec(), values)
    })
    .collect()
}

/// A key as a directory compares it: blanks at its ends and all but one of several in a row do not
/// count, nor do capitals (RFC 4518). What else Unicode takes for the same is left to the server.
pub(super) fn compared(key: &str) -> String {
    let words: Vec<&str> = key.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}
