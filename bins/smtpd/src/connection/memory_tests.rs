//! What clients make us keep, over all sessions, with little room for it.

use std::sync::Arc;
use std::time::Duration;

use libmaps::store::disk::System;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Accepted, Phase, serve};
use crate::throttle::Throttle;
use crate::world::World;

/// So much may be kept.
const OCTETS: u64 = 20_000;

struct Stage {
    world: Arc<World>,
    listener: TcpListener,
    phase: watch::Sender<Phase>,
    _root: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut world = World::of_test(root.path(), Arc::new(System));
        let throttle = Throttle::with_memory(Duration::from_secs(60), 1_024, OCTETS);
        Arc::get_mut(&mut world).unwrap().throttle = throttle;
        Stage {
            world,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            phase: watch::Sender::new(Phase::Running),
            _root: root,
        }
    }

    /// A client that was greeted.
    async fn client(&self) -> Client {
        let addr = self.listener.local_addr().unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(addr), self.listener.accept());
        let daemon = Arc::clone(&self.world.daemons[0]);
        let (theirs, client) = accepted.unwrap();
        let place = self
            .world
            .throttle
            .admit(&self.world.site, &daemon.options, None);
        let accepted = Accepted {
            stream: theirs,
            client,
            first: Vec::new(),
            place: place.unwrap(),
        };
        let (world, phase) = (Arc::clone(&self.world), self.phase.subscribe());
        tokio::spawn(serve(world, daemon, accepted, phase));
        let mut client = Client(BufStream::new(stream.unwrap()));
        assert!(client.reply().await.starts_with("220 "));
        client
    }
}

struct Client(BufStream<TcpStream>);

impl Client {
    async fn reply(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(line.as_bytes()).await.unwrap();
        self.0.write_all(b"\r\n").await.unwrap();
        self.0.flush().await.unwrap();
        self.reply().await
    }

    /// Begins a transaction with recipients that take so much; how many were taken.
    async fn recipients(&mut self, count: usize) -> usize {
        assert!(self.say("MAIL FROM:<>").await.starts_with("250 "));
        let (detail, mut taken) = ("y".repeat(200), 0);
        for number in 0..count {
            let reply = self.say(&format!("RCPT TO:<ann+{number}{detail}>")).await;
            match reply.get(..9).unwrap_or_default() {
                "250 2.1.5" => taken += 1,
                "452 4.3.1" => {}
                _ => panic!("{reply}"),
            }
        }
        taken
    }
}

#[tokio::test]
async fn recipients_of_all_sessions_together_have_a_limit() {
    let stage = Stage::new().await;
    let (mut first, mut second) = (stage.client().await, stage.client().await);
    let taken = first.recipients(60).await;
    assert!((30..50).contains(&taken), "{taken}");
    assert_eq!(second.recipients(1).await, 0);
    // What one gives back is there for the other.
    assert!(first.say("RSET").await.starts_with("250 "));
    let reply = second.say("RCPT TO:<ann>").await;
    assert!(reply.starts_with("250 2.1.5"), "{reply}");
    drop(first);
    assert!(second.say("QUIT").await.starts_with("221 "));
}

#[tokio::test]
async fn headers_and_small_texts_count_with_them() {
    let stage = Stage::new().await;
    let header = "X-Long: y\r\n".repeat(2_500);
    let text = format!("Subject: x\r\n\r\n{}", "y\r\n".repeat(10_000));
    for message in [header, text] {
        let mut client = stage.client().await;
        assert_eq!(client.recipients(1).await, 1);
        assert!(client.say("DATA").await.starts_with("354 "));
        let reply = client.say(&format!("{message}\r\n.")).await;
        assert!(reply.starts_with("452 4.3.1 Not enough memory"), "{reply}");
        // Nothing is left of it.
        assert_eq!(client.recipients(1).await, 1);
        assert!(client.say("DATA").await.starts_with("354 "));
        let reply = client.say("Subject: small\r\n\r\nx\r\n.").await;
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
        assert!(client.say("BDAT 0").await.starts_with("503 "));
    }
    let mut end = [0; 1];
    let mut client = stage.client().await;
    assert!(client.say("QUIT").await.starts_with("221 "));
    assert_eq!(client.0.read(&mut end).await.unwrap(), 0);
}
