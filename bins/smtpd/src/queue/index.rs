//! Which messages there are, and which is to be tried next.
//!
//! Messages that wait for their time stand in the order of those times, those whose
//! time has come in the order in which the site wants them tried. Taking the next one
//! costs no more with 100,000 messages than with ten.

use std::collections::{BTreeMap, BTreeSet};

use super::envelope::Envelope;

/// Longest queue id.
const MAX_ID: usize = 16;

/// A queue id, kept where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; MAX_ID]);

impl Key {
    /// `None` for what is no id: nothing, or too much.
    fn of(id: &str) -> Option<Key> {
        let mut key = [0; MAX_ID];
        let octets = id.as_bytes();
        if octets.is_empty() || octets.contains(&0) {
            return None;
        }
        key.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Key(key))
    }

    fn id(&self) -> Box<str> {
        let octets = self.0.split(|c| *c == 0).next().unwrap_or_default();
        String::from_utf8_lossy(octets).into()
    }
}

/// What is kept in memory of a message.
#[derive(Clone, Copy, Debug)]
struct Entry {
    due_unix: u64,
    rank: i64,
    state: State,
}

/// Whether a message may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// When its time comes: it stands among the waiting.
    Waiting,
    /// Now: it stands among the due.
    Due,
    /// It is being tried.
    Busy,
    /// It is held.
    Parked,
    /// Not before the file is gone that it was dropped in.
    HeldBack,
}

/// All messages.
#[derive(Debug, Default)]
pub(super) struct Index {
    all: BTreeMap<Key, Entry>,
    waiting: BTreeSet<(u64, Key)>,
    due: BTreeSet<(i64, Key)>,
}

impl Index {
    /// Puts a message in, or in another place. One that has no valid id is not taken:
    /// nobody could ask for it.
    pub(super) fn put(&mut self, envelope: &Envelope) {
        let Some(key) = Key::of(&envelope.id) else {
            return;
        };
        self.take_out(key);
        let state = if envelope.hold.is_some() {
            State::Parked
        } else {
            State::Waiting
        };
        let entry = Entry {
            due_unix: envelope.due_unix,
            rank: envelope.rank,
            state,
        };
        if state == State::Waiting {
            self.waiting.insert((entry.due_unix, key));
        }
        self.all.insert(key, entry);
    }

