use super::*;
use crate::map::Entry;
use crate::policy::route::canonify::NoNames;
use crate::policy::route::tables::RouteTables;
use crate::site::Site;
use crate::site::model::Mailer;
use crate::store::memory::MemoryMap;
use crate::table::mailertable::MailerTable;
use crate::table::virtusertable::VirtUserTable;

pub(crate) fn site() -> Site {
    let mut site = Site {
        host_name: "mx.example.org".to_owned(),
        domain: "example.org".to_owned(),
        error_name: "MAILER-DAEMON".to_owned(),
        ..Site::default()
    };
    for host in ["mx.example.org", "example.org", "virt.example"] {
        site.classes.local_hosts.insert(host.as_bytes());
    }
    site.classes.pseudo_domains.insert(b".");
    let mailer = |name: &str, flags: &str, rewriting| Mailer {
        name: name.to_owned(),
        flags: flags.to_owned(),
        rewriting,
        ..Mailer::default()
    };
    site.mailers.speaks_smtp = true;
    site.mailers.defined = vec![
        mailer("local", "lsDFMAw5:/|@qPrmn9", Rewriting::Local),
        mailer("prog", "lsDFMoqeu9", Rewriting::Local),
        mailer("esmtp", "mDFMuXa", Rewriting::Smtp),
        mailer("smtp", "mDFMuX", Rewriting::Smtp),
        mailer("relay", "mDFMuXa8", Rewriting::Relay),
    ];
    site
}

fn tables(mailers: &[(&str, &str)], virtual_users: &[(&str, &str)]) -> RouteTables<MemoryMap> {
    let map = |name: &str, entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(lhs, rhs)| Entry::new(*lhs, *rhs));
        MemoryMap::new(name, entries)
    };
    RouteTables {
        mailertable: Some(MailerTable::new(map("mailertable", mailers))),
        virtusertable: Some(VirtUserTable::new(map("virtusertable", virtual_users))),
        ..RouteTables::default()
    }
}

fn route(site: &Site, tables: &RouteTables<MemoryMap>, address: &str) -> String {
    let addressing = Addressing {
        site,
        tables,
        names: &NoNames,
        daemon_flags: "",
    };
    let triple = addressing.route(address.as_bytes()).unwrap().outcome;
    format!(
        "{}|{}|{}",
        triple.mailer,
        String::from_utf8_lossy(&triple.host),
        String::from_utf8_lossy(&triple.user)
    )
}

#[test]
fn without_tables_by_name_alone() {
    for (address, want) in [
        ("joe", "local||joe"),
        ("Joe@Example.ORG", "local||joe"),
        (
            "joe@remote.example",
            "esmtp|remote.example|joe@remote.example",
        ),
        (
            "joe%remote.example@example.org",
            "esmtp|remote.example|joe@remote.example",
        ),
        (
            "\"joe@remote.example\"@example.org",
            "esmtp|remote.example|joe@remote.example",
        ),
        ("joe@[192.0.2.1]", "esmtp|[192.0.2.1]|joe@[192.0.2.1]"),
        ("\"|/bin/x y\"", "prog||\"|/bin/x y\""),
        ("/var/mail/X", "*file*||/var/mail/X"),
        (":include:/etc/list", "*include*||/etc/list"),
        ("joe@", "error|5.1.3|\"553 Hostname required\""),
        ("@example.org", "error|5.1.3|\"553 User address required\""),
        ("a@b@c.example", "error|5.1.3|\"553 Invalid route address\""),
        ("joe@a..b", "error|5.1.2|\"553 Invalid host name\""),
        ("joe@a:b", "local||b"),
        (
            "<joe@a:b>",
            "error|5.1.3|\"553 Colon illegal in host name part\"",
        ),
    ] {
        assert_eq!(
            route(&site(), &tables(&[], &[]), address),
            want,
            "{address}"
        );
    }
}

#[test]
fn tables_lead_on() {
    let tables = tables(
        &[
            ("far.example", "relay:[hub.example]"),
            (".far.example", "smtp:%1.inner.example"),
            ("gone.example", "error:5.1.2:550 gone"),
            ("odd.example", "smtp:"),
            ("none.example", "nosuchmailer:x"),
        ],
        &[
            ("a@virt.example", "joe@far.example"),
            ("b@virt.example", "a@virt.example"),
            ("c@virt.example", "error:nouser No such user"),
            ("d@virt.example", "error:nouser"),
            ("loop@virt.example", "loop@virt.example"),
        ],
    );
    for (address, want) in [
        ("b@virt.example", "relay|[hub.example]|joe@far.example"),
        (
            "x@a.b.far.example",
            "smtp|a.b.inner.example|x@a.b.far.example",
        ),
        ("x@gone.example", "error|5.1.2|550 gone"),
        (
            "x@none.example",
            "error|5.3.5|554 buildaddr: unknown mailer nosuchmailer",
        ),
        ("x@odd.example", "smtp|>x<@odd.example|"),
        ("c@virt.example", "error|nouser|No such user"),
        ("d@virt.example", "error|nouser|>d<@virt.example."),
        ("loop@virt.example", "local||loop@virt.example"),
    ] {
        assert_eq!(route(&site(), &tables, address), want, "{address}");
    }
}

proptest::proptest! {
    /// Nothing that is written makes the rules fail or run on.
    #[test]
    fn any_address_has_a_route(address in "[a-c@%!.:;,<>\\[\\]\"()\\\\+ ]{0,40}") {
        let tables = tables(&[(".", "smtp:%1"), (".b", ".a.b")], &[("@virt.example", "%1@virt.example")]);
        let _ = route(&site(), &tables, &address);
        let _ = route(&site(), &tables, &format!("{address}@virt.example"));
    }
}
