//! Followers: replicas kept as new as the engines' maps.
//!
//! Maps of one server share a connection and a thread. The server tells of a
//! new generation; it is asked too at every `poll`, and at once after a
//! connection was lost and made again. Whatever goes wrong is told, and the
//! replica stays what it is.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libmaps::map::MapClass;
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;

use crate::engine::Engine;
use crate::fault::Fault;
use crate::ldap::Directory;
use crate::log::Log;
use crate::pgsql::Pgsql;
use crate::redis::Redis;
use crate::replica::{self, How, Update};
use crate::state;
use crate::supervise::wait_for_the_end;

/// The first pause after a lost connection; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

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

/// Follows the maps.
///
/// # Errors
/// With [`Until::Once`], the first fault.
pub fn follow(connections: Vec<Connection>, until: Until, log: Log) -> Result<(), Fault> {
    let log = Arc::new(log);
    let mut groups: Vec<Vec<Connection>> = Vec::new();
    for connection in connections {
        let same = |group: &&mut Vec<Connection>| {
            let first = group.first();
            first.is_some_and(|c| c.class == connection.class && c.server == connection.server)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(connection),
            None => groups.push(vec![connection]),
        }
    }
    let threads: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let log = Arc::clone(&log);
            thread::Builder::new()
                .name("follow".into())
                .spawn(move || follow_server(&group, until, &log))
        })
        .collect();
    if until == Until::ParentEnds {
        wait_for_the_end();
        return Ok(());
    }
    let mut ended = Ok(());
    for thread in threads {
        let done = thread?
            .join()
            .unwrap_or_else(|_| Err(Fault::new(SysExit::Software, "a follower's thread stopped")));
        ended = ended.and(done);
    }
    ended
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
}

impl<'a, E: Engine> Follower<'a, E> {
    fn new(group: &'a [Connection], log: &'a Log) -> Self {
        Follower {
            group,
            log,
            engine: None,
            told: HashSet::new(),
            faults: vec![None; group.len()],
        }
    }

    async fn run(mut self, until: Until) -> Result<(), Fault> {
        let mut pause = FIRST_PAUSE;
        loop {
            let lost = match self.connected(until).await {
                Ok(()) => return self.first_fault(),
                Err(fault) => fault,
            };
            if self.engine.take().is_some() {
                pause = FIRST_PAUSE;
            }
            for at in 0..self.group.len() {
                self.tell(at, &lost);
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
                    self.look(at, connection).await?;
                }
            }
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
    async fn look(&mut self, at: usize, connection: &'a Connection) -> Result<(), Fault> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let started = Instant::now();
        let Some(head) = engine.look(connection).await?.and_then(|h| h.current) else {
            engine.leave().await?;
            if self.told.insert(&connection.map) {
                self.log.empty(connection);
            }
            state::note(connection, None, None);
            return Ok(());
        };
        let done = replica::update(engine, connection, &head, How::AtAnyPrice).await;
        let number = head.origin.generation;
        match done {
            Ok(update) => {
                engine.leave().await?;
                let took = started.elapsed();
                if update == Update::Nothing {
                    if self.told.insert(&connection.map) {
                        self.log.current(connection, number);
                    }
                } else {
                    self.told.insert(&connection.map);
                    let lag = head.age + took;
                    self.log.published(connection, &head, update, lag, took);
                }
                self.forget(at);
                state::note(connection, Some(number), None);
                Ok(())
            }
            Err(fault) => {
                self.tell(at, &fault);
                state::note(connection, Some(number), Some(&fault.to_string()));
                // Whether the connection is still good is seen at once.
                match &mut self.engine {
                    Some(engine) => engine.leave().await,
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
            self.log.failed(connection, fault);
            *last = Some(fault.clone());
        }
    }

    fn forget(&mut self, at: usize) {
        if let Some(last) = self.faults.get_mut(at) {
            *last = None;
        }
    }

    fn first_fault(&self) -> Result<(), Fault> {
        match self.faults.iter().flatten().next() {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }
}
