//! What an engine can do: hold the generations of maps, and say when there is a new one.

use std::time::Duration;

use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Connection, Offer, Origin, Server, Way};
use libmaps::sysexits::SysExit;

use crate::fault::Fault;

/// The version of what stands in the engine; another one is an error that names both.
pub const SCHEMA: i32 = 1;

/// How many switches of a map an engine remembers. A host that was away for more can't be told
/// whether the map goes on from what it has.
pub const REMEMBERED: u64 = 32_768;

/// One generation of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number and mark.
    pub origin: Origin,
    /// The generation that it is a difference from.
    pub base: Option<u64>,
    /// What it is, as its writer said it.
    pub offer: Offer,
    /// The host it was written on.
    pub host: String,
    /// How long ago it was committed, by the engine's clock.
    pub age: Duration,
}

impl Generation {
    /// How many keys differ from its base; `None` of one that holds everything.
    #[must_use]
    pub fn keys(&self) -> Option<u64> {
        match self.offer.way {
            Way::Full => None,
            Way::Difference { keys } => Some(keys),
        }
    }
}

/// Where a map stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts the switches, forward and back; 0 of an engine that does not count.
    pub serial: u64,
    /// The number that was given last; the next generation has a higher one.
    pub last: u64,
    /// The generation that counts.
    pub current: Current,
}

/// The generation that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Current {
    /// There was none yet.
    Never,
    /// This one; its origin says by which switch.
    There(Box<Generation>),
    /// One whose record is gone or makes no sense.
    Broken(Fault),
}

impl Current {
    /// What became current by this switch, if its record makes sense; no switch of an engine that
    /// does not count them.
    #[must_use]
    pub fn of(record: Result<Generation, Fault>, serial: Option<u64>) -> Self {
        match record {
            Ok(mut generation) => {
                generation.origin.serial = serial;
                Current::There(Box::new(generation))
            }
            Err(fault) => Current::Broken(fault),
        }
    }

    /// The generation as followers need it; `None` before the first.
    ///
    /// # Errors
    /// It is broken.
    pub fn known(self) -> Result<Option<Generation>, Fault> {
        match self {
            Current::Never => Ok(None),
            Current::There(generation) => Ok(Some(*generation)),
            Current::Broken(fault) => Err(fault),
        }
    }

    /// The generation, if there is a whole record of it.
    #[must_use]
    pub fn generation(&self) -> Option<&Generation> {
        match self {
            Current::There(generation) => Some(generation),
            Current::Never | Current::Broken(_) => None,
        }
    }
}

/// All generations of a map, the highest number first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    /// Those whose record makes sense.
    pub whole: Vec<Generation>,
    /// The numbers of the others, and what is wrong with them.
    pub broken: Vec<(u64, Fault)>,
}

impl FromIterator<Generation> for Generations {
    fn from_iter<T: IntoIterator<Item = Generation>>(all: T) -> Self {
        Generations {
            whole: all.into_iter().collect(),
            broken: Vec::new(),
        }
    }
}

impl Generations {
    /// Takes a record, which may be a broken one.
    pub fn take(&mut self, number: u64, record: Result<Generation, Fault>) {
        match record {
            Ok(generation) => self.whole.push(generation),
            Err(fault) => self.broken.push((number, fault)),
        }
    }
}

/// Where a map's entries go as they come; `Err` ends the reading.
pub type Take<'a> = dyn FnMut(Frame<'_>) -> Result<(), Fault> + 'a;

/// Gives the next frame of a generation that is being written; `None` after the last one.
pub type Give<'a> = dyn FnMut() -> Result<Option<Vec<u8>>, Fault> + 'a;

/// A connection to an engine. Each call ends within the server's timeout, or with an error;
/// after an error the connection is of no use any more, unless [`Engine::recover`] finds it good.
#[allow(async_fn_in_trait)] // one thread for each connection: nothing is sent between threads
pub trait Engine: Sized {
    /// Connects and logs in.
    async fn connect(server: &Server) -> Result<Self, Fault>;

    /// Asks to be told of new generations.
    async fn listen(&mut self, maps: &[String]) -> Result<(), Fault>;

    /// Waits for news; says which maps may have a new generation, or, with `None`, that any may,
    /// as when the time is over.
    async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault>;

    /// Where a map stands, in a moment that lasts until [`Engine::leave`]; `None`: no such map.
    async fn look(&mut self, connection: &Connection) -> Result<Option<Head>, Fault>;

