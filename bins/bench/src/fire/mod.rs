//! The queue under fire: mail comes in over many connections while the server is killed, or
//! its disk is full, or it may open no more files.
//!
//! Each message goes to one host that takes it, and some to a second recipient there, to a
//! host that takes nothing until the end, and to a mailbox file. At the end everything is
//! delivered, and the [`Ledger`] is closed: what was answered with 250 must have arrived,
//! whole, at every recipient.

mod client;
mod ledger;
mod letter;
mod mailbox;
pub mod ruin;
pub(crate) mod server;
mod sink;
pub(crate) mod site;

pub use ledger::{Ledger, Totals};
pub use letter::Letter;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::Clients;
use server::Server;
use sink::{Mood, Sink};
use site::Site;

/// Longest wait for the queue to get shorter.
const STANDSTILL: Duration = Duration::from_secs(120);

/// What is sent, and by what.
#[derive(Clone, Debug)]
pub struct Fire {
    /// The folder with `smtpd` and `mailq`.
    pub programs: PathBuf,
    /// An empty folder; the site is laid out there.
    pub folder: PathBuf,
    /// How many messages are to be answered with 250.
    pub messages: u32,
    /// Over how many connections.
    pub connections: usize,
}

/// How often the server is killed: after a random time between these two.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// The least.
    pub least: Duration,
    /// The most.
    pub most: Duration,
    /// After so many kills it lives on.
    pub kills: u64,
}

/// Kills the server again and again until all messages were taken; what came of them.
///
/// # Errors
/// The server can't be started, or the queue stands still.
pub fn under_kills(fire: &Fire, pauses: Pauses) -> io::Result<Totals> {
    let field = Field::lay_out(fire)?;
    let mut server = Server::start(&fire.programs, field.site.root(), &[])?;
    let clients = Clients::start(fire, server.port(), &field.ledger);
    let mut random = letter::Random::new(u64::from(fire.messages));
    let mut kills = 0;
    loop {
        let span = pauses.most.saturating_sub(pauses.least).as_millis();
        let more = random.next() % u64::try_from(span).unwrap_or(0).max(1);
        let pause = pauses.least + Duration::from_millis(more);
        if kills == pauses.kills || clients.done_within(pause) {
            break;
        }
        server.kill();
        field.ledger.next_life();
        kills += 1;
        server = Server::start(&fire.programs, field.site.root(), &[])?;
        clients.move_to(server.port());
    }
    clients.join();
    let waiting = field.drain(&fire.programs)?;
    let mut totals = field.close(kills)?;
    totals.waiting = waiting;
    for left in field.site.left_over()? {
        totals.losses.push(format!("{left} is left over"));
        totals.lost += 1;
    }
    Ok(totals)
}

/// The site, the other hosts, and the ledger.
struct Field {
    site: Site,
    ledger: Arc<Ledger>,
    late: Sink,
    _ready: Sink,
}

impl Field {
    fn lay_out(fire: &Fire) -> io::Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let ready = Sink::start(Arc::clone(&ledger), Mood::Takes)?;
        let late = Sink::start(Arc::clone(&ledger), Mood::Refuses)?;
        let site = Site::lay_out(&fire.folder, ready.port(), late.port(), "")?;
        Ok(Field {
            site,
            ledger,
            late,
            _ready: ready,
        })
    }

    /// Lets everything be delivered; how many messages waited before.
    fn drain(&self, programs: &Path) -> io::Result<u64> {
        let waiting = self.site.queued(programs)?;
        self.late.be(Mood::Takes);
        let (mut shortest, mut since) = (u64::MAX, Instant::now());
        loop {
            self.site.run_queue(programs)?;
            std::thread::sleep(Duration::from_millis(300));
            let left = self.site.queued(programs)?;
            if left == 0 {
                return Ok(waiting);
            }
            if left < shortest {
                (shortest, since) = (left, Instant::now());
            }
            if since.elapsed() > STANDSTILL {
                let text = format!("{left} messages stay in the queue");
                return Err(io::Error::other(text));
            }
        }
    }

    fn close(&self, kills: u64) -> io::Result<Totals> {
        mailbox::read(&self.site.mailbox(), &self.ledger)?;
        Ok(self.ledger.close(kills))
    }
}

/// Set once; looked at by many.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Flag {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
