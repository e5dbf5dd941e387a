//! Places are lacking: who has most of them makes room for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Client;
use crate::site::Site;

const MC: &str = "DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0, children=4')dnl";

/// Clients of one address that say something now and then, until this is dropped.
struct Idlers {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<Client>>>,
}

impl Idlers {
    fn start(mut clients: Vec<Client>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(500));
                clients.retain_mut(|client| client.say("RSET").starts_with("250 "));
            }
            clients
        });
        Idlers {
            over,
            thread: Some(thread),
        }
    }

    /// Those that still have their places.
    fn end(mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |t| t.join().unwrap().len())
    }
}

/// An address that has all places keeps nobody out, whatever it says and however often.
#[test]
fn one_address_does_not_keep_others_out() {
    let site = Site::new(MC);
    let server = site.start();
    let port = server.only_port();
    let idlers = (0..4).map(|_| {
        let mut client = Client::connect_from("127.0.0.3", port);
        assert!(client.reply().starts_with("220 "));
        client
    });
    let idlers = Idlers::start(idlers.collect());
    // They are more than there are places, and stand before the others.
    let before: Vec<Client> = (0..20)
        .map(|_| Client::connect_from("127.0.0.3", port))
        .collect();
    let mut other = Client::connect_from("127.0.0.4", port);
    let greeting = other.reply();
    assert!(greeting.starts_with("220 "), "{greeting}");
    // A place is enough for him: the others keep theirs.
    assert_eq!(idlers.end(), 3);
    server.log_with("lost its place to others");
    drop(before);
}
