//! Counts over all hosts, where the site has them counted (ConnectionRateMap).
//!
//! Each connection is told to mapremote(8), which answers with the counts over all hosts. A
//! session waits [`DEADLINE`] for that and no longer; then the counts of this host do. After one
//! answer that came too late nobody waits until one has come again: a Redis that hangs costs one
//! session a tenth of a second, not each. Nothing here ever refuses mail.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libmaps::policy::facts::Counted;
use libmaps::store::shared::counts::{self, Hear, MAX_PACKET_OCTETS, Say};
use tokio::net::UnixDatagram;
use tokio::sync::{Notify, oneshot};

use super::{Held, Throttle};
use crate::consult::ClientLoad;
use crate::log::{Level, Log};

/// How long a session waits for the counts of all hosts.
const DEADLINE: Duration = Duration::from_millis(100);
/// The most questions that wait to be sent; later ones are answered by this host's counts.
const MAX_QUESTIONS: usize = 1_024;
/// The most clients of whom another number waits to be told, beside those who were told of.
const MAX_CHANGED: usize = 16_384;
/// How often it is told that this host counts alone.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The way to the counts of all hosts.
#[derive(Debug)]
pub(super) struct Sharing {
    log: Arc<Log>,
    deadline: Duration,
    outbox: Mutex<Outbox>,
    filled: Notify,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    /// Whether the last answer that was waited for did not come in time.
    late: AtomicBool,
    alone: Mutex<Alone>,
}

/// What is to be sent.
#[derive(Debug, Default)]
struct Outbox {
    questions: Vec<Question>,
    /// Clients of whom another number of connections is open.
    changed: HashSet<IpAddr>,
    /// Clients of whom it was told that some are open: that they are over is told in any case.
    told: HashSet<IpAddr>,
    /// Whether there is nobody any more to send it to.
    closed: bool,
}

impl Outbox {
    /// Notes another number. Where too many wait, a client who was not told of is left out: the
    /// next word of him mends it.
    fn note(&mut self, client: IpAddr) {
        if self.changed.len() < MAX_CHANGED || self.told.contains(&client) {
            self.changed.insert(client);
        }
    }
}

#[derive(Debug)]
struct Question {
    id: u64,
    client: IpAddr,
    asked: Instant,
}

/// What mapremote answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Counts { rate: u32, open: u32 },
    Nobody,
}

/// Somebody who waits for an answer; dropped, he does so no more.
struct Waiting<'a> {
    sharing: &'a Sharing,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

impl<'a> Waiting<'a> {
    fn new(sharing: &'a Sharing, id: u64) -> Self {
        let (tell, answer) = oneshot::channel();
        lock(&sharing.waiting).insert(id, tell);
        Waiting {
            sharing,
            id,
            answer,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.sharing.waiting).remove(&self.id);
    }
}

/// Connections that this host counted alone.
#[derive(Debug, Default)]
struct Alone {
    told: Option<Instant>,
    /// Whether that was told, and not yet that it is over.
    is_known: bool,
    since_told: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Throttle {
    /// Has connections counted on all hosts from now on, by the program at this socket.
    ///
    /// # Errors
    /// When the system refuses the socket.
    pub fn share(self: &Arc<Self>, socket: StdDatagram, log: &Arc<Log>) -> io::Result<()> {
        self.share_within(DEADLINE, socket, log)
    }

    fn share_within(
        self: &Arc<Self>,
        deadline: Duration,
        socket: StdDatagram,
        log: &Arc<Log>,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UnixDatagram::from_std(socket)?);
        let sharing = Arc::new(Sharing::new(deadline, Arc::clone(log)));
        if self.sharing.set(Arc::clone(&sharing)).is_ok() {
            tokio::spawn(hear(Arc::clone(self), Arc::clone(&socket)));
            tokio::spawn(send(Arc::clone(self), socket));
        }
        Ok(())
    }

    /// The counts of a connection on all hosts, where they come in time; never less than what
    /// this host has counted.
    pub async fn on_all_hosts(&self, held: &Held, here: ClientLoad) -> ClientLoad {
        let Some(sharing) = self.sharing.get() else {
            return here;
        };
        match sharing.ask(held.network).await {
            Answer::Counts { rate, open } => {
                sharing.is_shared();
                ClientLoad {
                    rate: rate.max(here.rate),
                    connections: open.max(here.connections),
                    counted: Counted::OnAllHosts,
                }
            }
            Answer::Nobody => {
                sharing.is_alone();
                here
            }
        }
    }

    /// How many connections of a network are open here.
    fn open_of(&self, network: IpAddr) -> u32 {
        let clients = self.clients();
        clients.by_network.get(&network).map_or(0, |c| c.open)
    }

    /// Everybody of whom connections are open here.
    fn all_open(&self) -> Vec<IpAddr> {
        let clients = self.clients();
        let open = clients.by_network.iter().filter(|(_, c)| c.open > 0);
        open.map(|(network, _)| *network).collect()
    }
}

impl Sharing {
    fn new(deadline: Duration, log: Arc<Log>) -> Self {
        Sharing {
            log,
            deadline,
            outbox: Mutex::default(),
            filled: Notify::new(),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            late: AtomicBool::new(false),
            alone: Mutex::default(),
        }
    }

