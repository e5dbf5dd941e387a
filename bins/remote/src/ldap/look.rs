//! Looking at a map: the search, made anew when the directory has changed, on the first of its hosts
//! that is not behind.

use std::time::Duration;

use libmaps::map::MapClass;
use libmaps::store::redb::Duplicates;
use libmaps::store::shared::{Connection, Digest, Offer, Origin, Standing, Way};
use libmaps::sysexits::SysExit;

use super::open::open;
use super::read::State;
use super::search::Search;
use super::{Directory, Entries, LONGEST_SEARCH};
use crate::engine::Generation;
use crate::fault::Fault;

/// How often a search is made anew because the directory changed meanwhile.
const TRIES: u32 = 5;

/// What a search gave.
pub(super) struct Found {
    pub(super) state: State,
    /// The newest change of the entry that stands for the map, if it has one.
    marker: Option<String>,
    pub(super) generation: Generation,
    pub(super) entries: Entries,
}

impl Directory {
    /// What one host has of a map.
    pub(super) async fn look_here(&mut self, connection: &Connection) -> Result<Generation, Fault> {
        let search = Search::of(connection)?;
        self.looked.clone_from(&connection.file);
        let mut contexts = match self.found.get(&connection.file) {
            Some(found) => found.state.keys().cloned().collect(),
            None => self.contexts([search.base.as_str()]).await?,
        };
        for _ in 0..TRIES {
            let state = self.state(&contexts).await?;
            let marker = self.marker_of(&search).await?;
            let known = self.found.get(&connection.file);
            let is_same = |found: &&Found| found.state == state && found.marker == marker;
            if let Some(found) = known.filter(is_same) {
                return Ok(found.generation.clone());
            }
            let searched = tokio::time::timeout(LONGEST_SEARCH, self.search(&search)).await;
            let Ok(searched) = searched else {
                let why = format!("the search took more than {} s", LONGEST_SEARCH.as_secs());
                return Err(Fault::new(SysExit::TempFail, why));
            };
            let read = searched?;
            // Entries may name searches of other parts of the directory, whose changes count too.
            let names = read.bases.iter().map(String::as_str);
            let searched = self.contexts(names.chain([search.base.as_str()])).await?;
            if searched != contexts {
                contexts = searched;
                continue;
            }
            let is_same = self.state(&contexts).await? == state;
            if is_same && self.marker_of(&search).await? == marker {
                let generation = generation(&read.entries, &read.newest, standing(&state)?)?;
                let found = Found {
                    state,
                    marker,
                    generation: generation.clone(),
                    entries: read.entries,
                };
                self.found.insert(connection.file.clone(), found);
                return Ok(generation);
            }
        }
        let why = "the directory changes faster than it can be read";
        Err(Fault::new(SysExit::TempFail, why))
    }

    /// The newest change of the entry that stands for the map, where there may be one.
    async fn marker_of(&mut self, search: &Search) -> Result<Option<String>, Fault> {
        match &search.own {
            Some(own) => self.marker(own).await,
            None => Ok(None),
        }
    }

    /// Goes on to the next host that can be reached, since this one lacks a change; `false`: there
    /// is none before the `first` comes again.
    pub(super) async fn next_host(&mut self, first: usize, change: &str) -> bool {
        let count = self.server.hosts.len();
        let behind = self.at;
        for at in (behind + 1..behind + count).map(|at| at % count) {
            if at == first {
                break;
            }
            let Some((host, port)) = self.server.hosts.get(at).cloned() else {
                break;
            };
            if let Ok(ldap) = open(&self.server, &host, port).await {
                if let Some((old, port)) = self.server.hosts.get(behind) {
                    self.notes.push(format!(
                        "{old}:{port} is behind, it lacks the change {change}; {host} is asked"
                    ));
                }
                (self.ldap, self.at) = (ldap, at);
                self.found.clear();
                return true;
            }
        }
        false
    }
}

/// How far the naming contexts have come that were searched.
pub(super) fn standing(state: &State) -> Result<Standing, Fault> {
    let changes = state.iter().flat_map(|(context, changes)| {
        let changes = changes.iter().map(String::as_str);
        changes.map(|change| (context.as_str(), change))
    });
    Standing::of(changes).ok_or_else(|| {
        let why = "contextCSN: expected a change number such as 20261126.1Z#000000#001#000000";
        Fault::new(SysExit::DataErr, why)
    })
}

/// The generation that these entries are.
fn generation(entries: &Entries, newest: &str, standing: Standing) -> Result<Generation, Fault> {
    let mut digest = Digest::default();
    for (lhs, rhs) in entries {
        digest.add(lhs, 0, rhs);
    }
    // 20261126023201.123456Z#000000#001#000000
    let digits: String = newest.chars().take_while(char::is_ascii_digit).collect();
    let number = digits.parse::<u64>().unwrap_or(0);
    Ok(Generation {
        origin: Origin {
            generation: number,
            mark: digest.to_string(),
            serial: None,
            standing: Some(standing),
        },
        base: None,
        offer: Offer {
            way: Way::Full,
            digest,
            class: MapClass::Hash,
            duplicates: Duplicates::None,
            options: String::new(),
            source: None,
            program: concat!("mapremote ", env!("CARGO_PKG_VERSION")).into(),
        },
        host: String::new(),
        age: Duration::ZERO,
    })
}
