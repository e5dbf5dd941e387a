//! The sessions at this moment, and who makes room while places are lacking.
//!
//! Two rules, one beside the other:
//!
//! - Clients that have kept us waiting for longest, [`HURRY`] or more, are timed out.
//! - The network that has most places, at least two more than the newcomer's, loses one,
//!   whatever its clients do: that of the session which has brought no message for longest.
//!   A session is spared for [`HURRY`] after it came and after each message, and for [`LONG`]
//!   at the most. Strangers lose theirs before clients that are trusted do: those of this
//!   host, those that may relay and those that have logged in. Where one network does not
//!   stand out a neighbourhood may, with more than a quarter of all places: who has one
//!   address often has more.
//!
//! While there are places nobody loses his.
//!
//! And where what clients make us keep comes near its limit, the network that makes us keep
//! most loses places in the same way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::network;
use super::place::{Lost, Turn, Why};
use super::time::now;

/// How long a client may take over a step while others find no place.
pub(super) const HURRY: Duration = Duration::from_secs(10);
/// How many are timed out at one time: those who come in their stead may be as slow.
const AT_A_TIME: usize = 8;
/// Age at which a session is spared no more, though it brings messages.
const LONG: Duration = Duration::from_secs(60);
/// Within this time who lost his place has left it; until then nobody else of his daemon
/// loses one.
pub(super) const LEAVING: Duration = Duration::from_secs(1);
/// How often it is looked who holds most, at the most.
const RELIEVE_EVERY: Duration = Duration::from_millis(50);
/// A look at all sessions is followed by so many times as long without one.
const REST: u32 = 20;

/// Sessions at this moment, over all and by daemon. Kept here, they outlive a reload.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub(super) all: u64,
    by_daemon: HashMap<String, u64>,
    by_network: HashMap<IpAddr, u64>,
    /// Each by its number.
    seats: HashMap<u64, Seat>,
    next: u64,
    rest_until: Option<Instant>,
    relieve_after: Option<Instant>,
}

/// Whose a session is.
#[derive(Debug)]
struct Seat {
    daemon: String,
    /// `None` while only its balancer is known.
    network: Option<IpAddr>,
    turn: Arc<Turn>,
}

/// Whose sessions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Strangers,
    Everybody,
}

/// How they are counted, and from how many places on a count stands out: a part of all.
type Level = (Whose, fn(IpAddr) -> IpAddr, Option<usize>);

/// In this order.
const LEVELS: [Level; 3] = [
    (Whose::Strangers, network, None),
    (Whose::Strangers, neighbourhood, Some(4)),
    (Whose::Everybody, network, None),
];

/// The addresses that are given out together: a /24 of IPv4, a /48 of IPv6 (RFC 6177).
fn neighbourhood(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & !0xff)),
        IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() >> 80 << 80)),
    }
}

impl Sessions {
    /// The sessions of a daemon.
    pub(super) fn of_daemon(&self, daemon: &str) -> u64 {
        self.by_daemon.get(daemon).copied().unwrap_or(0)
    }

    /// The sessions of a client's network.
    pub(super) fn of_network(&self, client: IpAddr) -> u64 {
        let here = self.by_network.get(&network(client));
        here.copied().unwrap_or(0)
    }

    /// One more; its number and turn.
    pub(super) fn enter(&mut self, daemon: &str, client: Option<IpAddr>) -> (u64, Arc<Turn>) {
        let (number, turn) = (self.next, Arc::new(Turn::default()));
        self.next += 1;
        self.all += 1;
        *self.by_daemon.entry(daemon.to_owned()).or_default() += 1;
        let seat = Seat {
            daemon: daemon.to_owned(),
            network: None,
            turn: Arc::clone(&turn),
        };
        self.seats.insert(number, seat);
        if let Some(client) = client {
            self.belongs_to(number, client);
        }
        (number, turn)
    }

    /// It is known whose a session is.
    pub(super) fn belongs_to(&mut self, number: u64, client: IpAddr) {
        let Some(seat) = self.seats.get_mut(&number) else {
            return;
        };
        if seat.network.is_none() {
            let network = network(client);
            seat.network = Some(network);
            *self.by_network.entry(network).or_default() += 1;
        }
        if client.is_loopback() {
            seat.turn.trust();
        }
    }

