//! The server: listeners, signals, and the end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use libmaps::site::Site;
use libmaps::site::load;
use libmaps::site::model::Family;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection::{Accepted, Phase, serve};
use crate::daemon::Daemon;
use crate::deliver;
use crate::log::{Level, Log};
use crate::notify::notify;
use crate::privilege;
use crate::proxy::{self, Header};
use crate::queue::{self, Queue, QueueError};
use crate::throttle::Throttle;
use crate::world::{World, WorldError};

/// Length of a listener's queue where the site does not say.
const BACKLOG: u32 = 128;
/// Longest wait for a balancer's header.
const PROXY_PATIENCE: Duration = Duration::from_secs(5);
/// How long open transactions may take when the server ends.
const ENDING_PATIENCE: Duration = Duration::from_secs(30);

/// How the server is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `-C`.
    pub file: Option<PathBuf>,
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

/// A bound listener.
struct Bound {
    listener: TcpListener,
    daemon: usize,
}

/// Reads the configuration; its findings go to the log, and errors end it.
///
/// # Errors
/// When it can't be read or has errors.
pub fn configure(start: &Start, log: &Log) -> Result<Site, ServerError> {
    let loaded = load::load(start.root.as_deref(), start.file.as_deref())?;
    for finding in &loaded.diagnostics {
        log.say(Level::Warning, &finding.to_string());
    }
    if loaded.has_errors() {
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
    let bound = bind_all(&site)?;
    let folder = site
        .options
        .queue
        .directory
        .clone()
        .unwrap_or_else(|| "/var/spool/mqueue".into());
    let folder = site.below(&folder);
    privilege::drop_to(&site, &folder).map_err(ServerError::Privilege)?;
    let queue = Queue::open(&folder)?;
    let throttle = Throttle::new(site.options.limits.connection_rate_window.0);
    let world = World::open(
        site,
        Arc::clone(&queue),
        Arc::clone(&log),
        Arc::clone(&throttle),
    )?;
    let world = Arc::new(RwLock::new(world));
    let control = queue::control::serve(Arc::clone(&queue), &folder)?;
    let delivery = tokio::spawn(deliver::run(Arc::clone(&world)));
    let (phase, watching) = watch::channel(Phase::Running);
    let mut listeners = JoinSet::new();
    for bound in bound {
        let name = current(&world)
            .daemons
            .get(bound.daemon)
            .map(|d| d.options.name.clone());
        let addr = bound.listener.local_addr()?;
        log.say(
            Level::Info,
            &format!("listening name={} addr={addr}", name.unwrap_or_default()),
        );
        listeners.spawn(listen(bound, Arc::clone(&world), watching.clone()));
    }
    drop(watching);
    log.say(Level::Info, "ready");
    notify("READY=1");
    wait_for_signals(&start, &log, &world, &queue, &throttle).await?;
    notify("STOPPING=1");
    log.say(Level::Info, "ending: no new connections");
    let _ = phase.send(Phase::Ending);
    listeners.abort_all();
    // Sessions hold a receiver of the phase to their end.
    let _ = tokio::time::timeout(ENDING_PATIENCE, phase.closed()).await;
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

async fn wait_for_signals(
    start: &Start,
    log: &Arc<Log>,
    world: &Arc<RwLock<Arc<World>>>,
    queue: &Arc<Queue>,
    throttle: &Arc<Throttle>,
) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {}
        }
        notify("RELOADING=1");
        let fresh = configure(start, log).and_then(|site| {
            Ok(World::open(
                site,
                Arc::clone(queue),
                Arc::clone(log),
                Arc::clone(throttle),
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

async fn listen(bound: Bound, world: Arc<RwLock<Arc<World>>>, phase: watch::Receiver<Phase>) {
    loop {
        let accepted = bound.listener.accept().await;
        let world = current(&world);
        match accepted {
            Ok((stream, client)) => {
                let Some(daemon) = world.daemons.get(bound.daemon).map(Arc::clone) else {
                    continue;
                };
                if world.refuses_connections() {
                    world.log.say(
                        Level::Notice,
                        &format!(
                            "rejecting connections on daemon {}: load average",
                            daemon.options.name
                        ),
                    );
                    continue;
                }
                // MaxDaemonChildren: later clients wait in the kernel's queue.
                while !world.has_room() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let _ = stream.set_nodelay(true);
                tokio::spawn(welcome(world, daemon, stream, client, phase.clone()));
            }
            Err(error) => {
                // EMFILE and the like pass when sessions end.
                world.log.say(Level::Error, &format!("accept: {error}"));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Finds out who the client is, behind a balancer if need be, and serves it.
async fn welcome(
    world: Arc<World>,
    daemon: Arc<Daemon>,
    stream: TcpStream,
    client: SocketAddr,
    phase: watch::Receiver<Phase>,
) {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let accepted = if is_balancer(&daemon, client.ip()) {
        match tokio::time::timeout(PROXY_PATIENCE, behind(stream, client)).await {
            Ok(Some(accepted)) => accepted,
            _ => {
                let text = format!("rejecting {client}: a listed proxy without PROXY header");
                return world.log.say(Level::Warning, &text);
            }
        }
    } else {
        Accepted {
            stream,
            client,
            first: Vec::new(),
        }
    };
    serve(world, daemon, accepted, phase).await;
}

/// `Proxy=` of DAEMON_OPTIONS lists balancers as addresses or `address/bits`, separated by `;`.
fn is_balancer(daemon: &Daemon, addr: IpAddr) -> bool {
    let listed = daemon.options.others.iter();
    listed
        .filter(|(key, _)| key.eq_ignore_ascii_case("proxy"))
        .flat_map(|(_, value)| value.split([';', ' ']))
        .any(|network| network_has(network.trim(), addr))
}

fn network_has(network: &str, addr: IpAddr) -> bool {
    let (base, bits) = match network.split_once('/') {
        Some((base, bits)) => (base, bits.parse::<u32>().ok()),
        None => (network, Some(128)),
    };
    let (Ok(base), Some(bits)) = (base.parse::<IpAddr>(), bits) else {
        return false;
    };
    match (base, addr) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32 - bits.min(32);
            let part = |ip: std::net::Ipv4Addr| u64::from(ip.to_bits()) >> shift;
            part(a) == part(b)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let part =
                |ip: std::net::Ipv6Addr| ip.to_bits().checked_shr(128 - bits.min(128)).unwrap_or(0);
            part(a) == part(b)
        }
        _ => false,
    }
}

async fn behind(stream: TcpStream, balancer: SocketAddr) -> Option<Accepted> {
    let mut first = Vec::new();
    loop {
        let mut buffer = [0u8; 512];
        stream.readable().await.ok()?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return None,
            Ok(octets) => first.extend_from_slice(buffer.get(..octets)?),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        if let Some((header, octets)) = proxy::parse(&first).ok()? {
            let client = match header {
                Header::Local => balancer,
                Header::Client(client) => client,
            };
            return Some(Accepted {
                stream,
                client,
                first: first.split_off(octets),
            });
        }
    }
}

/// Binds every daemon: to a socket that a service manager passed, or to a new one.
fn bind_all(site: &Site) -> Result<Vec<Bound>, ServerError> {
    let mut passed = privilege::passed_listeners();
    let mut all = Vec::new();
    for (daemon, options) in site.daemons.iter().enumerate() {
        if options.family == Family::Local {
            continue;
        }
        let any = match options.family {
            Family::Inet6 => "::",
            _ => "0.0.0.0",
        };
        let text = options.address.as_deref().unwrap_or(any);
        let fault = |source| ServerError::Bind {
            name: options.name.clone(),
            addr: format!("{text}:{}", options.port),
            source,
        };
        let port = options
            .port_number()
            .ok_or_else(|| fault(io::Error::other("no such port")))?;
        let addr =
            address_of(text, site).ok_or_else(|| fault(io::Error::other("no such address")))?;
        let addr = SocketAddr::new(addr, port);
        let listener = match passed
            .iter()
            .position(|l| l.local_addr().is_ok_and(|a| a.port() == port))
        {
            Some(at) => {
                let listener = passed.swap_remove(at);
                listener.set_nonblocking(true).map_err(fault)?;
                TcpListener::from_std(listener).map_err(fault)?
            }
            None => bind(addr, options.backlog.unwrap_or(BACKLOG)).map_err(fault)?,
        };
        all.push(Bound { listener, daemon });
    }
    Ok(all)
}

fn address_of(text: &str, site: &Site) -> Option<IpAddr> {
    if let Ok(addr) = text.trim_matches(['[', ']']).parse() {
        return Some(addr);
    }
    let hosts = libmaps::site::hosts::Hosts::of(site).ok()?;
    hosts.addresses(text).into_iter().next()
}

fn bind(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(backlog)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let cases = [
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/32", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("nonsense", "127.0.0.1", false),
        ];
        for (network, addr, want) in cases {
            assert_eq!(
                network_has(network, addr.parse().unwrap()),
                want,
                "{network} {addr}"
            );
        }
    }
}
