//! What is wrong with the sources of a site's maps, beyond their grammar.
//!
//! Entries are judged by what the site's configuration would do with them: a tag that nobody asks about, an LHS that no
//! lookup can form, an RHS that says something else than was meant, a loop. Each finding names file and line. A site as a
//! whole is tried as well: strangers attempt to relay, and maps are compared with the text they were built from.

mod access;
mod aliases;
mod built;
mod domains;
mod includes;
mod mailers;
mod mailertable;
pub mod options;
mod recipients;
pub mod relay;
mod sources;
pub mod undone;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use crate::policy::route::localaddr::{FullNames, find_user};
use crate::site::{Diagnostic, Loaded, Place, Severity, Site, Users};
use crate::source::map::{Fold, Grammar, Line, Lines};

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// access(5).
    Access,
    /// mailertable(5).
    Mailertable,
    /// virtusertable(5).
    Virtusertable,
    /// genericstable.
    Genericstable,
    /// domaintable.
    Domaintable,
    /// aliases(5).
    Aliases,
}

impl Kind {
    /// The kind that a file's name tells: `access`, `/etc/mail/virtusertable`, ...
    #[must_use]
    pub fn of(path: &Path) -> Option<Kind> {
        let name = path.file_name()?.to_str()?;
        let stem = name.split('.').next().unwrap_or(name);
        Some(match stem {
            "access" => Kind::Access,
            "mailertable" => Kind::Mailertable,
            "virtusertable" | "virtuser" => Kind::Virtusertable,
            "genericstable" | "generics" => Kind::Genericstable,
            "domaintable" => Kind::Domaintable,
            "aliases" => Kind::Aliases,
            _ => return None,
        })
    }
}

/// An entry of a source.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The LHS, folded.
    lhs: Vec<u8>,
    rhs: Vec<u8>,
    line: u32,
}

impl Item {
    fn lhs_text(&self) -> String {
        String::from_utf8_lossy(&self.lhs).into_owned()
    }

    fn rhs_text(&self) -> String {
        String::from_utf8_lossy(&self.rhs).trim().to_owned()
    }
}

/// Whether mail for a name has a mailbox. A user database that does not answer is no reason to call a user unknown.
fn is_user(users: &Users, full_names: FullNames, name: &str) -> bool {
    find_user(users, full_names, name.as_bytes()).map_or(true, |found| found.is_some())
}

/// Checks a source: `input` is what `path` holds, `users` decide which alias members exist.
pub fn source(
    kind: Kind,
    path: &Path,
    input: impl Read,
    site: &Site,
    users: &Users,
) -> std::io::Result<Vec<Diagnostic>> {
    let mut lint = Lint {
        path: path.into(),
        site,
        found: Vec::new(),
    };
    if kind == Kind::Aliases {
        lint.aliases(input, users)?;
    } else {
        let items = lint.items(input)?;
        lint.duplicates(&items);
        lint.quotes(&items);
        match kind {
            Kind::Access => lint.access(&items),
            Kind::Mailertable => lint.mailertable(&items),
            Kind::Virtusertable => lint.virtusertable(&items),
            Kind::Genericstable => lint.genericstable(&items),
            _ => lint.domaintable(&items),
        }
    }
    lint.found.sort_by_key(|finding| finding.line);
    Ok(lint.found)
}

/// Checks a whole site: what its configuration says, the sources of all maps and alias files that it uses, where they
/// stand beside their maps; what it asks for that smtpd does not do; whether the maps were built from them; and whether strangers may relay.
#[must_use]
pub fn site(loaded: &Loaded, users: &Users) -> Vec<Diagnostic> {
    let site = &loaded.site;
    let sources = sources::Sources::of(site);
    let mut found = loaded.diagnostics.clone();
    found.extend(crate::site::check::check(site));
    found.extend(undone::findings(site));
    for file in &sources.files {
        found.extend(built::check(file));
        let Some(full) = &file.text else { continue };
        let checked =
            std::fs::File::open(full).and_then(|text| source(file.kind, full, text, site, users));
        match checked {
            Ok(findings) => found.extend(findings),
            Err(error) => {
                let place = Place::new(full.as_path(), 0);
                found.push(Diagnostic::new(&place, Severity::Error, error.to_string()));
            }
        }
    }
    let known = recipients::Known::of(site, &sources, users);
    if let Some(known) = &known {
        found.extend(recipients::check(site, &sources, known));
    }
    found.extend(includes::check(site, &sources, known.as_ref()));
    let (maps, faults) = sources.maps(site);
    found.extend(faults);
    for open in relay::attempts(site, &maps) {
        let finding = sources.place_relay(site, &open);
        // What is said already at its line is confirmed rather than said again.
        let same = |other: &&mut Diagnostic| {
            (&other.path, other.line) == (&finding.path, finding.line)
                && other.severity >= finding.severity
                && other.text.contains("relay")
        };
        match found.iter_mut().find(same) {
            Some(other) if other.text.contains("; tried: ") => {}
            Some(other) => other.text.push_str(&format!("; {}", open.tried())),
            None => found.push(finding),
        }
    }
    // A fault that reading and checking the configuration both see is one fault.
    let mut known = HashSet::new();
    found.retain(|finding| known.insert(finding.clone()));
    found
}

