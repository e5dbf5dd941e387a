//! Servers that were found behind once: a later change of theirs does not show that they have what
//! they lacked.
//!
//! A directory that is restored from a backup and written on has newer changes than the replica,
//! and yet not all of them. So what a host of the connection file lacked is noted beside the
//! replica, and the host is refused until that very change is seen there (as the newest one of its
//! provider, or as that of an entry), until it has the same map as the replica, or until an
//! administrator says that it counts.

use ldap3::ldap_escape;
use libmaps::store::shared::{Connection, Origin};
use libmaps::sysexits::SysExit;

use super::Directory;
use super::look::standing;
use super::reference::Scope;
use crate::course::{is_behind, missing_change};
use crate::engine::{Engine, Generation};
use crate::fault::Fault;
use crate::ldap::read::State;
use crate::{replica, state};

impl Directory {
    /// A change that what is here was read after, and that this host lacks, or lacked and has not
    /// shown since.
    pub(super) async fn missing(
        &mut self,
        connection: &Connection,
        here: Option<&Origin>,
        generation: &Generation,
    ) -> Result<Option<String>, Fault> {
        self.doubted.remove(&connection.file);
        let Some(here) = here else {
            return Ok(None);
        };
        let host = self.host();
        if *here == generation.origin {
            state::forget(connection, Some(&host));
            return Ok(None);
        }
        if let Some(change) = missing_change(here, &generation.origin) {
            state::note_missing(connection, &host, change);
            return Ok(Some(change.to_owned()));
        }
        for change in state::missing(connection, &host) {
            if !self.has_seen(connection, &change).await? {
                let fault = is_behind(&change, here);
                self.doubted.insert(connection.file.clone(), fault);
                return Ok(Some(change));
            }
        }
        state::forget(connection, Some(&host));
        Ok(None)
    }

    /// Before a change: a directory that is behind must not come to look newer by it. May go on to
    /// another host.
    pub(super) async fn check_ahead(
        &mut self,
        connection: &Connection,
        state: &State,
    ) -> Result<(), Fault> {
        let Some(here) = replica::origin(&connection.replica) else {
            return Ok(());
        };
        let has = standing(state)?;
        let lacks = here.standing.as_ref().and_then(|had| has.lacks(had));
        if lacks.is_none() && state::missing(connection, &self.host()).is_empty() {
            return Ok(());
        }
        let head = self.look(connection).await?;
        let there = head.map_or(Ok(None), |head| head.current.known())?;
        let there = there.map(|there| there.origin);
        match there.and_then(|there| missing_change(&here, &there).map(str::to_owned)) {
            Some(change) => Err(is_behind(&change, &here)),
            None => self.doubt(connection),
        }
    }

    /// As the connection file names the server that is asked.
    fn host(&self) -> String {
        let host = self.server.hosts.get(self.at);
        host.map_or(String::new(), |(host, port)| format!("{host}:{port}"))
    }

    async fn has_seen(&mut self, connection: &Connection, change: &str) -> Result<bool, Fault> {
        let state = self.found.get(&connection.file).map(|found| &found.state);
        let state = state.cloned().unwrap_or_default();
        if state.values().flatten().any(|newest| newest == change) {
            return Ok(true);
        }
        let filter = format!("(entryCSN={})", ldap_escape(change));
        for context in state.keys() {
            let mut is_seen = false;
            let done = self.find(context, Scope::Subtree, &filter, vec!["1.1"], |_| {
                is_seen = true;
                Ok(())
            });
            match done.await {
                _ if is_seen => return Ok(true),
                Err(fault) if fault.exit == SysExit::TempFail => return Err(fault),
                // A part of the tree that is elsewhere, or not for us to see.
                _ => {}
            }
        }
        Ok(false)
    }
}
