//! The quick form of `bench faults`: each section runs, and nothing is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::process::Command;

use serde_json::Value;

/// Runs one section; gives what it found, after telling it and what was skipped.
fn section(name: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["faults", "--quick", "--json", name])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).expect(&errors);
    let found = report["sections"][name].clone();
    println!("{found:#}");
    assert_eq!(found["losses"], serde_json::json!([]), "{errors}");
    assert_eq!(report["losses"], 0);
    assert!(output.status.success(), "{errors}");
    found
}

fn count(found: &Value, what: &str) -> u64 {
    found["counts"][what].as_u64().expect(what)
}

#[test]
fn programs_that_are_killed_or_given_errors() {
    let found = section("publish");
    // Without strace, or where nobody may trace, it says so.
    if found["skipped"] == serde_json::json!([]) {
        assert!(count(&found, "kills") > 10);
        assert!(count(&found, "errors") > 10);
    }
}

#[test]
fn crashes_and_failing_disks() {
    let found = section("crash");
    assert!(count(&found, "different crash images judged") > 100);
    assert!(count(&found, "acts that failed") > 100);
    assert!(count(&found, "promises of the queue") > 10);
}

#[test]
fn readers_and_writers_of_one_map() {
    let found = section("readers");
    assert!(count(&found, "changes") > 1);
    assert!(count(&found, "reads") > 100);
    assert!(count(&found, "newer maps opened") > 0);
}

#[test]
fn a_section_that_is_not_known_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["faults", "nonesuch"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("readers"), "{text}");
}
