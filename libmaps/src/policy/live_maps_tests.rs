//! Maps that are missing, come, change and break.

use super::*;
use crate::map::{Entry, MapClass};
use crate::store::publish::{Options, Publisher};

#[test]
fn a_cdb_map_is_looked_for_in_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.cdb");
    let options = Options::new(MapClass::Cdb, "test");
    let mut publisher = Publisher::create(&path, options).unwrap();
    publisher.put(Entry::new("a.example", "smtp:[b]")).unwrap();
    publisher.publish().unwrap();
    let site = Site::default();
    let spec = MapSpec::new("cdb", dir.path().join("t"));
    let map = LiveMap::of(&site, &spec, &at_once).unwrap().unwrap();
    map.refresh().unwrap();
    let found = map.current().unwrap().get(b"a.example").unwrap();
    assert_eq!(found.unwrap().as_bytes(), b"smtp:[b]");
}

#[test]
fn a_missing_map_is_an_error_unless_it_is_optional() {
    let site = Site::default();
    for (text, fails) in [("hash /nowhere/m", true), ("hash -o /nowhere/m", false)] {
        let spec = MapSpec::parse(text).unwrap();
        let map = LiveMap::of(&site, &spec, &at_once).unwrap().unwrap();
        assert_eq!(map.refresh().is_err(), fails, "{text}");
        assert!(map.current().is_none());
    }
}

#[test]
fn an_optional_map_that_comes_unreadable_is_broken_and_not_absent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut site = Site::default();
    site.features.virtusertable =
        Some(MapSpec::parse(&format!("hash -o {}", path.display())).unwrap());
    site.options.files.aliases = format!("hash:{}", path.display());
    let maps = LiveMaps::open(&site, &at_once).unwrap();
    let taken = maps.snapshot(|error| panic!("{error}"));
    assert!(taken.virtusertable.is_none() && taken.aliases.is_empty());
    std::fs::write(dir.path().join("t.db"), "nonsense").unwrap();
    let mut reported = 0;
    let taken = maps.snapshot(|_| reported += 1);
    assert_eq!(reported, 2);
    let map = taken.virtusertable.unwrap();
    let error = map.map().get(b"a").unwrap_err().to_string();
    assert!(error.contains("t: cannot open it: "), "{error}");
    assert!(map.map().iter().all(|entry| entry.is_err()));
    assert!(taken.aliases[0].map().get(b"a").is_err());
}

/// What an alias stands for, in the words of the answer or of the error.
fn alias(maps: &LiveMaps, name: &str) -> String {
    let taken = maps.snapshot(|_| ());
    match taken
        .aliases
        .first()
        .map(|map| map.map().get(name.as_bytes()))
    {
        None => "no map".into(),
        Some(Ok(found)) => found.map_or("-".into(), |rhs| rhs.to_string()),
        Some(Err(error)) => error.to_string(),
    }
}

fn site_of(aliases: String) -> Site {
    let mut site = Site::default();
    site.options.files.aliases = aliases;
    site
}

#[test]
fn a_text_without_a_map_is_read_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("aliases");
    let write = |content: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&text, content).unwrap();
        std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o644)).unwrap();
    };
    let site = site_of(text.display().to_string());
    let maps = LiveMaps::open(&site, &at_once).unwrap();
    assert_eq!(alias(&maps, "list"), "no map");
    write("List: joe,\n ann\n");
    assert_eq!(alias(&maps, "list"), "joe, ann");
    assert_eq!(maps.texts().collect::<Vec<_>>(), [text.as_path()]);
    assert_eq!(alias(&maps, "other"), "-");
    let held = maps.snapshot(|_| ());
    // Written in place, as an editor does.
    write("other: joe\n");
    assert_eq!(alias(&maps, "list"), "-");
    assert_eq!(alias(&maps, "other"), "joe");
    assert!(held.aliases[0].map().get(b"list").unwrap().is_some());
    // Others could write who gets mail.
    std::fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let mut told = Vec::new();
    maps.snapshot(|error| told.push(error.to_string()));
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("World writable file"), "{told:?}");
    assert_eq!(alias(&maps, "other"), "joe");
    assert!(LiveMaps::open(&site, &at_once).is_err());
    std::fs::remove_file(&text).unwrap();
    assert_eq!(alias(&maps, "other"), "joe");
    // The map counts once there is one.
    let options = Options::new(MapClass::Hash, "test");
    let mut built = Publisher::create(&dir.path().join("aliases.db"), options).unwrap();
    built.put(Entry::new("list", "built")).unwrap();
    built.publish().unwrap();
    assert_eq!(alias(&maps, "list"), "built");
    assert_eq!(maps.texts().count(), 0);
    write("list: text\n");
    assert_eq!(alias(&maps, "list"), "built");
}

#[test]
fn a_map_of_a_class_is_needed_where_its_text_is() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("aliases");
    let shown = text.display();
    let said = format!("{shown}.db: not there, but {shown} is: run newaliases");
    let site = site_of(format!("hash:{shown}"));
    let maps = LiveMaps::open(&site, &at_once).unwrap();
    assert_eq!(alias(&maps, "list"), "no map");
    std::fs::write(&text, "list: joe\n").unwrap();
    let error = LiveMaps::open(&site, &at_once).err().unwrap();
    assert_eq!(error.to_string(), said);
    assert_eq!(Maps::open(&site).err().unwrap().to_string(), said);
    // It came while the server ran.
    assert!(alias(&maps, "list").ends_with(&said));
    let optional = site_of(format!("hash:-o {shown}"));
    let maps = LiveMaps::open(&optional, &at_once).unwrap();
    assert_eq!(alias(&maps, "list"), "no map");
}

#[test]
fn a_text_is_read_whatever_stands_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("aliases");
    std::fs::write(&path, "sales: ann\n").unwrap();
    for beside in ["socketmap:unix:/nowhere:al", "hash:-C -o /nowhere/b"] {
        let site = site_of(format!("{},{beside}", path.display()));
        let maps = LiveMaps::open(&site, &at_once).unwrap();
        assert_eq!(alias(&maps, "sales"), "ann", "{beside}");
    }
}

#[test]
fn a_text_that_grows_too_large_is_told_of_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("aliases");
    std::fs::write(&text, "list: joe\n").unwrap();
    let maps = LiveMaps::open(&site_of(text.display().to_string()), &at_once).unwrap();
    let many: String = (0..=100_000).map(|n| format!("a{n}: b\n")).collect();
    std::fs::write(&text, many).unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        maps.snapshot(|error| told.push(error.to_string()));
    }
    assert!(
        told.iter()
            .all(|text| text.contains("more than 100000 aliases")),
        "{told:?}"
    );
    assert_eq!(told.len(), 3);
    assert_eq!(alias(&maps, "list"), "joe");
    std::fs::write(&text, "list: sue\n").unwrap();
    assert_eq!(alias(&maps, "list"), "sue");
}
