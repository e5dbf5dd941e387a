//! Answers for the session: policy, maps, DNS, logins.
//!
//! A [`Consultant`] belongs to one connection. It takes a snapshot of the maps for each
//! transaction, gives the rulesets what they lack, and turns their decisions into
//! the session's words.

mod features;
mod local_form;
mod maps;
mod recipient;
mod welcome;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use libmaps::address::{Address, AddressError, ReversePath};
use libmaps::decision::Decision;
use libmaps::policy::facts::{self, Facts};
use libmaps::policy::relay_ok::client_may_relay;
use libmaps::policy::{Outcome, Policy, Ruling, check_mail, check_rcpt, srv_features, trust_auth};
use libmaps::reply::{Reply, Status};
use libmaps::sasl::mechanism::ChannelBinding;
use libmaps::table::tls_features::TlsFeatures;
use tokio::sync::Semaphore;

use crate::daemon::Daemon;
use crate::log::Level;
use crate::login::{Exchange, Told};
use crate::maps::Snapshot;
use crate::queue::{self, KeptName, Node};
use crate::resolver::{Asker, policy_text};
use crate::session::{
    Answer, Fate, Hello, MailParams, Path, Peer, Question, Refusal, Resolve, Session, shown,
};
use crate::tls::{Asked, TlsFacts, Wish};
use crate::world::World;

use self::maps::TransactionMaps;

/// Most answers of DNS that one ruleset may need.
const MAX_NEEDS: usize = 64;
/// Most answers that are kept for a connection.
const MAX_FACTS: usize = 256;
/// Longest wait of ETRN for those of others.
const RUN_PATIENCE: Duration = Duration::from_secs(10);

/// Answers the questions of one session.
pub struct Consultant {
    world: Arc<World>,
    daemon: Arc<Daemon>,
    peer: Arc<Peer>,
    asker: Asker,
    client: facts::Session,
    bindings: Vec<ChannelBinding>,
    facts: Facts,
    maps: TransactionMaps,
    exchange: Option<Exchange>,
    /// Set where everything is refused before policy is asked.
    refused: Option<Refusal>,
    /// Whether AUTH= of the transaction at hand was believed.
    trusted_author: Option<Box<[u8]>>,
    /// Names of hosts that the recipients accepted in the transaction at hand were judged by.
    judged_by: HashMap<Box<[u8]>, Vec<KeptName>>,
}

impl Consultant {
    /// A consultant for a client of this daemon.
    #[must_use]
    pub fn new(world: Arc<World>, daemon: Arc<Daemon>, peer: Arc<Peer>, load: ClientLoad) -> Self {
        let resolve = match peer.resolve {
            Resolve::Ok => facts::Resolve::Ok,
            Resolve::Fail => facts::Resolve::Fail,
            Resolve::Forged => facts::Resolve::Forged,
            Resolve::Temp => facts::Resolve::Temp,
        };
        let literal = crate::session::bracketed(peer.addr);
        let client = facts::Session {
            client_addr: policy_text(peer.addr),
            client_name: match peer.resolve {
                Resolve::Ok => peer.name.clone(),
                _ => literal,
            },
            client_ptr: match peer.resolve {
                Resolve::Ok | Resolve::Forged => peer.name.clone(),
                _ => String::new(),
            },
            client_resolve: resolve,
            client_rate: load.rate,
            client_connections: load.connections,
            counted: load.counted,
            daemon_flags: daemon.options.flags_macro(),
            ..facts::Session::default()
        };
        let maps = TransactionMaps::for_client(&world);
        Consultant {
            world,
            daemon,
            asker: Asker::client(peer.addr),
            peer,
            client,
            bindings: Vec::new(),
            facts: Facts::new(),
            maps,
            exchange: None,
            refused: None,
            trusted_author: None,
            judged_by: HashMap::new(),
        }
    }

