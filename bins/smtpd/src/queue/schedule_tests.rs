use super::*;
use libmaps::site::diagnostic::Place;
use std::path::Path;

fn site(options: &[(&str, &str)], interval: Option<u64>) -> Site {
    let mut site = Site {
        queue_interval: interval.map(Duration::from_secs),
        ..Site::default()
    };
    let place = Place::new(Path::new("test.mc"), 1);
    for (name, value) in options {
        site.options.set(name, value, &place).unwrap();
    }
    site
}

fn waits(options: &[(&str, &str)], interval: Option<u64>) -> Vec<u64> {
    let schedule = Schedule::of(&site(options, interval));
    [1, 2, 3, 6, 1000]
        .map(|tries| schedule.wait(tries).as_secs())
        .to_vec()
}

#[test]
fn waits_between_tries() {
    assert_eq!(waits(&[], None), [60, 120, 240, 1800, 1800]);
    assert_eq!(waits(&[], Some(600)), [600; 5]);
    assert_eq!(waits(&[("MinQueueAge", "15m")], Some(600)), [900; 5]);
    assert_eq!(
        waits(&[("MinQueueAge", "5m")], None),
        [300, 300, 300, 1800, 1800]
    );
    let growing = [("MinQueueAge", "5m"), ("MaxQueueAge", "1h")];
    assert_eq!(waits(&growing, None), [300, 600, 1200, 3600, 3600]);
}

fn message(by: Option<(i64, ByMode)>, urgency: Urgency) -> Envelope {
    Envelope {
        created_unix: 1_000_000,
        by,
        urgency,
        tries: 1,
        tried_unix: 1_000_000,
        ..Envelope::default()
    }
}

#[test]
fn what_time_does() {
    let schedule = Schedule::of(&site(
        &[
            ("Timeout.queuewarn", "4h"),
            ("Timeout.queuereturn", "5d"),
            ("Timeout.queuereturn.urgent", "1h"),
            ("Timeout.queuereturn.dsn", "now"),
        ],
        None,
    ));
    let at = |envelope: &Envelope, age: u64| schedule.pressure(envelope, 1_000_000 + age);
    let normal = message(None, Urgency::Normal);
    assert_eq!(at(&normal, 4 * 3600), Pressure::Wait);
    assert_eq!(at(&normal, 4 * 3600 + 1), Pressure::Warn);
    assert_eq!(at(&normal, 5 * 86_400 + 1), Pressure::GiveUp);
    let warned = Envelope {
        warned: true,
        ..normal
    };
    assert_eq!(at(&warned, 5 * 3600), Pressure::Wait);
    assert_eq!(at(&message(None, Urgency::Urgent), 3601), Pressure::GiveUp);
    assert_eq!(at(&message(None, Urgency::Dsn), 0), Pressure::GiveUp);
    let by = message(Some((60, ByMode::Return)), Urgency::Normal);
    assert_eq!(at(&by, 60), Pressure::Wait);
    assert_eq!(at(&by, 61), Pressure::ByReturn);
    let by = message(Some((-5, ByMode::Notify)), Urgency::Normal);
    assert_eq!(at(&by, 0), Pressure::ByExceeded);
    let told = Envelope {
        told_by_exceeded: true,
        ..by
    };
    assert_eq!(at(&told, 100), Pressure::Wait);
}

#[test]
fn the_next_try_is_no_later_than_a_deadline() {
    let schedule = Schedule::of(&site(&[("MinQueueAge", "1h")], None));
    let by = message(Some((600, ByMode::Return)), Urgency::Normal);
    assert_eq!(schedule.next(&by), 1_000_601);
    assert_eq!(
        schedule.next(&message(None, Urgency::Normal)),
        1_000_000 + 3600
    );
}

#[test]
fn modes_of_delivery() {
    for (mode, first) in [("background", 0), ("i", 0), ("q", 1900), ("deferred", 1900)] {
        let schedule = Schedule::of(&site(&[("DeliveryMode", mode)], Some(900)));
        assert_eq!(schedule.first(1000), first, "{mode}");
    }
}

#[test]
fn ranks() {
    let rank = |order: &str, envelope: &Envelope| {
        Schedule::of(&site(&[("QueueSortOrder", order)], None)).rank(envelope)
    };
    let small = message(None, Urgency::Normal);
    let bulk = Envelope {
        class: -60,
        created_unix: 5,
        ..small.clone()
    };
    assert!(rank("priority", &small) < rank("priority", &bulk));
    assert!(rank("time", &small) > rank("time", &bulk));
    assert!(rank("host", &small) < rank("host", &bulk));
    assert_eq!(rank("filename", &small), rank("filename", &bulk));
}
