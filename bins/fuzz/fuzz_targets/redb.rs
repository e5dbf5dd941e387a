//! A map file of our own that somebody has changed: opened, walked, asked, and edited; an error,
//! or answers, never a panic that gets out, an end that does not come, or more memory than the
//! file is long.
//!
//! `testdata/scripts/fuzz-all redb`
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use libmaps::build::{Builder, Start};
use libmaps::map::{Entry, Map, MapClass};
use libmaps::store;
use libmaps::store::publish::{OnDuplicate, Options, Publisher};
use xxhash_rust::xxh3::xxh3_128;

/// How much of an input is looked at.
const MOST_EDITS: usize = 64;

/// A map's file, and its octets where there are any.
struct Base {
    folder: tempfile::TempDir,
    file: File,
    octets: Vec<u8>,
    on_duplicate: OnDuplicate,
}

static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let bases = [
        (OnDuplicate::Replace, 3),
        (OnDuplicate::Replace, 600),
        (OnDuplicate::KeepAll, 200),
        (OnDuplicate::KeepAll, 3000),
    ];
    bases
        .map(|(on_duplicate, count)| base(on_duplicate, count))
        .into()
});

fn options(on_duplicate: OnDuplicate) -> Options {
    let class = match on_duplicate {
        OnDuplicate::KeepAll => MapClass::Btree,
        _ => MapClass::Hash,
    };
    Options {
        on_duplicate,
        ..Options::new(class, "fuzz")
    }
}

fn base(on_duplicate: OnDuplicate, count: u32) -> Base {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map.db");
    let mut builder = Builder::open(&path, Start::Empty, options(on_duplicate)).expect("a map");
    for number in 0..count {
        // Where several values of one LHS are kept, one has so many that they have a tree.
        let lhs = match number % 4 {
            0 => "key".into(),
            _ => format!("key{}", number / 2 * 2),
        };
        let rhs = format!("value {number}");
        builder
            .put(lhs.as_bytes(), rhs.as_bytes(), u64::from(number))
            .expect("put");
    }
    builder.publish(None).expect("published");
    let octets = std::fs::read(&path).expect("read");
    let file = File::options().write(true).open(&path).expect("open");
    Base {
        folder,
        file,
        octets,
        on_duplicate,
    }
}

/// Which base, octets to put somewhere, and numbers of eight octets, as page numbers are.
type Input = (u8, Vec<(u32, u8)>, Vec<(u32, u64)>);

fuzz_target!(
    init: {
        // The store library's own panics are caught where they are errors; what gets out still ends the run.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |input: Input| {
        let (which, octets, numbers) = input;
        let base = &BASES[usize::from(which) % BASES.len()];
        let mut damaged = base.octets.clone();
        let place = |at: u32| {
            // Most of a map's file is empty: the front has the header and the first pages.
            let room = if at % 4 == 0 { damaged.len() } else { 40 * 1024 };
            (at as usize / 4) % room.min(damaged.len())
        };
        let octets = octets.iter().map(|(at, octet)| (place(*at), vec![*octet]));
        let numbers = numbers
            .iter()
            .map(|(at, number)| (place(*at), number.to_le_bytes().to_vec()));
        let edits: Vec<_> = octets.take(MOST_EDITS).chain(numbers.take(MOST_EDITS)).collect();
        for (at, octets) in &edits {
            let end = damaged.len().min(at + octets.len());
            damaged[*at..end].copy_from_slice(&octets[..end - at]);
        }
        if which & 0x80 == 0 {
            for slot in [64, 192] {
                let sum = xxh3_128(&damaged[slot..slot + 112]);
                damaged[slot + 112..slot + 128].copy_from_slice(&sum.to_le_bytes());
            }
        }
        let path = base.folder.path().join("map.db");
        put(base, &edits, &damaged);
        look(&path, damaged.len());
        if which & 0x40 != 0 {
            let copy = base.folder.path().join("edited.db");
            std::fs::write(&copy, &damaged).expect("written");
            edit(&copy, base.on_duplicate);
        }
        put(base, &edits, &base.octets);
    }
);

/// Puts what is at the places of the edits, and in the header, into the base's file.
fn put(base: &Base, edits: &[(usize, Vec<u8>)], octets: &[u8]) {
    let places = edits.iter().map(|(at, edit)| (*at, edit.len()));
    for (at, len) in places.chain([(0, 320)]) {
        let end = octets.len().min(at + len);
        base.file
            .write_all_at(&octets[at..end], at as u64)
            .expect("written");
    }
}

fn look(path: &Path, octets: usize) {
    let Ok(map) = store::open(path) else {
        return;
    };
    for key in [&b"key"[..], b"key2", b"key598", b"absent", b""] {
        let _ = (map.get(key), map.get_all(key));
    }
    for (count, entry) in map.iter().enumerate() {
        assert!(count <= octets, "more entries than octets");
        if entry.is_err() {
            break;
        }
    }
}

fn edit(path: &Path, on_duplicate: OnDuplicate) {
    let Ok(mut publisher) = Publisher::edit(path, options(on_duplicate)) else {
        return;
    };
    for key in [&b"key"[..], b"key2", b"key598"] {
        let _ = publisher.set(Entry::new(key, &b"new"[..]));
    }
    let _ = (publisher.remove(b"key6"), publisher.publish());
}
