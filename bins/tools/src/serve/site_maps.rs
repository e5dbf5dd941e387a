//! The maps of a site by name, as the socketmap service answers for them.
//!
//! Only maps are served that the site's configuration names, or the command line. A client
//! can't name a file. Records of accounts are never served. Logins for other servers are served only where that is wanted: not
//! the map of FEATURE(authinfo), and no `AuthInfo:` entry of any other.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use libmaps::map::{KeyCase, Map, StoreError};
use libmaps::policy::live_classes::LiveClasses;
use libmaps::policy::live_maps::{Absence, LiveMap, LiveMaps, at_once};
use libmaps::rhs::Rhs;
use libmaps::sasl::key::is_account;
use libmaps::site::Site;
use libmaps::site::model::MapSpec;
use libmaps::store::socketmap::{Reply, Request};

use super::search::Search;

/// What entries with logins in them begin with, folded.
const SECRET_TAG: &[u8] = b"authinfo:";
/// Octets of `OK ` before a value.
const STATUS_OCTETS: usize = 3;

/// Whether logins for other servers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logins {
    /// They are not.
    Kept,
    /// They are.
    Served,
}

/// Where it is told that a map can't be read, or can be again.
pub type Report = fn(&str);

/// The maps, by name.
pub struct SiteMaps {
    classes: LiveClasses,
    /// The same maps once more, for whole searches.
    searched: LiveMaps,
    searches: Vec<(&'static str, Search)>,
    served: BTreeMap<String, Served>,
    logins: Logins,
    report: Report,
    max_reply_octets: usize,
}

/// What answers to a name: one map, or the alias files in their order.
struct Served {
    maps: Vec<Arc<Watched>>,
}

struct Watched {
    name: String,
    map: LiveMap,
    /// The last error that was reported.
    said: Mutex<Option<String>>,
}

impl SiteMaps {
    /// The maps of a site, by our names and by those of sendmail's own `K` lines, and more
    /// by names of their own. A map that can't be opened is told to `report` and looked for
    /// at each request.
    ///
    /// # Errors
    /// When a map is named in a way that can't be.
    pub fn of(
        site: &Arc<Site>,
        more: &[(String, MapSpec)],
        logins: Logins,
        max_reply_octets: usize,
        report: Report,
    ) -> Result<Self, StoreError> {
        let searches = Search::ALL.into_iter();
        let mut maps = SiteMaps {
            classes: LiveClasses::of(site),
            searched: LiveMaps::watch(site, &at_once)?,
            searches: searches
                .filter(|(_, search)| search.is_there(site))
                .collect(),
            served: BTreeMap::new(),
            logins,
            report,
            max_reply_octets,
        };
        for (name, spec) in &site.maps {
            if let Some(map) = Watched::of(site, name, spec)? {
                maps.add(&[name], &map);
            }
        }
        let features = &site.features;
        let tables: [(&[&str], Option<&MapSpec>); 6] = [
            (
                &["access"],
                features.access.as_ref().map(|access| &access.map),
            ),
            (&["mailertable"], features.mailertable.as_ref()),
            (
                &["virtusertable", "virtuser"],
                features.virtusertable.as_ref(),
            ),
            (
                &["genericstable", "generics"],
                features.genericstable.as_ref(),
            ),
            (&["domaintable"], features.domaintable.as_ref()),
            (
                &["authinfo"],
                features
                    .authinfo
                    .as_ref()
                    .filter(|_| logins == Logins::Served),
            ),
        ];
        for (names, spec) in tables {
            if let (Some(name), Some(spec)) = (names.first(), spec)
                && let Some(map) = Watched::of(site, name, spec)?
            {
                maps.add(names, &map);
            }
        }
        let mut aliases = Vec::new();
        for file in site.alias_files() {
            if let Some(map) = Watched::aliases(site, &file.map)? {
                maps.add(&[&file.map.name], &map);
                aliases.push(map);
            }
        }
        if !aliases.is_empty() {
            let served = Served { maps: aliases };
            maps.served.insert("aliases".into(), served);
        }
        for (name, spec) in more {
            if let Some(map) = Watched::of(site, name, spec)? {
                maps.add(&[name], &map);
            }
        }
        Ok(maps)
    }

    fn add(&mut self, names: &[&str], map: &Arc<Watched>) {
        for name in names {
            let maps = vec![Arc::clone(map)];
            self.served
                .insert(name.to_ascii_lowercase(), Served { maps });
        }
    }

    /// The names that are answered for, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.served.keys().map(String::as_str)
    }