    /// Why what was looked at last of a map is not to be followed, though it is later than what is
    /// here.
    ///
    /// # Errors
    /// That is the error.
    fn doubt(&self, _connection: &Connection) -> Result<(), Fault> {
        Ok(())
    }

    /// What was noticed that is no fault of the map's, for the log.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Ends the moment, and a lock that is held.
    async fn leave(&mut self) -> Result<(), Fault>;

    /// After an error: ends the moment, and asks the server for a word. If it answers, the fault
    /// was one map's, not the connection's.
    async fn recover(&mut self) -> Result<(), Fault>;

    /// Says that the holder of the lock is alive while it waits for what it writes.
    async fn stay(&mut self) -> Result<(), Fault>;

    /// Waits for the right to write a map, which is made if need be; the right ends with
    /// [`Engine::commit`] or the connection.
    async fn lock(&mut self, map: &str) -> Result<Head, Fault>;

    /// All generations of a map that is looked at or locked.
    async fn generations(&mut self, map: &str) -> Result<Generations, Fault>;

    /// The marks of those generations that the map goes on from, if they came by this switch: of
    /// the one that became current by it, and of those that a writer knew which went on from there.
    /// The map is looked at or locked. None: nothing is remembered of the switch, as of those of an
    /// older program.
    async fn marks(&mut self, _map: &str, _serial: u64) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    /// What a generation was given when it was written, all values of a key in a row.
    async fn entries(
        &mut self,
        map: &str,
        generation: &Generation,
        take: &mut Take<'_>,
    ) -> Result<(), Fault>;

    /// Takes the entries of a new generation of the locked map.
    async fn load(
        &mut self,
        map: &str,
        generation: &Generation,
        give: &mut Give<'_>,
    ) -> Result<(), Fault>;

    /// Makes a generation the current one of the locked map, durably, by the switch that its origin
    /// tells, and says so to all. Remembers the switch, and that it goes on from what the writer's
    /// host has.
    async fn commit(
        &mut self,
        map: &str,
        switch: Switch<'_>,
        here: Option<&Origin>,
    ) -> Result<(), Fault>;

    /// Removes what is older than the newest `keep` generations and needed by none of them; the map
    /// is neither looked at nor locked. Nobody can roll back to what is removed from the beginning.
    async fn remove(&mut self, map: &str, keep: u32, amount: Amount) -> Result<Left, Fault>;
}

/// How long a program that has done its work waits for another writer, to remove what is old.
pub const MOMENT: Duration = Duration::from_secs(1);

/// How much of what is old is removed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// What takes no time that is worth to be waited for, and what was left for too long. A writer
    /// who has the map for longer than [`MOMENT`] removes it in his turn.
    Little,
    /// All of it, in pieces with pauses between them, in which the engine is there for others.
    All,
}

/// What of it is left then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing that is known of.
    Nothing,
    /// So much that others should remove it.
    Much,
}

/// What becomes current.
#[derive(Clone, Copy, Debug)]
pub enum Switch<'a> {
    /// The generation that was loaded.
    New(&'a Generation),
    /// An older one.
    Back(&'a Generation),
}

impl<'a> Switch<'a> {
    /// The generation; its origin tells the switch.
    #[must_use]
    pub fn generation(self) -> &'a Generation {
        match self {
            Switch::New(generation) | Switch::Back(generation) => generation,
        }
    }
}

/// Differences in a row, one upon the other, at the most.
const MAX_DIFFERENCES: usize = 32;

/// The generations that make up the content of `number`, itself first, the last one full.
///
/// # Errors
/// One of them is missing, or its record makes no sense.
pub fn chain(all: &Generations, number: u64) -> Result<Vec<Generation>, Fault> {
    let mut chain: Vec<Generation> = Vec::new();
    let mut wanted = Some(number);
    while let Some(number) = wanted {
        if let Some((_, fault)) = all.broken.iter().find(|(broken, _)| *broken == number) {
            return Err(fault.clone());
        }
        let found = all.whole.iter().find(|g| g.origin.generation == number);
        let lower = |g: &&Generation| g.base.is_none_or(|base| base < number);
        let Some(generation) = found.filter(lower) else {
            let why = format!("generation {number} is missing, which others are differences from");
            return Err(Fault::damaged(why));
        };
        wanted = generation.base;
        chain.push(generation.clone());
    }
    Ok(chain)
}

/// Whether one more difference upon this chain is better than everything anew.
#[must_use]
pub fn takes_difference(chain: &[Generation]) -> bool {
    let keys: u64 = chain.iter().filter_map(Generation::keys).sum();
    let entries = chain.first().map_or(0, |g| g.offer.digest.entries());
    (1..=MAX_DIFFERENCES).contains(&chain.len()) && keys <= (entries / 2).max(1_000)
}

