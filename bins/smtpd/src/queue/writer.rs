//! The thread that writes the queue.
//!
//! What comes while one frame of the journal is synced shares the next (group commit). When
//! a file of the journal is full, another thread has the database take it in, while this
//! one goes on with the next file.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::change::Change;
use super::error::QueueError;
use super::journal::{Fill, Journal};
use super::layer::Layer;
use super::segment::FRAME_OCTETS;
use super::store::Store;

/// Most requests of one frame.
const MAX_GROUP: usize = 1024;
/// A frame that has so much takes no further request.
const MAX_GROUP_OCTETS: usize = 1024 * 1024;
/// Requests of a group that may fail for the disk before the rest is given up.
const MAX_STRIKES: u32 = 3;
/// A database that could not take something in is asked again after so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a request came to.
type Done = Result<(), Arc<QueueError>>;

/// Changes that happen together or not at all.
pub(super) struct Request {
    pub(super) changes: Vec<Change>,
    pub(super) done: oneshot::Sender<Done>,
}

/// The writer of a queue.
pub(super) struct Writer {
    store: Arc<Store>,
    journal: Journal,
    intake: Intake,
    state: State,
    /// The number of the last frame that the database has.
    taken: u64,
    frame: Vec<u8>,
    /// How many requests the last group had.
    company: usize,
}

/// Another thread, in which the database takes in what is leaving.
struct Intake {
    orders: Option<Sender<(Arc<Layer>, u64)>>,
    results: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

/// What that thread is doing.
enum State {
    Idle,
    /// It takes in all frames up to this number.
    Busy(u64),
    /// It could not.
    Failed(u64, Instant, Arc<QueueError>),
}

impl Writer {
    /// Starts the writer; it ends when the sender of its requests is dropped.
    pub(super) fn start(
        store: Arc<Store>,
        journal: Journal,
        requests: Receiver<Request>,
    ) -> io::Result<JoinHandle<()>> {
        let (orders, ordered) = channel();
        let (answers, results) = channel();
        let taking = Arc::clone(&store);
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let thread = named("queue-base").spawn(move || take_in(&taking, &ordered, &answers))?;
        let writer = Writer {
            taken: journal.last(),
            store,
            journal,
            intake: Intake {
                orders: Some(orders),
                results,
                thread: Some(thread),
            },
            state: State::Idle,
            frame: Vec::new(),
            company: 0,
        };
        named("queue").spawn(move || writer.run(&requests))
    }

    fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut octets = octets_of(&first);
            let mut group = vec![first];
            // Where several came together before, more are on their way: they may come first.
            if self.company > 1 {
                std::thread::yield_now();
            }
            while group.len() < MAX_GROUP
                && octets < MAX_GROUP_OCTETS
                && let Ok(next) = requests.try_recv()
            {
                octets += octets_of(&next);
                group.push(next);
            }
            self.company = group.len();
            match self.make_room() {
                Ok(()) => self.write(group),
                Err(error) => answer(group, &Err(self.journal.doubted(error))),
            }
        }
        self.finish();
    }

    /// Writes a group. One that fails is tried request by request, so that a large one does
    /// not take the others with it; when the disk fails on, the rest is not tried.
    fn write(&mut self, group: Vec<Request>) {
        let group = self.placed(group);
        if group.is_empty() {
            return;
        }
        let changes = group.iter().flat_map(|request| &request.changes);
        match self.append(changes) {
            Ok(()) => self.accept(group),
            Err(error) if group.len() == 1 => answer(group, &Err(error)),
            Err(_) => {
                let (mut strikes, mut last) = (0, None);
                for request in group {
                    let done = match &last {
                        Some(error) if strikes == MAX_STRIKES => Err(Arc::clone(error)),
                        _ => self.append(request.changes.iter()),
                    };
                    match done {
                        Ok(()) => self.accept(vec![request]),
                        Err(error) => {
                            strikes = (strikes + 1).min(MAX_STRIKES);
                            last = Some(Arc::clone(&error));
                            answer(vec![request], &Err(error));
                        }
                    }
                }
            }
        }
    }

    /// The requests whose large texts, if any, are in their place for good.
    fn placed(&self, group: Vec<Request>) -> Vec<Request> {
        let (mut ready, mut large) = (Vec::with_capacity(group.len()), Vec::new());
        for request in group {
            match self.store.place_large(&request.changes) {
                Ok(false) => ready.push(request),
                Ok(true) => large.push(request),
                Err(error) => self.refuse(vec![request], error),
            }
        }
        if large.is_empty() {
            return ready;
        }
        match self.store.sync_large() {
            Ok(()) => ready.append(&mut large),
            Err(error) => self.refuse(large, error),
        }
        ready
    }

    fn refuse(&self, group: Vec<Request>, error: QueueError) {
        answer(group, &Err(self.journal.doubted(Arc::new(error))));
    }

    /// Makes changes durable in one frame.
    fn append<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Done {
        self.frame.clear();
        self.frame.resize(FRAME_OCTETS, 0);
        changes.for_each(|change| change.encode(&mut self.frame));
        self.journal.append(&mut self.frame)
    }

    /// Everybody may know of what is durable.
    fn accept(&self, group: Vec<Request>) {
        let (mut changes, mut waiting) = (Vec::new(), Vec::with_capacity(group.len()));
        for request in group {
            changes.extend(request.changes);
            waiting.push(request.done);
        }
        self.store.apply(changes.into_iter());
        for done in waiting {
            let _ = done.send(Ok(()));
        }
    }

    /// Has the database take in what the journal has too much of. While the journal is
    /// brimful this waits; it is an error if the database fails then.
    fn make_room(&mut self) -> Result<(), Arc<QueueError>> {
        loop {
            let fill = self.journal.fill();
            match &self.state {
                State::Idle if fill == Fill::Low => return Ok(()),
                State::Idle => {
                    self.journal.end_file();
                    self.order(self.journal.last());
                }
                State::Busy(number) => {
                    let number = *number;
                    let result = match fill {
                        Fill::Brimful => self.intake.results.recv().map_err(|_| gone()),
                        _ => match self.intake.results.try_recv() {
                            Err(TryRecvError::Empty) => return Ok(()),
                            result => result.map_err(|_| gone()),
                        },
                    };
                    self.note(number, result.and_then(|done| done));
                }
                State::Failed(number, at, _) if at.elapsed() >= PATIENCE => self.order(*number),
                State::Failed(_, _, error) if fill == Fill::Brimful => return Err(error.clone()),
                State::Failed(..) => return Ok(()),
            }
        }
    }

    fn order(&mut self, number: u64) {
        let sent = self.intake.orders.as_ref().map(|orders| {
            let leaving = self.store.leaving();
            orders.send((leaving, number))
        });
        self.state = match sent {
            Some(Ok(())) => State::Busy(number),
            _ => State::Failed(number, Instant::now(), gone()),
        };
    }

    fn note(&mut self, number: u64, done: Done) {
        self.state = match done {
            Ok(()) => {
                self.taken = number;
                self.journal.taken(number);
                State::Idle
            }
            Err(error) => State::Failed(number, Instant::now(), error),
        };
    }

    /// The database takes everything in, and the journal goes. Where that fails, the journal
    /// stays for the next start.
    fn finish(mut self) {
        if let State::Busy(number) = self.state {
            let result = self.intake.results.recv().map_err(|_| gone());
            self.note(number, result.and_then(|done| done));
        }
        self.intake.orders.take();
        if let Some(thread) = self.intake.thread.take() {
            let _ = thread.join();
        }
        let mut numbers = Vec::new();
        if let State::Failed(number, ..) = self.state {
            numbers.push(number);
        }
        // A number more than there are: it may be that of a frame of which nobody knows.
        if self.journal.last() > self.taken {
            numbers.push(self.journal.last() + 1);
        }
        let all = numbers.into_iter().all(|number| {
            let leaving = self.store.leaving();
            self.store.take_in(&leaving, number).is_ok()
        });
        if all {
            self.journal.remove();
        }
    }
}

fn take_in(store: &Store, orders: &Receiver<(Arc<Layer>, u64)>, results: &mpsc::Sender<Done>) {
    while let Ok((layer, number)) = orders.recv() {
        let done = store.take_in(&layer, number).map_err(Arc::new);
        if results.send(done).is_err() {
            return;
        }
    }
}

fn gone() -> Arc<QueueError> {
    Arc::new(QueueError::Closed)
}

fn octets_of(request: &Request) -> usize {
    request.changes.iter().map(Change::octets).sum()
}

fn answer(group: Vec<Request>, done: &Done) {
    for request in group {
        let _ = request.done.send(done.clone());
    }
}