    /// The answer to a question of the session.
    pub async fn answer(&mut self, question: Question, session: &Session) -> Answer {
        let helo = session.helo().map_or("", |(_, name)| name);
        if self.client.helo != helo {
            helo.clone_into(&mut self.client.helo);
        }
        match question {
            Question::Client => Answer::Welcome(Box::new(self.welcome().await)),
            Question::Sender(path, params) => self.sender(&path, &params).await,
            Question::Recipient(path) => self.recipient(&path).await,
            Question::Login { mechanism, initial } => {
                let first = initial.map(|secret| secret.0);
                let (exchange, told) = Exchange::start(
                    &self.world,
                    &self.client.tls,
                    &self.bindings,
                    &mechanism,
                    first,
                    self.peer.addr,
                )
                .await;
                self.exchange = exchange;
                self.told(told)
            }
            Question::Response(secret) => match self.exchange.take() {
                Some(exchange) => {
                    let (exchange, told) = exchange.respond(&self.world, secret.0).await;
                    self.exchange = exchange;
                    self.told(told)
                }
                None => Answer::LoginFailed,
            },
            Question::AbortLogin => {
                self.exchange = None;
                Answer::LoginFailed
            }
            Question::Verify(text) => Answer::Say(self.verify(&text).await),
            Question::Expand(text) => Answer::Say(self.expand(&text).await),
            Question::RunQueue(node) => Answer::Say(self.run_queue(&node).await),
        }
    }

    /// Makes what waits for this node due.
    async fn run_queue(&self, text: &[u8]) -> Reply {
        let Some(node) = Node::parse(text) else {
            return reply(501, (5, 5, 2), "Syntax error in parameters");
        };
        static ONE: Semaphore = Semaphore::const_new(1);
        let queue = Arc::clone(&self.world.queue);
        let run = async {
            let one = ONE.acquire().await;
            let run = move || {
                let asked = queue.run_for(&node);
                drop(one);
                asked
            };
            tokio::task::spawn_blocking(run).await
        };
        let asked = tokio::time::timeout(RUN_PATIENCE, run).await;
        let node = shown(text);
        match asked.unwrap_or(Ok(queue::Asked::Busy)) {
            Ok(queue::Asked::Run(count)) => {
                let text = format!("ETRN: {count} messages are tried, relay={}", self.peer);
                self.world.log.say(Level::Info, &text);
            }
            Ok(queue::Asked::Lately) => {}
            Ok(queue::Asked::Busy) | Err(_) => {
                let text = format!("Unable to queue messages for node {node}");
                return reply(458, (4, 3, 2), text);
            }
        }
        reply(250, (2, 0, 0), format!("Queuing for node {node} started"))
    }

    /// TLS is on: what the client is offered now.
    pub async fn secured(&mut self, tls: TlsFacts) -> Answer {
        self.note_tls(tls);
        self.client.login = None;
        self.exchange = None;
        let mut welcome = self.welcome_offers().await;
        if let Some(refusal) = self.tls_refusal().await {
            welcome.refusal = Some(refusal);
        }
        Answer::Welcome(Box::new(welcome))
    }

    /// How the handshake is to be.
    ///
    /// # Errors
    /// Why there can't be one as the client's entry wants it, for the log.
    pub async fn wish(&mut self) -> Result<Wish, String> {
        let features = self.tls_features().await?;
        Ok(Wish {
            asked: match self.features().await {
                Ok(features) => features.asked,
                // It will be refused.
                Err(_) => Asked::Nothing,
            },
            features,
        })
    }

    /// The client's entry for TLS.
    async fn tls_features(&mut self) -> Result<TlsFeatures, String> {
        let told = self.settle(srv_features::tls_srv_features).await.outcome;
        let told = told.map_err(|error| error.to_string())?;
        TlsFeatures::parse(&told.unwrap_or_default()).map_err(|error| error.to_string())
    }

    /// TLS was on from the first octet.
    pub fn note_tls(&mut self, tls: TlsFacts) {
        self.client.tls = tls.tls;
        self.bindings = tls.bindings;
    }

    /// Refuses everything, whatever policy would say.
    pub fn refuse_all(&mut self, refusal: Refusal) {
        self.refused = Some(refusal);
    }

    /// What is known about the client, for the Received header and the logs.
    #[must_use]
    pub fn client(&self) -> &facts::Session {
        &self.client
    }

    /// Whether the client may relay whoever the sender is: it is one of our own.
    #[must_use]
    pub fn client_may_relay(&self) -> bool {
        let policy = Policy {
            site: &self.maps.snapshot.site,
            maps: &self.maps.snapshot.policy,
        };
        client_may_relay(policy, &self.client)
    }

