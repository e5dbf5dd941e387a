//! A host that takes every message and keeps none, and counts them.

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Messages that take longer than this are given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The host. It listens until the program ends.
#[derive(Clone)]
pub(super) struct Sink {
    /// Where.
    pub(super) port: u16,
    taken: Arc<(Mutex<Taken>, Condvar)>,
}

/// How many messages came, and when the last did.
#[derive(Clone, Copy, Default)]
struct Taken {
    messages: u64,
    last: Option<Instant>,
}

impl Sink {
    /// Starts it on a thread of its own.
    pub(super) fn start() -> io::Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let sink = Sink {
            port: listener.local_addr()?.port(),
            taken: Arc::default(),
        };
        let serving = sink.clone();
        thread::Builder::new().name("sink".into()).spawn(move || {
            super::client::on_one_thread(async move {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    let serving = serving.clone();
                    // A client that breaks off has its reasons.
                    tokio::task::spawn_local(async move { serving.serve(stream).await.ok() });
                }
                #[allow(unreachable_code)]
                io::Result::Ok(())
            })
        })?;
        Ok(sink)
    }

    /// How many messages have come.
    pub(super) fn count(&self) -> u64 {
        self.lock().messages
    }

    /// Waits until so many messages have come; when the last did.
    pub(super) fn wait_for(&self, messages: u64) -> io::Result<Instant> {
        let until = Instant::now() + PATIENCE;
        let mut taken = self.lock();
        while taken.messages < messages {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = format!("only {} of {messages} messages came", taken.messages);
                return Err(io::Error::other(text));
            }
            let waited = self.taken.1.wait_timeout(taken, left);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        taken
            .last
            .ok_or_else(|| io::Error::other("no message came"))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        let mut taken = self.lock();
        taken.messages += 1;
        taken.last = Some(Instant::now());
        self.taken.1.notify_all();
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream
            .write_all(b"220 sink.bench.example ESMTP\r\n")
            .await?;
        let (mut input, mut in_text) = (Vec::new(), false);
        loop {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            let (mut replies, mut used) = (Vec::new(), 0);
            while let Some(rest) = input.get(used..)
                && let Some(length) = rest.iter().position(|c| *c == b'\n')
            {
                let line = rest.get(..length).unwrap_or_default();
                used += length + 1;
                if in_text {
                    if line == b".\r" {
                        in_text = false;
                        self.note();
                        replies.extend_from_slice(b"250 2.0.0 taken\r\n");
                    }
                    continue;
                }
                match line
                    .first_chunk::<4>()
                    .map(|word| word.map(|c| c.to_ascii_uppercase()))
                {
                    Some([b'E', b'H', b'L', b'O']) => replies.extend_from_slice(
                        b"250-sink.bench.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                    ),
                    Some([b'D', b'A', b'T', b'A']) => {
                        in_text = true;
                        replies.extend_from_slice(b"354 go on\r\n");
                    }
                    Some([b'Q', b'U', b'I', b'T']) => {
                        replies.extend_from_slice(b"221 2.0.0 bye\r\n");
                        return stream.write_all(&replies).await;
                    }
                    _ => replies.extend_from_slice(b"250 2.0.0 fine\r\n"),
                }
            }
            input.drain(..used);
            stream.write_all(&replies).await?;
        }
    }
}
