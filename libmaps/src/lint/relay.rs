//! Open relays, found by trying: strangers who have not logged in send to other strangers, in every spelling that has
//! fooled a mail server.
//!
//! The sessions run through the rulesets that decide about real ones, so what is found is what would happen. Each
//! FEATURE that widens relaying is then switched off in turn to see which of them let the stranger in.

mod strangers;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use crate::address::{Address, ReversePath};
use crate::decision::{Asked, Found, Trace};
use crate::policy::check_mail::check_mail;
use crate::policy::check_rcpt::check_rcpt;
use crate::policy::check_relay::check_relay;
use crate::policy::facts::{Answer, Facts, Need, Session, settle};
use crate::policy::maps::Maps;
use crate::policy::route::MailerTriple;
use crate::policy::route::canonify::{Addressing, NoNames};
use crate::policy::{Outcome, Policy};
use crate::site::{Severity, Site};
use crate::table::verdict::Verdict;

use strangers::{Client, Forms, Target};

/// A way in which a stranger's mail for another stranger is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Who: the client's name and address.
    pub client: String,
    /// Which part of the world such clients are.
    pub reach: Reach,
    /// The reverse-path that was claimed.
    pub sender: String,
    /// The recipient that was accepted.
    pub recipient: String,
    /// The FEATUREs without which it would have been refused.
    pub features: Vec<&'static str>,
    /// The last word that allowed it.
    pub blame: Blame,
}

/// Who can be the client of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Everybody.
    Anybody,
    /// All hosts of a network of 16 million addresses, or of an IPv6 network of one group.
    Network,
    /// All hosts of a top-level domain.
    TopLevel,
}

/// What let the mail through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// An entry of the access map.
    Entry {
        /// Its LHS.
        lhs: Vec<u8>,
        /// Its RHS.
        rhs: String,
    },
    /// A member of a class of the configuration, with the class's name.
    Class(String),
    /// Nothing but FEATUREs.
    Nothing,
}

impl Relay {
    /// An error where anybody can do it at will; a warning where it takes a network, an MX record or a guess.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let by_guess = match &self.blame {
            Blame::Entry { lhs, .. } => {
                self.features == ["relay_mail_from"]
                    && lhs
                        .split(|b| *b == b'@')
                        .nth(1)
                        .is_some_and(|d| !d.is_empty())
            }
            // Whether a lone label is a top-level domain or a host that lacks its domain, only people know.
            Blame::Class(_) => self.reach == Reach::TopLevel,
            Blame::Nothing => self.features == ["relay_based_on_MX"],
        };
        if by_guess || self.reach == Reach::Network {
            Severity::Warning
        } else {
            Severity::Error
        }
    }
}

impl Relay {
    /// What was tried, for a finding that says the rest.
    #[must_use]
    pub fn tried(&self) -> String {
        format!(
            "tried: {} may send from <{}> to <{}>",
            self.client, self.sender, self.recipient
        )
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.reach {
            Reach::Anybody => "any stranger".to_owned(),
            Reach::Network | Reach::TopLevel => format!("any stranger such as {}", self.client),
        };
        write!(
            f,
            "open relay: {who} may send from <{}> to <{}>",
            self.sender, self.recipient
        )?;
        let mut because: Vec<String> = self
            .features
            .iter()
            .map(|name| format!("FEATURE({name})"))
            .collect();
        match &self.blame {
            Blame::Entry { lhs, rhs } => {
                because.push(format!("{} {rhs}", String::from_utf8_lossy(lhs)));
            }
            Blame::Class(class) => because.push(class.clone()),
            Blame::Nothing => {}
        }
        if because.is_empty() {
            return Ok(());
        }
        write!(f, ", by {}", because.join(" and "))
    }
}

/// Tries all strangers; of the attempts that succeed for the same reason the plainest is given.
#[must_use]
pub fn attempts(site: &Site, maps: &Maps) -> Vec<Relay> {
    let mut daemons: Vec<String> = site
        .daemons
        .iter()
        .filter(|daemon| !daemon.modifiers.has('a'))
        .map(|daemon| daemon.flags_macro())
        .collect();
    if site.daemons.is_empty() {
        daemons.push(String::new());
    }
    daemons.sort();
    daemons.dedup();
    let forms = Forms::of(site, maps);
    let without = without_features(site);
    let mut known = HashSet::new();
    let mut found = Vec::new();
    for flags in &daemons {
        for (client, sender, target) in forms.attempts() {
            let attempt = Attempt {
                maps,
                flags,
                client,
                sender,
                target,
            };
            let Some(trace) = attempt.succeeds(site) else {
                continue;
            };
            let features = without
                .iter()
                .filter(|(_, tamed)| attempt.succeeds(tamed).is_none())
                .map(|(name, _)| *name)
                .collect::<Vec<_>>();
            let blame = blame(&trace, &features);
            if known.insert((client.reach, features.clone(), blame.clone())) {
                found.push(Relay {
                    client: format!("{} [{}]", client.name, client.address),
                    reach: client.reach,
                    sender: sender.clone(),
                    recipient: target.recipient.clone(),
                    features,
                    blame,
                });
            }
        }
    }
    // Who is let in as anybody needs no network.
    let anybody: HashSet<Blame> = found
        .iter()
        .filter(|relay| relay.reach == Reach::Anybody)
        .map(|relay| relay.blame.clone())
        .collect();
    found.retain(|relay| relay.reach == Reach::Anybody || !anybody.contains(&relay.blame));
    found
}

