//! `bench fixed`: fixed work, for .ci/instructions, which counts a processor's instructions.
//!
//! What is counted has a function of its own here, by whose name it is found: no other name may
//! begin with it.

use std::hint::black_box;
use std::io;
use std::path::PathBuf;

use libmaps::build::{Builder, Start};
use libmaps::map::{Map, MapClass};
use libmaps::policy::maps::Maps;
use libmaps::site::Site;
use libmaps::store;
use libmaps::store::publish::Options;

use crate::decisions::{self, Asker};
use crate::source;

/// How many entries a map has that is asked.
const ENTRIES: u32 = 10_000;
/// How often a map is asked at least before its entries are in memory.
const OFTEN: u32 = 1_000;

/// Does fixed work, whose instructions can be counted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    work: Work,
}

/// The work.
#[derive(Debug, clap::Subcommand)]
enum Work {
    /// Writes so many access entries.
    Access {
        /// How many.
        entries: u32,
        /// Where.
        file: PathBuf,
    },
    /// Writes so many aliases.
    Aliases {
        /// How many.
        entries: u32,
        /// Where.
        file: PathBuf,
    },
    /// Asks a map that has just been opened: `fixed::opened`.
    Opened,
    /// Asks a map whose entries are in memory: `fixed::hits` and `fixed::misses`.
    Lookups,
    /// Takes the decisions of some sessions: `fixed::sessions`.
    Decisions,
}

/// Does the work.
///
/// # Errors
/// Those of files, and a map that can't be built.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    match &args.work {
        Work::Access { entries, file } => source::access(file, *entries),
        Work::Aliases { entries, file } => source::aliases(file, *entries),
        Work::Opened => {
            let (_folder, path) = built()?;
            for n in 0..20 {
                opened(&path, n)?;
            }
            Ok(())
        }
        Work::Lookups => {
            let (_folder, path) = built()?;
            let map = store::open(&path).map_err(io::Error::other)?;
            (0..OFTEN).try_for_each(|n| ask(map.as_ref(), n, true))?;
            map.settle();
            hits(map.as_ref())?;
            misses(map.as_ref())
        }
        Work::Decisions => {
            let root = tempfile::tempdir()?;
            let (site, maps) = decisions::site(root.path(), ENTRIES)?;
            let askers: Vec<Asker> = (0..OFTEN)
                .map(|n| Asker::new(n * (ENTRIES / OFTEN)))
                .collect::<io::Result<_>>()?;
            for asker in &askers {
                let _ = black_box(asker.ask(&site, &maps)?);
            }
            decisions::come_to_rest(&maps);
            sessions(&askers, &site, &maps)
        }
    }
}

fn built() -> io::Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("m.db");
    let options = Options::new(MapClass::Hash, "bench");
    let mut builder = Builder::open(&path, Start::Empty, options).map_err(io::Error::other)?;
    for n in 0..ENTRIES {
        let rhs = source::access_rhs(n).as_bytes();
        let put = builder.put(source::access_lhs(n).as_bytes(), rhs, u64::from(n) + 1);
        put.map_err(io::Error::other)?;
    }
    builder.publish(None).map_err(io::Error::other)?;
    Ok((folder, path))
}

/// Opens a map and asks it once.
#[inline(never)]
fn opened(path: &std::path::Path, n: u32) -> io::Result<()> {
    let map = store::open(path).map_err(io::Error::other)?;
    ask(map.as_ref(), n * 311, true)
}

/// 10,000 lookups that find something.
#[inline(never)]
fn hits(map: &dyn Map) -> io::Result<()> {
    (0..ENTRIES).try_for_each(|n| ask(map, n, true))
}

/// 10,000 lookups that find nothing.
#[inline(never)]
fn misses(map: &dyn Map) -> io::Result<()> {
    (ENTRIES..2 * ENTRIES).try_for_each(|n| ask(map, n, false))
}

/// The decisions of 1,000 sessions.
#[inline(never)]
fn sessions(askers: &[Asker], site: &Site, maps: &Maps) -> io::Result<()> {
    for asker in askers {
        let _ = black_box(asker.ask(site, maps)?);
    }
    Ok(())
}

fn ask(map: &dyn Map, n: u32, there: bool) -> io::Result<()> {
    let lhs = source::access_lhs(n);
    let found = map
        .get(black_box(lhs.as_bytes()))
        .map_err(io::Error::other)?;
    match black_box(found).is_some() == there {
        true => Ok(()),
        false => Err(io::Error::other(format!("{lhs}: a wrong answer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_work_can_be_done() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("source");
        for work in [
            Work::Access {
                entries: 10,
                file: file.clone(),
            },
            Work::Aliases { entries: 10, file },
            Work::Opened,
            Work::Lookups,
            Work::Decisions,
        ] {
            run(&Args { work }).unwrap();
        }
    }
}
