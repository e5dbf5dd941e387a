//! Listeners: bound to what DAEMON_OPTIONS say or passed by a service manager, and who may
//! come in.

mod room;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use libmaps::site::Site;
use libmaps::site::model::{DaemonOptions, Family};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection::{Accepted, Phase, serve};
use crate::daemon::Daemon;
use crate::log::{Level, Log};
use crate::privilege;
use crate::proxy::{self, Header};
use crate::server::{ServerError, current};
use crate::throttle::Place;
use crate::world::World;

use room::{Guest, Room};

/// Length of a listener's queue where the site does not say.
const BACKLOG: u32 = 128;
/// How often it is looked whether there is a place for those who wait.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for a balancer's header.
const PROXY_PATIENCE: Duration = Duration::from_secs(5);

/// A bound listener.
pub(crate) struct Bound {
    /// Its socket.
    pub(crate) listener: std::net::TcpListener,
    /// The daemon's name.
    pub(crate) name: String,
    daemon: usize,
}

/// Accepts clients for ever.
pub(crate) async fn listen(
    bound: Bound,
    world: Arc<RwLock<Arc<World>>>,
    phase: watch::Receiver<Phase>,
) {
    // A client's socket has it from the listener's: replies don't wait for one another.
    let _ = SockRef::from(&bound.listener).set_tcp_nodelay(true);
    let own = bound.listener.try_clone();
    let listener = match own.and_then(tokio::net::TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            let text = format!("daemon {}: {error}", bound.name);
            return current(&world).log.say(Level::Error, &text);
        }
    };
    let mut room = Room::new(current(&world).throttle.most_waiting());
    let mut look_at = Instant::now();
    loop {
        // MaxDaemonChildren and children=: later clients wait, here and in the kernel's queue.
        let arrived = tokio::select! {
            accepted = listener.accept() => Some(accepted),
            () = tokio::time::sleep_until(look_at), if !room.is_empty() => None,
        };
        match arrived {
            None => {}
            Some(Ok((stream, client))) => {
                let world = current(&world);
                let who = bound.client_of(&world, client);
                let guest = Guest {
                    client: who,
                    it: (stream, client),
                };
                if let Some(guest) = room.enter(guest) {
                    bound.turn_away(&world, &guest.it);
                }
            }
            Some(Err(error)) => {
                // EMFILE and the like pass when sessions end.
                let text = format!("accept: {error}");
                current(&world).log.say(Level::Error, &text);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        while Instant::now() >= look_at {
            let world = current(&world);
            let Some(guest) = room.next(|client| world.throttle.open_places(client)) else {
                break;
            };
            if let Some(guest) = bound.serve(&world, guest, &phase) {
                room.put_back(guest);
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }
}

/// A connection that was accepted, and where it comes from.
type Arrival = (TcpStream, SocketAddr);

impl Bound {
    /// Who has come; `None` where a balancer has yet to say so.
    fn client_of(&self, world: &World, client: SocketAddr) -> Option<IpAddr> {
        let addr = client.ip().to_canonical();
        let daemon = self.daemon_in(world);
        let balanced = daemon.is_some_and(|daemon| is_balancer(&daemon, addr));
        (!balanced).then_some(addr)
    }

    /// Starts a session, unless there is no place: then the client comes back.
    fn serve(
        &self,
        world: &Arc<World>,
        guest: Guest<Arrival>,
        phase: &watch::Receiver<Phase>,
    ) -> Option<Guest<Arrival>> {
        let Some(daemon) = self.daemon_in(world) else {
            let text = format!(
                "rejecting connections on daemon {}: not configured",
                self.name
            );
            world.log.say(Level::Warning, &text);
            return None;
        };
        let place = world
            .throttle
            .admit(&world.site, &daemon.options, guest.client);
        let Some(place) = place else {
            return Some(guest);
        };
        let (stream, client) = guest.it;
        if daemon.refuses_connections() {
            let name = &daemon.options.name;
            let text = format!("rejecting connections on daemon {name}: load average");
            world.log.say(Level::Notice, &text);
            refuse(world, &stream);
            return None;
        }
        let world = Arc::clone(world);
        tokio::spawn(welcome(world, daemon, stream, client, place, phase.clone()));
        None
    }

    /// Sends away a client for whom there is no room to wait.
    fn turn_away(&self, world: &World, (stream, client): &Arrival) {
        let (name, addr) = (&self.name, client.ip().to_canonical());
        let text =
            format!("rejecting {addr} on daemon {name}: too many of its network wait for a place");
        world.log.say(Level::Notice, &text);
        refuse(world, stream);
    }

    /// The daemon of this listener in a world, which a reload may have replaced: the one at
    /// its place or, where the list has changed, the one of its name.
    fn daemon_in(&self, world: &World) -> Option<Arc<Daemon>> {
        let named = |daemon: &&Arc<Daemon>| daemon.options.name == self.name;
        let at_place = world.daemons.get(self.daemon).filter(named);
        at_place
            .or_else(|| world.daemons.iter().find(named))
            .map(Arc::clone)
    }
}

/// 421, to a client that is not served.
fn refuse(world: &World, stream: &TcpStream) {
    let host = &world.site.host_name;
    let text = format!("421 4.3.2 {host} is too busy; please try again later\r\n");
    // What the socket does not take at once is not worth waiting for.
    let _ = stream.try_write(text.as_bytes());
}

/// Finds out who the client is, behind a balancer if need be, and serves it.
async fn welcome(
    world: Arc<World>,
    daemon: Arc<Daemon>,
    stream: TcpStream,
    client: SocketAddr,
    place: Place,
    phase: watch::Receiver<Phase>,
) {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let accepted = if is_balancer(&daemon, client.ip()) {
        match tokio::time::timeout(PROXY_PATIENCE, behind(stream, client)).await {
            Ok(Some((stream, client, first))) => Accepted {
                stream,
                client,
                first,
                place,
            },
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
            place,
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

/// Reads a balancer's header: the client, and what it has sent already.
async fn behind(
    stream: TcpStream,
    balancer: SocketAddr,
) -> Option<(TcpStream, SocketAddr, Vec<u8>)> {
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
            return Some((stream, client, first.split_off(octets)));
        }
    }
}

/// Binds every daemon: to a socket that a service manager passed, or to a new one. One
/// with the modifier `O` may fail, as long as another does not.
///
/// # Errors
/// When one can't be bound, or none can.
pub(crate) fn bind_all(site: &Site, log: &Log) -> Result<Vec<Bound>, ServerError> {
    let mut passed = privilege::passed_listeners();
    let (mut all, mut failed) = (Vec::new(), None);
    for (daemon, options) in site.daemons.iter().enumerate() {
        let fault = |source| ServerError::Bind {
            name: options.name.clone(),
            addr: shown(options),
            source,
        };
        match bind_daemon(site, options, &mut passed).map_err(fault) {
            Ok(listener) => all.push(Bound {
                listener,
                name: options.name.clone(),
                daemon,
            }),
            Err(error) if options.modifiers.has('O') => {
                log.say(Level::Warning, &error.to_string());
                failed = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match failed {
        Some(error) if all.is_empty() => Err(error),
        _ => Ok(all),
    }
}

fn wildcard(family: Family) -> &'static str {
    match family {
        Family::Inet6 => "::",
        _ => "0.0.0.0",
    }
}

fn shown(options: &DaemonOptions) -> String {
    let text = options.address.as_deref();
    let text = text.unwrap_or_else(|| wildcard(options.family));
    match options.family {
        Family::Inet6 => format!("[{text}]:{}", options.port),
        _ => format!("{text}:{}", options.port),
    }
}

fn bind_daemon(
    site: &Site,
    options: &DaemonOptions,
    passed: &mut Vec<std::net::TcpListener>,
) -> io::Result<std::net::TcpListener> {
    let addr = place_of(site, options)?;
    let port = addr.port();
    let fits = |l: &std::net::TcpListener| {
        l.local_addr()
            .is_ok_and(|a| a.port() == port && (a.is_ipv4() == addr.is_ipv4()))
    };
    // A dual-stack socket of a service manager serves an IPv4 daemon as well.
    let on_port =
        |l: &std::net::TcpListener| l.local_addr().is_ok_and(|a| port != 0 && a.port() == port);
    let found = passed.iter().position(fits);
    if let Some(at) = found.or_else(|| passed.iter().position(on_port)) {
        let listener = passed.swap_remove(at);
        listener.set_nonblocking(true)?;
        return Ok(listener);
    }
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if addr.is_ipv6() {
        // Alone, an IPv6 listener takes IPv4 clients too; beside an IPv4 one it must not.
        let mut others = site.daemons.iter();
        let beside = others.any(|o| o.family == Family::Inet && o.port_number() == Some(port));
        socket.set_only_v6(beside)?;
    }
    if let Some(octets) = options.buffer_octets("SendBufSize") {
        socket.set_send_buffer_size(octets as usize)?;
    }
    if let Some(octets) = options.buffer_octets("ReceiveBufSize") {
        socket.set_recv_buffer_size(octets as usize)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    let backlog = options.backlog.unwrap_or(BACKLOG);
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Whether a daemon could listen, as far as it can be told without taking the port: its address is one
/// of this machine.
///
/// # Errors
/// Why it could not.
pub(crate) fn check(site: &Site, options: &DaemonOptions) -> io::Result<()> {
    let mut addr = place_of(site, options)?;
    addr.set_port(0);
    Socket::new(Domain::for_address(addr), Type::STREAM, None)?.bind(&addr.into())
}

/// Where a daemon listens.
fn place_of(site: &Site, options: &DaemonOptions) -> io::Result<SocketAddr> {
    if options.family == Family::Local {
        return Err(io::Error::other("Family=local is not served here"));
    }
    let text = options.address.as_deref();
    let text = text.unwrap_or_else(|| wildcard(options.family));
    let port = options.port_number();
    let port = port.ok_or_else(|| io::Error::other("no such port"))?;
    let addr = address_of(text, options.family, site);
    let addr = addr.ok_or_else(|| io::Error::other("no such address"))?;
    Ok(SocketAddr::new(addr, port))
}

/// The address of a name or a number, of the daemon's family.
fn address_of(text: &str, family: Family, site: &Site) -> Option<IpAddr> {
    let fits = |addr: &IpAddr| addr.is_ipv6() == (family == Family::Inet6);
    let bare = text.trim_matches(['[', ']']);
    let bare = match bare.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => bare.get(5..).unwrap_or_default(),
        _ => bare,
    };
    if let Ok(addr) = bare.parse::<IpAddr>() {
        return Some(addr).filter(fits);
    }
    let hosts = libmaps::site::hosts::Hosts::of(site).ok()?;
    hosts.addresses(text).into_iter().find(fits)
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
