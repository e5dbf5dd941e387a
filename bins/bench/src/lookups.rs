//! `bench lookups`: how long maps take to answer, and to be opened, as they grow.

use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use libmaps::build::{Builder, Start};
use libmaps::map::{Map, MapClass, StoreError};
use libmaps::store;
use libmaps::store::publish::Options;

use crate::report::{Bound, Figure, Report, Row, Sample, Subject, Target};
use crate::setting::{Bench, Extent, Setting};
use crate::source;
use crate::stores::{self, BERKELEY, LMDB, Library, Store, TINYCDB};
use crate::turns::{self, Contender};

const LOOKUP: Figure = Figure::less("us a lookup");
const OPEN: Figure = Figure::less("us to open and ask");

const HASH: &str = "hash";
const CDB: &str = "cdb";

/// How many LHSs are asked for in turn, spread over the whole map.
const ASKED: u32 = 1 << 16;
/// How often all of them are asked for in a turn.
const ROUNDS: u32 = 8;
/// How often a map is opened in a turn.
const OPENED: u32 = 200;
/// From so many entries on peers are left out: their stores take minutes to build.
const LARGE: u32 = 5_000_000;

/// Asks maps of 10,000 to 10,000,000 entries for LHSs that are there and that are not, and
/// opens them, beside Berkeley DB, LMDB and tinycdb.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setting: Setting,
    /// Numbers of access entries.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    entries: Option<Vec<u32>>,
}

/// Measures, and prints the tables.
///
/// # Errors
/// Our maps can't be built or asked.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let bench = args.setting.open()?;
    let sizes = match (&args.entries, bench.extent) {
        (Some(sizes), _) => sizes.clone(),
        (None, Extent::Quick) => vec![1_000, 10_000],
        (None, Extent::Full) => vec![10_000, 100_000, 1_000_000, 10_000_000],
    };
    let mut subjects = [
        subject(
            "lookup, hit",
            LOOKUP,
            &[(HASH, BERKELEY, 2.0), (HASH, LMDB, 1.0)],
        ),
        subject(
            "lookup, miss",
            LOOKUP,
            &[
                (HASH, BERKELEY, 20.0),
                (HASH, LMDB, 8.0),
                (HASH, TINYCDB, 1.0),
            ],
        ),
        subject("open and first lookup", OPEN, &[(HASH, LMDB, 1.0)]),
    ];
    let mut skipped = Vec::new();
    let compiled = [BERKELEY, LMDB, TINYCDB].map(|library| library.compile(&bench));
    let mut peers = Vec::new();
    for peer in compiled {
        match peer {
            Ok(peer) => peers.push(peer),
            Err(why) => skipped.push(why),
        }
    }
    for size in sizes {
        let peers = match size < LARGE {
            true => peers.as_slice(),
            false => &[],
        };
        let rows = at_size(&bench, size, peers, &mut skipped)?;
        for (subject, rows) in subjects.iter_mut().zip(rows) {
            subject.rows.extend(rows);
        }
    }
    args.setting.print(&Report {
        subjects: subjects.into(),
        skipped,
    });
    Ok(())
}

