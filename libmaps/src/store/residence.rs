//! What of a map is in memory, once the map is asked often.
//!
//! A published map never changes, so what was read from it once stays true for
//! as long as the snapshot lives. After enough probes a thread reads the map
//! into memory; until it is ready, and where the map is too large, answers
//! come from the file as before. [`keep_maps_in_files`] ends that for a process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// What one map may take in memory, in octets.
pub(super) const MAX_OCTETS: usize = 80 << 20;
/// A map is read once there was a probe for every so many of its entries.
const ENTRIES_PER_PROBE: u64 = 64;
/// The fewest probes for which one is read.
const MIN_PROBES: u64 = 256;

/// Whether the maps of this process stay in their files.
static IN_FILES: AtomicBool = AtomicBool::new(false);

/// From now on no map of this process is read into memory, and no thread is started to do so.
///
/// For a library: its caller may not be ready for a thread, which takes signals, is not there after
/// fork(2), and bars what a process may do only while it has one thread, as unshare(2) for users.
pub fn keep_maps_in_files() {
    IN_FILES.store(true, Ordering::Relaxed);
}

/// Where a map comes to stand in memory as a `T`, and how often it was asked before.
#[derive(Debug)]
pub(super) struct Residence<T> {
    /// `None` in it: the map stays in its file.
    read: OnceLock<Option<T>>,
    probes: AtomicU64,
    /// The thread that reads.
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl<T> Default for Residence<T> {
    fn default() -> Self {
        Residence {
            read: OnceLock::new(),
            probes: AtomicU64::new(0),
            reader: Mutex::new(None),
        }
    }
}

impl<T> Residence<T> {
    /// What is in memory: `None` while nothing is.
    pub(super) fn get(&self) -> Option<&T> {
        self.read.get()?.as_ref()
    }

    /// Counts a probe; true once, when it is time to read the map.
    pub(super) fn is_time(&self, entries: u64) -> bool {
        let due = (entries / ENTRIES_PER_PROBE).max(MIN_PROBES);
        // The common case once it is read, or never will be, writes to no shared memory.
        self.probes.load(Ordering::Relaxed) < due
            && !IN_FILES.load(Ordering::Relaxed)
            && self.probes.fetch_add(1, Ordering::Relaxed) + 1 == due
    }

    /// Waits until the map is read, if that has begun.
    pub(super) fn settle(&self) {
        if let Some(reader) = self.reader().take() {
            // One that stopped leaves the map in its file.
            let _ = reader.join();
        }
    }

    fn reader(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + Sync + 'static> Residence<T> {
    /// Has a thread read the map; without one, and where `read` gives nothing, it stays in its
    /// file.
    pub(super) fn fill(self: &Arc<Self>, read: impl FnOnce() -> Option<T> + Send + 'static) {
        let residence = Arc::clone(self);
        let reading = move || {
            let _ = residence.read.set(read());
        };
        let thread = std::thread::Builder::new().name("map".into());
        *self.reader() = thread.spawn(reading).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_once() {
        let residence = Residence::<()>::default();
        let times = (0..10_000).filter(|_| residence.is_time(100_000)).count();
        assert_eq!(times, 1);
        let residence = Residence::<()>::default();
        let probes = (0..10_000).take_while(|_| !residence.is_time(1)).count();
        assert_eq!(probes as u64 + 1, MIN_PROBES);
    }

    #[test]
    fn what_was_read_is_there() {
        let residence = Arc::new(Residence::default());
        assert_eq!(residence.get(), None);
        residence.fill(|| Some(7));
        residence.settle();
        assert_eq!(residence.get(), Some(&7));
        let residence = Arc::new(Residence::<u8>::default());
        residence.fill(|| None);
        residence.settle();
        assert_eq!(residence.get(), None);
    }
}
