use super::meta::FILTER_KEY;
use super::*;
use crate::map::MapClass;
use crate::store::disk::{DiskFile, System};
use proptest::prelude::*;
use redb::Database;
use std::collections::BTreeMap;

fn on_disk(file: File) -> DiskFile {
    DiskFile::new(Arc::new(System), file)
}

fn meta(duplicates: Duplicates) -> Meta {
    Meta {
        class: MapClass::Hash,
        duplicates,
        entries: 0,
        options: String::new(),
        source: Some("00".into()),
        program: "test".into(),
        origin: None,
    }
}

fn build(path: &Path, duplicates: Duplicates, entries: &[(&[u8], &[u8])]) -> u64 {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap();
    let finish = Finish::FewHoles;
    write(
        on_disk(file),
        path,
        &meta(duplicates),
        finish,
        &mut |sink| entries.iter().try_for_each(|(lhs, rhs)| sink(lhs, rhs)),
    )
    .unwrap()
}

fn reopen(path: &Path) -> Result<RedbMap, StoreError> {
    RedbMap::open(
        File::open(path).unwrap(),
        path,
        MapName::new(MapClass::Hash, path),
    )
}

fn dump(map: &RedbMap) -> Vec<(String, String)> {
    let entries: Vec<Entry> = map.iter().map(Result::unwrap).collect();
    let mut lent = Vec::new();
    map.for_each(&mut |lhs, rhs| {
        lent.push(Entry::new(lhs, rhs));
        Ok(())
    })
    .unwrap();
    assert_eq!(entries, lent, "both ways through the map");
    let texts = entries.iter();
    texts
        .map(|e| (e.lhs.to_string(), e.rhs.to_string()))
        .collect()
}

#[test]
fn values_of_one_lhs_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    let entries: [(&[u8], &[u8]); 4] = [(b"a", b"2"), (b"a", b"1"), (b"a", b"1"), (b"b", b"")];
    assert_eq!(build(&path, Duplicates::Kept, &entries), 4);
    let map = reopen(&path).unwrap();
    let want: Vec<Rhs> = ["2", "1", "1"].map(Rhs::from).into();
    assert_eq!(map.get_all(b"a").unwrap(), want);
    assert_eq!(map.get(b"a").unwrap(), Some(Rhs::from("2")));
    assert_eq!(map.get(b"b").unwrap(), Some(Rhs::from("")));
    assert_eq!(map.get(b"c").unwrap(), None);
    let text = |lhs: &str, rhs: &str| (lhs.to_owned(), rhs.to_owned());
    let all = [
        text("a", "2"),
        text("a", "1"),
        text("a", "1"),
        text("b", ""),
    ];
    assert_eq!(dump(&map), all);
}

#[test]
fn edits_keep_the_count_and_the_filter_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    build(&path, Duplicates::None, &[(b"a", b"1"), (b"b", b"2")]);
    let mut changes: BTreeMap<Lhs, Vec<Change>> = BTreeMap::new();
    for n in 0..1000 {
        let lhs = Lhs::from(format!("k{n}").as_str());
        changes.insert(lhs, vec![Change::Set(Rhs::from("v"))]);
    }
    changes.insert(Lhs::from("a"), vec![Change::Remove]);
    changes.insert(Lhs::from("b"), vec![Change::Set(Rhs::from("3"))]);
    let old = reopen(&path).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let meta = Meta {
        options: "-f".into(),
        ..old.meta().clone()
    };
    edit(on_disk(file), &path, &meta, &changes).unwrap();
    let map = reopen(&path).unwrap();
    let told = Meta {
        entries: 1001,
        ..meta
    };
    assert_eq!(map.meta(), &told);
    for n in 0..1000 {
        let lhs = format!("k{n}");
        assert_eq!(map.get(lhs.as_bytes()).unwrap(), Some(Rhs::from("v")));
    }
    assert_eq!(map.get(b"a").unwrap(), None);
    assert_eq!(map.get(b"b").unwrap(), Some(Rhs::from("3")));
}

