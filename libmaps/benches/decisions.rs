//! How long the ten answers of one session take on warm maps of a million entries.
//!
//! `ENTRIES` sets another number of entries, `SESSIONS` how many sessions a run asks about.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use libmaps::address::{Address, ReversePath};
use libmaps::build::{Builder, Start};
use libmaps::map::MapClass;
use libmaps::policy::check_mail::check_mail;
use libmaps::policy::check_rcpt::check_rcpt;
use libmaps::policy::check_relay::check_relay;
use libmaps::policy::facts::{Answer, Facts, Need, Session, settle};
use libmaps::policy::maps::Maps;
use libmaps::policy::route::canonify::{Addressing, NoNames};
use libmaps::policy::srv_features::srv_features;
use libmaps::policy::tls::{tls_client, tls_rcpt, tls_server};
use libmaps::policy::trust_auth::trust_auth;
use libmaps::policy::try_tls::try_tls;
use libmaps::policy::{Outcome, Policy};
use libmaps::site::{Site, load};
use libmaps::store::publish::Options;

const MC: &str = "OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mail.example.com')dnl
define(`confCR_FILE', `-o /nowhere')dnl
LOCAL_DOMAIN(`example.com')dnl
VIRTUSER_DOMAIN(`shop.example')dnl
FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl
FEATURE(`blocklist_recipients')dnl
FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl
FEATURE(`virtusertable', `hash /etc/mail/virtusertable')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
";

/// The answers of one session.
const ANSWERS: u32 = 10;
const ROUNDS: u32 = 5;

fn main() {
    let entries = number("ENTRIES", 1_000_000);
    let sessions = number("SESSIONS", 20_000);
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    fs::create_dir_all(&mail).unwrap();
    fs::write(mail.join("sendmail.mc"), MC).unwrap();
    build(&mail.join("access.db"), entries, |n| {
        (format!("from:host{n:07}.example"), "REJECT")
    });
    build(&mail.join("mailertable.db"), entries, |n| {
        (format!("host{n:07}.example"), "esmtp:[10.0.0.1]")
    });
    build(&mail.join("virtusertable.db"), entries, |n| {
        (format!("user{n:07}@shop.example"), "joe")
    });
    let loaded = load(Some(root.path()), None).unwrap();
    assert!(!loaded.has_errors(), "{:#?}", loaded.diagnostics);
    let site = loaded.site;
    let maps = Maps::open(&site).unwrap();
    for round in 0..=ROUNDS {
        let started = Instant::now();
        for n in 0..sessions {
            ask(&site, &maps, n.wrapping_mul(2_654_435_761) % entries);
        }
        let spent = started.elapsed();
        // The first round warms the maps.
        if round > 0 {
            let session = spent.as_secs_f64() * 1e6 / f64::from(sessions);
            println!(
                "{entries} entries a map: {session:.2} us a session, {:.2} us a decision",
                session / f64::from(ANSWERS)
            );
        }
    }
}

fn number(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn build(path: &Path, entries: u32, entry: impl Fn(u32) -> (String, &'static str)) {
    let options = Options::new(MapClass::Hash, "bench");
    let mut builder = Builder::open(path, Start::Empty, options).unwrap();
    for n in 0..entries {
        let (lhs, rhs) = entry(n);
        builder
            .put(lhs.as_bytes(), rhs.as_bytes(), u64::from(n) + 1)
            .unwrap();
    }
    builder.publish(None).unwrap();
}

/// A client that is relayed for nobody, its sender found at the other end of the map, a virtual recipient here.
fn ask(site: &Site, maps: &Maps, n: u32) {
    let policy = Policy { site, maps };
    let name = format!("mx{n}.host{n:07}.example");
    let from = format!("someone@host{:07}.example", n ^ 0x4000_0000);
    let to = format!("user{n:07}@shop.example");
    let session = Session {
        client_addr: format!("198.51.{}.{}", n >> 8 & 0xff, n & 0xff),
        client_ptr: name.clone(),
        helo: name.clone(),
        client_name: name,
        server_name: format!("mx.host{n:07}.example"),
        server_addr: "203.0.113.25".to_owned(),
        sender: ReversePath::parse(from.as_bytes()).unwrap(),
        sender_text: format!("<{from}>"),
        ..Session::default()
    };
    let recipient = Address::parse(to.as_bytes()).unwrap();
    let mut facts = Facts::new();
    let found = |need: &Need| Answer::Found(vec![need.name().into()]);
    let relay = settle(&mut facts, found, |f| check_relay(policy, &session, f));
    let client = settle(&mut facts, found, |f| tls_client(policy, &session, f));
    let mail = settle(&mut facts, found, |f| check_mail(policy, &session, f));
    let rcpt = settle(&mut facts, found, |f| {
        check_rcpt(policy, &session, f, &recipient)
    });
    assert_eq!(mail.outcome, Outcome::Accept);
    assert_eq!(rcpt.outcome, Outcome::Accept);
    let _ = black_box((relay, client, mail, rcpt));
    let _ = black_box(settle(&mut facts, found, |f| {
        trust_auth(policy, &session, f, b"joe")
    }));
    let _ = black_box(settle(&mut facts, found, |f| {
        srv_features(policy, &session, f)
    }));
    let _ = black_box(settle(&mut facts, found, |f| try_tls(policy, &session, f)));
    let _ = black_box(settle(&mut facts, found, |f| {
        tls_server(policy, &session, f)
    }));
    let _ = black_box(settle(&mut facts, found, |f| {
        tls_rcpt(policy, &session, f, &recipient)
    }));
    let tables = maps.route_tables();
    let addressing = Addressing {
        site,
        tables: &tables,
        names: &NoNames,
        daemon_flags: "",
    };
    let route = addressing.route(to.as_bytes()).unwrap();
    assert_eq!(route.outcome.user, b"joe");
    let _ = black_box(route);
}
