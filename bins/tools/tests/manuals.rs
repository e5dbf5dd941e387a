//! Every option and every command of a program stands in its manual page, and nothing else does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use tools::getopt::Opt;
use tools::mapctl::Cli;

/// The programs with a table of options; a new one is a line here.
const PROGRAMS: &[(&str, &[Opt])] = &[
    ("makemap", tools::makemap::OPTIONS),
    ("editmap", tools::editmap::OPTIONS),
];

const SECTIONS: &[&str] = &[
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "FILES",
    "EXIT STATUS",
    "EXAMPLES",
    "COMPATIBILITY",
    "SEE ALSO",
];

/// The page of a program, as its mdoc lines.
fn page(program: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../man")
        .join(format!("{program}.8"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(String::from).collect()
}

/// The options that a line of mdoc names: `-x` for `Fl x`, `--word` for `Fl Fl word`.
fn options_in(line: &str) -> BTreeSet<String> {
    let words: Vec<&str> = line.trim_start_matches('.').split_whitespace().collect();
    let mut found = BTreeSet::new();
    for (n, word) in words.iter().enumerate() {
        let next = words.get(n + 1).copied().unwrap_or_default();
        if *word == "Fl" && next != "Fl" {
            let dashes = if n > 0 && words[n - 1] == "Fl" {
                "--"
            } else {
                "-"
            };
            found.insert(format!("{dashes}{next}"));
        }
    }
    found
}

/// The options that have an item of their own in the page's lists of options.
fn items(page: &[String]) -> BTreeSet<String> {
    let items = page.iter().filter(|line| line.starts_with(".It Fl "));
    items.flat_map(|line| options_in(line)).collect()
}

fn in_synopsis(page: &[String]) -> BTreeSet<String> {
    let from = page.iter().position(|l| l == ".Sh SYNOPSIS").unwrap();
    let rest = &page[from + 1..];
    let to = rest.iter().position(|l| l.starts_with(".Sh ")).unwrap();
    rest[..to]
        .iter()
        .flat_map(|line| options_in(line))
        .collect()
}

fn of_table(table: &[Opt]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for opt in table {
        names.extend(opt.short.map(|c| format!("-{}", char::from(c))));
        names.extend(opt.long.map(|long| format!("--{long}")));
    }
    names
}

fn of_clap<'a>(args: impl Iterator<Item = &'a clap::Arg>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for arg in args {
        names.extend(arg.get_short().map(|c| format!("-{c}")));
        names.extend(arg.get_long().map(|long| format!("--{long}")));
    }
    names
}

#[test]
fn every_option_has_an_item_and_stands_in_the_synopsis() {
    for (program, table) in PROGRAMS {
        let page = page(program);
        assert_eq!(items(&page), of_table(table), "{program}: the items");
        assert_eq!(
            in_synopsis(&page),
            of_table(table),
            "{program}: the synopsis"
        );
    }
}

#[test]
fn every_command_of_mapctl_has_an_item_with_its_options() {
    let page = page("mapctl");
    let mut mapctl = Cli::command();
    mapctl.build();
    assert_eq!(
        items(&page),
        of_clap(mapctl.get_arguments()),
        "for all commands"
    );
    let global = of_clap(mapctl.get_arguments());
    let mut commands = BTreeSet::new();
    for command in mapctl.get_subcommands() {
        let name = command.get_name();
        commands.insert(name.to_string());
        let head = format!(".It Cm {name}");
        let item = page.iter().find(|line| {
            line.strip_prefix(&head)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        let item = item.unwrap_or_else(|| panic!("mapctl {name} has no item"));
        let own: BTreeSet<String> = of_clap(command.get_arguments())
            .difference(&global)
            .cloned()
            .collect();
        assert_eq!(options_in(item), own, "mapctl {name}");
    }
    let documented: BTreeSet<String> = page
        .iter()
        .filter_map(|line| line.strip_prefix(".It Cm "))
        .filter_map(|rest| rest.split(' ').next())
        .map(String::from)
        .collect();
    assert_eq!(documented, commands);
}

#[test]
fn every_page_has_the_sections() {
    let programs = PROGRAMS.iter().map(|(program, _)| *program);
    for program in programs.chain(["mapctl"]) {
        let page = page(program);
        let heads = page.iter().filter_map(|line| line.strip_prefix(".Sh "));
        let heads: BTreeSet<&str> = heads.collect();
        for section in SECTIONS {
            assert!(heads.contains(section), "{program}: no section {section}");
        }
    }
}

/// Pages of the system and of other programs that ours refer to.
const OTHERS: &[&str] = &[
    "acl.5",
    "capabilities.7",
    "chroot.2",
    "cp.1",
    "crypt.3",
    "flock.2",
    "getrlimit.2",
    "getusershell.3",
    "kill.1",
    "landlock.7",
    "ldapdelete.1",
    "ldapmodify.1",
    "m4.1",
    "mv.1",
    "pam.7",
    "pam_time.8",
    "passwd.5",
    "seccomp.2",
    "shadow.5",
    "socketmap_table.5",
    "sysexits.3",
    "syslog.3",
    "systemd.1",
    "transport.5",
];

#[test]
fn every_page_that_is_referred_to_exists() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../man");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let pages: Vec<_> = files
        .map(|file| {
            let text = fs::read_to_string(file.path()).unwrap();
            (file.file_name().into_string().unwrap(), text)
        })
        .collect();
    let ours: BTreeSet<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    let mut unknown = Vec::new();
    for (name, text) in &pages {
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            for reference in words.windows(3) {
                let &[".Xr" | "Xr", title, section] = reference else {
                    continue;
                };
                let page = format!("{title}.{section}");
                if !ours.contains(page.as_str()) && !OTHERS.contains(&page.as_str()) {
                    unknown.push(format!("{name}: {line}"));
                }
            }
        }
    }
    assert_eq!(unknown, [""; 0]);
}
