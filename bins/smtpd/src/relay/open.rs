//! Opening a connection: greeting, EHLO, TLS as the access map wants it, AUTH.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use libmaps::address::{Address, in_brackets};
use libmaps::policy::facts::{self, Facts};
use libmaps::policy::srv_features::LookupFailed;
use libmaps::policy::{Outcome as Ruled, Policy, Ruling, srv_features, tls, try_tls};
use libmaps::site::model::{ClientOptions, Family, Mailer};
use libmaps::table::tls_features::TlsFeatures;
use libmaps::table::verdict::Refusal;

use super::authinfo::{self, AuthInfo};
use super::client::{
    Channel, Credentials, Failure, Lasting, LoopCheck, Protocol, Settings, StartTls,
};
use super::exchange::Hop;
use super::link::{self, Event, Link, Login, Origin};
use crate::log::Level;
use crate::maps::Snapshot;
use crate::queue::Departure;
use crate::resolver::{Asker, policy_text};
use crate::world::World;

/// Most answers of DNS that one ruleset may need.
const MAX_NEEDS: usize = 16;

/// Opens connections for one message.
pub(super) struct Opener<'a> {
    pub(super) world: &'a World,
    pub(super) snapshot: &'a Snapshot,
    pub(super) mailer: &'a Mailer,
    /// The queue id, for the log.
    pub(super) id: &'a str,
    /// How the message must leave.
    pub(super) departure: &'a Departure,
    /// How long a connection attempt may take.
    pub(super) patience: Duration,
    /// When the time of the delivery is up.
    pub(super) until: Instant,
}

