//! Replays the recordings of Cyrus SASL's password programs against the built ones.
//!
//! A recorded case is matched to the letter unless `differences-sasl.md` names
//! it; then `ours-sasl.jsonl` says what is expected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "sasl/case.rs"]
mod case;
#[path = "sasl/terminal.rs"]
mod terminal;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::{Case, Programs, Verdict};

const PROGRAMS: &[(&str, &str)] = &[
    ("saslpasswd2", env!("CARGO_BIN_EXE_saslpasswd2")),
    ("sasldblistusers2", env!("CARGO_BIN_EXE_sasldblistusers2")),
];

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/conformance")
        .join(name)
}

/// The cases of a file that are about the programs of this package.
fn cases(name: &str) -> Vec<Case> {
    let text = fs::read_to_string(testdata(name)).unwrap();
    let all = text.lines().map(Case::parse);
    all.filter(|c| PROGRAMS.iter().any(|(p, _)| c.tool() == *p))
        .collect()
}

/// The case names in the first column of the table.
fn differences() -> BTreeSet<String> {
    let text = fs::read_to_string(testdata("differences-sasl.md")).unwrap();
    text.lines()
        .filter_map(|l| l.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

fn run(cases: &[Case]) -> (usize, Vec<String>) {
    let programs = Programs::lay_out(PROGRAMS);
    let next = AtomicUsize::new(0);
    let (ran, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match programs.run(case) {
                        Verdict::Skipped(why) => println!("{} skipped: {why}", case.id()),
                        Verdict::Ran(problems) => {
                            ran.fetch_add(1, Ordering::Relaxed);
                            failed.lock().unwrap().extend(problems);
                        }
                    }
                }
            });
        }
    });
    (ran.into_inner(), failed.into_inner().unwrap())
}

#[test]
fn recorded_cases() {
    let differences = differences();
    let cases: Vec<Case> = cases("sasl.jsonl")
        .into_iter()
        .filter(|c| !differences.contains(c.id()))
        .collect();
    let (ran, failed) = run(&cases);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(ran * 2 > cases.len(), "only {ran} of {} ran", cases.len());
}

#[test]
fn deliberate_differences() {
    let differences = differences();
    let recorded: BTreeSet<String> = cases("sasl.jsonl").iter().map(|c| c.id().into()).collect();
    let unknown: Vec<_> = differences.difference(&recorded).collect();
    assert!(unknown.is_empty(), "no recorded cases: {unknown:?}");
    let ours = cases("ours-sasl.jsonl");
    let named: BTreeSet<String> = ours.iter().map(|c| c.id().into()).collect();
    assert_eq!(named, differences, "a case of ours for each row");
    let (_, failed) = run(&ours);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
