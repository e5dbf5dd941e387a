//! LDAP, with sendmail's own schema: read alone.
//!
//! A directory has no generations. What a search gives is one: its mark is the
//! digest of the entries, its number the newest `entryCSN` among them. The
//! search is made anew when `contextCSN` of the naming context has changed,
//! and again when that changed while it ran, so that no half of a change is
//! taken for the whole. A directory has no change of many entries at once
//! either, which is why no program writes a whole map there; one entry is
//! changed at once ([`entry`]).

mod doubt;
pub mod entry;
mod open;
mod read;
mod reference;
mod resolve;
mod search;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use ldap3::{Ldap, LdapError};
use libmaps::map::MapClass;
use libmaps::store::redb::Duplicates;
use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Connection, Digest, Offer, Origin, Server, Standing, Way};
use libmaps::sysexits::SysExit;

use crate::engine::{
    Amount, Current, Engine, Generation, Generations, Give, Head, Left, Switch, Take,
};
use crate::fault::{Fault, chain};
use crate::{replica, state};

use open::open;
use read::State;
use search::Search;

/// How often a search is made anew because the directory changed meanwhile.
const TRIES: u32 = 5;
/// How long a search may take, with those that its entries name.
const LONGEST_SEARCH: Duration = Duration::from_secs(600);

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A connection to a directory.
pub struct Directory {
    ldap: Ldap,
    server: Server,
    /// Which of the server's hosts it is.
    at: usize,
    timeout: Duration,
    /// By connection file: maps of one name may have other bases.
    found: HashMap<PathBuf, Found>,
    /// The one that was looked at last.
    looked: PathBuf,
    /// Why what was found is not to be followed, by connection file.
    doubted: HashMap<PathBuf, Fault>,
    notes: Vec<String>,
}

/// What a search gave.
struct Found {
    state: State,
    generation: Generation,
    entries: Entries,
}

impl From<LdapError> for Fault {
    fn from(error: LdapError) -> Self {
        let exit = match &error {
            // invalidCredentials, insufficientAccessRights, noSuchObject and their like (RFC 4511
            // section 4.1.9) are not mended by waiting; busy and unavailable are.
            LdapError::LdapResult { result } if ![51, 52, 80].contains(&result.rc) => {
                SysExit::Config
            }
            LdapError::FilterParsing => SysExit::Config,
            _ => SysExit::TempFail,
        };
        Fault::new(exit, chain(&error))
    }
}

