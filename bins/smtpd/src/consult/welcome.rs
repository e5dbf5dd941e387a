//! What a client is greeted with, offered, or refused.

use std::sync::Arc;

use libmaps::decision::Decision;
use libmaps::policy::check_relay::{check_relay, greet_pause};
use libmaps::policy::facts::Need;
use libmaps::policy::srv_features::{LookupFailed, srv_features};
use libmaps::policy::tls::tls_client;
use libmaps::policy::{Outcome, Policy};
use libmaps::site::model::DnsListKind;

use crate::clock::{Civil, now_unix};
use crate::log::Level;
use crate::macros;
use crate::session::{Fate, Offer, Refusal, StartTls, Welcome};
use crate::tls::Asked;

use super::features::Features;
use super::{Consultant, reply};

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
        if let Some(refusal) = self.refusal(&ruling, "check_relay", &name) {
            welcome.refusal = Some(refusal);
        }
        let closed = matches!(welcome.refusal, Some(Refusal::Close(_)));
        if !self.client.tls.version.is_empty()
            && !closed
            && let Some(refusal) = self.tls_refusal().await
        {
            welcome.refusal = Some(refusal);
        }
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

    /// Whether the client's TLS is not good enough to go on with.
    pub(super) async fn tls_refusal(&mut self) -> Option<Refusal> {
        let ruling = self.settle(tls_client).await;
        self.refusal(&ruling, "tls_client", "STARTTLS")
    }

    /// The greeting and the offers. Refused is who can't be told from one whom the site offers less.
    pub(super) async fn welcome_offers(&mut self) -> Welcome {
        let told = self.features().await;
        let features = told.unwrap_or_else(|_| self.own_features());
        let refusal = told.is_err().then(|| {
            let text = format!("srv_features=tempfail, relay={}", self.peer);
            self.world.log.say(Level::Error, &text);
            Refusal::Null(reply(450, (4, 3, 0), "Please try again later."))
        });
        let start_tls = self.start_tls().await;
        let logins = &self.world.logins;
        Welcome {
            greeting: self.greeting(),
            offers: match logins.is_available() {
                true => features.offers,
                false => features.offers.without(Offer::Auth),
            },
            mechanisms: logins.mechanisms(&self.client.tls, &self.bindings, features.passwords),
            auth: features.auth,
            start_tls,
            fate: Fate::Deliver,
            refusal,
        }
    }

    /// Whether a handshake could be done as the client's entry wants it.
    async fn start_tls(&mut self) -> StartTls {
        let world = Arc::clone(&self.world);
        let Some(tls) = &world.tls else {
            return StartTls::Unavailable;
        };
        if !self.client.tls.version.is_empty() {
            return StartTls::Unavailable;
        }
        let why = match self.tls_features().await {
            Ok(features) if tls.can(&features) => return StartTls::Ready,
            Ok(_) => "no version of TLS is left".to_owned(),
            Err(why) => why,
        };
        let text = format!("tls_srv_features={why}, relay={}", self.peer);
        world.log.say(Level::Error, &text);
        StartTls::Unavailable
    }

    /// What this client gets, by its `Srv_Features:` entry.
    pub(super) async fn features(&mut self) -> Result<Features, LookupFailed> {
        let letters = self.settle(srv_features).await.outcome?;
        let mut features = self.own_features();
        features.switch(&letters.unwrap_or_default(), &self.daemon);
        Ok(features)
    }

    /// What a client gets of whom nothing is said.
    fn own_features(&self) -> Features {
        let srv_options = &self.world.site.options.tls.srv_options;
        Features {
            offers: self.daemon.rules.offers,
            auth: self.daemon.rules.auth,
            passwords: self.world.logins.passwords(),
            asked: match srv_options.has('V') {
                true => Asked::Nothing,
                false => Asked::Certificate,
            },
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
