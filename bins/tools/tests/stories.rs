//! What an administrator reads: `mapctl explain`, `expand` and `rewrite` on the sample site, compared with
//! `testdata/explain`. UPDATE_GOLDENS=1 writes these files anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn testdata(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(part)
}

/// The output of `mapctl` on the sample site, with its exit code as the last line.
fn mapctl(words: &str) -> String {
    let (command, rest) = words.split_once(' ').unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mapctl"))
        .arg(command)
        .arg("--root")
        .arg(testdata("site"))
        .args(rest.split(' '))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let out = String::from_utf8(output.stdout).unwrap();
    format!("{out}exit {}\n", output.status.code().unwrap())
}

#[test]
fn each_story_is_told_as_it_was() {
    let stories = fs::read_to_string(testdata("explain/stories")).unwrap();
    let mut told = 0;
    for story in stories
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (name, words) = story.split_once(": ").unwrap();
        let found = format!("$ mapctl {words}\n{}", mapctl(words));
        let golden = testdata("explain").join(format!("{name}.expected"));
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{name} (UPDATE_GOLDENS=1 rewrites it)");
        for line in found.lines().skip(1) {
            assert!(line.chars().count() <= 100, "{name}: too wide: {line}");
            assert!(!line.contains('\x1b'), "{name}: coloured: {line}");
        }
        told += 1;
    }
    assert!(told >= 12, "{told}");
}
