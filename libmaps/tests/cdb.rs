//! cdb: files of tinycdb read, our own read back, damaged ones refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use libmaps::map::{Map, MapClass, MapName, StoreError};
use libmaps::rhs::Rhs;
use libmaps::store::{CdbMap, CdbWriter, Format, sniff};
use proptest::collection::vec;
use proptest::prelude::*;

type Pair = (Vec<u8>, Vec<u8>);

#[test]
fn a_file_of_tinycdb_gives_its_entries_in_order() {
    let map = open(&testdata("tinycdb.cdb")).unwrap();
    let expected: Vec<Pair> = [
        (&b"connect:example.org"[..], &b"Relay ok"[..]),
        (b"user", b"one"),
        (b"user", b"two"),
        (b"", b"empty"),
        (b"blank", b""),
        (b"nul\0\xc3\xa4", b"\x01\n\xff\xfe"),
    ]
    .map(|(key, value)| (key.to_vec(), value.to_vec()))
    .to_vec();
    assert_eq!(entries(&map).unwrap(), expected);
    assert_eq!(map.get(b"user").unwrap(), Some(Rhs::from("one")));
    let both = map.get_all(b"user").unwrap();
    assert_eq!(both, [Rhs::from("one"), Rhs::from("two")]);
    assert_eq!(map.get(b"").unwrap(), Some(Rhs::from("empty")));
    assert_eq!(map.get(b"User").unwrap(), None);
}

#[test]
fn larger_and_empty_files_of_tinycdb() {
    let map = open(&testdata("tinycdb-500.cdb")).unwrap();
    for number in 1..=500 {
        let value = map.get(format!("key{number}").as_bytes()).unwrap().unwrap();
        assert_eq!(
            value.as_bytes(),
            format!("value-{}", number * 7919).as_bytes()
        );
    }
    assert_eq!(map.get(b"key501").unwrap(), None);
    assert_eq!(map.iter().count(), 500);

    let empty = open(&testdata("tinycdb-empty.cdb")).unwrap();
    assert_eq!(empty.get(b"").unwrap(), None);
    assert!(empty.iter().next().is_none());
}

#[test]
fn our_file_is_octet_for_octet_that_of_tinycdb() {
    for name in ["tinycdb.cdb", "tinycdb-500.cdb", "tinycdb-empty.cdb"] {
        let recorded = std::fs::read(testdata(name)).unwrap();
        let stored = entries(&open(&testdata(name)).unwrap()).unwrap();
        let (path, _folder) = write(&stored);
        assert!(std::fs::read(path).unwrap() == recorded, "{name}");
        assert_eq!(sniff(&recorded[..2048], recorded.len() as u64), Format::Cdb);
    }
}

#[test]
fn entries_longer_than_any_buffer() {
    let long: Pair = (vec![b'k'; 700_000], vec![b'v'; 1 << 20]);
    let stored = vec![
        (b"a".to_vec(), b"1".to_vec()),
        long.clone(),
        (b"z".to_vec(), vec![]),
    ];
    let (path, _folder) = write(&stored);
    let map = open(&path).unwrap();
    assert!(entries(&map).unwrap() == stored);
    assert_eq!(map.get(&long.0).unwrap().unwrap().as_bytes().len(), 1 << 20);
}

#[test]
fn past_4_gib_the_writer_says_so() {
    let mut writer = CdbWriter::new(Nowhere, "access.cdb");
    let value = vec![0; 1 << 30];
    for key in [b"1", b"2", b"3"] {
        writer.add(key, &value).unwrap();
    }
    let error = writer.add(b"4", &value).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "access.cdb: a cdb ends at 4 GiB; use class hash or btree"
    );
    writer.add(b"4", b"short").unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_cut_file_is_an_error() {
    let whole = std::fs::read(testdata("tinycdb-500.cdb")).unwrap();
    for length in (0..whole.len()).step_by(61) {
        let error = open_octets(&whole[..length]).0.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }
}

#[test]
fn a_record_that_leaves_the_file_is_an_error_and_not_absent() {
    let mut octets = std::fs::read(testdata("tinycdb.cdb")).unwrap();
    octets[2048..2052].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let (map, _folder) = open_octets(&octets);
    let map = map.unwrap();
    let error = map.get(b"connect:example.org").unwrap_err();
    assert!(error.to_string().contains("record at 2048"), "{error}");
    let results: Vec<_> = map.iter().collect();
    assert_eq!(results.len(), 1);
    assert!(results[0].is_err());
}

