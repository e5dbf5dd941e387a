//! Whose turn a delivery to another host takes: that of the domain it goes to, and on its way
//! that of the network it gets to. A stranger may own many hosts and addresses; domains that he
//! has to register and networks that he has to rent cost him more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libmaps::address::parse_ip;

use super::exchange::Source;
use crate::deliver::lanes::Lanes;
use crate::queue::QueuedTarget;

/// Most deliveries to one domain, and connections to one network, at one time.
const MOST: usize = 20;
/// Room for those that wait.
const ROOM: usize = 1000;

/// Deliveries to other hosts; the site says how many at one time.
pub(super) static DOMAINS: Lanes = Lanes::new(100, MOST, ROOM);
/// Connections to hosts that strangers name.
pub(super) static NETWORKS: Lanes = Lanes::new(100, MOST, ROOM);

/// The lane of a copy.
pub(super) fn of_copy(target: &QueuedTarget) -> String {
    format!("{} {}", target.mailer, of_host(&target.host.shown()))
}

/// The domain that somebody has registered, as far as its name tells; of an address literal the
/// network; a list of hosts, which the site has written, as it is.
pub(super) fn of_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    // A port may stand behind it.
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(literal, _)| literal);
    if let Some(addr) = literal.and_then(|literal| parse_ip(literal.as_bytes())) {
        return network(addr);
    }
    let name = literal.unwrap_or(&host).trim_end_matches('.');
    let labels: Vec<&str> = name.split('.').collect();
    // `example.co.uk`: a short label before that of a country is no name of anybody's.
    let kept = match labels.as_slice() {
        [.., second, top] if top.len() == 2 && second.len() <= 3 => 3,
        _ => 2,
    };
    let from = labels.len().saturating_sub(kept);
    labels.get(from..).unwrap_or_default().join(".")
}

/// The lane of a connection, where the address is a stranger's word.
pub(super) fn of_address(source: Source, addr: IpAddr) -> Option<String> {
    match source {
        Source::Site => None,
        Source::Mx | Source::Domain | Source::Address(_) => Some(network(addr)),
    }
}

/// The /24 or the /64 of an address.
fn network(addr: IpAddr) -> String {
    match addr.to_canonical() {
        IpAddr::V4(addr) => Ipv4Addr::from_bits(addr.to_bits() & 0xffff_ff00).to_string(),
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() >> 64 << 64).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_domain_are_one_lane() {
        let cases = [
            ("x1.Evil.example", "evil.example"),
            ("evil.example.", "evil.example"),
            ("[mx.evil.example]", "evil.example"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("example.co.uk", "example.co.uk"),
            ("mail.web.de", "mail.web.de"),
            ("smtp.example.de", "example.de"),
            ("[192.0.2.7]", "192.0.2.0"),
            ("[mx.evil.example]:2525", "evil.example"),
            ("[IPv6:2001:db8:0:1:2::3]", "2001:db8:0:1::"),
            ("localhost", "localhost"),
            ("", ""),
        ];
        for (host, want) in cases {
            assert_eq!(of_host(host), want, "{host}");
        }
    }

    #[test]
    fn networks_that_the_site_did_not_name_have_lanes() {
        let addr: IpAddr = "::ffff:192.0.2.9".parse().unwrap();
        let lane = of_address(Source::Mx, addr);
        assert_eq!(lane.as_deref(), Some("192.0.2.0"));
        assert_eq!(of_address(Source::Site, addr), None);
    }
}
