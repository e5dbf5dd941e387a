//! What lies between a host and its Redis, and fails.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Hands everything on, unless it is cut.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    way: Arc<Mutex<Way>>,
}

#[derive(Default)]
struct Way {
    is_cut: bool,
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
                for (from, into) in [(&client, &server), (&server, &client)] {
                    let (from, into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    std::thread::spawn(move || pump(from, into));
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
}

fn pump(mut from: TcpStream, mut into: TcpStream) {
    let mut piece = [0; 65_536];
    while let Ok(octets @ 1..) = from.read(&mut piece) {
        if into.write_all(&piece[..octets]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Both);
}
