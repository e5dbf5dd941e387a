//! Followers: replicas kept as new as the engines' maps.
//!
//! Maps of one server share a connection and a thread. The server tells of a
//! new generation; it is asked too at every `poll`, and at once after a
//! connection was lost and made again. Whatever goes wrong is told, and the
//! replica stays what it is.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use libmaps::map::MapClass;
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;

use crate::engine::{Engine, Generation};
use crate::fault::Fault;
use crate::ldap::Directory;
use crate::log::{Log, Stays, Took};
use crate::pgsql::Pgsql;
use crate::redis::Redis;
use crate::replica::{self, Brought, How, Update};
use crate::setback::Setback;
use crate::state;
use crate::supervise::wait_for_the_end;

/// The first pause after a lost connection; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often connection files that could not be read are read again.
const AGAIN: Duration = Duration::from_secs(15);

/// When a follower ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When each map was looked at once.
    Once,
    /// Never.
    Ever,
    /// With the program that started it: when standard input ends.
    ParentEnds,
}

/// Reads a connection file.
pub type Read<'a> = dyn Fn(&Path) -> Result<Connection, Fault> + 'a;

/// What the thread that waits hears.
enum Event {
    /// A follower of one server has ended.
    Ended(Result<(), Fault>),
    /// Standard input has ended.
    ParentEnded,
}

/// Follows the maps of these connection files. One that can't be read is told, and read again
/// every now and then; the others are followed meanwhile.
///
/// # Errors
/// With [`Until::Once`], the first fault; else that no file can be read, or that a thread ended
/// which should not.
pub fn follow(files: &[PathBuf], read: &Read<'_>, until: Until, log: Log) -> Result<(), Fault> {
    let log = Arc::new(log);
    let mut unread: Vec<(&PathBuf, Option<Fault>)> = files.iter().map(|f| (f, None)).collect();
    let (tell, events) = channel();
    let mut groups: Vec<Vec<Connection>> = Vec::new();
    for connection in read_those(&mut unread, read, &log) {
        let same = |group: &&mut Vec<Connection>| {
            let first = group.first();
            first.is_some_and(|c| c.class == connection.class && c.server == connection.server)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(connection),
            None => groups.push(vec![connection]),
        }
    }
    let first_fault = unread.iter().find_map(|(_, fault)| fault.clone());
    let mut ended = first_fault.map_or(Ok(()), Err);
    let mut running = groups.len();
    if running == 0 {
        return ended;
    }
    for group in groups {
        start(group, until, &log, &tell)?;
    }
    if until == Until::ParentEnds {
        let tell = tell.clone();
        thread::Builder::new()
            .name("parent".into())
            .spawn(move || {
                wait_for_the_end();
                let _ = tell.send(Event::ParentEnded);
            })?;
    }
    loop {
        match (events.recv_timeout(AGAIN), until) {
            (Ok(Event::ParentEnded), _) => return Ok(()),
            (Ok(Event::Ended(done)), Until::Once) => {
                ended = ended.and(done);
                running -= 1;
                if running == 0 {
                    return ended;
                }
            }
            (Ok(Event::Ended(done)), _) => {
                let stopped = Fault::new(SysExit::Software, "a follower's thread stopped");
                return done.and(Err(stopped));
            }
            (Err(_), Until::Once) => {}
            (Err(_), _) => {
                for connection in read_those(&mut unread, read, &log) {
                    start(vec![connection], until, &log, &tell)?;
                }
            }
        }
    }
}

/// The connections of those files that can be read now; they leave the list. What is wrong with
/// the others is told once.
fn read_those(
    unread: &mut Vec<(&PathBuf, Option<Fault>)>,
    read: &Read<'_>,
    log: &Log,
) -> Vec<Connection> {
    let mut connections = Vec::new();
    unread.retain_mut(|(file, told)| match read(file) {
        Ok(connection) => {
            connections.push(connection);
            false
        }
        Err(fault) => {
            if told.as_ref() != Some(&fault) {
                log.failed(file, &fault, Stays::Unknown);
                *told = Some(fault);
            }
            true
        }
    });
    connections
}

