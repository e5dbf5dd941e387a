//! Sound files with octets changed at random: an error or entries, never a
//! panic and never work without end; where there are checksums, never wrong entries.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::{Path, PathBuf};

use libmaps::map::{Map, MapClass, MapName, StoreError};
use libmaps::store::BerkeleyMap;

type Pair = (Vec<u8>, Vec<u8>);

#[test]
fn changed_octets_cost_bounded_work() {
    for sample in [
        "load-hash-small-p512",
        "load-hash-overflow-p512",
        "load-hash-dup-p512",
        "load-hash-dupsort-be-p512",
        "load-btree-p1024",
        "load-btree-overflow-be-p512",
        "load-btree-dup-p512",
        "load-btree-dupsort-be-p512",
        "makemap-hash-dup-many",
        "editmap-btree-deleted",
    ] {
        let sound = std::fs::read(sample_path(sample)).unwrap();
        let keys = keys_of(&sample_path(sample));
        let mut random = Random(sample.len() as u64);
        for round in 0..60 {
            let mut octets = sound.clone();
            for _ in 0..1 + round / 6 {
                let at = interesting_offset(&mut random, octets.len());
                octets[at] = random.interesting_octet();
            }
            let (map, _folder) = match open_octets(&octets) {
                (Ok(map), folder) => (map, folder),
                (Err(_), _) => continue,
            };
            let most = octets.len() * 64;
            let results = map.iter().take(most + 1).collect::<Vec<_>>();
            assert!(results.len() <= most, "{sample}: entries without end");
            let errors = results.iter().filter(|result| result.is_err()).count();
            assert!(errors == 0 || errors == 1 && results.last().unwrap().is_err());
            for key in keys.iter().take(20) {
                let _ = map.get(key);
                let _ = map.get_all(key);
            }
        }
    }
}

