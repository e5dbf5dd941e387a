//! How many pieces of work are done at one time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// So many at one time, and no more.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
    most: usize,
}

/// A place that is taken; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    /// So many, one in any case.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Places {
            taken: Mutex::new(0),
            freed: Condvar::new(),
            most: most.max(1),
        })
    }

    /// Waits for a free one.
    pub(crate) fn take(self: &Arc<Self>) -> Place {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self
            .freed
            .wait_while(taken, |taken| *taken >= self.most)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Place(Arc::clone(self))
    }

    /// Waits so long for a free one.
    pub(crate) fn take_within(self: &Arc<Self>, patience: Duration) -> Option<Place> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, waited) = self
            .freed
            .wait_timeout_while(taken, patience, |taken| *taken >= self.most)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *taken += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Waits until all are free.
    pub(crate) fn wait_until_free(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let _free = self
            .freed
            .wait_while(taken, |taken| *taken > 0)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(1);
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_there_are_places() {
        let places = Places::new(3);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let _place = places.take();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[test]
    fn who_finds_none_free_waits_no_longer_than_he_likes() {
        let places = Places::new(2);
        let (one, _other) = (places.take(), places.take());
        assert!(places.take_within(Duration::from_millis(5)).is_none());
        drop(one);
        assert!(places.take_within(Duration::from_secs(60)).is_some());
    }

    #[test]
    fn the_end_waits_for_all() {
        let places = Places::new(2);
        let place = places.take();
        let (sent, got) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiting = &places;
            scope.spawn(move || {
                waiting.wait_until_free();
                let _ = sent.send(());
            });
            assert!(got.recv_timeout(Duration::from_millis(20)).is_err());
            drop(place);
            got.recv_timeout(Duration::from_secs(60)).unwrap();
        });
    }
}
