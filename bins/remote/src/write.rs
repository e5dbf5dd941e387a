//! `mapremote write`: a writer's other half, between its pipes and the engine.

use std::io::{BufReader, Read, Write};

use libmaps::map::MapClass;
use libmaps::sasl::edit::DESCRIBED;
use libmaps::store::shared::frame::{Frame, Frames};
use libmaps::store::shared::{Connection, Difference, Digest, Offer, Origin, Ready, Way, Wish};
use libmaps::sysexits::SysExit;

use crate::engine::{Engine, Generation, Head, Switch, chain, takes_difference};
use crate::fault::Fault;
use crate::replica::{self, How};

/// What ended without a new generation and without a fault: the writer went away.
pub enum Written {
    /// There is a new generation.
    Committed,
    /// The writer had nothing to write.
    Nothing,
}

/// Holds the engine's lock while the writer makes its draft, then takes what it holds.
///
/// # Errors
/// Any of them leaves the engine as it was, unless it says otherwise.
pub async fn write<E: Engine>(
    connection: &Connection,
    wish: Wish,
    input: impl Read,
    mut output: impl Write,
) -> Result<Written, Fault> {
    let mut engine = E::connect(&connection.server).await?;
    let map = connection.map.as_str();
    let head = engine.lock(map).await?;
    let current = prepare(&mut engine, connection, wish, &head).await?;
    let ready = Ready {
        origin: Origin {
            generation: head.last + 1,
            mark: mark()?,
        },
        base: current.as_ref().map(|(g, _)| g.origin.mark.clone()),
        difference: match &current {
            Some((_, Difference::Welcome)) => Difference::Welcome,
            _ => Difference::Unwelcome,
        },
    };
    writeln!(output, "{}", ready.line())?;
    output.flush()?;
    let mut input = BufReader::with_capacity(1 << 17, input);
    let offer = match Offer::read(&mut input) {
        Ok(offer) => offer,
        // The writer found nothing to write, or failed and has told why.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(Written::Nothing),
        Err(e) => return Err(e.into()),
    };
    if offer.options == DESCRIBED && connection.class != MapClass::Pgsql {
        let why = "passwords are shared through PostgreSQL alone";
        return Err(Fault::new(SysExit::Config, why));
    }
    let generation = Generation {
        base: match offer.way {
            Way::Full => None,
            Way::Difference { .. } => current.map(|(g, _)| g.origin.generation),
        },
        origin: ready.origin,
        offer,
        host: host(),
        age: std::time::Duration::ZERO,
    };
    let mut frames = Frames::new(input);
    let mut seen = Seen::default();
    let loaded = engine
        .load(map, &generation, &mut || match frames.next_frame()? {
            Some(octets) => {
                seen.note(octets)?;
                Ok(Some(octets.to_vec()))
            }
            None => {
                seen.check(&generation)?;
                Ok(None)
            }
        })
        .await;
    loaded?;
    engine.commit(map, Switch::New(&generation)).await?;
    writeln!(output, "done")?;
    output.flush()?;
    Ok(Written::Committed)
}

/// The current generation, if the replica holds it now, and whether a difference is welcome.
async fn prepare<E: Engine>(
    engine: &mut E,
    connection: &Connection,
    wish: Wish,
    head: &Head,
) -> Result<Option<(Generation, Difference)>, Fault> {
    let replica = &connection.replica;
    let Some(current) = &head.current else {
        if wish == Wish::Edit && replica.exists() {
            let why = format!(
                "there is no generation yet, and {} stands in the place of the replica; \
                 mapctl push brings a map to the engine",
                replica.display()
            );
            return Err(Fault::new(SysExit::CantCreate, why));
        }
        return Ok(None);
    };
    let how = match wish {
        Wish::Edit => How::AtAnyPrice,
        Wish::Load => How::Cheaply,
    };
    replica::update(engine, connection, current, how).await?;
    if replica::origin(replica).as_ref() != Some(&current.origin) {
        return Ok(None);
    }
    let all = engine.generations(&connection.map).await?;
    let difference = match takes_difference(&chain(&all, current.origin.generation)?) {
        true => Difference::Welcome,
        false => Difference::Unwelcome,
    };
    Ok(Some((current.clone(), difference)))
}

/// What came over the pipe, to be compared with what was offered.
#[derive(Default)]
struct Seen {
    digest: Digest,
    keys: u64,
}

impl Seen {
    fn note(&mut self, octets: &[u8]) -> Result<(), Fault> {
        if let Some((frame, _)) = Frame::split(octets)? {
            self.keys += u64::from(frame.place == 0);
            if let Some(rhs) = frame.rhs {
                self.digest.add(frame.lhs, frame.place, rhs);
            }
        }
        Ok(())
    }

    fn check(&self, generation: &Generation) -> Result<(), Fault> {
        let whole = match generation.offer.way {
            Way::Full => self.digest == generation.offer.digest,
            Way::Difference { keys } => self.keys == keys,
        };
        match whole {
            true => Ok(()),
            false => Err(Fault::damaged("the writer did not send what it offered")),
        }
    }
}

/// 32 hexadecimal digits by lot.
fn mark() -> Result<String, Fault> {
    let number = getrandom::u64().and_then(|a| Ok((a, getrandom::u64()?)));
    let (a, b) = number.map_err(|e| Fault::new(SysExit::OsErr, e.to_string()))?;
    Ok(format!("{a:016x}{b:016x}"))
}

/// This host's name, for people.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
