//! One connection: does what the session's actions say.

mod message;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libmaps::reply::Reply;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::consult::{Consultant, reply};
use crate::daemon::Daemon;
use crate::log::Level;
use crate::session::{Action, Ahead, Answer, Channel, Chunk, Refusal, Session};
use crate::throttle::Held;
use crate::wire::{Line, Wire};
use crate::world::World;

/// Whether the server is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is not.
    Running,
    /// It is: transactions are finished, then clients are told 421.
    Ending,
}

/// A connection that was accepted.
pub struct Accepted {
    /// Its stream.
    pub stream: TcpStream,
    /// The client, as the kernel or a trusted balancer says.
    pub client: SocketAddr,
    /// Its first octets, if any were read already.
    pub first: Vec<u8>,
}

struct Connection {
    world: Arc<World>,
    wire: Wire,
    session: Session,
    consultant: Consultant,
    phase: watch::Receiver<Phase>,
    chunks: Option<message::Incoming>,
    _held: Held,
}

/// Serves one client to the end.
pub async fn serve(
    world: Arc<World>,
    daemon: Arc<Daemon>,
    accepted: Accepted,
    phase: watch::Receiver<Phase>,
) {
    world.sessions.fetch_add(1, Ordering::Relaxed);
    serve_counted(Arc::clone(&world), daemon, accepted, phase).await;
    world.sessions.fetch_sub(1, Ordering::Relaxed);
}

async fn serve_counted(
    world: Arc<World>,
    daemon: Arc<Daemon>,
    accepted: Accepted,
    phase: watch::Receiver<Phase>,
) {
    let mut wire = Wire::new(accepted.stream);
    wire.put_back(&accepted.first);
    let (held, load) = world.throttle.enter(accepted.client.ip());
    let peer = world
        .resolver
        .peer(accepted.client.ip(), accepted.client.port());
    let peer = Arc::new(peer.await);
    world
        .log
        .say(Level::Info, &format!("NOQUEUE: connect from {peer}"));
    let mut channel = Channel::Clear;
    let mut facts = None;
    if daemon.is_tls_from_start() {
        let Some(tls) = &world.tls else {
            return wire.close().await;
        };
        let config = tls.config(|e| world.log.say(Level::Error, &e.to_string()));
        let patience = world.site.options.timeouts.starttls.0;
        if let Err(error) = wire.start_tls(config, patience).await {
            let text = format!("STARTTLS=server, relay={peer}, failed: {error}");
            return world.log.say(Level::Warning, &text);
        }
        channel = Channel::Tls;
        facts = wire.tls().map(|c| tls.facts(c));
    }
    let mut consultant = Consultant::new(
        Arc::clone(&world),
        Arc::clone(&daemon),
        Arc::clone(&peer),
        load,
    );
    if let Some(facts) = facts {
        consultant.note_tls(facts);
    }
    let (session, action) = Session::start(peer, Arc::clone(&daemon.rules), channel);
    let mut connection = Connection {
        world,
        wire,
        session,
        consultant,
        phase,
        chunks: None,
        _held: held,
    };
    if connection.pause_for_greeting().await {
        connection.run(action).await;
    }
}

/// Returns when the server is about to end.
async fn ending(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|p| *p == Phase::Ending).await;
}

impl Connection {
    async fn run(&mut self, first: Action) {
        let mut next = Some(first);
        while let Some(action) = next.take() {
            // An error means that the client broke off; there is nobody to tell.
            next = self.act(action).await.unwrap_or_default();
        }
        self.wire.close().await;
    }

    /// Does one action; the next one, or the end.
    async fn act(&mut self, action: Action) -> std::io::Result<Option<Action>> {
        Ok(Some(match action {
            Action::Reply(reply) => {
                self.put(&reply);
                return self.next_command().await;
            }
            Action::Consult(question) => {
                let answer = Box::pin(self.consultant.answer(question, &self.session)).await;
                self.session.on_answer(answer)
            }
            Action::After(wait, action) => {
                self.wire.flush().await?;
                tokio::time::sleep(wait).await;
                *action
            }
            Action::Upgrade(reply) => {
                self.put(&reply);
                self.wire.flush().await?;
                return Ok(self.upgrade().await);
            }
            Action::ReadBody(reply) => {
                self.put(&reply);
                self.wire.flush().await?;
                let end = Box::pin(self.receive_body()).await?;
                self.session.on_answer(Answer::Message(end))
            }
            Action::ReadChunk { octets, chunk } => Box::pin(self.read_chunk(octets, chunk)).await?,
            Action::Close(reply) => {
                self.put(&reply);
                self.wire.flush().await?;
                return Ok(None);
            }
        }))
    }

