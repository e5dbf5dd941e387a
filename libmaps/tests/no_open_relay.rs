//! No spelling of a recipient makes a stranger's mail leave this host.
//!
//! The client is not logged in, not local and not marked RELAY, and neither is the recipient's domain. What
//! check_rcpt then accepts must be mail that stays here, as `route` says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::sync::Arc;

use libmaps::address::{Address, ReversePath};
use libmaps::decision::Traced;
use libmaps::lhs::Lhs;
use libmaps::map::{Entry, Map};
use libmaps::policy::facts::{Answer, Facts, Resolve, Session, settle};
use libmaps::policy::maps::Maps;
use libmaps::policy::route::MailerTriple;
use libmaps::policy::route::canonify::{Addressing, NoNames};
use libmaps::policy::{Outcome, Policy, check_rcpt};
use libmaps::site::Site;
use libmaps::site::load::load;
use libmaps::store::memory::MemoryMap;
use proptest::prelude::*;

/// Pieces that addresses are made of; `here.example` is local, `far.example` is not.
const PIECES: &[&str] = &[
    "u",
    "joe",
    "here.example",
    "far.example",
    "[127.0.0.1]",
    "[192.0.2.9]",
    "[IPv6:2001:db8::1]",
    "localhost",
    "UUCP",
    "sub.here.example",
    "%",
    "%",
    "!",
    "@",
    "@",
    "\"",
    "\"",
    ":",
    ",",
    "+",
    ".",
    "..",
    "\\",
    " ",
    "(",
    ")",
    "<",
    ">",
    ";",
    "/",
    "=",
    "::",
    "x.UUCP",
    "include",
    "*LOCAL*",
    "$j",
    "\u{e9}",
    "REDIRECT",
];

const FEATURES: &[&str] = &[
    "FEATURE(`delay_checks')",
    "FEATURE(`blocklist_recipients')",
    "FEATURE(`relay_hosts_only')",
    "FEATURE(`relay_entire_domain')",
    "FEATURE(`nouucp', `reject')",
    "FEATURE(`nouucp', `nospecial')",
    "FEATURE(`nopercenthack', `reject')",
    "FEATURE(`nopercenthack', `nospecial')",
    "FEATURE(`nocanonify')",
    "FEATURE(`accept_unresolvable_domains')",
    "FEATURE(`stickyhost')",
    "FEATURE(`relay_based_on_MX')",
];

struct World {
    site: Site,
    maps: Maps,
}

fn world(features: &[&str], entries: &[(String, &str)]) -> World {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    let mc = format!(
        "OSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME', `mx.here.example')dnl\nFEATURE(`access_db')dnl\n{}\n\
         Cwhere.example\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n",
        features.join("\n")
    )
    .replace("Cwhere", "LOCAL_DOMAIN(`here.example')dnl\ndnl ");
    std::fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    let loaded = load(Some(root.path()), None).unwrap();
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    assert!(loaded.site.classes.local_hosts.contains(b"here.example"));
    let entries = entries
        .iter()
        .map(|(lhs, rhs)| Entry::new(Lhs::folded(lhs.as_bytes()), *rhs));
    World {
        site: loaded.site,
        maps: Maps {
            access: Some(Traced::new(
                Arc::new(MemoryMap::new("access", entries)) as Arc<dyn Map>
            )),
            ..Maps::default()
        },
    }
}

