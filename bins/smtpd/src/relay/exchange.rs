//! From a mail domain to the hosts that are tried, in order (RFC 5321 section 5.1).
//!
//! Better preferences come first, equal ones in random order. Where our own name is
//! among them, it and everything no better is cut off, for mail must come nearer to
//! its end. The null MX (RFC 7505) refuses all mail.

use std::net::{IpAddr, Ipv4Addr};

use libmaps::site::Site;
use libmaps::site::hosts::Service;

use super::client::Failure;
use super::route::{Next, NextHost};
use crate::resolver::Resolver;

/// Most exchangers of one domain that are tried.
const MAX_EXCHANGERS: usize = 20;

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its name, or its address in brackets.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// How we know it.
    pub source: Source,
}

/// How a host is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By an MX record: strangers say so.
    Mx,
    /// As a mail domain without one.
    Domain,
    /// The site names it.
    Site,
    /// By its address.
    Address(IpAddr),
}

/// What the MX records of a domain come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchangers {
    /// There is none: the domain's own addresses count.
    None,
    /// These hosts, in order.
    Hosts(Vec<String>),
    /// These, and then this host.
    Before(Vec<String>),
    /// The domain takes no mail.
    Null,
    /// The best of them is this host.
    PointsBack,
}

impl Exchangers {
    /// Sorts records; `ours` tells names of this host, `random` shuffles equals.
    #[must_use]
    pub fn of(
        mut records: Vec<(u16, String)>,
        ours: impl Fn(&str) -> bool,
        mut random: impl FnMut() -> u32,
    ) -> Self {
        if records.is_empty() {
            return Exchangers::None;
        }
        // RFC 7505 section 3: it must be the only one.
        if records.iter().all(|(_, name)| name.is_empty()) {
            return Exchangers::Null;
        }
        records.retain(|(_, name)| !name.is_empty());
        let own = records.iter().filter(|(_, name)| ours(name));
        let limit = own.map(|(preference, _)| *preference).min();
        if let Some(limit) = limit {
            records.retain(|(preference, _)| *preference < limit);
            if records.is_empty() {
                return Exchangers::PointsBack;
            }
        }
        let mut keyed: Vec<(u16, u32, String)> = records
            .into_iter()
            .map(|(preference, name)| (preference, random(), name))
            .collect();
        keyed.sort();
        let mut hosts: Vec<String> = Vec::new();
        for (_, _, name) in keyed {
            if hosts.len() < MAX_EXCHANGERS && !hosts.iter().any(|h| h.eq_ignore_ascii_case(&name))
            {
                hosts.push(name);
            }
        }
        match limit {
            Some(_) => Exchangers::Before(hosts),
            None => Exchangers::Hosts(hosts),
        }
    }
}

/// Whether the name is one of this host's.
#[must_use]
pub fn is_ours(site: &Site, name: &str) -> bool {
    name.eq_ignore_ascii_case(&site.host_name) || site.classes.local_hosts.contains(name.as_bytes())
}

/// Who may have the mail where none of a domain's hosts takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behind {
    /// Nobody: the domain takes no mail, or its best host is this one.
    Nobody,
    /// FallbackSmartHost: we are an exchanger of the domain, and FallbackMXhost would be one behind
    /// us.
    SmartHost,
    /// FallbackMXhost, then FallbackSmartHost.
    Fallbacks,
}

/// What there is to try.
#[derive(Debug)]
pub struct Found {
    /// The hosts, or why there is none: the name server fails, or the domain takes no mail.
    pub hops: Result<Vec<Hop>, Failure>,
    /// Who stands behind them.
    pub behind: Behind,
}

/// The hosts to try for a host of a list.
pub async fn hops(site: &Site, resolver: &Resolver, next: &Next) -> Found {
    let found = |hops| Found {
        hops,
        behind: Behind::Fallbacks,
    };
    let hop = |name: &str, source| Hop {
        name: name.to_owned(),
        port: next.port,
        source,
    };
    let domain = match &next.host {
        NextHost::Address(addr) => {
            let name = crate::session::bracketed(*addr);
            return found(Ok(vec![hop(&name, Source::Address(*addr))]));
        }
        NextHost::Exact(name) => return found(Ok(vec![hop(name, Source::Site)])),
        NextHost::Domain(name) => name,
    };
    if !resolver.asks_dns() {
        return found(Ok(vec![hop(domain, Source::Site)]));
    }
    let Ok(records) = resolver.exchangers(domain).await else {
        let text = format!("Name server: {domain}: host name lookup failure");
        return found(Err(Failure::temporary("4.4.3", text)));
    };
    let random = || {
        let mut octets = [0; 4];
        let _ = getrandom::fill(&mut octets);
        u32::from_ne_bytes(octets)
    };
    let by_mx = |names: Vec<String>| Ok(names.iter().map(|n| hop(n, Source::Mx)).collect());
    let (hops, behind) = match Exchangers::of(records, |name| is_ours(site, name), random) {
        Exchangers::Hosts(names) => (by_mx(names), Behind::Fallbacks),
        Exchangers::Before(names) => (by_mx(names), Behind::SmartHost),
        Exchangers::None => (Ok(vec![hop(domain, Source::Domain)]), Behind::Fallbacks),
        Exchangers::Null => {
            let text = format!("Domain {domain} does not accept mail (null MX)");
            (Err(Failure::permanent("5.1.10", text)), Behind::Nobody)
        }
        Exchangers::PointsBack if site.options.delivery.try_null_mx_list => {
            (Ok(vec![hop(domain, Source::Domain)]), Behind::SmartHost)
        }
        Exchangers::PointsBack => {
            let own = &site.host_name;
            let text = format!("MX list for {domain} points back to {own}");
            (Err(Failure::permanent("5.3.5", text)), Behind::Nobody)
        }
    };
    Found { hops, behind }
}