    async fn next_command(&mut self) -> std::io::Result<Option<Action>> {
        // Replies to pipelined commands go out together (RFC 2920 section 3.2).
        if !self.wire.pending().contains(&b'\n') {
            self.wire.flush().await?;
        }
        if *self.phase.borrow() == Phase::Ending && !self.session.in_transaction() {
            let reply = self.shutting_down();
            self.put(&reply);
            return Ok(None);
        }
        if self.world.delays_commands() {
            self.wire.flush().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let patience = self.world.site.options.timeouts.command.0;
        let idle = !self.session.in_transaction();
        let limit = self.session.line_limit();
        let line = tokio::select! {
            line = tokio::time::timeout(patience, self.wire.line(limit)) => Some(line),
            _ = ending(&mut self.phase), if idle => None,
        };
        let Some(line) = line else {
            let reply = self.shutting_down();
            self.put(&reply);
            return Ok(None);
        };
        let Ok(line) = line else {
            let text = format!(
                "{} Timeout waiting for input from {}",
                self.host(),
                self.session.peer()
            );
            self.put(&reply(421, (4, 4, 2), text));
            return Ok(None);
        };
        Ok(match line? {
            Line::Line(line) => {
                if !self.session.in_transaction() {
                    self.chunks = None;
                }
                let ahead = if self.wire.has_more() {
                    Ahead::More
                } else {
                    Ahead::Nothing
                };
                Some(self.session.on_line(&line, ahead))
            }
            Line::TooLong => Some(self.session.on_overlong_line()),
            Line::Gone => {
                if self.session.in_transaction() {
                    let text = format!("lost input channel from {}", self.session.peer());
                    self.world.log.say(Level::Info, &text);
                }
                None
            }
        })
    }

    async fn upgrade(&mut self) -> Option<Action> {
        let peer = Arc::clone(self.session.peer());
        let world = Arc::clone(&self.world);
        let tls = world.tls.as_ref()?;
        let config = tls.config(|e| world.log.say(Level::Error, &e.to_string()));
        let patience = world.site.options.timeouts.starttls.0;
        if let Err(error) = self.wire.start_tls(config, patience).await {
            let text = format!("STARTTLS=server, relay={peer}, failed: {error}");
            world.log.say(Level::Warning, &text);
            return None;
        }
        let facts = tls.facts(self.wire.tls()?);
        let text = format!(
            "STARTTLS=server, relay={peer}, version={}, verify={}, cipher={}, bits={}",
            facts.0.version, facts.0.verify, facts.0.cipher, facts.0.bits
        );
        world.log.say(Level::Info, &text);
        let answer = self.consultant.secured(facts).await;
        Some(self.session.on_answer(answer))
    }

    /// FEATURE(greet_pause): a client that talks before it is greeted is refused.
    async fn pause_for_greeting(&mut self) -> bool {
        let pause = Duration::from_millis(self.consultant.greet_pause());
        let wait = self.world.gate.pass();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        if pause.is_zero() {
            return true;
        }
        let start = Instant::now();
        match tokio::time::timeout(pause, self.wire.fill()).await {
            Err(_) => true,
            Ok(Ok(0) | Err(_)) => false,
            Ok(Ok(_)) => {
                let text = format!(
                    "rejecting commands from {} due to pre-greeting traffic after {} seconds",
                    self.session.peer(),
                    start.elapsed().as_secs()
                );
                self.world.log.say(Level::Notice, &text);
                let host = self.host();
                self.consultant.refuse_all(Refusal::Greet(
                    Reply::new(554, None, format!("{host} ESMTP not accepting messages")),
                    reply(550, (5, 0, 0), "Command rejected"),
                ));
                true
            }
        }
    }

    async fn read_chunk(&mut self, octets: u64, chunk: Chunk) -> std::io::Result<Action> {
        let answer = match chunk {
            Chunk::Refused(reply) => {
                self.discard(octets).await?;
                Answer::Refused(reply)
            }
            Chunk::Part => self.receive_chunk(octets).await?,
            Chunk::Last => {
                let answer = self.receive_chunk(octets).await?;
                match (answer, self.chunks.take()) {
                    (Answer::ChunkRead { .. }, Some(incoming)) => {
                        Answer::Message(self.store(incoming).await)
                    }
                    (refused, _) => refused,
                }
            }
        };
        Ok(self.session.on_answer(answer))
    }

    fn shutting_down(&self) -> Reply {
        let text = format!("{} Service shutting down, closing connection", self.host());
        reply(421, (4, 3, 2), text)
    }

    fn host(&self) -> String {
        self.world.site.host_name.clone()
    }

    fn put(&mut self, reply: &Reply) {
        if reply.code == 0 {
            return;
        }
        for line in reply.to_string().lines() {
            self.wire.put(line.as_bytes());
            self.wire.put(b"\r\n");
        }
    }
}
