//! Real Berkeley DB files: the sound ones give exactly their entries, the
//! damaged ones an error that says where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libmaps::map::{Map, MapClass, MapName, StoreError};
use libmaps::rhs::Rhs;
use libmaps::store::BerkeleyMap;

type Pair = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
enum Expected {
    Entries(Vec<Pair>),
    Error,
}

#[test]
fn sound_samples_give_exactly_their_entries() {
    let mut count = 0;
    for (path, expected) in samples() {
        let Expected::Entries(mut expected) = expected else {
            continue;
        };
        count += 1;
        let map = open(&path).unwrap();
        let mut stored = entries(&map).unwrap_or_else(|error| panic!("{error}"));
        if map.class() == MapClass::Btree {
            assert!(stored.is_sorted_by_key(|(key, _)| key), "{}", map.name());
        }
        check_lookups(&map, &stored);
        stored.sort();
        expected.sort();
        assert!(
            stored == expected,
            "{}: {} entries, expected {}",
            path.display(),
            stored.len(),
            expected.len()
        );
    }
    assert!(count >= 46, "only {count} sound samples");
}

#[test]
fn damaged_and_foreign_samples_give_an_error_that_names_the_place() {
    let mut count = 0;
    for (path, expected) in samples() {
        if matches!(expected, Expected::Entries(_)) {
            continue;
        }
        count += 1;
        let error = match open(&path) {
            Err(error) => error,
            Ok(map) => the_error_at_the_end(&map),
        };
        assert_eq!(error.path(), path);
        assert!(
            matches!(
                error,
                StoreError::Corrupt { page: Some(_), .. } | StoreError::Unsupported { .. }
            ),
            "{error}"
        );
    }
    assert!(count >= 40, "only {count} damaged samples");
}

