//! A connection to a server, and the driver of its [`Client`]: does what the client
//! says, keeps the time, and knows nothing of SMTP.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libmaps::opening;
use libmaps::policy::facts;
use libmaps::site::model::options::Timeouts;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{Action, Client, Failure, Settings, Step};
use super::data::DataEncoder;
use super::text::Block;
use crate::aside::aside;
use crate::tls::client::{ClientTls, bindings};

/// Octets read at once.
const READ_OCTETS: usize = 8 * 1024;
/// A limit where the site sets none (0).
const NO_LIMIT: Duration = Duration::from_secs(3600);
/// Longest wait for the system's own patience with a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(150);
/// Longest wait for a socket of this machine that only another process may connect to.
const DENIED_PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to say why it broke off in the middle of a text.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The least time for the answer to a text: when that comes too late, the message comes twice.
pub(crate) const LAST_ANSWER: Duration = Duration::from_secs(600);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(10);

/// A connection.
pub struct Link {
    /// The client on it.
    pub client: Client,
    stream: Stream,
    /// TLS, for the rulesets.
    pub tls: facts::Tls,
    /// Where it leads; nothing for a socket of this machine.
    pub addr: Option<SocketAddr>,
    uses: u32,
    /// When the reply must be there that is waited for, and how many came before it.
    deadline: Option<(u64, Instant)>,
    /// When the time of the delivery is up that uses it.
    until: Option<Instant>,
    pace: Pace,
    /// Whether a login is lacking on it.
    pub login: Login,
}

/// Whether the site wants to log in at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It does not, or has.
    Settled,
    /// It does, and there was no way: what the server refuses may be for that.
    Lacking,
}

/// Whether the server takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So far it does not.
    Good,
    /// A time-out has ended the connection.
    Silent,
}

enum Stream {
    Clear(TcpStream),
    Local(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

/// What the driver can't do by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// TLS is to be started.
    Secure,
    /// The connection is to be judged.
    Judge,
    /// The text is to be sent.
    SendText,
    /// A transaction can begin, or has ended.
    Ready,
    /// It is over.
    Over(Box<Failure>),
}

/// Where to connect from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// CLIENT_OPTIONS, Addr and Port.
    pub local: Option<SocketAddr>,
}

/// Connects by TCP.
///
/// # Errors
/// The failure as logs name it.
pub async fn connect(
    host: &str,
    addr: SocketAddr,
    origin: Origin,
    patience: Duration,
) -> Result<TcpStream, Failure> {
    let failed = |error: &io::Error| connect_failure(error, host);
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(|e| failed(&e))?;
    if let Some(local) = origin.local.filter(|l| l.is_ipv4() == addr.is_ipv4()) {
        socket.bind(local).map_err(|e| failed(&e))?;
    }
    let patience = match patience {
        Duration::ZERO => CONNECT_LIMIT,
        some => some.min(CONNECT_LIMIT),
    };
    match timeout(patience, socket.connect(addr)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&io::ErrorKind::TimedOut.into())),
    }
}

fn connect_failure(error: &io::Error, host: &str) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused by",
        io::ErrorKind::TimedOut => "Connection timed out with",
        io::ErrorKind::ConnectionReset => "Connection reset by",
        io::ErrorKind::HostUnreachable => "No route to host",
        io::ErrorKind::NetworkUnreachable => "Network is unreachable:",
        _ => return Failure::temporary("4.4.1", format!("{host}: {error}")),
    };
    Failure::temporary("4.4.1", format!("{what} {host}"))
}

impl Link {
    /// A client on a fresh connection.
    #[must_use]
    pub fn tcp(stream: TcpStream, addr: SocketAddr, settings: Settings) -> Self {
        Link::new(Stream::Clear(stream), Some(addr), settings)
    }

