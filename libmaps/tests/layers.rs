//! Imports run downstream only: a module names only modules of its own layer's row in the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `lib.rs`, in the order of the data, and the modules it may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("sysexits", &[]),
    ("reply", &[]),
    ("rhs", &[]),
    ("lhs", &["rhs"]),
    ("address", &["reply", "rhs"]),
    ("tokens", &[]),
    ("prescan", &[]),
    ("ciphers", &[]),
    ("terms", &["ciphers"]),
    ("opening", &[]),
    ("way", &[]),
    ("source", &["lhs", "rhs", "sysexits", "prescan"]),
    ("map", &["lhs", "rhs", "sysexits"]),
    ("store", &["lhs", "rhs", "sysexits", "opening", "map"]),
    ("live", &["opening", "map"]),
    ("build", &["source", "map", "store"]),
    (
        "site",
        &[
            "sysexits", "map", "prescan", "terms", "opening", "source", "store",
        ],
    ),
    ("decision", &["lhs", "rhs", "sysexits", "tokens", "map"]),
    (
        "table",
        &[
            "address", "reply", "rhs", "tokens", "terms", "map", "site", "decision",
        ],
    ),
    ("sasl", &["lhs", "rhs", "opening", "source", "map", "store"]),
    (
        "policy",
        &[
            "address", "lhs", "reply", "rhs", "tokens", "opening", "map", "store", "live", "build",
            "site", "decision", "table", "sasl", "way",
        ],
    ),
    (
        "lint",
        &[
            "address", "lhs", "rhs", "tokens", "terms", "source", "map", "store", "site",
            "decision", "table", "sasl", "policy",
        ],
    ),
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The modules that follow `crate::` in a file, comments and tests left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in lines {
        for after in line.split("crate::").skip(1) {
            let name: String = after
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
    }
    found
}

#[test]
fn imports_run_downstream_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let first = relative.components().next().unwrap();
        let module = Path::new(first.as_os_str()).file_stem().unwrap();
        let module = module.to_str().unwrap();
        let named = relative.file_stem().unwrap().to_str().unwrap();
        if module == "lib" || named.ends_with("tests") {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{module} has no row in the table"));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            if import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_itself_runs_downstream() {
    for (at, (module, allowed)) in ALLOWED.iter().enumerate() {
        for import in *allowed {
            let above = ALLOWED[..at].iter().any(|(name, _)| name == import);
            assert!(
                above,
                "{module} is allowed {import}, which does not stand above it"
            );
        }
    }
}

#[test]
fn lib_lists_its_modules_in_the_order_of_the_table() {
    let lib = include_str!("../src/lib.rs");
    let listed: Vec<&str> = lib
        .lines()
        .filter_map(|l| l.strip_prefix("pub mod "))
        .map(|l| l.trim_end_matches(';'))
        .collect();
    let table: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, table);
}