#[test]
fn a_filter_takes_a_quarter_more_before_it_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    let keys: Vec<String> = (0..200).map(|n| format!("k{n:03}")).collect();
    let entry = |key| (<str>::as_bytes(key), &b"v"[..]);
    let first: Vec<(&[u8], &[u8])> = keys.iter().take(100).map(|k| entry(k)).collect();
    build(&path, Duplicates::None, &first);
    let room = || reopen(&path).unwrap().load_filter().unwrap().room();
    let built = room();
    assert!((100..125).contains(&built), "{built}");
    for (count, is_new) in [(101, false), (125, false), (140, true), (200, false)] {
        let before = room();
        let changes: BTreeMap<Lhs, Vec<Change>> = keys
            .iter()
            .take(count)
            .map(|key| (Lhs::from(key.as_str()), vec![Change::Set(Rhs::from("v"))]))
            .collect();
        let old = reopen(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        edit(on_disk(file), &path, old.meta(), &changes).unwrap();
        assert_eq!(room() != before, is_new, "{count}");
        let filter = reopen(&path).unwrap().load_filter().unwrap();
        let held = keys.iter().take(count);
        assert!(
            held.clone()
                .all(|k| filter.may_contain(filter::hash(k.as_bytes())))
        );
    }
}

#[test]
fn another_format_number_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    build(&path, Duplicates::None, &[(b"a", b"1")]);
    {
        let db = Database::open(&path).unwrap();
        let write = db.begin_write().unwrap();
        let mut table = write.open_table(META).unwrap();
        table.insert("format", &b"7"[..]).unwrap();
        drop(table);
        write.commit().unwrap();
    }
    let error = reopen(&path).unwrap_err().to_string();
    assert!(
        error.contains("format 7") && error.contains("format 1"),
        "{error}"
    );
}

#[test]
fn a_store_that_was_not_closed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, torn) = (dir.path().join("m.db"), dir.path().join("torn.db"));
    build(&path, Duplicates::None, &[(b"a", b"1")]);
    let db = Database::open(&path).unwrap();
    let write = db.begin_write().unwrap();
    write.commit().unwrap();
    std::fs::copy(&path, &torn).unwrap();
    drop(db);
    let error = reopen(&torn).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_filter_in_the_table_meta_serves_and_moves_with_the_next_edit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    build(&path, Duplicates::None, &[(b"a", b"1"), (b"b", b"2")]);
    let filter = reopen(&path).unwrap().load_filter().unwrap();
    {
        let db = Database::open(&path).unwrap();
        let mut write = db.begin_write().unwrap();
        write.set_two_phase_commit(true);
        let mut table = write.open_table(META).unwrap();
        table
            .insert(FILTER_KEY, filter.to_bytes().as_slice())
            .unwrap();
        drop(table);
        assert!(write.delete_table(FILTER).unwrap());
        write.commit().unwrap();
    }
    let old = reopen(&path).unwrap();
    assert_eq!(old.load_filter(), Some(filter));
    let changes = BTreeMap::from([(Lhs::from("c"), vec![Change::Set(Rhs::from("3"))])]);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    edit(on_disk(file), &path, old.meta(), &changes).unwrap();
    let map = reopen(&path).unwrap();
    let filter = map.load_filter().unwrap();
    assert!(
        [b"a", b"b", b"c"]
            .iter()
            .all(|lhs| filter.may_contain(filter::hash(*lhs)))
    );
    let read = map.store.db.begin_read().unwrap();
    let meta = read.open_table(META).unwrap();
    assert!(meta.get(FILTER_KEY).unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_built_is_found(entries: BTreeMap<Vec<u8>, Vec<u8>>, absent: Vec<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        let list: Vec<(&[u8], &[u8])> =
            entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
        build(&path, Duplicates::None, &list);
        let map = reopen(&path).unwrap();
        for _ in 0..=FILTER_FROM_PROBE {
            map.get(b"warm the filter up").unwrap();
        }
        for (k, v) in &entries {
            prop_assert_eq!(map.get(k).unwrap(), Some(Rhs::from(v.as_slice())));
        }
        for k in &absent {
            prop_assert_eq!(map.get(k).unwrap().is_some(), entries.contains_key(k));
        }
        prop_assert_eq!(map.iter().count(), entries.len());
    }

    #[test]
    fn a_damaged_file_never_stops_the_program(
        changes in proptest::collection::vec((0usize..48_000, any::<u8>()), 1..5),
        sums_are_right: bool,
        is_several: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        let keys: Vec<String> = (0..300).map(|n| format!("key{:04}", n / 2)).collect();
        let mut list: Vec<(&[u8], &[u8])> =
            keys.iter().map(|k| (k.as_bytes(), &b"some value that takes room"[..])).collect();
        let duplicates = match is_several {
            true => Duplicates::Kept,
            false => Duplicates::None,
        };
        if !is_several {
            list.dedup();
        }
        build(&path, duplicates, &list);
        let mut octets = std::fs::read(&path).unwrap();
        for (at, octet) in changes {
            let at = at % octets.len();
            octets[at] = octet;
        }
        for slot in [64, 192].into_iter().filter(|_| sums_are_right) {
            let sum = xxhash_rust::xxh3::xxh3_128(&octets[slot..slot + 112]);
            octets[slot + 112..slot + 128].copy_from_slice(&sum.to_le_bytes());
        }
        std::fs::write(&path, octets).unwrap();
        if let Ok(map) = reopen(&path) {
            let _ = dump_or_error(&map);
            let _ = map.get_all(b"key0007");
        }
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let changes = BTreeMap::from([
            (Lhs::from("key0007"), vec![Change::Add(Rhs::from("3"))]),
            (Lhs::from("key0100"), vec![Change::Remove]),
        ]);
        let _ = edit(on_disk(file), &path, &meta(duplicates), &changes);
    }
}