/// Where a recipient's mail goes that a stranger may write to; `None` if it may not.
fn accepted_by(world: &World, recipient: &[u8]) -> Option<MailerTriple> {
    let address = Address::parse(recipient).ok()?;
    let session = Session {
        client_addr: "203.0.113.9".to_owned(),
        client_name: "host.far.example".to_owned(),
        client_resolve: Resolve::Ok,
        sender: ReversePath::parse(b"<joe@here.example>").unwrap(),
        sender_text: "joe@here.example".to_owned(),
        ..Session::default()
    };
    let policy = Policy {
        site: &world.site,
        maps: &world.maps,
    };
    let decision = settle(
        &mut Facts::new(),
        |_| Answer::NotFound,
        |facts| check_rcpt::check_rcpt(policy, &session, facts, &address),
    );
    // What is dropped goes nowhere either.
    if matches!(decision.outcome, Outcome::Refuse(_) | Outcome::Discard) {
        return None;
    }
    let tables = world.maps.route_tables();
    let addressing = Addressing {
        site: &world.site,
        tables: &tables,
        names: &NoNames,
        daemon_flags: "",
    };
    // Addresses that lead in a circle go nowhere.
    Some(addressing.route(recipient).ok()?.outcome)
}

/// Local delivery, a refusal, or another host of our own domain (relay_entire_domain).
fn stays(triple: Option<&MailerTriple>) -> bool {
    triple.is_none_or(|triple| {
        let here = ["local", "error", "discard", "*file*", "prog", "*include*"];
        here.contains(&triple.mailer.as_str()) || triple.host.ends_with(b".here.example")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn what_a_stranger_may_write_to_stays_here(
        recipients in proptest::collection::vec(
            (proptest::collection::vec(proptest::sample::select(PIECES), 1..9), any::<bool>()),
            100,
        ),
        features in proptest::sample::subsequence(FEATURES, 0..4),
        tag in proptest::sample::select(&["", "To:", "Connect:", "From:", "Spam:"][..]),
        key in proptest::sample::select(&["far.example", "example", "joe@", "203.0.113", "u@far.example"][..]),
        rhs in proptest::sample::select(&["OK", "REJECT", "SKIP", "DISCARD", "FRIEND", "?", ""][..]),
    ) {
        let both = ["FEATURE(`nouucp', `reject')", "FEATURE(`nouucp', `nospecial')"];
        let twice = both.iter().all(|f| features.contains(f));
        let percent = ["FEATURE(`nopercenthack', `reject')", "FEATURE(`nopercenthack', `nospecial')"];
        prop_assume!(!twice && !percent.iter().all(|f| features.contains(f)));
        let world = world(&features, &[(format!("{tag}{key}"), rhs)]);
        for (pieces, brackets) in recipients {
            let mut text = pieces.concat();
            if brackets {
                text = format!("<{text}>");
            }
            let triple = accepted_by(&world, text.as_bytes());
            prop_assert!(stays(triple.as_ref()), "{text:?} goes to {triple:?} with {features:?}");
        }
    }
}

#[test]
fn the_known_tricks_are_seen_through() {
    let world = world(&[], &[]);
    for (recipient, accepted) in [
        ("<joe@here.example>", true),
        ("<joe>", true),
        ("<\"a b\"@here.example>", true),
        ("<u%far.example@here.example>", false),
        ("<u@far.example@here.example>", false),
        ("<\"u@far.example\"@here.example>", false),
        ("<\"u%far.example\"@here.example>", false),
        ("<\"u@far.example\">", false),
        ("<@here.example:u@far.example>", false),
        ("<far.example!u@here.example>", false),
        ("<far.example!u>", false),
        ("<u%far.example>", false),
        ("<u%far.example%here.example@here.example>", false),
        ("<u@[192.0.2.9]>", false),
        ("<u%[192.0.2.9]@here.example>", false),
        ("<u@far.example.>", false),
        ("<here.example!far.example!u>", false),
        ("<far.example\\!u>", false),
        ("<far.example\\!u@here.example>", false),
        (":\";%[192.0.2.9]\"", false),
        ("<\":\\\";%[192.0.2.9]\\\"\">", false),
        ("<UUCP!:x.UUCP>", false),
    ] {
        let triple = accepted_by(&world, recipient.as_bytes());
        assert_eq!(triple.is_some(), accepted, "{recipient}");
        assert!(stays(triple.as_ref()), "{recipient} goes to {triple:?}");
    }
}
