//! A map that is written: what differs from the directory's, in one transaction.
//!
//! The map is read, the difference computed, and all of it made at once on condition that nobody
//! has changed the map in between ([`super::marker`]); else it begins again. So of several writers
//! each is whole, and the last one counts; a writer that adds to the map adds to what the one before
//! left.
//!
//! OpenLDAP 2.5 passes changes of a transaction on to consumers one by one and before they are
//! made: what is passed on of a transaction that fails stays with them, and a consumer that asks
//! while one is made misses changes for good, though it shows the same `contextCSN`. That is why
//! the connection file has to say `transactions yes`, and why a directory of several providers is
//! refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libmaps::build::aliases::MARK;
use libmaps::store::shared::{Base, Connection, Difference, Origin, Ready};
use libmaps::sysexits::SysExit;

use super::change::Change;
use super::difference::{self, Goal};
use super::look::standing;
use super::marker::{as_it_was, touch};
use super::own::Own;
use super::owned::{There, value_name};
use super::read::{State, is_alone};
use super::resolve::{Resolved, too_much};
use super::search::{Kind, Search, Transactions};
use super::transaction::Ended;
use super::{Directory, Entries};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::replica;
use crate::write::mark;

/// How long a writer tries while others change the map.
const PATIENCE: Duration = Duration::from_secs(300);
/// The first pause before it tries again; each further one is longer by as much, up to the last.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The most changes of one transaction, and the most octets of them: the server holds them in
/// memory, and other writers wait while it makes them.
const MAX_CHANGES: usize = 100_000;
const MAX_OCTETS: usize = 256 << 20;
/// The most new entries among them. The time that slapd 2.5 takes grows with the square of their
/// number, as LMDB goes through the cursors of all before for each: 4 s for 10,000, 80 s for 50,000.
const MAX_NEW: usize = 50_000;

/// One map that is written.
pub(super) struct Job<'a> {
    connection: &'a Connection,
    pub(super) search: Search,
    own: Own,
    /// The attribute of values.
    attribute: String,
    pub(super) directory: Directory,
    contexts: BTreeSet<String>,
    /// The moment when the writer began.
    began: Moment,
    /// What a writer adds to, which its draft is made of and no other.
    base: Option<Base>,
}

/// How far a directory has come, as far as one map is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    state: State,
    /// The newest change of the marker.
    marker: String,
}

impl<'a> Job<'a> {
    pub(super) async fn begin(connection: &'a Connection) -> Result<Self, Fault> {
        let search = Search::of(connection)?;
        let refuse = |why: &str| Err(Fault::new(SysExit::Config, why));
        let own = match (&search.own, search.kind) {
            (_, Kind::Class) => {
                return refuse("the words of a class are changed with ldapmodify(1)");
            }
            (None, _) => {
                return refuse(
                    "the filter or the attributes are the site's own: what they find may be more \
                     than entries of this map; change entries with editmap(8) or ldapmodify(1)",
                );
            }
            (Some(_), _) if search.transactions == Transactions::Refused => {
                return refuse(
                    "a whole map is written to a directory in one transaction, for which the \
                     connection file has to say `transactions yes`: only of a server without \
                     consumers, which may lose changes (mapremote(8), Whole maps in a directory); change entries with \
                     editmap(8) or ldapmodify(1)",
                );
            }
            (Some(own), _) => own.clone(),
        };
        let attribute = value_name(&search)?;
        let mut directory = Directory::connect(&connection.server).await?;
        directory.check_transactions().await?;
        let contexts = directory.contexts([search.base.as_str()]).await?;
        let state = directory.state(&contexts).await?;
        if !is_alone(&state) {
            return refuse(
                "the directory has several providers, which may lose changes of a transaction; \
                 change entries with editmap(8) or ldapmodify(1)",
            );
        }
        // What can't be followed is not changed either.
        directory.check_ahead(connection, &state).await?;
        let marker = directory.make_marker(&own).await?;
        directory.probe(&own, &attribute).await?;
        Ok(Job {
            connection,
            search,
            own,
            attribute,
            directory,
            contexts,
            began: Moment { state, marker },
            base: None,
        })
    }

    /// The map that the writer adds to, which is the replica then.
    pub(super) async fn bring_base(&mut self) -> Result<Entries, Fault> {
        let now = self.read().await?;
        if now.entries.is_empty() && !self.connection.replica.exists() {
            return Ok(Entries::new());
        }
        self.directory.bring_once(self.connection).await?;
        let Some(found) = self.directory.found.get(&self.connection.file) else {
            return Ok(Entries::new());
        };
        self.base = Some(Base {
            mark: found.generation.origin.mark.clone(),
            digest: found.generation.offer.digest,
        });
        let mut entries = found.entries.clone();
        if self.search.kind == Kind::Aliases {
            entries.remove(MARK);
        }
        Ok(entries)
    }

    /// What the writer's draft says of itself until the directory is read again.
    pub(super) fn ready(&self) -> Result<Ready, Fault> {
        let here = replica::origin(&self.connection.replica);
        Ok(Ready {
            origin: Origin {
                generation: here.map_or(0, |here| here.generation),
                mark: mark()?,
                serial: None,
                standing: Some(standing(&self.began.state)?),
            },
            base: self.base.clone(),
            difference: Difference::Unwelcome,
        })
    }

