//! From a request to an action: the rulesets of the moment, on the newest maps.

use std::net::IpAddr;
use std::sync::Arc;

use libmaps::address::{Address, AddressError, ReversePath};
use libmaps::decision::{Asked, Decision, Probe, Trace};
use libmaps::map::StoreError;
use libmaps::policy::facts::{self, Answer, Facts, Login, Need, Resolve, Session, Tls};
use libmaps::policy::live_classes::LiveClasses;
use libmaps::policy::live_maps::{LiveMaps, at_once};
use libmaps::policy::{Outcome, Policy, Ruling, check_mail, check_rcpt, check_relay, tls};
use libmaps::site::Site;
use libmaps::site::machine::domain_literal;

use super::PolicyRequest;
use super::internal_form::{is_plain, quoted};
use crate::consult::addresses_of;

/// The values of `protocol_state` at which there is something to decide; at others nothing is.
pub const MOMENTS: [&str; 5] = ["CONNECT", "HELO", "EHLO", "MAIL", "RCPT"];

/// How much of each decision is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Decisions against a client, with what decided.
    Refusals,
    /// Every decision, with every probe.
    Everything,
}

/// The decisions of a site.
pub struct PolicyService {
    site: Arc<Site>,
    classes: LiveClasses,
    maps: LiveMaps,
    verbosity: Verbosity,
    report: fn(&str),
}

/// A decision, and why.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What is to happen.
    pub outcome: Outcome,
    /// The ruleset that says so.
    pub ruleset: &'static str,
    /// The last probe that found something.
    pub because: Option<String>,
    /// Whether the recipient was judged, and relaying with it.
    pub judged: Judged,
    /// Every probe, a line each.
    pub trace: String,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The client, and perhaps the sender.
    Client,
    /// The recipient, too.
    Recipient,
}

/// A ruleset's part in an answer.
struct Ruled {
    ruleset: &'static str,
    decision: Decision<Outcome>,
}

impl PolicyService {
    /// The decisions of this site.
    ///
    /// # Errors
    /// When a map that must be there can't be opened: without it strangers would be let in.
    pub fn of(site: Arc<Site>, verbosity: Verbosity, report: fn(&str)) -> Result<Self, StoreError> {
        Ok(PolicyService {
            maps: LiveMaps::open(&site, &at_once)?,
            classes: LiveClasses::of(&site),
            site,
            verbosity,
            report,
        })
    }

    /// Says it where this service's words go.
    pub(super) fn report(&self, text: &str) {
        (self.report)(text);
    }

    /// What Postfix is to do: the value of `action=`.
    #[must_use]
    pub fn action(&self, request: &PolicyRequest) -> String {
        let judgement = self.judge(request);
        // Where Postfix might read the recipient otherwise than our rules, an OK were a relay.
        let permitted =
            request.get("policy_context") == "permit" && is_plain(request.get("recipient"));
        let action = match &judgement.outcome {
            Outcome::Refuse(refusal) => {
                let reply = refusal.reply();
                let text = reply.lines.join(" ");
                match (reply.code / 100, reply.status) {
                    (4 | 5, Some(status)) => format!("{} {status} {text}", reply.code),
                    (4 | 5, None) => format!("{} {text}", reply.code),
                    _ => format!("451 4.3.0 {text}"),
                }
            }
            Outcome::Discard => "DISCARD by the access map".to_owned(),
            Outcome::Quarantine(why) => format!("HOLD {why}"),
            Outcome::Accept | Outcome::Delayed => match judgement.judged {
                Judged::Recipient if permitted => "OK".to_owned(),
                _ => "DUNNO".to_owned(),
            },
        };
        self.log(request, &action, &judgement);
        action
    }

