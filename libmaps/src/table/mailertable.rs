//! mailertable: by which mailer, and to which host, the mail for a domain goes.
//!
//! The LHS is a host, `.domain` for all hosts below a domain, or `.` for all that
//! nothing else names. The RHS is `mailer:host`, `mailer:user@host`, `local:user`,
//! `error:status:text` or `error:text`. For a `.domain` entry `%1` is what stood
//! before the domain and `%2` its last label; for `.` `%1` is the whole host.

use std::borrow::Cow;

use crate::decision::{LookupError, Step, Trace, Traced};
use crate::map::Map;
use crate::table::question;
use crate::table::virtusertable::{dotted_status, unquoted};
use crate::tokens::{self, tokens};

/// A mailertable.
#[derive(Clone)]
pub struct MailerTable<M> {
    map: Traced<M>,
}

impl<M: Map> MailerTable<M> {
    /// The table in this map.
    pub fn new(map: M) -> Self {
        MailerTable::of(Traced::new(map))
    }

    /// The table in a map that leaves probes already.
    pub fn of(map: Traced<M>) -> Self {
        MailerTable { map }
    }

    /// The RHS for a host (without its final dot), the arguments put in: the first of
    /// host, parent domains and `.` whose RHS names a mailer.
    ///
    /// An RHS without a mailer is not an answer: sendmail goes on with that text in the
    /// place of the host.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn find(&self, host: &[u8], trace: &mut Trace) -> Result<Option<Vec<u8>>, LookupError> {
        let mut rest = match self.ask(host, Step::Exact, &[], trace)? {
            Some(rhs) if names_mailer(&rhs) => return Ok(Some(rhs)),
            Some(rhs) => Cow::Owned(rhs),
            None => Cow::Borrowed(host),
        };
        // What was cut off on the left so far: of the host, and of `rest`.
        let (mut before, mut at): (Vec<u8>, usize) = (Vec::new(), 0);
        let mut up = 0u8;
        loop {
            let here = rest.get(at..).unwrap_or_default();
            // Only an RHS that is no answer can bring a name that starts with a dot.
            if here.starts_with(b".") && here.len() > 1 {
                before.push(b'.');
                at += 1;
                continue;
            }
            let Some((label, domain)) = cut_label(here) else {
                break;
            };
            up = up.saturating_add(1);
            before.extend_from_slice(label);
            let next = rest.len() - domain.len();
            match self.ask(domain, Step::ParentDomain(up), &[&before, label], trace)? {
                Some(rhs) if names_mailer(&rhs) => return Ok(Some(rhs)),
                Some(rhs) => {
                    let goes_on = rhs.starts_with(b".") && up < u8::MAX;
                    (rest, at) = (Cow::Owned(rhs), 0);
                    if !goes_on {
                        break;
                    }
                }
                None => at = next,
            }
        }
        before.extend_from_slice(rest.get(at..).unwrap_or_default());
        let last = self.ask(b".", Step::Default, &[&before], trace)?;
        Ok(last.filter(|rhs| names_mailer(rhs)))
    }

    fn ask(
        &self,
        lhs: &[u8],
        step: Step,
        arguments: &[&[u8]],
        trace: &mut Trace,
    ) -> Result<Option<Vec<u8>>, LookupError> {
        let found = question::ask(&self.map, trace, &[lhs], step, arguments)?;
        let rhs = found.map(|rhs| rhs.into_bytes().into_vec());
        Ok(rhs.map(|rhs| tokens::tidy(&rhs).unwrap_or(rhs)))
    }
}

/// Whether a tidy RHS starts with a mailer and its colon.
fn names_mailer(rhs: &[u8]) -> bool {
    let mut all = tokens(rhs);
    all.next().is_some_and(|first| !first.is(b'[')) && all.next().is_some_and(|t| t.is(b':'))
}

/// The first label, where it is one token, and the domain behind it with the dot between them.
fn cut_label(host: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut all = tokens(host);
    let label = all.next()?;
    let dot = all.next().filter(|token| token.is(b'.'))?;
    let domain = host.get(dot.start..)?;
    (domain.len() > 1).then_some((label.text, domain))
}

