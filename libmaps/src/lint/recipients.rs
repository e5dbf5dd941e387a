//! Virtual users that lead to nobody.

use std::collections::HashSet;
use std::fs::File;

use super::sources::{Sources, Table};
use super::{Item, Kind, is_user};
use crate::policy::route::localaddr::FullNames;
use crate::site::{Diagnostic, Place, Severity, Site, Users};
use crate::source::aliases::{Aliases, Grammar};
use crate::tokens;

/// Who has mail here.
pub(super) struct Known<'a> {
    aliases: HashSet<String>,
    users: &'a Users,
    full_names: FullNames,
}

impl<'a> Known<'a> {
    /// `None` where names may be known elsewhere (LUSER_RELAY, MAIL_HUB), or where an alias map has
    /// no text.
    pub(super) fn of(site: &Site, sources: &Sources, users: &'a Users) -> Option<Self> {
        if site.relays.luser.is_some() || site.relays.mail_hub.is_some() {
            return None;
        }
        let mut aliases = HashSet::new();
        let tables = sources.files.iter();
        for table in tables.filter(|table| table.kind == Kind::Aliases) {
            alias_names(table, &mut aliases)?;
        }
        Some(Known {
            aliases,
            users,
            full_names: FullNames::of(site),
        })
    }

    /// Whether a local part, folded, is an alias or a user, be it without its detail.
    pub(super) fn has(&self, local: &str) -> bool {
        let is_alias = |name: &str| self.aliases.contains(name);
        has_mail(local, is_alias, self.users, self.full_names)
    }
}

/// Whether a local part, folded, is an alias or a user, be it without its detail.
pub(super) fn has_mail(
    local: &str,
    is_alias: impl Fn(&str) -> bool,
    users: &Users,
    full_names: FullNames,
) -> bool {
    let name = local.split('+').next().unwrap_or(local);
    [local, name].into_iter().any(|name| {
        // A user is looked for without the quotes that an alias would need.
        let user = tokens::strip_quotes(name.as_bytes());
        is_alias(name) || is_user(users, full_names, &String::from_utf8_lossy(&user))
    })
}

/// Entries of virtusertable whose RHS is a name of this host that is neither an alias nor a user.
pub(super) fn check(site: &Site, sources: &Sources, known: &Known) -> Vec<Diagnostic> {
    let tables = |kind| sources.files.iter().filter(move |table| table.kind == kind);
    let mut found = Vec::new();
    for table in tables(Kind::Virtusertable) {
        let (Some(path), Ok(items)) = (&table.text, table.items()) else {
            continue;
        };
        let virtual_users: HashSet<String> = items.iter().map(Item::lhs_text).collect();
        for item in items {
            let rhs = item.rhs_text().to_ascii_lowercase();
            let local = match rhs.rsplit_once('@') {
                // An address of this host may be virtual itself.
                Some((_, host))
                    if virtual_users.contains(&rhs)
                        || virtual_users.contains(&format!("@{host}")) =>
                {
                    continue;
                }
                Some((user, host)) if site.classes.local_hosts.contains(host.as_bytes()) => user,
                Some(_) => continue,
                None => rhs.as_str(),
            };
            let name = local.split('+').next().unwrap_or(local);
            let special = ['@', '%', '!', ':', '/', '|', '\\', '"', '(', '<'];
            if name.is_empty() || name.contains(special) || known.has(local) {
                continue;
            }
            let lhs = item.lhs_text();
            let text = format!("{lhs}: {name} is neither an alias nor a user: mail is returned");
            let place = Place::new(path.as_path(), item.line);
            found.push(Diagnostic::new(&place, Severity::Error, text));
        }
    }
    found
}

/// Adds the names of an alias file; `None` where they can't be told.
fn alias_names(table: &Table, names: &mut HashSet<String>) -> Option<()> {
    let Some(path) = &table.text else {
        // No text and no map: no aliases.
        return table
            .map
            .as_ref()
            .is_some_and(|map| !map.exists())
            .then_some(());
    };
    let grammar = Grammar::default();
    let mut parser = Aliases::new(File::open(path).ok()?, &grammar);
    while let Some(parsed) = parser.next().ok()? {
        if let Some(alias) = parsed.alias {
            names.insert(String::from_utf8_lossy(alias.lhs).to_ascii_lowercase());
        }
    }
    Some(())
}