/// Starts the thread that follows the maps of one server.
fn start(
    group: Vec<Connection>,
    until: Until,
    log: &Arc<Log>,
    tell: &Sender<Event>,
) -> Result<(), Fault> {
    let (log, tell) = (Arc::clone(log), tell.clone());
    let body = move || {
        let done = catch_unwind(AssertUnwindSafe(|| follow_server(&group, until, &log)));
        let stopped = |_| Err(Fault::new(SysExit::Software, "a follower's thread stopped"));
        let _ = tell.send(Event::Ended(done.unwrap_or_else(stopped)));
    };
    thread::Builder::new().name("follow".into()).spawn(body)?;
    Ok(())
}

fn follow_server(group: &[Connection], until: Until, log: &Log) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let Some(first) = group.first() else {
        return Ok(());
    };
    runtime.block_on(async {
        match first.class {
            MapClass::Pgsql => Follower::<Pgsql>::new(group, log).run(until).await,
            MapClass::Redis => Follower::<Redis>::new(group, log).run(until).await,
            MapClass::Ldap => Follower::<Directory>::new(group, log).run(until).await,
            class => Err(Fault::new(
                SysExit::Config,
                format!("class {class} is not followed"),
            )),
        }
    })
}

/// Maps of one server.
struct Follower<'a, E> {
    group: &'a [Connection],
    log: &'a Log,
    engine: Option<E>,
    /// The maps whose being current was told since the connection was made.
    told: HashSet<&'a str>,
    /// What was told last of each map that is wrong, so that it is told once.
    faults: Vec<Option<Fault>>,
    /// What could not be brought of each map, and is not tried again for a while.
    setbacks: Vec<Option<Setback>>,
    /// Whether all maps were looked at since the connection was made.
    round: Round,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// It was lost before each map was looked at.
    Begun,
    /// It was good for each map.
    Done,
}

/// What a look at one map came to.
enum Look {
    /// The engine has no generation of it, and neither has this host.
    Empty,
    /// The replica is the current generation.
    Here(Box<Generation>, Brought),
}

impl<'a, E: Engine> Follower<'a, E> {
    fn new(group: &'a [Connection], log: &'a Log) -> Self {
        Follower {
            group,
            log,
            engine: None,
            told: HashSet::new(),
            faults: vec![None; group.len()],
            setbacks: vec![None; group.len()],
            round: Round::Begun,
        }
    }