/// The numbers that may go: all but the newest `keep`, the current one, and what those are
/// differences from. A broken record is kept by nobody, unless it is the current one's.
#[must_use]
pub fn removable(all: &Generations, current: Option<u64>, keep: u32) -> Vec<u64> {
    let newest = all.whole.iter().take(keep.max(1) as usize);
    let heads = newest.map(|g| g.origin.generation).chain(current);
    // Where a part is lost, the others may still be of use to whoever mends it.
    let kept: Vec<u64> = heads.flat_map(|head| known_part(all, head)).collect();
    let numbers = all.whole.iter().map(|g| g.origin.generation);
    let broken = all.broken.iter().map(|(number, _)| *number);
    let mut gone: Vec<u64> = numbers.chain(broken).collect();
    gone.retain(|number| !kept.contains(number));
    gone.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    gone
}

/// What a generation is a difference from, as far as that is known, itself first.
fn known_part(all: &Generations, number: u64) -> Vec<u64> {
    let mut part = Vec::new();
    let mut wanted = Some(number);
    while let Some(number) = wanted {
        let found = all.whole.iter().find(|g| g.origin.generation == number);
        part.push(number);
        wanted = found.and_then(|g| g.base).filter(|base| *base < number);
    }
    part
}

/// Whether an entry fits; the limits are the engines'.
///
/// # Errors
/// It does not.
pub fn too_long(what: &str, octets: usize, most: usize) -> Fault {
    let why = format!("a {what} of {octets} octets: the engine takes {most} at the most");
    Fault::new(SysExit::DataErr, why)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use libmaps::map::MapClass;
    use libmaps::store::redb::Duplicates;
    use libmaps::store::shared::Digest;

    pub(crate) fn generation(number: u64, base: Option<u64>) -> Generation {
        Generation {
            origin: Origin {
                generation: number,
                serial: None,
                standing: None,
                mark: format!("{number:032x}"),
            },
            base,
            offer: Offer {
                way: base.map_or(Way::Full, |_| Way::Difference { keys: 10 }),
                digest: Digest::default(),
                class: MapClass::Hash,
                duplicates: Duplicates::None,
                options: String::new(),
                source: None,
                program: "test".into(),
            },
            host: "h".into(),
            age: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_kept_keeps_what_it_stands_on() {
        let all: Generations = [
            generation(9, Some(8)),
            generation(8, Some(5)),
            generation(7, None),
            generation(5, None),
            generation(4, Some(3)),
            generation(3, None),
        ]
        .into_iter()
        .collect();
        assert_eq!(removable(&all, Some(9), 1), [7, 4, 3]);
        assert_eq!(removable(&all, Some(4), 1), [7]);
        assert_eq!(removable(&all, Some(9), 3), [4, 3]);
        let numbers = |chain: Vec<Generation>| -> Vec<u64> {
            chain.iter().map(|g| g.origin.generation).collect()
        };
        assert_eq!(numbers(chain(&all, 9).unwrap()), [9, 8, 5]);
        let part: Generations = all.whole.iter().take(2).cloned().collect();
        assert!(chain(&part, 9).is_err());
        // What is current stays, whatever became of what it stands on.
        assert!(removable(&part, Some(8), 1).is_empty());
    }

    #[test]
    fn a_broken_record_goes_unless_something_stands_on_it() {
        let mut all: Generations = [generation(9, Some(8)), generation(5, None)]
            .into_iter()
            .collect();
        for number in [8, 6] {
            all.take(number, Err(Fault::damaged(format!("{number} is broken"))));
        }
        assert_eq!(chain(&all, 9).unwrap_err().why, "8 is broken");
        assert_eq!(removable(&all, Some(9), 1), [6, 5]);
        assert_eq!(removable(&all, Some(6), 1), [5]);
    }

    #[test]
    fn a_base_that_is_no_older_is_damage() {
        let all: Generations = [generation(2, Some(2))].into_iter().collect();
        assert!(chain(&all, 2).is_err());
    }

    #[test]
    fn differences_end_in_everything_anew() {
        let mut all = vec![generation(1, None)];
        for number in 2..=32 {
            assert!(takes_difference(&all), "{number}");
            all.insert(0, generation(number, Some(number - 1)));
        }
        all.insert(0, generation(33, Some(32)));
        assert!(!takes_difference(&all));
    }
}
