//! Recipients: where they would go, and whether they exist. VRFY and EXPN too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libmaps::decision::LookupError;
use libmaps::policy::expand::{Expander, Expansion, Recipient, State};
use libmaps::policy::facts::{Answer as Found, Facts, Need};
use libmaps::policy::route::Routed;
use libmaps::policy::route::canonify::HostNames;
use libmaps::reply::{Reply, Status};
use libmaps::table::verdict::Refusal;
use tokio::sync::Semaphore;

use crate::aside::aside;
use crate::deliver::include_file::ServerIncludes;
use crate::queue::{KeptName, Octets};
use crate::resolver::Asker;
use crate::session::{Answer, Fate, Path, shown};
use crate::world::World;

use super::maps::TransactionMaps;
use super::{Consultant, reply, unavailable};

/// Most lines of one EXPN reply.
const MAX_EXPANDED: usize = 1000;
/// Longest wait of EXPN, for names and for others.
const EXPAND_PATIENCE: Duration = Duration::from_secs(30);
/// Most rounds of asking DNS for one address.
const MAX_ROUNDS: usize = 16;

/// Names of hosts out of answers that are known; what is lacking is noted.
pub(crate) struct KnownNames<'a> {
    facts: &'a Facts,
    lacking: Mutex<Vec<Need>>,
    used: Mutex<UsedNames>,
}

impl HostNames for KnownNames<'_> {
    fn canonical(&self, host: &[u8]) -> Option<Vec<u8>> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match self.facts.host(host) {
            Ok(Found::Found(names)) => {
                let name = names.first().map(|n| n.to_ascii_lowercase());
                used.note(host, name.as_deref());
                name
            }
            Ok(Found::NotFound) => {
                used.note(host, None);
                None
            }
            Ok(Found::Temporary) => {
                used.certainty = Certainty::NameServerDown;
                None
            }
            Err(need) => {
                self.lacking
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(need);
                None
            }
        }
    }
}

/// The names of hosts that some work took, so that it can be done again with the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsedNames {
    /// Each host with its canonical name, where it has one.
    kept: BTreeMap<Octets, Option<Octets>>,
    /// Whether they are all.
    pub(crate) certainty: Certainty,
}

impl UsedNames {
    /// These and those that further work took.
    fn and(mut self, more: UsedNames) -> UsedNames {
        for (host, name) in more.kept {
            self.kept.entry(host).or_insert(name);
        }
        if more.certainty == Certainty::NameServerDown {
            self.certainty = more.certainty;
        }
        self
    }

    fn note(&mut self, host: &[u8], name: Option<&[u8]>) {
        let name = || name.map(Octets::from);
        self.kept.entry(host.into()).or_insert_with(name);
    }
}

/// The answers that were kept.
pub(crate) fn facts_of(kept: &[KeptName]) -> Facts {
    let mut facts = Facts::new();
    for KeptName { host, name } in kept {
        let answer = match name {
            Some(name) => Found::Found(vec![name.0.as_slice().into()]),
            None => Found::NotFound,
        };
        facts.add(Need::Host(host.0.as_slice().into()), answer);
    }
    facts
}

/// Whether every name was known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// Every name.
    #[default]
    Certain,
    /// A name server did not answer.
    NameServerDown,
}

/// Runs something that needs host names, asking for those that it lacks.
pub(crate) async fn with_names<T>(
    world: &World,
    asker: &Asker,
    facts: &mut Facts,
    work: impl Fn(&dyn HostNames) -> T,
) -> (T, UsedNames) {
    with_names_by_turns(world, asker, facts, None, work).await
}

/// As [`with_names`]; of those with the same `turns` one works at a time, and none while names
/// are waited for.
async fn with_names_by_turns<T>(
    world: &World,
    asker: &Asker,
    facts: &mut Facts,
    turns: Option<&Semaphore>,
    work: impl Fn(&dyn HostNames) -> T,
) -> (T, UsedNames) {
    let mut rounds = 0;
    loop {
        let names = KnownNames {
            facts,
            lacking: Mutex::new(Vec::new()),
            used: Mutex::default(),
        };
        let turn = match turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        let result = work(&names);
        drop(turn);
        let lacking = names
            .lacking
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut used = names
            .used
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        rounds += 1;
        if lacking.is_empty() || rounds > MAX_ROUNDS {
            if !lacking.is_empty() {
                used.certainty = Certainty::NameServerDown;
            }
            return (result, used);
        }
        drop(result);
        for need in lacking.into_iter().take(64) {
            let answer = world.resolver.answer(asker, &need).await;
            facts.add(need, answer);
        }
    }
}

/// An address that was routed, and what that took.
pub(super) struct Reading {
    routed: Routed,
    names: UsedNames,
}

