//! The queue: what was answered with 250 stands here until it is delivered.
//!
//! [`Queue::add`] returns when the message is durable. All messages that come
//! while others are being synced share the next sync (group commit), so that
//! many sessions at once cost few.

mod admission;
mod base;
mod change;
pub mod control;
mod database;
mod envelope;
mod error;
mod etrn;
mod id;
mod index;
mod journal;
mod layer;
mod node;
pub mod schedule;
pub(crate) mod secret;
mod segment;
mod selection;
mod spool;
mod store;
mod text;
mod writer;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libmaps::sasl::password::SecretBytes;
use libmaps::store::disk::{Disk, System};
use tokio::sync::{Notify as Wake, oneshot};

use crate::aside::aside;

use change::Change;
use index::Index;
use store::Store;
use writer::{Request, Writer};

pub use change::Body;
pub use envelope::{
    Departure, Envelope, Expanded, Hold, KeptName, NOTIFY_BY_DEFAULT, Octets, Origin, Progress,
    QueuedRecipient, QueuedTarget, RoutedBy,
};
pub use error::QueueError;
pub(crate) use error::is_full;
pub use etrn::Asked;
pub use id::Ids;
pub use node::Node;
pub use selection::{Condition, Field, Want, selects};
pub use spool::Spool;
#[cfg(test)]
pub(crate) use text::Stored;
pub use text::{Reader, Text};

/// Makes the folder of a queue, where it is not there.
///
/// # Errors
/// When it can't be made.
pub fn make_folder(folder: &Path) -> Result<(), QueueError> {
    store::make_folder(&System, folder)
}

/// The queue. Dropping the last handle closes the store cleanly.
#[derive(Debug)]
pub struct Queue {
    disk: Arc<dyn Disk>,
    store: Arc<Store>,
    index: Mutex<Index>,
    changes: Mutex<Option<mpsc::Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    ids: Ids,
    wake: Wake,
    run_size: AtomicUsize,
    /// Seconds that a message waits at the most.
    longest_wait: AtomicU64,
    run_asked: Mutex<Option<Instant>>,
    nodes: Mutex<etrn::Nodes>,
}

impl Queue {
    /// Opens the queue of this folder; what was there is tried again when its time comes.
    ///
    /// # Errors
    /// When another server has it, or it can't be read or made.
    pub fn open(folder: &Path) -> Result<Arc<Self>, QueueError> {
        Queue::open_on(folder, Arc::new(System))
    }

