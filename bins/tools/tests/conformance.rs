//! Replays the recordings of the original map tools against the built programs.
//!
//! A recorded case is matched to the letter unless `differences*.md` names it;
//! then `ours.jsonl` says what is expected. `UPDATE_GOLDENS=1` rewrites
//! `ours.jsonl` from what the programs do now.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use recorded::{Case, Programs, Verdict};

const PROGRAMS: &[(&str, &str)] = &[
    ("makemap", env!("CARGO_BIN_EXE_makemap")),
    ("editmap", env!("CARGO_BIN_EXE_editmap")),
    ("newaliases", env!("CARGO_BIN_EXE_newaliases")),
    ("praliases", env!("CARGO_BIN_EXE_praliases")),
];

/// The cases that list the classes.
const LISTS: &[&str] = &[
    "makemap-usage-list",
    "makemap-usage-list-operands",
    "makemap-usage-u-list",
    "makemap-cftype-cf-l",
];

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/conformance")
        .join(name)
}

fn cases(name: &str) -> Vec<Case> {
    let text = fs::read_to_string(testdata(name)).unwrap_or_default();
    text.lines().map(Case::parse).collect()
}

/// The case names in the first column of the tables.
fn differences() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in ["differences.md", "differences-aliases.md"] {
        let text = fs::read_to_string(testdata(file)).unwrap_or_default();
        for line in text.lines().filter(|l| l.starts_with("| ")) {
            let name = line.split('|').nth(1).unwrap().trim().trim_matches('`');
            if name.contains('-') && !name.contains(' ') {
                names.insert(name.to_string());
            }
        }
    }
    names
}

/// Runs the cases on as many threads as there are processors; returns what failed.
fn run(cases: &[Case]) -> (usize, Vec<String>) {
    let programs = Programs::lay_out(PROGRAMS);
    let next = AtomicUsize::new(0);
    let (ran, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match programs.run(case) {
                        Verdict::Skipped => {}
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

fn known(case: &Case) -> bool {
    // `sendmail -bi` is another package's program.
    PROGRAMS.iter().any(|(name, _)| case.tool == *name) && !case.runs("sendmail")
}

#[test]
fn recorded_cases() {
    let differences = differences();
    let cases: Vec<Case> = cases("tools.jsonl")
        .into_iter()
        .filter(|c| known(c) && !differences.contains(&c.id))
        .collect();
    let (ran, failed) = run(&cases);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(ran * 2 > cases.len(), "only {ran} of {} ran", cases.len());
}

#[test]
fn deliberate_differences() {
    let recorded: BTreeMap<String, Case> = cases("tools.jsonl")
        .into_iter()
        .map(|c| (c.id.clone(), c))
        .collect();
    let differences = differences();
    for case in recorded.values().filter(|c| known(c) && c.is_quirk()) {
        assert!(differences.contains(&case.id), "{} has no row", case.id);
    }
    for name in &differences {
        assert!(recorded.contains_key(name), "{name} is no recorded case");
    }
    let of_ours = |name: &String| recorded.get(name).is_some_and(known);
    let named: BTreeSet<String> = differences.iter().filter(|n| of_ours(n)).cloned().collect();
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        let programs = Programs::lay_out(PROGRAMS);
        let lines: Vec<String> = named
            .iter()
            .map(|name| programs.record(&recorded[name]))
            .collect();
        fs::write(testdata("ours.jsonl"), lines.join("\n") + "\n").unwrap();
    }
    let mut ours = cases("ours.jsonl");
    let have: BTreeSet<String> = ours.iter().map(|c| c.id.clone()).collect();
    assert_eq!(have, named, "ours.jsonl and the tables name the same cases");
    // The recorded lists of classes have none that must be built in.
    ours.retain(|case| !cfg!(feature = "sled") || !LISTS.contains(&case.id.as_str()));
    let (_, failed) = run(&ours);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
