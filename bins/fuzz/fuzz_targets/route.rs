//! Any octets as an address: routed and rewritten with tables that lead on, in bounded time.
//!
//! `cargo fuzz run route`
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use libmaps::map::Entry;
use libmaps::policy::rewrite::AddressRole;
use libmaps::policy::route::canonify::{Addressing, NoNames};
use libmaps::policy::route::tables::RouteTables;
use libmaps::site::{Machine, Site, mc};
use libmaps::store::memory::MemoryMap;
use libmaps::table::generics::GenericsTable;
use libmaps::table::mailertable::MailerTable;
use libmaps::table::virtusertable::VirtUserTable;

const TEXT: &str = "OSTYPE(linux)dnl
define(`confDOMAIN_NAME', `mx.example.org')dnl
MASQUERADE_AS(`pub.example')dnl
FEATURE(`masquerade_envelope')dnl
FEATURE(`genericstable', `hash -o /g')dnl
FEATURE(`mailertable', `hash -o /m')dnl
FEATURE(`virtusertable', `hash -o /v')dnl
VIRTUSER_DOMAIN(`virt.example')dnl
MAILER(local)dnl
MAILER(smtp)dnl
";

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a temporary folder");
    let path = root.path().join("sendmail.mc");
    mc::read(Some(root.path()), &path, TEXT.into(), &Machine::default()).site
});

static TABLES: LazyLock<RouteTables<MemoryMap>> = LazyLock::new(|| {
    let map = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(lhs, rhs)| Entry::new(*lhs, *rhs));
        MemoryMap::new("table", entries)
    };
    RouteTables {
        mailertable: Some(MailerTable::new(map(&[(".", "smtp:%1"), (".a", ".b.a")]))),
        virtusertable: Some(VirtUserTable::new(map(&[
            ("@virt.example", "%1%3@mx.example.org"),
            ("++@mx.example.org", "%2%%x@virt.example"),
        ]))),
        genericstable: Some(GenericsTable::new(map(&[("joe", "a%b"), ("+*", "%1@x")]))),
        ..RouteTables::default()
    }
});

fuzz_target!(|octets: &[u8]| {
    let addressing = Addressing {
        site: &SITE,
        tables: &TABLES,
        names: &NoNames,
        daemon_flags: "",
    };
    let routed = addressing.route(octets);
    let _ = routed.expect("maps in memory can be read");
    for mailer in &SITE.mailers.defined {
        for role in AddressRole::ALL {
            let written = addressing.rewrite(role, mailer, octets);
            let _ = written.expect("maps in memory can be read");
        }
    }
});