    async fn run(mut self, until: Until) -> Result<(), Fault> {
        let mut pause = FIRST_PAUSE;
        loop {
            let lost = match self.connected(until).await {
                Ok(()) => return self.first_fault(),
                Err(fault) => fault,
            };
            self.engine = None;
            if self.round == Round::Done {
                pause = FIRST_PAUSE;
            }
            for (at, connection) in self.group.iter().enumerate() {
                self.tell(at, &lost);
                state::note_silence(connection, &lost.to_string());
            }
            if until == Until::Once {
                return Err(lost);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Follows until the connection is lost; with [`Until::Once`], looks at each map once.
    async fn connected(&mut self, until: Until) -> Result<(), Fault> {
        let Some(first) = self.group.first() else {
            return Ok(());
        };
        self.round = Round::Begun;
        let mut engine = E::connect(&first.server).await?;
        let maps: Vec<String> = self.group.iter().map(|c| c.map.clone()).collect();
        if until != Until::Once {
            engine.listen(&maps).await?;
        }
        self.engine = Some(engine);
        self.told.clear();
        let poll = self.group.iter().map(|c| c.poll).min();
        let poll = poll.unwrap_or(LONGEST_PAUSE);
        let mut asked = Instant::now();
        let mut news = None;
        loop {
            for (at, connection) in self.group.iter().enumerate() {
                let concerned = |news: &Vec<String>| news.contains(&connection.map);
                if news.as_ref().is_none_or(concerned) {
                    self.look(at, connection, until).await?;
                }
            }
            self.round = Round::Done;
            if until == Until::Once {
                return Ok(());
            }
            let Some(engine) = &mut self.engine else {
                return Ok(());
            };
            let left = poll.saturating_sub(asked.elapsed());
            news = engine.wait(left).await?;
            if news.is_none() {
                asked = Instant::now();
            }
        }
    }

    /// Looks at one map; a fault of the connection is an error, any other is told.
    async fn look(
        &mut self,
        at: usize,
        connection: &'a Connection,
        until: Until,
    ) -> Result<(), Fault> {
        let (Some(engine), Some(setback)) = (&mut self.engine, self.setbacks.get_mut(at)) else {
            return Ok(());
        };
        let started = Instant::now();
        let mut current = None;
        let done = bring(engine, connection, &mut current, setback).await;
        // Whether it is the first word of this map since the connection was made.
        let is_new = done.is_ok() && self.told.insert(&connection.map);
        for note in engine.notes() {
            self.log.trouble(&note);
        }
        match done {
            Ok(Look::Empty) => {
                if is_new {
                    self.log.empty(connection);
                }
                self.set(at, None);
                state::note(connection, None, None);
                if until == Until::Once {
                    let why = "the map has no generation yet";
                    self.set(at, Some(Fault::new(SysExit::Unavailable, why)));
                }
                Ok(())
            }
            Ok(Look::Here(head, brought)) => {
                let Brought { update, fetched } = brought;
                if update != Update::Nothing {
                    let took = Took {
                        fetch: fetched.saturating_duration_since(started),
                        publish: fetched.elapsed(),
                    };
                    self.log.published(connection, &head, update, took);
                } else if is_new {
                    self.log.current(connection, head.origin.generation);
                }
                self.set(at, None);
                state::note(connection, current, None);
                Ok(())
            }
            Err(fault) => {
                self.tell(at, &fault);
                state::note(connection, current, Some(&fault.to_string()));
                match &mut self.engine {
                    Some(engine) => engine.recover().await,
                    None => Ok(()),
                }
            }
        }
    }

    fn tell(&mut self, at: usize, fault: &Fault) {
        let (Some(last), Some(connection)) = (self.faults.get_mut(at), self.group.get(at)) else {
            return;
        };
        if last.as_ref() != Some(fault) {
            let stays = Stays::of(&connection.replica);
            self.log.failed(&connection.file, fault, stays);
            *last = Some(fault.clone());
        }
    }

    /// As [`Follower::tell`], of what was told in another way.
    fn set(&mut self, at: usize, fault: Option<Fault>) {
        if let Some(last) = self.faults.get_mut(at) {
            *last = fault;
        }
    }

    fn first_fault(&self) -> Result<(), Fault> {
        match self.faults.iter().flatten().next() {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }
}

/// Makes what is current in the engine the replica of one map; notes its number in `current`, and
/// in `setback` that it could not.
async fn bring<E: Engine>(
    engine: &mut E,
    connection: &Connection,
    current: &mut Option<u64>,
    setback: &mut Option<Setback>,
) -> Result<Look, Fault> {
    let head = engine.look(connection).await?;
    let head = head.map_or(Ok(None), |head| head.current.known())?;
    let Some(head) = head else {
        engine.leave().await?;
        return match replica::origin(&connection.replica) {
            None => Ok(Look::Empty),
            Some(here) => Err(Fault::new(
                SysExit::Unavailable,
                format!(
                    "the engine has no generation of the map, and generation {} is here: it lost \
                     the map; a new build or mapctl push brings it back",
                    here.generation
                ),
            )),
        };
    };
    *current = Some(head.origin.generation);
    let here = || replica::origin(&connection.replica);
    if let Some(before) = setback
        && let Some(fault) = before.fault(here().as_ref(), &head.origin, Instant::now())
    {
        return Err(fault.clone());
    }
    let brought = replica::update(engine, connection, &head, How::AtAnyPrice).await;
    *setback = match &brought {
        Ok(_) => None,
        Err(fault) => {
            let before = setback.as_ref();
            Setback::new(before, here(), &head.origin, fault, Instant::now())
        }
    };
    let brought = brought?;
    engine.leave().await?;
    Ok(Look::Here(Box::new(head), brought))
}
