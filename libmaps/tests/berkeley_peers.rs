//! Files made by `db5.3_load`, compared entry by entry with `db5.3_dump`.
//!
//! Both come with Debian's `db-util`; where they are missing the tests say so
//! and pass. `LIBMAPS_BERKELEY_FILES=folder` adds the files of a folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use libmaps::map::{Map, MapClass, MapName};
use libmaps::store::BerkeleyMap;

type Pair = (Vec<u8>, Vec<u8>);

#[test]
fn page_sizes_and_byte_orders() {
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for order in [1234, 4321] {
            for class in ["hash", "btree"] {
                let options = [
                    format!("db_pagesize={page_size}"),
                    format!("db_lorder={order}"),
                ];
                load_and_compare(class, &options, &entries(500, 40, 40));
                load_and_compare(class, &options, &entries(20, 3000, 20_000));
            }
        }
    }
}

#[test]
fn checksums_in_either_byte_order() {
    for order in [1234, 4321] {
        for class in ["hash", "btree"] {
            for page_size in [512, 4096, 65536] {
                let options = [
                    format!("db_pagesize={page_size}"),
                    format!("db_lorder={order}"),
                    "chksum=1".to_owned(),
                ];
                load_and_compare(class, &options, &entries(700, 40, 2000));
            }
        }
    }
}

#[test]
fn duplicates_sorted_and_not() {
    for order in [1234, 4321] {
        for class in ["hash", "btree"] {
            for sort in ["duplicates=1", "dupsort=1"] {
                for page_size in [512, 4096, 65536] {
                    for (keys, values) in [(300, 3), (10, 400), (1, 3000)] {
                        let options = [
                            format!("db_pagesize={page_size}"),
                            format!("db_lorder={order}"),
                            sort.to_owned(),
                        ];
                        load_and_compare(class, &options, &duplicates(keys, values));
                    }
                }
            }
        }
    }
}

#[test]
fn fill_factors_and_expected_sizes() {
    for factor in [1, 7, 200] {
        for expected in [1, 1000, 50_000] {
            for count in [3, 400] {
                let options = [
                    "db_pagesize=512".to_owned(),
                    format!("h_ffactor={factor}"),
                    format!("h_nelem={expected}"),
                ];
                load_and_compare("hash", &options, &entries(count, 30, 60));
            }
        }
    }
    for keys_on_a_page in [2, 10] {
        let options = [
            "db_pagesize=1024".to_owned(),
            format!("bt_minkey={keys_on_a_page}"),
        ];
        load_and_compare("btree", &options, &entries(800, 200, 300));
    }
    load_and_compare("btree", &["recnum=1".to_owned()], &entries(3000, 30, 60));
}

#[test]
fn thirty_thousand_entries() {
    for class in ["hash", "btree"] {
        load_and_compare(class, &[], &entries(30_000, 30, 30));
    }
}

#[test]
fn files_of_the_folder_named_in_the_environment() {
    let Some(folder) = std::env::var_os("LIBMAPS_BERKELEY_FILES") else {
        return;
    };
    let mut differing = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match compare_with_dump(&path) {
            Ok(count) => eprintln!("{}: {count} entries", path.display()),
            Err(why) => differing.push(why),
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn load_and_compare(class: &str, options: &[String], entries: &[Pair]) {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.db");
    load(class, options, entries, &path);
    let count = compare_with_dump(&path).unwrap();
    assert!(count > 0, "{class} {options:?}: an empty map");
}

fn load(class: &str, options: &[String], entries: &[Pair], path: &Path) {
    let mut text = String::new();
    for side in entries.iter().flat_map(|(key, value)| [key, value]) {
        for octet in side {
            write!(text, "\\{octet:02x}").unwrap();
        }
        text.push('\n');
    }
    let mut command = Command::new("db5.3_load");
    command.args(["-T", "-t", class]);
    for option in options {
        command.args(["-c", option]);
    }
    let mut child = command.arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{class} {options:?}");
}

/// Compares entries, their order and every lookup; gives their number.
fn compare_with_dump(path: &Path) -> Result<usize, String> {
    let differs = |what: &str| format!("{}: {what}", path.display());
    let expected = dump(path).ok_or_else(|| differs("db5.3_dump fails"))?;
    let map = BerkeleyMap::open(path, MapName::new(MapClass::Hash, path))
        .map_err(|error| error.to_string())?;
    let mut found = Vec::with_capacity(expected.len());
    for entry in map.iter() {
        let entry = entry.map_err(|error| error.to_string())?;
        found.push((
            entry.lhs.into_bytes().to_vec(),
            entry.rhs.into_bytes().to_vec(),
        ));
    }
    // Both walk the buckets, or the leaves, in the same order.
    if found != expected {
        let counts = format!("{} entries, dumped {}", found.len(), expected.len());
        return Err(differs(&counts));
    }
    let mut by_key: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for (key, value) in &expected {
        by_key.entry(key).or_default().push(value);
    }
    for (key, values) in &by_key {
        let all = map.get_all(key).map_err(|error| error.to_string())?;
        if !all
            .iter()
            .map(|rhs| rhs.as_bytes())
            .eq(values.iter().copied())
        {
            return Err(differs("another set of values"));
        }
        let first = map.get(key).map_err(|error| error.to_string())?;
        if first.as_ref() != all.first() {
            return Err(differs("another first value"));
        }
        let absent = [key, &b"\x01absent"[..]].concat();
        if map
            .get(&absent)
            .map_err(|error| error.to_string())?
            .is_some()
        {
            return Err(differs("an absent key is found"));
        }
    }
    Ok(expected.len())
}

fn dump(path: &Path) -> Option<Vec<Pair>> {
    let output = Command::new("db5.3_dump").arg(path).output().unwrap();
    // On a damaged file it may crash, or print what lay in its memory.
    let text = String::from_utf8(output.stdout)
        .ok()
        .filter(|_| output.status.success())?;
    let body = text.split_once("HEADER=END\n").unwrap().1;
    let mut sides = body.lines().filter_map(|line| line.strip_prefix(' '));
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (sides.next(), sides.next()) {
        pairs.push((unhex(key), unhex(value)));
    }
    Some(pairs)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// `count` entries with keys and values of up to these many octets, the same at each run.
fn entries(count: usize, most_key_octets: usize, most_value_octets: usize) -> Vec<Pair> {
    let mut random = Random(count as u64 + 7);
    (0..count)
        .map(|number| {
            let mut key = format!("{number:x}.").into_bytes();
            key.extend(random.octets(most_key_octets));
            (key, random.octets(most_value_octets))
        })
        .collect()
}

fn duplicates(keys: usize, values: usize) -> Vec<Pair> {
    let mut random = Random(values as u64);
    let mut entries = Vec::new();
    for value in 0..values {
        for key in 0..keys {
            let mut octets = random.octets(30);
            octets.extend(format!("-{value}").into_bytes());
            if value % 97 == 50 {
                octets.resize(3000, b'x');
            }
            entries.push((format!("key{key}").into_bytes(), octets));
        }
    }
    entries
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

    fn octets(&mut self, most: usize) -> Vec<u8> {
        let count = self.next() as usize % (most + 1);
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn installed() -> bool {
    let found = ["db5.3_load", "db5.3_dump"]
        .iter()
        .all(|program| Command::new(program).arg("-V").output().is_ok());
    if !found {
        eprintln!("skipped: db5.3_load and db5.3_dump (package db-util) are not installed");
    }
    found
}
