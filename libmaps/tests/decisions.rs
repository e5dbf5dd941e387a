//! The recordings of sendmail's rulesets, asked of this library.
//!
//! `testdata/conformance/decisions.jsonl` holds random sites and sessions and what sendmail 8.17.1 answered in its
//! test mode. Texts are compared without blanks and quotes, as test mode spreads tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use libmaps::address::{Address, ReversePath};
use libmaps::decision::{Decision, Traced};
use libmaps::lhs::Lhs;
use libmaps::map::{Entry, Map};
use libmaps::policy::facts::{Answer, Facts, Login, Need, Resolve, Session, Tls, settle};
use libmaps::policy::maps::{Handle, Maps};
use libmaps::policy::route::canonify::{Addressing, HostsOnly};
use libmaps::policy::{
    Outcome, Policy, Ruling, check_mail, check_rcpt, check_relay, srv_features, tls, trust_auth,
    try_tls,
};
use libmaps::site::Site;
use libmaps::site::hosts::Hosts;
use libmaps::site::load::load;
use libmaps::store::memory::MemoryMap;
use serde_json::{Value, json};

#[test]
fn every_recorded_decision_is_made_again() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance/decisions.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut passed, mut failed) = (BTreeMap::new(), BTreeMap::new());
    let mut report = String::new();
    for line in text.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let world = World::of(&recorded["files"]);
        for (number, case) in recorded["cases"].as_array().unwrap().iter().enumerate() {
            let session = session(&case["session"]);
            for (field, expected) in case["expect"].as_object().unwrap() {
                let (got, trace) = world.ask(field, &session, &case["session"]);
                if same(expected, &got) {
                    *passed.entry(field.clone()).or_insert(0) += 1;
                    continue;
                }
                *failed.entry(field.clone()).or_insert(0) += 1;
                if report.len() < 8_000 {
                    writeln!(
                        report,
                        "{} case {number} {field}\n  session  {}\n  recorded {expected}\n  answered {got}\n{trace}",
                        recorded["site"], case["session"]
                    )
                    .unwrap();
                }
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{report}\npassed {passed:?}\nfailed {failed:?}"
    );
    assert!(passed.values().sum::<i32>() > 14_000, "{passed:?}");
}

/// What sendmail says of the spellings of one address, as it was asked by hand.
#[test]
fn no_quote_or_backslash_gets_past_an_entry() {
    let world = World::of(&json!({
        "/etc/mail/sendmail.mc": "OSTYPE(`linux')dnl\n\
            define(`confDOMAIN_NAME', `mx.example.org')dnl\n\
            FEATURE(`access_db')dnl\nFEATURE(`blocklist_recipients')dnl\n\
            FEATURE(`accept_unresolvable_domains')dnl\n\
            MAILER(`local')dnl\nMAILER(`smtp')dnl\n",
        "/etc/mail/access": "From:bad@spam.example REJECT\nFrom:worse.example ERROR:550 %0 100%% no\n\
            To:vip@mx.example.org ERROR:5.1.1:550 left the company\n",
        "/etc/hosts": "",
    }));
    let asked = |from: &str, to: &str| {
        json!({"client_addr": "192.0.2.7", "client_name": "c.example", "client_resolve": "OK",
               "mail_from": from, "rcpt_to": to})
    };
    let ask = |field: &str, from: &str, to: &str| {
        let asked = asked(from, to);
        world.ask(field, &session(&asked), &asked).0["action"].clone()
    };
    for (from, want) in [
        ("bad@spam.example", "error"),
        ("\"bad\"@spam.example", "error"),
        ("b\\ad@spam.example", "error"),
        ("\\bad@spam.example", "error"),
        ("bad@sp\\am.example", "error"),
        ("bad@\"spam\".example", "error"),
        ("\"b\\ad\"@sub.spam.example", "accept"),
        ("x@sub.wo\\rse.example", "error"),
        ("good@spam.example", "accept"),
    ] {
        assert_eq!(
            ask("check_mail", from, "joe@mx.example.org"),
            want,
            "{from}"
        );
    }
    for (to, want) in [
        ("vip@mx.example.org", "error"),
        ("\\vip@mx.example.org", "error"),
        ("\"vip\"+x@mx.example.org", "error"),
        ("v\\ip@mx.example.org", "error"),
        ("\"vip+x\"@mx.example.org", "error"),
        ("\"vi\\p\"@\"mx\".example.org", "error"),
        ("vi@mx.example.org", "accept"),
    ] {
        assert_eq!(ask("check_rcpt", "good@spam.example", to), want, "{to}");
    }
}

