//! aliases(5).

use std::collections::HashMap;
use std::io::Read;

use super::Lint;
use super::recipients::has_mail;
use crate::policy::route::localaddr::FullNames;
use crate::site::{Severity, Site, Users};
use crate::source::aliases::{Aliases, Grammar, Severity as FaultSeverity};
use crate::table::aliases::{Separator, addresses};

/// An alias: the line it ends on, and those of its members that are local names.
struct Alias {
    line: u32,
    members: Vec<String>,
}

impl Lint<'_> {
    pub(super) fn aliases(&mut self, input: impl Read, users: &Users) -> std::io::Result<()> {
        let mut grammar = Grammar::default();
        grammar
            .names
            .local_hosts
            .extend(self.site.classes.local_hosts.iter().map(<[u8]>::to_vec));
        let mut parser = Aliases::new(input, &grammar);
        let mut aliases: Vec<(String, Alias)> = Vec::new();
        let mut faults = Vec::new();
        while let Some(parsed) = parser.next()? {
            let line = u32::try_from(parsed.line).unwrap_or(u32::MAX);
            for fault in parsed.faults {
                let severity = match fault.severity() {
                    FaultSeverity::Warning => Severity::Warning,
                    FaultSeverity::Error => Severity::Error,
                };
                faults.push((line, severity, fault.to_string()));
            }
            if let Some(alias) = parsed.alias {
                let name = String::from_utf8_lossy(alias.lhs).to_ascii_lowercase();
                let members = addresses(alias.rhs, Separator::Comma)
                    .filter_map(|member| local_member(self.site, member))
                    .collect();
                aliases.push((name, Alias { line, members }));
            }
        }
        for (line, severity, text) in faults {
            self.say(line, severity, text);
        }
        let mut by_name: HashMap<&str, &Alias> = HashMap::new();
        for (name, alias) in &aliases {
            if let Some(first) = by_name.insert(name, alias) {
                let text = format!(
                    "{name} stands on line {} already; this entry counts, that one does not",
                    first.line
                );
                self.say(alias.line, Severity::Warning, text);
            }
        }
        self.nobody(&aliases, &by_name, users);
        self.alias_loops(&aliases, &by_name);
        Ok(())
    }

    /// Members that are neither an alias nor a user.
    fn nobody(
        &mut self,
        aliases: &[(String, Alias)],
        by_name: &HashMap<&str, &Alias>,
        users: &Users,
    ) {
        if self.site.relays.luser.is_some() || self.site.relays.mail_hub.is_some() {
            return;
        }
        let full_names = FullNames::of(self.site);
        let is_alias = |name: &str| by_name.contains_key(name);
        let known = |name: &str| has_mail(name, is_alias, users, full_names);
        for (name, alias) in aliases {
            for member in alias.members.iter().filter(|member| !known(member)) {
                let text = format!(
                    "{name}: {member} is neither an alias nor a user: mail for it is returned"
                );
                self.say(alias.line, Severity::Error, text);
            }
        }
    }

    /// Aliases that lead back to themselves. A name that holds itself among others is fine: it is that user then.
    fn alias_loops(&mut self, aliases: &[(String, Alias)], by_name: &HashMap<&str, &Alias>) {
        // 1: on the path that is being followed; 2: done.
        let mut state: HashMap<&str, u8> = HashMap::new();
        for (start, _) in aliases {
            let mut path: Vec<(&str, usize)> = vec![(start, 0)];
            if state.contains_key(start.as_str()) {
                continue;
            }
            state.insert(start, 1);
            while let Some((name, at)) = path.last_mut() {
                let name = *name;
                let Some(alias) = by_name.get(name) else {
                    state.insert(name, 2);
                    path.pop();
                    continue;
                };
                let Some(member) = alias.members.get(*at) else {
                    state.insert(name, 2);
                    path.pop();
                    continue;
                };
                *at += 1;
                match state.get(member.as_str()) {
                    Some(1) if member != name => {
                        let from = path.iter().position(|(n, _)| n == member).unwrap_or(0);
                        let names: Vec<&str> = path.iter().skip(from).map(|(n, _)| *n).collect();
                        let text = format!("{} leads back to {member}", names.join(" -> "));
                        self.say(alias.line, Severity::Error, text);
                    }
                    Some(_) => {}
                    None if by_name.contains_key(member.as_str()) => {
                        state.insert(member, 1);
                        path.push((member, 0));
                    }
                    None => {}
                }
            }
        }
    }
}

/// The name under which a member is looked up again; none for files, programs, lists and addresses elsewhere.
pub(super) fn local_member(site: &Site, member: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(member);
    let text = text.trim();
    let bare = text.trim_matches('"').trim();
    if bare.starts_with(['/', '|', ':', '\\', '<'])
        || bare.is_empty()
        || bare.contains(['!', '%', '('])
    {
        return None;
    }
    // Quotes around the whole are none of an alias; those in its midst are.
    let whole = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let text = whole
        .filter(|inner| !inner.contains('"'))
        .map_or(text, str::trim);
    let name = match text.rsplit_once('@') {
        Some((user, host)) if site.classes.local_hosts.contains(host.as_bytes()) => user,
        Some(_) => return None,
        None => text,
    };
    Some(name.to_ascii_lowercase())
}
