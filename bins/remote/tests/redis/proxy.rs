//! What lies between a host and its Redis, and fails.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::stage::until;

/// Hands everything on, unless it is cut or holds a word back.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    way: Arc<Mutex<Way>>,
}

#[derive(Default)]
struct Way {
    is_cut: bool,
    /// What is not handed on to the server.
    held: Option<&'static str>,
    /// Whether it has come.
    is_holding: bool,
    /// What is handed on to the server, whose answer is lost then with the connection, once.
    unanswered: Option<&'static str>,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// In front of a server of this machine.
    pub(crate) fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Mutex::new(Way::default()));
        let own = Arc::clone(&way);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut way = own.lock().unwrap();
                if way.is_cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                let ends = [(&client, &server), (&server, &client)];
                for (is_asking, (from, into)) in [true, false].into_iter().zip(ends) {
                    let (from, into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    let held = is_asking.then(|| Arc::clone(&own));
                    std::thread::spawn(move || pump(from, into, held));
                }
                way.open.extend([client, server]);
            }
        });
        Proxy { port, way }
    }

    /// Ends all connections; new ones end at once.
    pub(crate) fn cut(&self) {
        let mut way = self.way.lock().unwrap();
        way.is_cut = true;
        for stream in way.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mend(&self) {
        self.way.lock().unwrap().is_cut = false;
    }

    /// Holds back what a client says with this word in it.
    pub(crate) fn hold(&self, word: &'static str) {
        self.way.lock().unwrap().held = Some(word);
    }

    /// Loses the answer to what has this word in it, once, and the connection with it.
    pub(crate) fn lose_the_answer_to(&self, word: &'static str) {
        self.way.lock().unwrap().unanswered = Some(word);
    }

    /// Whether that has come.
    pub(crate) fn has_lost(&self) -> bool {
        self.way.lock().unwrap().unanswered.is_none()
    }

    pub(crate) fn wait_until_it_holds(&self) {
        until("the word", || self.way.lock().unwrap().is_holding);
    }

    pub(crate) fn release(&self) {
        self.way.lock().unwrap().held = None;
    }
}

fn pump(mut from: TcpStream, mut into: TcpStream, way: Option<Arc<Mutex<Way>>>) {
    let mut piece = [0; 65_536];
    while let Ok(octets @ 1..) = from.read(&mut piece) {
        let said = String::from_utf8_lossy(&piece[..octets]).into_owned();
        if let Some(way) = &way {
            let is_held = || way.lock().unwrap().held.is_some_and(|w| said.contains(w));
            while is_held() {
                way.lock().unwrap().is_holding = true;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        let is_last = way.as_ref().is_some_and(|way| {
            let mut way = way.lock().unwrap();
            way.unanswered.take_if(|w| said.contains(*w)).is_some()
        });
        if is_last {
            let _ = from.shutdown(Shutdown::Both);
        }
        if into.write_all(&piece[..octets]).is_err() || is_last {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Both);
}
