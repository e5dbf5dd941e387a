//! Lookups: a held snapshot of a redb map beside LMDB, and opening with the first lookup.
//!
//! `ENTRIES` is how many entries the maps hold, a million if it is not set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};
use libmaps::build::{Builder, Start};
use libmaps::map::{Map, MapClass};
use libmaps::store;
use libmaps::store::publish::Options;

/// How many LHSs are asked for in turn, spread over the whole map.
const ASKED: u32 = 1 << 16;

fn lhs(n: u32) -> Vec<u8> {
    format!("from:host{:08x}.example", n.wrapping_mul(2_654_435_761)).into_bytes()
}

struct Site {
    dir: tempfile::TempDir,
    present: Vec<Vec<u8>>,
    absent: Vec<Vec<u8>>,
}

impl Site {
    fn new() -> Self {
        let entries: u32 = std::env::var("ENTRIES").map_or(1_000_000, |n| n.parse().unwrap());
        let site = Site {
            dir: tempfile::tempdir().unwrap(),
            present: (0..ASKED).map(|n| lhs(n % entries)).collect(),
            absent: (0..ASKED).map(|n| lhs(entries + n)).collect(),
        };
        for (class, path) in [(MapClass::Hash, site.redb()), (MapClass::Cdb, site.cdb())] {
            let options = Options::new(class, "bench");
            let mut builder = Builder::open(&path, Start::Empty, options).unwrap();
            for n in 0..entries {
                builder.put(&lhs(n), b"REJECT", u64::from(n) + 1).unwrap();
            }
            builder.publish(None).unwrap();
        }
        let env = lmdb(&site.lmdb(), EnvFlags::empty());
        let mut write = env.write_txn().unwrap();
        let db: Database<Bytes, Bytes> = env.create_database(&mut write, None).unwrap();
        let mut sorted: Vec<Vec<u8>> = (0..entries).map(lhs).collect();
        sorted.sort_unstable();
        for lhs in sorted {
            db.put(&mut write, &lhs, b"REJECT").unwrap();
        }
        write.commit().unwrap();
        site
    }

    fn redb(&self) -> PathBuf {
        self.dir.path().join("m.db")
    }

    fn cdb(&self) -> PathBuf {
        self.dir.path().join("m.cdb")
    }

    fn lmdb(&self) -> PathBuf {
        self.dir.path().join("m.lmdb")
    }
}

#[allow(unsafe_code)] // heed asks that nobody else changes the file
fn lmdb(path: &Path, flags: EnvFlags) -> Env {
    let mut options = EnvOpenOptions::new();
    options.map_size(16 << 30);
    // SAFETY: the file stands in a folder of our own, and only this program opens it.
    unsafe {
        options.flags(flags | EnvFlags::NO_SUB_DIR);
        options.open(path).unwrap()
    }
}

fn held(c: &mut Criterion, site: &Site) {
    let redb = store::open(&site.redb()).unwrap();
    let cdb = store::open(&site.cdb()).unwrap();
    let maps: [(&str, &dyn Map); 2] = [("redb", redb.as_ref()), ("cdb", cdb.as_ref())];
    let env = lmdb(&site.lmdb(), EnvFlags::READ_ONLY);
    let read = env.read_txn().unwrap();
    let db: Database<Bytes, Bytes> = env.open_database(&read, None).unwrap().unwrap();
    for (what, asked, there) in [("hit", &site.present, true), ("miss", &site.absent, false)] {
        let mut group = c.benchmark_group(what);
        for (title, map) in maps {
            group.bench_function(BenchmarkId::from_parameter(title), |b| {
                let mut turn = asked.iter().cycle();
                b.iter(|| {
                    let found = map.get(black_box(turn.next().unwrap())).unwrap();
                    assert_eq!(found.is_some(), there);
                    found
                });
            });
        }
        group.bench_function(BenchmarkId::from_parameter("lmdb"), |b| {
            let mut turn = asked.iter().cycle();
            b.iter(|| {
                let found = db.get(&read, black_box(turn.next().unwrap())).unwrap();
                assert_eq!(found.is_some(), there);
                found.map(|rhs| rhs.to_vec())
            });
        });
        group.finish();
    }
}

fn opened(c: &mut Criterion, site: &Site) {
    let mut group = c.benchmark_group("open and first lookup");
    for (title, path) in [("redb", site.redb()), ("cdb", site.cdb())] {
        let mut turn = site.present.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(title), |b| {
            b.iter(|| {
                let map = store::open(&path).unwrap();
                map.get(turn.next().unwrap()).unwrap().unwrap()
            });
        });
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    let site = Site::new();
    held(c, &site);
    opened(c, &site);
}

criterion_group! {
    name = lookups;
    config = Criterion::default()
        .measurement_time(Duration::from_secs(5))
        .sample_size(30);
    targets = all
}
criterion_main!(lookups);
