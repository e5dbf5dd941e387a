//! One connection: does what the session's actions say.

mod handshake;
mod message;

pub(crate) use message::RECEIVED;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libmaps::reply::Reply;
use libmaps::site::model::options::Minutes;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::consult::{Consultant, reply};
use crate::daemon::Daemon;
use crate::log::Level;
use crate::queue::Departure;
use crate::session::{
    Action, Ahead, Answer, Channel, Chunk, Question, Refusal, Session, bracketed,
};
use crate::throttle::{Held, Lost, Place, Why};
use crate::wire::{Line, Wire};
use crate::world::World;

use handshake::shake;

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
    /// Its place among the sessions.
    pub place: Place,
}

/// Longest wait for the client's name; the resolver gives up before.
const NAME_PATIENCE: Duration = Duration::from_secs(300);
/// Longest wait for the last reply to be taken.
const CLOSING_PATIENCE: Duration = Duration::from_secs(30);
/// And where others wait for the place.
const HURRIED_PATIENCE: Duration = Duration::from_secs(1);
/// What who brings more is told while there is no memory for it.
const NO_MEMORY: &str = "Not enough memory at the moment; try again later";
/// No wait of ours is that long.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

struct Connection {
    world: Arc<World>,
    daemon: Arc<Daemon>,
    wire: Wire,
    session: Session,
    consultant: Consultant,
    phase: watch::Receiver<Phase>,
    chunks: Option<message::Incoming>,
    departure: Departure,
    place: Place,
    _held: Held,
}

/// Serves one client to the end.
pub async fn serve(
    world: Arc<World>,
    daemon: Arc<Daemon>,
    accepted: Accepted,
    phase: watch::Receiver<Phase>,
) {
    let departure = departure(&world, &daemon, &accepted).await;
    let place = accepted.place;
    place.belongs_to(accepted.client.ip());
    let mut wire = Wire::new(accepted.stream);
    wire.put_back(&accepted.first);
    let (held, load) = world.throttle.enter(accepted.client.ip());
    let peer = world
        .resolver
        .peer(accepted.client.ip(), accepted.client.port());
    let counts = world.throttle.on_all_hosts(&held, load);
    let both = async { tokio::join!(peer, counts) };
    // The client's own name servers may be slow: where others find no place, he is.
    place.begin();
    let Ok((peer, load)) = place.wait(NAME_PATIENCE, both).await else {
        if let Some(lost) = place.lost() {
            let literal = bracketed(accepted.client.ip());
            tell_lost(&world, lost, &literal, "");
        }
        return close(&place, &mut wire).await;
    };
    let peer = Arc::new(peer);
    world
        .log
        .say(Level::Info, &format!("NOQUEUE: connect from {peer}"));
    let mut consultant = Consultant::new(
        Arc::clone(&world),
        Arc::clone(&daemon),
        Arc::clone(&peer),
        load,
    );
    let mut channel = Channel::Clear;
    if daemon.is_tls_from_start() {
        let Some(facts) = shake(&world, &place, &mut wire, &peer, &mut consultant).await else {
            return;
        };
        channel = Channel::Tls;
        consultant.note_tls(facts);
    }
    let (session, action) = Session::start(peer, Arc::clone(&daemon.rules), channel);
    let mut connection = Connection {
        world,
        daemon,
        wire,
        session,
        consultant,
        phase,
        chunks: None,
        departure,
        place,
        _held: held,
    };
    connection.run(action).await;
}

/// Modifiers `b` and `h`: messages leave by the address at which they came, under its name.
async fn departure(world: &World, daemon: &Daemon, accepted: &Accepted) -> Departure {
    let modifiers = &daemon.options.modifiers;
    let own = match (modifiers.has('b'), modifiers.has('h')) {
        (false, false) => None,
        _ => accepted.stream.local_addr().ok(),
    };
    let Some(own) = own.map(|own| own.ip().to_canonical()) else {
        return Departure::default();
    };
    let helo = match modifiers.has('h') {
        true => Some(world.resolver.peer(own, 0).await.name),
        false => None,
    };
    Departure {
        // Nothing out there is reached from the loopback net (op.me, ${if_addr}).
        from: modifiers
            .has('b')
            .then_some(own)
            .filter(|own| !own.is_loopback()),
        helo,
    }
}