    /// Makes the directory's map what is wanted.
    pub(super) async fn reach(&mut self, goal: &Goal) -> Result<(), Fault> {
        let end = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        loop {
            let now = self.read().await?;
            let (own, attribute) = (&self.own, &self.attribute);
            let changes = difference::changes(&now.entries, goal, &self.search, own, attribute)?;
            if changes.is_empty() {
                return Ok(());
            }
            check_size(&changes)?;
            if self.make(&now, changes).await? == Ended::Made {
                // Shows followers of whatever search that there is something new; the map is
                // written, whatever becomes of this.
                let _ = self.directory.touch_marker(&self.own).await;
                return Ok(());
            }
            wait(end, &mut pause, "other writers change the map all the time").await?;
        }
    }

    /// Makes these changes, all or none.
    async fn make(&mut self, now: &Now, changes: Vec<Change>) -> Result<Ended, Fault> {
        let mut transaction = self.directory.start().await?;
        let asserted = as_it_was(&now.moment.marker);
        let first = touch(&self.own)?;
        self.directory
            .add_to(&mut transaction, first, Some(&asserted))
            .await?;
        for change in changes {
            self.directory
                .add_to(&mut transaction, change, None)
                .await?;
        }
        // Those who change entries without a transaction do not touch the marker; what they did
        // while the changes were sent is seen here.
        if !self.is_still(now).await? {
            self.directory.give_up(&transaction).await?;
            return Ok(Ended::Overtaken);
        }
        self.directory.end(transaction).await
    }

    async fn is_still(&mut self, now: &Now) -> Result<bool, Fault> {
        let moment = self.moment().await?;
        if moment == now.moment {
            return Ok(true);
        }
        if moment.marker != now.moment.marker {
            return Ok(false);
        }
        let csns = |entries: &[There]| -> BTreeMap<String, Vec<u8>> {
            let all = entries.iter();
            all.map(|e| (e.found.dn.clone(), e.csn.clone())).collect()
        };
        Ok(csns(&self.entries().await?) == csns(&now.entries))
    }

    async fn moment(&mut self) -> Result<Moment, Fault> {
        let state = self.directory.state(&self.contexts).await?;
        let marker = self.directory.make_marker(&self.own).await?;
        Ok(Moment { state, marker })
    }

    /// The map of one moment.
    async fn read(&mut self) -> Result<Now, Fault> {
        let end = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        loop {
            let moment = self.moment().await?;
            let entries = self.entries().await?;
            if self.moment().await? == moment {
                return Ok(Now { moment, entries });
            }
            let why = "the directory changes faster than it can be read";
            wait(end, &mut pause, why).await?;
        }
    }

    async fn entries(&mut self) -> Result<Vec<There>, Fault> {
        let mut entries = Vec::new();
        let mut octets = 0;
        let search = &self.search;
        let work = self.directory.entries_of(search, &search.filter, |there| {
            octets += there.found.octets();
            entries.push(there);
            match octets > search.kind.max_octets() {
                true => Err(too_much(search)),
                false => Ok(()),
            }
        });
        work.await?;
        let mut resolved = Resolved::default();
        for there in entries
            .iter_mut()
            .filter(|t| !t.found.references.is_empty())
        {
            self.directory
                .resolve(search, &mut there.found, &mut resolved)
                .await?;
        }
        Ok(entries)
    }
}

/// A transaction that takes too long is worse than none.
fn check_size(changes: &[Change]) -> Result<(), Fault> {
    let octets: usize = changes.iter().map(Change::octets).sum();
    let is_new = |change: &&Change| matches!(change, Change::Add { .. });
    let new = changes.iter().filter(is_new).count();
    let why = match changes.len() {
        _ if new > MAX_NEW => format!(
            "{new} new entries: one transaction takes {MAX_NEW} at the most; write a part of the \
             text first, then more of it"
        ),
        all if all > MAX_CHANGES || octets > MAX_OCTETS => format!(
            "{all} changes of {octets} octets: one transaction takes {MAX_CHANGES} of {MAX_OCTETS} \
             at the most"
        ),
        _ => return Ok(()),
    };
    Err(Fault::new(SysExit::DataErr, why))
}

/// A map as it was read.
struct Now {
    moment: Moment,
    entries: Vec<There>,
}

/// Pauses, unless it went on for too long.
async fn wait(end: Instant, pause: &mut Duration, why: &str) -> Result<(), Fault> {
    if Instant::now() >= end {
        return Err(Fault::new(SysExit::TempFail, why));
    }
    tokio::time::sleep(*pause).await;
    *pause = (*pause + PAUSE).min(LONGEST_PAUSE);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_one_transaction_is_told_before_it_begins() {
        let add = |n: usize| Change::Add {
            dn: format!("cn={n}"),
            attributes: Vec::new(),
        };
        let delete = |n: usize| Change::Delete {
            dn: format!("cn={n}"),
        };
        let all: Vec<Change> = (0..MAX_NEW).map(add).collect();
        assert_eq!(check_size(&all), Ok(()));
        let more: Vec<Change> = (0..=MAX_NEW).map(add).collect();
        let fault = check_size(&more).unwrap_err();
        assert!(fault.why.starts_with("50001 new entries"), "{fault}");
        let many: Vec<Change> = (0..=MAX_CHANGES).map(delete).collect();
        assert!(check_size(&many).is_err());
        let large = Change::Replace {
            dn: "cn=x".into(),
            attribute: "description".into(),
            value: vec![b'x'; MAX_OCTETS],
        };
        assert!(check_size(&[large]).is_err());
    }
}