#[test]
fn kinds_that_are_no_maps_are_unsupported_and_not_damaged() {
    for (sample, words) in [
        ("odd-encrypted", "encrypted"),
        ("odd-recno", "record numbers"),
        ("odd-subdb", "several named databases"),
        ("odd-zeros", "not a Berkeley DB file"),
        ("corrupt-hash-version", "version 99"),
        ("corrupt-btree-version", "version 99"),
    ] {
        let error = open(&sample_path(sample)).unwrap_err();
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn errors_name_the_page_and_what_is_wrong_there() {
    for (sample, page, text) in [
        ("corrupt-hash-zero-page", 2, "overwritten with zeros"),
        ("corrupt-hash-loop", 2, "the page before it in its bucket"),
        ("corrupt-hash-next", 2, "the file has 21 pages"),
        ("corrupt-btree-child-twice", 2, "two ways lead to this page"),
        (
            "corrupt-btree-loop-root",
            1,
            "wrong for its place in the tree",
        ),
    ] {
        let error = the_error_at_the_end(&open(&sample_path(sample)).unwrap());
        let StoreError::Corrupt {
            page: found, why, ..
        } = &error
        else {
            panic!("{error}");
        };
        assert!(why.contains(text), "{error}");
        assert_eq!(*found, Some(page), "{error}");
    }
}

/// A lookup gives them all; a walk would repeat the key with each.
#[test]
fn duplicates_of_a_huge_key_do_not_multiply_it_without_end() {
    let map = open(&sample_path("odd-huge-key-duplicates")).unwrap();
    let key = vec![b'k'; 24_000];
    assert_eq!(map.get_all(&key).unwrap().len(), 4000);
    let error = map.iter().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("longer than the file"), "{error}");
}

#[test]
fn the_class_is_the_files_own() {
    let hash = open(&sample_path("makemap-hash-dup")).unwrap();
    let btree = open(&sample_path("makemap-btree-1")).unwrap();
    assert_eq!(hash.class(), MapClass::Hash);
    assert_eq!(btree.class(), MapClass::Btree);
}

#[test]
fn sasldb2_files_give_their_rows() {
    for name in ["small", "big", "pages", "odd", "empty"] {
        let path = testdata().join("sasldb2").join(name);
        let rows = std::fs::read(path.with_extension("rows.json")).unwrap();
        let rows: Vec<[String; 4]> = serde_json::from_slice(&rows).unwrap();
        let mut expected: Vec<Pair> = rows
            .iter()
            .map(|[user, realm, property, value]| {
                let key = [latin1(user), latin1(realm), latin1(property)].join(&0);
                (key, latin1(value))
            })
            .collect();
        let map = open(&path.with_extension("sasldb2")).unwrap();
        let mut stored = entries(&map).unwrap();
        check_lookups(&map, &stored);
        stored.sort();
        expected.sort();
        assert_eq!(stored, expected, "{name}");
    }
}

#[test]
fn a_missing_file_and_a_folder_are_told_apart() {
    let missing = open(&sample_path("no-such")).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    let folder = open(&testdata()).unwrap_err();
    assert!(matches!(folder, StoreError::Unsafe { .. }), "{folder}");
}

#[test]
fn threads_share_one_map() {
    let map = open(&sample_path("makemap-btree-20000")).unwrap();
    let stored = entries(&map).unwrap();
    std::thread::scope(|scope| {
        for part in stored.chunks(stored.len() / 4) {
            let map = &map;
            scope.spawn(move || {
                for (key, value) in part.iter().step_by(7) {
                    assert_eq!(map.get(key).unwrap(), Some(Rhs::from(value.as_slice())));
                }
            });
        }
    });
}

/// Each key is found with all its values in stored order, and its neighbours are not.
fn check_lookups(map: &BerkeleyMap, stored: &[Pair]) {
    let mut by_key: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for (key, value) in stored {
        by_key.entry(key).or_default().push(value);
    }
    for (key, values) in &by_key {
        let all = map.get_all(key).unwrap();
        let all: Vec<&[u8]> = all.iter().map(Rhs::as_bytes).collect();
        assert!(&all == values, "{}: {key:?}", map.name());
        let first = map.get(key).unwrap();
        assert_eq!(first.as_ref().map(Rhs::as_bytes), Some(values[0]));

        let shorter = &key[..key.len().saturating_sub(1)];
        for neighbour in [&[*key, b"\0"].concat(), &[*key, b"z"].concat(), shorter] {
            if !by_key.contains_key(neighbour) {
                assert_eq!(map.get(neighbour).unwrap(), None);
            }
        }
    }
}

/// The error that ends the entries of a damaged map; nothing comes after it.
fn the_error_at_the_end(map: &BerkeleyMap) -> StoreError {
    let mut results = map.iter().skip_while(Result::is_ok);
    let Some(Err(error)) = results.next() else {
        panic!("{}: no error", map.name());
    };
    assert!(results.next().is_none(), "{}", map.name());
    error
}

fn entries(map: &BerkeleyMap) -> Result<Vec<Pair>, StoreError> {
    map.iter()
        .map(|entry| {
            entry.map(|entry| (entry.lhs.into_bytes().into(), entry.rhs.into_bytes().into()))
        })
        .collect()
}

fn open(path: &Path) -> Result<BerkeleyMap, StoreError> {
    BerkeleyMap::open(path, MapName::new(MapClass::Hash, path))
}

fn samples() -> Vec<(PathBuf, Expected)> {
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(testdata().join("berkeley")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "db") {
            let text = std::fs::read_to_string(path.with_extension("expected.jsonl")).unwrap();
            samples.push((path, expected(&text)));
        }
    }
    samples
}

fn expected(text: &str) -> Expected {
    let mut pairs = Vec::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["error"] == true {
            return Expected::Error;
        }
        let side = |name: &str| latin1(line[name].as_str().unwrap());
        pairs.push((side("k"), side("v")));
    }
    Expected::Entries(pairs)
}

/// The recordings write octets as the characters of the same number.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

fn sample_path(name: &str) -> PathBuf {
    testdata().join("berkeley").join(format!("{name}.db"))
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}