/// A time-out of the site; 0 is none.
fn patience(limit: Minutes) -> Duration {
    match limit.0 {
        Duration::ZERO => YEAR,
        limit => limit,
    }
}

/// Sends what was put and closes; a client that takes nothing keeps nobody waiting.
async fn close(place: &Place, wire: &mut Wire) {
    let patience = match place.is_needed() {
        true => HURRIED_PATIENCE,
        false => CLOSING_PATIENCE,
    };
    let _ = tokio::time::timeout(patience, wire.close()).await;
}

/// Says whose place was taken for the sake of others, and why his.
fn tell_lost(world: &World, lost: Lost, peer: &str, sender: &str) {
    let why = match lost.why {
        Why::Place { count, all } => format!("its network had {count} of {all}"),
        Why::Memory { octets } => format!("its network held {octets} octets of memory"),
    };
    let text = format!("lost its place to others: relay={peer}, sender={sender}, {why}");
    world.log.say(Level::Notice, &text);
}

/// Returns when the server is about to end.
async fn ending(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|p| *p == Phase::Ending).await;
}

impl Connection {
    async fn run(&mut self, first: Action) {
        let mut next = match self.pause_for_greeting().await {
            Ok(true) => Some(first),
            Ok(false) => return,
            Err(error) => {
                self.broken_off(&error).await;
                None
            }
        };
        while let Some(action) = next.take() {
            let done = self.act(action).await;
            let incoming = self.chunks.as_ref();
            let incoming = incoming.map_or(0, message::Incoming::held_octets);
            self.place.keeps(self.session.held_octets() + incoming);
            next = match done {
                Ok(next) => next,
                Err(error) => {
                    self.broken_off(&error).await;
                    None
                }
            };
        }
        close(&self.place, &mut self.wire).await;
    }

    /// The client broke off, or took too long over a message.
    async fn broken_off(&mut self, error: &std::io::Error) {
        let peer = self.session.peer();
        let sender = self.session.transaction().map(|t| t.sender.shown());
        let sender = sender.unwrap_or_default();
        if let Some(lost) = self.place.lost() {
            tell_lost(&self.world, lost, &peer.to_string(), &sender);
            let host = self.host();
            self.put(&match lost.why {
                Why::Place { .. } => {
                    let text = format!("{host} Too many open connections from your network");
                    reply(421, (4, 3, 2), text)
                }
                Why::Memory { .. } => reply(421, (4, 3, 1), format!("{host} {NO_MEMORY}")),
            });
        } else if error.kind() == std::io::ErrorKind::TimedOut {
            let text = format!("timeout waiting for input from {peer}, sender={sender}");
            self.world.log.say(Level::Notice, &text);
            let text = format!("{} Timeout waiting for input", self.host());
            self.put(&reply(421, (4, 4, 2), text));
        } else if self.session.in_transaction() {
            let text = format!("lost connection from {peer}, sender={sender}: {error}");
            self.world.log.say(Level::Info, &text);
        }
    }

    /// Sends what was put. A client that does not read is not waited for longer than one
    /// that does not write.
    async fn flush(&mut self) -> std::io::Result<()> {
        let patience = patience(self.world.site.options.timeouts.command);
        self.place.wait(patience, self.wire.flush()).await?
    }

