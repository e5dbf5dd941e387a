//! A map that a socketmap server answers for.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::resolve::Resolver;
use super::{Address, Endpoint, Reply, Request, netstring};
use crate::map::{Entries, Map, MapClass, MapName, StoreError};
use crate::opening;
use crate::rhs::Rhs;

/// Longest wait for an answer where the site names none with `-d`.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(5);
/// Longest reply; sendmail's own limit.
const MAX_REPLY_OCTETS: usize = 1_000_000;
/// Most connections that are kept for the next lookup.
const MAX_IDLE: usize = 8;

/// A map of a socketmap server. Several threads may ask at once; each has a connection of
/// its own while it waits, and a few are kept open for the next lookup. A process that forks
/// leaves its connections to the one that opened them.
///
/// A server that closed a connection meanwhile, or said something unasked, is asked over a new one. `TEMP`,
/// `TIMEOUT`, `PERM`, silence and nonsense are errors; only `NOTFOUND` is "not in the map".
#[derive(Debug)]
pub struct SocketMap {
    name: MapName,
    address: Address,
    patience: Duration,
    kept: Mutex<Kept>,
}

/// What one process keeps from lookup to lookup. After fork(2) both processes would send on the
/// same connection, and each read what the other asked for; and a thread that was resolving a
/// name is in one of them only.
#[derive(Debug)]
struct Kept {
    process: u32,
    resolver: Resolver,
    idle: Vec<Socket>,
}

impl Default for Kept {
    fn default() -> Self {
        Kept {
            process: std::process::id(),
            resolver: Resolver::default(),
            idle: Vec::new(),
        }
    }
}

impl SocketMap {
    /// The map at this address, each answer to be waited for so long. Nothing is opened
    /// before the first lookup. A name of the host is resolved anew for each connection.
    #[must_use]
    pub fn new(address: Address, patience: Duration) -> Self {
        SocketMap {
            name: MapName::new(MapClass::Socket, address.to_string()),
            address,
            patience,
            kept: Mutex::default(),
        }
    }

    /// Where the server is, and what it calls the map.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn ask(&self, lhs: &[u8]) -> io::Result<Reply> {
        let deadline = Deadline(Instant::now() + self.patience);
        let mut request = Vec::with_capacity(lhs.len() + 32);
        let map = self.address.map.as_bytes();
        Request { map, key: lhs }.append(&mut request);
        if let Some(socket) = self.idle() {
            match exchange(&socket, &request, deadline) {
                Ok(reply) => return Ok(self.keep(socket, reply)),
                // It was closed while nobody asked: the answer of a new one counts.
                Err(Broken::BeforeReply(_) | Broken::TurnedAway(_)) => self.lock().idle.clear(),
                Err(Broken::InReply(error)) => return Err(error),
            }
        }
        let socket = self.connect(deadline)?;
        match exchange(&socket, &request, deadline) {
            Ok(reply) => Ok(self.keep(socket, reply)),
            Err(Broken::TurnedAway(reply)) => Ok(reply),
            Err(Broken::BeforeReply(error) | Broken::InReply(error)) => Err(error),
        }
    }

    /// A connection that was kept, and that has stayed silent since.
    fn idle(&self) -> Option<Socket> {
        loop {
            let socket = self.lock().idle.pop()?;
            if is_silent(&socket) {
                return Some(socket);
            }
        }
    }

    fn keep(&self, socket: Socket, reply: Reply) -> Reply {
        let mut kept = self.lock();
        if kept.idle.len() < MAX_IDLE {
            kept.idle.push(socket);
        }
        reply
    }

    /// What this process keeps. What another one kept is forgotten, which closes no more than
    /// this process's descriptors.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.process != std::process::id() {
            *kept = Kept::default();
        }
        kept
    }

    fn failed(&self, action: &'static str, source: io::Error) -> StoreError {
        StoreError::Io {
            path: self.path(),
            action,
            source,
        }
    }

    fn path(&self) -> PathBuf {
        self.address.to_string().into()
    }
}

impl Map for SocketMap {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        let said = |word: &str, why: String| {
            let text = format!("the server says {word}: {why}");
            text.trim_end_matches(": ").to_owned()
        };
        match self.ask(lhs).map_err(|e| self.failed("ask", e))? {
            Reply::Ok(value) => Ok(Some(Rhs::from(value))),
            Reply::NotFound => Ok(None),
            Reply::Temp(why) => Err(self.failed("ask", io::Error::other(said("TEMP", why)))),
            Reply::Timeout(why) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, said("TIMEOUT", why));
                Err(self.failed("ask", error))
            }
            Reply::Perm(why) => Err(StoreError::Unsupported {
                path: self.path(),
                why: said("PERM", why),
            }),
        }
    }

    /// The protocol has no request for it: one error, and nothing else.
    fn iter(&self) -> Entries<'_> {
        Box::new(std::iter::once(Err(StoreError::Unsupported {
            path: self.path(),
            why: "a map behind a socket answers lookups only; its entries can't be listed".into(),
        })))
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}

