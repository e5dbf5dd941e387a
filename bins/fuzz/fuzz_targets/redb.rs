//! A map file of our own that somebody has changed: opened, walked, asked; an error, or
//! answers, never a panic that gets out, nor an end that does not come.
//!
//! `testdata/scripts/fuzz-all redb`
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use libmaps::build::{Builder, Start};
use libmaps::map::{Map, MapClass};
use libmaps::store;
use libmaps::store::publish::{OnDuplicate, Options};

/// A map's file, and its octets where there are any.
struct Base {
    folder: tempfile::TempDir,
    file: File,
    octets: Vec<u8>,
}

static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let bases = [
        (OnDuplicate::Replace, 3),
        (OnDuplicate::Replace, 600),
        (OnDuplicate::KeepAll, 200),
    ];
    bases
        .map(|(on_duplicate, count)| base(on_duplicate, count))
        .into()
});

fn base(on_duplicate: OnDuplicate, count: u32) -> Base {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map.db");
    let class = match on_duplicate {
        OnDuplicate::KeepAll => MapClass::Btree,
        _ => MapClass::Hash,
    };
    let options = Options {
        on_duplicate,
        ..Options::new(class, "fuzz")
    };
    let mut builder = Builder::open(&path, Start::Empty, options).expect("a map");
    for number in 0..count {
        let lhs = format!("key{}", number / 2 * 2);
        builder
            .put(
                lhs.as_bytes(),
                format!("value {number}").as_bytes(),
                u64::from(number),
            )
            .expect("put");
    }
    builder.publish(None).expect("published");
    let octets = std::fs::read(&path).expect("read");
    let file = File::options().write(true).open(&path).expect("open");
    Base {
        folder,
        file,
        octets,
    }
}

fuzz_target!(
    init: {
        // The store library's own panics are caught where they are errors; what gets out still ends the run.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |input: (u8, Vec<(u32, u8)>)| {
        let (which, edits) = input;
        let base = &BASES[usize::from(which) % BASES.len()];
        let places: Vec<u64> = edits
            .iter()
            .take(64)
            .map(|(at, octet)| {
                // Most of a map's file is empty: the front has the header and the first pages.
                let room = if at % 4 == 0 { base.octets.len() } else { 40 * 1024 };
                let at = (*at as usize / 4) % room.min(base.octets.len());
                base.file.write_all_at(&[*octet], at as u64).expect("written");
                at as u64
            })
            .collect();
        look(&base.folder.path().join("map.db"), base.octets.len());
        for at in places {
            base.file.write_all_at(&base.octets[at as usize..=at as usize], at).expect("written");
        }
    }
);

fn look(path: &std::path::Path, octets: usize) {
    let Ok(map) = store::open(path) else {
        return;
    };
    for key in [&b"key0"[..], b"key2", b"key598", b"absent", b""] {
        let _ = (map.get(key), map.get_all(key));
    }
    for (count, entry) in map.iter().enumerate() {
        assert!(count <= octets, "more entries than octets");
        if entry.is_err() {
            break;
        }
    }
}
