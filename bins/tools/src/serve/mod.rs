//! A server that answers other mail programs: the site's maps by the socketmap protocol,
//! and its decisions as a Postfix policy service.
//!
//! A thread serves each client, and [`Limits`] bound how many there are, how long one may
//! take for a request and how long it may be silent. Maps are looked at anew for each
//! request. [`run`] returns when the process is told to stop and the last request is answered.

mod address;
pub mod confinement;
mod connection;
mod crowd;
mod listener;
mod network;
mod passed;
pub mod policy;
mod protocol;
mod ready;
mod search;
pub mod site_maps;
mod socketmap;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use confine::Reach;
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use socket2::Socket;

pub use address::ListenAddress;
pub use listener::{Access, BindError};
pub use network::Network;
pub use protocol::{Conversation, Service, Turn};

use crowd::{Admission, Crowd};
use listener::Listener;
use passed::Passed;

/// How long clients that are being answered are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pause after an accept(2) that failed: EMFILE and the like pass when clients go.
const BREATH: Duration = Duration::from_millis(100);

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at one time. Beyond it the one that was silent longest is sent away.
    pub connections: usize,
    /// Longest silence between two requests.
    pub idle: Duration,
    /// Longest time from the first octet of a request to its last, and for taking a reply.
    pub request: Duration,
}

/// A service, and where it is offered.
pub struct Offer {
    /// The service.
    pub service: Arc<dyn Service>,
    /// The address.
    pub address: ListenAddress,
}

/// Where a server's words go.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// Serves until SIGTERM or SIGINT. Before it answers anybody it gives up what is not in its reach,
/// if it has one; it must be the only thread then.
///
/// # Errors
/// When an address can't be bound, or signals can't be waited for.
pub fn run(
    offers: Vec<Offer>,
    access: &Access,
    limits: Limits,
    reach: Option<&Reach>,
) -> Result<(), BindError> {
    let system = |source: io::Error| BindError::System { source };
    let (stop, told) = UnixStream::pair().map_err(system)?;
    for signal in [SIGTERM, SIGINT] {
        let told = told.try_clone().map_err(system)?;
        signal_hook::low_level::pipe::register(signal, told).map_err(system)?;
    }
    let (mut asked, hung_up) = UnixStream::pair().map_err(system)?;
    signal_hook::low_level::pipe::register(SIGHUP, hung_up).map_err(system)?;
    let server = Server::bind(offers, access, Arc::new(log))?;
    if let Some(reach) = reach {
        let confined = confine::confine(reach);
        for lacking in &confined.lacking {
            log(&format!("not confined: {lacking}"));
        }
        log(&format!("confined: {}", confined.done.join(", ")));
    }
    // What a confined process would have to read anew may be out of its reach.
    thread::spawn(move || {
        while asked.read_exact(&mut [0]).is_ok() {
            log("SIGHUP: maps are read as they change; for a changed configuration start it again");
        }
    });
    log("ready");
    ready::tell("READY=1");
    server.run(limits, &stop);
    log("stopped");
    Ok(())
}

/// A server that has its sockets and answers nobody yet.
pub struct Server {
    bound: Vec<(Arc<dyn Service>, Listener)>,
    access: Access,
    report: Report,
}

impl Server {
    /// Binds every address.
    ///
    /// # Errors
    /// When one can't be bound.
    pub fn bind(offers: Vec<Offer>, access: &Access, report: Report) -> Result<Self, BindError> {
        let mut passed = Passed::take();
        let mut bound = Vec::new();
        for offer in offers {
            for listener in Listener::open(&offer.address, access, &mut passed)? {
                let (name, shown) = (offer.service.name(), listener.shown());
                report(&format!("listening service={name} addr={shown}"));
                bound.push((Arc::clone(&offer.service), listener));
            }
        }
        Ok(Server {
            bound,
            access: access.clone(),
            report,
        })
    }

    /// Serves until `stop` can be read; then answers what it has begun.
    pub fn run(self, limits: Limits, stop: &UnixStream) {
        let crowd = Arc::new(Crowd::new(limits.connections));
        thread::scope(|scope| {
            for (service, listener) in &self.bound {
                let (crowd, server) = (&crowd, &self);
                scope.spawn(move || server.accept(service, listener, crowd, limits, stop));
            }
        });
        ready::tell("STOPPING=1");
        drop(self.bound);
        crowd.dismiss(FAREWELL);
    }

    /// Accepts clients until `stop` can be read.
    fn accept(
        &self,
        service: &Arc<dyn Service>,
        listener: &Listener,
        crowd: &Arc<Crowd>,
        limits: Limits,
        stop: &UnixStream,
    ) {
        loop {
            let mut waited = [
                PollFd::new(listener.socket(), PollFlags::IN),
                PollFd::new(stop, PollFlags::IN),
            ];
            match poll(&mut waited, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => thread::sleep(BREATH),
            }
            if waited.iter().skip(1).any(|fd| !fd.revents().is_empty()) {
                return;
            }
            let (socket, peer) = match listener.socket().accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    (self.report)(&format!("accept: {error}"));
                    thread::sleep(BREATH);
                    continue;
                }
            };
            let peer = peer.as_socket().map(|peer| peer.ip());
            if let Some(ip) = peer.filter(|ip| !self.access.admits(*ip)) {
                (self.report)(&format!("client {ip} turned away: it may not connect"));
                continue;
            }
            self.welcome(socket, service, crowd, limits);
        }
    }

    /// Gives a client its thread.
    fn welcome(
        &self,
        socket: Socket,
        service: &Arc<dyn Service>,
        crowd: &Arc<Crowd>,
        limits: Limits,
    ) {
        let member = match crowd.admit(socket) {
            Admission::In(member) => member,
            Admission::Full(socket) => {
                (self.report)("client turned away: as many as may be are being answered");
                return connection::turn_away(&socket, &**service, limits);
            }
        };
        let service = Arc::clone(service);
        let spawned = thread::Builder::new()
            .name(service.name().into())
            .spawn(move || connection::serve(&member, &*service, limits));
        if let Err(error) = spawned {
            (self.report)(&format!("client turned away: no thread: {error}"));
        }
    }
}

/// A line for the log of `mapctl serve`, which is standard error: service managers keep it.
pub(crate) fn log(text: &str) {
    // A log that can't be written keeps no answer back.
    let _ = writeln!(io::stderr().lock(), "mapctl serve: {text}");
}
