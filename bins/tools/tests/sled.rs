//! The tools on maps of class `sled`.
#![cfg(feature = "sled")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const MAKEMAP: &str = env!("CARGO_BIN_EXE_makemap");
const EDITMAP: &str = env!("CARGO_BIN_EXE_editmap");
const MAPCTL: &str = env!("CARGO_BIN_EXE_mapctl");

/// Runs a program; its exit code and standard output.
fn run(folder: &Path, program: &str, args: &str, input: &str) -> (i32, String) {
    let mut child = Command::new(program)
        .args(args.split(' '))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn a_sled_map_is_built_asked_edited_and_dumped() {
    let dir = tempfile::tempdir().unwrap();
    let steps = [
        (MAKEMAP, "sled m", "b 2\nA 1\n", 0, ""),
        (MAPCTL, "query sled:m A", "", 0, "a\t1\n"),
        (MAPCTL, "query sled:m x", "", 69, ""),
        (EDITMAP, "-u sled m b 3", "", 0, ""),
        (EDITMAP, "-q sled m b", "", 0, "3\n"),
        (MAKEMAP, "-o sled m", "c 4\n", 0, ""),
        (MAKEMAP, "-u sled m", "", 0, "a\t1\nb\t3\nc\t4\n"),
        (MAKEMAP, "-d sled m", "a 1\n", 78, ""),
        (
            MAPCTL,
            "convert sled:m hash:n",
            "",
            0,
            "n.db: 3 entries, compared with m.sled\n",
        ),
        (MAKEMAP, "-u hash n", "", 0, "a\t1\nb\t3\nc\t4\n"),
    ];
    for (program, args, input, exit, out) in steps {
        let got = run(dir.path(), program, args, input);
        assert_eq!(got, (exit, out.to_string()), "{args}");
    }
}
