use super::*;
use crate::map::MapClass;
use crate::store;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn options() -> Options {
    Options::new(MapClass::Btree, "test 0")
}

fn build(target: &Path, start: Start, options: Options, on_error: OnError, text: &str) -> Report {
    let builder = Builder::open(target, start, options).unwrap();
    let name = Path::new("m");
    let how = FromSource {
        grammar: Grammar::default(),
        ending: Ending::Bare,
        on_error,
    };
    from_source(builder, text.as_bytes(), name, how, &mut ()).unwrap()
}

fn dump(target: &Path) -> String {
    let map = store::open(target).unwrap();
    let entries = map.iter().map(|e| e.unwrap());
    let lines: Vec<String> = entries.map(|e| format!("{}={}", e.lhs, e.rhs)).collect();
    lines.join(" ")
}

#[test]
fn the_good_lines_are_published_and_the_bad_ones_reported() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    let text = "b 1\n a 2\nb 3\nc\nA 4\n";
    let report = build(&target, Start::Empty, options(), OnError::PublishGood, text);
    assert_eq!(dump(&target), "a=4 b=1");
    assert_eq!((report.read, report.stored, report.error_count), (3, 2, 2));
    let lines: Vec<u64> = report.duplicates.iter().map(|d| d.line).collect();
    assert_eq!(lines, [3]);
    assert_eq!(
        report
            .errors
            .iter()
            .map(|e| e.to_string())
            .collect::<Vec<_>>(),
        [
            "m: line 2: syntax error (leading space)",
            "m: line 4: no RHS for LHS c"
        ]
    );
}

#[test]
fn strict_publishes_nothing_after_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    build(
        &target,
        Start::Empty,
        options(),
        OnError::PublishNothing,
        "old 1\n",
    );
    for bad in ["a 1\nb\n", "a 1\na 2\n"] {
        let report = build(
            &target,
            Start::Empty,
            options(),
            OnError::PublishNothing,
            bad,
        );
        assert!(report.published.is_none() && !report.is_clean(), "{bad}");
        assert_eq!(dump(&target), "old=1");
    }
}

#[test]
fn adding_to_the_old_map() {
    let kept = Options {
        on_duplicate: OnDuplicate::KeepAll,
        ..options()
    };
    let replaced = Options {
        on_duplicate: OnDuplicate::Replace,
        ..options()
    };
    let cases = [
        (options(), options(), "a=1 b=2", vec![2]),
        (options(), replaced.clone(), "a=9 b=2", vec![]),
        (kept.clone(), kept.clone(), "a=0 a=1 a=9 b=2", vec![]),
        (kept, options(), "a=0 a=1 b=2", vec![2]),
    ];
    for (first, second, want, duplicates) in cases {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m.db");
        let old = if first.on_duplicate == OnDuplicate::KeepAll {
            "a 0\na 1\n"
        } else {
            "a 1\n"
        };
        build(&target, Start::Empty, first, OnError::PublishGood, old);
        let report = build(
            &target,
            Start::FromOld,
            second,
            OnError::PublishGood,
            "b 2\na 9\n",
        );
        assert_eq!(dump(&target), want);
        let lines: Vec<u64> = report.duplicates.iter().map(|d| d.line).collect();
        assert_eq!(lines, duplicates, "{want}");
    }
}

#[test]
fn a_cdb_has_its_entries_in_the_order_of_the_source() {
    use OnDuplicate::{KeepAll, Refuse, Replace};
    let text = "c 1\na 2\nb 3\na 4\n# no entry\nc 5\nd 6\na 7\n";
    let cases = [
        (Refuse, "c=1 a=2 b=3 d=6", vec![4, 6, 8]),
        (Replace, "b=3 c=5 d=6 a=7", vec![]),
        (KeepAll, "c=1 a=2 b=3 a=4 c=5 d=6 a=7", vec![]),
    ];
    for (on_duplicate, want, duplicates) in cases {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m.cdb");
        let options = Options {
            on_duplicate,
            ..Options::new(MapClass::Cdb, "test 0")
        };
        let report = build(
            &target,
            Start::Empty,
            options.clone(),
            OnError::PublishGood,
            text,
        );
        assert_eq!(dump(&target), want);
        assert_eq!(report.stored, want.split(' ').count() as u64);
        let lines: Vec<u64> = report.duplicates.iter().map(|d| d.line).collect();
        assert_eq!(lines, duplicates, "{want}");

        let more = "e 8\nB 9\n";
        let report = build(&target, Start::FromOld, options, OnError::PublishGood, more);
        let want = match on_duplicate {
            Replace => "c=5 d=6 a=7 e=8 b=9".into(),
            KeepAll => format!("{want} e=8 b=9"),
            _ => format!("{want} e=8"),
        };
        assert_eq!(dump(&target), want);
        let lines: Vec<u64> = report.duplicates.iter().map(|d| d.line).collect();
        let refused = if on_duplicate == Refuse {
            vec![2]
        } else {
            vec![]
        };
        assert_eq!(lines, refused, "{want}");
    }
}