/// With delay_checks the rules are given `$f`, in which `localhost` has become this host's name.
#[test]
fn a_sender_at_localhost_is_judged_by_what_he_became() {
    for (delay, refused) in [("", true), ("FEATURE(`delay_checks')dnl\n", false)] {
        let world = World::of(&json!({
            "/etc/mail/sendmail.mc": format!(
                "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mail.example.com')dnl\n\
                FEATURE(`accept_unresolvable_domains')dnl\n{delay}\
                LOCAL_DOMAIN(`[127.0.0.1]')dnl\nRELAY_DOMAIN(`127.0.0.3')dnl\n\
                MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
            ),
            "/etc/hosts": "127.0.0.1 localhost\n",
        }));
        let field = if refused { "check_mail" } else { "check_rcpt" };
        for (from, at_localhost) in [
            ("a@localhost", true),
            ("a@[127.0.0.1]", true),
            ("a%x@localhost", true),
            ("a@localhost.UUCP", true),
            ("a@there.example", false),
        ] {
            let asked = json!({"client_addr": "127.0.0.3", "client_name": "c.example",
                "client_resolve": "OK", "mail_from": from, "rcpt_to": "joe@mail.example.com"});
            let (got, trace) = world.ask(field, &session(&asked), &asked);
            let want = match refused && at_localhost {
                true => "error",
                false => "accept",
            };
            assert_eq!(got["action"], want, "{from} {got}\n{trace}");
        }
        // Who has no domain still has none.
        let asked = json!({"client_addr": "127.0.0.3", "client_name": "c.example",
            "client_resolve": "OK", "mail_from": "a", "rcpt_to": "joe@mail.example.com"});
        let (got, _) = world.ask(field, &session(&asked), &asked);
        assert_eq!(got["action"], "error");
    }
}

/// A recorded site.
struct World {
    site: Site,
    maps: Maps,
    hosts: Hosts,
}

impl World {
    fn of(files: &Value) -> Self {
        let file = |path: &str| files[path].as_str().unwrap_or_default();
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files.as_object().unwrap() {
            let path = root.path().join(&path[1..]);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.as_str().unwrap()).unwrap();
        }
        let loaded = load(Some(root.path()), None).unwrap();
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        let site = loaded.site;
        let map = |name: &str| handle(name, file(&format!("/etc/mail/{name}")));
        let features = &site.features;
        let maps = Maps {
            access: features.access.as_ref().map(|_| map("access")),
            mailertable: features.mailertable.as_ref().map(|_| map("mailertable")),
            virtusertable: features
                .virtusertable
                .as_ref()
                .map(|_| map("virtusertable")),
            ..Maps::default()
        };
        World {
            site,
            maps,
            hosts: Hosts::parse(file("/etc/hosts").as_bytes()),
        }
    }

    fn resolve(&self, need: &Need) -> Answer {
        let name = std::str::from_utf8(need.name()).unwrap_or_default();
        let found = match need {
            Need::Host(_) => self.hosts.canonical(name, &self.site.domain),
            _ => None,
        };
        match found {
            Some(name) => Answer::Found(vec![name.into_bytes().into()]),
            None => Answer::NotFound,
        }
    }

    fn settle<T>(&self, ruleset: impl Fn(Policy<'_>, &Facts) -> Ruling<T>) -> Decision<T> {
        let policy = Policy {
            site: &self.site,
            maps: &self.maps,
        };
        settle(
            &mut Facts::new(),
            |need| self.resolve(need),
            |facts| ruleset(policy, facts),
        )
    }

    fn ask(&self, field: &str, session: &Session, asked: &Value) -> (Value, String) {
        let recipient = || Address::parse(asked["rcpt_to"].as_str().unwrap().as_bytes()).unwrap();
        let decision = match field {
            "check_relay" => self.settle(|p, f| check_relay::check_relay(p, session, f)),
            "tls_client" => self.settle(|p, f| tls::tls_client(p, session, f)),
            "check_mail" => self.settle(|p, f| check_mail::check_mail(p, session, f)),
            "check_rcpt" => {
                let to = recipient();
                self.settle(|p, f| check_rcpt::check_rcpt(p, session, f, &to))
            }
            "trust_auth" => self.settle(|p, f| trust_auth::trust_auth(p, session, f, b"joe")),
            "try_tls" => self.settle(|p, f| try_tls::try_tls(p, session, f)),
            "tls_server" => self.settle(|p, f| tls::tls_server(p, session, f)),
            "tls_rcpt" => {
                let to = recipient();
                self.settle(|p, f| tls::tls_rcpt(p, session, f, &to))
            }
            "srv_features" => {
                let decision = self.settle(|p, f| srv_features::srv_features(p, session, f));
                let letters = decision.outcome.unwrap_or_else(|_| Some("temp".into()));
                let value = letters.map(|letters| letters.to_string());
                return (
                    json!({"action": "accept", "value": value}),
                    decision.trace.to_string(),
                );
            }
            "route" => {
                let tables = self.maps.route_tables();
                let names = HostsOnly {
                    hosts: &self.hosts,
                    domain: &self.site.domain,
                };
                let addressing = Addressing {
                    site: &self.site,
                    tables: &tables,
                    names: &names,
                    daemon_flags: &session.daemon_flags,
                };
                let to = asked["rcpt_to"].as_str().unwrap();
                let decision = addressing.route(to.as_bytes()).unwrap();
                let triple = decision.outcome;
                let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
                let got = match triple.leads_nowhere() {
                    true => json!({"mailer": "error", "host": "", "user": ""}),
                    false => {
                        json!({"mailer": triple.mailer, "host": text(&triple.host), "user": text(&triple.user)})
                    }
                };
                return (got, decision.trace.to_string());
            }
            _ => panic!("no ruleset {field}"),
        };
        (verdict(&decision.outcome), decision.trace.to_string())
    }
}