fn subject(title: &str, figure: Figure, wanted: &[(&'static str, Library, f64)]) -> Subject {
    let targets = wanted.iter().map(|(ours, library, times)| Target {
        ours,
        size: 1_000_000,
        figure,
        bound: Bound::Times(*times, library.title),
    });
    Subject {
        title: title.into(),
        sizes: "entries",
        rows: Vec::new(),
        targets: targets.collect(),
    }
}

/// An LHS as it stands in a map.
fn lhs(n: u32) -> String {
    source::access_lhs(n).to_ascii_lowercase()
}

fn at_size(
    bench: &Bench,
    size: u32,
    peers: &[Store],
    skipped: &mut Vec<String>,
) -> io::Result<[Vec<Row>; 3]> {
    let folder = bench.at("lookups");
    std::fs::create_dir(&folder)?;
    eprintln!("building maps of {size} entries");
    let classes = [
        (HASH, MapClass::Hash, "m.db"),
        (CDB, MapClass::Cdb, "m.cdb"),
    ];
    let mut ours: Vec<(&str, PathBuf, Box<dyn Map>)> = Vec::new();
    for (title, class, name) in classes {
        let path = folder.join(name);
        build(&path, class, size).map_err(io::Error::other)?;
        let map = store::open(&path).map_err(io::Error::other)?;
        ours.push((title, path, map));
    }
    let all = folder.join("entries");
    stores::entries(&all, size, |n| (lhs(n), source::access_rhs(n).into()))?;
    for peer in peers {
        peer.build(&peer.at(&folder, "m"), &all)?;
    }
    // Two LHSs that follow each other stand far apart in the map.
    let step = (size / ASKED).max(1);
    let present: Vec<_> = (0..ASKED).map(|n| (n * step) % size).map(lhs).collect();
    let absent: Vec<_> = (0..ASKED).map(|n| lhs(size + n)).collect();
    let rounds = match bench.extent {
        Extent::Quick => 1,
        Extent::Full => ROUNDS,
    };
    let mut rows = Vec::new();
    for (name, asked, part) in [("present", &present, 1.0), ("absent", &absent, 0.0)] {
        let questions = folder.join(name);
        let numbered: Vec<_> = asked
            .iter()
            .map(|lhs| (0, lhs.clone().into_bytes()))
            .collect();
        stores::questions(&questions, &numbered)?;
        let mut contenders = Vec::new();
        for (title, _, map) in &ours {
            come_to_rest(map.as_ref(), &present)?;
            contenders.push(Contender::ours(*title, move || {
                let begun = Instant::now();
                for _ in 0..rounds {
                    all_of(map.as_ref(), asked, part > 0.5)?;
                }
                let micros = begun.elapsed().as_secs_f64() * 1e6;
                Ok(Sample(vec![(LOOKUP, micros / f64::from(rounds * ASKED))]))
            }));
        }
        for peer in peers {
            let (questions, files) = (&questions, [peer.at(&folder, "m")]);
            contenders.push(Contender::peer(peer.title, move || {
                let asked = peer.ask(questions, rounds, &files)?;
                expect(asked.found, part)?;
                Ok(Sample(vec![(LOOKUP, asked.nanos / 1000.0)]))
            }));
        }
        rows.push(turns::take(bench.runs, size.into(), contenders, skipped)?);
    }
    let mut contenders = Vec::new();
    for (title, path, _) in &ours {
        let present = &present;
        contenders.push(Contender::ours(*title, move || {
            let begun = Instant::now();
            for (n, lhs) in (0..OPENED).zip(present.iter().cycle()) {
                let map = store::open(path).map_err(io::Error::other)?;
                let found = map.get(lhs.as_bytes()).map_err(io::Error::other)?;
                if found.is_none() {
                    return Err(io::Error::other(format!("question {n} found nothing")));
                }
            }
            let micros = begun.elapsed().as_secs_f64() * 1e6;
            Ok(Sample(vec![(OPEN, micros / f64::from(OPENED))]))
        }));
    }
    for peer in peers {
        let (questions, file) = (folder.join("present"), peer.at(&folder, "m"));
        contenders.push(Contender::peer(peer.title, move || {
            let asked = peer.open(&questions, OPENED, &file)?;
            expect(asked.found, 1.0)?;
            Ok(Sample(vec![(OPEN, asked.nanos / 1000.0)]))
        }));
    }
    let opened = turns::take(bench.runs, size.into(), contenders, skipped)?;
    drop(ours);
    std::fs::remove_dir_all(&folder)?;
    let mut rows = rows.into_iter();
    Ok([
        rows.next().unwrap_or_default(),
        rows.next().unwrap_or_default(),
        opened,
    ])
}

fn build(path: &Path, class: MapClass, size: u32) -> Result<(), StoreError> {
    let mut builder = Builder::open(path, Start::Empty, Options::new(class, "bench"))?;
    for n in 0..size {
        let rhs = source::access_rhs(n);
        builder.put(lhs(n).as_bytes(), rhs.as_bytes(), u64::from(n) + 1)?;
    }
    builder.publish(None).map(drop)
}

fn all_of(map: &dyn Map, asked: &[String], there: bool) -> io::Result<()> {
    for lhs in asked {
        let found = map
            .get(black_box(lhs.as_bytes()))
            .map_err(io::Error::other)?;
        if black_box(found).is_some() != there {
            return Err(io::Error::other(format!("{lhs}: a wrong answer")));
        }
    }
    Ok(())
}

/// Asks until a map that is asked often has been read into memory, by a thread of its own.
fn come_to_rest(map: &dyn Map, asked: &[String]) -> io::Result<()> {
    for _ in 0..4 {
        all_of(map, asked, true)?;
    }
    map.settle();
    Ok(())
}

fn expect(found: f64, part: f64) -> io::Result<()> {
    match (found - part).abs() < 1e-9 {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "found {found} of all, not {part}"
        ))),
    }
}
