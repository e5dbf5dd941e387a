use super::*;
use crate::store::memory::MemoryMap;

fn canonical(site: &Site, raw: &str) -> String {
    let tables: RouteTables<MemoryMap> = RouteTables::default();
    let hosts = Hosts::parse(b"10.0.0.1 mx.example.org\n10.0.0.2 host.example alias\n");
    let names = HostsOnly {
        hosts: &hosts,
        domain: "example.org",
    };
    let addressing = Addressing {
        site,
        tables: &tables,
        names: &names,
        daemon_flags: "",
    };
    let found = addressing.canonify(raw.as_bytes(), &mut Trace::new());
    match found.unwrap() {
        Err(error) => error.to_string(),
        Ok(Canonical::Null) => "<>".to_owned(),
        Ok(Canonical::List(name)) => format!("list {}", String::from_utf8_lossy(&name)),
        Ok(Canonical::Mailbox(mailbox)) => {
            let host = mailbox.host.map(|host| host.dotted()).unwrap_or_default();
            format!(
                "{}|{}",
                String::from_utf8_lossy(&mailbox.local),
                String::from_utf8_lossy(&host)
            )
        }
    }
}

fn site() -> Site {
    let mut site = Site {
        host_name: "mx.example.org".to_owned(),
        domain: "example.org".to_owned(),
        ..Site::default()
    };
    site.classes.local_hosts.insert(b"mx.example.org");
    site.classes.local_hosts.insert(b"[127.0.0.1]");
    site.classes.pseudo_domains.insert(b".");
    site
}

#[test]
fn every_spelling_comes_to_local_part_and_host() {
    for (raw, want) in [
        ("joe", "joe|"),
        ("joe@remote.example", "joe|remote.example"),
        ("joe@ALIAS", "joe|host.example."),
        ("joe@remote.example...", "joe|remote.example."),
        ("joe@localhost", "joe|mx.example.org."),
        ("joe@localhost.example.org", "joe|mx.example.org."),
        ("joe@[127.0.0.1]", "joe|mx.example.org."),
        ("joe@[192.0.2.1]", "joe|[192.0.2.1]"),
        ("joe@[IPv6:2001:db8::1]", "joe|[IPv6:2001:db8::1]"),
        ("a@b@c.example", "a@b|c.example"),
        ("a%b%c", "a%b|c"),
        ("joe%b@c.example", "joe%b|c.example"),
        ("\"a@b\"@c.example", "\"a@b\"|c.example"),
        ("Joe Doe <joe@c.example> (home)", "joe|c.example"),
        ("<<joe@c.example>>", "joe|c.example"),
        ("friends: joe@c.example;", "joe|c.example"),
        ("@a.example,@b.example:joe@c.example", "joe|c.example"),
        ("@[1.2.3.4]:joe@c.example", "joe|c.example"),
        ("host!joe", "joe|host.UUCP."),
        ("a.b!joe", "joe|a.b"),
        ("h1!h2!joe", "h2!joe|h1.UUCP."),
        ("joe@", "joe|"),
        ("<>", "<>"),
        ("", "<>"),
        ("list:;", "list "),
    ] {
        assert_eq!(canonical(&site(), raw), want, "{raw}");
    }
}

#[test]
fn without_uucp_a_bang_means_nothing() {
    let mut site = site();
    site.features.nouucp = Some(crate::site::model::Bang::Reject);
    assert_eq!(canonical(&site, "host!joe"), "host!joe|");
}

#[test]
fn without_canonification_a_dot_is_enough() {
    let mut site = site();
    site.features.nocanonify = Some(crate::site::model::NoCanonify {
        canonify_hosts: false,
    });
    assert_eq!(
        canonical(&site, "joe@nowhere.example"),
        "joe|nowhere.example."
    );
    assert_eq!(canonical(&site, "joe@alias"), "joe|alias");
}

proptest::proptest! {
    #[test]
    fn any_octets_are_read_or_refused(raw in proptest::collection::vec(0u8.., 0..200)) {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let _ = canonical(&site(), &text);
    }

    #[test]
    fn any_row_of_operators_is_read(raw in "[ab@%!.:;,<>\\[\\]\"()\\\\+ ]{0,30}") {
        let _ = canonical(&site(), &raw);
    }
}
