//! How long the decisions of a session take on a warm access map of a million entries.
//!
//! `cargo bench -p libmaps --bench decisions`; the promise is under 5 microseconds for a decision, over all
//! rulesets of a session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Instant;

use libmaps::address::{Address, ReversePath};
use libmaps::build::{Builder, Start};
use libmaps::map::MapClass;
use libmaps::policy::facts::{Answer, Facts, Need, Session};
use libmaps::policy::maps::Maps;
use libmaps::policy::route::canonify::{Addressing, NoNames};
use libmaps::policy::{
    Policy, check_mail, check_rcpt, check_relay, srv_features, tls, trust_auth, try_tls,
};
use libmaps::site::load::load;
use libmaps::store::publish::Options;

const ENTRIES: u32 = 1_000_000;
const SESSIONS: u32 = 20_000;
/// check_relay to route.
const DECISIONS: u32 = 10;

fn main() {
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    std::fs::create_dir_all(&mail).unwrap();
    std::fs::write(
        mail.join("sendmail.mc"),
        "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.example.org')dnl\n\
         FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\nFEATURE(`blocklist_recipients')dnl\n\
         LOCAL_DOMAIN(`example.org')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n",
    )
    .unwrap();
    let options = Options::new(MapClass::Hash, "bench");
    let mut builder = Builder::open(&mail.join("access.db"), Start::Empty, options).unwrap();
    for number in 0..ENTRIES {
        let tag = ["from", "to", "connect"][number as usize % 3];
        let lhs = format!("{tag}:host{number}.spam{}.example", number % 1_000);
        builder
            .put(lhs.as_bytes(), b"REJECT", u64::from(number) + 1)
            .unwrap();
    }
    builder.publish(None).unwrap();
    let site = load(Some(root.path()), None).unwrap().site;
    let maps = Maps::open(&site).unwrap();
    let policy = Policy {
        site: &site,
        maps: &maps,
    };
    let tables = maps.route_tables();
    let addressing = Addressing {
        site: &site,
        tables: &tables,
        names: &NoNames,
        daemon_flags: "",
    };
    let to = Address::parse(b"<joe+list@example.org>").unwrap();
    let mut facts = Facts::new();
    for name in ["example.org", "mail.sender.example", "sender.example"] {
        let answer = Answer::Found(vec![name.as_bytes().into()]);
        facts.add(Need::Host(name.as_bytes().into()), answer);
    }
    let mut probes = 0;
    let mut session_of = |number: u32| {
        let session = Session {
            client_addr: format!("203.0.{}.{}", number % 256, number / 256 % 256),
            client_name: "mail.sender.example".to_owned(),
            server_name: "mx.sender.example".to_owned(),
            server_addr: "203.0.113.9".to_owned(),
            sender: ReversePath::parse(b"<news@sender.example>").unwrap(),
            sender_text: "news@sender.example".to_owned(),
            ..Session::default()
        };
        let (s, f) = (&session, &facts);
        let mut count = |trace: &libmaps::decision::Trace| probes += trace.probes().len();
        count(&check_relay::check_relay(policy, s, f).unwrap().trace);
        count(&srv_features::srv_features(policy, s, f).unwrap().trace);
        count(&tls::tls_client(policy, s, f).unwrap().trace);
        count(&check_mail::check_mail(policy, s, f).unwrap().trace);
        count(&trust_auth::trust_auth(policy, s, f, b"joe").unwrap().trace);
        count(&check_rcpt::check_rcpt(policy, s, f, &to).unwrap().trace);
        count(&try_tls::try_tls(policy, s, f).unwrap().trace);
        count(&tls::tls_server(policy, s, f).unwrap().trace);
        count(&tls::tls_rcpt(policy, s, f, &to).unwrap().trace);
        count(&addressing.route(b"joe+list@example.org").unwrap().trace);
    };
    (0..SESSIONS / 10).for_each(&mut session_of);
    let start = Instant::now();
    (0..SESSIONS).for_each(&mut session_of);
    let spent = start.elapsed();
    let session = spent / SESSIONS;
    println!(
        "{ENTRIES} entries: {session:?} for a session of {DECISIONS} decisions, {:?} for a decision, {} probes a session",
        session / DECISIONS,
        probes / (SESSIONS + SESSIONS / 10) as usize
    );
}