    /// What is to happen to a client, sender or recipient, and why.
    #[must_use]
    pub fn judge(&self, request: &PolicyRequest) -> Judgement {
        let rulings = self.rulings(request);
        let weight = |ruled: &&Ruled| match ruled.decision.outcome {
            Outcome::Refuse(_) => 3,
            Outcome::Discard => 2,
            Outcome::Quarantine(_) => 1,
            Outcome::Accept | Outcome::Delayed => 0,
        };
        // The first of the gravest counts, as in a session.
        let gravest = rulings.iter().rev().max_by_key(weight);
        // The entry, not what its word REJECT stands for, which is noted behind it.
        let decides = |probe: &Probe| probe.hit() && !matches!(probe.asked, Asked::Fact("REJECT"));
        let last = gravest.and_then(|ruled| ruled.probes().rfind(decides));
        let lines = rulings.iter().flat_map(|ruled| {
            let line = |probe| printable(&format!("{}: {probe}", ruled.ruleset));
            ruled.probes().map(line)
        });
        Judgement {
            outcome: gravest.map_or(Outcome::Accept, |ruled| ruled.decision.outcome.clone()),
            ruleset: gravest.map_or("", |ruled| ruled.ruleset),
            because: last.map(|probe| printable(&probe.to_string())),
            judged: match rulings.iter().any(|ruled| ruled.ruleset == "check_rcpt") {
                true => Judged::Recipient,
                false => Judged::Client,
            },
            trace: lines.collect::<Vec<_>>().join("\n"),
        }
    }

    /// The rulesets that the moment asks for, in the order of a session.
    fn rulings(&self, request: &PolicyRequest) -> Vec<Ruled> {
        let kept = |error: &StoreError| {
            (self.report)(&format!("policy: map kept as it was: {error}"));
        };
        let maps = self.maps.snapshot(kept);
        let site = self
            .classes
            .site(|news| (self.report)(&format!("policy: {news}")));
        let policy = Policy {
            site: &site,
            maps: &maps,
        };
        let sender = quoted(request.get("sender"));
        let recipient = quoted(request.get("recipient"));
        let from = ReversePath::parse(sender.as_bytes());
        let mut session = self.session(request);
        session.sender_text = format!("<{sender}>");
        if let Ok(path) = &from {
            session.sender = path.clone();
        }
        let session = &session;
        let mut known = Facts::new();
        let mut rulings = Vec::new();
        let mut rule = |ruleset, ask: &dyn Fn(&Facts) -> Ruling| {
            let decision = facts::settle(&mut known, |need| self.resolve(need), ask);
            rulings.push(Ruled { ruleset, decision });
        };
        let moment = request.get("protocol_state");
        if !MOMENTS.contains(&moment) {
            return rulings;
        }
        // Without an address it would be mail of this host itself, which may go anywhere.
        if session.client_addr.is_empty() {
            let outcome = Outcome::refuse("4.3.5", "451 The request names no client_address");
            rule("request", &|_| {
                Ok(Decision::new(outcome.clone(), Trace::new()))
            });
            return rulings;
        }
        rule("check_relay", &|facts| {
            check_relay::check_relay(policy, session, facts)
        });
        if !session.tls.version.is_empty() {
            rule("tls_client", &|facts| {
                tls::tls_client(policy, session, facts)
            });
        }
        if !matches!(moment, "MAIL" | "RCPT") {
            return rulings;
        }
        match &from {
            Ok(_) => rule("check_mail", &|facts| {
                check_mail::check_mail(policy, session, facts)
            }),
            Err(error) => rule("check_mail", &|_| Ok(no_address(*error))),
        }
        if moment != "RCPT" {
            return rulings;
        }
        match (recipient.as_str(), Address::parse(recipient.as_bytes())) {
            ("", _) => rule("check_rcpt", &|_| {
                let outcome = Outcome::refuse("nouser", "553 User address required");
                Ok(Decision::new(outcome, Trace::new()))
            }),
            (_, Ok(to)) => rule("check_rcpt", &|facts| {
                check_rcpt::check_rcpt(policy, session, facts, &to)
            }),
            (_, Err(error)) => rule("check_rcpt", &|_| Ok(no_address(error))),
        }
        rulings
    }

