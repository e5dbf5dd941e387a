//! Where in the text sources the entries stand that a decision rests on.
//!
//! A map built from `/etc/mail/access` stands beside it as `access.db`; the LHS is
//! looked up in the text. The text may be newer than the map, so a line is given
//! only if it holds the RHS that was found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use libmaps::decision::{Asked, Found, Probe};
use libmaps::site::Site;
use libmaps::source::map::{Grammar, Line, Lines};
use libmaps::store::open_for_reading;

/// The line of an entry: its file as the site names it, and its number from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file.
    pub path: PathBuf,
    /// The line.
    pub line: u64,
}

impl std::fmt::Display for SourceLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// The lines of entries, by map and LHS.
#[derive(Debug, Default)]
pub struct SourceLines {
    lines: HashMap<(PathBuf, Vec<u8>), SourceLine>,
}

impl SourceLines {
    /// Looks all entries up that the probes found; each source is read once. A source that can't be read has no lines.
    #[must_use]
    pub fn of(site: &Site, probes: impl Iterator<Item = Probe>) -> Self {
        let mut wanted: HashMap<PathBuf, HashMap<Vec<u8>, Vec<u8>>> = HashMap::new();
        for probe in probes {
            if let (Asked::Map(name), Found::Rhs(rhs)) = (&probe.asked, &probe.found) {
                wanted
                    .entry(name.path.clone())
                    .or_default()
                    .insert(probe.lhs.as_bytes().to_vec(), rhs.as_bytes().to_vec());
            }
        }
        let mut found = SourceLines::default();
        for (map, entries) in wanted {
            let source = without_suffix(&map);
            found.read(&map, &source, &site.below(&source), &entries);
        }
        found
    }

    /// The line of the entry that a probe found.
    #[must_use]
    pub fn get(&self, probe: &Probe) -> Option<&SourceLine> {
        let Asked::Map(name) = &probe.asked else {
            return None;
        };
        self.lines
            .get(&(name.path.clone(), probe.lhs.as_bytes().to_vec()))
    }

    fn read(
        &mut self,
        map: &Path,
        source: &Path,
        path: &Path,
        entries: &HashMap<Vec<u8>, Vec<u8>>,
    ) {
        let Ok(file) = open_for_reading(path) else {
            return;
        };
        let mut lines = Lines::new(file);
        while let Ok(Some(line)) = lines.next() {
            let number = line.line;
            let Some((lhs, rhs)) = entry(line.octets, line.end) else {
                continue;
            };
            if entries.get(lhs).is_some_and(|found| same(found, rhs)) {
                self.lines
                    .entry((map.to_path_buf(), lhs.to_vec()))
                    .or_insert_with(|| SourceLine {
                        path: source.to_path_buf(),
                        line: number,
                    });
            }
        }
    }
}

/// An entry of a map source, or of an aliases file, whose LHS ends in a colon.
fn entry(octets: &mut [u8], end: libmaps::source::map::End) -> Option<(&[u8], &[u8])> {
    let Some(Line::Entry { lhs, rhs }) = Grammar::default().line(octets, end) else {
        return None;
    };
    let lhs = match rhs.strip_prefix(b":") {
        Some(_) => lhs,
        None => lhs.strip_suffix(b":").unwrap_or(lhs),
    };
    Some((lhs, rhs))
}

/// Whether the text still says what the map says; of an alias, which may go on over lines, the beginning.
fn same(found: &[u8], written: &[u8]) -> bool {
    let found = found.strip_suffix(b"\0").unwrap_or(found).trim_ascii();
    let written = written.trim_ascii();
    let written = written.strip_prefix(b":").unwrap_or(written).trim_ascii();
    found == written || written.ends_with(b",") || found.starts_with(written)
}

fn without_suffix(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == "db" || extension == "cdb" => path.with_extension(""),
        _ => path.to_path_buf(),
    }
}
