//! virtusertable(5), genericstable and domaintable.

use std::collections::HashMap;

use super::{Item, Lint, unreachable_name};
use crate::site::Severity;
use crate::site::model::Class;
use crate::table::virtusertable::Rewrite;

/// How long a chain of virtual users is followed.
const CHAIN: usize = 100;

impl Lint<'_> {
    pub(super) fn virtusertable(&mut self, items: &[Item]) {
        let entire = self.site.features.virtuser_entire_domain;
        for item in items {
            let lhs = item.lhs_text();
            let Some((user, domain)) = lhs.rsplit_once('@') else {
                let text = format!(
                    "{lhs} is never found: addresses are asked for, user@domain or @domain"
                );
                self.say(item.line, Severity::Warning, text);
                continue;
            };
            let classes = &self.site.classes;
            let asked = classes.local_hosts.contains(domain.as_bytes())
                || covers(&classes.virtual_hosts, domain, entire);
            if let Some(why) = unreachable_name(domain, self.site) {
                self.say(
                    item.line,
                    Severity::Warning,
                    format!("{lhs} is never found: {why}"),
                );
            } else if !asked {
                let text = format!(
                    "{lhs} is never found: {domain} is neither a local host (class w) nor a virtual one (class VirtHost)"
                );
                self.say(item.line, Severity::Warning, text);
            }
            let rhs = item.rhs_text();
            // Without a detail in the LHS there is no %2 and no %3.
            let has_detail = user.ends_with("+*")
                || user.ends_with("++")
                || user.is_empty()
                || user.ends_with('+');
            if !has_detail && !user.contains('+') && (rhs.contains("%2") || rhs.contains("%3")) {
                let text = format!("{lhs}: %2 and %3 are empty unless the address has a +detail");
                self.say(item.line, Severity::Note, text);
            }
            if rhs.to_ascii_lowercase().starts_with("error:")
                && matches!(Rewrite::parse(rhs.as_bytes()), Rewrite::Address(_))
            {
                let text =
                    format!("{lhs}: expected error:status text or error:d.s.n:text, found {rhs}");
                self.say(item.line, Severity::Error, text);
            }
        }
        self.virtual_loops(items);
    }

    /// Addresses that lead back to themselves, by entries for whole addresses and for domains.
    fn virtual_loops(&mut self, items: &[Item]) {
        let mut entries: HashMap<String, String> = HashMap::new();
        for item in items {
            entries
                .entry(item.lhs_text())
                .or_insert_with(|| item.rhs_text().to_ascii_lowercase());
        }
        let next = |address: &str| -> Option<String> {
            let (user, domain) = address.rsplit_once('@')?;
            let rhs = entries
                .get(address)
                .or_else(|| entries.get(&format!("@{domain}")))?;
            Some(rhs.replace("%1", user))
        };
        for item in items {
            let start = item.lhs_text();
            if start.starts_with('@') || start.contains("+*") {
                continue;
            }
            let mut address = start.clone();
            for _ in 0..CHAIN {
                let Some(following) = next(&address) else {
                    break;
                };
                if following == start {
                    self.say(
                        item.line,
                        Severity::Error,
                        format!("{start} leads back to itself"),
                    );
                    break;
                }
                if following == address {
                    break;
                }
                address = following;
            }
        }
    }

    pub(super) fn genericstable(&mut self, items: &[Item]) {
        let entire = self.site.features.generics_entire_domain;
        for item in items {
            let lhs = item.lhs_text();
            let Some((_, domain)) = lhs.rsplit_once('@') else {
                continue;
            };
            let asked = covers(&self.site.classes.generics_domains, domain, entire)
                || domain.eq_ignore_ascii_case(&self.site.host_name);
            if !asked {
                let text =
                    format!("{lhs} is never found: {domain} is not in class G (GENERICS_DOMAIN)");
                self.say(item.line, Severity::Warning, text);
            }
        }
    }

    pub(super) fn domaintable(&mut self, items: &[Item]) {
        for item in items {
            let lhs = item.lhs_text();
            let why = if lhs.contains('@') {
                Some("domains are asked for, not addresses".to_owned())
            } else {
                unreachable_name(&lhs, self.site)
            };
            if let Some(why) = why {
                self.say(
                    item.line,
                    Severity::Warning,
                    format!("{lhs} is never found: {why}"),
                );
            }
            if item.rhs_text().eq_ignore_ascii_case(&lhs) {
                self.say(
                    item.line,
                    Severity::Warning,
                    format!("{lhs} becomes itself"),
                );
            }
        }
    }
}

/// Whether a class holds the domain, or (`entire`) one that it ends in.
fn covers(class: &Class, domain: &str, entire: bool) -> bool {
    if class.contains(domain.as_bytes()) {
        return true;
    }
    entire
        && domain.match_indices('.').any(|(at, _)| {
            domain
                .get(at + 1..)
                .is_some_and(|rest| class.contains(rest.as_bytes()))
        })
}
