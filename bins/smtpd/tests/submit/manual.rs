//! Every option of a program stands in its manual page, and nothing else does.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use smtpd::sendmail::options::OPTIONS;
use tools::getopt::Opt;

fn page(name: &str) -> Vec<String> {
    let man = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../man");
    let text = fs::read_to_string(man.join(name)).unwrap();
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
    let pages: [(&str, &[Opt]); 3] = [
        ("sendmail.8", OPTIONS),
        ("mailq.1", smtpd::mailq::OPTIONS),
        ("smtpd.8", smtpd::command::OPTIONS),
    ];
    for (name, known) in pages {
        let items: BTreeSet<String> = page(name).iter().filter_map(|line| item(line)).collect();
        let mut options = BTreeSet::new();
        for opt in known {
            options.extend(opt.short.map(|c| format!("-{}", char::from(c))));
            options.extend(opt.long.map(|long| format!("--{long}")));
        }
        assert_eq!(items, options, "{name}");
    }
}

#[test]
fn the_page_has_the_sections() {
    let page = page("sendmail.8");
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