impl Source {
    /// Whether mail may go to this address, which this service gave. The hosts file is the
    /// site's own word; but a stranger who names a host of it in an MX record must not lead
    /// mail to this host itself.
    #[must_use]
    pub fn allows(self, service: &Service, addr: IpAddr) -> bool {
        match (self, service) {
            (Source::Site | Source::Address(_), _) => true,
            (Source::Mx | Source::Domain, Service::Dns) => is_foreign(addr),
            (Source::Mx, _) => !is_own(addr),
            (Source::Domain, _) => true,
        }
    }
}

/// Whether hosts files give this address to the host itself and to `localhost`.
fn is_own(addr: IpAddr) -> bool {
    match addr.to_canonical() {
        IpAddr::V4(addr) => matches!(addr.octets(), [127, 0, 0 | 1, 1] | [0, ..]),
        IpAddr::V6(addr) => addr.is_loopback() || addr.is_unspecified(),
    }
}

/// Whether a stranger's records may send mail to this address: not to ourselves.
#[must_use]
pub fn is_foreign(addr: IpAddr) -> bool {
    let v4 = |addr: Ipv4Addr| {
        !(addr.is_loopback() || addr.is_broadcast() || addr.is_multicast() || addr.octets()[0] == 0)
    };
    match addr.to_canonical() {
        IpAddr::V4(addr) => v4(addr),
        IpAddr::V6(addr) => !(addr.is_loopback() || addr.is_unspecified() || addr.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(records: &[(u16, &str)], random: &[u32]) -> Exchangers {
        let records = records.iter().map(|(p, n)| (*p, (*n).to_owned())).collect();
        let mut numbers = random.iter().copied().cycle();
        Exchangers::of(records, |name| name == "me", || numbers.next().unwrap())
    }

    fn hosts(names: &[&str]) -> Exchangers {
        Exchangers::Hosts(names.iter().map(|n| (*n).to_owned()).collect())
    }

    #[test]
    fn preferences_chance_and_ourselves() {
        let abc = [(10, "a"), (5, "b"), (10, "c")];
        assert_eq!(sorted(&abc, &[1, 2, 3]), hosts(&["b", "a", "c"]));
        assert_eq!(sorted(&abc, &[3, 2, 1]), hosts(&["b", "c", "a"]));
        let with_us = [(10, "me"), (5, "b"), (10, "c"), (20, "d")];
        let before = Exchangers::Before(vec!["b".into()]);
        assert_eq!(sorted(&with_us, &[1]), before);
        assert_eq!(
            sorted(&[(0, "me"), (10, "a")], &[1]),
            Exchangers::PointsBack
        );
        assert_eq!(sorted(&[(0, "")], &[1]), Exchangers::Null);
        assert_eq!(sorted(&[(0, ""), (5, "a")], &[1]), hosts(&["a"]));
        assert_eq!(sorted(&[], &[1]), Exchangers::None);
        assert_eq!(sorted(&[(0, "a"), (5, "A")], &[1]), hosts(&["a"]));
        let names: Vec<String> = (0..100).map(|n| format!("h{n}")).collect();
        let many: Vec<(u16, &str)> = names.iter().map(|n| (1, n.as_str())).collect();
        let Exchangers::Hosts(all) = sorted(&many, &[7]) else {
            panic!("no hosts");
        };
        assert_eq!(all.len(), MAX_EXCHANGERS);
    }

    #[test]
    fn whose_word_an_address_is() {
        for (source, addr, files, dns) in [
            (Source::Mx, "192.0.2.1", true, true),
            (Source::Mx, "127.0.0.1", false, false),
            (Source::Mx, "127.0.1.1", false, false),
            (Source::Mx, "::ffff:127.0.0.1", false, false),
            (Source::Mx, "::1", false, false),
            (Source::Mx, "127.0.0.3", true, false),
            (Source::Domain, "127.0.0.1", true, false),
            (Source::Site, "127.0.0.1", true, true),
        ] {
            let addr = addr.parse().unwrap();
            let case = format!("{source:?} {addr}");
            assert_eq!(source.allows(&Service::Files, addr), files, "{case}");
            assert_eq!(source.allows(&Service::Dns, addr), dns, "{case}");
        }
    }

    #[test]
    fn addresses_that_lead_nowhere() {
        for addr in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_foreign(addr.parse().unwrap()), "{addr}");
        }
        for addr in ["192.0.2.1", "10.0.0.1", "2001:db8::1"] {
            assert!(is_foreign(addr.parse().unwrap()), "{addr}");
        }
    }
}