    /// Does one action; the next one, or the end.
    async fn act(&mut self, action: Action) -> std::io::Result<Option<Action>> {
        Ok(Some(match action {
            Action::Reply(reply) => {
                self.put(&reply);
                return self.next_command().await;
            }
            Action::Consult(Question::Recipient(_)) if !self.place.may_bring_more() => {
                let refused = reply(452, (4, 3, 1), NO_MEMORY);
                self.session.on_answer(Answer::NoRoom(refused))
            }
            Action::Consult(question) => {
                // Names that the client chose, and logins that fail, take as long as it wants:
                // that belongs to the step that it began.
                let answer = Box::pin(self.consultant.answer(question, &self.session));
                let answer = self.place.wait(YEAR, answer).await?;
                let is_trusted = match &answer {
                    Answer::LoggedIn(_) => true,
                    Answer::Welcome(_) => self.consultant.client_may_relay(),
                    _ => false,
                };
                if is_trusted {
                    self.place.trust();
                }
                self.session.on_answer(answer)
            }
            Action::After(wait, action) => {
                self.flush().await?;
                // Who is made to wait keeps others waiting, too.
                self.place.begin();
                let hour = Duration::from_secs(3600);
                self.place.wait(hour, tokio::time::sleep(wait)).await?;
                *action
            }
            Action::Upgrade(reply) => {
                self.put(&reply);
                self.flush().await?;
                return self.upgrade().await;
            }
            Action::ReadBody(reply) => {
                self.put(&reply);
                self.flush().await?;
                let end = Box::pin(self.receive_body()).await?;
                self.session.on_answer(Answer::Message(end))
            }
            Action::ReadChunk { octets, chunk } => Box::pin(self.read_chunk(octets, chunk)).await?,
            Action::Close(reply) => {
                self.put(&reply);
                self.flush().await?;
                return Ok(None);
            }
        }))
    }

    async fn next_command(&mut self) -> std::io::Result<Option<Action>> {
        // Replies to pipelined commands go out together (RFC 2920 section 3.2).
        if !self.wire.pending().contains(&b'\n') {
            self.flush().await?;
        }
        if *self.phase.borrow() == Phase::Ending && !self.session.in_transaction() {
            let reply = self.shutting_down();
            self.put(&reply);
            return Ok(None);
        }
        if self.daemon.delays_commands() {
            self.flush().await?;
            let second = tokio::time::sleep(Duration::from_secs(1));
            self.place.wait_ours(second).await?;
        }
        let limit = self.session.line_limit();
        let line = match self.wire.ready_line(limit) {
            Some(line) => {
                self.place.begin();
                line
            }
            None => match self.awaited_line(limit).await? {
                Ok(line) => line,
                Err(reply) => {
                    self.put(&reply);
                    return Ok(None);
                }
            },
        };
        Ok(match line {
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

    /// Waits for a line; or the last reply, where the client takes too long over it or the
    /// server ends.
    async fn awaited_line(&mut self, limit: usize) -> std::io::Result<Result<Line, Reply>> {
        let patience = patience(self.world.site.options.timeouts.command);
        let idle = !self.session.in_transaction();
        self.place.begin();
        let line = tokio::select! {
            line = self.place.wait(patience, self.wire.line(limit)) => Some(line),
            _ = ending(&mut self.phase), if idle => None,
        };
        Ok(match line {
            None => Err(self.shutting_down()),
            Some(Ok(line)) => Ok(line?),
            Some(Err(error)) if self.place.lost().is_some() => return Err(error),
            Some(Err(_)) => {
                let (host, peer) = (self.host(), self.session.peer());
                let text = format!("{host} Timeout waiting for input from {peer}");
                Err(reply(421, (4, 4, 2), text))
            }
        })
    }

    async fn upgrade(&mut self) -> std::io::Result<Option<Action>> {
        let peer = Arc::clone(self.session.peer());
        let world = Arc::clone(&self.world);
        let (place, wire, consultant) = (&self.place, &mut self.wire, &mut self.consultant);
        let Some(facts) = Box::pin(shake(&world, place, wire, &peer, consultant)).await else {
            return Ok(None);
        };
        let answer = self.consultant.secured(facts);
        let answer = self.place.wait(YEAR, answer).await?;
        Ok(Some(self.session.on_answer(answer)))
    }

    /// FEATURE(greet_pause): a client that talks before it is greeted is refused.
    async fn pause_for_greeting(&mut self) -> std::io::Result<bool> {
        let pause = Duration::from_millis(self.consultant.greet_pause());
        let wait = self.daemon.gate.pass();
        if !wait.is_zero() {
            self.place.wait_ours(tokio::time::sleep(wait)).await?;
        }
        if pause.is_zero() {
            return Ok(true);
        }
        let start = Instant::now();
        let filled = tokio::time::timeout(pause, self.wire.fill());
        Ok(match self.place.wait_ours(filled).await? {
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
        })
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
        self.wire.put_reply(reply);
    }
}

#[cfg(test)]
#[path = "connection/memory_tests.rs"]
mod memory_tests;
