//! `mapremote count`: the connections of clients, counted together with other hosts.
//!
//! A server says on a socket, this process's standard input, who has come and how many are open
//! ([`counts`]); it hears how many there are on all hosts. What is open at the server is kept
//! here as well, for an engine that was gone or has forgotten it: each connection begins with all
//! of it, and nothing that was said on one before counts any more. While the engine does not
//! answer, the server hears that at once and counts for itself; it never waits for long.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use libmaps::map::MapClass;
use libmaps::store::shared::Connection;
use libmaps::store::shared::counts::{self, Hear, MAX_PACKET_OCTETS, Say};
use libmaps::sysexits::SysExit;

use crate::fault::Fault;
use crate::log::Log;
use crate::redis::tally::{Counts, LIFE, Tally, Word};

/// How often the engine hears that this host is alive.
const BEAT: Duration = Duration::from_secs(5);
/// The first pause after the engine was lost; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The most words of one round trip.
const MAX_WORDS: usize = 128;

const _: () = assert!(BEAT.as_secs() * 3 < LIFE.as_secs());

/// Counts for the server at standard input, until that ends. `host` is what this host is called
/// in the engine, which no other host must be.
///
/// # Errors
/// A connection file of another class than redis, and a standard input that is no socket.
pub fn count(
    connection: &Connection,
    host: &str,
    window: Duration,
    log: &Log,
) -> Result<(), Fault> {
    if connection.class != MapClass::Redis {
        let file = connection.file.display();
        let why = format!("{file}: connections are counted by class redis alone");
        return Err(Fault::new(SysExit::Config, why));
    }
    let no_socket = |_| {
        let why = "standard input is no socket: smtpd(8) runs this for itself";
        Fault::new(SysExit::Usage, why)
    };
    let socket = UnixDatagram::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.local_addr().map_err(no_socket)?;
    let mut counter = Counter {
        connection,
        host,
        window,
        log,
        socket,
        tally: None,
        open: HashMap::new(),
        next: Instant::now(),
        pause: FIRST_PAUSE,
        told: None,
    };
    counter.answer(&[Hear::Hello])?;
    while let Some(said) = counter.hear()? {
        counter.take(&said)?;
    }
    if let Some(tally) = counter.tally.take() {
        // If it can't be said, it shows by our silence.
        let _ = tally.leave();
    }
    Ok(())
}

struct Counter<'a> {
    connection: &'a Connection,
    host: &'a str,
    window: Duration,
    log: &'a Log,
    socket: UnixDatagram,
    tally: Option<Tally>,
    /// What is open at the server.
    open: HashMap<IpAddr, u32>,
    /// When the engine is to hear of us, or is tried again.
    next: Instant,
    pause: Duration,
    /// What was told last; nothing at first, and of an engine that answers no fault.
    told: Option<Option<Fault>>,
}

impl Counter<'_> {
    /// What the server says next, or nothing when the engine's turn has come; `None` at its end.
    fn hear(&mut self) -> io::Result<Option<Vec<Say>>> {
        let mut said = Vec::new();
        let mut packet = [0; MAX_PACKET_OCTETS];
        let patience = self.next.saturating_duration_since(Instant::now());
        self.socket
            .set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        loop {
            let got = match self.socket.recv(&mut packet) {
                Ok(0) if said.is_empty() => return Ok(None),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let packet = packet.get(..got).unwrap_or_default();
            said.extend(counts::lines::<Say>(packet));
            // What else is there goes by the same round trip.
            if got == 0 || said.len() >= MAX_WORDS {
                break;
            }
            self.socket.set_nonblocking(true)?;
        }
        self.socket.set_nonblocking(false)?;
        Ok(Some(said))
    }

    fn answer(&self, lines: &[Hear]) -> io::Result<()> {
        for packet in counts::packets(lines) {
            match self.socket.send(packet.as_bytes()) {
                // A server that has ended is seen when it is heard next.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, said: &[Say]) -> io::Result<()> {
        for word in said {
            let (Say::Enter { client, open, .. } | Say::Open { client, open }) = *word;
            match open {
                0 => self.open.remove(&client),
                open => self.open.insert(client, open),
            };
        }
        if self.tally.is_none() && Instant::now() >= self.next {
            self.connect();
        }
        let mut left = said;
        loop {
            let (now, later) = left.split_at(left.len().min(MAX_WORDS));
            let answers = self.count(now);
            self.answer(&answers)?;
            left = later;
            if left.is_empty() {
                return Ok(());
            }
        }
    }

    /// Counts what was said; the answers to its questions.
    fn count(&mut self, said: &[Say]) -> Vec<Hear> {
        let word = |say: &Say| match *say {
            Say::Enter { client, open, .. } => Word {
                client,
                come: 1,
                open,
            },
            Say::Open { client, open } => Word {
                client,
                come: 0,
                open,
            },
        };
        let words: Vec<Word> = said.iter().map(word).collect();
        let counted = self.say(&words);
        let questions = said.iter().enumerate().filter_map(|(at, say)| match say {
            Say::Enter { id, .. } => Some((at, *id)),
            Say::Open { .. } => None,
        });
        let of = |at: usize| counted.as_ref()?.get(at);
        let answer = |(at, id)| match of(at) {
            Some(counts) => Hear::Count {
                id,
                rate: counts.rate,
                open: counts.open,
            },
            None => Hear::Alone { id },
        };
        questions.map(answer).collect()
    }

    /// Says these words to the engine, if it can be reached.
    fn say(&mut self, words: &[Word]) -> Option<Vec<Counts>> {
        if words.is_empty() && Instant::now() < self.next {
            return None;
        }
        let told = self.tally.as_mut()?.say(words);
        let told = told.and_then(|told| {
            // It may have forgotten all that is open here.
            match told.known {
                true => Ok(()),
                false => self.say_all(),
            }
            .map(|()| told)
        });
        match told {
            Ok(told) => {
                self.next = Instant::now() + BEAT;
                Some(told.counts)
            }
            Err(fault) => {
                self.lose(fault);
                None
            }
        }
    }

    /// Says all that is open here.
    fn say_all(&mut self) -> Result<(), Fault> {
        let Some(tally) = &mut self.tally else {
            return Ok(());
        };
        let word = |(client, open): (&IpAddr, &u32)| Word {
            client: *client,
            come: 0,
            open: *open,
        };
        let words: Vec<Word> = self.open.iter().map(word).collect();
        for words in words.chunks(MAX_WORDS) {
            tally.say(words)?;
        }
        Ok(())
    }

    fn connect(&mut self) {
        let connected = Tally::connect(self.connection, self.host, self.window);
        let said = connected.and_then(|tally| {
            self.tally = Some(tally);
            self.say_all()
        });
        match said {
            Ok(()) => {
                self.pause = FIRST_PAUSE;
                self.next = Instant::now();
                self.tell(None);
            }
            Err(fault) => self.lose(fault),
        }
    }

    /// The engine does not answer: it is tried again later.
    fn lose(&mut self, fault: Fault) {
        self.tally = None;
        self.tell(Some(fault));
        self.next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn tell(&mut self, fault: Option<Fault>) {
        let news = Some(fault);
        if self.told != news {
            self.log
                .counting(self.connection, news.as_ref().and_then(Option::as_ref));
            self.told = news;
        }
    }
}
