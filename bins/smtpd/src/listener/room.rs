//! Where clients stand whom a listener has accepted and who find no place yet.
//!
//! In the kernel's queue they would stand one behind the other, and one client could fill it.
//! Here the next place goes to the network that has fewest; of several, to who came first. When
//! the room is full the network that has most in it is turned away, its last one first.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::throttle::network;

/// Clients who wait.
#[derive(Debug)]
pub(super) struct Room<T> {
    most: usize,
    waiting: VecDeque<Guest<T>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Guest<T> {
    /// Its address; `None` where only its balancer is known.
    pub(super) client: Option<IpAddr>,
    /// What came with it.
    pub(super) it: T,
}

impl<T> Room<T> {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        Room {
            most,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// One more comes in; who must go, where there are too many.
    pub(super) fn enter(&mut self, guest: Guest<T>) -> Option<Guest<T>> {
        self.waiting.push_back(guest);
        if self.waiting.len() <= self.most {
            return None;
        }
        let of = |guest: &Guest<T>| guest.client.map(network);
        let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for guest in &self.waiting {
            *counts.entry(of(guest)).or_default() += 1;
        }
        let all = self.waiting.iter().enumerate();
        let last = all.max_by_key(|(at, guest)| (counts.get(&of(guest)).copied(), *at));
        let at = last.map(|(at, _)| at)?;
        self.waiting.remove(at)
    }

    /// Takes out the next: of those whose network has fewest places, as `places` knows.
    pub(super) fn next(&mut self, places: impl Fn(Option<IpAddr>) -> u64) -> Option<Guest<T>> {
        let all = self.waiting.iter().enumerate();
        let first = all.min_by_key(|(at, guest)| (places(guest.client), *at));
        let at = first.map(|(at, _)| at)?;
        self.waiting.remove(at)
    }

    /// Puts back who was the next and found no place.
    pub(super) fn put_back(&mut self, guest: Guest<T>) {
        self.waiting.push_front(guest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(client: &str, it: u32) -> Guest<u32> {
        Guest {
            client: client.parse().ok(),
            it,
        }
    }

    #[test]
    fn who_has_fewest_places_comes_first() {
        let mut room = Room::new(10);
        for (client, it) in [
            ("192.0.2.1", 1),
            ("192.0.2.2", 2),
            ("", 3),
            ("192.0.2.2", 4),
        ] {
            assert!(room.enter(guest(client, it)).is_none());
        }
        let places = |client: Option<IpAddr>| match client {
            Some(addr) if addr.to_string() == "192.0.2.1" => 4,
            Some(_) => 1,
            None => 2,
        };
        let order: Vec<u32> = std::iter::from_fn(|| room.next(places))
            .map(|g| g.it)
            .collect();
        assert_eq!(order, [2, 4, 3, 1]);
        assert!(room.is_empty());
    }

    #[test]
    fn a_full_room_turns_away_who_fills_it() {
        let mut room = Room::new(3);
        for it in 0..3 {
            assert!(room.enter(guest("192.0.2.1", it)).is_none());
        }
        assert_eq!(room.enter(guest("192.0.2.1", 3)).unwrap().it, 3);
        assert_eq!(room.enter(guest("198.51.100.1", 4)).unwrap().it, 2);
        assert_eq!(room.enter(guest("203.0.113.1", 5)).unwrap().it, 1);
        // Each has one: the last has come too late.
        assert_eq!(room.enter(guest("100.64.0.1", 6)).unwrap().it, 6);
        let first = room.next(|_| 0).unwrap();
        assert_eq!(first.it, 0);
        room.put_back(first);
        let order: Vec<u32> = std::iter::from_fn(|| room.next(|_| 0))
            .map(|g| g.it)
            .collect();
        assert_eq!(order, [0, 4, 5]);
    }
}