    /// Looks whether each map can be opened, and reports those that can't.
    pub fn look_over(&self) {
        for map in self.served.values().flat_map(|served| &served.maps) {
            let _ = map.current(self.report);
        }
    }

    /// Says it where this service's words go.
    pub(super) fn report(&self, text: &str) {
        (self.report)(text);
    }

    /// The reply to a request.
    #[must_use]
    pub fn answer(&self, request: &Request<'_>) -> Reply {
        let name = String::from_utf8_lossy(request.map).to_ascii_lowercase();
        if let Some((_, search)) = self.searches.iter().find(|(known, _)| *known == name) {
            return self.search(*search, request.key);
        }
        // Whatever map it stands in, it is nobody's business here.
        if is_account(request.key) {
            return Reply::Perm("the record of an account, which is not served".into());
        }
        let Some(served) = self.served.get(&name) else {
            let shown: String = name.chars().filter(|c| !c.is_control()).collect();
            return Reply::Perm(format!("{shown}: no such map here"));
        };
        for map in &served.maps {
            match map.get(request.key, self.report) {
                Ok(None) => {}
                Ok(Some(_)) if self.logins == Logins::Kept && is_secret(request.key) => {
                    return Reply::Perm("an entry with a login, which is not served".into());
                }
                Ok(Some(value)) => return self.value(value),
                Err(error) => return failure(&error),
            }
        }
        Reply::NotFound
    }

    /// A map that the search asks and that never could be read is an error, as for a lookup.
    fn search(&self, search: Search, key: &[u8]) -> Reply {
        let mut faults = 0;
        let maps = self.searched.snapshot(|_| faults += 1);
        if faults > 0 {
            // The same files, each of whose errors is reported once.
            self.look_over();
        }
        let site = self.classes.site(|news| (self.report)(&news.to_string()));
        match search.answer(&site, &maps, key) {
            Reply::Ok(value) => self.value(Rhs::from(value)),
            reply => reply,
        }
    }

    /// A value that is too long for the client is an error; half of it would be a lie.
    fn value(&self, value: Rhs) -> Reply {
        let octets = value.as_bytes();
        let whole = octets.len() + STATUS_OCTETS;
        if whole > self.max_reply_octets {
            let most = self.max_reply_octets;
            return Reply::Perm(format!("a value of {whole} octets; --max-reply is {most}"));
        }
        Reply::Ok(octets.to_vec())
    }
}

/// Whether an entry of this key holds a login for another server.
pub(crate) fn is_secret(key: &[u8]) -> bool {
    let head = key.get(..SECRET_TAG.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(SECRET_TAG))
}

/// A map that can't be read is never "not found".
fn failure(error: &StoreError) -> Reply {
    match error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
            Reply::Timeout(error.to_string())
        }
        _ => Reply::Temp(error.to_string()),
    }
}

impl Watched {
    fn of(site: &Site, name: &str, spec: &MapSpec) -> Result<Option<Arc<Self>>, StoreError> {
        let map = LiveMap::of(site, spec, &at_once)?;
        Ok(map.map(|map| Watched::named(name, map)))
    }

    fn aliases(site: &Site, spec: &MapSpec) -> Result<Option<Arc<Self>>, StoreError> {
        let map = LiveMap::aliases(site, spec, &at_once, Absence::AsConfigured)?;
        Ok(map.map(|map| Watched::named(&spec.name, map)))
    }

    fn named(name: &str, map: LiveMap) -> Arc<Self> {
        Arc::new(Watched {
            name: name.to_owned(),
            map,
            said: Mutex::new(None),
        })
    }

    /// The newest map that can be read; none where it may be missing, and is.
    fn current(&self, report: Report) -> Result<Option<Arc<dyn Map>>, StoreError> {
        let fresh = self.map.refresh();
        let text = fresh.as_ref().err().map(ToString::to_string);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != text {
            match &text {
                Some(text) => report(&format!("map {}: {text}", self.name)),
                None => report(&format!("map {}: readable again", self.name)),
            }
            *said = text;
        }
        drop(said);
        match (self.map.current(), fresh) {
            (Some(map), _) => Ok(Some(map)),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(None),
        }
    }

    fn get(&self, key: &[u8], report: Report) -> Result<Option<Rhs>, StoreError> {
        let Some(map) = self.current(report)? else {
            return Ok(None);
        };
        let folded;
        let key = match map.key_case() {
            KeyCase::AsGiven => key,
            KeyCase::Folded => {
                folded = key.to_ascii_lowercase();
                &folded
            }
        };
        map.get(key)
    }
}
