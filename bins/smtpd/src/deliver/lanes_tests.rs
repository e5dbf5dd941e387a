use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn lanes(places: usize, most: usize, room: usize) -> &'static Lanes {
    Box::leak(Box::new(Lanes::new(places, most, room)))
}

type Entering = Pin<Box<dyn Future<Output = Result<Place, ComeAgain>>>>;

fn enter(lanes: &'static Lanes, lane: &'static str) -> Entering {
    Box::pin(lanes.enter(lane, 1, HOUR))
}

/// What a look at it says; the clock of its runtime does not run.
fn poll(future: &mut Entering) -> Poll<Result<Place, ComeAgain>> {
    static CLOCK: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    });
    let _clock = CLOCK.enter();
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// A place at once.
fn take(lanes: &'static Lanes, lane: &'static str) -> Option<Place> {
    match poll(&mut enter(lanes, lane)) {
        Poll::Ready(Ok(place)) => Some(place),
        _ => None,
    }
}

#[test]
fn one_lane_leaves_places_and_many_leave_some() {
    let all = lanes(100, 20, 1000);
    let evil: Vec<Place> = std::iter::from_fn(|| take(all, "evil")).collect();
    assert_eq!(evil.len(), 20);
    let mut others = Vec::new();
    for lane in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        others.extend(std::iter::from_fn(|| take(all, lane)));
    }
    // However many more come, one that has none still finds a place.
    assert!(others.len() < 80, "{}", others.len());
    assert!(take(all, "good").is_some());
}

#[test]
fn a_list_of_any_size_waits_for_its_turn() {
    let all = lanes(2, 2, 1000);
    let held = [take(all, "hub").unwrap(), take(all, "x").unwrap()];
    let ask = |lane, weight| -> Entering { Box::pin(all.enter(lane, weight, HOUR)) };
    // All the room that small ones of its lane can have is theirs.
    let mut small = Vec::new();
    loop {
        let mut one = ask("hub", 1);
        if poll(&mut one).is_ready() {
            break;
        }
        small.push(one);
    }
    assert!(small.len() > 300, "{}", small.len());
    drop(small.pop());
    let mut list = ask("hub", 5_000);
    assert!(poll(&mut list).is_pending());
    drop(small.pop());
    assert!(poll(&mut ask("hub", 5_000)).is_ready(), "one is enough");
    assert!(poll(&mut ask("hub", 1)).is_pending());
    // Others have room beside them.
    let mut other = ask("other", 5_000);
    assert!(poll(&mut other).is_pending());
    drop(held);
    assert!(matches!(poll(&mut other), Poll::Ready(Ok(_))));
    let mut came = 0;
    for one in &mut small {
        came += usize::from(matches!(poll(one), Poll::Ready(Ok(_))));
    }
    assert_eq!(came, small.len());
    assert!(matches!(poll(&mut list), Poll::Ready(Ok(_))));
}

#[test]
fn a_few_places_are_enough_for_somebody() {
    let all = lanes(1, 20, 10);
    let place = take(all, "a");
    assert!(place.is_some() && take(all, "b").is_none());
    drop(place);
    assert!(take(all, "b").is_some());
}

#[test]
fn a_place_that_becomes_free_goes_to_whoever_has_none() {
    let all = lanes(2, 2, 100);
    let mut held = vec![take(all, "evil").unwrap(), take(all, "evil2").unwrap()];
    let mut first = enter(all, "evil");
    let mut second = enter(all, "good");
    let mut third = enter(all, "better");
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll(waiting).is_pending());
    }
    held.pop();
    assert!(poll(&mut first).is_pending());
    let Poll::Ready(Ok(place)) = poll(&mut second) else {
        panic!("good has waited longer than better and has none");
    };
    drop(place);
    let Poll::Ready(Ok(place)) = poll(&mut third) else {
        panic!("better has none");
    };
    drop(place);
    // Both places may be evil's where nobody else wants one.
    assert!(poll(&mut first).is_ready() || held.pop().is_some());
}

#[test]
fn who_no_longer_waits_takes_no_place() {
    let all = lanes(1, 1, 100);
    let held = take(all, "a");
    let mut gone = enter(all, "b");
    let mut next = enter(all, "c");
    assert!(poll(&mut gone).is_pending() && poll(&mut next).is_pending());
    drop(gone);
    drop(held);
    let place = poll(&mut next);
    assert!(matches!(place, Poll::Ready(Ok(_))));
    drop(place);
    // A place that was given and never looked at is free again.
    let held = take(all, "a");
    let mut unread = enter(all, "b");
    assert!(poll(&mut unread).is_pending());
    drop(held);
    drop(unread);
    assert!(take(all, "a").is_some());
    let state = all.state();
    assert_eq!((state.waiting, state.lanes.len(), state.taken), (0, 0, 0));
}

