//! From host to host: those of the route, their addresses, and the fallbacks of the site.

use std::net::{IpAddr, SocketAddr};

use libmaps::site::model::Family;

use super::{Delivery, NO_TIME, remote};
use crate::deliver::outcome::{KeepsTime, Notifies, Remote};
use crate::relay::client::Failure;
use crate::relay::exchange::{self, Behind, Found, Hop, Source};
use crate::relay::route::{Next, NextHost, hosts};

/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;
/// Hosts that one delivery looks up.
const MAX_HOPS: usize = 40;

impl Delivery<'_> {
    /// Tries the hosts of a route, and behind them the fallbacks.
    pub(super) async fn by_hosts(&mut self, list: Vec<Next>) {
        let delivery = &self.world.site.options.delivery;
        let only = hosts(&delivery.connect_only_to, 25).into_iter().next();
        let is_domain = list.iter().any(|n| matches!(n.host, NextHost::Domain(_)));
        let list = match only {
            Some(only) => vec![only],
            None => list,
        };
        let mut behind = Behind::Fallbacks;
        for next in &list {
            behind = behind.min(self.by_list_host(next).await);
            if self.is_done() {
                return;
            }
        }
        if !is_domain {
            return;
        }
        // FallbackMXhost stands behind the MX of a domain, and takes mail for names that don't
        // resolve, too; FallbackSmartHost takes what nobody else does.
        let mx = match behind {
            Behind::Fallbacks => hosts(&delivery.fallback_mx, 25),
            Behind::SmartHost | Behind::Nobody => Vec::new(),
        };
        let smart = match behind {
            Behind::Fallbacks | Behind::SmartHost => hosts(&delivery.fallback_smart_host, 25),
            Behind::Nobody => Vec::new(),
        };
        for next in mx.iter().chain(&smart) {
            self.by_list_host(next).await;
            if self.is_done() {
                return;
            }
        }
    }

    /// Tries a host of the list, and tells who stands behind it.
    async fn by_list_host(&mut self, next: &Next) -> Behind {
        let site = &self.snapshot.site;
        let Found { hops, behind } = exchange::hops(site, &self.world.resolver, next).await;
        let hops = match hops {
            Ok(hops) => hops,
            Err(failure) => {
                let remote = match &next.host {
                    NextHost::Domain(name) | NextHost::Exact(name) => Some(Remote {
                        host: name.clone(),
                        addr: None,
                        reply: String::new(),
                        notifies: Notifies::No,
                        keeps_time: KeepsTime::Yes,
                    }),
                    NextHost::Address(_) => None,
                };
                self.note(failure, remote);
                return behind;
            }
        };
        for hop in &hops {
            if self.is_late() {
                self.note_untried(NO_TIME);
                break;
            }
            self.hops += 1;
            if self.hops > MAX_HOPS {
                self.note_untried("too many hosts to try at once");
                break;
            }
            match self.addresses(hop).await {
                Ok(addresses) => {
                    for addr in addresses {
                        self.by_address(hop, addr).await;
                        // What it wants later it wants later at its other addresses, too.
                        if self.open() == 0 {
                            break;
                        }
                    }
                    if self.is_done() {
                        break;
                    }
                }
                Err(failure) => {
                    let remote = remote(hop, None, None, Notifies::No);
                    self.note(failure, Some(remote));
                }
            }
        }
        behind
    }

    /// The addresses of a host, of the families that the site uses.
    async fn addresses(&self, hop: &Hop) -> Result<Vec<SocketAddr>, Failure> {
        let found = match hop.source {
            Source::Address(addr) => return Ok(vec![SocketAddr::new(addr, hop.port)]),
            Source::Mx | Source::Domain | Source::Site => {
                self.world.resolver.addresses_from(&hop.name).await
            }
        };
        let Ok((mut all, service)) = found else {
            let text = format!("Name server: {}: host name lookup failure", hop.name);
            return Err(Failure::temporary("4.4.3", text));
        };
        if all.is_empty() {
            let text = format!("Host unknown (Name server: {}: host not found)", hop.name);
            return Err(Failure::permanent("5.1.2", text));
        }
        all.retain(|addr| hop.source.allows(&service, *addr));
        if all.is_empty() {
            let text = format!("{} leads to an address of this host itself", hop.name);
            return Err(Failure::permanent("5.4.6", text));
        }
        let families: Vec<Family> = self.world.site.clients.iter().map(|c| c.family).collect();
        let wanted = |addr: &IpAddr| {
            let family = if addr.is_ipv4() {
                Family::Inet
            } else {
                Family::Inet6
            };
            families.is_empty() || families.contains(&family)
        };
        all.retain(wanted);
        if all.is_empty() {
            let text = format!("{} has no address of a family that is used here", hop.name);
            return Err(Failure::temporary("4.4.4", text));
        }
        let mut all: Vec<SocketAddr> = in_turn(&all)
            .map(|addr| SocketAddr::new(addr, hop.port))
            .collect();
        // One that is left alone takes no other's place.
        all.sort_by_cached_key(|addr| self.resting(*addr).is_some());
        all.truncate(MAX_ADDRESSES);
        Ok(all)
    }
}

/// The addresses of both families by turns, IPv6 first (RFC 8305 section 4): where one family leads
/// nowhere, the other is tried all the same.
fn in_turn(all: &[IpAddr]) -> impl Iterator<Item = IpAddr> + '_ {
    let mut sixes = all.iter().filter(|addr| addr.is_ipv6());
    let mut fours = all.iter().filter(|addr| addr.is_ipv4());
    let pairs = std::iter::from_fn(move || {
        let pair = [sixes.next(), fours.next()];
        pair.iter().any(Option::is_some).then_some(pair)
    });
    pairs.flatten().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_tried_by_turns() {
        let addr = |text: &&str| text.parse::<IpAddr>().unwrap();
        for (all, want) in [
            (
                &["192.0.2.1", "::1", "::2", "::3"][..],
                &["::1", "192.0.2.1", "::2", "::3"][..],
            ),
            (&["192.0.2.1", "192.0.2.2"], &["192.0.2.1", "192.0.2.2"]),
            (&["::1"], &["::1"]),
            (&[], &[]),
        ] {
            let all: Vec<IpAddr> = all.iter().map(addr).collect();
            let want: Vec<IpAddr> = want.iter().map(addr).collect();
            assert_eq!(in_turn(&all).collect::<Vec<_>>(), want);
        }
    }
}
