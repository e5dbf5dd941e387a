//! A map whose page numbers somebody has changed: an error that says so, and no more memory than
//! the map is long, whichever page number it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

use libmaps::build::{Builder, Start};
use libmaps::map::{Entry, MapClass, StoreError};
use libmaps::store;
use libmaps::store::publish::{OnDuplicate, Options, Publisher};
use xxhash_rust::xxh3::xxh3_128;

/// What the damaged maps are looked at in, in KiB of address space: a page number can claim
/// eight times as much.
const LITTLE_MEMORY_KIB: u32 = 512 << 10;

const PAGE: usize = 4096;

/// A map's file, read by what redb's `docs/design.md` says of it.
struct Octets(Vec<u8>);

/// A page number: where it stands in the file, and what leads there.
#[derive(Clone, Debug)]
struct Pointer {
    at: usize,
    what: String,
}

impl Octets {
    fn number<const N: usize>(&self, at: usize) -> usize {
        let octets = &self.0[at..at + N];
        octets
            .iter()
            .rev()
            .fold(0, |n, octet| n << 8 | usize::from(*octet))
    }

    fn slot(&self) -> usize {
        64 + 128 * usize::from(self.0[9] & 1)
    }

    /// Where the page is that a page number at this place leads to.
    fn page(&self, at: usize) -> usize {
        let number = self.number::<8>(at);
        let (order, index) = (number >> 59, number & 0xf_ffff);
        assert_eq!(number >> 20 & 0xf_ffff, 0, "all in the first region");
        (1 + self.number::<4>(16) + (index << order)) * PAGE
    }

    /// Where the values of a leaf begin and end.
    fn values(&self, page: usize) -> Vec<(usize, usize)> {
        let count = self.number::<2>(page + 2);
        let end = |n: usize| page + self.number::<4>(page + 4 + 4 * n);
        (count..2 * count).map(|n| (end(n - 1), end(n))).collect()
    }

    fn pointers(&self) -> Vec<Pointer> {
        let mut all = Vec::new();
        for (tree, at) in [("map", self.slot() + 8), ("system", self.slot() + 40)] {
            all.push(Pointer {
                at,
                what: format!("{tree}: header"),
            });
            let leaf = self.page(at);
            assert_eq!(self.0[leaf], 1);
            for (value, _) in self
                .values(leaf)
                .into_iter()
                .filter(|v| self.0[v.0 + 9] != 0)
            {
                let what = format!("{tree}: table");
                all.push(Pointer {
                    at: value + 10,
                    what,
                });
                let is_multimap = self.0[value] == 4;
                self.below(value + 10, tree, is_multimap, &mut all);
            }
        }
        all
    }

    fn below(&self, at: usize, tree: &str, is_multimap: bool, all: &mut Vec<Pointer>) {
        let page = self.page(at);
        if self.0[page] == 2 {
            let count = self.number::<2>(page + 2) + 1;
            for n in 0..count {
                let at = page + 8 + 16 * count + 8 * n;
                let level = if self.0[self.page(at)] == 2 {
                    "branch"
                } else {
                    "leaf"
                };
                all.push(Pointer {
                    at,
                    what: format!("{tree}: {level}"),
                });
                self.below(at, tree, is_multimap, all);
            }
        } else if is_multimap {
            for (value, _) in self.values(page).into_iter().filter(|v| self.0[v.0] == 3) {
                all.push(Pointer {
                    at: value + 1,
                    what: format!("{tree}: values"),
                });
                self.below(value + 1, "map: values", false, all);
            }
        }
    }

    /// The map with another page number there.
    fn with(&self, pointer: &Pointer, number: u64) -> Vec<u8> {
        let mut octets = self.0.clone();
        octets[pointer.at..pointer.at + 8].copy_from_slice(&number.to_le_bytes());
        let slot = self.slot();
        let sum = xxh3_128(&octets[slot..slot + 112]);
        octets[slot + 112..slot + 128].copy_from_slice(&sum.to_le_bytes());
        octets
    }
}

fn options(on_duplicate: OnDuplicate) -> Options {
    let class = match on_duplicate {
        OnDuplicate::KeepAll => MapClass::Btree,
        _ => MapClass::Hash,
    };
    Options {
        on_duplicate,
        ..Options::new(class, "test")
    }
}

fn lhs(number: u32) -> String {
    format!("{number:04} of many")
}

/// A map with pages of every kind, and a table of `meta` of one leaf.
fn build(path: &Path, on_duplicate: OnDuplicate) -> Octets {
    let mut builder = Builder::open(path, Start::Empty, options(on_duplicate)).unwrap();
    let rhs = "x".repeat(300);
    let keep_all = on_duplicate == OnDuplicate::KeepAll;
    for number in 0..2500 {
        builder
            .put(lhs(number).as_bytes(), rhs.as_bytes(), 1)
            .unwrap();
        if keep_all && number < 400 {
            let rhs = format!("{rhs} {number}");
            builder.put(b"0100 of many", rhs.as_bytes(), 1).unwrap();
        }
    }
    builder.publish(None).unwrap();
    Octets(std::fs::read(path).unwrap())
}

/// The page numbers that others are tried for.
fn others(octets: &Octets) -> Vec<u64> {
    let order = |order: u64| order << 59;
    let region = 1 << 20;
    let last = (octets.0.len() / PAGE) as u64 - 1;
    let root = octets.number::<8>(octets.slot() + 8) as u64;
    vec![
        order(20),
        order(18),
        region,
        last,
        order(1) | (last / 2),
        0xf_ffff,
        root,
        u64::MAX >> 5,
    ]
}

