//! What a client is greeted with, offered, or refused.

use libmaps::decision::Decision;
use libmaps::policy::check_relay::{check_relay, greet_pause};
use libmaps::policy::facts::Need;
use libmaps::policy::srv_features::srv_features;
use libmaps::policy::{Outcome, Policy};
use libmaps::site::model::DnsListKind;

use crate::clock::{Civil, now_unix};
use crate::macros;
use crate::session::{AuthDemand, Fate, Offer, Refusal, Welcome};

use super::Consultant;

impl Consultant {
    pub(super) async fn welcome(&mut self) -> Welcome {
        if let Some(refusal) = self.refused.take() {
            let mut welcome = self.welcome_offers().await;
            welcome.refusal = Some(refusal);
            return welcome;
        }
        self.ask_lists().await;
        let mut welcome = self.welcome_offers().await;
        let ruling = self.settle(check_relay).await;
        let name = self.client.client_name.clone();
        welcome.refusal = self.refusal(&ruling, "check_relay", &name);
        match ruling.outcome {
            Outcome::Discard => welcome.fate = Fate::Discard,
            Outcome::Quarantine(why) => welcome.fate = Fate::Quarantine(why),
            _ => {}
        }
        welcome
    }

    /// How long to wait before the greeting, in milliseconds.
    pub fn greet_pause(&self) -> u64 {
        let policy = Policy {
            site: &self.maps.snapshot.site,
            maps: &self.maps.snapshot.policy,
        };
        greet_pause(policy, &self.client, &self.facts).map_or(0, |decision| decision.outcome)
    }

    /// The greeting and the offers, before any refusal.
    pub(super) async fn welcome_offers(&mut self) -> Welcome {
        let letters = self.settle(srv_features).await.outcome.unwrap_or_default();
        let mut offers = self.daemon.rules.offers;
        let mut auth = self.daemon.rules.auth;
        if !self.world.tls_available() || !self.client.tls.version.is_empty() {
            offers = offers.without(Offer::StartTls);
        }
        if !self.world.logins.is_available() {
            offers = offers.without(Offer::Auth);
        }
        let switched = |letter: char| letters.contains(letter);
        for (letter, offer) in [
            ('a', Offer::Auth),
            ('b', Offer::Verb),
            ('d', Offer::Dsn),
            ('e', Offer::Etrn),
            ('p', Offer::Pipelining),
            ('s', Offer::StartTls),
            ('x', Offer::Expn),
        ] {
            if switched(letter.to_ascii_uppercase()) {
                offers = offers.without(offer);
            }
        }
        if switched('l') {
            auth = AuthDemand::Required;
        } else if switched('L') {
            auth = AuthDemand::Optional;
        }
        Welcome {
            greeting: self.greeting(),
            offers,
            mechanisms: self
                .world
                .logins
                .mechanisms(&self.client.tls, &self.bindings),
            auth,
            fate: Fate::Deliver,
            refusal: None,
        }
    }

    /// SmtpGreetingMessage, with ESMTP behind its first word.
    fn greeting(&self) -> String {
        let site = &self.world.site;
        let date = Civil::local(now_unix()).rfc5322();
        let address = self.client.client_addr.as_str();
        let value = |name: &str| match name {
            "j" => Some(site.host_name.as_str()),
            "w" => Some(site.short_name.as_str()),
            "m" => Some(site.domain.as_str()),
            "b" | "d" => Some(date.as_str()),
            "v" | "Z" => Some(env!("CARGO_PKG_VERSION")),
            "client_addr" => Some(address),
            "client_name" => Some(self.client.client_name.as_str()),
            "daemon_name" => Some(self.daemon.options.name.as_str()),
            other => site.macros.get(other).map(String::as_str),
        };
        let text = macros::expand(self.world.greeting_text(), &value);
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        match text.split_once(' ') {
            Some((host, rest)) => format!("{host} ESMTP {rest}"),
            None => format!("{text} ESMTP"),
        }
    }

    /// A refusal of the client as a whole.
    pub(super) fn refusal(
        &self,
        ruling: &Decision<Outcome>,
        ruleset: &str,
        arg: &str,
    ) -> Option<Refusal> {
        let Outcome::Refuse(refusal) = &ruling.outcome else {
            return None;
        };
        let reply = refusal.reply();
        let text = format!(
            "ruleset={ruleset}, arg1={arg}, arg2={}, relay={}, reject={reply}",
            self.client.client_addr, self.peer
        );
        self.log_ruling(ruling, &text);
        Some(match reply.code {
            421 => Refusal::Close(reply),
            _ => Refusal::Null(reply),
        })
    }

    /// Asks all DNS lists about the client at once, so that their answers are there
    /// when the rules want them one by one.
    async fn ask_lists(&mut self) {
        let std::net::IpAddr::V4(addr) = self.peer.addr else {
            return;
        };
        let [a, b, c, d] = addr.octets();
        let lists = &self.world.site.features.dns_lists;
        let by_address = lists.iter().filter(|l| l.kind != DnsListKind::Rhsbl);
        let mut asked = tokio::task::JoinSet::new();
        for list in by_address {
            let need =
                Need::Addresses(format!("{d}.{c}.{b}.{a}.{}", list.zone).into_bytes().into());
            let world = std::sync::Arc::clone(&self.world);
            let asker = self.asker.clone();
            asked.spawn(async move {
                let answer = world.resolver.answer(&asker, &need).await;
                (need, answer)
            });
        }
        while let Some(done) = asked.join_next().await {
            if let Ok((need, answer)) = done {
                self.facts.add(need, answer);
            }
        }
    }
}
