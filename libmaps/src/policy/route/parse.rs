//! `parse` (ruleset 0): a canonical address to a mailer, or to an error.

use crate::decision::{Found, LookupError, Trace};
use crate::map::Map;
use crate::policy::route::canonify::{Addressing, Canonical, Host, Mailbox, is_literal, suffix_in};
use crate::policy::route::syntax::{dequote, syntax_error};
use crate::site::Site;
use crate::table::virtusertable::{Rewrite, dotted_status};
use crate::tokens::{self, tidy, tokens};

/// How deep addresses may lead to addresses. sendmail counts rulesets within rulesets (at most 50):
/// an entry of the virtusertable is three of them, `user%host@here` is one.
pub const MAX_LEVELS: u8 = 48;
/// Levels that a virtusertable entry or a relay takes.
const RECURSE_LEVELS: u8 = 3;

/// What ruleset 0 makes of an address, before the mailer's own rules rewrite the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// A mailer triple.
    Triple(Triple),
    /// Refused.
    Error(Refusal),
}

/// Mailer, host and user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triple {
    /// The mailer's name, as written.
    pub mailer: Vec<u8>,
    /// The host, in tidy spelling and with its final dot; none where the rule gives none.
    pub host: Option<Vec<u8>>,
    /// The user.
    pub user: Mailbox,
    /// The rule put an `@` before the user: it is not looked for elsewhere.
    pub stays_here: bool,
}

/// A refusal: the error mailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `5.1.3`, or a word such as `nouser`.
    pub status: Option<Vec<u8>>,
    /// The text, with its code where it has one.
    pub text: Vec<u8>,
}

impl Resolved {
    pub(super) fn refused(status: &str, text: &str) -> Self {
        Resolved::Error(Refusal {
            status: Some(status.into()),
            text: format!("\"553 {text}\"").into_bytes(),
        })
    }

    fn to(mailer: &str, host: Option<Vec<u8>>, user: Mailbox) -> Self {
        Resolved::Triple(Triple {
            mailer: mailer.into(),
            host,
            user,
            stays_here: false,
        })
    }
}

/// A rule's result: the matter is settled, or goes on with this address.
pub(crate) enum Step {
    Done(Resolved),
    Go(Mailbox),
}

