//! Places for deliveries, shared out so that nobody can take them all.
//!
//! Each delivery belongs to a lane: that of the user who gets it, or of the domain where it
//! goes. A lane has so many places at the most, and never more than half of what the others
//! leave free, one in any case: however many are slow, some places stay for a lane that has
//! none. One that becomes free goes to the lane that has fewest; of several, to the one whose
//! first has waited longest.
//!
//! Whoever finds no place waits, in a room that is shared out in the same way. Where that is
//! full too, or he has waited for as long as he can, he is told when to come again, at the pace
//! at which his lane gets on. So what is remembered is bounded, and everybody's turn comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// The parts of what is free of which one lane may have one.
const SHARE: usize = 2;
/// Most lanes of which it is remembered when the next may come again.
const MAX_APPOINTMENTS: usize = 10_000;
/// The shortest wait of one who is to come again.
const SOON: Duration = Duration::from_secs(1);
/// The longest.
const LATEST: Duration = Duration::from_secs(300);
/// The slowest pace that is counted on.
const SLOWEST: Duration = Duration::from_secs(10);

/// Lanes that share places.
#[derive(Debug)]
pub(crate) struct Lanes {
    state: Mutex<State>,
}

/// A delivery's place; dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Place {
    lanes: &'static Lanes,
    lane: Option<Arc<str>>,
}

/// There is no room to wait in: come again after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ComeAgain(pub(crate) Duration);

#[derive(Debug)]
struct State {
    /// All places, and those of one lane at the most.
    places: usize,
    most: usize,
    taken: usize,
    /// How much may wait, and does.
    room: usize,
    waiting: usize,
    /// Lanes in which somebody has a place or waits.
    lanes: BTreeMap<Arc<str>, Lane>,
    /// When the next one of a lane may come who found no room.
    appointments: BTreeMap<Arc<str>, Instant>,
    number: u64,
}

#[derive(Debug)]
struct Lane {
    taken: usize,
    weight: usize,
    queue: VecDeque<Waiting>,
    since: Instant,
    served: u32,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    weight: usize,
    /// What it would weigh if it had not been let in as the only one of its kind.
    asked: usize,
    place: oneshot::Sender<Place>,
}

/// What one who asks gets.
enum Answer {
    Place,
    /// A number, and where the place will come from.
    Wait(u64, oneshot::Receiver<Place>),
    Later(Duration),
}

impl Lanes {
    /// So many places, so many of them for one lane at the most, and room for so much to wait.
    pub(crate) const fn new(places: usize, most: usize, room: usize) -> Self {
        Lanes {
            state: Mutex::new(State {
                places,
                most,
                taken: 0,
                room,
                waiting: 0,
                lanes: BTreeMap::new(),
                appointments: BTreeMap::new(),
                number: 0,
            }),
        }
    }

    /// Sets how many places there are.
    pub(crate) fn set_places(&'static self, places: usize) {
        let mut state = self.state();
        state.places = places;
        state.hand_out(self);
    }

    /// A place of this lane, perhaps after a wait of so long; `weight` is how much of the room
    /// that takes, a quarter of it at the most.
    ///
    /// # Errors
    /// When there is no room to wait in, or that is over.
    pub(crate) async fn enter(
        &'static self,
        lane: &str,
        weight: usize,
        patience: Duration,
    ) -> Result<Place, ComeAgain> {
        let answer = self.state().ask(lane, weight, Instant::now());
        let (number, place) = match answer {
            Answer::Place => return Ok(self.place(lane.into())),
            Answer::Later(wait) => return Err(ComeAgain(wait)),
            Answer::Wait(number, place) => (number, place),
        };
        let _leaves = InRoom {
            lanes: self,
            lane,
            number,
        };
        match tokio::time::timeout(patience, place).await {
            Ok(place) => place.map_err(|_| ComeAgain(SOON)),
            Err(_) => {
                let name: Arc<str> = lane.into();
                let wait = self.state().appointment(&name, Instant::now());
                Err(ComeAgain(wait))
            }
        }
    }

    /// Tells all who wait to come again.
    pub(crate) fn send_away(&self) {
        let mut state = self.state();
        state.waiting = 0;
        for lane in state.lanes.values_mut() {
            lane.queue.clear();
            lane.weight = 0;
        }
        state.lanes.retain(|_, lane| lane.taken > 0);
    }

    fn place(&'static self, lane: Arc<str>) -> Place {
        Place {
            lanes: self,
            lane: Some(lane),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            let mut state = self.lanes.state();
            state.give_back(&lane);
            state.hand_out(self.lanes);
        }
    }
}

/// One who waits; dropped, he waits no more.
struct InRoom<'a> {
    lanes: &'static Lanes,
    lane: &'a str,
    number: u64,
}

impl Drop for InRoom<'_> {
    fn drop(&mut self) {
        self.lanes.state().leave(self.lane, self.number);
    }
}

