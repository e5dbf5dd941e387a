//! The clients of one moment: not more than so many, and all of them known.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::Socket;

/// A client that is being answered, in the place of the time since when it is silent.
const BUSY: u64 = u64::MAX;

/// The clients.
pub(super) struct Crowd {
    most: usize,
    started: Instant,
    inside: Mutex<Inside>,
    gone: Condvar,
}

#[derive(Default)]
struct Inside {
    next: u64,
    clients: BTreeMap<u64, Arc<Client>>,
}

/// A client's socket, and since when it has asked for nothing.
struct Client {
    socket: Socket,
    /// Milliseconds since the crowd began, or [`BUSY`].
    silent_since: AtomicU64,
}

/// Whether a client may come in.
pub(super) enum Admission {
    /// It may; it leaves when this is dropped.
    In(Member),
    /// All that are there are being answered.
    Full(Socket),
}

/// A client's place in the crowd.
pub(super) struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    client: Arc<Client>,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Self {
        Crowd {
            most,
            started: Instant::now(),
            inside: Mutex::default(),
            gone: Condvar::new(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds from the crowd's beginning to a moment.
    fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(BUSY - 1)
    }

    /// Lets a client in. Where all places are taken, the one that was silent longest leaves:
    /// mail programs open a new connection when theirs was closed between two requests.
    pub(super) fn admit(self: &Arc<Self>, socket: Socket) -> Admission {
        let mut inside = self.inside();
        if inside.clients.len() >= self.most {
            let silent = |client: &Client| client.silent_since.load(Ordering::Relaxed);
            let longest = inside
                .clients
                .iter()
                .filter(|(_, client)| silent(client) != BUSY)
                .min_by_key(|(_, client)| silent(client))
                .map(|(number, _)| *number);
            match longest.and_then(|number| inside.clients.remove(&number)) {
                Some(client) => {
                    let _ = client.socket.shutdown(Shutdown::Both);
                }
                None => return Admission::Full(socket),
            }
        }
        let number = inside.next;
        inside.next += 1;
        let client = Arc::new(Client {
            socket,
            silent_since: AtomicU64::new(self.at(Instant::now())),
        });
        inside.clients.insert(number, Arc::clone(&client));
        Admission::In(Member {
            crowd: Arc::clone(self),
            number,
            client,
        })
    }

    /// Nothing more is read from anybody; those that are being answered are waited for.
    pub(super) fn dismiss(&self, patience: Duration) {
        let mut inside = self.inside();
        for client in inside.clients.values() {
            let _ = client.socket.shutdown(Shutdown::Read);
        }
        let deadline = Instant::now() + patience;
        while !inside.clients.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.gone.wait_timeout(inside, left);
            inside = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Member {
    pub(super) fn socket(&self) -> &Socket {
        &self.client.socket
    }

    /// Nothing is being done for the client, since its last whole request was answered then: it may
    /// be sent away.
    pub(super) fn waits_since(&self, answered: Instant) {
        let since = self.crowd.at(answered);
        self.client.silent_since.store(since, Ordering::Relaxed);
    }

    /// The client is being answered.
    pub(super) fn is_busy(&self) {
        self.client.silent_since.store(BUSY, Ordering::Relaxed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.inside().clients.remove(&self.number);
        self.crowd.gone.notify_all();
    }
}
