//! What addresses become in headers and envelopes, for each mailer.
//!
//! A mailer names two pairs of rulesets, one for senders and one for recipients;
//! all of them come down to: add this host to a bare name, ask the genericstable,
//! masquerade. [`Addressing::rewrite`] is sendmail's `/try`.

mod surroundings;

use crate::decision::{Decision, LookupError, Trace};
use crate::map::Map;
use crate::policy::route::canonify::{Addressing, Canonical, Host, Mailbox, suffix_in};
use crate::site::model::{Class, Mailer, Rewriting};
use crate::table::generics::DomainEntry;
use crate::tokens::{self, TokenError, tidy, tokens};

use surroundings::surroundings;

/// As what an address is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRole {
    /// In `From:`, `Sender:` and the like.
    HeaderSender,
    /// In `To:`, `Cc:` and the like.
    HeaderRecipient,
    /// Of MAIL.
    EnvelopeSender,
    /// Of RCPT.
    EnvelopeRecipient,
}

impl AddressRole {
    /// All four.
    pub const ALL: [AddressRole; 4] = [
        AddressRole::HeaderSender,
        AddressRole::HeaderRecipient,
        AddressRole::EnvelopeSender,
        AddressRole::EnvelopeRecipient,
    ];

    /// `header-sender`, `header-recipient`, `envelope-sender` or `envelope-recipient`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AddressRole::HeaderSender => "header-sender",
            AddressRole::HeaderRecipient => "header-recipient",
            AddressRole::EnvelopeSender => "envelope-sender",
            AddressRole::EnvelopeRecipient => "envelope-recipient",
        }
    }
}

impl std::str::FromStr for AddressRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        AddressRole::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(UnknownRole)
    }
}

/// The word names no [`AddressRole`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected header-sender, header-recipient, envelope-sender or envelope-recipient")]
pub struct UnknownRole;

