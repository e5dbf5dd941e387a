//! Recorded sites, laid out below a temporary root, their tables read straight into memory.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmaps::decision::Traced;
use libmaps::map::{Entry, Map};
use libmaps::policy::maps::{Handle, Maps};
use libmaps::policy::route::MailerTriple;
use libmaps::policy::route::canonify::{Addressing, HostsOnly};
use libmaps::policy::route::tables::RouteTables;
use libmaps::site::load::load;
use libmaps::site::{Hosts, Site, Users};
use libmaps::source::aliases::{self, Aliases};
use libmaps::source::map::{Grammar, Line, Lines};
use libmaps::store::memory::MemoryMap;
use serde_json::Value;

/// A recorded site.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) maps: Maps,
    pub(crate) tables: RouteTables<Arc<dyn Map>>,
    pub(crate) hosts: Hosts,
    pub(crate) users: Users,
    _root: tempfile::TempDir,
}

impl World {
    pub(crate) fn of(files: &Value) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files.as_object().unwrap() {
            let path = below(root.path(), path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let octets: Vec<u8> = text.as_str().unwrap().chars().map(|c| c as u8).collect();
            std::fs::write(path, octets).unwrap();
        }
        let loaded = load(Some(root.path()), None).unwrap();
        let errors: Vec<_> = loaded.errors().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let site = loaded.site;
        let table = |wanted: bool, name: &str| {
            wanted.then(|| {
                handle(
                    name,
                    entries(&below(root.path(), &format!("/etc/mail/{name}"))),
                )
            })
        };
        let features = &site.features;
        let maps = Maps {
            mailertable: table(features.mailertable.is_some(), "mailertable"),
            virtusertable: table(features.virtusertable.is_some(), "virtusertable"),
            genericstable: table(features.genericstable.is_some(), "genericstable"),
            domaintable: table(features.domaintable.is_some(), "domaintable"),
            aliases: vec![handle(
                "aliases",
                alias_entries(&below(root.path(), "/etc/mail/aliases")),
            )],
            ..Maps::default()
        };
        World {
            tables: maps.route_tables(),
            hosts: Hosts::of(&site).unwrap(),
            users: Users::of(&site).unwrap(),
            site,
            maps,
            _root: root,
        }
    }

    /// Asks something of this world's addresses.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(Addressing<'_, Arc<dyn Map>>) -> T) -> T {
        let names = HostsOnly {
            hosts: &self.hosts,
            domain: &self.site.domain,
        };
        ask(Addressing {
            site: &self.site,
            tables: &self.tables,
            names: &names,
            daemon_flags: "",
        })
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn handle(name: &str, entries: Vec<Entry>) -> Handle {
    Traced::new(Arc::new(MemoryMap::new(name, entries)))
}

/// The entries of a map source, as makemap keeps them: the first of each LHS.
fn entries(path: &Path) -> Vec<Entry> {
    let mut text = Vec::new();
    std::fs::File::open(path)
        .unwrap()
        .read_to_end(&mut text)
        .unwrap();
    let mut lines = Lines::new(text.as_slice());
    let mut all = Vec::new();
    while let Some(line) = lines.next().unwrap() {
        if let Some(Line::Entry { lhs, rhs }) = Grammar::default().line(line.octets, line.end) {
            all.push(Entry::new(lhs, rhs));
        }
    }
    all
}

/// The entries of an alias file, as newaliases keeps them: the last of each name.
fn alias_entries(path: &Path) -> Vec<Entry> {
    let grammar = aliases::Grammar::default();
    let mut aliases = Aliases::new(std::fs::File::open(path).unwrap(), &grammar);
    let mut all: Vec<Entry> = Vec::new();
    while let Some(parsed) = aliases.next().unwrap() {
        if let Some(alias) = parsed.alias {
            let entry = Entry::new(alias.lhs, alias.rhs);
            all.retain(|earlier| earlier.lhs != entry.lhs);
            all.push(entry);
        }
    }
    all
}

/// The recorded sites of a file below testdata/conformance.
pub(crate) fn recorded(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/conformance")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Without blanks and quotes, as sendmail's test mode spreads tokens.
pub(crate) fn squash(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != '"')
        .collect()
}

/// A recorded triple, ready to be compared.
pub(crate) fn want(route: &Value) -> [String; 3] {
    let text = |key: &str| route[key].as_str().unwrap_or_default();
    [
        text("mailer").to_owned(),
        text("host").trim_end_matches('.').to_ascii_lowercase(),
        squash(text("user")),
    ]
}

/// A triple of ours, ready to be compared.
pub(crate) fn got(triple: &MailerTriple) -> [String; 3] {
    let text = |octets: &[u8]| octets.iter().map(|o| char::from(*o)).collect::<String>();
    if triple.leads_nowhere() {
        return ["error".to_owned(), String::new(), String::new()];
    }
    [
        triple.mailer.clone(),
        text(&triple.host)
            .trim_end_matches('.')
            .to_ascii_lowercase(),
        squash(&text(&triple.user)),
    ]
}

/// What was compared and what differed.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) same: usize,
    pub(crate) differ: Vec<String>,
}

impl Tally {
    pub(crate) fn compare<T: PartialEq + std::fmt::Debug>(
        &mut self,
        asked: &Value,
        want: &T,
        got: &T,
    ) {
        if want == got {
            self.same += 1;
        } else {
            self.differ
                .push(format!("{asked}\n  recorded {want:?}\n  answered {got:?}"));
        }
    }

    /// All were the same, and there were at least so many.
    pub(crate) fn check(&self, at_least: usize) {
        let shown = self.differ.iter().take(20).cloned().collect::<Vec<_>>();
        assert!(
            shown.is_empty(),
            "{} differ:\n{}",
            self.differ.len(),
            shown.join("\n")
        );
        assert!(self.same >= at_least, "only {} were compared", self.same);
    }
}
