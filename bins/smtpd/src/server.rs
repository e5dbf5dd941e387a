//! The server: listeners, signals, and the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use confine::{Reach, confine};
use libmaps::site::Site;
use libmaps::site::class_map;
use libmaps::site::load;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent;
use crate::awaited::Awaited;
use crate::connection::Phase;
use crate::counter::Counter;
use crate::deliver::Delivery;
use crate::drop;
use crate::follower::{self, Follower};
use crate::listener::{self, Bound};
use crate::log::{Level, Log};
use crate::notify::{self, notify, reloading};
use crate::privilege::{Becoming, raise_open_files};
use crate::queue::{self, Queue, QueueError};
use crate::reach;
use crate::resolver::lookups;
use crate::sound::{Findings, SoundSite};
use crate::throttle::Throttle;
use crate::tls::Tls;
use crate::world::{self, World, WorldError};

/// How long open transactions may take when the server ends.
const ENDING_PATIENCE: Duration = Duration::from_secs(30);
/// How long attempts to deliver may take meanwhile and after that; less than what systemd waits.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(50);

/// How the server is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `-C`.
    pub file: Option<PathBuf>,
    /// `-q`: time between two tries of a message.
    pub queue_interval: Option<Duration>,
    /// `--unconfined` or not.
    pub confinement: Confinement,
}

/// Whether the server gives up what it does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confinement {
    /// It does: an agent runs programs and opens what lies elsewhere.
    #[default]
    Confined,
    /// It keeps all rights, and with them delivers by itself.
    Unconfined,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration can't be read.
    #[error(transparent)]
    Site(#[from] load::SiteError),
    /// The configuration has errors; they were logged.
    #[error("the configuration has errors")]
    Faulty(Findings),
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
    /// The agent has ended, and nothing can be delivered to files and programs without it.
    #[error("the delivery agent has ended: the server must be started again")]
    Agent,
    /// There is no such user, or the system does not let us become him.
    #[error("whom to run as: {0}")]
    Privilege(String),
    /// The configuration names folders that the confined server can't open.
    #[error("{0} is new, and a confined server can't open it: restart the server")]
    Reach(PathBuf),
    /// The configuration names the first shared map, and nobody can be started any more.
    #[error("nobody would follow the shared maps ({0}): restart the server")]
    NotFollowed(String),
    /// A configuration that had to wait is another now.
    #[error("it has changed since the last SIGHUP: send another")]
    Changed,
    /// The system refused something else.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl ServerError {
    /// Whether a shared map that is not here yet may be the reason.
    fn may_pass(&self) -> bool {
        matches!(self, ServerError::Faulty(_) | ServerError::World(_))
    }
}

/// Reads the configuration; its findings go to the log, and errors end it.
///
/// # Errors
/// When it can't be read or has errors.
pub fn configure(start: &Start, log: &Log) -> Result<SoundSite, ServerError> {
    read(start, log, |site| follower::fetch_classes(site, log))
}

/// As [`configure`]; `fetch` sees to it that the words of shared classes can be read.
fn read(start: &Start, log: &Log, fetch: impl FnOnce(&Site)) -> Result<SoundSite, ServerError> {
    let log_all = |findings: &Findings| {
        let lines = findings.0.iter();
        lines.for_each(|finding| log.say(Level::Warning, &finding.to_string()));
    };
    let mut loaded = load::load_unfilled(start.root.as_deref(), start.file.as_deref())?;
    fetch(&loaded.site);
    class_map::fill(&mut loaded);
    match SoundSite::of(loaded) {
        Ok((site, findings)) => {
            log_all(&findings);
            Ok(site.with_queue_interval(start.queue_interval))
        }
        Err(findings) => {
            log_all(&findings);
            Err(ServerError::Faulty(findings.errors()))
        }
    }
}