/// The site with each of the FEATUREs that widen relaying switched off.
fn without_features(site: &Site) -> Vec<(&'static str, Site)> {
    let features = &site.features;
    let tame = |name, switch_off: fn(&mut Site)| {
        let mut tamed = site.clone();
        switch_off(&mut tamed);
        (name, tamed)
    };
    let mut all = Vec::new();
    if features.promiscuous_relay {
        all.push(tame("promiscuous_relay", |s| {
            s.features.promiscuous_relay = false;
        }));
    }
    if features.relay_local_from {
        all.push(tame("relay_local_from", |s| {
            s.features.relay_local_from = false;
        }));
    }
    if features.relay_mail_from.is_some() {
        all.push(tame("relay_mail_from", |s| {
            s.features.relay_mail_from = None;
        }));
    }
    if features.relay_based_on_mx {
        all.push(tame("relay_based_on_MX", |s| {
            s.features.relay_based_on_mx = false;
        }));
    }
    if features.loose_relay_check {
        all.push(tame("loose_relay_check", |s| {
            s.features.loose_relay_check = false;
        }));
    }
    if features.relay_entire_domain {
        all.push(tame("relay_entire_domain", |s| {
            s.features.relay_entire_domain = false;
        }));
    }
    all
}

/// One session.
struct Attempt<'a> {
    maps: &'a Maps,
    flags: &'a str,
    client: &'a Client,
    sender: &'a str,
    target: &'a Target,
}

impl Attempt<'_> {
    /// Why the recipient is taken, if it is and if the mail then leaves for the stranger.
    fn succeeds(&self, site: &Site) -> Option<Trace> {
        let policy = Policy {
            site,
            maps: self.maps,
        };
        let session = Session {
            client_addr: self.client.address.clone(),
            client_name: self.client.name.clone(),
            client_ptr: self.client.name.clone(),
            helo: self.client.name.clone(),
            daemon_flags: self.flags.to_owned(),
            sender: ReversePath::parse(self.sender.as_bytes()).ok()?,
            sender_text: format!("<{}>", self.sender),
            ..Session::default()
        };
        let recipient = Address::parse(self.target.recipient.as_bytes()).ok()?;
        let mut facts = Facts::new();
        let answer = |need: &Need| self.answer(site, need);
        let goes_on = |outcome: &Outcome| matches!(outcome, Outcome::Accept | Outcome::Delayed);
        let relay = settle(&mut facts, answer, |f| check_relay(policy, &session, f));
        let mail = settle(&mut facts, answer, |f| check_mail(policy, &session, f));
        if !goes_on(&relay.outcome) || !goes_on(&mail.outcome) {
            return None;
        }
        let rcpt = settle(&mut facts, answer, |f| {
            check_rcpt(policy, &session, f, &recipient)
        });
        (goes_on(&rcpt.outcome) && self.leaves(site)).then_some(rcpt.trace)
    }

    /// What the stranger's own name servers say: all his names exist, and this host is an MX of his domain.
    fn answer(&self, site: &Site, need: &Need) -> Answer {
        match need {
            Need::Host(name) if name.starts_with(b"[") => {
                Answer::Found(vec![self.client.name.as_bytes().into()])
            }
            Need::Host(name) => Answer::Found(vec![name.clone()]),
            Need::BestMx(_) => Answer::Found(vec![site.host_name.as_bytes().into()]),
            _ => Answer::NotFound,
        }
    }

    /// Whether the mail would go out to the stranger it is for: accepted mail may also end here or be refused later.
    fn leaves(&self, site: &Site) -> bool {
        let tables = self.maps.route_tables();
        let addressing = Addressing {
            site,
            tables: &tables,
            names: &NoNames,
            daemon_flags: self.flags,
        };
        match addressing.route(self.target.recipient.as_bytes()) {
            Ok(decision) => self.reaches_target(&decision.outcome),
            Err(_) => false,
        }
    }

    fn reaches_target(&self, triple: &MailerTriple) -> bool {
        let stays = ["error", "discard", "local", "prog", "*file*", "*include*"];
        if stays.contains(&triple.mailer.as_str()) {
            return false;
        }
        let target = self.target.domain.as_bytes();
        let bare = |text: &[u8]| -> Vec<u8> {
            let ends = |b: &u8| matches!(b, b'<' | b'>' | b'.' | b'[' | b']');
            let start = text.iter().position(|b| !ends(b)).unwrap_or(0);
            let end = text.iter().rposition(|b| !ends(b)).map_or(0, |at| at + 1);
            text.get(start..end)
                .unwrap_or_default()
                .to_ascii_lowercase()
        };
        let domain = triple
            .user
            .rsplit(|b| *b == b'@')
            .next()
            .unwrap_or_default();
        bare(domain) == target || bare(&triple.host) == target
    }
}

/// The last probe that said yes, unless a FEATURE alone explains it.
fn blame(trace: &Trace, features: &[&str]) -> Blame {
    for probe in trace.probes().rev() {
        match (&probe.asked, &probe.found) {
            (Asked::Map(_), Found::Rhs(rhs))
                if Verdict::parse(rhs.as_bytes()) == Verdict::Relay =>
            {
                return Blame::Entry {
                    lhs: probe.lhs.as_bytes().to_vec(),
                    rhs: rhs.to_string(),
                };
            }
            (Asked::Class(class), Found::Yes) if features.is_empty() => {
                return Blame::Class(format!("{class}, which holds {}", probe.lhs));
            }
            _ => {}
        }
    }
    Blame::Nothing
}
