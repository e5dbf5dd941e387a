//! mailertable(5).

use super::{Item, Lint, unreachable_name};
use crate::site::Severity;
use crate::table::mailertable::MailerSpec;

impl Lint<'_> {
    pub(super) fn mailertable(&mut self, items: &[Item]) {
        for item in items {
            let lhs = item.lhs_text();
            let why = if lhs.contains('@') {
                Some("hosts are asked for, not addresses".to_owned())
            } else if self.site.classes.local_hosts.contains(lhs.as_bytes()) {
                Some("mail for a local host is not routed".to_owned())
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
            self.mailertable_rhs(item);
        }
    }

    fn mailertable_rhs(&mut self, item: &Item) {
        let lhs = item.lhs_text();
        let text = item.rhs_text();
        let by_domain = lhs.starts_with('.');
        if text.contains("%2") {
            let text = if by_domain && lhs != "." {
                "%2 is the one label before the domain, not the host; %1 is all that stood before the domain"
            } else {
                "%2 is empty here"
            };
            self.say(item.line, Severity::Warning, format!("{lhs}: {text}"));
        } else if text.contains("%1") && !by_domain {
            self.say(
                item.line,
                Severity::Warning,
                format!("{lhs}: %1 is empty here"),
            );
        }
        let site = self.site;
        let problem = match MailerSpec::parse(text.as_bytes()) {
            MailerSpec::Error { .. } | MailerSpec::Local(_) => None,
            MailerSpec::Nowhere => Some("the RHS names no mailer and no host".to_owned()),
            MailerSpec::Mailer { mailer, host, .. } => {
                let name = String::from_utf8_lossy(mailer).into_owned();
                if name.eq_ignore_ascii_case("discard") {
                    None
                } else if site.mailers.get(&name).is_none() {
                    Some(format!("there is no mailer {name}"))
                } else {
                    local(site, host)
                }
            }
            MailerSpec::Host(host) => {
                let here = site.classes.local_hosts.contains(host);
                here.then(|| format!("{text} is this host: the entry has no effect"))
            }
        };
        if let Some(problem) = problem {
            self.say(item.line, Severity::Error, format!("{lhs}: {problem}"));
        }
    }
}

fn local(site: &crate::site::Site, host: &[u8]) -> Option<String> {
    let bare = host
        .strip_prefix(b"[")
        .and_then(|h| h.strip_suffix(b"]"))
        .unwrap_or(host);
    let here = site.classes.local_hosts.contains(bare);
    here.then(|| {
        let host = String::from_utf8_lossy(bare);
        format!("{host} is this host: mail would come back to where it is")
    })
}