impl Consultant {
    /// Routes the address, unless that leads to a refusal before any policy is asked: no
    /// address at all, or an `error:` of a table.
    pub(super) async fn route_check(&mut self, path: &Path) -> Result<Reading, Answer> {
        let Consultant {
            world,
            asker,
            facts,
            maps,
            client,
            ..
        } = self;
        let (routed, names) = with_names(world, asker, facts, |names| {
            let flags = &client.daemon_flags;
            let addressing = maps.snapshot.addressing(names, flags);
            addressing.routed(path.asked())
        })
        .await;
        match routed {
            Ok(routed) if routed.triple().is_error() => {
                let triple = routed.triple();
                Err(Answer::Refused(refusal(&triple.host, &triple.user)))
            }
            Ok(routed) => Ok(Reading { routed, names }),
            Err(error) => Err(Answer::Refused(lookup_failed(&error))),
        }
    }

    /// Whether there is such a user, alias or route; says too which names of hosts that took.
    pub(super) async fn user_check(
        &mut self,
        reading: Reading,
        fate: Fate,
    ) -> (Answer, Vec<KeptName>) {
        let refuse = |answer| (answer, Vec::new());
        let Consultant {
            world,
            asker,
            facts,
            maps,
            client,
            ..
        } = self;
        let aliases = maps.existing_aliases();
        let (expanded, more) = with_names(world, asker, facts, |names| {
            let flags = &client.daemon_flags;
            let expander = Expander {
                addressing: maps.snapshot.addressing(names, flags),
                aliases,
                users: &maps.users,
                includes: &ServerIncludes { site: &world.site },
            };
            expander.expand_routed(&reading.routed)
        })
        .await;
        let names = reading.names.and(more);
        let expansion = match expanded {
            Ok(expansion) => expansion,
            Err(error) => return refuse(Answer::Refused(lookup_failed(&error))),
        };
        for recipient in &expansion.recipients {
            if let Some(refused) = refused(recipient) {
                return refuse(Answer::Unknown(refused));
            }
        }
        let answer = match names.certainty {
            Certainty::NameServerDown => Answer::AcceptedForLater(fate),
            Certainty::Certain => Answer::Accepted(fate),
        };
        let kept = names.kept.into_iter();
        (
            answer,
            kept.map(|(host, name)| KeptName { host, name }).collect(),
        )
    }

    /// Who is behind an alias, as the reply to EXPN.
    async fn members(&mut self, text: &[u8]) -> Result<Reply, LookupError> {
        // A list of 100,000 takes memory while it is expanded: one at a time.
        static TURNS: Semaphore = Semaphore::const_new(1);
        self.forget_facts();
        self.maps = TransactionMaps::take(&self.world);
        let Consultant {
            world,
            asker,
            facts,
            maps,
            client,
            ..
        } = self;
        let aliases = maps.snapshot.alias_table();
        let (members, _) = with_names_by_turns(world, asker, facts, Some(&TURNS), |names| {
            let flags = &client.daemon_flags;
            let expander = Expander {
                addressing: maps.snapshot.addressing(names, flags),
                aliases: &aliases,
                users: &maps.users,
                includes: &ServerIncludes { site: &world.site },
            };
            aside(|| {
                let expansion = expander.expand(text)?;
                Ok(listed(world, maps, text, &expansion))
            })
        })
        .await;
        members
    }

    /// VRFY: the user, or that there is none.
    pub(super) async fn verify(&mut self, text: &[u8]) -> Reply {
        self.forget_facts();
        self.maps = TransactionMaps::take(&self.world);
        let path = Path::from(text);
        let reading = match self.route_check(&path).await {
            Ok(reading) => reading,
            Err(Answer::Refused(refused)) => return named(text, refused),
            Err(_) => return unavailable(),
        };
        match self.user_check(reading, Fate::Deliver).await.0 {
            Answer::Accepted(_) | Answer::AcceptedForLater(_) => {
                let bare = shown(path.bare());
                let site = &self.maps.snapshot.site;
                match bare.rsplit_once('@') {
                    Some((_, domain)) if !site.classes.local_hosts.contains(domain.as_bytes()) => {
                        reply(252, (2, 1, 5), format!("<{bare}>"))
                    }
                    Some((local, _)) => {
                        reply(250, (2, 1, 5), full_name(&self.world, &self.maps, local))
                    }
                    None => reply(250, (2, 1, 5), full_name(&self.world, &self.maps, &bare)),
                }
            }
            Answer::Unknown(refused) | Answer::Refused(refused) => named(text, refused),
            _ => unavailable(),
        }
    }

    /// EXPN: everybody behind an alias.
    pub(super) async fn expand(&mut self, text: &[u8]) -> Reply {
        self.expand_within(EXPAND_PATIENCE, text).await
    }

    async fn expand_within(&mut self, patience: Duration, text: &[u8]) -> Reply {
        match tokio::time::timeout(patience, self.members(text)).await {
            Ok(Ok(members)) => members,
            Ok(Err(error)) => lookup_failed(&error),
            Err(_) => unavailable(),
        }
    }
}