/// A server that has all that only its start needs, and no rights any more beyond what it
/// goes on with.
pub struct Prepared {
    start: Start,
    site: SoundSite,
    bound: Vec<Bound>,
    tls: Option<Arc<Tls>>,
    follower: Follower,
    counter: Option<Counter>,
    reach: Option<Reach>,
}

/// Prepares a server. What it gives up is given up by this thread and by those that begin
/// later, so there must be no other yet.
///
/// # Errors
/// When the server can't start.
pub fn prepare(start: Start, log: &Log) -> Result<Prepared, ServerError> {
    let site = configure(&start, log)?;
    let bound = listener::bind_all(&site, log)?;
    // What only root can do comes before rights are given up.
    let tls = world::open_tls(&site, log, None);
    let follower = Follower::start(&site, start.file.as_deref(), log);
    let counter = Counter::start(&site, log);
    let reach = give_up(&start, &site, log)?;
    Ok(Prepared {
        start,
        site,
        bound,
        tls,
        follower,
        counter,
        reach,
    })
}

/// Makes the drop folder, starts the agent, becomes an ordinary user, and confines this process
/// to what it returns.
///
/// # Errors
/// When the agent or the user can't be had.
pub(crate) fn give_up(
    start: &Start,
    site: &SoundSite,
    log: &Log,
) -> Result<Option<Reach>, ServerError> {
    let becoming = Becoming::of(site, start.confinement).map_err(ServerError::Privilege)?;
    notify::prepare();
    let drop_folder = drop::intake::prepare(site, becoming.as_ref());
    if becoming.is_some() || start.confinement == Confinement::Confined {
        agent::start(start.root.as_deref(), start.file.as_deref())?;
    }
    if let Some(mut becoming) = becoming {
        becoming.join(&drop_folder);
        if let Some(warning) = becoming.warning(site) {
            log.say(Level::Warning, &warning);
        }
        becoming
            .become_him(&reach::queue(site))
            .map_err(ServerError::Privilege)?;
        log.say(Level::Info, &format!("running as {becoming}"));
    }
    if start.confinement == Confinement::Unconfined {
        return Ok(None);
    }
    queue::make_folder(&reach::queue(site))?;
    let reach = reach::of(site, start.file.as_deref());
    let confined = confine(&reach);
    for lacking in &confined.lacking {
        log.say(Level::Warning, &format!("not confined: {lacking}"));
    }
    let text = format!("confined: {}", confined.done.join(", "));
    log.say(Level::Info, &text);
    Ok(Some(reach))
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the server can't start.
pub async fn run(prepared: Prepared, log: Arc<Log>) -> Result<(), ServerError> {
    let Prepared {
        start,
        site,
        bound,
        tls,
        mut follower,
        counter,
        reach,
    } = prepared;
    follower.watch(&log);
    let folder = reach::queue(&site);
    let queue = Queue::open(&folder)?;
    let window = site.options.limits.connection_rate_window.0;
    let open_files = raise_open_files();
    lookups::set_places(lookups::places_for(open_files));
    let throttle = Throttle::new(window, open_files);
    if let Some(counter) = counter {
        throttle.share(counter.watch(&log), &log)?;
    }
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
    let delivery = Delivery::start(Arc::clone(&world));
    let (phase, watching) = watch::channel(Phase::Running);
    let mut listeners = JoinSet::new();
    for bound in bound {
        let (name, addr) = (&bound.name, bound.listener.local_addr()?);
        log.say(Level::Info, &format!("listening name={name} addr={addr}"));
        let world = Arc::clone(&world);
        listeners.spawn(listener::listen(bound, world, watching.clone()));
    }
    drop(watching);
    // Whoever is told that we are ready may send a signal at once.
    let signals = Signals::new()?;
    log.say(Level::Info, "ready");
    notify("READY=1");
    let shared = Shared {
        start: &start,
        reach: reach.as_ref(),
        log: &log,
        world: &world,
        queue: &queue,
        throttle: &throttle,
    };
    let end = tokio::select! {
        () = wait_for_signals(signals, shared, follower) => Ok(()),
        () = agent::gone() => Err(ServerError::Agent),
    };
    notify("STOPPING=1");
    log.say(Level::Info, "ending: no new connections");
    let _ = phase.send(Phase::Ending);
    listeners.abort_all();
    intake.abort();
    // Sessions hold a receiver of the phase to their end. What is taken meanwhile waits in the
    // queue, so that what is being delivered has all of the time.
    let sessions = tokio::time::timeout(ENDING_PATIENCE, phase.closed());
    let _ = tokio::join!(sessions, delivery.end(DELIVERY_PATIENCE));
    control.abort();
    queue.close();
    if let Some(trouble) = queue.trouble() {
        let text = format!("queue: {trouble}; the journal keeps what is not in the database");
        log.say(Level::Error, &text);
    }
    let _ = std::fs::remove_file(queue::control::socket_of(&folder));
    end
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

/// What a reload works on.
#[derive(Clone, Copy)]
struct Shared<'a> {
    start: &'a Start,
    reach: Option<&'a Reach>,
    log: &'a Arc<Log>,
    world: &'a Arc<RwLock<Arc<World>>>,
    queue: &'a Arc<Queue>,
    throttle: &'a Arc<Throttle>,
}

impl Shared<'_> {
    /// The world of the configuration as it is now, unless that had to wait and is another by now.
    /// `missing` becomes what it may have to wait for.
    fn fresh(
        &self,
        follower: &mut Follower,
        waited: Option<&Awaited>,
        missing: &mut Awaited,
    ) -> Result<Arc<World>, ServerError> {
        let log = self.log;
        let mut ready = Ok(());
        let site = read(self.start, log, |site| {
            if waited.is_some_and(|waited| !waited.are_of(site)) {
                ready = Err(ServerError::Changed);
                return;
            }
            *missing = Awaited::of(site);
            let followed = follower.renew(site, log);
            ready = followed.map_err(ServerError::NotFollowed);
            // A confined server starts nobody who fetches, which its follower does.
            if self.reach.is_none() {
                follower::fetch_classes(site, log);
            }
        });
        ready?;
        let site = site?;
        if let Some(own) = self.reach {
            let file: Option<&Path> = self.start.file.as_deref();
            own.covers(&reach::of_site(&site, file))
                .map_err(ServerError::Reach)?;
        }
        let counts = |site: &Site| site.options.limits.connection_rate_map.clone();
        if counts(&site) != counts(&current(self.world).site) {
            let text = "ConnectionRateMap has changed, which counts from the next start on";
            log.say(Level::Warning, text);
        }
        // A certificate that can't be used now is no reason to stop offering TLS.
        let tls = world::open_tls(&site, log, current(self.world).tls.clone());
        let (queue, throttle) = (Arc::clone(self.queue), Arc::clone(self.throttle));
        let fresh = World::open(site, queue, Arc::clone(log), throttle, tls)?;
        if let Some(agent) = agent::running() {
            agent.reload()?;
        }
        Ok(fresh)
    }
}

async fn wait_for_signals(mut signals: Signals, shared: Shared<'_>, mut follower: Follower) {
    let Shared { log, world, .. } = shared;
    // What the last configuration that was not taken waits for.
    let mut awaited = Awaited::default();
    loop {
        let waited = tokio::select! {
            _ = signals.term.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => None,
            () = awaited.one() => Some(&awaited),
        };
        reloading();
        if waited.is_none() {
            follower.read_anew();
        }
        let mut missing = Awaited::default();
        let fresh = shared.fresh(&mut follower, waited, &mut missing);
        awaited = match &fresh {
            Err(error) if error.may_pass() => missing,
            _ => Awaited::default(),
        };
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
                &format!("configuration kept as it was: {error}{awaited}"),
            ),
        }
        notify("READY=1");
    }
}