    /// As [`Queue::open`], on another disk.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub fn open_on(folder: &Path, disk: Arc<dyn Disk>) -> Result<Arc<Self>, QueueError> {
        let (store, journal) = Store::open(folder, &disk)?;
        let store = Arc::new(store);
        let mut index = Index::default();
        store.load(|envelope| index.put(envelope))?;
        let (sender, receiver) = mpsc::channel();
        let writer = Writer::start(Arc::clone(&store), journal, receiver)
            .map_err(QueueError::io(folder, "start the writer of"))?;
        Ok(Arc::new(Queue {
            disk,
            store,
            index: Mutex::new(index),
            changes: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(writer)),
            ids: Ids::new(std::process::id()),
            wake: Wake::new(),
            run_size: AtomicUsize::new(usize::MAX),
            longest_wait: AtomicU64::new(u64::MAX),
            run_asked: Mutex::new(None),
            nodes: Mutex::default(),
        }))
    }

    /// The disk that it is on.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// A secret that is the same as long as there is the queue.
    ///
    /// # Errors
    /// When it can't be read or made.
    pub(crate) fn secret(&self) -> std::io::Result<SecretBytes> {
        secret::keep(self.disk.as_ref(), self.store.folder())
    }

    /// A new queue id.
    #[must_use]
    pub fn next_id(&self) -> Box<str> {
        loop {
            let id = self.ids.next();
            if !self.index().contains(&id) {
                return id;
            }
        }
    }

    /// Where the text of a message goes while it is received.
    #[must_use]
    pub fn spool(&self, id: &str) -> Spool {
        Spool::new(Arc::clone(&self.disk), self.store.incoming(id))
    }

    /// Adds a message; when this returns it is durable.
    ///
    /// # Errors
    /// When it could not be written; then nothing of it stays, unless that is
    /// [`QueueError::Doubtful`]: then it may be there after a crash, whole.
    pub async fn add(&self, envelope: Envelope, body: Body) -> Result<(), Arc<QueueError>> {
        let listed = self.insert(&envelope, body).await?;
        self.index().put(&listed);
        self.wake.notify_one();
        Ok(())
    }

    async fn insert(&self, envelope: &Envelope, body: Body) -> Result<Envelope, Arc<QueueError>> {
        let added = match Change::add(envelope, body) {
            Ok(change) => self.change(vec![change]).await,
            Err(error) => Err(Arc::new(error)),
        };
        match added {
            Ok(()) => Ok(envelope.listed()),
            Err(error) => {
                if !error.is_doubtful() {
                    self.store.discard(&envelope.id);
                }
                Err(error)
            }
        }
    }

    /// Writes down how far a message has come, and adds the notices that tell of it, in
    /// one transaction: whatever happens, nobody hears twice or never. A finished message
    /// is removed.
    ///
    /// # Errors
    /// When it could not be written. Nothing of it is then, or only after a crash and whole
    /// ([`QueueError::Doubtful`]); the message counts as being tried still, so that this can
    /// be called again.
    pub async fn settle(
        &self,
        envelope: &Envelope,
        notices: Vec<(Envelope, Body)>,
    ) -> Result<(), Arc<QueueError>> {
        let new: Vec<Envelope> = notices.iter().map(|(e, _)| e.listed()).collect();
        let notices = notices
            .into_iter()
            .map(|(envelope, body)| Change::add(&envelope, body));
        let outcome = std::iter::once_with(|| match envelope.is_finished() {
            true => Ok(Change::Remove(envelope.id.clone())),
            false => aside(|| Change::update(envelope)),
        });
        let settled = match notices.chain(outcome).collect() {
            Ok(changes) => self.change(changes).await,
            Err(error) => Err(Arc::new(error)),
        };
        if let Err(error) = settled {
            if error.is_doubtful() {
                return Err(error);
            }
            new.iter().for_each(|notice| self.store.discard(&notice.id));
            return Err(error);
        }
        let mut index = self.index();
        if envelope.is_finished() {
            index.remove(&envelope.id);
        } else {
            index.put(envelope);
        }
        new.iter().for_each(|envelope| index.put(envelope));
        drop(index);
        self.wake.notify_one();
        Ok(())
    }

    /// Removes a finished text that is not added after all.
    pub fn discard(&self, id: &str) {
        self.store.discard(id);
    }

    /// Makes durable where the copies of a message that is being tried go.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn note_expanded(&self, envelope: &Envelope) -> Result<(), Arc<QueueError>> {
        let change = aside(|| Change::update(envelope))?;
        self.change(vec![change]).await
    }

    /// Makes durable what became of these copies of a message that is being tried. The
    /// next [`Queue::settle`] takes it in.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn note_copies(
        &self,
        envelope: &Envelope,
        copies: &[usize],
    ) -> Result<(), Arc<QueueError>> {
        let rows = copies.iter().filter_map(|at| {
            let row = envelope.targets.get(*at)?;
            Some((u32::try_from(*at).ok()?, row))
        });
        self.change(vec![Change::note(&envelope.id, rows)?]).await
    }

    /// Removes a message.
    ///
    /// # Errors
    /// When there is none such, it is just being tried, or the store fails.
    pub async fn remove(&self, id: &str) -> Result<(), Arc<QueueError>> {
        self.take(id)?;
        if let Err(error) = self.change(vec![Change::Remove(id.into())]).await {
            self.give_back(id);
            return Err(error);
        }
        self.index().remove(id);
        Ok(())
    }

    /// Holds a message, or releases it (which also ends quarantine). One that is held stays so
    /// for the reason it is held for.
    ///
    /// # Errors
    /// As [`Queue::remove`].
    pub async fn set_hold(&self, id: &str, hold: Option<Hold>) -> Result<(), Arc<QueueError>> {
        self.take(id)?;
        let changed = async {
            let mut envelope = self.store.envelope(id)?;
            envelope.hold = match hold {
                Some(hold) => envelope.hold.or(Some(hold)),
                None => None,
            };
            if envelope.hold.is_none() {
                envelope.due_unix = 0;
            }
            let listed = envelope.listed();
            self.change(vec![Change::update(&envelope)?]).await?;
            Ok(listed)
        };
        let result: Result<Envelope, Arc<QueueError>> = changed.await;
        match result {
            Ok(listed) => {
                self.index().put(&listed);
                self.wake.notify_one();
                Ok(())
            }
            Err(error) => {
                self.give_back(id);
                Err(error)
            }
        }
    }

    /// A message that is due, marked as being tried; [`Queue::settle`] ends that. Of
    /// several the one with the lowest rank comes first. One that is to wait for longer than
    /// any does was put off by a clock that was ahead, and waits for that long from now.
    #[must_use]
    pub fn take_due(&self, now_unix: u64) -> Option<Box<str>> {
        let longest = self.longest_wait.load(Ordering::Relaxed);
        let mut index = self.index();
        index.wait_no_longer(now_unix.saturating_add(longest));
        index.take_due(now_unix)
    }

    /// Sets how long a message waits between two tries at the most.
    pub fn limit_waits(&self, longest: Duration) {
        self.longest_wait
            .store(longest.as_secs(), Ordering::Relaxed);
    }

    /// How many messages a run takes, and how long one waits at the most.
    #[cfg(test)]
    pub(crate) fn limits(&self) -> (usize, Duration) {
        let longest = Duration::from_secs(self.longest_wait.load(Ordering::Relaxed));
        (self.run_size.load(Ordering::Relaxed), longest)
    }

    /// When the next message is due, if one waits: 0 for at once.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.index().next_due()
    }

    /// Gives a message back that was taken and could not be tried.
    pub fn give_back(&self, id: &str) {
        let later_unix = crate::clock::now_unix() + 60;
        self.index().wait(id, later_unix);
    }

    /// Gives a message back that was taken, as it is: it comes again at this time.
    pub fn come_again(&self, id: &str, due_unix: u64) {
        self.index().wait(id, due_unix);
    }

    /// Sets how many messages one run makes due (MaxQueueRunSize).
    pub fn limit_runs(&self, most: usize) {
        self.run_size.store(most, Ordering::Relaxed);
    }

    /// Makes waiting messages due, as many as one run takes.
    pub fn run_now(&self) {
        let most = self.run_size.load(Ordering::Relaxed);
        self.note_run();
        self.index().make_all_due(most);
        self.wake.notify_one();
    }

    /// Makes one message due that waits; one that is being tried is left to that.
    ///
    /// # Errors
    /// When there is none such, or it waits for more than its time.
    pub fn run_one(&self, id: &str) -> Result<(), QueueError> {
        let is_held = self.envelope(id)?.hold.is_some();
        let mut index = self.index();
        if index.is_held_back(id) {
            return Err(QueueError::HeldBack(id.into()));
        }
        if is_held {
            return Err(QueueError::Held(id.into()));
        }
        index.make_due(id);
        drop(index);
        self.note_run();
        self.wake.notify_one();
        Ok(())
    }

    /// Makes the waiting messages due that `wanted` chooses, as many as one run takes; how
    /// many there were. This reads every envelope.
    pub fn run_where(&self, wanted: impl Fn(&Envelope) -> bool) -> usize {
        self.note_run();
        self.make_due(wanted)
    }

    fn make_due(&self, wanted: impl Fn(&Envelope) -> bool) -> usize {
        let most = self.run_size.load(Ordering::Relaxed);
        let mut found = 0;
        for id in self.ids() {
            if found == most {
                break;
            }
            // One that was delivered in between is no longer there.
            if self.envelope(&id).is_ok_and(|envelope| wanted(&envelope)) {
                self.index().make_due(&id);
                found += 1;
            }
        }
        self.wake.notify_one();
        found
    }

    fn note_run(&self) {
        let mut asked = self
            .run_asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *asked = Some(Instant::now());
    }

    /// When somebody last asked for a run, of all or a part.
    #[must_use]
    pub fn run_asked(&self) -> Option<Instant> {
        *self
            .run_asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something was added or released.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// The ids of all messages, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<Box<str>> {
        self.index().ids()
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The envelope of a message.
    ///
    /// # Errors
    /// When there is none such, or the store fails.
    pub fn envelope(&self, id: &str) -> Result<Envelope, QueueError> {
        self.store.envelope(id)
    }

    /// The text of a message.
    ///
    /// # Errors
    /// When there is none such, or the store fails.
    pub fn text(&self, envelope: &Envelope) -> Result<Text, QueueError> {
        let stored = self.store.text(&envelope.id)?;
        Ok(Text::new(stored, envelope.size_octets))
    }

    /// Why the database behind the journal took nothing in when it was last asked to. Mail is
    /// taken all the same, until the journal is full.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.store.trouble()
    }

    /// Writes what is still to be written and ends the writer.
    pub fn close(&self) {
        self.changes
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .take();
        let writer = self.writer.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }

    fn take(&self, id: &str) -> Result<(), QueueError> {
        let mut index = self.index();
        if index.take(id) {
            return Ok(());
        }
        Err(match index.contains(id) {
            true if index.is_held_back(id) => QueueError::HeldBack(id.into()),
            true => QueueError::Busy(id.into()),
            false => QueueError::Unknown(id.into()),
        })
    }

    async fn change(&self, changes: Vec<Change>) -> Result<(), Arc<QueueError>> {
        let (done, written) = oneshot::channel();
        {
            let sender = self.changes.lock().unwrap_or_else(|e| e.into_inner());
            let sender = sender.as_ref().ok_or(QueueError::Closed)?;
            sender
                .send(Request { changes, done })
                .map_err(|_| QueueError::Closed)?;
        }
        written
            .await
            .unwrap_or_else(|_| Err(Arc::new(QueueError::Closed)))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}
