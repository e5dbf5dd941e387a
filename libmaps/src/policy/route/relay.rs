//! Mail that is passed on: what a mailertable RHS or a relay makes of an address
//! (`MailerToTriple` and `CanonLocal`).

use crate::decision::{LookupError, Trace};
use crate::map::Map;
use crate::policy::route::canonify::{Addressing, Host, Mailbox};
use crate::policy::route::parse::{Refusal, Resolved, Step, Triple};
use crate::table::mailertable::MailerSpec;
use crate::tokens::{self, tokens};

impl<M: Map> Addressing<'_, M> {
    /// Passes an address on as a mailertable RHS or a relay says: `MailerToTriple`.
    pub(crate) fn pass_on(
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
            MailerSpec::Mailer {
                mailer, host: [], ..
            } => {
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
}
