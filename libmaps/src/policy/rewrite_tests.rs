use super::*;
use crate::map::Entry;
use crate::policy::route::canonify::NoNames;
use crate::policy::route::tables::RouteTables;
use crate::site::Site;
use crate::store::memory::MemoryMap;
use crate::table::generics::GenericsTable;

fn site() -> Site {
    let mut site = crate::policy::route::tests::site();
    site.masquerade.name = Some("pub.example".to_owned());
    site.classes.exposed_users.insert(b"root");
    site
}

fn rewrite(site: &Site, role: &str, mailer: &str, address: &str) -> String {
    let entries = [
        Entry::new("joe", "Joe.Doe@pub.example"),
        Entry::new("mick", "michael"),
        Entry::new("list+*", "%1-list@pub.example"),
    ];
    let mut tables = RouteTables::default();
    if site.features.genericstable.is_some() {
        tables.genericstable = Some(GenericsTable::new(MemoryMap::new("g", entries)));
    }
    let addressing = Addressing {
        site,
        tables: &tables,
        names: &NoNames,
        daemon_flags: "",
    };
    let mailer = site.mailers.get(mailer).unwrap();
    let decision = addressing.rewrite(role.parse().unwrap(), mailer, address.as_bytes());
    String::from_utf8(decision.unwrap().outcome).unwrap()
}

#[test]
fn headers_are_masqueraded_envelopes_only_on_demand() {
    let mut site = site();
    let header = |site: &Site, address| rewrite(site, "header-sender", "esmtp", address);
    assert_eq!(header(&site, "joe"), "joe@pub.example");
    assert_eq!(header(&site, "joe@virt.example"), "joe@pub.example");
    assert_eq!(header(&site, "Root"), "Root@mx.example.org");
    assert_eq!(header(&site, "joe@far.example"), "joe@far.example");
    assert_eq!(
        header(&site, "Joe <joe> (home)"),
        "Joe <joe@pub.example> (home)"
    );
    let envelope = |site: &Site| rewrite(site, "envelope-sender", "esmtp", "joe");
    assert_eq!(envelope(&site), "joe@mx.example.org");
    site.masquerade.envelope = true;
    assert_eq!(envelope(&site), "joe@pub.example");
    site.masquerade.limited = true;
    assert_eq!(header(&site, "joe@virt.example"), "joe@virt.example");
}

#[test]
fn the_local_mailer_leaves_bare_names() {
    let mut site = site();
    let to = |site: &Site, role| rewrite(site, role, "local", "joe@virt.example");
    assert_eq!(rewrite(&site, "header-sender", "local", "joe"), "joe");
    assert_eq!(to(&site, "envelope-recipient"), "joe");
    assert_eq!(to(&site, "header-recipient"), "joe@virt.example");
    site.features.always_add_domain = Some(String::new());
    assert_eq!(
        rewrite(&site, "header-sender", "local", "joe"),
        "joe@pub.example"
    );
}

#[test]
fn the_genericstable_comes_first() {
    let mut site = site();
    site.features.genericstable = crate::site::model::MapSpec::parse("hash /g").ok();
    let header = |address| rewrite(&site, "header-sender", "esmtp", address);
    assert_eq!(header("joe"), "Joe.Doe@pub.example");
    assert_eq!(header("mick"), "michael@pub.example");
    assert_eq!(header("list+x"), "x-list@pub.example");
    // Only addresses of this host and of GENERICS_DOMAIN are asked for.
    assert_eq!(header("joe@virt.example"), "joe@pub.example");
}

#[test]
fn null_and_lists() {
    let site = site();
    assert_eq!(rewrite(&site, "envelope-sender", "esmtp", "<>"), "<>");
    assert_eq!(rewrite(&site, "header-sender", "esmtp", "joe@"), "");
    assert_eq!(
        rewrite(&site, "envelope-sender", "local", "<>"),
        "<MAILER-DAEMON>"
    );
}
