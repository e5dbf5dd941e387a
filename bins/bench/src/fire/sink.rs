//! The hosts that mail is passed on to.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::Flag;
use super::ledger::Ledger;

/// How a host treats its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It takes everything.
    Takes,
    /// It says 421 to everybody.
    Refuses,
}

/// A host; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Sink {
    addr: SocketAddr,
    mood: Arc<AtomicU8>,
    over: Arc<Flag>,
}

impl Sink {
    pub(super) fn start(ledger: Arc<Ledger>, mood: Mood) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let mood = Arc::new(AtomicU8::new(mood as u8));
        let over = Arc::new(Flag::default());
        let (moods, ends) = (Arc::clone(&mood), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.is_set() {
                    break;
                }
                let (Ok(stream), ledger) = (stream, Arc::clone(&ledger)) else {
                    continue;
                };
                let takes = moods.load(Ordering::Acquire) == Mood::Takes as u8;
                // A connection that breaks is the server's affair.
                std::thread::spawn(move || {
                    let _ = serve(stream, takes, &ledger);
                });
            }
        });
        Ok(Sink { addr, mood, over })
    }

    pub(super) fn port(&self) -> u16 {
        self.addr.port()
    }

    pub(super) fn be(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Release);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.over.set();
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(stream: TcpStream, takes: bool, ledger: &Ledger) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    if !takes {
        return writer.write_all(b"421 4.3.2 late.example comes later\r\n");
    }
    writer.write_all(b"220 sink.example ESMTP\r\n")?;
    let mut recipients = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let upper = line.trim_end().to_ascii_uppercase();
        let reply: &[u8] = if upper.starts_with("EHLO") {
            b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n"
        } else if upper.starts_with("RCPT TO:<") {
            let path = line.split(['<', '>']).nth(1).unwrap_or_default();
            recipients.push(path.to_owned());
            b"250 2.1.5 ok\r\n"
        } else if upper == "DATA" {
            writer.write_all(b"354 go\r\n")?;
            let text = text(&mut reader)?;
            // Once it is noted it has arrived, whether or not the server hears of it.
            ledger.note_arrived(&text, &std::mem::take(&mut recipients));
            b"250 2.0.0 taken\r\n"
        } else if upper == "QUIT" {
            return writer.write_all(b"221 bye\r\n");
        } else {
            recipients.clear();
            b"250 2.0.0 ok\r\n"
        };
        writer.write_all(reply)?;
    }
}

/// The text up to its end, dots taken off.
fn text(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(all);
        }
        all.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
