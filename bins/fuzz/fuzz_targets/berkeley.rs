//! Any octets as a Berkeley DB file: opened, walked, and asked for what it gave.
//!
//! `cargo fuzz run berkeley fuzz/corpus/berkeley ../testdata/berkeley`
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use libmaps::map::{Map, MapClass, MapName};
use libmaps::store::BerkeleyMap;

fuzz_target!(|octets: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(octets).expect("write");
    let name = MapName::new(MapClass::Hash, file.path());
    let Ok(map) = BerkeleyMap::open(file.path(), name) else {
        return;
    };
    let mut keys = vec![Vec::new(), b"absent".to_vec()];
    let mut whole = true;
    for (number, entry) in map.iter().enumerate() {
        assert!(number <= octets.len(), "more entries than octets");
        match entry {
            Ok(entry) if keys.len() < 20 => keys.push(entry.lhs.as_bytes().to_vec()),
            Ok(_) => {}
            Err(_) => whole = false,
        }
    }
    for (number, key) in keys.iter().enumerate() {
        let first = map.get(key);
        let all = map.get_all(key);
        if let (Ok(first), Ok(all)) = (&first, &all) {
            assert_eq!(first.as_ref(), all.first());
        }
        if whole && number >= 2 && map.class() == MapClass::Btree {
            assert!(
                matches!(first, Ok(Some(_)) | Err(_)),
                "a key of the walk is not found"
            );
        }
    }
});
