//! Any octets as the small files of a site: hosts, service.switch, passwd, AuthInfo, and as
//! each kind of source that `mapctl check` looks over.
//!
//! `testdata/scripts/fuzz-all site_files`
#![no_main]

use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use libmaps::lint::{self, Kind};
use libmaps::site::Site;
use libmaps::site::hosts::{Hosts, ServiceSwitch};
use libmaps::site::users::Users;
use smtpd::relay::authinfo::AuthInfo;

static SITE: LazyLock<Site> = LazyLock::new(Site::default);

fuzz_target!(|octets: &[u8]| {
    let hosts = Hosts::parse(octets);
    let loopback: IpAddr = std::net::Ipv4Addr::LOCALHOST.into();
    if let Some(name) = hosts.name_of(loopback) {
        assert!(hosts.knows(name) && !hosts.addresses(name).is_empty());
    }
    let _ = ServiceSwitch::parse(octets).asks_dns();
    let users = Users::parse(octets);
    let root = users.by_uid(0).expect("listed users are known");
    assert!(root.is_none_or(|user| user.uid == 0 && !user.name.is_empty()));
    let _ = AuthInfo::file(octets);
    let _ = AuthInfo::entry(octets);
    let lines = octets.iter().filter(|c| **c == b'\n').count() as u32 + 1;
    for kind in [
        Kind::Access,
        Kind::Mailertable,
        Kind::Virtusertable,
        Kind::Genericstable,
        Kind::Domaintable,
        Kind::Aliases,
    ] {
        let found = lint::source(kind, Path::new("x"), octets, &SITE, &users);
        for finding in found.expect("memory can be read") {
            assert!(finding.line <= lines, "{finding}");
        }
    }
});
