//! `bench maps`: how long maps take to build, and how much memory, as they grow.

mod aliases;
mod build;
mod postmap;

use std::io;

use crate::report::{Bound, Report, Row, Subject, Target};
use crate::setting::{Bench, Extent, Setting};
use crate::source;
use crate::turns::{self, Contender};
use build::{Build, CPU, Feed, PEAK, WALL};

const MAKEMAP: &str = "makemap hash";
const MAKEMAP_CDB: &str = "makemap cdb";
const THEIRS: &str = "sendmail's makemap hash";
const THEIRS_CACHED: &str = "sendmail's makemap hash -c 256M";
const POSTMAP_LMDB: &str = "postmap lmdb";
const POSTMAP_CDB: &str = "postmap cdb";
const TINYCDB: &str = "tinycdb's cdb -c";

/// From so many entries on, only those take part that a target names: others take minutes.
const LARGE: u32 = 5_000_000;

/// Builds maps from 10,000 to 10,000,000 entries with makemap and newaliases, beside
/// sendmail's, Postfix's and tinycdb's programs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setting: Setting,
    /// Numbers of access entries.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    entries: Option<Vec<u32>>,
    /// Numbers of aliases.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    aliases: Option<Vec<u32>>,
    /// Measure only contenders with this in their title, and ours.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Measures, and prints the tables.
///
/// # Errors
/// Our programs are not there, or fail.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let bench = args.setting.open()?;
    let sizes = |given: &Option<Vec<u32>>, all: &[u32]| match (given, bench.extent) {
        (Some(given), _) => given.clone(),
        (None, Extent::Quick) => vec![1_000, 10_000],
        (None, Extent::Full) => all.to_vec(),
    };
    let entries = sizes(&args.entries, &[10_000, 100_000, 1_000_000, 10_000_000]);
    let aliases = sizes(&args.aliases, &[10_000, 100_000, 1_000_000]);
    let mut subjects = [hash_subject(), cdb_subject(), aliases::subject()];
    let mut skipped = Vec::new();
    let wanted = |builds: Vec<Build>| {
        let only = args.only.as_deref().unwrap_or_default();
        let wanted = |b: &Build| b.is_ours() || b.title.contains(only);
        builds.into_iter().filter(wanted).collect::<Vec<_>>()
    };
    let [hash, cdb, alias] = &mut subjects;
    for size in entries {
        let source = bench.at("access");
        source::access(&source, size)?;
        let builds = wanted(hash_builds(&bench, size, &mut skipped)?);
        hash.rows.extend(rows(&bench, size, &builds, &mut skipped)?);
        let builds = wanted(cdb_builds(&bench, &mut skipped)?);
        cdb.rows.extend(rows(&bench, size, &builds, &mut skipped)?);
    }
    for size in aliases {
        let source = bench.at("aliases");
        source::aliases(&source, size)?;
        let builds = wanted(aliases::builds(&bench, size, &mut skipped)?);
        alias
            .rows
            .extend(rows(&bench, size, &builds, &mut skipped)?);
    }
    let mut told = Vec::new();
    skipped.retain(|why| {
        let is_new = !told.contains(why);
        told.push(why.clone());
        is_new
    });
    args.setting.print(&Report {
        subjects: subjects.into(),
        skipped,
    });
    Ok(())
}

fn rows(
    bench: &Bench,
    size: u32,
    builds: &[Build],
    skipped: &mut Vec<String>,
) -> io::Result<Vec<Row>> {
    let contenders = builds.iter().map(|build| {
        let run = || build.run(&bench.at("build"));
        match build.is_ours() {
            true => Contender::ours(&build.title, run),
            false => Contender::peer(&build.title, run),
        }
    });
    turns::take(bench.runs, size.into(), contenders.collect(), skipped)
}

fn hash_subject() -> Subject {
    let target = |size, figure, bound| Target {
        ours: MAKEMAP,
        size,
        figure,
        bound,
    };
    let (million, ten) = (1_000_000, 10_000_000);
    Subject {
        title: "build access entries".into(),
        sizes: "entries",
        rows: Vec::new(),
        targets: vec![
            target(million, WALL, Bound::Times(12.0, THEIRS)),
            target(million, WALL, Bound::Times(3.0, THEIRS_CACHED)),
            target(million, WALL, Bound::Times(6.0, POSTMAP_LMDB)),
            target(million, WALL, Bound::Times(4.0, POSTMAP_CDB)),
            target(million, PEAK, Bound::AtMost(120.0)),
            target(ten, WALL, Bound::Times(20.0, THEIRS)),
            target(ten, WALL, Bound::Times(8.0, POSTMAP_LMDB)),
            target(ten, PEAK, Bound::AtMost(600.0)),
        ],
    }
}

fn hash_builds(bench: &Bench, size: u32, skipped: &mut Vec<String>) -> io::Result<Vec<Build>> {
    let stdin = || Feed::Stdin(bench.at("access"));
    let program = bench.program("makemap")?;
    let mut builds = vec![Build::ours(MAKEMAP, &program, stdin()).args(["hash", "m"])];
    match bench.peers.find("sendmail", "makemap") {
        Ok(peer) => {
            let build = |title| Build::peer(title, &peer, stdin());
            builds.push(build(THEIRS).args(["hash", "m"]));
            if size < LARGE {
                let cached = ["-c", "268435456", "hash", "m"];
                builds.push(build(THEIRS_CACHED).args(cached));
            }
        }
        Err(why) => skipped.push(why),
    }
    let classes: &[(&str, &str)] = match size < LARGE {
        true => &[(POSTMAP_LMDB, "lmdb"), (POSTMAP_CDB, "cdb")],
        false => &[(POSTMAP_LMDB, "lmdb")],
    };
    for (title, class) in classes {
        match postmap::build(bench, title, class, &bench.at("access"))? {
            Ok(build) => builds.push(build),
            Err(why) => skipped.push(why),
        }
    }
    Ok(builds)
}

fn cdb_subject() -> Subject {
    Subject {
        title: "build a cdb of access entries".into(),
        sizes: "entries",
        rows: Vec::new(),
        targets: vec![Target {
            ours: MAKEMAP_CDB,
            size: 1_000_000,
            figure: CPU,
            bound: Bound::Times(1.0, TINYCDB),
        }],
    }
}

fn cdb_builds(bench: &Bench, skipped: &mut Vec<String>) -> io::Result<Vec<Build>> {
    let stdin = || Feed::Stdin(bench.at("access"));
    let program = bench.program("makemap")?;
    let mut builds = vec![Build::ours(MAKEMAP_CDB, &program, stdin()).args(["cdb", "m"])];
    match bench.peers.find("tinycdb", "cdb") {
        Ok(peer) => {
            let build = Build::peer(TINYCDB, &peer, stdin());
            builds.push(build.args(["-c", "-m", "m.cdb"]));
        }
        Err(why) => skipped.push(why),
    }
    Ok(builds)
}