fn dump_or_error(map: &RedbMap) -> Result<usize, StoreError> {
    map.iter().try_fold(0, |n, entry| entry.map(|_| n + 1))
}

#[test]
fn the_file_is_never_written_by_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    build(&path, Duplicates::None, &[(b"a", b"1")]);
    let before = std::fs::read(&path).unwrap();
    let map = reopen(&path).unwrap();
    assert_eq!(dump(&map), [("a".into(), "1".into())]);
    drop(map);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_store_left_as_it_grew_holds_the_same() {
    for (count, most_octets) in [(10u32, 100_000), (12_000, u64::MAX)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let single = meta(Duplicates::None);
        write(
            on_disk(file),
            &path,
            &single,
            Finish::AsGrown,
            &mut |sink| (0..count).try_for_each(|n| sink(&n.to_be_bytes(), &[7; 300])),
        )
        .unwrap();
        assert!(path.metadata().unwrap().len() < most_octets, "{count}");
        let name = MapName::new(MapClass::Hash, &path);
        let map = RedbMap::open_to_scan(File::open(&path).unwrap(), &path, name).unwrap();
        let mut next = 0..count;
        for entry in map.iter().map(Result::unwrap) {
            assert_eq!(entry.lhs.as_bytes(), next.next().unwrap().to_be_bytes());
            assert_eq!(entry.rhs.as_bytes(), [7; 300]);
        }
        assert_eq!(next.len(), 0);
    }
}

#[test]
fn a_map_is_little_longer_than_the_room_it_takes() {
    use std::os::unix::fs::MetadataExt;
    let lhs: Vec<Vec<u8>> = (0..29_000u32).map(|n| n.to_be_bytes().into()).collect();
    for count in [10, 14_000, 29_000] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        let entries = lhs.iter().take(count);
        let entries: Vec<(&[u8], &[u8])> = entries.map(|l| (&**l, &[7; 300][..])).collect();
        build(&path, Duplicates::None, &entries);
        let file = path.metadata().unwrap();
        // What is written comes in pieces of 256 KiB.
        let taken = file.blocks() * 512 + (1 << 19);
        assert!(file.len() <= taken * 3 / 2, "{count}: {}", file.len());
    }
}

#[test]
fn a_map_that_is_asked_often_answers_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    let lhs: Vec<String> = (1000..3000).map(|n| format!("k{n}")).collect();
    let entries: Vec<(&[u8], &[u8])> = lhs
        .iter()
        .map(|l| (l.as_bytes(), &l.as_bytes()[1..]))
        .collect();
    build(&path, Duplicates::None, &entries);
    let map = reopen(&path).unwrap();
    let ask = |map: &RedbMap| {
        for l in &lhs {
            assert_eq!(map.get(l.as_bytes()).unwrap(), Some(Rhs::from(&l[1..])));
        }
        assert_eq!(map.get(b"k999").unwrap(), None);
    };
    // The thread that reads the entries takes its time; answers are the same at any moment.
    ask(&map);
    ask(&map);
    map.settle();
    let (asked, hash) = (b"k1000", filter::hash(b"k1000"));
    let entries = map.residence.get().unwrap();
    assert!(entries.get(asked, hash).is_some());
    ask(&map);
    map.settle();
}