#[test]
fn a_lost_record_is_an_error_and_not_a_shorter_map() {
    let mut octets = std::fs::read(testdata("tinycdb.cdb")).unwrap();
    // The first record takes the second one in.
    octets[2052..2056].copy_from_slice(&(8_u32 + 8 + 4 + 3).to_le_bytes());
    let (map, _folder) = open_octets(&octets);
    let error = map.unwrap().iter().find_map(Result::err).unwrap();
    assert!(
        error.to_string().contains("5 records, and 6 slots"),
        "{error}"
    );
}

/// `cdb -c -0` of `one hello`, `two world`, `one new`.
#[test]
fn a_record_that_tinycdb_filled_with_zeros_is_none() {
    let map = open(&testdata("tinycdb-zero-filled.cdb")).unwrap();
    let pair = |key: &str, value: &str| (key.into(), value.into());
    let expected: Vec<Pair> = vec![pair("two", "world"), pair("one", "new")];
    assert_eq!(entries(&map).unwrap(), expected);
    assert_eq!(map.get(b"").unwrap(), None);
    assert_eq!(map.get_all(b"one").unwrap(), [Rhs::from("new")]);
}

#[test]
fn entries_of_no_key_and_zeros_are_told_from_what_was_filled() {
    let zeros = |count| (Vec::new(), vec![0; count]);
    let other: Pair = (b"a".to_vec(), b"1".to_vec());
    let stored = vec![zeros(4), zeros(0), other, zeros(9), zeros(4)];
    let (path, _folder) = write(&stored);
    assert_eq!(entries(&open(&path).unwrap()).unwrap(), stored);
    // Where a slot is lost, so is its record: that is damage, or one that was filled.
    let mut octets = std::fs::read(&path).unwrap();
    let last_of_its_key = 2048 + (8 + 4) + 8 + (8 + 2) + (8 + 9);
    let slot = (last_of_its_key as u32).to_le_bytes();
    let at = octets.windows(4).rposition(|four| four == slot).unwrap();
    octets[at - 4..at + 4].fill(0);
    let (map, _folder) = open_octets(&octets);
    assert_eq!(entries(&map.unwrap()).unwrap(), stored[..4]);
}

#[test]
fn records_that_were_overwritten_with_zeros_are_damage() {
    let sound = std::fs::read(testdata("tinycdb-500.cdb")).unwrap();
    for (from, to) in [(2048, 2048 + 200), (4096, 8192)] {
        let mut octets = sound.clone();
        octets[from..to].fill(0);
        let (map, _folder) = open_octets(&octets);
        assert!(entries(&map.unwrap()).is_err(), "{from}");
    }
}

#[test]
fn slots_that_lead_to_one_record_do_not_multiply_it() {
    let stored: Vec<Pair> = (0..200)
        .map(|number: u32| (b"key".to_vec(), vec![b'v'; number as usize]))
        .collect();
    let (path, _folder) = write(&stored);
    let mut octets = std::fs::read(&path).unwrap();
    let last = octets[..]
        .windows(4)
        .rposition(|four| four == [199, 0, 0, 0]);
    let record = (last.unwrap() - 4) as u32;
    let tables = octets.len() - 400 * 8;
    for slot in octets[tables..].chunks_exact_mut(8) {
        if slot[4..] != [0; 4] {
            slot[4..].copy_from_slice(&record.to_le_bytes());
        }
    }
    let (map, _folder) = open_octets(&octets);
    let error = map.unwrap().get_all(b"key").unwrap_err();
    assert!(error.to_string().contains("lead to one record"), "{error}");
}