/// A mailertable RHS, SMART_HOST, MAIL_HUB, LUSER_RELAY or LOCAL_RELAY: where mail is passed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailerSpec<'a> {
    /// Nothing: mail is not passed on.
    Nowhere,
    /// `error:...`: refused.
    Error {
        /// `5.1.1`, or a word such as `nohost`; absent in `error:text`.
        status: Option<&'a [u8]>,
        /// The text, with its code where there is one.
        text: &'a [u8],
    },
    /// `local:` or `local:user`.
    Local(&'a [u8]),
    /// `mailer:host` or `mailer:user@host`.
    Mailer {
        /// The mailer's name.
        mailer: &'a [u8],
        /// The user that replaces the one addressed.
        user: Option<&'a [u8]>,
        /// The host; in `mailer:` it is empty.
        host: &'a [u8],
    },
    /// `host`: by the relay mailer.
    Host(&'a [u8]),
}

impl<'a> MailerSpec<'a> {
    /// Reads a tidy text.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> MailerSpec<'a> {
        let Some((mailer, rest)) = tokens::split_token(text) else {
            return MailerSpec::Nowhere;
        };
        let Some(rest) = rest.strip_prefix(b":").filter(|_| mailer != b"[") else {
            return MailerSpec::Host(text);
        };
        let rest = tokens::trim(rest);
        if mailer.eq_ignore_ascii_case(b"error") && !rest.is_empty() {
            return error(rest);
        }
        if mailer.eq_ignore_ascii_case(b"local") {
            return MailerSpec::Local(rest);
        }
        match tokens::split_after_one(rest, b'@') {
            Some((user, host)) if !host.is_empty() => MailerSpec::Mailer {
                mailer,
                user: Some(user),
                host,
            },
            _ => MailerSpec::Mailer {
                mailer,
                user: None,
                host: rest,
            },
        }
    }
}

fn error(rest: &[u8]) -> MailerSpec<'_> {
    if let Some((status, text)) = dotted_status(rest) {
        return MailerSpec::Error {
            status: Some(status),
            text,
        };
    }
    if let Some((word, after)) = tokens::split_token(rest)
        && let Some(text) = after.strip_prefix(b":")
        && !text.is_empty()
    {
        return MailerSpec::Error {
            status: Some(unquoted(word)),
            text: tokens::trim(text),
        };
    }
    MailerSpec::Error {
        status: None,
        text: rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Entry;
    use crate::store::memory::MemoryMap;

    fn table(entries: &[(&str, &str)]) -> MailerTable<MemoryMap> {
        MailerTable::new(MemoryMap::new(
            "mailertable",
            entries.iter().map(|(lhs, rhs)| Entry::new(*lhs, *rhs)),
        ))
    }

    fn find(entries: &[(&str, &str)], host: &str) -> (Option<String>, Vec<String>) {
        let mut trace = Trace::new();
        let found = table(entries).find(host.as_bytes(), &mut trace).unwrap();
        (
            found.map(|rhs| String::from_utf8(rhs).unwrap()),
            trace.probes().map(|p| p.lhs.to_string()).collect(),
        )
    }

    #[test]
    fn host_then_parents_then_dot() {
        let (found, asked) = find(&[], "a.b.example");
        assert_eq!(found, None);
        assert_eq!(asked, ["a.b.example", ".b.example", ".example", "."]);
    }

    #[test]
    fn arguments_of_a_domain_are_what_stood_before_it_and_its_last_label() {
        let rhs = |entry: &str, host: &str| find(&[(entry, "smtp:%0|%1|%2")], host).0.unwrap();
        assert_eq!(rhs(".c.example", "a.b.c.example"), "smtp:.c.example|a.b|b");
        assert_eq!(rhs(".", "a.b"), "smtp:.|a.b|");
        assert_eq!(rhs("a.b", "a.b"), "smtp:a.b||");
    }

    #[test]
    fn an_rhs_without_a_mailer_is_another_host_to_ask_for() {
        let entries = [("x.example", "y.other"), (".other", "smtp:%1")];
        assert_eq!(find(&entries, "x.example").0.unwrap(), "smtp:y");
        assert_eq!(find(&[("x.example", "y")], "x.example").0, None);
    }

    #[test]
    fn every_kind_of_rhs() {
        let mailer = |mailer: &'static str, user: Option<&'static str>, host: &'static str| {
            MailerSpec::Mailer {
                mailer: mailer.as_bytes(),
                user: user.map(str::as_bytes),
                host: host.as_bytes(),
            }
        };
        let error = |status: Option<&'static str>, text: &'static str| MailerSpec::Error {
            status: status.map(str::as_bytes),
            text: text.as_bytes(),
        };
        for (text, want) in [
            ("", MailerSpec::Nowhere),
            ("hub.example", MailerSpec::Host(b"hub.example")),
            ("[10.0.0.5]", MailerSpec::Host(b"[10.0.0.5]")),
            ("[a]:b", MailerSpec::Host(b"[a]:b")),
            ("smtp:hub.example", mailer("smtp", None, "hub.example")),
            ("smtp:a:b", mailer("smtp", None, "a:b")),
            ("esmtp:u@h.example", mailer("esmtp", Some("u"), "h.example")),
            ("smtp8:", mailer("smtp8", None, "")),
            ("local:", MailerSpec::Local(b"")),
            ("Local:joe", MailerSpec::Local(b"joe")),
            ("error:5.7.0:550 no", error(Some("5.7.0"), "550 no")),
            ("error:nohost:no", error(Some("nohost"), "no")),
            ("error:nohost no", error(None, "nohost no")),
        ] {
            assert_eq!(MailerSpec::parse(text.as_bytes()), want, "{text}");
        }
    }
}
