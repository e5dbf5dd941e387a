//! The server: listeners, signals, and the end.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use libmaps::site::Site;
use libmaps::site::diagnostic::Severity;
use libmaps::site::load;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent;
use crate::connection::Phase;
use crate::deliver;
use crate::drop;
use crate::listener;
use crate::log::{Level, Log};
use crate::notify::{notify, reloading};
use crate::privilege::{Becoming, raise_open_files};
use crate::queue::{self, Queue, QueueError};
use crate::throttle::Throttle;
use crate::undone;
use crate::world::{self, World, WorldError};

/// How long open transactions may take when the server ends.
const ENDING_PATIENCE: Duration = Duration::from_secs(30);

/// How the server is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `-C`.
    pub file: Option<PathBuf>,
    /// `-q`: time between two tries of a message.
    pub queue_interval: Option<Duration>,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration can't be read.
    #[error(transparent)]
    Site(#[from] load::SiteError),
    /// The configuration has errors; they were printed.
    #[error("the configuration has errors")]
    Faulty,
    /// Something the configuration names can't be opened.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The queue can't be opened.
    #[error("queue: {0}")]
    Queue(#[from] QueueError),
    /// A listener can't be bound.
    #[error("daemon {name}: cannot bind {addr}: {source}")]
    Bind {
        /// The daemon's name.
        name: String,
        /// Where.
        addr: String,
        /// Why not.
        source: io::Error,
    },
    /// RunAsUser names nobody, or the system does not let us.
    #[error("RunAsUser: {0}")]
    Privilege(String),
    /// The system refused something else.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads the configuration; its findings go to the log, and errors end it.
///
/// # Errors
/// When it can't be read or has errors.
pub fn configure(start: &Start, log: &Log) -> Result<Site, ServerError> {
    let mut loaded = load::load(start.root.as_deref(), start.file.as_deref())?;
    loaded.site.queue_interval = start.queue_interval;
    let undone = undone::findings(&loaded.site);
    for finding in loaded.diagnostics.iter().chain(&undone) {
        log.say(Level::Warning, &finding.to_string());
    }
    if loaded.has_errors() || undone.iter().any(|f| f.severity == Severity::Error) {
        return Err(ServerError::Faulty);
    }
    Ok(loaded.site)
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the server can't start.
pub async fn run(start: Start, log: Arc<Log>) -> Result<(), ServerError> {
    let site = configure(&start, &log)?;
    let bound = listener::bind_all(&site, &log)?;
    let folder = site
        .options
        .queue
        .directory
        .clone()
        .unwrap_or_else(|| "/var/spool/mqueue".into());
    let folder = site.below(&folder);
    // What only root can read or do comes before: the drop folder, the key of TLS, the agent.
    drop::intake::prepare(&site);
    let tls = world::open_tls(&site, &log, None);
    if let Some(becoming) = Becoming::of(&site).map_err(ServerError::Privilege)? {
        agent::start(start.root.as_deref(), start.file.as_deref())?;
        becoming
            .become_him(&folder)
            .map_err(ServerError::Privilege)?;
        log.say(Level::Info, &format!("running as {becoming}"));
    }
    let queue = Queue::open(&folder)?;
    let window = site.options.limits.connection_rate_window.0;
    let throttle = Throttle::new(window, raise_open_files());
    let world = World::open(
        site,
        Arc::clone(&queue),
        Arc::clone(&log),
        Arc::clone(&throttle),
        tls,
    )?;
    let world = Arc::new(RwLock::new(world));
    let control = queue::control::serve(Arc::clone(&queue), &folder)?;
    let intake = tokio::spawn(drop::intake::Intake::open(Arc::clone(&world)).run());
    let delivery = tokio::spawn(deliver::run(Arc::clone(&world)));
    let (phase, watching) = watch::channel(Phase::Running);
    let mut listeners = JoinSet::new();
    for bound in bound {
        let (name, addr) = (&bound.name, bound.listener.local_addr()?);
        log.say(Level::Info, &format!("listening name={name} addr={addr}"));
        listeners.spawn(listener::listen(
            bound,
            Arc::clone(&world),
            watching.clone(),
        ));
    }
    drop(watching);
    // Whoever is told that we are ready may send a signal at once.
    let signals = Signals::new()?;
    log.say(Level::Info, "ready");
    notify("READY=1");
    wait_for_signals(signals, &start, &log, &world, &queue, &throttle).await;
    notify("STOPPING=1");
    log.say(Level::Info, "ending: no new connections");
    let _ = phase.send(Phase::Ending);
    listeners.abort_all();
    // Sessions hold a receiver of the phase to their end.
    let _ = tokio::time::timeout(ENDING_PATIENCE, phase.closed()).await;
    intake.abort();
    delivery.abort();
    control.abort();
    queue.close();
    let _ = std::fs::remove_file(queue::control::socket_of(&folder));
    Ok(())
}

/// The world of this moment.
#[must_use]
pub fn current(world: &RwLock<Arc<World>>) -> Arc<World> {
    Arc::clone(
        &world
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    )
}

/// The signals that mean something to the server.
struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn wait_for_signals(
    mut signals: Signals,
    start: &Start,
    log: &Arc<Log>,
    world: &Arc<RwLock<Arc<World>>>,
    queue: &Arc<Queue>,
    throttle: &Arc<Throttle>,
) {
    loop {
        tokio::select! {
            _ = signals.term.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => {}
        }
        reloading();
        let fresh = configure(start, log).and_then(|site| {
            // A certificate that can't be used now is no reason to stop offering TLS.
            let tls = world::open_tls(&site, log, current(world).tls.clone());
            Ok(World::open(
                site,
                Arc::clone(queue),
                Arc::clone(log),
                Arc::clone(throttle),
                tls,
            )?)
        });
        match fresh {
            Ok(fresh) => {
                *world
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
                log.say(
                    Level::Info,
                    "configuration read anew; listeners stay as they are",
                );
            }
            Err(error) => log.say(
                Level::Error,
                &format!("configuration kept as it was: {error}"),
            ),
        }
        notify("READY=1");
    }
}