/// When waiting ends.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    /// What is left, and at least a moment: zero would mean for ever.
    fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
            false => Ok(left),
        }
    }

    /// A part of it, of so many that are alike.
    fn part(self, parts: usize) -> io::Result<Duration> {
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        Ok((self.left()? / parts).max(Duration::from_millis(1)))
    }
}

/// Where an exchange ended.
enum Broken {
    /// Not an octet of a reply had come.
    BeforeReply(io::Error),
    /// The server hung up before it had the request, and had said why.
    TurnedAway(Reply),
    /// In the middle of it, or out of time.
    InReply(io::Error),
}

impl SocketMap {
    fn connect(&self, deadline: Deadline) -> io::Result<Socket> {
        match &self.address.endpoint {
            Endpoint::Unix(path) => connect_unix(path, deadline),
            Endpoint::Inet(host, port) => {
                let addresses = match host.parse::<IpAddr>() {
                    Ok(ip) => vec![SocketAddr::new(ip, *port)],
                    Err(_) => {
                        let (host, port) = (host.clone(), *port);
                        let ask = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
                        let resolver = self.lock().resolver.clone();
                        resolver.addresses(deadline.0, ask)?
                    }
                };
                let mut last = io::Error::other("the host has no address");
                for (at, address) in addresses.iter().enumerate() {
                    // One that is silent leaves the others their part of the time.
                    let left = deadline.part(addresses.len() - at)?;
                    match connect_inet(*address, left) {
                        Ok(socket) => return Ok(socket),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

fn connect_unix(path: &Path, deadline: Deadline) -> io::Result<Socket> {
    let full = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(
            io::ErrorKind::TimedOut,
            "the server takes no more connections",
        ),
        _ => e,
    };
    let stream = opening::socket(path, deadline.left()?).map_err(full)?;
    Ok(Socket::from(OwnedFd::from(stream)))
}

fn connect_inet(address: SocketAddr, patience: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.connect_timeout(&address.into(), patience)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Whether nothing came since the last reply, not even the end. What came unasked would be taken
/// for the answer to the next key.
fn is_silent(socket: &Socket) -> bool {
    let mut octet = [MaybeUninit::uninit(); 1];
    match socket.recv_with_flags(&mut octet, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        _ => error,
    }
}

fn exchange(socket: &Socket, request: &[u8], deadline: Deadline) -> Result<Reply, Broken> {
    let Err(error) = send(socket, request, deadline) else {
        return receive(socket, deadline);
    };
    if error.kind() == io::ErrorKind::TimedOut {
        return Err(Broken::InReply(error));
    }
    // A server that has too many clients says so and hangs up; only that can be an answer to what
    // it did not read.
    match receive(socket, deadline) {
        Ok(reply @ (Reply::Temp(_) | Reply::Timeout(_) | Reply::Perm(_))) => {
            Err(Broken::TurnedAway(reply))
        }
        _ => Err(Broken::BeforeReply(error)),
    }
}

/// Sends all of it. Of a server that is gone this process is told by an error, never by SIGPIPE,
/// which would end a program that this library is only a part of.
fn send(socket: &Socket, request: &[u8], deadline: Deadline) -> io::Result<()> {
    let mut rest = request;
    while !rest.is_empty() {
        socket.set_write_timeout(Some(deadline.left()?))?;
        match socket.send_with_flags(rest, libc::MSG_NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(late(e)),
        }
    }
    Ok(())
}

fn receive(mut socket: &Socket, deadline: Deadline) -> Result<Reply, Broken> {
    let left = || deadline.left().map_err(Broken::InReply);
    let mut reply = Vec::new();
    let mut block = [0u8; 4096];
    loop {
        socket
            .set_read_timeout(Some(left()?))
            .map_err(Broken::InReply)?;
        let got = match socket.read(&mut block) {
            Ok(0) if reply.is_empty() => {
                let error = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                );
                return Err(Broken::BeforeReply(error));
            }
            Ok(0) => {
                let text = "the server closed the connection in its reply";
                return Err(Broken::InReply(io::Error::other(text)));
            }
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(Broken::InReply(late(e)));
            }
            Err(e) if reply.is_empty() => return Err(Broken::BeforeReply(e)),
            Err(e) => return Err(Broken::InReply(e)),
        };
        reply.extend_from_slice(block.get(..got).unwrap_or_default());
        let nonsense = |why: String| {
            let text = format!("the server's reply is wrong: {why}");
            Broken::InReply(io::Error::other(text))
        };
        match netstring::split(&reply, MAX_REPLY_OCTETS) {
            Ok(None) => {}
            // One request, one reply: what follows it would be taken for the next one's.
            Ok(Some((_, used))) if used < reply.len() => {
                return Err(nonsense("more than one".into()));
            }
            Ok(Some((carried, _))) => {
                return Reply::parse(carried).ok_or_else(|| nonsense("no known status".into()));
            }
            Err(fault) => return Err(nonsense(fault.to_string())),
        }
    }
}
