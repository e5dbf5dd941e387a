//! The mechanism `rimap`: a remote IMAP server tells whether a password is right.
//!
//! `-O [tls:|starttls:]HOST[/PORT]`. Without a prefix the connection is in
//! clear, as the original's, except on port 993 (`imaps`), where it is TLS from
//! the start. Certificates are checked against the system's authorities.
//! Credentials that could smuggle an IMAP command are not sent at all.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PasswordChecker;
use super::imap::{self, ImapLogin, StartTls, Step};
use crate::answer::Answer;
use crate::frame::Request;

/// A dialogue that takes longer is given up.
const DIALOGUE_LIMIT: Duration = Duration::from_secs(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Where systems keep the certificates of their authorities, as one PEM file.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// When TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// With the connection.
    Implicit,
    /// By STARTTLS, which the server must have.
    StartTls,
}

/// The server to ask, from `-O`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// When TLS starts.
    pub tls: Tls,
}

/// Why rimap can't start.
#[derive(Debug, thiserror::Error)]
pub enum RimapError {
    /// No `-O`, or one without a host or with an unknown port.
    #[error("rimap wants -O [tls:|starttls:]host[/port]")]
    Option,
    /// TLS is wanted and there are no authorities to check a certificate against.
    #[error("no certificates of authorities in {}", AUTHORITIES.join(", "))]
    NoAuthorities,
    /// The host can't stand in a certificate.
    #[error("not a host name: {0}")]
    Name(String),
    /// The TLS library refuses its settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Remote {
    /// Reads the option's text.
    ///
    /// # Errors
    /// [`RimapError::Option`].
    pub fn parse(option: &str) -> Result<Self, RimapError> {
        let (wanted, place) = if let Some(place) = option.strip_prefix("tls:") {
            (Some(Tls::Implicit), place)
        } else if let Some(place) = option.strip_prefix("starttls:") {
            (Some(Tls::StartTls), place)
        } else {
            (None, option)
        };
        let (host, port) = match place.split_once('/') {
            None => (place, None),
            Some((host, port)) => (host, Some(port)),
        };
        let port = match (port, wanted) {
            (None, Some(Tls::Implicit)) | (Some("imaps"), _) => 993,
            (None | Some("imap"), _) => 143,
            (Some(number), _) => number.parse().map_err(|_| RimapError::Option)?,
        };
        if host.is_empty() || port == 0 {
            return Err(RimapError::Option);
        }
        let tls = wanted.unwrap_or(if port == 993 { Tls::Implicit } else { Tls::Off });
        Ok(Remote {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

/// Asks the remote server.
#[derive(Clone)]
pub struct Rimap {
    remote: Remote,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl fmt::Debug for Rimap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rimap({:?})", self.remote)
    }
}

impl Rimap {
    /// Prepares TLS where it is wanted, with the system's authorities.
    ///
    /// # Errors
    /// No authorities, or a host that isn't a name.
    pub fn new(remote: Remote) -> Result<Self, RimapError> {
        if remote.tls == Tls::Off {
            return Ok(Rimap { remote, tls: None });
        }
        let mut roots = RootCertStore::empty();
        for file in AUTHORITIES.iter().filter(|f| Path::new(f).exists()) {
            let certificates = CertificateDer::pem_file_iter(file);
            roots.add_parsable_certificates(certificates.into_iter().flatten().flatten());
        }
        Self::with_roots(remote, roots)
    }

    /// Prepares TLS with these authorities.
    ///
    /// # Errors
    /// No authorities, or a host that isn't a name.
    pub fn with_roots(remote: Remote, roots: RootCertStore) -> Result<Self, RimapError> {
        if roots.is_empty() {
            return Err(RimapError::NoAuthorities);
        }
        let name = ServerName::try_from(remote.host.clone())
            .map_err(|_| RimapError::Name(remote.host.clone()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Rimap {
            remote,
            tls: Some((Arc::new(config), name)),
        })
    }

    fn ask(&self, mut imap: ImapLogin) -> io::Result<Answer> {
        let deadline = Instant::now()
            .checked_add(DIALOGUE_LIMIT)
            .ok_or(io::ErrorKind::TimedOut)?;
        let Ok(socket) = self.connect() else {
            return Ok(imap::unreachable());
        };
        let mut transport = match self.remote.tls {
            Tls::Implicit => self.secure(socket)?,
            Tls::Off | Tls::StartTls => Transport::Clear(socket),
        };
        let mut buffer = [0; 2048];
        loop {
            transport.limit(deadline)?;
            let count = transport.read(&mut buffer)?;
            let input = buffer.get(..count).unwrap_or_default();
            if input.is_empty() {
                return Ok(imap.on_end());
            }
            let mut step = imap.on_input(input);
            if step == Step::Handshake {
                transport = match transport {
                    Transport::Clear(socket) => self.secure(socket)?,
                    Transport::Tls(_) => return Ok(imap::unexpected()),
                };
                step = imap.secured();
            }
            match step {
                Step::Read => {}
                Step::Send(octets) => {
                    transport.write_all(&octets)?;
                    transport.flush()?;
                }
                Step::Done(answer, farewell) => {
                    // The answer is known: how the server takes the farewell doesn't matter.
                    let _ = transport.write_all(farewell);
                    let _ = transport.flush();
                    return Ok(answer);
                }
                Step::Handshake => return Ok(imap::unexpected()),
            }
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (self.remote.host.as_str(), self.remote.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
                Ok(socket) => {
                    socket.set_write_timeout(Some(DIALOGUE_LIMIT))?;
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn secure(&self, mut socket: TcpStream) -> io::Result<Transport> {
        let Some((config, name)) = &self.tls else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        socket.set_read_timeout(Some(CONNECT_LIMIT))?;
        let mut session =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Transport::Tls(Box::new(StreamOwned::new(session, socket))))
    }
}

impl PasswordChecker for Rimap {
    fn check(&mut self, request: &Request) -> Answer {
        let start_tls = match self.remote.tls {
            Tls::StartTls => StartTls::Required,
            Tls::Off | Tls::Implicit => StartTls::No,
        };
        match ImapLogin::new(&request.login, &request.password, start_tls) {
            None => Answer::refused("remote server rejected your credentials"),
            Some(imap) => self.ask(imap).unwrap_or_else(|_| imap::unreachable()),
        }
    }
}

enum Transport {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// Reads end at the deadline.
    fn limit(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let socket = match self {
            Transport::Clear(socket) => socket,
            Transport::Tls(tls) => &tls.sock,
        };
        socket.set_read_timeout(Some(left))
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Clear(socket) => socket.read(buffer),
            Transport::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Clear(socket) => socket.write(octets),
            Transport::Tls(tls) => tls.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Clear(socket) => socket.flush(),
            Transport::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
#[path = "rimap_tests.rs"]
mod tests;
