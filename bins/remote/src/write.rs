//! `mapremote write`: a writer's other half, between its pipes and the engine.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use libmaps::map::MapClass;
use libmaps::sasl::edit::DESCRIBED;
use libmaps::sasl::key::is_account;
use libmaps::store::shared::frame::{Frame, Frames};
use libmaps::store::shared::{
    Base, Connection, Difference, Digest, Offer, Origin, Ready, Way, Wish,
};
use libmaps::sysexits::SysExit;

use crate::course::next_serial;
use crate::engine::{Current, Engine, Generation, Head, Switch, chain, takes_difference};
use crate::fault::Fault;
use crate::replica::{self, How};

/// How often the engine is told that a writer which waits for its source is alive.
const STAY: Duration = Duration::from_secs(5);
/// How long a source may take while other writers wait for the map.
const LONGEST_SOURCE: Duration = Duration::from_secs(3_600);

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
    input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<Written, Fault> {
    let mut engine = E::connect(&connection.server).await?;
    let map = connection.map.as_str();
    let head = engine.lock(map).await?;
    let here = replica::origin(&connection.replica);
    let current = prepare(&mut engine, connection, wish, &head).await?;
    // An engine that has gone back forgot numbers too: nothing on this host is older than what
    // it builds now.
    let last = here.as_ref().map_or(0, |here| here.generation);
    let ready = Ready {
        origin: Origin {
            generation: head.last.max(last).saturating_add(1),
            mark: mark()?,
            serial: Some(next_serial(head.serial, here.as_ref())),
            standing: None,
        },
        base: current.as_ref().map(|(g, _)| Base {
            mark: g.origin.mark.clone(),
            digest: g.offer.digest,
        }),
        difference: match &current {
            Some((_, Difference::Welcome)) => Difference::Welcome,
            _ => Difference::Unwelcome,
        },
    };
    writeln!(output, "{}", ready.line())?;
    output.flush()?;
    let input = BufReader::with_capacity(1 << 17, input);
    let mut input = wait_for_writer(&mut engine, input).await?;
    let offer = match Offer::read(&mut input) {
        Ok(offer) => offer,
        // The writer found nothing to write, or failed and has told why.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(Written::Nothing),
        Err(e) => return Err(e.into()),
    };
    let mut seen = Seen::of(match connection.class {
        MapClass::Pgsql => Accounts::Welcome,
        _ => Accounts::Refused,
    });
    seen.check_options(&offer)?;
    let generation = Generation {
        base: match offer.way {
            Way::Full => None,
            Way::Difference { .. } => current.map(|(g, _)| g.origin.generation),
        },
        origin: ready.origin,
        offer,
        host: host(),
        age: Duration::ZERO,
    };
    let mut frames = Frames::new(input);
    let loaded = engine
        .load(map, &generation, &mut || match frames.next_frame()? {
            Some(octets) => {
                seen.note(octets)?;
                Ok(Some(octets.to_vec()))
            }
            None => {
                seen.check(&generation.offer)?;
                Ok(None)
            }
        })
        .await;
    loaded?;
    let switch = Switch::New(&generation);
    engine.commit(map, switch, here.as_ref()).await?;
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
    if wish == Wish::Whole {
        return Ok(None);
    }
    if let (Current::Broken(fault), Wish::Edit) = (&head.current, wish) {
        return Err(fault.clone());
    }
    let Some(current) = head.current.generation() else {
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
    let difference = match wish {
        Wish::Edit => base(engine, connection, current, How::AtAnyPrice).await?,
        // A new build needs nothing of the one before. It mends a map that is damaged in the
        // engine; that the connection is lost shows when it is sent.
        Wish::Load | Wish::Whole => base(engine, connection, current, How::Cheaply)
            .await
            .unwrap_or(None),
    };
    Ok(difference.map(|difference| (current.clone(), difference)))
}

/// Whether a difference from the current generation is welcome; `None`: the replica does not
/// hold it.
async fn base<E: Engine>(
    engine: &mut E,
    connection: &Connection,
    current: &Generation,
    how: How,
) -> Result<Option<Difference>, Fault> {
    replica::update(engine, connection, current, how).await?;
    if replica::origin(&connection.replica).as_ref() != Some(&current.origin) {
        return Ok(None);
    }
    let all = engine.generations(&connection.map).await?;
    Ok(Some(
        match takes_difference(&chain(&all, current.origin.generation)?) {
            true => Difference::Welcome,
            false => Difference::Unwelcome,
        },
    ))
}

/// Waits for the writer's first word, and tells the engine meanwhile that somebody is there: a
/// source may come slowly, and a host that is gone without a word must not hold the map.
pub(crate) async fn wait_for_writer<E: Engine, R: Read + Send + 'static>(
    engine: &mut E,
    mut input: BufReader<R>,
) -> Result<BufReader<R>, Fault> {
    let began = Instant::now();
    let mut waiting = tokio::task::spawn_blocking(move || {
        let ready = input.fill_buf().map(drop);
        ready.map(|()| input)
    });
    loop {
        match tokio::time::timeout(STAY, &mut waiting).await {
            Ok(Ok(input)) => return Ok(input?),
            Ok(Err(e)) => return Err(Fault::new(SysExit::Software, e.to_string())),
            Err(_) if began.elapsed() >= LONGEST_SOURCE => {
                let why = "the source did not come within an hour, and others wait for the map";
                return Err(Fault::new(SysExit::TempFail, why));
            }
            Err(_) => engine.stay().await?,
        }
    }
}

fn refused() -> Fault {
    let why = "passwords are shared through PostgreSQL alone";
    Fault::new(SysExit::Config, why)
}

/// Whether an engine is to be trusted with passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accounts {
    Welcome,
    Refused,
}

/// What came over the pipe, to be compared with what was offered.
pub(crate) struct Seen {
    accounts: Accounts,
    digest: Digest,
    keys: u64,
}

impl Seen {
    pub(crate) fn of(accounts: Accounts) -> Self {
        Seen {
            accounts,
            digest: Digest::default(),
            keys: 0,
        }
    }

    /// Passwords in whatever map they come.
    pub(crate) fn check_options(&self, offer: &Offer) -> Result<(), Fault> {
        match offer.options == DESCRIBED && self.accounts == Accounts::Refused {
            true => Err(refused()),
            false => Ok(()),
        }
    }

    pub(crate) fn note(&mut self, octets: &[u8]) -> Result<(), Fault> {
        if let Some((frame, _)) = Frame::split(octets)? {
            if self.accounts == Accounts::Refused && is_account(frame.lhs) {
                return Err(refused());
            }
            self.keys += u64::from(frame.place == 0);
            if let Some(rhs) = frame.rhs {
                self.digest.add(frame.lhs, frame.place, rhs);
            }
        }
        Ok(())
    }

    pub(crate) fn check(&self, offer: &Offer) -> Result<(), Fault> {
        let whole = match offer.way {
            Way::Full => self.digest == offer.digest,
            Way::Difference { keys } => self.keys == keys,
        };
        match whole {
            true => Ok(()),
            false => Err(Fault::damaged("the writer did not send what it offered")),
        }
    }
}

/// 32 hexadecimal digits by lot.
pub(crate) fn mark() -> Result<String, Fault> {
    let number = getrandom::u64().and_then(|a| Ok((a, getrandom::u64()?)));
    let (a, b) = number.map_err(|e| Fault::new(SysExit::OsErr, e.to_string()))?;
    Ok(format!("{a:016x}{b:016x}"))
}

/// This host's name, for people.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