    /// What the request says, in sendmail's words.
    fn session(&self, request: &PolicyRequest) -> Session {
        let known =
            |name: &str| Some(request.get(name)).filter(|v| !v.is_empty() && *v != "unknown");
        let compressed = self.site.options.addresses.compressed_ipv6;
        let address = request.get("client_address").parse::<IpAddr>().ok();
        let literal = address.map_or(String::new(), |ip| domain_literal(ip, compressed));
        let verified = known("client_name");
        let reverse = known("reverse_client_name").or(verified);
        Session {
            client_addr: literal.trim_matches(['[', ']']).to_owned(),
            client_name: verified.map_or_else(|| literal.clone(), str::to_owned),
            client_ptr: reverse.unwrap_or_default().to_owned(),
            client_resolve: match (verified, reverse) {
                (Some(_), _) => Resolve::Ok,
                (None, Some(_)) => Resolve::Forged,
                (None, None) => Resolve::Fail,
            },
            helo: request.get("helo_name").to_owned(),
            login: known("sasl_username").map(|authid| Login {
                mechanism: request.get("sasl_method").to_ascii_uppercase(),
                authid: authid.to_owned(),
                author: String::new(),
                bits: 0,
            }),
            tls: tls_of(request),
            ..Session::default()
        }
    }

    /// DNS lists are asked by the system's resolver. Whether a sender's domain exists is for
    /// Postfix's reject_unknown_sender_domain, which knows MX records; here it is believed.
    fn resolve(&self, need: &Need) -> Answer {
        match need {
            Need::Host(name) => Answer::Found(vec![name.clone()]),
            Need::Addresses(name) => match std::str::from_utf8(name) {
                Ok(name) => addresses_of(name),
                Err(_) => Answer::NotFound,
            },
            _ => Answer::NotFound,
        }
    }

    fn log(&self, request: &PolicyRequest, action: &str, judgement: &Judgement) {
        let everything = self.verbosity == Verbosity::Everything;
        if !everything && matches!(action, "DUNNO" | "OK") {
            return;
        }
        let because = judgement.because.as_ref();
        let line = format!(
            "policy client={}[{}] from=<{}> to=<{}> ruleset={} action=\"{action}\"{}",
            request.get("client_name"),
            request.get("client_address"),
            request.get("sender"),
            request.get("recipient"),
            judgement.ruleset,
            because.map_or(String::new(), |probe| format!(" because=\"{probe}\"")),
        );
        (self.report)(&printable(&line));
        if everything {
            for probe in judgement.trace.lines() {
                (self.report)(&format!("policy   {probe}"));
            }
        }
    }
}

impl Ruled {
    fn probes(&self) -> impl DoubleEndedIterator<Item = Probe> + '_ {
        self.decision.trace.probes()
    }
}

fn no_address(error: AddressError) -> Decision<Outcome> {
    Decision::new(Outcome::not_an_address(error), Trace::new())
}

/// Postfix tells subject and issuer of a certificate only where it has verified it. Distinguished
/// names it does not tell, so nobody relays by a `CERTIssuer:` entry.
fn tls_of(request: &PolicyRequest) -> Tls {
    let version = request.get("encryption_protocol");
    if version.is_empty() {
        return Tls::default();
    }
    let certificate = ["ccert_fingerprint", "ccert_pubkey_fingerprint"];
    let shown = certificate.iter().any(|name| !request.get(name).is_empty());
    let verify = match (request.get("ccert_subject"), shown) {
        ("", false) => "NO",
        ("", true) => "FAIL",
        _ => "OK",
    };
    Tls {
        version: version.to_owned(),
        cipher: request.get("encryption_cipher").to_owned(),
        bits: request.get("encryption_keysize").parse().unwrap_or(0),
        verify: verify.to_owned(),
        cn_subject: request.get("ccert_subject").to_owned(),
        cn_issuer: request.get("ccert_issuer").to_owned(),
        ..Tls::default()
    }
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