impl<M: Map> Addressing<'_, M> {
    /// What `address` becomes for `mailer`; the address itself where that can't be read.
    ///
    /// A display name, comments and a `phrase:` around the address stay as they are.
    ///
    /// # Errors
    /// When a table can't be read.
    pub fn rewrite(
        &self,
        role: AddressRole,
        mailer: &Mailer,
        address: &[u8],
    ) -> Result<Decision<Vec<u8>>, LookupError> {
        let mut trace = Trace::new();
        let read: Result<Canonical, TokenError> = self.canonify(address, &mut trace)?;
        let outcome = match read {
            Ok(canonical) => {
                let written = self.written(role, mailer.rewriting, canonical, &mut trace)?;
                let (before, after) = surroundings(address);
                [before, &written, after].concat()
            }
            Err(_) => address.to_vec(),
        };
        Ok(Decision::new(outcome, trace))
    }

    /// A canonical address as a mailer's rules write it.
    pub(crate) fn written(
        &self,
        role: AddressRole,
        rules: Rewriting,
        address: Canonical,
        trace: &mut Trace,
    ) -> Result<Vec<u8>, LookupError> {
        let address = self.by_rules(role, rules, address, trace)?;
        let text = self.externalize(address);
        Ok(tokens::spell(&text, self.blank()).into_owned())
    }

    fn by_rules(
        &self,
        role: AddressRole,
        rules: Rewriting,
        address: Canonical,
        trace: &mut Trace,
    ) -> Result<Canonical, LookupError> {
        use AddressRole::{EnvelopeRecipient, EnvelopeSender, HeaderRecipient, HeaderSender};
        let all = self.site.masquerade.all;
        Ok(match (role, rules) {
            (_, Rewriting::None) => address,
            (EnvelopeSender | HeaderSender, Rewriting::Local)
            | (HeaderSender, Rewriting::LocalLmtp) => self.local_sender(role, address, trace)?,
            (EnvelopeRecipient, Rewriting::Local | Rewriting::LocalLmtp) => without_host(address),
            (HeaderRecipient, Rewriting::Local | Rewriting::LocalLmtp) => {
                let address = each(address, |mailbox| self.add_domain(mailbox));
                match all {
                    true if self.site.masquerade.not_local => address,
                    true => self.masquerade_header(address, trace)?,
                    false => each(address, |mailbox| self.here_to_name(mailbox)),
                }
            }
            (EnvelopeSender, _) => {
                let address = each(address, |mailbox| qualify(self.out_of_uucp(mailbox)));
                match address {
                    Canonical::List(_) => Canonical::Null,
                    address => self.masquerade_envelope(address, trace)?,
                }
            }
            (HeaderSender, _) | (HeaderRecipient, Rewriting::SmtpBoth) => {
                self.smtp_header_sender(address, trace)?
            }
            (HeaderRecipient, Rewriting::Smtp) if all => self.smtp_header_sender(address, trace)?,
            (HeaderRecipient, Rewriting::Relay) if all => {
                self.masquerade_header(each(address, qualify), trace)?
            }
            (EnvelopeRecipient | HeaderRecipient, Rewriting::Relay) => each(address, qualify),
            (EnvelopeRecipient | HeaderRecipient, _) => each(address, |mailbox| {
                self.here_to_name(qualify(self.out_of_uucp(mailbox)))
            }),
        })
    }

    /// `EnvFromL` and `HdrFromL`.
    fn local_sender(
        &self,
        role: AddressRole,
        address: Canonical,
        trace: &mut Trace,
    ) -> Result<Canonical, LookupError> {
        let daemon = || Canonical::Mailbox(Mailbox::new(self.site.error_name.as_bytes(), None));
        let address = match address {
            Canonical::Null => daemon(),
            Canonical::Mailbox(mailbox) if mailbox.local == b"@" && mailbox.host.is_some() => {
                daemon()
            }
            address => address,
        };
        let address = each(address, |mailbox| self.add_domain(mailbox));
        if self.site.masquerade.not_local {
            return Ok(address);
        }
        match role {
            AddressRole::EnvelopeSender => self.masquerade_envelope(address, trace),
            _ => self.masquerade_header(address, trace),
        }
    }

    /// `HdrFromSMTP`.
    fn smtp_header_sender(
        &self,
        address: Canonical,
        trace: &mut Trace,
    ) -> Result<Canonical, LookupError> {
        match address {
            Canonical::Null => Ok(Canonical::Null),
            Canonical::List(name) if name.is_empty() => Ok(Canonical::Null),
            Canonical::List(name) => Ok(Canonical::List(name)),
            Canonical::Mailbox(mailbox) if mailbox.local.is_empty() => {
                Ok(Canonical::Mailbox(mailbox))
            }
            Canonical::Mailbox(mailbox) => {
                let mailbox = qualify(self.out_of_uucp(mailbox));
                self.masquerade_header(Canonical::Mailbox(mailbox), trace)
            }
        }
    }

    /// FEATURE(always_add_domain).
    fn add_domain(&self, mut mailbox: Mailbox) -> Mailbox {
        if let (None, Some(domain)) = (&mailbox.host, &self.site.features.always_add_domain) {
            let domain = tidy(domain.as_bytes()).unwrap_or_default();
            mailbox.host = Some(match domain.strip_suffix(b".") {
                Some(_) if domain.is_empty() => Host::Here,
                Some(domain) => Host::canonical(domain),
                None if domain.is_empty() => Host::Here,
                None => Host::plain(domain),
            });
        }
        mailbox
    }

    fn here_to_name(&self, mut mailbox: Mailbox) -> Mailbox {
        if mailbox.host == Some(Host::Here) {
            mailbox.host = Some(Host::canonical(self.site.host_name.as_bytes()));
        }
        mailbox
    }

    /// `user@host.UUCP` goes out as `host!user`, at UUCP_RELAY or here.
    fn out_of_uucp(&self, mailbox: Mailbox) -> Mailbox {
        if self.site.features.nouucp.is_some() || mailbox.local.is_empty() {
            return mailbox;
        }
        let host = mailbox.host.as_ref().and_then(Host::if_canonical);
        let Some(host) = host.and_then(uucp_host) else {
            return mailbox;
        };
        let local = tokens::concat(&[host, b"!", &mailbox.local]);
        let relay = self.site.relays.uucp.as_deref().unwrap_or_default();
        let relay = tidy(relay.as_bytes()).unwrap_or_default();
        let relay = match tokens::split_first(&relay, b':') {
            Some((_, host)) if !relay.starts_with(b"[") => host.to_vec(),
            _ => relay,
        };
        let host = if relay.is_empty() {
            Host::Here
        } else {
            Host::plain(relay)
        };
        Mailbox::new(local, Some(host))
    }

    /// `MasqEnv`.
    fn masquerade_envelope(
        &self,
        address: Canonical,
        trace: &mut Trace,
    ) -> Result<Canonical, LookupError> {
        if self.site.masquerade.envelope {
            return self.masquerade_header(address, trace);
        }
        Ok(each(address, |mailbox| self.here_to_name(mailbox)))
    }

    /// `MasqHdr`: genericstable, then MASQUERADE_AS.
    fn masquerade_header(
        &self,
        address: Canonical,
        trace: &mut Trace,
    ) -> Result<Canonical, LookupError> {
        let Canonical::Mailbox(mailbox) = address else {
            return Ok(address);
        };
        let mailbox = match self.generic(&mailbox, trace)? {
            Some(found) if tokens::find(&found, b'@').is_some() => {
                return self.canonify_tidy(&found, trace);
            }
            Some(found) => Mailbox::new(found, Some(Host::Here)),
            None => mailbox,
        };
        Ok(Canonical::Mailbox(self.masqueraded(mailbox)))
    }

    /// The genericstable's answer, for addresses of its domains and of this host.
    fn generic(
        &self,
        mailbox: &Mailbox,
        trace: &mut Trace,
    ) -> Result<Option<Vec<u8>>, LookupError> {
        let Some(table) = &self.tables.genericstable else {
            return Ok(None);
        };
        let domains = &self.site.classes.generics_domains;
        let (domain, domain_entry) = match &mailbox.host {
            Some(Host::Here) => (self.site.host_name.as_bytes(), DomainEntry::NotAsked),
            Some(Host::Name {
                text,
                canonical: true,
            }) if self.in_class(text, domains, self.site.features.generics_entire_domain) => {
                (&text[..], DomainEntry::Asked)
            }
            _ => return Ok(None),
        };
        if mailbox.local.is_empty() {
            return Ok(None);
        }
        let local = tokens::spell(&mailbox.local, self.blank());
        let found = table.find(&local, domain, domain_entry, trace)?;
        Ok(found
            .map(|rhs| tidy(&rhs).unwrap_or_default())
            .filter(|rhs| !rhs.is_empty()))
    }

    fn in_class(&self, host: &[u8], class: &Class, entire: bool) -> bool {
        if entire {
            suffix_in(host, class)
        } else {
            class.contains(host)
        }
    }

    fn masqueraded(&self, mut mailbox: Mailbox) -> Mailbox {
        let site = self.site;
        let classes = &site.classes;
        let masquerade = &site.masquerade;
        let host = mailbox.host.as_ref().and_then(Host::if_canonical);
        if host.is_some_and(|host| suffix_in(host, &classes.masquerade_exceptions)) {
            return mailbox;
        }
        let Some(name) = &masquerade.name else {
            return self.here_to_name(mailbox);
        };
        let ours = match (&mailbox.host, host) {
            (Some(Host::Here), _) => true,
            (_, Some(host)) => {
                let domains = &classes.masquerade_domains;
                self.in_class(host, domains, masquerade.entire_domain)
                    || (!masquerade.limited && classes.local_hosts.contains(host))
            }
            _ => false,
        };
        if !ours {
            return mailbox;
        }
        if classes.exposed_users.contains(&mailbox.local) {
            return self.here_to_name(mailbox);
        }
        let name = tidy(name.as_bytes()).unwrap_or_default();
        if name.is_empty() {
            return self.here_to_name(mailbox);
        }
        mailbox.host = Some(Host::canonical(name));
        mailbox
    }

    /// `final` (ruleset 4): the address as text.
    fn externalize(&self, address: Canonical) -> Vec<u8> {
        let mailbox = match address {
            Canonical::Null => return Vec::new(),
            Canonical::List(name) if name.is_empty() => return Vec::new(),
            Canonical::List(name) => return tokens::concat(&[&name, b":"]),
            Canonical::Mailbox(mailbox) => mailbox,
        };
        let mut local = without_brackets(mailbox.local);
        let mut host = match mailbox.host {
            None => return local,
            Some(Host::Here) => self.site.host_name.clone().into_bytes(),
            // `user@`: as the null address.
            Some(Host::Name {
                text,
                canonical: false,
            }) if text.is_empty() => return Vec::new(),
            Some(Host::Name { text, .. }) if text.is_empty() => b".".to_vec(),
            Some(Host::Name { text, .. }) => text,
        };
        if local.is_empty() {
            return tokens::concat(&[b"@", &host]);
        }
        if self.site.features.nouucp.is_none()
            && let Some(name) = uucp_host(&host).filter(|name| tokens::is_single(name))
        {
            return tokens::concat(&[name, b"!", &local]);
        }
        // `user%host@host`, both of them ours.
        let ours = &self.site.classes.local_hosts;
        while ours.contains(&host)
            && let Some((before, inner)) = self.percent_host(&local)
        {
            (local, host) = (before, inner);
        }
        tokens::concat(&[&local, b"@", &host])
    }

    /// Splits `user%host` where the host is one of ours.
    fn percent_host(&self, local: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        tokens(local)
            .skip(1)
            .filter(|token| token.is(b'%'))
            .find_map(|token| {
                let host = local.get(token.end..)?;
                let ours = self.site.classes.local_hosts.contains(host);
                ours.then(|| {
                    (
                        local.get(..token.start).unwrap_or_default().to_vec(),
                        host.to_vec(),
                    )
                })
            })
    }
}