fn verdict(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Accept => json!({"action": "accept"}),
        Outcome::Discard => json!({"action": "discard"}),
        Outcome::Quarantine(reason) => json!({"action": "quarantine", "reason": &**reason}),
        Outcome::Refuse(refusal) => {
            json!({"action": "error", "at": &*refusal.at, "message": &*refusal.text})
        }
        Outcome::Delayed => Value::Null,
    }
}

fn same(expected: &Value, got: &Value) -> bool {
    let squashed = |value: &Value| -> String {
        let text = value.as_str().unwrap_or_default();
        text.chars()
            .filter(|c| !c.is_whitespace() && *c != '"')
            .collect()
    };
    if expected.is_null() || got.is_null() {
        return expected == got;
    }
    let host = |value: &Value| {
        squashed(&value["host"])
            .trim_end_matches('.')
            .to_lowercase()
    };
    expected["action"] == got["action"]
        && expected["mailer"] == got["mailer"]
        && host(expected) == host(got)
        && ["at", "message", "reason", "value", "user"]
            .iter()
            .all(|key| {
                expected.get(key).is_none() || squashed(&expected[key]) == squashed(&got[key])
            })
}

fn session(asked: &Value) -> Session {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let from = text(asked, "mail_from");
    let mut session = Session {
        client_addr: text(asked, "client_addr"),
        client_name: text(asked, "client_name"),
        client_resolve: match text(asked, "client_resolve").as_str() {
            "OK" => Resolve::Ok,
            "FAIL" => Resolve::Fail,
            "FORGED" => Resolve::Forged,
            _ => Resolve::Temp,
        },
        server_name: text(asked, "server_name"),
        server_addr: text(asked, "server_addr"),
        daemon_flags: text(asked, "daemon_flags"),
        sender: ReversePath::parse(from.as_bytes()).unwrap(),
        sender_text: format!("<{from}>"),
        ..Session::default()
    };
    if let Some(auth) = asked.get("auth") {
        session.login = Some(Login {
            mechanism: text(auth, "mechanism"),
            authid: text(auth, "authid"),
            author: String::new(),
            bits: auth["ssf"].as_u64().unwrap() as u32,
        });
    }
    if let Some(tls) = asked.get("tls") {
        session.tls = Tls {
            version: text(tls, "version"),
            cipher: text(tls, "cipher"),
            bits: tls["cipher_bits"].as_u64().unwrap() as u32,
            verify: text(tls, "verify"),
            cn_subject: text(tls, "cn_subject"),
            cert_subject: text(tls, "cert_subject"),
            cn_issuer: text(tls, "cn_issuer"),
            cert_issuer: text(tls, "cert_issuer"),
            altnames: Vec::new(),
        };
    }
    session
}

fn handle(name: &str, source: &str) -> Handle {
    let entries = source.lines().filter_map(|line| {
        let (lhs, rhs) = line.split_once([' ', '\t'])?;
        Some(Entry::new(Lhs::folded(lhs.as_bytes()), rhs.trim()))
    });
    Traced::new(Arc::new(MemoryMap::new(name, entries)) as Arc<dyn Map>)
}
