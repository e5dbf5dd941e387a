//! What an engine can do: hold the generations of maps, and say when there is a new one.

use std::time::Duration;

use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Connection, Offer, Origin, Server, Way};
use libmaps::sysexits::SysExit;

use crate::fault::Fault;

/// The version of what stands in the engine; another one is an error that names both.
pub const SCHEMA: i32 = 1;

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
    /// Counts the switches, forward and back.
    pub serial: u64,
    /// The number that was given last; the next generation has a higher one.
    pub last: u64,
    /// The generation that counts; `None` before the first.
    pub current: Option<Generation>,
}

/// Where a map's entries go as they come; `Err` ends the reading.
pub type Take<'a> = dyn FnMut(Frame<'_>) -> Result<(), Fault> + 'a;

/// Gives the next frame of a generation that is being written; `None` after the last one.
pub type Give<'a> = dyn FnMut() -> Result<Option<Vec<u8>>, Fault> + 'a;

/// A connection to an engine. Each call ends within the server's timeout, or with an error;
/// after an error the connection is of no use any more.
#[allow(async_fn_in_trait)] // one thread for each connection: nothing is sent between threads
pub trait Engine: Sized {
    /// Connects and logs in.
    async fn connect(server: &Server) -> Result<Self, Fault>;

    /// Asks to be told of new generations.
    async fn listen(&mut self, maps: &[String]) -> Result<(), Fault>;

    /// Waits for news; says which maps may have a new generation, or, with `None`, that the time
    /// is over.
    async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault>;

    /// Where a map stands, in a moment that lasts until [`Engine::leave`]; `None`: no such map.
    async fn look(&mut self, connection: &Connection) -> Result<Option<Head>, Fault>;

    /// Ends the moment, and a lock that is held.
    async fn leave(&mut self) -> Result<(), Fault>;

    /// Waits for the right to write a map, which is made if need be; the right ends with
    /// [`Engine::commit`] or the connection.
    async fn lock(&mut self, map: &str) -> Result<Head, Fault>;

    /// All generations of a map that is looked at or locked, the highest number first.
    async fn generations(&mut self, map: &str) -> Result<Vec<Generation>, Fault>;

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

    /// Makes a generation the current one of the locked map, durably, and says so to all.
    async fn commit(&mut self, map: &str, switch: Switch<'_>) -> Result<(), Fault>;

    /// Removes these generations; the map is neither looked at nor locked.
    async fn remove(&mut self, map: &str, keep: u32) -> Result<(), Fault>;
}

/// What becomes current.
#[derive(Clone, Copy, Debug)]
pub enum Switch<'a> {
    /// The generation that was loaded.
    New(&'a Generation),
    /// An older one.
    Back(&'a Generation),
}

/// Differences in a row, one upon the other, at the most.
const MAX_DIFFERENCES: usize = 32;

/// The generations that make up the content of `number`, itself first, the last one full.
///
/// # Errors
/// One of them is missing.
pub fn chain(all: &[Generation], number: u64) -> Result<Vec<Generation>, Fault> {
    let mut chain: Vec<Generation> = Vec::new();
    let mut wanted = Some(number);
    while let Some(number) = wanted {
        let found = all.iter().find(|g| g.origin.generation == number);
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
/// differences from.
#[must_use]
pub fn removable(all: &[Generation], current: Option<u64>, keep: u32) -> Vec<u64> {
    let newest = all.iter().take(keep.max(1) as usize);
    let heads = newest.map(|g| g.origin.generation).chain(current);
    let mut kept = Vec::new();
    for head in heads {
        let chain = chain(all, head).unwrap_or_default();
        kept.extend(chain.iter().map(|g| g.origin.generation));
    }
    let numbers = all.iter().map(|g| g.origin.generation);
    numbers.filter(|number| !kept.contains(number)).collect()
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
        let all = [
            generation(9, Some(8)),
            generation(8, Some(5)),
            generation(7, None),
            generation(5, None),
            generation(4, Some(3)),
            generation(3, None),
        ];
        assert_eq!(removable(&all, Some(9), 1), [7, 4, 3]);
        assert_eq!(removable(&all, Some(4), 1), [7]);
        assert_eq!(removable(&all, Some(9), 3), [4, 3]);
        let numbers = |chain: Vec<Generation>| -> Vec<u64> {
            chain.iter().map(|g| g.origin.generation).collect()
        };
        assert_eq!(numbers(chain(&all, 9).unwrap()), [9, 8, 5]);
        assert!(chain(&all[..2], 9).is_err());
    }

    #[test]
    fn a_base_that_is_no_older_is_damage() {
        let all = [generation(2, Some(2))];
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