    /// Takes a message out for good.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(key) = Key::of(id) {
            self.take_out(key);
            self.all.remove(&key);
        }
    }

    /// Lets nothing wait beyond this moment: what does was put off by a clock that was ahead.
    pub(super) fn wait_no_longer(&mut self, latest_unix: u64) {
        while let Some(&(due_unix, key)) = self.waiting.last()
            && due_unix > latest_unix
        {
            self.waiting.pop_last();
            if let Some(entry) = self.all.get_mut(&key) {
                entry.due_unix = latest_unix;
                self.waiting.insert((latest_unix, key));
            }
        }
    }

    /// The message to be tried next, now busy.
    pub(super) fn take_due(&mut self, now_unix: u64) -> Option<Box<str>> {
        while let Some(&(due_unix, key)) = self.waiting.first()
            && due_unix <= now_unix
        {
            self.waiting.pop_first();
            if let Some(entry) = self.all.get_mut(&key) {
                entry.state = State::Due;
                self.due.insert((entry.rank, key));
            }
        }
        let (_, key) = self.due.pop_first()?;
        self.all.get_mut(&key)?.state = State::Busy;
        Some(key.id())
    }

    /// When the next message is due, if one waits: 0 for at once.
    pub(super) fn next_due(&self) -> Option<u64> {
        if !self.due.is_empty() {
            return Some(0);
        }
        self.waiting.first().map(|(due_unix, _)| *due_unix)
    }

    /// Makes one message busy that is not; false if that can't be.
    pub(super) fn take(&mut self, id: &str) -> bool {
        let Some(key) = Key::of(id) else {
            return false;
        };
        let is_taken = |e: &Entry| matches!(e.state, State::Busy | State::HeldBack);
        if self.all.get(&key).is_none_or(is_taken) {
            return false;
        }
        self.take_out(key);
        if let Some(entry) = self.all.get_mut(&key) {
            entry.state = State::Busy;
        }
        true
    }

    /// Keeps a message that is not being tried from being tried or changed until it is put in
    /// anew.
    pub(super) fn hold_back(&mut self, id: &str) {
        if self.take(id)
            && let Some(entry) = Key::of(id).and_then(|key| self.all.get_mut(&key))
        {
            entry.state = State::HeldBack;
        }
    }

    /// Whether a message is held back.
    pub(super) fn is_held_back(&self, id: &str) -> bool {
        let entry = Key::of(id).and_then(|key| self.all.get(&key));
        entry.is_some_and(|e| e.state == State::HeldBack)
    }

    /// Lets a message wait up to this moment, or longer where it would wait longer.
    pub(super) fn wait(&mut self, id: &str, due_unix: u64) {
        self.schedule(id, |before| before.max(due_unix));
    }

    /// Makes a waiting message due; held ones, and those being tried, stay as they are.
    pub(super) fn make_due(&mut self, id: &str) {
        let waits = Key::of(id).and_then(|key| self.all.get(&key));
        if waits.is_some_and(|e| e.state == State::Waiting) {
            self.schedule(id, |_| 0);
        }
    }

    /// Makes waiting messages due, those that would be first, at most so many.
    pub(super) fn make_all_due(&mut self, most: usize) {
        let room = most.saturating_sub(self.due.len());
        let mut chosen: Vec<(i64, Key)> = Vec::new();
        for (_, key) in &self.waiting {
            if let Some(entry) = self.all.get(key) {
                chosen.push((entry.rank, *key));
            }
        }
        chosen.sort_unstable();
        for (_, key) in chosen.into_iter().take(room) {
            self.schedule(&key.id(), |_| 0);
        }
    }

    fn schedule(&mut self, id: &str, due: impl FnOnce(u64) -> u64) {
        let Some(key) = Key::of(id) else {
            return;
        };
        self.take_out(key);
        if let Some(entry) = self.all.get_mut(&key) {
            entry.due_unix = due(entry.due_unix);
            entry.state = State::Waiting;
            self.waiting.insert((entry.due_unix, key));
        }
    }

    /// Takes a message out of the two orders.
    fn take_out(&mut self, key: Key) {
        if let Some(entry) = self.all.get(&key) {
            match entry.state {
                State::Waiting => self.waiting.remove(&(entry.due_unix, key)),
                State::Due => self.due.remove(&(entry.rank, key)),
                State::Busy | State::Parked | State::HeldBack => false,
            };
        }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        Key::of(id).is_some_and(|key| self.all.contains_key(&key))
    }

    /// All ids in their order, which is that of arrival.
    pub(super) fn ids(&self) -> Vec<Box<str>> {
        self.all.keys().map(Key::id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(index: &mut Index, id: &str, due_unix: u64, rank: i64) {
        index.put(&Envelope {
            id: id.into(),
            due_unix,
            rank,
            ..Envelope::default()
        });
    }

    fn all_due(index: &mut Index, now_unix: u64) -> Vec<String> {
        std::iter::from_fn(|| index.take_due(now_unix))
            .map(String::from)
            .collect()
    }

    #[test]
    fn by_time_and_then_by_rank() {
        let mut index = Index::default();
        for (id, due, rank) in [("a", 50, 3), ("b", 10, 9), ("c", 20, 1), ("d", 90, 0)] {
            put(&mut index, id, due, rank);
        }
        assert_eq!(index.next_due(), Some(10));
        assert_eq!(all_due(&mut index, 9), [""; 0]);
        assert_eq!(all_due(&mut index, 60), ["c", "a", "b"]);
        assert_eq!(index.next_due(), Some(90));
        assert_eq!(index.len(), 4);
        assert!(!index.take("a"), "it is busy");
        index.wait("a", 70);
        index.wait("b", 5);
        index.wait("b", 5);
        assert_eq!(all_due(&mut index, 60), ["b"]);
        put(&mut index, "b", 80, 0);
        index.remove("a");
        assert_eq!(all_due(&mut index, 1000), ["b", "d"]);
        assert_eq!(index.ids().concat(), "bcd");
    }

    #[test]
    fn a_clock_that_was_ahead_puts_nothing_off_for_long() {
        let mut index = Index::default();
        for (id, due) in [("a", 50), ("b", 1_000_000), ("c", u64::MAX)] {
            put(&mut index, id, due, 0);
        }
        index.wait_no_longer(100);
        assert_eq!(all_due(&mut index, 99), ["a"]);
        assert_eq!(index.next_due(), Some(100));
        assert_eq!(all_due(&mut index, 100), ["b", "c"]);
        index.wait_no_longer(100);
        assert_eq!(index.next_due(), None);
    }

    #[test]
    fn a_run_takes_the_first_ones() {
        let mut index = Index::default();
        for (id, rank) in [("a", 3), ("b", 2), ("c", 1)] {
            put(&mut index, id, 1000, rank);
        }
        index.make_all_due(2);
        assert_eq!(all_due(&mut index, 0), ["c", "b"]);
        index.make_due("b");
        index.make_due("a");
        index.make_due("nobody");
        assert_eq!(all_due(&mut index, 0), ["a"], "b is busy");
    }

    #[test]
    fn what_is_no_id_is_not_found() {
        let mut index = Index::default();
        put(&mut index, "", 0, 0);
        put(&mut index, "an-id-much-too-long", 0, 0);
        assert_eq!(index.len(), 0);
        assert!(!index.contains("") && !index.take("a\0b"));
    }

    /// The figure of the README: octets of memory for each waiting message.
    #[test]
    fn a_message_costs_little_memory() {
        let entry = size_of::<(Key, Entry)>() + size_of::<(u64, Key)>();
        assert!(entry <= 64, "{entry} octets");
    }
}
