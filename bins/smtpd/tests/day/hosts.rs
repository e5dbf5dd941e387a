//! Other hosts: one that goes away and returns, one that says "later" first, one that
//! drops connections half-way.
#![allow(dead_code)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a host behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Takes everything, but for recipients that begin with `bad`.
    Takes,
    /// Says 451 to each recipient at first.
    Later,
    /// Hangs up in the middle of every message at first.
    Drops,
}

/// A host on a port of loopback.
pub(crate) struct Host {
    port: u16,
    state: Arc<State>,
}

struct State {
    habit: Habit,
    away: AtomicBool,
    seen: Mutex<HashSet<String>>,
    texts: Mutex<Vec<String>>,
}

impl Host {
    pub(crate) fn start(habit: Habit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            habit,
            away: AtomicBool::new(false),
            seen: Mutex::default(),
            texts: Mutex::default(),
        });
        let kept = Arc::clone(&state);
        std::thread::spawn(move || listen(listener, addr, &kept));
        Host {
            port: addr.port(),
            state,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Takes no connections from now on.
    pub(crate) fn go_away(&self) {
        self.state.away.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it closes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }

    pub(crate) fn come_back(&self) {
        self.state.away.store(false, Ordering::Relaxed);
    }

    /// The texts of the messages that it answered with 250.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.state.texts.lock().unwrap().clone()
    }
}

fn listen(first: TcpListener, addr: SocketAddr, state: &Arc<State>) {
    let mut listener = Some(first);
    loop {
        if state.away.load(Ordering::Relaxed) {
            listener = None;
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let Some(open) = &listener else {
            listener = TcpListener::bind(addr).ok();
            continue;
        };
        if let Ok((stream, _)) = open.accept() {
            let state = Arc::clone(state);
            std::thread::spawn(move || {
                // A client that goes away is no news.
                let _ = serve(stream, &state);
            });
        }
    }
}

fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    stream.write_all(b"220 host.example ESMTP\r\n")?;
    let mut about = String::new();
    while reader.read_line(&mut line)? > 0 {
        if state.away.load(Ordering::Relaxed) {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "RCPT" if line.contains("<bad") => b"550 5.1.1 nobody of that name\r\n",
            "RCPT" if state.habit == Habit::Later && state.is_first(&line) => {
                b"451 4.7.1 come back later\r\n"
            }
            "RCPT" => {
                about = line.clone();
                b"250 2.1.5 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let Some(text) = text(&mut reader, state, &about)? else {
                    return Ok(());
                };
                state.texts.lock().unwrap().push(text);
                b"250 2.0.0 taken\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        stream.write_all(reply)?;
        line.clear();
    }
    Ok(())
}

/// The text of a message up to its dot; `None`: the host has hung up within.
fn text(reader: &mut impl BufRead, state: &State, about: &str) -> std::io::Result<Option<String>> {
    let drops = state.habit == Habit::Drops && state.is_first(about);
    let (mut text, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == ".\r\n" {
            return Ok(Some(text));
        }
        text.push_str(&line.replace("\r\n", "\n"));
        if drops {
            return Ok(None);
        }
    }
}

impl State {
    /// Whether this was never seen before.
    fn is_first(&self, what: &str) -> bool {
        self.seen.lock().unwrap().insert(what.to_owned())
    }
}
