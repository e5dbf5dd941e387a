//! Any octets as a client's names, addresses and answers of DNS: every ruleset comes to a
//! decision in bounded rounds, and its reply can be sent.
//!
//! `testdata/scripts/fuzz-all facts`
#![no_main]

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use libmaps::address::{Address, ReversePath};
use libmaps::decision::Traced;
use libmaps::lhs::Lhs;
use libmaps::map::{Entry, Map};
use libmaps::policy::facts::{Answer, Facts, Need, Resolve, Session, settle};
use libmaps::policy::maps::Maps;
use libmaps::policy::{Policy, Ruling, check_mail, check_rcpt, check_relay, tls, trust_auth};
use libmaps::site::{Machine, Site, mc};
use libmaps::store::memory::MemoryMap;

const TEXT: &str = "OSTYPE(linux)dnl
define(`confDOMAIN_NAME', `mx.here.example')dnl
FEATURE(`access_db')dnl
FEATURE(`delay_checks', `friend')dnl
FEATURE(`blocklist_recipients')dnl
FEATURE(`relay_based_on_MX')dnl
FEATURE(`dnsbl', `one.example')dnl
FEATURE(`enhdnsbl', `two.example', `', `t', `127.0.0.2.')dnl
LOCAL_DOMAIN(`here.example')dnl
MAILER(local)dnl
MAILER(smtp)dnl
";

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("sendmail.mc");
    mc::read(Some(root.path()), &path, TEXT.into(), &Machine::default()).site
});

static MAPS: LazyLock<Maps> = LazyLock::new(|| {
    let entries = [
        ("Connect:192.168", "RELAY"),
        ("Connect:bad.example", "REJECT"),
        ("From:spam.example", "550 5.7.1 no"),
        ("From:a@", "DISCARD"),
        ("To:joe@here.example", "ERROR:4.2.1:450 later"),
        ("Spam:here.example", "FRIEND"),
        ("TLS_Clt:tls.example", "VERIFY:128+CN"),
    ];
    let entries = entries
        .iter()
        .map(|(lhs, rhs)| Entry::new(Lhs::folded(lhs.as_bytes()), *rhs));
    let map = Arc::new(MemoryMap::new("access", entries)) as Arc<dyn Map>;
    Maps {
        access: Some(Traced::new(map)),
        ..Maps::default()
    }
});

fn decide(rounds: &Cell<u32>, answers: &[&[u8]], ruleset: impl Fn(&Facts) -> Ruling) {
    let mut at = 0;
    let resolve = |_: &Need| {
        rounds.set(rounds.get() + 1);
        assert!(rounds.get() < 10_000, "endless questions");
        let said = answers.get(at).copied().unwrap_or_default();
        at += 1;
        match said.split_first() {
            None => Answer::NotFound,
            Some((b'?', _)) => Answer::Temporary,
            Some(_) => Answer::Found(
                said.split(|c| *c == b' ')
                    .take(100)
                    .map(Into::into)
                    .collect(),
            ),
        }
    };
    let decision = settle(&mut Facts::new(), resolve, ruleset);
    if let Some(reply) = decision.outcome.reply() {
        assert!((400..600).contains(&reply.code));
        let text = reply.to_string();
        let own = text.trim_end_matches("\r\n");
        assert!(!own.bytes().any(|c| c < b' ' && c != b'\t'), "{text:?}");
    }
}

fuzz_target!(|octets: &[u8]| {
    let lines: Vec<&[u8]> = octets.split(|c| *c == b'\n').collect();
    let line = |at: usize| lines.get(at).copied().unwrap_or_default();
    let text = |at: usize| String::from_utf8_lossy(line(at)).replace(|c: char| c.is_control(), "");
    let sender = ReversePath::parse(line(3));
    let session = Session {
        client_addr: text(0),
        client_name: text(1),
        client_ptr: text(1),
        client_resolve: [Resolve::Ok, Resolve::Forged, Resolve::Temp, Resolve::Fail]
            [line(2).len() % 4],
        helo: text(2),
        sender_text: text(3),
        sender: sender.unwrap_or(ReversePath::Null),
        ..Session::default()
    };
    let policy = Policy {
        site: &SITE,
        maps: &MAPS,
    };
    let answers = lines.get(5..).unwrap_or_default();
    let rounds = Cell::new(0);
    decide(&rounds, answers, |f| {
        check_relay::check_relay(policy, &session, f)
    });
    decide(&rounds, answers, |f| tls::tls_client(policy, &session, f));
    decide(&rounds, answers, |f| {
        check_mail::check_mail(policy, &session, f)
    });
    decide(&rounds, answers, |f| {
        trust_auth::trust_auth(policy, &session, f, line(4))
    });
    if let Ok(recipient) = Address::parse(line(4)) {
        decide(&rounds, answers, |f| {
            check_rcpt::check_rcpt(policy, &session, f, &recipient)
        });
    }
});