impl<M: Map> Addressing<'_, M> {
    /// Resolves a canonical address.
    ///
    /// # Errors
    /// When a table can't be read, or the tables lead from one address to the next without end.
    pub fn parse(&self, address: Canonical, trace: &mut Trace) -> Result<Resolved, LookupError> {
        self.parse_within(address, MAX_LEVELS, trace)
    }

    fn parse_within(
        &self,
        address: Canonical,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Resolved, LookupError> {
        let local = &self.site.mailers.local;
        let mailbox = match address {
            Canonical::Null => {
                let nobody = Mailbox::new(Vec::new(), None);
                return Ok(Resolved::to(local, None, nobody));
            }
            Canonical::List(_) => {
                return Ok(Resolved::refused(
                    "5.1.3",
                    "List:; syntax illegal for recipient addresses",
                ));
            }
            Canonical::Mailbox(mailbox) => mailbox,
        };
        let mailbox = match self.parse0(mailbox, left, trace)? {
            Step::Done(done) => return Ok(done),
            Step::Go(mailbox) => mailbox,
        };
        if let Some(done) = self.redirected(&mailbox) {
            return Ok(done);
        }
        self.parse1(mailbox, left, trace)
    }

    /// `CanonAddr`: an address (in tidy spelling) with this host taken off, as a relay check sees it
    /// and as [`parse`](Self::parse) goes on with it.
    ///
    /// # Errors
    /// When the domaintable can't be read.
    pub(crate) fn canon_addr(&self, text: &[u8], trace: &mut Trace) -> Result<Step, LookupError> {
        match self.canonify_tidy(text, trace)? {
            Canonical::Mailbox(mailbox) => self.parse0(mailbox, MAX_LEVELS, trace),
            other => self.parse_within(other, MAX_LEVELS, trace).map(Step::Done),
        }
    }

    /// Reads an address and resolves it, some levels deeper.
    pub(super) fn recurse(
        &self,
        text: &[u8],
        left: u8,
        trace: &mut Trace,
    ) -> Result<Resolved, LookupError> {
        match left.checked_sub(RECURSE_LEVELS) {
            Some(left) => {
                let address = self.canonify_tidy(text, trace)?;
                self.parse_within(address, left, trace)
            }
            None => Ok(self.given_up(text, trace)),
        }
    }

    /// An address that leads on for ever ends as a local name with its whole text, which no user has.
    fn given_up(&self, text: &[u8], trace: &mut Trace) -> Resolved {
        let why = "addresses lead to addresses without end".into();
        trace.fact("rewriting", text, Found::Error(why));
        let user = Mailbox::new(text, None);
        Resolved::to(&self.site.mailers.local, None, user)
    }

    /// Checks the syntax and takes this host off: `Parse0`.
    fn parse0(
        &self,
        mut mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Step, LookupError> {
        if mailbox.local == b"@" && mailbox.host.is_some() {
            mailbox.local.clear();
        }
        if let Some(refusal) = syntax_error(&mailbox) {
            return Ok(Step::Done(refusal));
        }
        let ours = match &mailbox.host {
            None => true,
            Some(host) => host
                .if_canonical()
                .is_some_and(|host| self.site.classes.local_hosts.contains(host)),
        };
        if !ours {
            return Ok(Step::Go(mailbox));
        }
        if tokens::is_single(&mailbox.local) {
            mailbox.local = dequote(&mailbox.local);
        }
        if tokens::is_empty(&mailbox.local) {
            return Ok(Step::Done(Resolved::refused(
                "5.1.3",
                "User address required",
            )));
        }
        if self.leads_on(&mailbox.local) {
            let Some(left) = left.checked_sub(1) else {
                return Ok(Step::Done(self.given_up(&mailbox.local, trace)));
            };
            return match self.canonify_tidy(&mailbox.local, trace)? {
                Canonical::Mailbox(next) => self.parse0(next, left, trace),
                other => Ok(Step::Done(self.parse_within(other, left, trace)?)),
            };
        }
        Ok(Step::Go(mailbox))
    }

    /// Whether a local part holds an operator that means forwarding (class O).
    pub(crate) fn leads_on(&self, local: &[u8]) -> bool {
        leads_on(self.site, local)
    }

    /// `user@host.REDIRECT`: says where the user went.
    fn redirected(&self, mailbox: &Mailbox) -> Option<Resolved> {
        if !self.site.features.redirect {
            return None;
        }
        let host = mailbox.host.as_ref()?.if_canonical()?;
        let at = host.len().checked_sub(b".REDIRECT".len())?;
        let (host, last) = host.split_at_checked(at)?;
        if host.is_empty() || !last.eq_ignore_ascii_case(b".REDIRECT") {
            return None;
        }
        let text = [
            &b"\"551 User has moved; please try \"<"[..],
            &mailbox.local,
            b"@",
            host,
            b">",
        ]
        .concat();
        Some(Resolved::Error(Refusal {
            status: Some(b"5.1.1".to_vec()),
            text,
        }))
    }

    /// From literals and virtual users to the mailer: `Parse1`.
    fn parse1(
        &self,
        mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Resolved, LookupError> {
        let site = self.site;
        if let Some(Host::Name { text, .. }) = &mailbox.host
            && is_literal(text)
            && site.mailers.speaks_smtp
        {
            return Ok(self.literal(text.clone(), mailbox));
        }
        let mailbox = match self.virtual_user(mailbox, left, trace)? {
            Step::Done(done) => return Ok(done),
            Step::Go(mailbox) => mailbox,
        };
        let mailbox = match self.local_user(mailbox, left, trace)? {
            Step::Done(done) => return Ok(done),
            Step::Go(mailbox) => mailbox,
        };
        let mailbox = match self.by_mailertable(mailbox, left, trace)? {
            Step::Done(done) => return Ok(done),
            Step::Go(mailbox) => mailbox,
        };
        self.elsewhere(mailbox, left, trace)
    }

    /// `user@[address]`: straight there, or by SMART_HOST.
    fn literal(&self, literal: Vec<u8>, mailbox: Mailbox) -> Resolved {
        let smart = self.site.relays.smart_host.as_deref().unwrap_or_default();
        let smart = tidy(smart.as_bytes()).unwrap_or_default();
        let mut all = tokens(&smart);
        let (Some(first), second) = (all.next(), all.next()) else {
            return Resolved::to(&self.site.mailers.smtp, Some(literal), mailbox);
        };
        if second.is_some_and(|token| token.is(b':')) {
            let host = tokens::trim(smart.get(first.end + 1..).unwrap_or_default());
            return Resolved::Triple(Triple {
                mailer: first.text.to_vec(),
                host: Some(host.to_vec()),
                user: mailbox,
                stays_here: false,
            });
        }
        Resolved::to(&self.site.mailers.smtp, Some(smart.clone()), mailbox)
    }

    fn virtual_user(
        &self,
        mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Step, LookupError> {
        let Some(table) = &self.tables.virtusertable else {
            return Ok(Step::Go(mailbox));
        };
        let classes = &self.site.classes;
        let domain = mailbox.host.as_ref().and_then(Host::if_canonical);
        let Some(domain) = domain.filter(|domain| {
            classes.local_hosts.contains(domain)
                || if self.site.features.virtuser_entire_domain {
                    suffix_in(domain, &classes.virtual_hosts)
                } else {
                    classes.virtual_hosts.contains(domain)
                }
        }) else {
            return Ok(Step::Go(mailbox));
        };
        let local = tokens::spell(&mailbox.local, self.blank());
        match table.rewrite(&local, domain, trace)? {
            None => Ok(Step::Go(mailbox)),
            Some(Rewrite::Refused { status, text }) => Ok(Step::Done(Resolved::Error(Refusal {
                status: Some(status),
                text,
            }))),
            Some(Rewrite::Address(address)) => {
                let address = tidy(&address).unwrap_or_default();
                if let Some(refusal) = self.bare_error(&address, &mailbox) {
                    return Ok(Step::Done(refusal));
                }
                if address.is_empty() {
                    // The rules go on with the empty brackets of the RHS before the user.
                    let local = tokens::concat(&[b"<>", &mailbox.local]);
                    return Ok(Step::Go(Mailbox { local, ..mailbox }));
                }
                self.recurse(&address, left, trace).map(Step::Done)
            }
        }
    }

    /// `error:word` without a text: sendmail's rule then takes the address that was asked for as text.
    fn bare_error(&self, rhs: &[u8], mailbox: &Mailbox) -> Option<Resolved> {
        let (error, rest) = tokens::split_token(rhs)?;
        let rest = rest.strip_prefix(b":")?;
        if !error.eq_ignore_ascii_case(b"error") {
            return None;
        }
        let host = mailbox.host.as_ref().map(Host::dotted).unwrap_or_default();
        let rest = tokens::concat(&[rest, b">", &mailbox.local, b"<@", &host]);
        let (status, text) = dotted_status(&rest).or_else(|| tokens::split_token(&rest))?;
        Some(Resolved::Error(Refusal {
            status: Some(status.to_vec()),
            text: text.to_vec(),
        }))
    }

    fn local_user(
        &self,
        mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Step, LookupError> {
        let site = self.site;
        let ours = mailbox
            .host
            .as_ref()
            .and_then(Host::if_canonical)
            .is_some_and(|host| site.classes.local_hosts.contains(host));
        if !ours {
            return Ok(Step::Go(mailbox));
        }
        let here = |local: Vec<u8>, stays_here: bool| {
            Step::Done(Resolved::Triple(Triple {
                mailer: site.mailers.local.clone().into(),
                host: None,
                user: Mailbox::new(local, None),
                stays_here,
            }))
        };
        if !site.features.stickyhost {
            let special = site.classes.local_users.contains(&mailbox.local);
            return Ok(here(mailbox.local, special));
        }
        match site.relays.mail_hub.as_deref() {
            Some(hub) if !hub.is_empty() => {
                let hub = tidy(hub.as_bytes()).unwrap_or_default();
                Ok(match self.pass_on(&hub, mailbox, left, trace)? {
                    Step::Go(mailbox) => here(mailbox.local, true),
                    done => done,
                })
            }
            _ => {
                let plussed = tokens::split_after_one(&mailbox.local, b'+').is_some();
                Ok(here(mailbox.local, !plussed))
            }
        }
    }

    fn by_mailertable(
        &self,
        mut mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Step, LookupError> {
        let (Some(table), Some(Host::Name { text, .. })) =
            (&self.tables.mailertable, &mailbox.host)
        else {
            return Ok(Step::Go(mailbox));
        };
        let host = tokens::spell(text, self.blank()).into_owned();
        match table.find(&host, trace)? {
            None => Ok(Step::Go(mailbox)),
            Some(rhs) if rhs.is_empty() => {
                mailbox.local = tokens::concat(&[b"<>", &mailbox.local]);
                Ok(Step::Go(mailbox))
            }
            Some(rhs) => self.pass_on(&rhs, mailbox, left, trace),
        }
    }

    /// What no table names: pseudo-domains, SMART_HOST, SMTP, or this host.
    fn elsewhere(
        &self,
        mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Resolved, LookupError> {
        let site = self.site;
        let Some(host) = &mailbox.host else {
            let special = site.classes.local_users.contains(&mailbox.local);
            return Ok(Resolved::Triple(Triple {
                mailer: site.mailers.local.clone().into(),
                host: None,
                user: mailbox,
                stays_here: special,
            }));
        };
        let relays = &site.relays;
        let mut relay = relays.smart_host.as_deref();
        for (label, by) in [
            (&b".BITNET"[..], &relays.bitnet),
            (b".DECNET", &relays.decnet),
            (b".FAX", &relays.fax),
            (b".UUCP", &relays.uucp),
        ] {
            if by.is_some()
                && host
                    .if_canonical()
                    .is_some_and(|host| ends_with(host, label))
            {
                relay = by.as_deref();
            }
        }
        let relay = tidy(relay.unwrap_or_default().as_bytes()).unwrap_or_default();
        let mailbox = match self.pass_on(&relay, mailbox, left, trace)? {
            Step::Done(done) => return Ok(done),
            Step::Go(mailbox) => mailbox,
        };
        let host = mailbox.host.as_ref().map(Host::dotted).unwrap_or_default();
        if site.mailers.speaks_smtp {
            return Ok(Resolved::to(&site.mailers.smtp, Some(host), mailbox));
        }
        let text = tokens::concat(&[b"\"553 Unrecognized host name \"", &host]);
        Ok(Resolved::Error(Refusal {
            status: Some(b"5.1.2".to_vec()),
            text,
        }))
    }

    /// The octet that stands for a blank (option BlankSub).
    pub(crate) fn blank(&self) -> u8 {
        self.site.options.addresses.blank()
    }
}

/// Whether a local part holds an operator that means forwarding (class O).
pub(crate) fn leads_on(site: &Site, local: &[u8]) -> bool {
    let features = &site.features;
    tokens(local).any(|token| {
        token.is(b'@')
            || (token.is(b'%') && features.nopercenthack.is_none())
            || (token.is(b'!') && features.nouucp.is_none())
    })
}

fn ends_with(host: &[u8], label: &[u8]) -> bool {
    host.len()
        .checked_sub(label.len())
        .and_then(|at| host.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(label))
}
