//! The octets of a connection, in clear or under TLS.

use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use libmaps::reply::Reply;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Octets read at once.
const READ_OCTETS: usize = 16 * 1024;

/// A connection with what was read and not yet used.
///
/// A session that waits holds no buffer: octets are read to the stack first.
pub struct Wire {
    stream: Stream,
    input: Vec<u8>,
    /// Octets of `input` that were taken.
    taken: usize,
    output: Vec<u8>,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Between the two, or closed.
    None,
}

/// A line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its line end.
    Line(Vec<u8>),
    /// It was longer than the limit; it was read to its end and dropped.
    TooLong,
    /// The client has gone.
    Gone,
}

impl Wire {
    /// A connection in clear.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Wire {
            stream: Stream::Clear(stream),
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
        }
    }

    /// Whether more than what was taken has come already.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.pending().is_empty()
    }

    /// What has come and was not taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.input.get(self.taken..).unwrap_or_default()
    }

    /// Takes so many of the pending octets.
    pub fn take(&mut self, octets: usize) {
        self.taken = self.taken.saturating_add(octets).min(self.input.len());
        if self.taken == self.input.len() {
            (self.input, self.taken) = (Vec::new(), 0);
        }
    }

    /// Reads more; 0 is the end.
    ///
    /// # Errors
    /// The system's own.
    pub async fn fill(&mut self) -> io::Result<usize> {
        // What is kept, the beginning of a line, starts the buffer.
        self.input.drain(..std::mem::take(&mut self.taken));
        let (stream, input) = (&mut self.stream, &mut self.input);
        poll_fn(move |context| {
            let mut space = [std::mem::MaybeUninit::<u8>::uninit(); READ_OCTETS];
            let mut buffer = ReadBuf::uninit(&mut space);
            let polled = match stream {
                Stream::Clear(s) => Pin::new(s).poll_read(context, &mut buffer),
                Stream::Tls(s) => Pin::new(s.as_mut()).poll_read(context, &mut buffer),
                Stream::None => Poll::Ready(Ok(())),
            };
            polled.map_ok(|()| {
                input.extend_from_slice(buffer.filled());
                buffer.filled().len()
            })
        })
        .await
    }

    /// A line of at most `limit` octets, if one has come already. A bare LF ends a command
    /// line too.
    pub fn ready_line(&mut self, limit: usize) -> Option<Line> {
        let end = self.pending().iter().position(|c| *c == b'\n')?;
        Some(self.take_line(end, limit))
    }

    /// A line of at most `limit` octets. A bare LF ends a command line too.
    ///
    /// # Errors
    /// The system's own.
    pub async fn line(&mut self, limit: usize) -> io::Result<Line> {
        let (mut searched, mut overlong) = (0, false);
        loop {
            let fresh = self.pending().get(searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|c| *c == b'\n') {
                let line = self.take_line(searched + at, limit);
                return Ok(if overlong { Line::TooLong } else { line });
            }
            searched = self.pending().len();
            if searched > limit + 2 {
                overlong = true;
                self.take(searched);
                searched = 0;
            }
            if self.fill().await? == 0 {
                return Ok(Line::Gone);
            }
        }
    }

    /// Takes the line whose LF is at `end`.
    fn take_line(&mut self, end: usize, limit: usize) -> Line {
        let mut line = self.pending().get(..end).unwrap_or_default().to_vec();
        self.take(end + 1);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        match line.len() > limit {
            true => Line::TooLong,
            false => Line::Line(line),
        }
    }

    /// Puts octets where the next flush sends them.
    pub fn put(&mut self, octets: &[u8]) {
        self.output.extend_from_slice(octets);
    }

    /// Puts a reply, its lines with their line ends.
    pub fn put_reply(&mut self, reply: &Reply) {
        let shown = format_args!("{reply}");
        // Most are one line, and go straight to where they are sent from.
        if let [line] = reply.lines.as_slice()
            && !line.contains(['\r', '\n'])
        {
            let _ = write!(self.output, "{shown}\r\n");
            return;
        }
        for line in shown.to_string().lines() {
            self.put(line.as_bytes());
            self.put(b"\r\n");
        }
    }

    /// Sends what was put.
    ///
    /// # Errors
    /// The system's own.
    pub async fn flush(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        if output.is_empty() {
            return Ok(());
        }
        match &mut self.stream {
            Stream::Clear(s) => s.write_all(&output).await,
            Stream::Tls(s) => {
                s.write_all(&output).await?;
                s.flush().await
            }
            Stream::None => Ok(()),
        }
    }

    /// Does the TLS handshake. What was read in clear is forgotten, never obeyed.
    ///
    /// # Errors
    /// When it fails.
    pub async fn start_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        (self.input, self.taken) = (Vec::new(), 0);
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::None) else {
            return Err(io::Error::other("TLS is on already"));
        };
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// The TLS connection, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&rustls::ServerConnection> {
        match &self.stream {
            Stream::Tls(s) => Some(s.get_ref().1),
            _ => None,
        }
    }

    /// Sends what was put and closes.
    pub async fn close(&mut self) {
        let _ = self.flush().await;
        match std::mem::replace(&mut self.stream, Stream::None) {
            Stream::Tls(mut s) => {
                let _ = s.shutdown().await;
            }
            // Its end is told when it is dropped.
            Stream::Clear(_) | Stream::None => {}
        }
    }
}

impl Wire {
    /// Octets that were read before the wire was made.
    pub fn put_back(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }
}
