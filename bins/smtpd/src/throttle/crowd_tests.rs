//! Who makes room, in virtual time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use libmaps::site::Site;
use libmaps::site::model::DaemonOptions;

use super::super::{Place, Throttle, time};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Looks once whether the wait is over.
async fn is_over<T>(wait: &mut Pin<Box<impl Future<Output = io::Result<T>>>>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await
}

/// A throttle of a site with so many places.
struct Crowd {
    throttle: Arc<Throttle>,
    site: Site,
    daemon: DaemonOptions,
}

impl Crowd {
    fn of(places: u64) -> Self {
        let mut site = Site::default();
        site.options.limits.max_daemon_children.0 = Some(places);
        Crowd {
            throttle: Throttle::new(Duration::from_secs(60), 10_000),
            site,
            daemon: DaemonOptions::new("one", "25"),
        }
    }

    fn admit(&self, client: &str) -> Option<Place> {
        let client = client.parse().unwrap();
        self.throttle.admit(&self.site, &self.daemon, Some(client))
    }

    /// These clients' places, which there are.
    fn admit_all<'a>(&self, clients: impl IntoIterator<Item = &'a str>) -> Vec<Place> {
        let all = clients.into_iter();
        all.map(|client| self.admit(client).unwrap()).collect()
    }

    /// Lets a newcomer try; who of these lost his place.
    fn losers(&self, newcomer: &str, places: &[Place]) -> Vec<usize> {
        assert!(self.admit(newcomer).is_none());
        let lost = places.iter().enumerate();
        lost.filter(|(_, place)| place.lost().is_some())
            .map(|(at, _)| at)
            .collect()
    }
}

fn pass(seconds: u64) {
    time::pass(Duration::from_secs(seconds));
}

#[tokio::test]
async fn only_who_keeps_a_crowded_daemon_waiting_is_timed_out() {
    let throttle = Throttle::new(Duration::from_secs(60), 1_024);
    let site = Site::default();
    let place = |daemon: &str| {
        let options = DaemonOptions::new(daemon, "25");
        throttle.admit(&site, &options, None).unwrap()
    };
    let (slow, busy, other) = (place("one"), place("one"), place("other"));
    let mut slow_wait = Box::pin(slow.wait(HOUR, std::future::pending::<()>()));
    let mut other_wait = Box::pin(other.wait(HOUR, std::future::pending::<()>()));
    assert!(!is_over(&mut slow_wait).await && !is_over(&mut other_wait).await);
    throttle.sessions().hurry(None, HURRY);
    assert!(!is_over(&mut slow_wait).await, "it has come just now");
    throttle.sessions().hurry(Some("one"), Duration::ZERO);
    assert!(is_over(&mut slow_wait).await);
    assert!(!is_over(&mut other_wait).await, "another daemon");
    // Whoever was busy then does not hear of it later.
    let mut late = Box::pin(busy.wait(HOUR, std::future::pending::<()>()));
    assert!(!is_over(&mut late).await);
}

#[test]
fn who_has_all_places_loses_one_whatever_he_does() {
    let crowd = Crowd::of(4);
    let mut places = crowd.admit_all(["192.0.2.1"; 4]);
    for _ in 0..9 {
        // A command each second, and no wait is long.
        pass(1);
        places.iter().for_each(Place::begin);
        assert_eq!(crowd.losers("198.51.100.1", &places), [] as [usize; 0]);
    }
    pass(1);
    assert_eq!(crowd.losers("198.51.100.1", &places).len(), 1);
    // One is enough, as long as he is on his way.
    let lost = crowd.losers("198.51.100.1", &places);
    assert_eq!(lost.len(), 1);
    places.remove(lost[0]);
    let _second = crowd.admit("198.51.100.1").unwrap();
    let lost = crowd.losers("203.0.113.1", &places);
    assert_eq!(lost.len(), 1);
    places.remove(lost[0]);
    let _third = crowd.admit("203.0.113.1").unwrap();
    // Two are no more than one and a newcomer; of a third network one loses.
    pass(60);
    assert_eq!(crowd.losers("192.0.2.1", &places), [] as [usize; 0]);
    assert_eq!(crowd.losers("198.51.100.1", &places), [] as [usize; 0]);
    assert_eq!(crowd.losers("100.64.0.1", &places).len(), 1);
}

#[test]
fn who_does_not_leave_is_waited_for_no_longer_than_a_second() {
    let crowd = Crowd::of(4);
    let places = crowd.admit_all(["192.0.2.1"; 4]);
    pass(10);
    assert_eq!(crowd.losers("198.51.100.1", &places).len(), 1);
    pass(1);
    assert_eq!(crowd.losers("198.51.100.1", &places).len(), 2);
}

#[test]
fn while_there_are_places_nobody_loses_his() {
    let crowd = Crowd::of(100);
    let places = crowd.admit_all(["192.0.2.1"; 98]);
    pass(3600);
    let _others = crowd.admit_all(["198.51.100.1", "203.0.113.1"]);
    assert!(places.iter().all(|place| place.lost().is_none()));
}