#[test]
fn the_room_is_shared_too_and_who_finds_none_comes_one_behind_the_other() {
    let all = lanes(1, 1, 16);
    let _held = take(all, "evil");
    let mut waiting = Vec::new();
    let mut later = Vec::new();
    for _ in 0..40 {
        let mut one = enter(all, "evil");
        match poll(&mut one) {
            Poll::Pending => waiting.push(one),
            Poll::Ready(Err(ComeAgain(wait))) => later.push(wait),
            Poll::Ready(Ok(_)) => panic!("there is one place"),
        }
    }
    assert!(waiting.len() < 16 && !later.is_empty());
    assert!(later.is_sorted() && later[0] >= SOON);
    assert!(later.iter().all(|wait| *wait <= LATEST));
    assert!(
        poll(&mut enter(all, "good")).is_pending(),
        "room for others"
    );
}

#[test]
fn all_who_wait_can_be_sent_away() {
    let all = lanes(1, 1, 10);
    let held = take(all, "a");
    let (mut one, mut two) = (enter(all, "a"), enter(all, "b"));
    assert!(poll(&mut one).is_pending() && poll(&mut two).is_pending());
    all.send_away();
    for waits in [&mut one, &mut two] {
        assert!(matches!(poll(waits), Poll::Ready(Err(ComeAgain(_)))));
    }
    drop(held);
    assert!(take(all, "b").is_some());
    let state = all.state();
    assert_eq!((state.waiting, state.lanes.len(), state.taken), (0, 0, 0));
}

#[test]
fn what_is_remembered_of_lanes_is_bounded() {
    let all = lanes(1, 1, 1);
    let _held = take(all, "a");
    let mut fills = enter(all, "b");
    assert!(poll(&mut fills).is_pending());
    for number in 0..MAX_APPOINTMENTS + 100 {
        let lane = number.to_string();
        let answer = all.state().ask(&lane, 1, Instant::now());
        assert!(matches!(answer, Answer::Later(_)));
    }
    let state = all.state();
    assert!(state.appointments.len() <= MAX_APPOINTMENTS);
    assert_eq!(state.lanes.len(), 2);
}

proptest! {
    /// Whoever comes and goes: places and room are never overdrawn, none is lost, and when all
    /// have left everybody who waited has had his turn.
    #[test]
    fn nothing_is_lost_and_everybody_gets_his_turn(
        acts in proptest::collection::vec((0..6usize, 0..4usize), 1..200),
        places in 1..8usize,
        room in 1..20usize,
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let all = lanes(places, 3, room);
        let mut held: Vec<Place> = Vec::new();
        let mut waiting: Vec<Entering> = Vec::new();
        for (act, which) in acts {
            match act {
                0..=2 => {
                    let mut one = enter(all, NAMES[which]);
                    match poll(&mut one) {
                        Poll::Ready(Ok(place)) => held.push(place),
                        Poll::Ready(Err(_)) => {}
                        Poll::Pending => waiting.push(one),
                    }
                }
                3 | 4 if !held.is_empty() => drop(held.remove(which % held.len())),
                5 if !waiting.is_empty() => drop(waiting.remove(which % waiting.len())),
                _ => {}
            }
            let mut still = Vec::new();
            for mut one in waiting {
                match poll(&mut one) {
                    Poll::Ready(Ok(place)) => held.push(place),
                    Poll::Ready(Err(_)) => prop_assert!(false, "told to wait"),
                    Poll::Pending => still.push(one),
                }
            }
            waiting = still;
            let state = all.state();
            prop_assert!(state.taken <= places && state.waiting <= room);
            prop_assert_eq!(state.taken, held.len());
            prop_assert_eq!(state.waiting, waiting.len());
        }
        while let Some(place) = held.pop() {
            drop(place);
            let mut still = Vec::new();
            for mut one in waiting {
                match poll(&mut one) {
                    Poll::Ready(Ok(place)) => held.push(place),
                    _ => still.push(one),
                }
            }
            waiting = still;
        }
        prop_assert!(waiting.is_empty());
        let state = all.state();
        prop_assert_eq!((state.taken, state.waiting, state.lanes.len()), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_place_is_waited_for() {
    let all = lanes(1, 1, 10);
    let place = all.enter("a", 1, HOUR).await.unwrap();
    let mut waits = pin!(all.enter("b", 1, HOUR));
    tokio::select! {
        biased;
        _ = &mut waits => panic!("there is one place"),
        () = tokio::task::yield_now() => {}
    }
    drop(place);
    assert!(waits.await.is_ok());
}

#[tokio::test]
async fn nobody_waits_for_longer_than_he_can() {
    let all = lanes(1, 1, 10);
    let place = all.enter("a", 1, HOUR).await.unwrap();
    let waited = all.enter("b", 1, Duration::from_millis(5)).await;
    assert!(matches!(waited, Err(ComeAgain(wait)) if wait >= SOON));
    assert_eq!(all.state().waiting, 0);
    drop(place);
    assert!(all.enter("b", 1, HOUR).await.is_ok());
}
