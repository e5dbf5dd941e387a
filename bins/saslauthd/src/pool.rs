//! The threads on which mechanisms are asked, behind a bounded queue.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use crate::answer::Answer;
use crate::backoff::InFlight;
use crate::frame::Request;
use crate::mech::PasswordChecker;

/// Requests that wait for a thread at most.
pub const QUEUE_LIMIT: usize = 512;

/// Octets of stack for each thread: argon2 and TLS work on the heap.
const STACK_OCTETS: usize = 512 << 10;

/// A request on its way to a mechanism.
#[derive(Debug)]
pub struct Job {
    /// Which connection asked.
    pub ticket: u64,
    /// What it asked.
    pub request: Request,
    /// Its place among the checks of its account.
    pub place: InFlight,
    /// Nobody waits for the answer after this moment.
    pub deadline: Instant,
}

/// A request that came back.
#[derive(Debug)]
pub struct Done {
    /// Which connection asked.
    pub ticket: u64,
    /// What it asked.
    pub request: Request,
    /// Its place among the checks of its account.
    pub place: InFlight,
    /// The answer; `None` where the deadline came first and nobody was asked.
    pub answer: Option<Answer>,
}

/// Makes a checker; each thread has its own.
pub type MakeChecker = dyn Fn() -> Box<dyn PasswordChecker> + Send + Sync;

/// The threads.
pub struct Pool {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    wake: Arc<OwnedFd>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// No event descriptor or no thread to be had.
    pub fn start(threads: usize, make: Arc<MakeChecker>) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE_LIMIT);
        let (finished, done) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        for _ in 0..threads.max(1) {
            let (waiting, finished) = (Arc::clone(&waiting), finished.clone());
            let (wake, make) = (Arc::clone(&wake), Arc::clone(&make));
            thread::Builder::new()
                .name("checker".to_owned())
                .stack_size(STACK_OCTETS)
                .spawn(move || work(&waiting, &finished, &wake, &*make))?;
        }
        Ok(Pool { jobs, done, wake })
    }

    /// Hands a job over.
    ///
    /// # Errors
    /// The job itself, where the queue is full.
    pub fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }

    /// A job that came back, if there is one.
    #[must_use]
    pub fn finished(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Readable when a job has come back.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Not readable again before the next job comes back.
    pub fn rest(&self) {
        // Empty already is as good.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

fn work(
    waiting: &Mutex<Receiver<Job>>,
    finished: &Sender<Done>,
    wake: &OwnedFd,
    make: &MakeChecker,
) {
    let mut checker = make();
    loop {
        let next = match waiting.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = next else { return };
        let in_time = Instant::now() < job.deadline;
        let answer = in_time.then(|| checker.check(&job.request));
        let done = Done {
            ticket: job.ticket,
            request: job.request,
            place: job.place,
            answer,
        };
        if finished.send(done).is_err() {
            return;
        }
        // A counter that is full is readable, which is all that's wanted.
        let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use zeroize::Zeroizing;

    struct Gate(Arc<Mutex<()>>, Arc<AtomicUsize>);

    impl PasswordChecker for Gate {
        fn check(&mut self, _: &Request) -> Answer {
            self.1.fetch_add(1, Ordering::SeqCst);
            drop(self.0.lock().unwrap());
            Answer::ok()
        }
    }

    fn job(ticket: u64, deadline: Instant) -> Job {
        let request = Request {
            login: b"a".to_vec(),
            password: Zeroizing::new(b"b".to_vec()),
            service: Vec::new(),
            realm: Vec::new(),
        };
        Job {
            ticket,
            request,
            place: InFlight::default(),
            deadline,
        }
    }

    fn next(pool: &Pool) -> Done {
        for _ in 0..1000 {
            if let Some(done) = pool.finished() {
                return done;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no job came back");
    }

    #[test]
    fn the_queue_is_bounded_and_late_jobs_are_not_asked() {
        let (gate, asked) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
        let shut = gate.lock().unwrap();
        let (g, a) = (Arc::clone(&gate), Arc::clone(&asked));
        let make: Arc<MakeChecker> =
            Arc::new(move || Box::new(Gate(Arc::clone(&g), Arc::clone(&a))));
        let pool = Pool::start(1, make).unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        pool.submit(job(0, later)).unwrap();
        while asked.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        // The one thread is busy: these wait.
        pool.submit(job(1, Instant::now())).unwrap();
        for i in 2..=QUEUE_LIMIT as u64 {
            pool.submit(job(i, later)).unwrap();
        }
        assert_eq!(pool.submit(job(999, later)).unwrap_err().ticket, 999);
        drop(shut);
        let (first, second) = (next(&pool), next(&pool));
        assert_eq!((first.ticket, first.answer), (0, Some(Answer::ok())));
        assert_eq!((second.ticket, second.answer), (1, None));
    }
}
