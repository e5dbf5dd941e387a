//! What is asked of DNS, and what follows: only what can change a decision, and in sendmail's order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::cell::RefCell;
use std::sync::Arc;

use libmaps::address::{Address, ReversePath};
use libmaps::decision::{Decision, Traced};
use libmaps::lhs::Lhs;
use libmaps::map::{Entry, Map};
use libmaps::policy::facts::{Answer, Facts, Need, Session, settle};
use libmaps::policy::maps::Maps;
use libmaps::policy::{Outcome, Policy, Ruling, check_mail, check_rcpt, check_relay};
use libmaps::site::load::load;
use libmaps::store::memory::MemoryMap;

/// Runs a ruleset on a site with these FEATUREs; gives the reply, and the questions that were asked.
fn decide(
    features: &str,
    entries: &[(&str, &str)],
    zone: &[(&str, &[&str])],
    ruleset: impl Fn(Policy<'_>, &Session, &Facts) -> Ruling,
) -> (String, Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    let mc = format!(
        "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.here.example')dnl\nFEATURE(`access_db')dnl\n{features}\n\
         MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
    );
    std::fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let loaded = load(Some(root.path()), None).unwrap();
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    let entries = entries
        .iter()
        .map(|(lhs, rhs)| Entry::new(Lhs::folded(lhs.as_bytes()), *rhs));
    let map = Arc::new(MemoryMap::new("access", entries)) as Arc<dyn Map>;
    let maps = Maps {
        access: Some(Traced::new(map)),
        ..Maps::default()
    };
    let policy = Policy {
        site: &loaded.site,
        maps: &maps,
    };
    let session = Session {
        client_addr: "192.0.2.9".to_owned(),
        client_name: "c.far.example".to_owned(),
        sender: ReversePath::parse(b"<joe@far.example>").unwrap(),
        sender_text: "joe@far.example".to_owned(),
        ..Session::default()
    };
    let asked = RefCell::new(Vec::new());
    let resolve = |need: &Need| {
        let name = String::from_utf8_lossy(need.name()).into_owned();
        let answers = zone.iter().find(|(known, _)| *known == name);
        asked.borrow_mut().push(name);
        match answers {
            None => Answer::NotFound,
            Some((_, ["TEMP"])) => Answer::Temporary,
            Some((_, all)) => Answer::Found(all.iter().map(|a| a.as_bytes().into()).collect()),
        }
    };
    let decision: Decision<Outcome> = settle(&mut Facts::new(), resolve, |facts| {
        ruleset(policy, &session, facts)
    });
    let reply = decision.outcome.reply().map(|reply| reply.to_string());
    (reply.unwrap_or_default(), asked.into_inner())
}

const LISTS: &str = "FEATURE(`dnsbl', `one.example')dnl\nFEATURE(`enhdnsbl', `two.example', `', `t', `127.0.0.2.')dnl";

#[test]
fn lists_are_asked_in_order_until_one_objects() {
    let relay = |zone: &[(&str, &[&str])]| decide(LISTS, &[], zone, check_relay::check_relay);
    let (one, two) = ("9.2.0.192.one.example", "9.2.0.192.two.example");
    assert_eq!(
        relay(&[]),
        (String::new(), vec![one.to_owned(), two.to_owned()])
    );
    let (reply, asked) = relay(&[(one, &["127.0.0.4"])]);
    assert_eq!(reply, "550 5.7.1 Rejected: 192.0.2.9 listed at one.example");
    assert_eq!(asked, [one]);
    let (reply, _) = relay(&[(two, &["127.0.0.4"])]);
    assert_eq!(reply, "", "only 127.0.0.2 counts");
    let (reply, _) = relay(&[(one, &["TEMP"]), (two, &["127.0.0.2"])]);
    assert_eq!(reply, "550 5.7.1 Rejected: 192.0.2.9 listed at two.example");
    let (reply, _) = relay(&[(two, &["TEMP"])]);
    assert_eq!(
        reply,
        "451 4.4.3 Temporary lookup failure of 192.0.2.9 at two.example"
    );
}

#[test]
fn an_entry_that_decides_spares_the_lists() {
    for rhs in ["OK", "RELAY", "REJECT", "ERROR:5.7.1:550 no"] {
        let entries = [("Connect:far.example", rhs)];
        let (_, asked) = decide(LISTS, &entries, &[], check_relay::check_relay);
        assert_eq!(asked, Vec::<String>::new(), "{rhs}");
    }
}

#[test]
fn a_senders_domain_is_resolved_only_where_no_entry_decides() {
    let mail = |entries: &[(&str, &str)], zone: &[(&str, &[&str])]| {
        decide(
            "FEATURE(`nocanonify')dnl",
            entries,
            zone,
            check_mail::check_mail,
        )
    };
    let (reply, asked) = mail(&[], &[]);
    assert_eq!(
        reply,
        "553 5.1.8 Domain of sender address joe@far.example does not exist"
    );
    assert_eq!(asked, ["far.example"]);
    let (reply, _) = mail(&[], &[("far.example", &["TEMP"])]);
    assert_eq!(
        reply,
        "451 4.1.8 Domain of sender address joe@far.example does not resolve"
    );
    assert_eq!(mail(&[], &[("far.example", &["far.example"])]).0, "");
    for (rhs, reply) in [("OK", ""), ("REJECT", "550 5.7.1 Access denied")] {
        let (got, asked) = mail(&[("From:far.example", rhs)], &[]);
        assert_eq!((got.as_str(), asked.len()), (reply, 0), "{rhs}");
    }
}

#[test]
fn who_exchanges_mail_for_a_domain_decides_who_is_relayed_to() {
    let rcpt = |recipient: &str, entries: &[(&str, &str)], zone: &[(&str, &[&str])]| {
        let recipient = Address::parse(recipient.as_bytes()).unwrap();
        let features = "FEATURE(`relay_based_on_MX')dnl\nFEATURE(`nocanonify')dnl";
        let (reply, _) = decide(features, entries, zone, |policy, session, facts| {
            check_rcpt::check_rcpt(policy, session, facts, &recipient)
        });
        reply
    };
    let (ours, theirs) = ("mx.here.example.", "mx.far.example.");
    let denied = "550 5.7.1 Relaying denied";
    let later = "450 4.4.0 Can not check MX records for recipient host mxed.example";
    for (recipient, answer, want) in [
        ("joe@mxed.example", &[ours][..], ""),
        ("joe@mxed.example", &[theirs, ours], ""),
        ("joe@mxed.example", &[theirs], denied),
        ("joe@mxed.example", &["TEMP"], later),
        ("victim%far.example@mxed.example", &[ours], denied),
        ("victim%far.example@mxed.example", &["TEMP"], later),
    ] {
        let zone = [("mxed.example", answer)];
        assert_eq!(rcpt(recipient, &[], &zone), want, "{recipient} {answer:?}");
        // Who may relay anyway is not told to come back.
        let relays = [("Connect:192.0.2.9", "RELAY")];
        let reply = rcpt(recipient, &relays, &zone);
        assert_eq!(reply, "", "{recipient} {answer:?}");
    }
}

#[test]
fn a_mail_exchanger_is_bad_by_any_expression() {
    let mail = |address: &str| {
        let zone = [
            ("far.example", &["mx.far.example"][..]),
            ("mx.far.example", &[address]),
        ];
        let features = "FEATURE(`badmx', `^(127\\.|172\\.(1[6-9]|2[0-9])\\.|10\\.0\\.0\\.1\\.$)')dnl\n\
                        FEATURE(`nocanonify')dnl";
        decide(features, &[], &zone, check_mail::check_mail).0
    };
    let bad = "550 5.1.2 Invalid MX record for host far.example";
    for (address, want) in [
        ("127.0.0.1", bad),
        ("172.20.0.9", bad),
        ("172.40.0.9", ""),
        // The rules see the address with a dot behind it.
        ("10.0.0.1", bad),
        ("10.0.0.12", ""),
    ] {
        assert_eq!(mail(address), want, "{address}");
    }
}