#[test]
fn a_strict_cdb_is_left_alone_after_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.cdb");
    let strict = |text| {
        let options = Options::new(MapClass::Cdb, "test 0");
        build(
            &target,
            Start::Empty,
            options,
            OnError::PublishNothing,
            text,
        )
    };
    assert!(strict("old 1\n").is_clean());
    for bad in ["a 1\nb\n", "a 1\na 2\n"] {
        let report = strict(bad);
        assert!(report.published.is_none() && !report.is_clean(), "{bad}");
        assert_eq!(dump(&target), "old=1");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn another_class_is_not_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m.db");
    build(
        &target,
        Start::Empty,
        options(),
        OnError::PublishGood,
        "a 1\n",
    );
    let hash = Options::new(MapClass::Hash, "test 0");
    let error = Builder::open(&target, Start::FromOld, hash).err();
    assert!(matches!(error, Some(StoreError::Foreign { .. })));
    let missing = Builder::open(&dir.path().join("n.db"), Start::FromOld, options()).err();
    assert!(matches!(missing, Some(StoreError::Missing { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_cdb_holds_what_a_sorted_map_would(
        entries in proptest::collection::vec(("[a-e]{1,2}", "[!-~]{0,300}"), 0..2_000),
        last: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (cdb, btree) = (dir.path().join("m.cdb"), dir.path().join("m.db"));
        let on_duplicate = if last { OnDuplicate::Replace } else { OnDuplicate::Refuse };
        let text: String = entries.iter().map(|(k, v)| format!("{k}\t.{v}\n")).collect();
        let [one, other] = [(&cdb, MapClass::Cdb), (&btree, MapClass::Btree)].map(|(target, class)| {
            let options = Options { on_duplicate, ..Options::new(class, "test 0") };
            build(target, Start::Empty, options, OnError::PublishGood, &text)
        });
        prop_assert_eq!(one.stored, other.stored);
        prop_assert_eq!(one.duplicates, other.duplicates);
        let sorted = |path| {
            let map = store::open(path).unwrap();
            let mut all: Vec<_> = map.iter().map(|e| e.unwrap()).collect();
            all.sort_by(|a, b| a.lhs.cmp(&b.lhs));
            for entry in &all {
                assert_eq!(map.get(entry.lhs.as_bytes()).unwrap().as_ref(), Some(&entry.rhs));
            }
            all
        };
        prop_assert_eq!(sorted(&cdb), sorted(&btree));
    }

    #[test]
    fn what_is_built_can_be_dumped_and_rebuilt_to_the_same(
        entries in proptest::collection::btree_map("[!-~&&[^#]][!-~]{0,20}", "[!-~][ -~]{0,40}", 0..60)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.db"), dir.path().join("two.db"));
        let text: String = entries.iter().map(|(k, v)| format!("{k}\t{v}\n")).collect();
        let mut folded = BTreeMap::new();
        for (k, v) in &entries {
            folded.entry(k.to_ascii_lowercase()).or_insert(v.clone());
        }
        build(&one, Start::Empty, options(), OnError::PublishGood, &text);
        let map = store::open(&one).unwrap();
        let dumped: String = map.iter().map(|e| e.unwrap()).map(|e| {
            format!("{}\t{}\n", e.lhs, e.rhs)
        }).collect();
        let want: String = folded.iter().map(|(k, v)| format!("{k}\t{v}\n")).collect();
        prop_assert_eq!(&dumped, &want);
        build(&two, Start::Empty, options(), OnError::PublishGood, &dumped);
        prop_assert_eq!(dump(&one), dump(&two));
    }
}
