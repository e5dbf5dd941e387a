//! The clients: each sends one message after the other until all were answered with 250.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Fire;
use super::ledger::{Ledger, Said};
use super::letter::Letter;

/// Longest wait for a reply.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two tries to connect, or after a reply of 4xx.
const PAUSE: Duration = Duration::from_millis(50);

/// All clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    port: Arc<AtomicU16>,
    threads: Vec<JoinHandle<()>>,
    /// Closed when the last client has ended.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Clients {
    pub(super) fn start(fire: &Fire, port: u16, ledger: &Arc<Ledger>) -> Self {
        let port = Arc::new(AtomicU16::new(port));
        let next = Arc::new(AtomicU32::new(0));
        let (sender, ended) = mpsc::channel();
        let threads = (0..fire.connections)
            .map(|_| {
                let (port, next) = (Arc::clone(&port), Arc::clone(&next));
                let (ledger, sender) = (Arc::clone(ledger), sender.clone());
                let messages = fire.messages;
                std::thread::spawn(move || {
                    let _alive = sender;
                    work(messages, &next, &port, &ledger);
                })
            })
            .collect();
        Clients {
            port,
            threads,
            ended: Mutex::new(ended),
        }
    }

    /// The server has another port now.
    pub(super) fn move_to(&self, port: u16) {
        self.port.store(port, Ordering::Release);
    }

    /// Waits so long; whether all clients have ended.
    pub(super) fn done_within(&self, patience: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected)
    }

    pub(super) fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn work(messages: u32, next: &AtomicU32, port: &AtomicU16, ledger: &Ledger) {
    let mut open: Option<Talk> = None;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= messages {
            break;
        }
        let mut letter = Letter { number, attempt: 0 };
        loop {
            let talk = match open.take() {
                Some(talk) => Ok(talk),
                None => Talk::begin(port.load(Ordering::Acquire)),
            };
            // Nothing was sent so far, so this is no try.
            let Ok(mut talk) = talk else {
                std::thread::sleep(PAUSE);
                continue;
            };
            let start = Instant::now();
            match talk.send(letter) {
                Ok(said) => {
                    ledger.note_wait(start.elapsed());
                    ledger.note_said(letter, said);
                    open = Some(talk);
                    if said == Said::Taken {
                        break;
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(Broken::BeforeTheText) => std::thread::sleep(PAUSE),
                Err(Broken::WithinTheText) => ledger.note_said(letter, Said::Nothing),
            }
            letter.attempt += 1;
        }
    }
    if let Some(mut talk) = open {
        let _ = talk.say(b"QUIT\r\n", 1);
    }
}

/// When a connection broke.
enum Broken {
    /// The server can't have the message.
    BeforeTheText,
    /// It may.
    WithinTheText,
}

/// A connection.
struct Talk {
    reader: BufReader<TcpStream>,
}

impl Talk {
    fn begin(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut talk = Talk {
            reader: BufReader::new(stream),
        };
        talk.say(b"", 1)?;
        talk.say(b"HELO client.example\r\n", 1)?;
        Ok(talk)
    }

    /// Sends octets and reads so many replies; the last one's first octet is 2, 3, 4 or 5.
    fn say(&mut self, octets: &[u8], replies: usize) -> io::Result<u8> {
        self.reader.get_mut().write_all(octets)?;
        let mut class = 0;
        for _ in 0..replies {
            let mut line = String::new();
            loop {
                line.clear();
                if self.reader.read_line(&mut line)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if line.as_bytes().get(3) != Some(&b'-') {
                    break;
                }
            }
            let first = line.bytes().next().unwrap_or(0);
            // 421: the connection ends; a 4xx of RCPT goes for the whole message here.
            if line.starts_with("421") {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            class = class.max(first);
        }
        Ok(class)
    }

    fn send(&mut self, letter: Letter) -> Result<Said, Broken> {
        let recipients = letter.recipients();
        let mut envelope = format!("MAIL FROM:<sender{}@fire.example>\r\n", letter.number);
        for to in &recipients {
            envelope.push_str(&format!("RCPT TO:<{to}>\r\n"));
        }
        let before = |_| Broken::BeforeTheText;
        let class = self
            .say(envelope.as_bytes(), recipients.len() + 1)
            .map_err(before)?;
        if class != b'2' {
            self.say(b"RSET\r\n", 1).map_err(before)?;
            return Ok(Said::NotNow);
        }
        if self.say(b"DATA\r\n", 1).map_err(before)? != b'3' {
            self.say(b"RSET\r\n", 1).map_err(before)?;
            return Ok(Said::NotNow);
        }
        let mut text = Vec::new();
        for line in letter.text().split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                text.push(b'.');
            }
            text.extend_from_slice(line);
        }
        text.extend_from_slice(b".\r\n");
        match self.say(&text, 1).map_err(|_| Broken::WithinTheText)? {
            b'2' => Ok(Said::Taken),
            _ => Ok(Said::NotNow),
        }
    }
}