impl Opener<'_> {
    /// A connection that is ready for a transaction.
    ///
    /// # Errors
    /// Why this host can't be used now.
    pub(super) async fn open(&self, hop: &Hop, addr: SocketAddr) -> Result<Link, Failure> {
        let session = self.session(hop, addr);
        let options = self.client_options(addr);
        let start_tls = if options.is_some_and(|o| o.modifiers.has('S')) {
            StartTls::Never
        } else {
            match self.ruled(&session, try_tls::try_tls).await {
                // A map that can't be read says nothing about TLS.
                Ruled::Refuse(refusal) if refusal.is_temporary() => {
                    return Err(failure_of(&refusal));
                }
                Ruled::Refuse(_) => StartTls::Never,
                _ => StartTls::WhereOffered,
            }
        };
        let result = self
            .connect(hop, addr, &session, start_tls, start_tls)
            .await;
        match result {
            // TLSFallbacktoClear: a new connection, without TLS.
            Err(Broken::Tls(_))
                if self.world.site.options.tls.fallback_to_clear
                    && start_tls == StartTls::WhereOffered =>
            {
                let text = format!("STARTTLS=client, relay={}, fallback to clear", hop.name);
                self.world.log.about(Level::Info, self.id, &text);
                let again = self.connect(hop, addr, &session, StartTls::Never, start_tls);
                again.await.map_err(Broken::failure)
            }
            result => result.map_err(Broken::failure),
        }
    }

    /// A connection to a socket of this machine.
    ///
    /// # Errors
    /// Why it can't be used now.
    pub(super) async fn open_socket(&self, path: &Path) -> Result<Link, Failure> {
        let settings = self.settings(StartTls::Never, None);
        let mut link = Link::local(&self.world.site.below(path), settings).await?;
        link.within(self.until.into());
        let timeouts = &self.world.site.options.timeouts;
        loop {
            match link.run(timeouts).await {
                // The file system says who may connect.
                Event::Judge => link.client.approve(),
                Event::Ready => return Ok(link),
                Event::Over(failure) => return Err(*failure),
                Event::Secure | Event::SendText => {
                    link.client.lost("not expected");
                }
            }
        }
    }

    /// Whether a connection that was opened before is still good enough.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn judge_again(&self, link: &Link, hop: &Hop) -> Result<(), Failure> {
        let Some(addr) = link.addr else {
            return Ok(());
        };
        let mut session = self.session(hop, addr);
        session.tls = link.tls.clone();
        refused(self.ruled(&session, tls::tls_server).await)
    }

    /// Whether the connection is good enough for this recipient.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn judge_recipient(
        &self,
        link: &Link,
        hop: &Hop,
        recipient: &[u8],
    ) -> Result<(), Failure> {
        let Some(addr) = link.addr else {
            return Ok(());
        };
        let recipient = Address::parse(&in_brackets(recipient)).map_err(|why| {
            Failure::permanent(
                "5.1.3",
                format!("TLS_Rcpt can't judge the recipient: {why}"),
            )
        })?;
        let mut session = self.session(hop, addr);
        session.tls = link.tls.clone();
        let ruled = self
            .ruled(&session, |policy, session, facts| {
                tls::tls_rcpt(policy, session, facts, &recipient)
            })
            .await;
        refused(ruled)
    }

    async fn connect(
        &self,
        hop: &Hop,
        addr: SocketAddr,
        session: &facts::Session,
        start_tls: StartTls,
        said: StartTls,
    ) -> Result<Link, Broken> {
        let world = self.world;
        let timeouts = &world.site.options.timeouts;
        let (login, wish) = self.login(hop, session, addr, said).await?;
        let origin = self.origin(addr);
        let left = self.until.saturating_duration_since(Instant::now());
        let patience = match self.patience {
            Duration::ZERO => left,
            patience => patience.min(left),
        };
        // No time at all would be no limit.
        let patience = patience.max(Duration::from_millis(1));
        let stream = link::connect(&hop.name, addr, origin, patience).await?;
        let mut link = Link::tcp(stream, addr, self.settings(start_tls, login));
        link.within(self.until.into());
        let mut session = session.clone();
        loop {
            match link.run(timeouts).await {
                Event::Secure => {
                    let tls = &world.client_tls;
                    let report = |text: &str| world.log.say(Level::Error, text);
                    let features = self.tls_features(&session).await;
                    let config = features.and_then(|features| tls.config(&features, report));
                    let config = match config {
                        Ok(config) => config,
                        Err(why) => {
                            self.log_tls(hop, &link.tls, &Err(why));
                            return Err(Broken::Host(self.not_as_wanted(&session).await));
                        }
                    };
                    let patience = timeouts.starttls.0;
                    let secured = link.secure(tls, config, &hop.name, patience).await;
                    self.log_tls(hop, &link.tls, &secured);
                    if let Err(why) = secured {
                        session.tls.verify = "SOFTWARE".into();
                        let ruled = self.ruled(&session, tls::tls_server).await;
                        let failure = refused(ruled).err().unwrap_or_else(|| {
                            Failure::temporary("4.7.5", format!("TLS handshake failed: {why}"))
                        });
                        return Err(Broken::Tls(failure));
                    }
                }
                Event::Judge => {
                    let declined = match link.client.channel() {
                        Channel::Declined(code) => {
                            link.tls.verify = verify_of(code).into();
                            true
                        }
                        Channel::Clear | Channel::Secured => false,
                    };
                    session.tls = link.tls.clone();
                    match refused(self.ruled(&session, tls::tls_server).await) {
                        Ok(()) => link.client.approve(),
                        Err(failure) => {
                            tokio::spawn(Box::new(link).close());
                            return Err(match declined {
                                true => Broken::Tls(failure),
                                false => Broken::Host(failure),
                            });
                        }
                    }
                }
                Event::Ready => {
                    self.log_login(hop, &mut link);
                    if wish == Wish::Some && link.client.logged_in().is_none() {
                        link.login = Login::Lacking;
                    }
                    return Ok(link);
                }
                Event::Over(failure) => {
                    self.log_login(hop, &mut link);
                    return Err(Broken::Host(*failure));
                }
                Event::SendText => link.client.lost("not expected"),
            }
        }
    }

    /// What the server's `TLS_Clt_Features:` entry says, or why it can't be done.
    async fn tls_features(&self, session: &facts::Session) -> Result<TlsFeatures, String> {
        let told = self.settled(session, srv_features::tls_clt_features).await;
        let told = told
            .unwrap_or(Err(LookupFailed))
            .map_err(|e| e.to_string())?;
        TlsFeatures::parse(&told.unwrap_or_default()).map_err(|e| e.to_string())
    }

    /// There is no TLS with the server as its entry wants it, and none of another kind. Without
    /// TLS it is not tried either.
    async fn not_as_wanted(&self, session: &facts::Session) -> Failure {
        let mut session = session.clone();
        session.tls.verify = "CONFIG".into();
        let ruled = self.ruled(&session, tls::tls_server).await;
        refused(ruled)
            .err()
            .unwrap_or_else(|| Failure::temporary("4.7.0", "STARTTLS temporarily not possible."))
    }

    fn settings(&self, start_tls: StartTls, login: Option<Credentials>) -> Settings {
        let site = &self.world.site;
        let name = match (
            &self.departure.helo,
            site.options.greeting.helo_name.as_str(),
        ) {
            (Some(name), _) => name,
            (None, "") => &site.host_name,
            (None, name) => name,
        };
        Settings {
            protocol: if self.mailer.has('z') {
                Protocol::Lmtp
            } else if self.mailer.has('a') {
                Protocol::Esmtp
            } else {
                Protocol::Smtp
            },
            name: name.to_owned(),
            own_name: site.host_name.clone(),
            start_tls,
            login,
            loop_check: if self.mailer.has('k') {
                LoopCheck::Allow
            } else {
                LoopCheck::Refuse
            },
        }
    }

    /// What to log in with at this server, if there is anything, and whether there should be.
    ///
    /// # Errors
    /// When the map can't be asked: without its login, mail that is welcome is refused.
    async fn login(
        &self,
        hop: &Hop,
        session: &facts::Session,
        addr: SocketAddr,
        start_tls: StartTls,
    ) -> Result<(Option<Credentials>, Wish), Failure> {
        let site = &self.world.site;
        let no_auth = self
            .client_options(addr)
            .is_some_and(|o| o.modifiers.has('A'));
        if no_auth || self.mailer.has('z') {
            return Ok((None, Wish::None));
        }
        let entry = self
            .settled(session, |policy, session, facts| {
                srv_features::authinfo(policy, session, facts)
            })
            .await;
        let Some(Ok(entry)) = entry else {
            return Err(Failure::temporary("4.3.0", "AuthInfo: map lookup failed"));
        };
        let info = match entry {
            Some(rhs) => AuthInfo::entry(&rhs).map(Some).map_err(str::to_owned),
            None => authinfo::default_of(site),
        };
        let credentials = info.and_then(|info| {
            info.map(|info| info.credentials(site, &hop.name, start_tls))
                .transpose()
                .map_err(str::to_owned)
        });
        Ok(match credentials {
            Ok(None) => (None, Wish::None),
            Ok(credentials) => (credentials, Wish::Some),
            Err(why) => {
                let text = format!("AUTH=client, relay={}: {why}", hop.name);
                self.world.log.about(Level::Error, self.id, &text);
                (None, Wish::Some)
            }
        })
    }

    fn session(&self, hop: &Hop, addr: SocketAddr) -> facts::Session {
        facts::Session {
            server_name: hop.name.clone(),
            server_addr: policy_text(addr.ip()),
            ..facts::Session::default()
        }
    }

    /// The CLIENT_OPTIONS for this family, if the site has any: the last of them, as with sendmail.
    fn client_options(&self, addr: SocketAddr) -> Option<&ClientOptions> {
        let family = match addr {
            SocketAddr::V4(_) => Family::Inet,
            SocketAddr::V6(_) => Family::Inet6,
        };
        let all = &self.world.site.clients;
        all.iter().rfind(|options| options.family == family)
    }

    fn origin(&self, addr: SocketAddr) -> Origin {
        let own = self.departure.from;
        if let Some(own) = own.filter(|own| own.is_ipv4() == addr.is_ipv4()) {
            return Origin {
                local: Some(SocketAddr::new(own, 0)),
            };
        }
        let options = self.client_options(addr);
        let ip = options.and_then(ClientOptions::ip);
        let port = options.and_then(|o| o.port.as_deref()?.parse().ok());
        Origin {
            local: ip.map(|ip| SocketAddr::new(ip, port.unwrap_or(0))),
        }
    }

    async fn ruled(
        &self,
        session: &facts::Session,
        ruleset: impl Fn(Policy<'_>, &facts::Session, &Facts) -> Ruling,
    ) -> Ruled {
        let ruled = self.settled(session, ruleset).await;
        ruled.unwrap_or_else(libmaps::policy::map_unavailable)
    }

    /// Runs a ruleset, asking the resolver for what it lacks.
    async fn settled<T>(
        &self,
        session: &facts::Session,
        ruleset: impl Fn(Policy<'_>, &facts::Session, &Facts) -> Ruling<T>,
    ) -> Option<T> {
        let mut facts = Facts::new();
        for _ in 0..MAX_NEEDS {
            let policy = Policy {
                site: &self.snapshot.site,
                maps: &self.snapshot.policy,
            };
            match ruleset(policy, session, &facts) {
                Ok(decision) => return Some(decision.outcome),
                Err(need) => {
                    let answer = self.world.resolver.answer(&Asker::Ours, &need).await;
                    facts.add(need, answer);
                }
            }
        }
        None
    }

    fn log_tls(&self, hop: &Hop, tls: &facts::Tls, secured: &Result<(), String>) {
        let relay = with_dot(&hop.name);
        let text = match secured {
            Ok(()) => format!(
                "STARTTLS=client, relay={relay}, version={}, verify={}, cipher={}, bits={}/{}",
                tls.version, tls.verify, tls.cipher, tls.bits, tls.bits
            ),
            Err(why) => format!("STARTTLS=client, relay={relay}, reject: {why}"),
        };
        self.world.log.about(Level::Info, self.id, &text);
    }

    fn log_login(&self, hop: &Hop, link: &mut Link) {
        let relay = with_dot(&hop.name);
        for note in link.client.take_notes() {
            let text = format!("AUTH=client, relay={relay}, {note}");
            self.world.log.about(Level::Warning, self.id, &text);
        }
        if let Some(mechanism) = link.client.logged_in() {
            let text = format!("AUTH=client, relay={relay}, mech={mechanism}, bits=0");
            self.world.log.about(Level::Info, self.id, &text);
        }
    }
}

/// A host as sendmail's logs name it: with a dot behind a name.
pub(super) fn with_dot(host: &str) -> String {
    match host {
        "" => String::new(),
        name if name.starts_with(['[', '/']) => name.to_owned(),
        name => format!("{name}."),
    }
}

/// `${verify}` where a server declines STARTTLS with this code: what TLS_Srv entries ask for is not
/// there, but without one the mail goes in clear, as from sendmail.
fn verify_of(code: u16) -> &'static str {
    match code {
        400..=499 => "TEMP",
        501 => "USAGE",
        500..=599 => "NONE",
        _ => "PROTOCOL",
    }
}

/// Whether the site wants to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    None,
    Some,
}

/// Why there is no connection.
enum Broken {
    /// TLS did not come off.
    Tls(Failure),
    /// Something else.
    Host(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Host(failure)
    }
}

impl Broken {
    fn failure(self) -> Failure {
        match self {
            Broken::Tls(failure) | Broken::Host(failure) => failure,
        }
    }
}

fn refused(ruled: Ruled) -> Result<(), Failure> {
    match ruled {
        Ruled::Refuse(refusal) => Err(failure_of(&refusal)),
        _ => Ok(()),
    }
}

fn failure_of(refusal: &Refusal) -> Failure {
    let reply = refusal.reply();
    let (lasting, class) = match reply.is_temporary() {
        true => (Lasting::Temporary, "4.7.0"),
        false => (Lasting::Permanent, "5.7.0"),
    };
    Failure {
        lasting,
        status: reply.status.map_or(class.to_owned(), |s| s.to_string()),
        text: reply.lines.join(" "),
        reply: None,
    }
}