    /// A client on a socket of this machine.
    ///
    /// # Errors
    /// The failure as logs name it.
    pub async fn local(path: &Path, settings: Settings) -> Result<Self, Failure> {
        let connected = match UnixStream::connect(path).await {
            // Another may connect in our place.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                aside(|| opening::socket(path, DENIED_PATIENCE)).and_then(|stream| {
                    stream.set_nonblocking(true)?;
                    UnixStream::from_std(stream)
                })
            }
            connected => connected,
        };
        match connected {
            Ok(stream) => Ok(Link::new(Stream::Local(stream), None, settings)),
            Err(error) => Err(connect_failure(&error, &path.display().to_string())),
        }
    }

    fn new(stream: Stream, addr: Option<SocketAddr>, settings: Settings) -> Self {
        Link {
            client: Client::new(settings),
            stream,
            tls: facts::Tls::default(),
            addr,
            uses: 0,
            deadline: None,
            until: None,
            pace: Pace::Good,
            login: Login::Settled,
        }
    }

    /// Whatever the time-outs of the steps, all is over then; only the answer to a text that
    /// was sent is waited for a little longer.
    pub fn within(&mut self, until: Instant) {
        self.until = Some(until);
    }

    /// Whether a time-out has ended it.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// As much of it as is left.
    fn left(&self, patience: Duration) -> Duration {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        self.until
            .map_or(patience, |until| patience.min(left(until)))
    }

    /// The end of a wait for an answer that begins now.
    fn end_of(&self, patience: Duration, step: Step) -> Instant {
        let now = Instant::now();
        match (self.until, step) {
            (None, _) => now + patience,
            (Some(until), Step::Final) => (now + patience).min(until.max(now + LAST_ANSWER)),
            (Some(until), _) => (now + patience).min(until),
        }
    }

    /// Transactions so far.
    #[must_use]
    pub fn uses(&self) -> u32 {
        self.uses
    }

    /// Counts a transaction.
    pub fn used(&mut self) {
        self.uses += 1;
    }

    /// Acts until somebody else has to.
    pub async fn run(&mut self, timeouts: &Timeouts) -> Event {
        loop {
            match self.client.step() {
                Action::Write(octets) => {
                    let patience = self.left(limit(timeouts.data_block.0));
                    match timeout(patience, self.write(&octets)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => self.broken_off(&error).await,
                        Err(_) => {
                            self.pace = Pace::Silent;
                            self.client.lost("Connection timed out");
                        }
                    }
                }
                Action::Read(step) => self.read(patience(timeouts, step), step).await,
                Action::Secure => return Event::Secure,
                Action::Judge => return Event::Judge,
                Action::SendText => return Event::SendText,
                Action::Ready => return Event::Ready,
                Action::Over(failure) => {
                    self.stream = Stream::Gone;
                    return Event::Over(failure);
                }
            }
        }
    }

    async fn read(&mut self, patience: Duration, step: Step) {
        let heard = self.client.heard();
        let until = match self.deadline {
            Some((at, until)) if at == heard => until,
            _ => self.end_of(patience, step),
        };
        self.deadline = Some((heard, until));
        let mut space = [0; READ_OCTETS];
        match timeout_at(until, self.read_some(&mut space)).await {
            Ok(Ok(0)) => self.client.lost("Connection closed"),
            Ok(Ok(octets)) => self.client.receive(space.get(..octets).unwrap_or_default()),
            Ok(Err(error)) => self.client.lost(error.to_string()),
            Err(_) => {
                let text = format!("Connection timed out during {}", name_of(step));
                self.pace = Pace::Silent;
                self.client.lost(text);
            }
        }
    }

    /// A server may say why before it hangs up.
    async fn broken_off(&mut self, error: &io::Error) {
        let mut space = [0; READ_OCTETS];
        let until = Instant::now() + LAST_WORDS;
        while let Ok(Ok(octets @ 1..)) = timeout_at(until, self.read_some(&mut space)).await {
            self.client.receive(space.get(..octets).unwrap_or_default());
            if !matches!(self.client.step(), Action::Read(_)) {
                return;
            }
        }
        self.client.lost(error.to_string());
    }

    async fn read_some(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Clear(s) => s.read(space).await,
            Stream::Local(s) => s.read(space).await,
            Stream::Tls(s) => s.read(space).await,
            Stream::Gone => Ok(0),
        }
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Clear(s) => s.write_all(octets).await,
            Stream::Local(s) => s.write_all(octets).await,
            Stream::Tls(s) => {
                s.write_all(octets).await?;
                s.flush().await
            }
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Does the handshake and notes what came of it.
    ///
    /// # Errors
    /// When it fails; the connection is of no more use then.
    pub async fn secure(
        &mut self,
        tls: &ClientTls,
        config: Arc<ClientConfig>,
        host: &str,
        patience: Duration,
    ) -> Result<(), String> {
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err("no TLS on this connection".into());
        };
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .or_else(|_| ServerName::try_from("invalid".to_owned()))
            .map_err(|e| e.to_string())?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = timeout(self.left(limit(patience)), handshake)
            .await
            .map_err(|_| "handshake timed out".to_owned())?
            .map_err(|e| e.to_string())?;
        let connection = stream.get_ref().1;
        self.tls = tls.facts(connection);
        let bindings = bindings(connection);
        self.stream = Stream::Tls(Box::new(stream));
        self.client.secured(bindings);
        if self.tls.verify == "OK" {
            self.client.verified();
        }
        Ok(())
    }

    /// Sends the text that comes in blocks, in lines of so many octets at the most, if the mailer
    /// has a limit. One that can't be read to its end ends the
    /// connection without the final dot.
    pub async fn send_text(
        &mut self,
        mut blocks: mpsc::Receiver<io::Result<Block>>,
        line_octets: Option<u32>,
        timeouts: &Timeouts,
    ) {
        let patience = limit(timeouts.data_block.0);
        let (mut encoder, mut out) = (DataEncoder::new(line_octets), Vec::new());
        loop {
            out.clear();
            let last = match blocks.recv().await {
                Some(Ok(Block::Text(block))) => {
                    encoder.push(&block, &mut out);
                    false
                }
                Some(Err(error)) => {
                    self.client.lost(format!("queue: {error}"));
                    return;
                }
                // Whoever read it has died: what came may be half of it.
                None => {
                    self.client.lost("queue: the text breaks off");
                    return;
                }
                Some(Ok(Block::End)) => {
                    std::mem::take(&mut encoder).finish(&mut out);
                    true
                }
            };
            match timeout(self.left(patience), self.write(&out)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.text_broken(&error.to_string()).await,
                Err(_) => {
                    self.pace = Pace::Silent;
                    return self
                        .text_broken("Connection timed out during the text")
                        .await;
                }
            }
            if last {
                return self.client.text_sent();
            }
        }
    }

    async fn text_broken(&mut self, why: &str) {
        let mut space = [0; READ_OCTETS];
        if let Ok(Ok(octets)) = timeout(LAST_WORDS, self.read_some(&mut space)).await {
            self.client.receive(space.get(..octets).unwrap_or_default());
        }
        self.client.text_broken(why);
    }

    /// Says goodbye and hangs up.
    pub async fn close(mut self: Box<Self>) {
        self.client.quit();
        self.until = None;
        let timeouts = Timeouts::default();
        let _ = timeout(GOODBYE, self.run(&timeouts)).await;
    }
}

