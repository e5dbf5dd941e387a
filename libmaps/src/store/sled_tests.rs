use super::*;
use crate::map::MapClass;
use crate::store::publish::{OnDuplicate, Options, Publisher};
use crate::store::{self, Opened};
use std::os::unix::fs::PermissionsExt;

fn options() -> Options {
    Options::new(MapClass::Sled, "test 0")
}

fn publish(target: &Path, entries: &[(&str, &str)]) {
    let mut publisher = Publisher::create(target, options()).unwrap();
    for (lhs, rhs) in entries {
        publisher.put(Entry::new(*lhs, *rhs)).unwrap();
    }
    let published = publisher.publish().unwrap();
    assert_eq!(published.entries, entries.len() as u64);
}

fn dump(map: &dyn Map) -> String {
    let entries = map.iter().map(|e| e.unwrap());
    let lines: Vec<String> = entries.map(|e| format!("{}={}", e.lhs, e.rhs)).collect();
    lines.join(" ")
}

#[test]
fn a_map_is_replaced_whole_and_a_reader_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.sled");
    publish(&target, &[("b", "2"), ("a", "1")]);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o705)).unwrap();
    let held = store::open(&target).unwrap();
    publish(&target, &[("c", "3")]);
    assert_eq!(dump(held.as_ref()), "a=1 b=2");
    assert_eq!(held.get(b"a").unwrap(), Some(Rhs::from("1")));
    assert_eq!(held.get(b"x").unwrap(), None);
    let opened = store::open_any(&target, MapName::new(MapClass::Sled, &target)).unwrap();
    assert!(matches!(&opened, Opened::Sled(map) if map.entries() == 1));
    assert_eq!(opened.class(), MapClass::Sled);
    assert_eq!(dump(opened.into_map().as_ref()), "c=3");
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o705);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn an_edit_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.sled");
    publish(&target, &[("a", "1"), ("b", "2")]);
    let replace = Options {
        on_duplicate: OnDuplicate::Replace,
        ..options()
    };
    let mut publisher = Publisher::edit(&target, replace).unwrap();
    publisher.set(Entry::new("b", "9")).unwrap();
    assert!(publisher.remove(b"a").unwrap());
    publisher.publish().unwrap();
    assert_eq!(dump(store::open(&target).unwrap().as_ref()), "b=9");
    let kept = Options {
        on_duplicate: OnDuplicate::KeepAll,
        ..options()
    };
    let error = Publisher::create(&target, kept).unwrap().publish();
    assert!(matches!(error, Err(StoreError::Unsupported { .. })));
    assert_eq!(dump(store::open(&target).unwrap().as_ref()), "b=9");
}

#[test]
fn damage_is_told_from_absence() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.sled");
    publish(&target, &[("a", "1")]);
    let error = |target: &Path| store::open(target).err().unwrap().to_string();
    let db = fs::read(target.join("db")).unwrap();
    let mut flipped = db.clone();
    flipped[100] ^= 1;
    for octets in [&flipped, &db[..db.len() / 2], b""] {
        fs::write(target.join("db"), octets).unwrap();
        assert!(error(&target).ends_with("damaged: db is not what was published"));
    }
    fs::write(target.join("db"), &db).unwrap();
    let manifest = fs::read_to_string(target.join(MANIFEST)).unwrap();
    let cases = [
        (
            manifest.replace("format 1", "format 7"),
            "map format 7; this program reads format 1",
        ),
        (
            manifest.replace("entries 1", "entries x"),
            "its manifest is not whole",
        ),
        (format!("{manifest}file 0 0 ../../x\n"), "../../x\""),
        (
            format!("{manifest}file 0 0 none\n"),
            "No such file or directory",
        ),
    ];
    for (text, want) in cases {
        fs::write(target.join(MANIFEST), text).unwrap();
        assert!(error(&target).ends_with(want), "{}", error(&target));
    }
    fs::remove_file(target.join(MANIFEST)).unwrap();
    assert!(error(&target).ends_with("a folder without a sled map's manifest"));
}
