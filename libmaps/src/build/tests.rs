use super::*;
use crate::map::MapClass;
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
