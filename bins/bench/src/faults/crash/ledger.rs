//! What the queue was asked to keep, and what it said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use smtpd::queue::{Body, Envelope, Queue};

use super::recorder::Unsynced;

/// A message of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) envelope: Envelope,
    pub(super) text: Vec<u8>,
}

/// What is to be there, or to be gone, all of it or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise(Vec<(String, Option<Message>)>);

impl Promise {
    /// A promise of one message.
    pub(super) fn one(id: &str, message: Option<Message>) -> Self {
        Promise(vec![(id.into(), message)])
    }

    /// Promises one more.
    pub(super) fn add(&mut self, id: &str, message: Option<Message>) {
        self.0.push((id.into(), message));
    }
}

/// What was said of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// It was asked for.
    Begun(usize),
    /// It was said to be kept.
    Kept(usize),
    /// It was said to be refused.
    Failed(usize),
    /// The queue was opened anew.
    Reopened,
}

/// The promises, and what was said of each in the order of the notes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    promises: Vec<Promise>,
    events: Vec<Event>,
}

type State = BTreeMap<String, Message>;

impl Ledger {
    pub(super) fn begin(&mut self, promise: Promise) -> usize {
        self.promises.push(promise);
        self.events.push(Event::Begun(self.promises.len() - 1));
        self.promises.len() - 1
    }

    pub(super) fn keep(&mut self, number: usize) {
        self.events.push(Event::Kept(number));
    }

    pub(super) fn fail(&mut self, number: usize) {
        self.events.push(Event::Failed(number));
    }

    pub(super) fn reopen(&mut self) {
        self.events.push(Event::Reopened);
    }

    /// How many promises were kept.
    pub(super) fn kept(&self) -> usize {
        let kept = |event: &&Event| matches!(event, Event::Kept(_));
        self.events.iter().filter(kept).count()
    }

    /// A message as it was promised last; `None` where a change of it was refused, so that
    /// nobody can tell.
    pub(super) fn now(&self, id: &str) -> Option<Message> {
        let mut refused = self.events.iter().filter_map(|event| match event {
            Event::Failed(number) => self.promises.get(*number),
            _ => None,
        });
        match refused.any(|promise| promise.0.iter().any(|(own, _)| own == id)) {
            true => None,
            false => self.certain(self.events.len()).remove(id),
        }
    }

    /// What was said to be kept in the first events.
    fn certain(&self, events: usize) -> State {
        let mut state = State::new();
        for event in self.events.iter().take(events) {
            if let Event::Kept(number) = event {
                self.apply(*number, &mut state);
            }
        }
        state
    }

    fn apply(&self, number: usize, state: &mut State) {
        for (id, message) in self.promises.get(number).map_or(&[][..], |p| &p.0) {
            match message {
                Some(message) => state.insert(id.clone(), message.clone()),
                None => state.remove(id),
            };
        }
    }

    /// The promises of which nobody can tell whether they came true. A new message that was
    /// refused may be there nevertheless, up to the next change; and for good where the queue
    /// was opened anew before that.
    fn open(&self, events: usize) -> Vec<usize> {
        let (mut open, mut refused) = (BTreeSet::new(), Vec::new());
        for event in self.events.iter().take(events) {
            match event {
                Event::Begun(number) => {
                    open.insert(*number);
                }
                Event::Failed(number) if self.is_new(*number) => refused.push(*number),
                Event::Failed(_) => {}
                Event::Kept(kept) => {
                    open.remove(kept);
                    for number in refused.drain(..) {
                        open.remove(&number);
                    }
                }
                Event::Reopened => refused.clear(),
            }
        }
        open.into_iter().collect()
    }

    /// Whether a promise is of messages that no earlier one names.
    fn is_new(&self, number: usize) -> bool {
        let earlier = self.promises.iter().take(number).flat_map(|p| &p.0);
        let names: BTreeSet<&String> = earlier.map(|(id, _)| id).collect();
        let own = self.promises.get(number).map_or(&[][..], |p| &p.0);
        own.iter().all(|(id, _)| !names.contains(id))
    }

    /// Whether the queue in a folder has what was promised in the first events.
    pub(super) fn judge(&self, folder: &Path, events: usize) -> Result<(), String> {
        let certain = self.certain(events);
        let disk = Arc::new(Unsynced);
        let queue = match Queue::open_on(folder, disk) {
            Ok(queue) => queue,
            Err(error) => return Err(format!("the queue can't be opened: {error}")),
        };
        let found = read(&queue)?;
        let open = self.open(events);
        // Each combination of what is open may have come true.
        let explained = (0..1_usize << open.len().min(12)).any(|some| {
            let mut state = certain.clone();
            for (at, number) in open.iter().enumerate() {
                if some >> at & 1 == 1 {
                    self.apply(*number, &mut state);
                }
            }
            state == found
        });
        if !explained {
            return Err(difference(&certain, &found));
        }
        no_litter(folder, &found)?;
        works(&queue)
    }
}

/// All messages, whole.
fn read(queue: &Queue) -> Result<State, String> {
    let mut state = State::new();
    for id in queue.ids() {
        let broken = |what: String| format!("message {id} is broken: {what}");
        let envelope = queue.envelope(&id).map_err(|e| broken(e.to_string()))?;
        let mut text = Vec::new();
        let opened = queue.text(&envelope).map_err(|e| broken(e.to_string()))?;
        let read = opened.into_reader().read_to_end(&mut text);
        read.map_err(|e| broken(e.to_string()))?;
        state.insert(id.to_string(), Message { envelope, text });
    }
    Ok(state)
}

fn difference(certain: &State, found: &State) -> String {
    let ids: BTreeSet<&String> = certain.keys().chain(found.keys()).collect();
    let mut out = Vec::new();
    for id in ids {
        match (certain.get(id), found.get(id)) {
            (Some(_), None) => out.push(format!("message {id} is lost")),
            (None, Some(_)) => out.push(format!("message {id} is there")),
            (Some(want), Some(got)) if want.text != got.text => {
                out.push(format!("the text of message {id} is another"));
            }
            (Some(want), Some(got)) if want != got => {
                let (want, got) = (json(want), json(got));
                out.push(format!("the envelope of message {id} is {got}, not {want}"));
            }
            _ => {}
        }
    }
    out.join(", ")
}

fn json(message: &Message) -> String {
    serde_json::to_string(&message.envelope).unwrap_or_default()
}

/// Only the files of messages that are there.
fn no_litter(folder: &Path, found: &State) -> Result<(), String> {
    for (name, claimed) in [("large", true), ("incoming", false)] {
        let entries = fs::read_dir(folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
        for entry in entries.flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if !(claimed && found.contains_key(&id)) {
                return Err(format!("left behind: {name}/{id}"));
            }
        }
    }
    Ok(())
}

/// The queue takes another message, and gives it up.
fn works(queue: &Queue) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let envelope = Envelope {
        id: "probe".into(),
        ..Envelope::default()
    };
    let asked = runtime.block_on(async {
        queue.add(envelope, Body::Small(b"x".to_vec())).await?;
        queue.remove("probe").await
    });
    asked.map_err(|e| format!("the next message is refused: {e}"))
}
