//! Any octets as a cdb: opened, walked, and asked for what it gave.
//!
//! `cargo fuzz run cdb fuzz/corpus/cdb ../testdata/cdb`
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use libmaps::map::{Map, MapClass, MapName};
use libmaps::store::{CdbMap, sniff};

fuzz_target!(|octets: &[u8]| {
    let _ = sniff(octets, octets.len() as u64);
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(octets).expect("write");
    let name = MapName::new(MapClass::Cdb, file.path());
    let Ok(map) = CdbMap::open(file.path(), name) else {
        return;
    };
    let mut keys = vec![Vec::new(), b"absent".to_vec()];
    for (number, entry) in map.iter().enumerate() {
        assert!(number <= octets.len() / 8, "more entries than fit");
        if let Ok(entry) = entry
            && keys.len() < 20
        {
            keys.push(entry.lhs.as_bytes().to_vec());
        }
    }
    for key in &keys {
        if let (Ok(first), Ok(all)) = (map.get(key), map.get_all(key)) {
            assert_eq!(first.as_ref(), all.first());
        }
    }
});
