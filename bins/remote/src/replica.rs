//! The replica of a map on this host, and how a generation becomes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use libmaps::lhs::Lhs;
use libmaps::map::{Entry, MapClass, MapName, StoreError};
use libmaps::rhs::Rhs;
use libmaps::sasl::edit::{DESCRIBED, NEW_MODE};
use libmaps::store::path::Safety;
use libmaps::store::publish::{EditBy, OnDuplicate, Options, Publisher};
use libmaps::store::redb::Duplicates;
use libmaps::store::shared::{Connection, Digest, Origin};
use libmaps::store::{self, Opened};

use crate::course;
use crate::engine::{Engine, Generation, chain};
use crate::fault::Fault;
use crate::filling::Filling;

/// The keys of differences, with all their values; none: it is gone.
type Changes = BTreeMap<Box<[u8]>, Vec<Box<[u8]>>>;

/// How a replica came to hold a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// It held it already.
    Nothing,
    /// So many keys of the generation before were changed.
    Changed {
        /// How many.
        keys: u64,
        /// Its number.
        before: u64,
    },
    /// It was written anew.
    Full {
        /// The number of the generation that it held, if it held one.
        before: Option<u64>,
    },
}

impl Update {
    /// The number of the generation that was replaced.
    #[must_use]
    pub fn replaced(self) -> Option<u64> {
        match self {
            Update::Nothing => None,
            Update::Changed { before, .. } => Some(before),
            Update::Full { before } => before,
        }
    }
}

/// Which generation the replica holds; `None` where there is none, or one that can't be read: it
/// is replaced.
#[must_use]
pub fn origin(replica: &Path) -> Option<Origin> {
    match store::open_any(replica, MapName::new(MapClass::Hash, replica)) {
        Ok(Opened::Redb(map)) => map.meta().origin.clone(),
        _ => None,
    }
}

/// How a replica was brought to a generation.
#[derive(Clone, Copy, Debug)]
pub struct Brought {
    /// What was done.
    pub update: Update,
    /// When the last of what was fetched for it was here.
    pub fetched: Instant,
}

/// Makes `wanted`, of a map that is looked at or locked, the replica.
///
/// # Errors
/// Any of them leaves the replica as it was. One is that the engine does not go on from it.
pub async fn update(
    engine: &mut impl Engine,
    connection: &Connection,
    wanted: &Generation,
    how: How,
) -> Result<Brought, Fault> {
    let replica = &connection.replica;
    let here = origin(replica);
    if here.as_ref() == Some(&wanted.origin) {
        return Ok(Brought {
            update: Update::Nothing,
            fetched: Instant::now(),
        });
    }
    engine.doubt(connection)?;
    let all = engine.generations(&connection.map).await?;
    let marks = marks(engine, connection, here.as_ref()).await?;
    course::check(here.as_ref(), wanted, &all, &marks)?;
    let chain = chain(&all, wanted.origin.generation)?;
    let known = chain.iter().position(|g| here.as_ref() == Some(&g.origin));
    let (update, fetched) = match (
        known.and_then(|at| chain.get(at).map(|base| (at, base))),
        how,
    ) {
        (Some((at, base)), _) => {
            let later = chain.get(..at).unwrap_or_default();
            change(engine, connection, base, wanted, later).await?
        }
        (None, How::Cheaply) => (Update::Nothing, Instant::now()),
        (None, How::AtAnyPrice) => write_anew(engine, connection, wanted, &chain).await?,
    };
    Ok(Brought { update, fetched })
}

/// What the engine remembers of the switch by which came what is here.
///
/// # Errors
/// The engine can't be asked.
pub async fn marks(
    engine: &mut impl Engine,
    connection: &Connection,
    here: Option<&Origin>,
) -> Result<Vec<String>, Fault> {
    match here.and_then(|here| here.serial) {
        Some(serial) => engine.marks(&connection.map, serial).await,
        None => Ok(Vec::new()),
    }
}

/// Makes `wanted`, which is whole in the engine, the replica, whatever is here.
///
/// # Errors
/// Any of them leaves the replica as it was.
pub async fn replace(
    engine: &mut impl Engine,
    connection: &Connection,
    wanted: &Generation,
) -> Result<(), Fault> {
    let chain = std::slice::from_ref(wanted);
    write_anew(engine, connection, wanted, chain)
        .await
        .map(drop)
}

/// How much it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Whatever it takes.
    AtAnyPrice,
    /// A few changes; else the replica stays what it is.
    Cheaply,
}