    /// Another number of connections of this client is open.
    pub(super) fn changed(&self, client: IpAddr) {
        let mut outbox = lock(&self.outbox);
        if !outbox.closed {
            outbox.note(client);
            self.filled.notify_one();
        }
    }

    /// Asks for the counts of a client who has just come.
    async fn ask(&self, client: IpAddr) -> Answer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let is_late = self.late.load(Ordering::Relaxed);
        let waiting = (!is_late).then(|| Waiting::new(self, id));
        let question = Question {
            id,
            client,
            asked: Instant::now(),
        };
        let is_sent = self.put(question);
        let Some(mut waiting) = waiting.filter(|_| is_sent) else {
            // It was told all the same; an answer shows that waiting is worth while again.
            return Answer::Nobody;
        };
        match tokio::time::timeout(self.deadline, &mut waiting.answer).await {
            Ok(told) => told.unwrap_or(Answer::Nobody),
            Err(_) => {
                self.late.store(true, Ordering::Relaxed);
                Answer::Nobody
            }
        }
    }

    fn put(&self, question: Question) -> bool {
        let mut outbox = lock(&self.outbox);
        if outbox.closed {
            return false;
        }
        let has_room = outbox.questions.len() < MAX_QUESTIONS;
        match has_room {
            true => outbox.questions.push(question),
            false => outbox.note(question.client),
        }
        self.filled.notify_one();
        has_room
    }

    /// What is to be sent now: questions that are too old to be waited for are words like others.
    fn take(&self, throttle: &Throttle) -> Option<Vec<Say>> {
        let (questions, mut changed) = {
            let mut outbox = lock(&self.outbox);
            if outbox.closed {
                return None;
            }
            let questions = std::mem::take(&mut outbox.questions);
            (questions, std::mem::take(&mut outbox.changed))
        };
        let mut said = Vec::new();
        for question in questions {
            let Question { id, client, asked } = question;
            if asked.elapsed() > self.deadline {
                changed.insert(client);
                continue;
            }
            changed.remove(&client);
            let open = throttle.open_of(client);
            said.push(Say::Enter { id, client, open });
        }
        let open = |client: IpAddr| Say::Open {
            client,
            open: throttle.open_of(client),
        };
        said.extend(changed.into_iter().map(open));
        let told = &mut lock(&self.outbox).told;
        for Say::Enter { client, open, .. } | Say::Open { client, open } in &said {
            match open {
                0 => told.remove(client),
                _ => told.insert(*client),
            };
        }
        Some(said)
    }

    fn heard(&self, heard: Hear, throttle: &Throttle) {
        let (id, answer) = match heard {
            Hear::Hello => {
                let all = throttle.all_open();
                let mut outbox = lock(&self.outbox);
                outbox.told.clear();
                outbox.changed.extend(all);
                self.filled.notify_one();
                return;
            }
            Hear::Count { id, rate, open } => (id, Answer::Counts { rate, open }),
            Hear::Alone { id } => (id, Answer::Nobody),
        };
        self.late.store(false, Ordering::Relaxed);
        if let Some(waiting) = lock(&self.waiting).remove(&id) {
            // Whoever waits no more has his own counts.
            let _ = waiting.send(answer);
        }
    }

    /// The program that counts has ended, for good.
    fn close(&self, why: &str) {
        let mut outbox = lock(&self.outbox);
        if !std::mem::replace(&mut outbox.closed, true) {
            self.filled.notify_one();
            lock(&self.waiting).clear();
            let text = format!(
                "connection counts: {why}; this host counts for itself until it is started again"
            );
            self.log.say(Level::Error, &text);
        }
    }

    fn is_alone(&self) {
        let mut alone = lock(&self.alone);
        alone.since_told += 1;
        if alone.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        let text = format!(
            "connection counts: no answer within {} ms; connections counted by this host alone: {}",
            self.deadline.as_millis(),
            alone.since_told
        );
        *alone = Alone {
            told: Some(Instant::now()),
            is_known: true,
            since_told: 0,
        };
        self.log.say(Level::Warning, &text);
    }

    fn is_shared(&self) {
        let mut alone = lock(&self.alone);
        if std::mem::replace(&mut alone.is_known, false) {
            let text = format!(
                "connection counts: shared with other hosts again; counted by this host alone since it was told: {}",
                std::mem::take(&mut alone.since_told)
            );
            self.log.say(Level::Info, &text);
        }
    }
}

async fn hear(throttle: Arc<Throttle>, socket: Arc<UnixDatagram>) {
    let Some(sharing) = throttle.sharing.get() else {
        return;
    };
    let mut packet = vec![0; MAX_PACKET_OCTETS];
    loop {
        match socket.recv(&mut packet).await {
            Ok(0) => return sharing.close("mapremote has ended"),
            Ok(octets) => {
                let packet = packet.get(..octets).unwrap_or_default();
                for heard in counts::lines(packet) {
                    sharing.heard(heard, &throttle);
                }
            }
            Err(error) => return sharing.close(&error.to_string()),
        }
    }
}

async fn send(throttle: Arc<Throttle>, socket: Arc<UnixDatagram>) {
    let Some(sharing) = throttle.sharing.get() else {
        return;
    };
    loop {
        sharing.filled.notified().await;
        let Some(said) = sharing.take(&throttle) else {
            return;
        };
        for packet in counts::packets(&said) {
            if let Err(error) = socket.send(packet.as_bytes()).await {
                return sharing.close(&error.to_string());
            }
        }
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