/// Applies a rule to an address that has a local part.
fn each(address: Canonical, rule: impl FnOnce(Mailbox) -> Mailbox) -> Canonical {
    match address {
        Canonical::Mailbox(mailbox) => Canonical::Mailbox(rule(mailbox)),
        other => other,
    }
}

/// A bare name is of this host: `MasqSMTP`.
fn qualify(mut mailbox: Mailbox) -> Mailbox {
    if mailbox.host.is_none() && !mailbox.local.is_empty() {
        mailbox.host = Some(Host::Here);
    }
    mailbox
}

/// `EnvToL`.
fn without_host(address: Canonical) -> Canonical {
    each(address, |mut mailbox| {
        if !mailbox.local.is_empty() {
            mailbox.host = None;
        }
        mailbox
    })
}

/// What stands before `.UUCP`.
fn uucp_host(host: &[u8]) -> Option<&[u8]> {
    let at = host.len().checked_sub(b".UUCP".len())?;
    let (name, last) = host.split_at_checked(at)?;
    (last.eq_ignore_ascii_case(b".UUCP") && !name.is_empty()).then_some(name)
}

/// Takes angle brackets off, but for a pair with nothing in it.
fn without_brackets(text: Vec<u8>) -> Vec<u8> {
    if !text.iter().any(|octet| matches!(octet, b'<' | b'>')) {
        return text;
    }
    let (empty, rest) = match text.strip_prefix(b"<>") {
        Some(rest) => (&b"<>"[..], rest),
        None => (&b""[..], &text[..]),
    };
    let kept = tokens(rest)
        .filter(|token| !token.is(b'<') && !token.is(b'>'))
        .map(|token| token.text);
    let kept: Vec<&[u8]> = std::iter::once(empty).chain(kept).collect();
    tokens::concat(&kept)
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