    /// One less.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(seat) = self.seats.remove(&number) else {
            return;
        };
        self.all = self.all.saturating_sub(1);
        if let Some(here) = self.by_daemon.get_mut(&seat.daemon) {
            *here = here.saturating_sub(1);
        }
        let Some(network) = seat.network else { return };
        if let Some(here) = self.by_network.get_mut(&network) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                self.by_network.remove(&network);
            }
        }
    }

    /// There is no place for a newcomer: among the sessions of one daemon, or of all, some
    /// make room.
    pub(super) fn make_room(&mut self, daemon: Option<&str>, newcomer: Option<IpAddr>) {
        let start = now();
        if self.rest_until.is_some_and(|until| start < until) {
            return;
        }
        self.hurry(daemon, HURRY);
        self.take_from_the_largest(daemon, newcomer);
        let end = now();
        self.rest_until = Some(end + (end - start) * REST);
    }

    fn seats_of(&self, daemon: Option<&str>) -> impl Iterator<Item = &Seat> {
        let all = self.seats.values();
        all.filter(move |seat| daemon.is_none_or(|daemon| daemon == seat.daemon))
    }

    /// Times out the clients that have kept us waiting for longest, `least` or more: those of
    /// one daemon, or of all.
    pub(super) fn hurry(&self, daemon: Option<&str>, least: Duration) {
        let mut slow: Vec<(Duration, &Turn)> = self
            .seats_of(daemon)
            .filter_map(|seat| Some((seat.turn.waited()?, &*seat.turn)))
            .filter(|(waited, _)| *waited >= least)
            .collect();
        slow.sort_unstable_by_key(|(waited, _)| std::cmp::Reverse(*waited));
        for (_, turn) in slow.iter().take(AT_A_TIME) {
            turn.hurry();
        }
    }

    /// Memory is short: of the network that makes us keep most those lose their places who
    /// hold most of it, strangers before others.
    pub(super) fn relieve(&mut self) {
        let start = now();
        if self.relieve_after.is_some_and(|after| start < after) {
            return;
        }
        for whose in [Whose::Strangers, Whose::Everybody] {
            let mut sums: HashMap<Option<IpAddr>, u64> = HashMap::new();
            let mut holding: Vec<&Seat> = Vec::new();
            for seat in self.seats.values() {
                let counted = whose == Whose::Everybody || !seat.turn.is_trusted();
                if counted && seat.turn.kept() > 0 && seat.turn.lost().is_none() {
                    *sums.entry(seat.network).or_default() += seat.turn.kept();
                    holding.push(seat);
                }
            }
            let sum = |seat: &Seat| sums.get(&seat.network).copied().unwrap_or(0);
            holding.retain(|seat| seat.turn.is_spared_no_more(HURRY, LONG));
            holding.sort_unstable_by_key(|seat| std::cmp::Reverse((sum(seat), seat.turn.kept())));
            for seat in holding.iter().take(AT_A_TIME) {
                seat.turn.lose(Lost {
                    told: start,
                    why: Why::Memory { octets: sum(seat) },
                });
            }
            if !holding.is_empty() {
                break;
            }
        }
        // Those who were told need a moment to go.
        let end = now();
        let rest = ((end - start) * REST).max(RELIEVE_EVERY);
        self.relieve_after = Some(end + rest);
    }

    /// Takes the place of one session of the network that has most.
    fn take_from_the_largest(&self, daemon: Option<&str>, newcomer: Option<IpAddr>) {
        let leaves = |lost: &Lost| now().saturating_duration_since(lost.told) < LEAVING;
        let (mut all, mut staying) = (0, Vec::new());
        for seat in self.seats_of(daemon) {
            all += 1;
            match (seat.turn.lost(), seat.network) {
                (Some(lost), _) if leaves(lost) => return,
                (None, Some(network)) => staying.push((network, &*seat.turn)),
                _ => {}
            }
        }
        for (whose, group, part) in LEVELS {
            let counted = |turn: &Turn| whose == Whose::Everybody || !turn.is_trusted();
            let mut counts: HashMap<IpAddr, usize> = HashMap::new();
            for (network, turn) in &staying {
                if counted(turn) {
                    *counts.entry(group(*network)).or_default() += 1;
                }
            }
            let count = |network| counts.get(&group(network)).copied().unwrap_or(0);
            let least = newcomer.map_or(0, count) + 2;
            let least = part.map_or(least, |part| least.max(all / part + 1));
            let largest = staying
                .iter()
                .filter(|(_, turn)| counted(turn) && turn.is_spared_no_more(HURRY, LONG))
                .map(|(network, turn)| (count(*network), turn.barren_for(), turn))
                .filter(|(count, ..)| *count >= least)
                .max_by_key(|(count, barren, _)| (*count, *barren));
            if let Some((count, _, turn)) = largest {
                return turn.lose(Lost {
                    told: now(),
                    why: Why::Place { count, all },
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "crowd_tests.rs"]
mod tests;