/// The members of a list, one a line.
fn listed(world: &World, maps: &TransactionMaps, text: &[u8], expansion: &Expansion) -> Reply {
    let mut lines = BTreeSet::new();
    for recipient in &expansion.recipients {
        if let Some(refused) = refused(recipient) {
            // What stands in the list of a user is told to nobody.
            let is_private = recipient.list_owner.is_some() && recipient.place.is_some();
            let member = if is_private { text } else { &recipient.address };
            return named(member, refused);
        }
        if recipient.state == State::Deliver {
            let user = shown(&recipient.triple.user);
            lines.insert(if user.contains('@') || user.starts_with(['/', '|']) {
                format!("<{user}>")
            } else {
                full_name(world, maps, &user)
            });
        }
    }
    if lines.is_empty() {
        return reply(554, (5, 5, 2), "Nothing to EXPN");
    }
    Reply {
        code: 250,
        status: Some(Status::new(2, 1, 5)),
        lines: lines.into_iter().take(MAX_EXPANDED).collect(),
    }
}

/// `Full Name <user@host>`.
fn full_name(world: &World, maps: &TransactionMaps, user: &str) -> String {
    let host = &world.site.host_name;
    let gecos = match maps.users.get(user) {
        Ok(Some(found)) => found.full_name(),
        _ => String::new(),
    };
    if gecos.is_empty() {
        return format!("<{user}@{host}>");
    }
    format!("{gecos} <{user}@{host}>")
}

/// VRFY and EXPN name who is refused, where the code is one that RCPT names him with.
fn named(text: &[u8], mut reply: Reply) -> Reply {
    if let (450 | 550 | 553, Some(first)) = (reply.code, reply.lines.first_mut()) {
        *first = format!("{}... {first}", shown(text));
    }
    reply
}

/// The reply to an `error:` triple: its host is the status, its user the text.
fn refusal(host: &[u8], user: &[u8]) -> Reply {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Refusal::new(&text(host), &text(user)).reply()
}

/// The reply to a recipient whom the expansion refuses: that of its `error:` where it has one, which
/// may be temporary.
fn refused(recipient: &Recipient) -> Option<Reply> {
    let triple = &recipient.triple;
    let why = match &recipient.state {
        State::Unknown | State::Refused(_) if triple.is_error() => {
            return Some(refusal(&triple.host, &triple.user));
        }
        State::Unknown => return Some(reply(550, (5, 1, 1), "User unknown")),
        State::Refused(why) => why,
        _ => return None,
    };
    Some(if why.starts_with("Cannot mail directly to") {
        reply(550, (5, 7, 1), why)
    } else if why.contains("loop broken") {
        reply(554, (5, 4, 6), "aliasing/forwarding loop broken")
    } else {
        Refusal::new("", why).reply()
    })
}

fn lookup_failed(error: &LookupError) -> Reply {
    match error {
        LookupError::Loop { .. } => reply(554, (5, 4, 6), "aliasing/forwarding loop broken"),
        _ => unavailable(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Arc;

    use libmaps::store::disk::System;

    use super::*;
    use crate::consult::ClientLoad;
    use crate::session::{Peer, Resolve};

    /// A consultant of a client with this address.
    fn consultant(world: &Arc<World>, addr: &str) -> Consultant {
        let peer = Peer::nameless(addr.parse().unwrap(), 4000, Resolve::Fail);
        let daemon = Arc::clone(&world.daemons[0]);
        let load = ClientLoad::default();
        Consultant::new(Arc::clone(world), daemon, Arc::new(peer), load)
    }

    #[tokio::test]
    async fn expn_that_waits_for_a_name_keeps_nobody_else_waiting() {
        let root = tempfile::tempdir().unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
        let conf = format!("nameserver [127.0.0.1]:{port}\noptions timeout:30 attempts:1\n");
        std::fs::write(root.path().join("etc/resolv.conf"), conf).unwrap();
        let switch = root.path().join("etc/mail/service.switch");
        std::fs::write(switch, "hosts files dns\n").unwrap();
        let world = World::of_test(root.path(), Arc::new(System));
        let mut slow = consultant(&world, "192.0.2.1");
        let mut other = consultant(&world, "192.0.2.2");
        let reply = tokio::select! {
            biased;
            reply = slow.expand(b"x@silent.example") => panic!("{reply}"),
            reply = other.expand(b"ann") => reply,
        };
        assert!(
            reply
                .to_string()
                .starts_with("250 2.1.5 <ann@mx.test.example>"),
            "{reply}"
        );
        // And it has an end.
        let reply = slow
            .expand_within(Duration::ZERO, b"x@silent.example")
            .await;
        assert!(reply.to_string().starts_with("451 4.3.0 "), "{reply}");
    }
}
