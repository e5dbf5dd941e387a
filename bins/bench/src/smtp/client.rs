//! The client: sessions on one thread, so that most of the processors is left to the server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a server.
pub(super) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    /// Octets of `input` in which no reply is left.
    seen: usize,
}

impl Client {
    /// Connects, and reads the greeting.
    pub(super) async fn connect(port: u16) -> io::Result<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut client = Client {
            stream,
            input: Vec::with_capacity(4096),
            seen: 0,
        };
        client.replies(1, b'2').await?;
        Ok(client)
    }

    /// Connects and says EHLO.
    pub(super) async fn greeted(port: u16) -> io::Result<Self> {
        let mut client = Client::connect(port).await?;
        client
            .say(b"EHLO client.bench.example\r\n", 1, b'2')
            .await?;
        Ok(client)
    }

    /// Sends octets and reads so many replies, of which the last begins with `last` and all
    /// others with 2.
    pub(super) async fn say(&mut self, octets: &[u8], replies: usize, last: u8) -> io::Result<()> {
        self.stream.write_all(octets).await?;
        self.replies(replies, last).await
    }

    /// Sends one message whose MAIL, RCPT and DATA go together (RFC 2920).
    pub(super) async fn message(&mut self, message: &Message) -> io::Result<()> {
        self.say(&message.envelope, 3, b'3').await?;
        self.say(&message.text, 1, b'2').await
    }

    /// Says QUIT and waits for the end of the connection.
    pub(super) async fn quit(mut self) -> io::Result<()> {
        self.say(b"QUIT\r\n", 1, b'2').await
    }

    async fn replies(&mut self, mut replies: usize, last: u8) -> io::Result<()> {
        loop {
            while let Some(line) = self.line() {
                let wanted = if replies == 1 { last } else { b'2' };
                let is_wanted = line.first() == Some(&wanted);
                let is_end = line.get(3) != Some(&b'-');
                if !is_wanted {
                    return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
                }
                replies -= usize::from(is_end);
                if replies == 0 {
                    return Ok(());
                }
            }
            self.input.drain(..self.seen);
            self.seen = 0;
            let read = self.stream.read_buf(&mut self.input);
            let read = tokio::time::timeout(PATIENCE, read).await;
            if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn line(&mut self) -> Option<&[u8]> {
        let rest = self.input.get(self.seen..)?;
        let length = rest.iter().position(|c| *c == b'\n')?;
        let start = self.seen;
        self.seen += length + 1;
        self.input.get(start..start + length)
    }
}

/// A message to be sent again and again.
pub(super) struct Message {
    envelope: Vec<u8>,
    text: Vec<u8>,
}

impl Message {
    /// One of so many octets to a user of the site.
    pub(super) fn of(octets: usize, recipient: &str) -> Self {
        let mut text = b"From: a@b.example\r\nSubject: bench\r\n\r\n".to_vec();
        while text.len() < octets {
            let line = (octets - text.len()).clamp(3, 76);
            text.resize(text.len() + line - 2, b'x');
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b".\r\n");
        let envelope = format!("MAIL FROM:<a@b.example>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n");
        Message {
            envelope: envelope.into_bytes(),
            text,
        }
    }
}

/// Has so many sessions do something again and again for a while; how often it was done, and
/// the seconds that it took.
pub(super) fn repeat<S, Open, Once>(
    sessions: usize,
    time: Duration,
    open: Open,
    once: Once,
) -> io::Result<(u64, f64)>
where
    Open: AsyncFn() -> io::Result<S> + Clone + 'static,
    Once: AsyncFn(S) -> io::Result<(S, u64)> + Clone + 'static,
    S: 'static,
{
    on_one_thread(async move {
        let mut ready = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            ready.push(open().await?);
        }
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for mut session in ready {
            let once = once.clone();
            tasks.spawn_local(async move {
                let mut done = 0;
                while begun.elapsed() < time {
                    let (again, times) = once(session).await?;
                    session = again;
                    done += times;
                }
                // The connection stays open until all have come to an end.
                io::Result::Ok((done, session))
            });
        }
        let (mut done, mut kept) = (0, Vec::new());
        while let Some(task) = tasks.join_next().await {
            let (times, session) = task.map_err(io::Error::other)??;
            done += times;
            kept.push(session);
        }
        Ok((done, begun.elapsed().as_secs_f64()))
    })
}

/// Runs something on this thread.
pub(super) fn on_one_thread<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
