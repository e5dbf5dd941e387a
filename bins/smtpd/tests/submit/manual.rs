//! Every option of sendmail stands in its manual page, and nothing else does.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use smtpd::sendmail::options::OPTIONS;

fn page() -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../man/sendmail.8");
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(String::from).collect()
}

/// `-x` for `Fl x`, `--word` for `Fl -word`, one an item.
fn item(line: &str) -> Option<String> {
    let rest = line.strip_prefix(".It Fl ")?;
    let word = rest.split(' ').next()?;
    Some(format!("-{word}"))
}

#[test]
fn every_option_has_an_item() {
    let items: BTreeSet<String> = page().iter().filter_map(|line| item(line)).collect();
    let mut options = BTreeSet::new();
    for opt in OPTIONS {
        options.extend(opt.short.map(|c| format!("-{}", char::from(c))));
        options.extend(opt.long.map(|long| format!("--{long}")));
    }
    assert_eq!(items, options);
}

#[test]
fn the_page_has_the_sections() {
    let page = page();
    let heads: BTreeSet<&str> = page.iter().filter_map(|l| l.strip_prefix(".Sh ")).collect();
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "TEST MODE",
        "FILES",
        "EXIT STATUS",
        "EXAMPLES",
        "COMPATIBILITY",
        "SEE ALSO",
    ] {
        assert!(heads.contains(section), "no section {section}");
    }
}
