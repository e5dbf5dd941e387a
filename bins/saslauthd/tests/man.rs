//! The man pages tell of each option, and of no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::path::Path;

use tools::getopt::Opt;

fn described(page: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../man")
        .join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let items = text.lines().filter_map(|l| l.strip_prefix(".It Fl "));
    items
        .map(|l| l.split_whitespace().next().unwrap().to_owned())
        .collect()
}

fn known(options: &[Opt]) -> BTreeSet<String> {
    let names = options.iter().map(|o| match (o.short, o.long) {
        (Some(letter), _) => char::from(letter).to_string(),
        (None, long) => format!("-{}", long.unwrap()),
    });
    names.collect()
}

#[test]
fn pages_and_options_agree() {
    assert_eq!(described("saslauthd.8"), known(&saslauth::options::OPTIONS));
    assert_eq!(
        described("testsaslauthd.8"),
        known(&saslauth::client::OPTIONS)
    );
}

#[test]
fn help_names_every_option_and_is_no_error() {
    let programs = [
        (
            env!("CARGO_BIN_EXE_saslauthd"),
            &saslauth::options::OPTIONS[..],
        ),
        (
            env!("CARGO_BIN_EXE_testsaslauthd"),
            &saslauth::client::OPTIONS[..],
        ),
    ];
    for (program, options) in programs {
        let asked = |word| std::process::Command::new(program).arg(word).output();
        let help = asked("--help").unwrap();
        assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
        let text = String::from_utf8(help.stdout).unwrap();
        for option in options {
            let name = match (option.short, option.long) {
                (Some(letter), _) => format!("  -{}", char::from(letter)),
                (None, long) => format!("  --{}", long.unwrap()),
            };
            assert!(text.contains(&name), "{program}{name}: {text}");
        }
        assert_eq!(asked("--version").unwrap().status.code(), Some(0));
    }
}