#[test]
fn sessions_that_bring_messages_are_spared_for_a_while() {
    let crowd = Crowd::of(3);
    let places = crowd.admit_all(["192.0.2.1"; 3]);
    pass(15);
    places[0].bore_fruit();
    places[2].bore_fruit();
    pass(5);
    assert_eq!(crowd.losers("198.51.100.1", &places), [1]);
    let crowd = Crowd::of(3);
    let places = crowd.admit_all(["192.0.2.1"; 3]);
    for _ in 0..59 {
        pass(1);
        places.iter().for_each(Place::bore_fruit);
        assert_eq!(crowd.losers("198.51.100.1", &places), [] as [usize; 0]);
    }
    pass(1);
    places[1..].iter().for_each(Place::bore_fruit);
    assert_eq!(crowd.losers("198.51.100.1", &places), [0]);
}

#[test]
fn strangers_lose_theirs_before_those_who_are_trusted() {
    let crowd = Crowd::of(8);
    let filter = ["127.0.0.1"; 3];
    let strangers = ["192.0.2.1", "192.0.2.1"];
    let relay = ["198.51.100.7"; 3];
    let places = crowd.admit_all(filter.into_iter().chain(strangers).chain(relay));
    places[5..].iter().for_each(Place::trust);
    pass(60);
    let lost = crowd.losers("203.0.113.1", &places);
    assert!(lost == [3] || lost == [4], "{lost:?}");
    let mut places = places;
    places.drain(3..5);
    let _others = crowd.admit_all(["203.0.113.1", "100.64.0.1"]);
    // Now they have most: somebody else gets in all the same.
    assert_eq!(crowd.losers("203.0.113.9", &places).len(), 1);
}

#[test]
fn many_addresses_side_by_side_count_as_one_where_they_have_much() {
    let crowd = Crowd::of(8);
    let own: Vec<String> = (1..=3).map(|n| format!("2001:db8:1:{n}::1")).collect();
    let others: Vec<String> = (1..=5).map(|n| format!("2001:db8:{n}0::1")).collect();
    let all = || own.iter().chain(&others).map(String::as_str);
    let places = crowd.admit_all(all());
    pass(60);
    let lost = crowd.losers("192.0.2.1", &places);
    assert!(lost.len() == 1 && lost[0] < 3, "{lost:?}");
    // Two of eight are no more than a quarter.
    let crowd = Crowd::of(7);
    let places = crowd.admit_all(all().skip(2).chain(["2001:db8:10:1::1"]));
    pass(60);
    assert_eq!(crowd.losers("192.0.2.1", &places).len(), 1, "two of seven");
    let crowd = Crowd::of(8);
    let places = crowd.admit_all(all().skip(1).chain(["2001:db8:90::1"]));
    pass(60);
    assert_eq!(crowd.losers("192.0.2.1", &places), [] as [usize; 0]);
}

#[test]
fn who_makes_us_keep_most_makes_room() {
    let throttle = Throttle::with_memory(Duration::from_secs(60), 10_000, 1_000);
    let mut crowd = Crowd::of(100);
    crowd.throttle = throttle;
    let clients = ["192.0.2.1"; 10]
        .into_iter()
        .chain(["198.51.100.1", "127.0.0.1"]);
    let places = crowd.admit_all(clients);
    let lost = || places.iter().filter(|place| place.lost().is_some()).count();
    places[..10].iter().for_each(|place| place.keeps(40));
    places[10].keeps(200);
    places[11].keeps(300);
    pass(5);
    assert!(places[10].may_bring_more());
    assert_eq!(lost(), 0, "they have come just now");
    pass(5);
    places[10].keeps(299);
    assert!(places[10].may_bring_more());
    // The network has most, though none of its sessions does.
    assert_eq!(lost(), 8);
    assert!(places[10].lost().is_none() && places[11].lost().is_none());
    let why = places.iter().find_map(Place::lost).unwrap().why;
    assert_eq!(why, Why::Memory { octets: 400 });
    places[10].keeps(300);
    assert!(!places[10].may_bring_more(), "there is no more");
    drop(places);
    let other = crowd.admit("203.0.113.1").unwrap();
    assert!(other.may_bring_more());
}

#[test]
fn a_balancer_s_clients_count_once_they_are_known() {
    let crowd = Crowd::of(3);
    let places: Vec<Place> = (0..3)
        .map(|_| {
            crowd
                .throttle
                .admit(&crowd.site, &crowd.daemon, None)
                .unwrap()
        })
        .collect();
    pass(10);
    assert_eq!(crowd.losers("198.51.100.1", &places), [] as [usize; 0]);
    let client = "192.0.2.1".parse().unwrap();
    places.iter().for_each(|place| place.belongs_to(client));
    assert_eq!(crowd.throttle.open_places(Some(client)), 3);
    assert_eq!(crowd.losers("198.51.100.1", &places).len(), 1);
    drop(places);
    assert_eq!(crowd.throttle.open_places(Some(client)), 0);
}