    /// As whom it asks for names.
    #[must_use]
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// The listener's name.
    #[must_use]
    pub fn daemon_name(&self) -> &str {
        &self.daemon.options.name
    }

    /// The snapshot of the transaction at hand.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.maps.snapshot
    }

    /// AUTH= of the transaction at hand, where it was believed.
    #[must_use]
    pub fn trusted_author(&self) -> Option<&[u8]> {
        self.trusted_author.as_deref()
    }

    /// The names of hosts that a recipient of the transaction at hand was judged by: his mail
    /// must go where policy saw it go, whatever DNS says by then.
    #[must_use]
    pub fn judged_by(&self, path: &Path) -> &[KeptName] {
        self.judged_by.get(path.bare()).map_or(&[], Vec::as_slice)
    }

    /// `$r`: the protocol, with S for TLS and A for a login (RFC 3848).
    #[must_use]
    pub fn protocol(&self, session: &Session) -> String {
        let base = match session.helo() {
            Some((Hello::Extended, _)) => "ESMTP",
            _ => "SMTP",
        };
        let tls = if self.client.tls.version.is_empty() {
            ""
        } else {
            "S"
        };
        let auth = if session.login().is_some() { "A" } else { "" };
        format!("{base}{tls}{auth}")
    }

    fn told(&mut self, told: Told) -> Answer {
        let relay = &self.peer;
        match told {
            Told::Challenge(octets) => Answer::Challenge(octets),
            Told::In(login, bits) => {
                let text = format!(
                    "AUTH=server, relay={relay}, authid={}, mech={}, bits={bits}",
                    login.authid, login.mechanism
                );
                self.world.log.say(Level::Info, &text);
                self.client.login = Some(facts::Login {
                    mechanism: login.mechanism.to_string(),
                    authid: login.authid.to_string(),
                    author: login.authzid.to_string(),
                    bits,
                });
                Answer::LoggedIn(Box::new(login))
            }
            Told::Failed { mechanism, why } => {
                let text = format!("AUTH failure ({mechanism}): {why}, relay={relay}");
                self.world.log.say(Level::Warning, &text);
                Answer::LoginFailed
            }
            Told::Unavailable { mechanism, why } => {
                let text = format!("AUTH temporary failure ({mechanism}): {why}, relay={relay}");
                self.world.log.say(Level::Error, &text);
                Answer::LoginUnavailable
            }
        }
    }

    async fn sender(&mut self, path: &Path, params: &MailParams) -> Answer {
        self.maps = TransactionMaps::take(&self.world);
        self.forget_facts();
        self.judged_by.clear();
        if let Some(refused) = self.world.overload() {
            return Answer::Refused(refused);
        }
        self.client.sender = match ReversePath::parse(path.asked()) {
            Ok(sender) => sender,
            Err(error) => return Answer::Refused(not_an_address(&error)),
        };
        self.client.sender_text = shown(path.bare());
        if let Err(answer @ Answer::Refused(_)) = self.route_check(path).await
            && is_no_address(&answer)
        {
            return answer;
        }
        self.trusted_author = self.author(params.auth.as_deref()).await;
        let ruling = self.settle(check_mail::check_mail).await;
        self.ruled(&ruling, "check_mail", path)
    }

    /// AUTH= counts only where trust_auth says so; otherwise it is as if `<>` had been given.
    async fn author(&mut self, author: Option<&[u8]>) -> Option<Box<[u8]>> {
        let author = author.filter(|a| !a.is_empty())?;
        let ruling = self
            .settle(|policy, client, facts| trust_auth::trust_auth(policy, client, facts, author))
            .await;
        (ruling.outcome == Outcome::Accept).then(|| author.into())
    }

    /// Forgets what DNS said where that has become much: a client names as many domains as
    /// it likes.
    fn forget_facts(&mut self) {
        if self.facts.count() > MAX_FACTS {
            self.facts = Facts::new();
        }
    }

    async fn recipient(&mut self, path: &Path) -> Answer {
        self.forget_facts();
        let address = match Address::parse(path.asked()) {
            Ok(address) => address,
            Err(error) => return Answer::Refused(not_an_address(&error)),
        };
        let reading = match self.route_check(path).await {
            Ok(reading) => reading,
            Err(answer) => return answer,
        };
        let ruling = self
            .settle(|policy, client, facts| check_rcpt::check_rcpt(policy, client, facts, &address))
            .await;
        let answer = self.ruled(&ruling, "check_rcpt", path);
        match answer {
            Answer::Accepted(Fate::Discard) => answer,
            Answer::Accepted(fate) => {
                let (answer, names) = self.user_check(reading, fate).await;
                let accepted = matches!(answer, Answer::Accepted(_) | Answer::AcceptedForLater(_));
                if accepted && !names.is_empty() {
                    self.judged_by.insert(path.bare().into(), names);
                }
                answer
            }
            refused => refused,
        }
    }

    /// A ruleset's decision as an answer; a refusal is logged with its reason.
    fn ruled(&self, ruling: &Decision<Outcome>, ruleset: &str, path: &Path) -> Answer {
        match &ruling.outcome {
            Outcome::Accept | Outcome::Delayed => Answer::Accepted(Fate::Deliver),
            Outcome::Discard => {
                self.log_ruling(
                    ruling,
                    &format!(
                        "ruleset={ruleset}, arg1={}, relay={}, discard",
                        path.shown(),
                        self.peer
                    ),
                );
                Answer::Accepted(Fate::Discard)
            }
            Outcome::Quarantine(why) => {
                self.log_ruling(
                    ruling,
                    &format!(
                        "ruleset={ruleset}, arg1={}, relay={}, quarantine={why}",
                        path.shown(),
                        self.peer
                    ),
                );
                Answer::Accepted(Fate::Quarantine(why.clone()))
            }
            Outcome::Refuse(refusal) => {
                let reply = refusal.reply();
                self.log_ruling(
                    ruling,
                    &format!(
                        "ruleset={ruleset}, arg1={}, relay={}, reject={reply}",
                        path.shown(),
                        self.peer
                    ),
                );
                Answer::Refused(reply)
            }
        }
    }

    fn log_ruling(&self, ruling: &Decision<Outcome>, text: &str) {
        self.world
            .log
            .line(Level::Notice, None, text, Some(&ruling.trace));
    }

    /// Runs a ruleset, asking the resolver for what it lacks.
    async fn settle<T>(
        &mut self,
        ruleset: impl Fn(Policy<'_>, &facts::Session, &Facts) -> Ruling<T>,
    ) -> Decision<T> {
        let mut asked = 0;
        loop {
            let policy = Policy {
                site: &self.maps.snapshot.site,
                maps: &self.maps.snapshot.policy,
            };
            let need = match ruleset(policy, &self.client, &self.facts) {
                Ok(decision) => return decision,
                Err(need) => need,
            };
            asked += 1;
            // A ruleset needs finitely many answers; should one not, DNS is "down" for it.
            let answer = if asked > MAX_NEEDS {
                facts::Answer::Temporary
            } else {
                self.world.resolver.answer(&self.asker, &need).await
            };
            self.facts.add(need, answer);
        }
    }
}

/// How busy a client keeps us.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientLoad {
    /// Its connections within the window.
    pub rate: u32,
    /// Its open connections.
    pub connections: u32,
    /// On which hosts.
    pub counted: facts::Counted,
}

pub(crate) use local_form::local_form;
pub(crate) use recipient::{Certainty, facts_of, with_names};

pub(crate) fn reply(
    code: u16,
    (class, subject, detail): (u8, u16, u16),
    text: impl Into<String>,
) -> Reply {
    Reply::new(code, Some(Status::new(class, subject, detail)), text)
}

/// Whether the rules found that it is no address at all; that a table refuses mail to
/// it says nothing about mail from it.
fn is_no_address(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(reply) if reply.status == Some(Status::new(5, 1, 3)))
}

/// The refusal of what is no address.
fn not_an_address(error: &AddressError) -> Reply {
    let status = error.status().unwrap_or(Status::new(5, 0, 0));
    Reply::new(553, Some(status), error.to_string())
}

/// 451 4.3.0: a map can't be read.
fn unavailable() -> Reply {
    reply(
        451,
        (4, 3, 0),
        "Temporary system failure. Please try again later.",
    )
}