/// Applies the differences `later`, the last one first, to the replica, which holds `base`; says
/// as well when all was fetched.
async fn change(
    engine: &mut impl Engine,
    connection: &Connection,
    base: &Generation,
    wanted: &Generation,
    later: &[Generation],
) -> Result<(Update, Instant), Fault> {
    let changes = differences(engine, connection, later).await?;
    let fetched = Instant::now();
    let keys = changes.len() as u64;
    let mut options = options(wanted);
    options.on_duplicate = OnDuplicate::KeepAll;
    let mut publisher = Publisher::edit(&connection.replica, options)?;
    // The lock is ours now; another program may have been faster.
    match origin(&connection.replica) {
        Some(here) if here == wanted.origin => return Ok((Update::Nothing, fetched)),
        Some(here) if here == base.origin => {}
        _ => {
            let path = connection.replica.clone();
            return Err(StoreError::InUse { path }.into());
        }
    }
    let mut digest = base.offer.digest;
    for (lhs, values) in &changes {
        let old = match publisher.base() {
            Some(map) => map.get_all(lhs)?,
            None => Vec::new(),
        };
        for (rhs, place) in old.iter().zip(0..) {
            digest.remove(lhs, place, rhs.as_bytes());
        }
        publisher.remove(lhs)?;
        for (rhs, place) in values.iter().zip(0..) {
            digest.add(lhs, place, rhs);
            publisher.put(Entry::new(Lhs::from(&**lhs), Rhs::from(&**rhs)))?;
        }
    }
    compare(wanted, digest)?;
    publisher.publish()?;
    let before = base.origin.generation;
    Ok((Update::Changed { keys, before }, fetched))
}

/// Writes the replica from everything that makes `wanted` up; the last of `chain` is full. Says as
/// well when all was fetched.
async fn write_anew(
    engine: &mut impl Engine,
    connection: &Connection,
    wanted: &Generation,
    chain: &[Generation],
) -> Result<(Update, Instant), Fault> {
    let Some((full, later)) = chain.split_last() else {
        return Err(Fault::damaged("a generation without entries"));
    };
    let changes = differences(engine, connection, later).await?;
    let mut filling = Filling::begin(connection, wanted.offer.duplicates, options(wanted))?;
    let here = origin(&connection.replica);
    if here.as_ref() == Some(&wanted.origin) {
        return Ok((Update::Nothing, Instant::now()));
    }
    let mut changes = changes.into_iter().peekable();
    engine
        .entries(&connection.map, full, &mut |frame| {
            let Some(rhs) = frame.rhs else {
                return Err(Fault::damaged(
                    "a full generation has a key without a value",
                ));
            };
            while let Some((lhs, values)) = changes.next_if(|(lhs, _)| **lhs < *frame.lhs) {
                put_values(&mut filling, &lhs, &values)?;
            }
            match changes.peek() {
                Some((lhs, _)) if **lhs == *frame.lhs => Ok(()),
                _ => filling.put(frame.lhs, frame.place, rhs),
            }
        })
        .await?;
    let fetched = Instant::now();
    for (lhs, values) in changes {
        put_values(&mut filling, &lhs, &values)?;
    }
    compare(wanted, filling.digest())?;
    filling.finish()?.publish(&mut |_| Ok(()))?;
    let before = here.map(|here| here.generation);
    Ok((Update::Full { before }, fetched))
}

/// Puts the values that a key has after the differences.
fn put_values(filling: &mut Filling, lhs: &[u8], values: &[Box<[u8]>]) -> Result<(), Fault> {
    let mut values = values.iter().zip(0..);
    values.try_for_each(|(rhs, place)| filling.put(lhs, place, rhs))
}

/// What the differences, the last one first, change.
async fn differences(
    engine: &mut impl Engine,
    connection: &Connection,
    later: &[Generation],
) -> Result<Changes, Fault> {
    let mut changes = Changes::new();
    for generation in later.iter().rev() {
        let mut keys = 0;
        engine
            .entries(&connection.map, generation, &mut |frame| {
                if frame.place == 0 {
                    keys += 1;
                    changes.insert(frame.lhs.into(), Vec::new());
                }
                if let Some(rhs) = frame.rhs
                    && let Some(values) = changes.get_mut(frame.lhs)
                {
                    values.push(rhs.into());
                }
                Ok(())
            })
            .await?;
        if generation.keys() != Some(keys) {
            let number = generation.origin.generation;
            let why = format!("generation {number}: {keys} keys of its difference are there");
            return Err(Fault::damaged(why));
        }
    }
    Ok(changes)
}

/// Half a generation is none.
fn compare(wanted: &Generation, found: Digest) -> Result<(), Fault> {
    if wanted.offer.digest == found {
        return Ok(());
    }
    let (number, entries) = (wanted.origin.generation, wanted.offer.digest.entries());
    Err(Fault::damaged(format!(
        "generation {number}: {} entries with digest {found} are there, not {entries} with {}",
        found.entries(),
        wanted.offer.digest
    )))
}

fn options(wanted: &Generation) -> Options {
    let offer = &wanted.offer;
    let mut options = Options {
        on_duplicate: match offer.duplicates {
            Duplicates::None => OnDuplicate::Refuse,
            Duplicates::Kept => OnDuplicate::KeepAll,
        },
        // The file may be the TrustedUser's of the site, or of a group: what the system allows counts.
        safety: Safety::SystemRules,
        described: offer.options.clone(),
        origin: Some(wanted.origin.clone()),
        source: offer.source.clone(),
        ..Options::new(offer.class, &offer.program)
    };
    if offer.options == DESCRIBED {
        options.mode = NEW_MODE;
        options.edit = EditBy::Rewriting;
    }
    options
}