/// `cdb` of tinycdb reads what we write and we read what it writes.
#[test]
fn tinycdb_agrees_where_it_is_installed() {
    if Command::new("cdb").arg("-h").output().is_err() {
        eprintln!("skipped: cdb (package tinycdb) is not installed");
        return;
    }
    let stored: Vec<Pair> = (0..20_000)
        .map(|number| {
            let key = format!("Connect:host{}.example.org", number % 15_000);
            (key.into_bytes(), format!("value {number}").into_bytes())
        })
        .collect();
    let (ours, folder) = write(&stored);
    let dump = Command::new("cdb").arg("-d").arg(&ours).output().unwrap();
    assert!(dump.status.success());

    let text = folder.path().join("dump.txt");
    File::create(&text)
        .unwrap()
        .write_all(&dump.stdout)
        .unwrap();
    let theirs = folder.path().join("theirs.cdb");
    let made = Command::new("cdb")
        .arg("-c")
        .arg(&theirs)
        .arg(&text)
        .status();
    assert!(made.unwrap().success());
    assert!(entries(&open(&theirs).unwrap()).unwrap() == stored);
    assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap());

    let asked = Command::new("cdb")
        .args([
            "-q".as_ref(),
            ours.as_os_str(),
            "Connect:host7.example.org".as_ref(),
        ])
        .output()
        .unwrap();
    assert_eq!(asked.stdout, b"value 7value 15007");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_written_is_read(
        stored in vec((vec(0_u8..4, 0..4), vec(any::<u8>(), 0..40)), 0..80),
        absent in vec(any::<u8>(), 0..6),
    ) {
        let (path, _folder) = write(&stored);
        let map = open(&path).unwrap();
        prop_assert_eq!(entries(&map).unwrap(), stored.clone());
        let mut by_key: BTreeMap<Vec<u8>, Vec<Rhs>> = BTreeMap::new();
        for (key, value) in stored {
            by_key.entry(key).or_default().push(Rhs::from(value));
        }
        for _ in 0..2 {
            for (key, values) in &by_key {
                let first = map.get(key).unwrap();
                prop_assert_eq!(first.as_ref(), values.first());
                prop_assert_eq!(&map.get_all(key).unwrap(), values);
            }
            prop_assert_eq!(map.get(&absent).unwrap().is_some(), by_key.contains_key(&absent));
            ask_often(&map, &absent);
        }
    }

    #[test]
    fn changed_octets_cost_bounded_work(
        changes in vec((0_usize..23_301, any::<u8>()), 1..8),
    ) {
        let mut octets = std::fs::read(testdata("tinycdb-500.cdb")).unwrap();
        for (at, octet) in changes {
            octets[at] = octet;
        }
        if let (Ok(map), _folder) = open_octets(&octets) {
            let most = octets.len() / 8;
            prop_assert!(map.iter().take(most + 1).count() <= most);
            let all = |map: &CdbMap| -> Vec<_> {
                let keys = (0..100).map(|number| format!("key{number}"));
                keys.map(|key| map.get_all(key.as_bytes()).map_err(|e| e.to_string())).collect()
            };
            let from_the_file = all(&map);
            ask_often(&map, b"key0");
            prop_assert_eq!(from_the_file, all(&map));
        }
    }
}

/// Asks until the map is in memory, if it ever is.
fn ask_often(map: &CdbMap, key: &[u8]) {
    for _ in 0..300 {
        let _ = map.get(key);
    }
    map.settle();
}

#[test]
fn a_map_that_is_asked_often_answers_from_memory() {
    let of = |octets: usize| {
        vec![
            (b"key0".to_vec(), vec![b'v'; octets]),
            (b"k".to_vec(), vec![]),
        ]
    };
    let small = of(9);
    let large = [of(41 << 20), of(41 << 20)].concat();
    for (stored, is_in_memory) in [(&small, true), (&large, false)] {
        let (path, _folder) = write(stored);
        let map = open(&path).unwrap();
        let asked = [map.get(b"k").unwrap(), map.get(b"x").unwrap()];
        assert_eq!(asked, [Some(Rhs::from("")), None]);
        ask_often(&map, b"k");
        // Nobody changes a map in place; what is told of it now can't be from the file.
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        let asked = map.get(b"k");
        assert_eq!(
            asked.is_ok_and(|rhs| rhs == Some(Rhs::from(""))),
            is_in_memory
        );
    }
}

fn write(stored: &[Pair]) -> (PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.cdb");
    let mut writer = CdbWriter::new(File::create(&path).unwrap(), &path);
    for (key, value) in stored {
        writer.add(key, value).unwrap();
    }
    writer.finish().unwrap();
    (path, folder)
}

fn open_octets(octets: &[u8]) -> (Result<CdbMap, StoreError>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.cdb");
    std::fs::write(&path, octets).unwrap();
    (open(&path), folder)
}

fn open(path: &Path) -> Result<CdbMap, StoreError> {
    CdbMap::open(path, MapName::new(MapClass::Cdb, path))
}

fn entries(map: &CdbMap) -> Result<Vec<Pair>, StoreError> {
    map.iter()
        .map(|entry| {
            entry.map(|entry| (entry.lhs.into_bytes().into(), entry.rhs.into_bytes().into()))
        })
        .collect()
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/cdb")
        .join(name)
}

/// A file that takes everything and keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl std::io::Write for Nowhere {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        Ok(octets.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for Nowhere {
    fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
        Ok(0)
    }
}

/// A file of holes may claim a record of 4 GiB, and costs nothing to send.
#[test]
fn a_record_that_claims_too_much_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.cdb");
    let mut writer = CdbWriter::new(File::create(&path).unwrap(), &path);
    writer.add(b"key", &vec![b'x'; 65 << 20]).unwrap();
    writer.finish().unwrap();
    let map = open(&path).unwrap();
    for error in [
        map.get(b"key").unwrap_err(),
        map.iter().next().unwrap().unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("are read") && text.contains("damaged"),
            "{text}"
        );
    }
}