impl Directory {
    /// What one host has of a map.
    async fn look_here(&mut self, connection: &Connection) -> Result<Generation, Fault> {
        let search = Search::of(connection)?;
        self.looked.clone_from(&connection.file);
        let mut contexts = match self.found.get(&connection.file) {
            Some(found) => found.state.keys().cloned().collect(),
            None => self.contexts([search.base.as_str()]).await?,
        };
        for _ in 0..TRIES {
            let state = self.state(&contexts).await?;
            let known = self.found.get(&connection.file);
            if let Some(found) = known.filter(|found| found.state == state) {
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
            if self.state(&contexts).await? == state {
                let found = Found {
                    generation: generation(&read.entries, &read.newest, standing(&state)?)?,
                    state,
                    entries: read.entries,
                };
                self.found.insert(connection.file.clone(), found);
            }
        }
        let why = "the directory changes faster than it can be read";
        Err(Fault::new(SysExit::TempFail, why))
    }

    /// Goes on to the next host that can be reached, since this one lacks a change; `false`: there
    /// is none before the `first` comes again.
    async fn next_host(&mut self, first: usize, change: &str) -> bool {
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
fn standing(state: &State) -> Result<Standing, Fault> {
    let changes = state.iter().flat_map(|(context, changes)| {
        let changes = changes.iter().map(String::as_str);
        changes.map(|change| (context.as_str(), change))
    });
    Standing::of(changes).ok_or_else(|| {
        let why = "contextCSN: expected a change number such as 20261126.1Z#000000#001#000000";
        Fault::new(SysExit::DataErr, why)
    })
}

/// Takes what the directory has now, though it may be behind what is here: an administrator says
/// so, with the number that `mapctl generations` shows.
///
/// # Errors
/// The directory has another generation, or can't be asked.
pub(crate) async fn believe(connection: &Connection, number: u64) -> Result<(), Fault> {
    let mut engine = Directory::connect(&connection.server).await?;
    let head = engine.look(connection).await?;
    let Some(there) = head.map_or(Ok(None), |head| head.current.known())? else {
        return Ok(());
    };
    let has = there.origin.generation;
    if has != number {
        let why = format!("generation {number} is not kept; the directory has {has} alone");
        return Err(Fault::new(SysExit::Unavailable, why));
    }
    replica::replace(&mut engine, connection, &there).await?;
    // What other hosts lacked was of what was here before.
    state::forget(connection, None);
    Ok(())
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

impl Engine for Directory {
    async fn connect(server: &Server) -> Result<Self, Fault> {
        let mut last = Fault::new(SysExit::Config, "host: it is missing");
        for (at, (host, port)) in server.hosts.iter().enumerate() {
            match open(server, host, *port).await {
                Ok(ldap) => {
                    return Ok(Directory {
                        ldap,
                        server: server.clone(),
                        at,
                        timeout: server.timeout,
                        found: HashMap::new(),
                        looked: PathBuf::new(),
                        doubted: HashMap::new(),
                        notes: Vec::new(),
                    });
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn listen(&mut self, _maps: &[String]) -> Result<(), Fault> {
        Ok(())
    }

    async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault> {
        tokio::time::sleep(time).await;
        Ok(None)
    }

    async fn look(&mut self, connection: &Connection) -> Result<Option<Head>, Fault> {
        let here = replica::origin(&connection.replica);
        let first = self.at;
        loop {
            let generation = self.look_here(connection).await?;
            let missing = self.missing(connection, here.as_ref(), &generation);
            let is_last = match missing.await? {
                Some(change) => !self.next_host(first, &change).await,
                None => true,
            };
            if is_last {
                return Ok(Some(Head {
                    serial: 0,
                    last: 0,
                    current: Current::of(Ok(generation), None),
                }));
            }
        }
    }

    fn doubt(&self, connection: &Connection) -> Result<(), Fault> {
        match self.doubted.get(&connection.file) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    async fn leave(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    async fn recover(&mut self) -> Result<(), Fault> {
        let asked = self.attributes("", "(objectClass=*)", &["namingContexts"]);
        asked.await.map(drop)
    }

    async fn stay(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    async fn lock(&mut self, _map: &str) -> Result<Head, Fault> {
        Err(read_alone())
    }

    async fn generations(&mut self, _map: &str) -> Result<Generations, Fault> {
        let found = self.found.get(&self.looked);
        Ok(found.map(|f| f.generation.clone()).into_iter().collect())
    }

    async fn entries(
        &mut self,
        _map: &str,
        _generation: &Generation,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        let entries = self.found.get(&self.looked).map(|found| &found.entries);
        for (lhs, rhs) in entries.into_iter().flatten() {
            take(Frame {
                lhs,
                place: 0,
                rhs: Some(rhs),
            })?;
        }
        Ok(())
    }

    async fn load(
        &mut self,
        _map: &str,
        _generation: &Generation,
        _give: &mut Give<'_>,
    ) -> Result<(), Fault> {
        Err(read_alone())
    }

    async fn commit(
        &mut self,
        _map: &str,
        _switch: Switch<'_>,
        _here: Option<&Origin>,
    ) -> Result<(), Fault> {
        Err(read_alone())
    }

    async fn remove(&mut self, _: &str, _: u32, _: Amount) -> Result<Left, Fault> {
        Err(read_alone())
    }
}

/// Why no program writes maps in a directory.
pub(crate) fn read_alone() -> Fault {
    let why = "maps on LDAP are read alone: a directory cannot change a whole map at once; \
               change its entries with editmap(8) or ldapmodify(1)";
    Fault::new(SysExit::Config, why)
}