#[test]
fn under_checksums_every_change_is_an_error_or_harmless() {
    let path = sample_path("load-hash-chksum");
    let sound = std::fs::read(&path).unwrap();
    let expected = entries(&open(&path).unwrap()).unwrap();
    let mut random = Random(11);
    let mut refused = 0;
    for _ in 0..400 {
        let mut octets = sound.clone();
        let at = random.below(octets.len());
        octets[at] ^= 1 << random.below(8);
        let (map, _folder) = open_octets(&octets);
        match map.and_then(|map| entries(&map)) {
            Ok(found) => assert!(found == expected, "offset {at}: wrong entries"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 300, "only {refused} of 400 changes were seen");
}

#[test]
fn cut_at_any_page_or_within_one_it_is_an_error() {
    for sample in ["load-hash-small-p512", "load-btree-deep-p512"] {
        let sound = std::fs::read(sample_path(sample)).unwrap();
        for length in (0..sound.len()).step_by(256) {
            let (map, _folder) = open_octets(&sound[..length]);
            assert!(map.is_err(), "{sample} cut at {length}");
        }
    }
}

#[test]
fn a_lost_page_is_an_error_and_not_a_shorter_map() {
    for sample in [
        "load-hash-small-p512",
        "load-hash-dup-p512",
        "load-btree-deep-p512",
        "load-btree-dup-p512",
        "load-btree-overflow-p512",
    ] {
        let sound = std::fs::read(sample_path(sample)).unwrap();
        let expected = entries(&open(&sample_path(sample)).unwrap()).unwrap();
        for page in 1..sound.len() / 512 {
            let mut octets = sound.clone();
            octets[page * 512..(page + 1) * 512].fill(0);
            let (map, _folder) = open_octets(&octets);
            if let Ok(found) = entries(&map.unwrap()) {
                assert!(
                    found == expected,
                    "{sample}: page {page} was lost in silence"
                );
            }
        }
    }
}

#[test]
fn a_changed_count_or_offset_is_an_error_and_not_another_map() {
    // Where the count, the free offset and the offsets stand on a page.
    const COUNT: usize = 20;
    const TYPE: usize = 25;
    const OFFSETS: usize = 26;
    for sample in [
        "load-hash-small-p512",
        "load-hash-dup-p512",
        "load-hash-overflow-be-p512",
        "load-btree-deep-p512",
        "load-btree-dup-be-p512",
        "load-btree-dupsort-be-p512",
        "load-btree-overflow-p512",
    ] {
        let sound = std::fs::read(sample_path(sample)).unwrap();
        let expected = entries(&open(&sample_path(sample)).unwrap()).unwrap();
        let mut changes = 0;
        let mut pages_of_type = [0; 256];
        for start in (512..sound.len()).step_by(512) {
            let page = &sound[start..start + 512];
            let of_type = &mut pages_of_type[usize::from(page[TYPE])];
            *of_type += 1;
            if *of_type > 2 || ![2, 3, 4, 5, 6, 12, 13].contains(&page[TYPE]) {
                continue;
            }
            let count = usize::from(page[COUNT].max(page[COUNT + 1]));
            let bits_of_count = (0..16).map(|bit| (COUNT + bit / 8, 1 << (bit % 8)));
            let rest = (COUNT + 2..TYPE - 1).chain(OFFSETS..OFFSETS + 2 * count);
            for (at, bit) in bits_of_count.chain(rest.map(|at| (at, 1 << (at % 8)))) {
                let mut octets = sound.clone();
                octets[start + at] ^= bit;
                let (map, _folder) = open_octets(&octets);
                let map = map.unwrap();
                assert!(
                    entries(&map).is_err(),
                    "{sample}: octet {at} of the page at {start}: nobody saw it"
                );
                for (key, value) in expected.iter().step_by(7) {
                    let found = map
                        .get(key)
                        .map(|found| found.map(|rhs| rhs.as_bytes().to_vec()));
                    let there = expected.iter().any(|(k, v)| {
                        k == key && Some(v) == found.as_ref().ok().and_then(Option::as_ref)
                    });
                    assert!(
                        found.is_err() || there,
                        "{sample}: octet {at} of the page at {start}: {key:?} {value:?} became {found:?}"
                    );
                }
                changes += 1;
            }
        }
        assert!(changes > 50, "{sample}: {changes}");
    }
}

/// Where the octets of keys stand on inner pages of a little-endian btree: but for a page's first
/// key, which counts as lower than any other.
fn inner_keys(octets: &[u8]) -> Vec<usize> {
    const INNER: u8 = 3;
    let number = |at: usize| usize::from(octets[at]) | usize::from(octets[at + 1]) << 8;
    let size = number(20);
    let pages = (size..octets.len()).step_by(size);
    let inner = pages.filter(|page| octets[page + 25] == INNER);
    let items = inner.flat_map(|page| {
        let items = 1..number(page + 20);
        items.map(move |n| page + number(page + 26 + 2 * n))
    });
    items
        .flat_map(|item| item + 12..item + 12 + number(item))
        .collect()
}

#[test]
fn a_wrong_way_to_a_leaf_hides_no_entry() {
    let mut told = 0;
    for sample in [
        "load-btree-p1024",
        "load-btree-deep-p512",
        "makemap-btree-20000",
    ] {
        let sound = std::fs::read(sample_path(sample)).unwrap();
        let (map, _folder) = open_octets(&sound);
        let map = map.unwrap();
        let keys = keys_of(&sample_path(sample));
        let all = inner_keys(&sound);
        assert!(!all.is_empty(), "{sample}");
        for at in all.iter().step_by(1 + all.len() / 40) {
            for change in [0x01, 0x20, 0x80] {
                let mut octets = sound.clone();
                octets[*at] ^= change;
                let (damaged, _folder) = open_octets(&octets);
                let damaged = damaged.unwrap();
                for key in keys.iter().step_by(1 + keys.len() / 200) {
                    match damaged.get_all(key) {
                        Ok(found) => assert_eq!(found, map.get_all(key).unwrap(), "{sample} {at}"),
                        Err(_) => told += 1,
                    }
                }
            }
        }
    }
    assert!(told > 0);
}

fn open_octets(octets: &[u8]) -> (Result<BerkeleyMap, StoreError>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.db");
    std::fs::write(&path, octets).unwrap();
    (open(&path), folder)
}

fn open(path: &Path) -> Result<BerkeleyMap, StoreError> {
    BerkeleyMap::open(path, MapName::new(MapClass::Hash, path))
}

fn entries(map: &BerkeleyMap) -> Result<Vec<Pair>, StoreError> {
    map.iter()
        .map(|entry| {
            entry.map(|entry| (entry.lhs.into_bytes().into(), entry.rhs.into_bytes().into()))
        })
        .collect()
}

fn keys_of(path: &Path) -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = entries(&open(path).unwrap())
        .unwrap()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    keys.dedup();
    keys
}

fn sample_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/berkeley")
        .join(format!("{name}.db"))
}

/// Mostly the first page, the page headers and the offsets behind them.
fn interesting_offset(random: &mut Random, octets: usize) -> usize {
    match random.below(4) {
        0 => 12 + random.below(212),
        1 | 2 => random.below(octets / 512) * 512 + 8 + random.below(40),
        _ => random.below(octets),
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    fn interesting_octet(&mut self) -> u8 {
        match self.below(3) {
            0 => [0, 1, 2, 3, 4, 5, 7, 12, 13, 0x7f, 0x80, 0xff][self.below(12)],
            _ => self.next() as u8,
        }
    }
}
