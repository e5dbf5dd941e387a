//! `parse` (ruleset 0): a canonical address to a mailer, or to an error.

use crate::decision::{LookupError, Trace};
use crate::lhs::Lhs;
use crate::map::Map;
use crate::policy::route::canonify::{Addressing, Canonical, Host, Mailbox, is_literal, suffix_in};
use crate::table::mailertable::MailerSpec;
use crate::table::virtusertable::Rewrite;
use crate::tokens::{self, tidy, tokens};

/// How often virtusertable, `user%host@here` and the like may lead from one address to the next;
/// where sendmail counts rulesets within rulesets (at most 50), this counts addresses.
pub const MAX_REWRITES: u8 = 16;

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
    fn refused(status: &str, text: &str) -> Self {
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
        self.parse_within(address, MAX_REWRITES, trace)
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

    /// Reads an address and resolves it: one step deeper.
    pub(crate) fn recurse(
        &self,
        text: &[u8],
        left: u8,
        trace: &mut Trace,
    ) -> Result<Resolved, LookupError> {
        let address = self.deeper(text, left, trace)?;
        self.parse_within(address, left.saturating_sub(1), trace)
    }

    fn deeper(&self, text: &[u8], left: u8, trace: &mut Trace) -> Result<Canonical, LookupError> {
        if left == 0 {
            return Err(LookupError::Loop {
                lhs: Lhs::from(text),
                depth: MAX_REWRITES,
            });
        }
        self.canonify_tidy(text, trace)
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
            let address = self.deeper(&mailbox.local, left, trace)?;
            return match address {
                Canonical::Mailbox(next) => self.parse0(next, left.saturating_sub(1), trace),
                other => Ok(Step::Done(self.parse_within(other, 0, trace)?)),
            };
        }
        Ok(Step::Go(mailbox))
    }

    /// Whether a local part holds an operator that means forwarding (class O).
    pub(crate) fn leads_on(&self, local: &[u8]) -> bool {
        let features = &self.site.features;
        tokens(local).any(|token| {
            token.is(b'@')
                || (token.is(b'%') && features.nopercenthack.is_none())
                || (token.is(b'!') && features.nouucp.is_none())
        })
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
                if address.is_empty() {
                    // The rules go on with the empty brackets of the RHS before the user.
                    let local = tokens::concat(&[b"<>", &mailbox.local]);
                    return Ok(Step::Go(Mailbox { local, ..mailbox }));
                }
                self.recurse(&address, left, trace).map(Step::Done)
            }
        }
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
                Ok(match self.to_triple(&hub, mailbox, left, trace)? {
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
            Some(rhs) => self.to_triple(&rhs, mailbox, left, trace),
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
        let mailbox = match self.to_triple(&relay, mailbox, left, trace)? {
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

    /// Passes an address on as a mailertable RHS or a relay says: `MailerToTriple`.
    pub(crate) fn to_triple(
        &self,
        spec: &[u8],
        mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Step, LookupError> {
        let triple = |mailer: &[u8], host: &[u8], user: Mailbox| {
            Step::Done(Resolved::Triple(Triple {
                mailer: mailer.to_vec(),
                host: Some(host.to_vec()),
                user,
                stays_here: false,
            }))
        };
        Ok(match MailerSpec::parse(spec) {
            MailerSpec::Nowhere => Step::Go(mailbox),
            MailerSpec::Error { status, text } => Step::Done(Resolved::Error(Refusal {
                status: status.map(<[u8]>::to_vec),
                text: text.to_vec(),
            })),
            MailerSpec::Local(user) => Step::Done(self.local_spec(user, mailbox, left, trace)?),
            MailerSpec::Mailer {
                mailer,
                user: Some(user),
                host,
            } if mailbox.host.is_some() => {
                triple(mailer, host, Mailbox::new(user, Some(Host::plain(host))))
            }
            MailerSpec::Mailer {
                mailer,
                user: Some(user),
                host,
            } => triple(mailer, &[user, b"@", host].concat(), mailbox),
            MailerSpec::Mailer { mailer, host, .. } if host.is_empty() => {
                // Without a host sendmail's rule takes the address for it and leaves no user.
                let host = mailbox.host.as_ref().map(Host::dotted).unwrap_or_default();
                let host = tokens::concat(&[b">", &mailbox.local, b"<@", &host]);
                match mailer.eq_ignore_ascii_case(b"error") {
                    true => Step::Done(Resolved::Error(Refusal {
                        status: Some(host),
                        text: Vec::new(),
                    })),
                    false => triple(mailer, &host, Mailbox::new(Vec::new(), None)),
                }
            }
            MailerSpec::Mailer { mailer, host, .. } => triple(mailer, host, mailbox),
            MailerSpec::Host(host) if self.site.classes.local_hosts.contains(host) => {
                Step::Go(mailbox)
            }
            MailerSpec::Host(host) => triple(self.site.mailers.relay.as_bytes(), host, mailbox),
        })
    }

    /// `local:` and `local:user`: `CanonLocal`.
    fn local_spec(
        &self,
        user: &[u8],
        mailbox: Mailbox,
        left: u8,
        trace: &mut Trace,
    ) -> Result<Resolved, LookupError> {
        if mailbox.host.is_some() && self.leads_on_inside(&mailbox.local) {
            return self.recurse(&mailbox.local, left, trace);
        }
        let host = match &mailbox.host {
            Some(Host::Name { text, .. }) => tokens::concat(&[&mailbox.local, b"@", text]),
            _ => mailbox.local.clone(),
        };
        let user = match tokens::split_after_one(user, b'@') {
            Some((user, at)) if !at.is_empty() && mailbox.host.is_some() => user,
            _ => user,
        };
        let user = if user.is_empty() {
            mailbox.local
        } else {
            user.to_vec()
        };
        Ok(Resolved::Triple(Triple {
            mailer: self.site.mailers.local.clone().into(),
            host: Some(host),
            user: Mailbox::new(user, None),
            stays_here: false,
        }))
    }

    /// A forwarding operator with something on both sides.
    fn leads_on_inside(&self, local: &[u8]) -> bool {
        let all: Vec<_> = tokens(local).collect();
        let inner = all.get(1..all.len().saturating_sub(1)).unwrap_or_default();
        inner.iter().any(|token| self.leads_on(token.text))
    }

    /// The octet that stands for a blank (option BlankSub).
    pub(crate) fn blank(&self) -> u8 {
        let blank = self.site.options.addresses.blank_sub.bytes().next();
        blank.unwrap_or(b' ')
    }
}

fn ends_with(host: &[u8], label: &[u8]) -> bool {
    host.len()
        .checked_sub(label.len())
        .and_then(|at| host.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(label))
}

/// What is wrong with an address, whoever it is for.
fn syntax_error(mailbox: &Mailbox) -> Option<Resolved> {
    let refused = |status, text| Some(Resolved::refused(status, text));
    let local = &mailbox.local;
    let Some(host) = &mailbox.host else {
        return stray_comma(local).then(|| Resolved::refused("5.1.3", "Invalid route address"));
    };
    let host = host.dotted();
    if local.is_empty() && !host.is_empty() {
        return refused("5.1.3", "User address required");
    }
    if host.is_empty() {
        return refused("5.1.3", "Hostname required");
    }
    let all: Vec<_> = tokens(&host).collect();
    let is = |at: usize, operator: u8| all.get(at).is_some_and(|token| token.is(operator));
    let close = all.iter().position(|token| token.is(b']'));
    match close.filter(|_| is(0, b'[')) {
        // `[a]:b` and `[a],b` are routes of literals.
        Some(close) if is(close + 1, b':') || is(close + 1, b',') => {}
        Some(close) if close + 1 < all.len() => return refused("5.1.2", "Invalid address"),
        Some(_) => {}
        None if all.iter().any(|token| token.is(b':')) => {
            return refused("5.1.3", "Colon illegal in host name part");
        }
        None => {}
    }
    let double_dot = all.windows(2).any(|pair| match pair {
        [first, second] => first.is(b'.') && second.is(b'.'),
        _ => false,
    });
    if is(0, b'.') || double_dot {
        return refused("5.1.2", "Invalid host name");
    }
    if all.last().is_some_and(|token| token.is(b'@')) {
        return refused("5.1.2", "Invalid route address");
    }
    if tokens::find(local, b'@').is_some() || stray_comma(local) || stray_comma(&host) {
        return refused("5.1.3", "Invalid route address");
    }
    None
}

/// A comma that no route explains.
fn stray_comma(text: &[u8]) -> bool {
    let mut all = tokens(text).peekable();
    while let Some(token) = all.next() {
        let next = all.peek();
        if token.is(b',') && !next.is_some_and(|n| n.is(b'@') || n.is(b'%') || n.is(b'!')) {
            return true;
        }
    }
    false
}

/// Takes quotes off where what is inside can stand without them (the dequote map): no blank,
/// brackets and comments in pairs.
fn dequote(token: &[u8]) -> Vec<u8> {
    let inner = token
        .strip_prefix(b"\"")
        .and_then(|t| t.strip_suffix(b"\""));
    let Some(inner) = inner.filter(|inner| stands_alone(inner)) else {
        return token.to_vec();
    };
    match tidy(inner) {
        Ok(text) if text.is_empty() && !inner.is_empty() => token.to_vec(),
        Ok(text) => text,
        Err(_) => token.to_vec(),
    }
}

fn stands_alone(text: &[u8]) -> bool {
    let (mut comments, mut angles, mut escaped) = (0i32, 0i32, false);
    for octet in text {
        if escaped {
            escaped = false;
            continue;
        }
        match octet {
            b'\\' => escaped = true,
            b' ' | b'\t' => return false,
            b'(' => comments += 1,
            b')' => comments -= 1,
            b'<' => angles += 1,
            b'>' => angles -= 1,
            _ => {}
        }
        if comments < 0 || angles < 0 {
            return false;
        }
    }
    comments == 0 && angles == 0 && !escaped
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