/// A time-out of the site, of which 0 is none.
pub(crate) fn limit(patience: Duration) -> Duration {
    if patience.is_zero() {
        NO_LIMIT
    } else {
        patience
    }
}

/// The site's time for a reply.
pub(crate) fn patience(timeouts: &Timeouts, step: Step) -> Duration {
    limit(match step {
        Step::Greeting => timeouts.initial.0,
        Step::Hello => timeouts.helo.0,
        Step::Lhlo => timeouts.lhlo.0,
        Step::StartTls => timeouts.starttls.0,
        Step::Auth => timeouts.auth.0,
        Step::Mail => timeouts.mail.0,
        Step::Rcpt => timeouts.rcpt.0,
        Step::Data => timeouts.data_init.0,
        Step::Final => timeouts.data_final.0,
        Step::Rset => timeouts.rset.0,
        Step::Quit => timeouts.quit.0,
    })
}

pub(crate) fn name_of(step: Step) -> &'static str {
    match step {
        Step::Greeting => "the greeting",
        Step::Hello => "EHLO",
        Step::Lhlo => "LHLO",
        Step::StartTls => "STARTTLS",
        Step::Auth => "AUTH",
        Step::Mail => "MAIL",
        Step::Rcpt => "RCPT",
        Step::Data => "DATA",
        Step::Final => "the final dot",
        Step::Rset => "RSET",
        Step::Quit => "QUIT",
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{LoopCheck, Protocol, StartTls};
    use super::*;

    #[tokio::test]
    async fn a_server_that_says_nothing_has_no_more_time_than_the_delivery() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _silent = tokio::net::UnixListener::bind(&path).unwrap();
        let settings = Settings {
            protocol: Protocol::Lmtp,
            name: "mx.example".into(),
            own_name: "mx.example".into(),
            start_tls: StartTls::Never,
            login: None,
            loop_check: LoopCheck::Allow,
        };
        let mut link = Link::local(&path, settings).await.unwrap();
        link.within(Instant::now() + Duration::from_millis(20));
        let over = timeout(Duration::from_secs(60), link.run(&Timeouts::default())).await;
        let Ok(Event::Over(failure)) = over else {
            panic!("{over:?}");
        };
        assert_eq!(failure.text, "Connection timed out during the greeting");
        assert_eq!(link.pace(), Pace::Silent);
        // What a server says to a whole text is waited for all the same.
        let until = link.end_of(Duration::from_secs(3600), Step::Final);
        assert!(until > Instant::now() + LAST_ANSWER / 2);
    }
}
