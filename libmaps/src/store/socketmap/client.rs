//! A map that a socketmap server answers for.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

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
/// its own while it waits, and a few are kept open for the next lookup.
///
/// A server that closed a connection meanwhile, or said something unasked, is asked over a new one. `TEMP`,
/// `TIMEOUT`, `PERM`, silence and nonsense are errors; only `NOTFOUND` is "not in the map".
#[derive(Debug)]
pub struct SocketMap {
    name: MapName,
    address: Address,
    patience: Duration,
    idle: Mutex<Vec<Socket>>,
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
            idle: Mutex::default(),
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
        if let Some(socket) = self.kept() {
            match exchange(&socket, &request, deadline) {
                Ok(reply) => return Ok(self.keep(socket, reply)),
                // It was closed while nobody asked: the answer of a new one counts.
                Err(Broken::BeforeReply(_)) => self.lock().clear(),
                Err(Broken::InReply(error)) => return Err(error),
            }
        }
        let socket = connect(&self.address.endpoint, deadline)?;
        match exchange(&socket, &request, deadline) {
            Ok(reply) => Ok(self.keep(socket, reply)),
            Err(Broken::BeforeReply(error) | Broken::InReply(error)) => Err(error),
        }
    }

    /// A connection that was kept, and that has stayed silent since.
    fn kept(&self) -> Option<Socket> {
        loop {
            let socket = self.lock().pop()?;
            if is_silent(&socket) {
                return Some(socket);
            }
        }
    }

    fn keep(&self, socket: Socket, reply: Reply) -> Reply {
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE {
            idle.push(socket);
        }
        reply
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Socket>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
}

/// Where an exchange ended.
enum Broken {
    /// Not an octet of a reply had come.
    BeforeReply(io::Error),
    /// In the middle of it, or out of time.
    InReply(io::Error),
}

fn connect(endpoint: &Endpoint, deadline: Deadline) -> io::Result<Socket> {
    match endpoint {
        Endpoint::Unix(path) => {
            let full = |e: io::Error| match e.kind() {
                io::ErrorKind::WouldBlock => io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the server takes no more connections",
                ),
                _ => e,
            };
            let patience = deadline.left()?;
            let stream = opening::socket(path, patience).map_err(full)?;
            Ok(Socket::from(OwnedFd::from(stream)))
        }
        Endpoint::Inet(host, port) => {
            let mut last = io::Error::other("the host has no address");
            for address in (host.as_str(), *port).to_socket_addrs()? {
                match connect_inet(address, deadline) {
                    Ok(socket) => return Ok(socket),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

fn connect_inet(address: SocketAddr, deadline: Deadline) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.connect_timeout(&address.into(), deadline.left()?)?;
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

fn exchange(mut socket: &Socket, request: &[u8], deadline: Deadline) -> Result<Reply, Broken> {
    let late = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        _ => e,
    };
    let left = || deadline.left().map_err(Broken::InReply);
    let timed = socket.set_write_timeout(Some(left()?));
    timed
        .and_then(|()| socket.write_all(request))
        .map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => Broken::InReply(late(e)),
            _ => Broken::BeforeReply(e),
        })?;
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