struct Lint<'a> {
    path: std::sync::Arc<Path>,
    site: &'a Site,
    found: Vec<Diagnostic>,
}

impl Lint<'_> {
    fn say(&mut self, line: u32, severity: Severity, text: impl Into<String>) {
        let place = Place::new(std::sync::Arc::clone(&self.path), line);
        self.found.push(Diagnostic::new(&place, severity, text));
    }

    fn items(&mut self, input: impl Read) -> std::io::Result<Vec<Item>> {
        let (items, bad) = read_items(input)?;
        for (line, text) in bad {
            self.say(line, Severity::Error, text);
        }
        Ok(items)
    }

    /// Names that no table asks for, as it takes quotes and backslashes off first.
    fn quotes(&mut self, items: &[Item]) {
        for item in items {
            if item.lhs.iter().any(|octet| matches!(octet, b'"' | b'\\')) {
                let text = format!(
                    "{} is never found: names are asked for without quotes and backslashes",
                    item.lhs_text()
                );
                self.say(item.line, Severity::Warning, text);
            }
        }
    }

    fn duplicates(&mut self, items: &[Item]) {
        let mut seen: HashMap<&[u8], u32> = HashMap::new();
        for item in items {
            if let Some(first) = seen.get(item.lhs.as_slice()) {
                let text = format!(
                    "{} stands on line {first} already, and that entry counts",
                    item.lhs_text()
                );
                self.say(item.line, Severity::Warning, text);
            } else {
                seen.insert(&item.lhs, item.line);
            }
        }
    }
}

/// The entries of a source, and its bad lines with what is wrong with them.
type Items = (Vec<Item>, Vec<(u32, String)>);

fn read_items(input: impl Read) -> std::io::Result<Items> {
    let grammar = Grammar {
        fold: Fold::Ascii,
        ..Grammar::default()
    };
    let mut lines = Lines::new(input);
    let mut items = Vec::new();
    let mut bad = Vec::new();
    while let Some(line) = lines.next()? {
        let number = u32::try_from(line.line).unwrap_or(u32::MAX);
        match grammar.line(line.octets, line.end) {
            None => {}
            Some(Line::Entry { lhs, rhs }) => items.push(Item {
                lhs: lhs.to_vec(),
                rhs: rhs.to_vec(),
                line: number,
            }),
            Some(Line::Bad(kind)) => bad.push((number, kind.to_string())),
        }
    }
    Ok((items, bad))
}

/// LHS forms that no lookup makes, whatever the table: what is wrong with this name of a host, domain or network.
fn unreachable_name(name: &str, site: &Site) -> Option<String> {
    if name.contains('*') {
        return Some("a * stands for nothing but itself".to_owned());
    }
    if let Some((address, bits)) = name.split_once('/')
        && bits.bytes().all(|b| b.is_ascii_digit())
        && address.starts_with(|c: char| c.is_ascii_hexdigit())
    {
        return Some(
            "networks are written by whole octets or groups (192.168), not as prefix/length"
                .to_owned(),
        );
    }
    if name == "0.0.0.0" {
        return Some("this is no network, and no client has this address".to_owned());
    }
    if name.len() > 1 && name.ends_with('.') {
        return Some("names are asked for without a dot at their end".to_owned());
    }
    if name.starts_with("ipv6:") && name.contains("::") && !site.options.addresses.compressed_ipv6 {
        return Some("addresses are asked for with all their groups, not with ::".to_owned());
    }
    None
}
