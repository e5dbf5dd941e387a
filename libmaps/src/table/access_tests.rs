//! Readable cases: what is asked for, in order, until something is found.

use super::*;
use crate::map::Entry;
use crate::site::model::MapSpec;
use crate::store::memory::MemoryMap;

fn options() -> AccessDb {
    AccessDb {
        map: MapSpec::new("hash", "/etc/mail/access"),
        skip: false,
        lookup_dot_domain: false,
        relay_to_full_address: false,
    }
}

/// The keys that were asked for, and what was found.
fn walk(
    options: &AccessDb,
    entries: &[(&str, &str)],
    ask: impl Fn(AccessMap<'_, MemoryMap>, &mut Trace) -> Lookup,
) -> (Vec<String>, Option<String>) {
    let map = Traced::new(MemoryMap::new(
        "access",
        entries
            .iter()
            .map(|(lhs, rhs)| Entry::new(crate::lhs::Lhs::folded(lhs.as_bytes()), *rhs)),
    ));
    let mut trace = Trace::new();
    let found = ask(AccessMap::new(&map, options), &mut trace).unwrap();
    (
        trace.probes().map(|p| p.lhs.to_string()).collect(),
        found.map(|rhs| rhs.to_string()),
    )
}

#[test]
fn a_domain_walks_up_with_and_without_its_tag() {
    let (asked, found) = walk(&options(), &[("example", "REJECT")], |map, trace| {
        map.domain(trace, Tag::From, With::TagThenBare, b"a.b.Example")
    });
    assert_eq!(
        asked,
        [
            "from:a.b.example",
            "a.b.example",
            "from:b.example",
            "b.example",
            "from:example",
            "example"
        ]
    );
    assert_eq!(found.as_deref(), Some("REJECT"));
}

#[test]
fn lookupdotdomain_asks_for_the_parent_with_its_dot_first() {
    let options = AccessDb {
        lookup_dot_domain: true,
        ..options()
    };
    let (asked, _) = walk(&options, &[], |map, trace| {
        map.domain(trace, Tag::From, With::TagOnly, b"a.b.example")
    });
    assert_eq!(
        asked,
        [
            "from:a.b.example",
            "from:.b.example",
            "from:b.example",
            "from:.example",
            "from:example"
        ]
    );
}

#[test]
fn networks_lose_their_last_part() {
    for (address, asked) in [
        ("192.0.2.1", vec!["192.0.2.1", "192.0.2", "192.0", "192"]),
        (
            "IPv6:2001:db8::9",
            vec!["ipv6:2001:db8::9", "ipv6:2001:db8", "ipv6:2001", "ipv6"],
        ),
        (
            "IPv6:2002:c0a8:2c7:0",
            vec![
                "ipv6:2002:c0a8:2c7:0",
                "ipv6:2002:c0a8:2c7",
                "ipv6:2002:c0a8",
                "ipv6:2002",
                "ipv6",
            ],
        ),
        ("IPv6:::1", vec!["ipv6:::1", "ipv6:"]),
    ] {
        let tagged: Vec<String> = asked.iter().map(|key| format!("connect:{key}")).collect();
        let (got, _) = walk(&options(), &[], |map, trace| {
            map.address(trace, Tag::Connect, With::TagOnly, address.as_bytes())
        });
        assert_eq!(got, tagged, "{address}");
        let tagged: Vec<String> = asked.iter().map(|key| format!("connect:[{key}]")).collect();
        let (got, _) = walk(&options(), &[], |map, trace| {
            let literal = format!("[{address}]");
            map.domain(trace, Tag::Connect, With::TagOnly, literal.as_bytes())
        });
        assert_eq!(got, tagged, "[{address}]");
    }
}

#[test]
fn a_detail_is_tried_whole_then_any_then_not_at_all() {
    let (asked, _) = walk(&options(), &[], |map, trace| {
        map.search(
            trace,
            Tag::To,
            With::TagOnly,
            &[Item::Full(b"joe+a+b", b"x.example"), Item::User(b"joe+a+b")],
        )
    });
    assert_eq!(
        asked,
        [
            "to:joe+a+b@x.example",
            "to:joe+*@x.example",
            "to:joe@x.example",
            "to:joe+a+b@",
            "to:joe+*@",
            "to:joe@"
        ]
    );
}

#[test]
fn skip_stops_the_walk_only_where_the_site_has_it() {
    let entries = [("from:b.example", "SKIP"), ("from:example", "REJECT")];
    let ask = |map: AccessMap<'_, MemoryMap>, trace: &mut Trace| {
        map.domain(trace, Tag::From, With::TagOnly, b"a.b.example")
    };
    let with = AccessDb {
        skip: true,
        ..options()
    };
    assert_eq!(walk(&with, &entries, ask).1, None);
    assert_eq!(walk(&options(), &entries, ask).1.as_deref(), Some("SKIP"));
}

#[test]
fn quotes_and_backslashes_are_no_part_of_a_key() {
    for (local, domain) in [
        ("\"bad\"", "spam.example"),
        ("b\\ad", "sp\\am.example"),
        ("\\bad", "\"spam\".\"example\""),
        ("\"b\\ad\"", "SPAM.example"),
    ] {
        let items = [Item::Full(local.as_bytes(), domain.as_bytes())];
        let entries = [("From:bad@spam.example", "ERROR:550 %0 100%% %1")];
        let (asked, found) = walk(&options(), &entries, |map, trace| {
            map.search(trace, Tag::From, With::TagOnly, &items)
        });
        assert_eq!(asked, ["from:bad@spam.example"], "{local}@{domain}");
        let text = found.unwrap().to_ascii_lowercase();
        assert_eq!(text, "error:550 from:bad@spam.example 100% ");
    }
    // The detail is what stands behind a plus sign outside quotes.
    let (asked, _) = walk(&options(), &[], |map, trace| {
        let items = [Item::User(b"\"b\"ob+x"), Item::User(b"\"bob+x\"")];
        map.search(trace, Tag::To, With::TagOnly, &items)
    });
    assert_eq!(asked, ["to:bob+x@", "to:bob+*@", "to:bob@", "to:bob+x@"]);
}

#[test]
fn a_dot_in_quotes_parts_no_domain() {
    let (asked, _) = walk(&options(), &[], |map, trace| {
        let name = b"\"a.b\".c\\.d.example";
        map.domain(trace, Tag::From, With::TagOnly, name)
    });
    assert_eq!(
        asked,
        ["from:a.b.c.d.example", "from:c.d.example", "from:example"]
    );
}

#[test]
fn a_tag_of_the_administrators_own_is_asked_without_quotes_too() {
    let (asked, found) = walk(&options(), &[("MyCA:/CN=x", "OK%%")], |map, trace| {
        map.raw(trace, b"MyCA:/CN=\\x")
    });
    assert_eq!(
        (asked[0].as_str(), found.as_deref()),
        ("myca:/cn=x", Some("OK%"))
    );
}