#[test]
fn a_page_number_claims_no_more_than_the_file_has() {
    let done = Command::new("sh")
        .args(["-c", "ulimit -v \"$0\" && exec \"$@\""])
        .arg(LITTLE_MEMORY_KIB.to_string())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "in_little_memory", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    let ended_well = done.status.success() && told.contains("1 passed");
    assert!(
        ended_well,
        "{told}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
#[ignore = "the other test runs it, in little memory"]
fn in_little_memory() {
    let of_all = [
        "map: branch",
        "map: header",
        "map: leaf",
        "map: table",
        "system: header",
        "system: leaf",
        "system: table",
    ];
    assert_eq!(kinds_tried(OnDuplicate::Replace), of_all);
    let of_several = ["map: values", "map: values: leaf"];
    let of_all = [&of_all[..4], &of_several, &of_all[4..]].concat();
    assert_eq!(kinds_tried(OnDuplicate::KeepAll), of_all);
    try_layouts();
}

/// Damages a map, of each kind of page number the first, the last and one between, and looks
/// at what comes of it. Returns the kinds.
fn kinds_tried(on_duplicate: OnDuplicate) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.db");
    let octets = build(&path, on_duplicate);
    look(&path).unwrap();
    edit(&path, on_duplicate).unwrap();
    look(&path).unwrap();
    let mut pointers = octets.pointers();
    pointers.sort_by(|a, b| a.what.cmp(&b.what));
    let mut kinds = Vec::new();
    for same in pointers.chunk_by(|a, b| a.what == b.what) {
        let kind = &same[0].what;
        kinds.push(kind.clone());
        for pointer in [&same[0], &same[same.len() / 2], &same[same.len() - 1]] {
            let kept = octets.number::<8>(pointer.at) as u64;
            for number in others(&octets).into_iter().filter(|n| *n != kept) {
                let case = format!("{kind} at {}, {number:#x}", pointer.at);
                // Seen in the output if this is the last one.
                println!("{case}");
                std::fs::write(&path, octets.with(pointer, number)).unwrap();
                let seen = told(&case, look(&path));
                let edited = told(&case, edit(&path, on_duplicate));
                // An edit does not come to each page; only an edit comes to redb's own tables.
                match kind.as_str() {
                    "system: leaf" | "system: table" => assert!(!seen, "{case}"),
                    "map: leaf" | "map: values" | "map: values: leaf" => assert!(seen, "{case}"),
                    _ => assert!(seen && edited, "{case}"),
                }
            }
        }
    }
    kinds
}

/// Damages what the header says of pages and regions.
fn try_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.db");
    let octets = build(&path, OnDuplicate::Replace);
    for at in (12..32).step_by(4) {
        for field in [
            0,
            1,
            2,
            63,
            64,
            8192,
            (1 << 20) - 1,
            1 << 20,
            1 << 31,
            u32::MAX,
        ] {
            let case = format!("header at {at}, {field}");
            println!("{case}");
            let mut octets = octets.0.clone();
            octets[at..at + 4].copy_from_slice(&field.to_le_bytes());
            std::fs::write(&path, octets).unwrap();
            let _ = (
                look(&path).map_err(damage),
                edit(&path, OnDuplicate::Replace).map_err(damage),
            );
        }
    }
}

/// redb's list of pages that may be used again is read by an edit alone, as its last step; what the
/// store library finds wrong there stops it, and once more when it is closed.
#[test]
fn an_edit_ends_whatever_the_pages_say_that_only_edits_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.db");
    let mut builder = Builder::open(&path, Start::Empty, options(OnDuplicate::KeepAll)).unwrap();
    for number in 0..200 {
        let lhs = lhs(number / 2 * 2);
        builder.put(lhs.as_bytes(), b"value", 1).unwrap();
    }
    builder.publish(None).unwrap();
    let octets = Octets(std::fs::read(&path).unwrap());
    let pages = (1..octets.0.len() / PAGE).filter(|n| octets.number::<8>(n * PAGE) != 0);
    let mut refused = 0;
    for (page, at) in pages.flat_map(|n| (0..64).step_by(4).map(move |at| (n * PAGE, at))) {
        println!("page at {page}, octet {at}");
        let pointer = Pointer {
            at: page + at,
            what: String::new(),
        };
        std::fs::write(&path, octets.with(&pointer, 0x0043_7e00_0080_0fc4)).unwrap();
        let edited = edit(&path, OnDuplicate::KeepAll).map_err(damage);
        refused += u32::from(edited.is_err());
    }
    assert!(refused > 0);
}

/// Whether damage was told of, and as such.
fn told(case: &str, result: Result<(), StoreError>) -> bool {
    let Err(error) = result else {
        return false;
    };
    let why = damage(error);
    assert!(!why.contains("stopped reading"), "{case}: {why}");
    true
}

fn damage(error: StoreError) -> String {
    match error {
        StoreError::Corrupt { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// Asks for every entry in each way.
fn look(path: &Path) -> Result<(), StoreError> {
    let map = store::open(path)?;
    let mut found = 0;
    for number in 0..2500 {
        found += map.get_all(lhs(number).as_bytes())?.len();
    }
    let walked = map.iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(found, walked.len());
    Ok(())
}

fn edit(path: &Path, on_duplicate: OnDuplicate) -> Result<(), StoreError> {
    let mut publisher = Publisher::edit(path, options(on_duplicate))?;
    for number in (0..2500).step_by(7) {
        publisher.set(Entry::new(lhs(number).as_bytes(), &b"new"[..]))?;
    }
    publisher.publish().map(|_| ())
}
