//! The program that counts connections for a server, without the server.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use crate::proxy::Proxy;
use crate::server::Server;
use crate::stage::{Host, PATIENCE, Process, until};

/// It, and the socket on which it is told.
struct Counting {
    socket: UnixDatagram,
    process: Process,
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A host whose Redis is at this port.
fn host(port: u16) -> Host {
    let host = Host::new();
    let file = format!("host 127.0.0.1\nport {port}\ntls off\n");
    host.write("throttle.redis", &file);
    host
}

impl Counting {
    fn start(host: &Host, name: &str) -> Counting {
        let (socket, its) = UnixDatagram::pair().unwrap();
        let process = host
            .command(&format!("mapremote count --host {name} throttle.redis"))
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let counting = Counting {
            socket,
            process: Process(process),
        };
        assert_eq!(counting.hear(), "hello\n");
        counting
    }

    fn hear(&self) -> String {
        let mut packet = [0; 4_096];
        let octets = self.socket.recv(&mut packet).unwrap();
        String::from_utf8(packet[..octets].to_vec()).unwrap()
    }

    /// So many connections of a client are open here now.
    fn say(&self, client: &str, open: u32) {
        let word = format!("open {client} {open}\n");
        self.socket.send(word.as_bytes()).unwrap();
    }

    /// As [`Counting::say`], of one who has just come; how many are open on all hosts, if that is
    /// known.
    fn enter(&self, client: &str, open: u32) -> Option<u32> {
        let word = format!("enter 1 {client} {open}\n");
        self.socket.send(word.as_bytes()).unwrap();
        let answer = self.hear();
        let words: Vec<&str> = answer.split_whitespace().collect();
        match words[..] {
            ["count", "1", _, open] => Some(open.parse().unwrap()),
            ["alone", "1"] => None,
            _ => panic!("{answer}"),
        }
    }

    fn wait_for_the_engine(&self) {
        until("counts of all hosts", || {
            self.enter("192.0.2.77", 1).is_some()
        });
    }
}

const CLIENT: &str = "192.0.2.9";

#[test]
fn what_ends_while_redis_is_away_counts_no_more() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::start(server.port);
    let hosts = [host(proxy.port), host(server.port)];
    let [one, two] = [
        Counting::start(&hosts[0], "one:1"),
        Counting::start(&hosts[1], "two:1"),
    ];
    one.wait_for_the_engine();
    one.say(CLIENT, 30);
    one.say("192.0.2.10", 5);
    one.wait_for_the_engine();
    two.wait_for_the_engine();
    assert_eq!(two.enter(CLIENT, 1), Some(31));
    proxy.cut();
    one.say(CLIENT, 0);
    until("the loss", || one.enter("192.0.2.77", 1).is_none());
    proxy.mend();
    one.wait_for_the_engine();
    assert_eq!(two.enter(CLIENT, 1), Some(1));
    // What is open still, counts still.
    assert_eq!(two.enter("192.0.2.10", 1), Some(6));
    // Nothing of the time before stays for the engine to keep.
    let open = server.cli(&format!("HKEYS {{mailmaps:throttle}}:open:{CLIENT}"));
    assert_eq!(open.lines().count(), 1, "{open}");
    let hosts = server.cli("HKEYS {mailmaps:throttle}:hosts");
    assert_eq!(hosts.lines().count(), 2, "{hosts}");
}

#[test]
fn what_a_counter_said_before_it_was_killed_counts_no_more() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let host = host(server.port);
    let mut one = Counting::start(&host, "one:1");
    let two = Counting::start(&host, "two:1");
    // Another host, whose name begins as that of the first.
    let other = Counting::start(&host, "one:12");
    one.wait_for_the_engine();
    other.wait_for_the_engine();
    other.say(CLIENT, 5);
    other.wait_for_the_engine();
    two.wait_for_the_engine();
    one.say(CLIENT, 30);
    one.wait_for_the_engine();
    assert_eq!(two.enter(CLIENT, 1), Some(36));
    one.process.0.kill().unwrap();
    // The next one is told of what is open then, and of nothing else.
    drop(one);
    one = Counting::start(&host, "one:1");
    one.wait_for_the_engine();
    assert_eq!(two.enter(CLIENT, 1), Some(6));
}
