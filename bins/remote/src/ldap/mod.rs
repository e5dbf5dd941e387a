//! LDAP, with sendmail's own schema.
//!
//! A directory has no generations. What a search gives is one: its mark is the
//! digest of the entries, its number the newest `entryCSN` among them. The
//! search is made anew when `contextCSN` of the naming context has changed,
//! and again when that changed while it ran, so that no half of a change is
//! taken for the whole. One entry is changed at once ([`entry`]); many are only
//! where the server has transactions ([`whole`]).

mod bring;
mod change;
mod difference;
mod doubt;
pub mod entry;
mod job;
mod look;
mod marker;
mod open;
mod own;
mod owned;
mod read;
mod reference;
mod resolve;
mod search;
mod transaction;
mod whole;

pub(crate) use bring::bring;
pub(crate) use whole::write;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use ldap3::{Ldap, LdapError};
use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Connection, Origin, Server};
use libmaps::sysexits::SysExit;

use crate::engine::{
    Amount, Current, Engine, Generation, Generations, Give, Head, Left, Switch, Take,
};
use crate::fault::{Fault, chain};
use crate::{replica, state};

use look::Found;
use open::open;

/// How long a search may take, with those that its entries name.
const LONGEST_SEARCH: Duration = Duration::from_secs(600);

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A connection to a directory.
pub struct Directory {
    ldap: Ldap,
    server: Server,
    /// Which of the server's hosts it is.
    at: usize,
    /// By connection file: maps of one name may have other bases.
    found: HashMap<PathBuf, Found>,
    /// The one that was looked at last.
    looked: PathBuf,
    /// Why what was found is not to be followed, by connection file.
    doubted: HashMap<PathBuf, Fault>,
    notes: Vec<String>,
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
        self.recover().await
    }

    async fn lock(&mut self, _map: &str) -> Result<Head, Fault> {
        Err(no_generations())
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
        Err(no_generations())
    }

    async fn commit(
        &mut self,
        _map: &str,
        _switch: Switch<'_>,
        _here: Option<&Origin>,
    ) -> Result<(), Fault> {
        Err(no_generations())
    }

    async fn remove(&mut self, _: &str, _: u32, _: Amount) -> Result<Left, Fault> {
        Err(no_generations())
    }
}

/// A directory keeps no generations; what is written to it takes another way ([`write`]).
fn no_generations() -> Fault {
    Fault::new(SysExit::Software, "a directory keeps no generations")
}