impl State {
    fn ask(&mut self, name: &str, weight: usize, now: Instant) -> Answer {
        // However large a list is, others can wait beside it.
        let asked = weight.min(self.room / (2 * SHARE)).max(1);
        let (limit, places_left) = (self.limit(), self.taken < self.places);
        let room = self.room.saturating_sub(self.waiting);
        let lane = self.lanes.get(name);
        let taken = lane.map_or(0, |lane| lane.taken);
        let waits = lane.map_or(0, |lane| lane.weight);
        let name: Arc<str> = name.into();
        if waits == 0 && places_left && taken < limit {
            self.take(&name, now);
            return Answer::Place;
        }
        let fits = |weight| weight <= room && (waits == 0 || waits + weight <= room / SHARE);
        // Among many small ones a large one would find no room for ever: one of a lane is let in
        // as if it were small.
        let has_large = || lane.is_some_and(|lane| lane.queue.iter().any(|w| w.weight < w.asked));
        let weight = match () {
            () if fits(asked) => asked,
            () if fits(1) && !has_large() => 1,
            () => return Answer::Later(self.appointment(&name, now)),
        };
        self.number += 1;
        self.waiting += weight;
        let (sender, receiver) = oneshot::channel();
        let lane = self.lanes.entry(name).or_insert_with(|| Lane::new(now));
        lane.weight += weight;
        lane.queue.push_back(Waiting {
            number: self.number,
            weight,
            asked,
            place: sender,
        });
        Answer::Wait(self.number, receiver)
    }

    /// Most places of one lane at this moment.
    fn limit(&self) -> usize {
        let free = self.places.saturating_sub(self.taken);
        self.most.min(free / SHARE).max(1)
    }

    fn take(&mut self, name: &Arc<str>, now: Instant) {
        self.taken += 1;
        let lane = self
            .lanes
            .entry(Arc::clone(name))
            .or_insert_with(|| Lane::new(now));
        lane.taken += 1;
    }

    fn give_back(&mut self, name: &Arc<str>) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.taken = lane.taken.saturating_sub(1);
            lane.served = lane.served.saturating_add(1);
        }
        self.forget_idle(name);
    }

    fn leave(&mut self, name: &str, number: u64) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        if let Some(at) = lane.queue.iter().position(|w| w.number == number)
            && let Some(left) = lane.queue.remove(at)
        {
            lane.weight = lane.weight.saturating_sub(left.weight);
            self.waiting = self.waiting.saturating_sub(left.weight);
        }
        self.forget_idle(name);
    }

    fn forget_idle(&mut self, name: &str) {
        let idle = |lane: &Lane| lane.taken == 0 && lane.queue.is_empty();
        if self.lanes.get(name).is_some_and(idle) {
            self.lanes.remove(name);
        }
    }

    /// Gives the places that are free to those who wait.
    fn hand_out(&mut self, lanes: &'static Lanes) {
        while self.waiting > 0 && self.taken < self.places {
            let limit = self.limit();
            let waiting = self.lanes.iter().filter(|(_, lane)| lane.taken < limit);
            let next = waiting
                .filter_map(|(name, lane)| Some((lane.taken, lane.queue.front()?.number, name)))
                .min();
            let Some(name) = next.map(|(_, _, name)| Arc::clone(name)) else {
                return;
            };
            let Some(lane) = self.lanes.get_mut(&name) else {
                return;
            };
            let Some(first) = lane.queue.pop_front() else {
                return;
            };
            lane.weight = lane.weight.saturating_sub(first.weight);
            self.waiting = self.waiting.saturating_sub(first.weight);
            match first.place.send(lanes.place(Arc::clone(&name))) {
                Ok(()) => self.take(&name, Instant::now()),
                // Who waited has gone: it never was a place.
                Err(mut place) => {
                    place.lane = None;
                    self.forget_idle(&name);
                }
            }
        }
    }

    /// When one of a lane may come again: each a pace behind the one before.
    fn appointment(&mut self, name: &Arc<str>, now: Instant) -> Duration {
        let pace = self.lanes.get(name).map_or(SLOWEST, |lane| {
            let busy = now.saturating_duration_since(lane.since);
            (busy / lane.served.max(1)).min(SLOWEST)
        });
        let soon = now + SOON;
        if self.appointments.len() >= MAX_APPOINTMENTS && !self.appointments.contains_key(name) {
            self.appointments.retain(|_, at| *at > now);
            if self.appointments.len() >= MAX_APPOINTMENTS {
                return LATEST;
            }
        }
        let at = self.appointments.entry(Arc::clone(name)).or_insert(soon);
        *at = (*at).max(soon);
        let mine = *at;
        *at = (mine + pace).min(now + LATEST);
        mine - now
    }
}

impl Lane {
    fn new(now: Instant) -> Self {
        Lane {
            taken: 0,
            weight: 0,
            queue: VecDeque::new(),
            since: now,
            served: 0,
        }
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
