//! Resolving a host's name, with a deadline.
//!
//! The system's resolver has none but that of resolv.conf(5), which may be
//! half a minute. So it is asked in a thread, one at a time for each map:
//! whoever comes meanwhile waits for the same answer, each as long as he may.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// The addresses of one host; clones share the thread that asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the answers.
    round: u64,
    asking: Asking,
    last: Answer,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Asking {
    #[default]
    Nobody,
    AThread,
}

/// The last answer; an error cannot be copied, its kind and text can.
#[derive(Clone, Debug)]
struct Answer(Result<Vec<SocketAddr>, (io::ErrorKind, String)>);

impl Default for Answer {
    fn default() -> Self {
        Answer(Ok(Vec::new()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Answer) {
        let mut state = self.lock();
        state.round += 1;
        state.asking = Asking::Nobody;
        state.last = answer;
        drop(state);
        self.answered.notify_all();
    }
}

/// Answers also where the resolver panics: nobody may wait for a thread that is gone.
struct Duty(Arc<Shared>);

impl Drop for Duty {
    fn drop(&mut self) {
        if thread::panicking() {
            let lost = (io::ErrorKind::Other, "the resolver broke off".to_owned());
            self.0.answer(Answer(Err(lost)));
        }
    }
}

impl Resolver {
    /// What `ask` gives, or what another is being told at this moment; not later than at the
    /// deadline.
    pub(super) fn addresses(
        &self,
        deadline: Instant,
        ask: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut state = self.shared.lock();
        let round = state.round;
        if state.asking == Asking::Nobody {
            let shared = Arc::clone(&self.shared);
            let body = move || {
                let duty = Duty(shared);
                let found = ask();
                let answer = found.map_err(|e| (e.kind(), e.to_string()));
                duty.0.answer(Answer(answer));
            };
            thread::Builder::new().name("resolve".into()).spawn(body)?;
            state.asking = Asking::AThread;
        }
        while state.round == round {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = "the host's name was not resolved in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            let waited = self.shared.answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let Answer(answer) = state.last.clone();
        answer.map_err(|(kind, text)| io::Error::new(kind, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_resolver_that_hangs_is_waited_for_so_long_and_asked_once() {
        let resolver = Resolver::default();
        let (tell, told) = channel();
        let soon = Instant::now() + Duration::from_millis(10);
        let late = resolver.addresses(soon, move || told.recv().map_err(io::Error::other));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let address: SocketAddr = "192.0.2.1:25".parse().unwrap();
        let answer = thread::spawn(move || tell.send(vec![address]));
        // The thread that was asked first answers, whether it has done so by now or not.
        let second = resolver.addresses(Instant::now() + LONG, move || Ok(vec![address]));
        assert_eq!(second.unwrap(), [address]);
        answer.join().unwrap().unwrap();
    }

    #[test]
    fn errors_and_panics_are_answers() {
        let resolver = Resolver::default();
        let until = || Instant::now() + LONG;
        let error = resolver.addresses(until(), || Err(io::Error::other("no such host")));
        assert_eq!(error.unwrap_err().to_string(), "no such host");
        let error = resolver.addresses(until(), || panic!("oh"));
        assert_eq!(error.unwrap_err().to_string(), "the resolver broke off");
        let found = resolver.addresses(until(), || Ok(Vec::new()));
        assert!(found.unwrap().is_empty());
    }
}
