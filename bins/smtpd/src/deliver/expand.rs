//! From recipients to copies: aliases, owners, includes and `.forward` files.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use libmaps::address::in_brackets;
use libmaps::decision::LookupError;
use libmaps::policy::expand::{Expander, Expansion, Recipient, State};
use libmaps::policy::facts::Facts;
use libmaps::policy::route::MailerTriple;
use libmaps::site::model::options::PrivacyFlag;
use libmaps::site::users::User;
use libmaps::tokens::strip_quotes;

use crate::aside::aside;
use crate::consult::{Certainty, facts_of, with_names};
use crate::log::Level;
use crate::maps::Snapshot;
use crate::queue::{Envelope, Expanded, KeptName, Octets, Progress, QueuedTarget, RoutedBy};
use crate::resolver::Asker;
use crate::world::World;

use super::batch::Targets;
use super::forward::forward;
use super::forward_file::ForwardList;
use super::include_file::ServerIncludes;
use super::known::{Known, Means, is_user, runs_as};
use super::outcome::for_now;
use super::refusal;
use super::reroute::{Rerouted, reroute};

/// After so many recipients others get their turn.
pub(super) const YIELD_EVERY: usize = 200;

/// Targets that are not tried this time: whether they forward can't be told now.
pub(super) type Held = HashSet<usize>;

/// What an attempt has before it.
pub(super) struct Ready {
    /// Targets that are not tried this time.
    pub(super) held: Held,
    pub(super) targets: Targets,
}

/// How many targets are known, and how many recipients have theirs still to be found.
fn counts(envelope: &Envelope) -> (usize, usize) {
    let open = envelope.recipients.iter();
    let open = open.filter(|r| r.expanded == Expanded::No);
    (envelope.targets.len(), open.count())
}

/// Routes anew what waits for other hosts since an earlier attempt, and expands every recipient
/// that was not. One whose tables can't be read waits.
pub(super) async fn expand(world: &Arc<World>, envelope: &mut Envelope) -> Ready {
    let snapshot = world.snapshot();
    let before = counts(envelope);
    let Rerouted {
        mut several,
        mut held,
        mut targets,
    } = reroute(world, &snapshot, envelope).await;
    let mut known = Known::of(world, envelope);
    // SoftBounce: nothing fails for good.
    let is_soft = world.site.options.delivery.soft_bounce;
    for at in 0..envelope.recipients.len() {
        if at % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        let Some(recipient) = envelope.recipients.get(at) else {
            break;
        };
        if recipient.expanded != Expanded::No {
            continue;
        }
        let address = recipient.address.0.clone();
        let what = Asked {
            what: What::Recipient(&recipient.address.0, &recipient.names),
            daemon_flags: &envelope.daemon_flags,
        };
        let expanded = match expansion(world, &snapshot, what).await {
            Ok(Expansion { errors, .. }) if is_soft && !errors.is_empty() => {
                let shown = String::from_utf8_lossy(&address);
                let why = errors.join("; ");
                let text = format!("to=<{shown}>, dsn=4.2.4, stat=Deferred: {why}");
                world.log.about(Level::Warning, &envelope.id, &text);
                note_why(envelope, at, why);
                continue;
            }
            Ok(Expansion { errors, .. }) if !errors.is_empty() => Expanded::Failed {
                status: "5.2.4".into(),
                text: format!(
                    "{}... {}",
                    String::from_utf8_lossy(&address),
                    errors.join("; ")
                ),
            },
            Ok(expansion) if is_nobody(&expansion) && envelope.tries <= 1 => {
                let shown = String::from_utf8_lossy(&address);
                let why = "a list without members";
                let text = format!("to=<{shown}>, dsn=4.2.4, stat=Deferred: {why}");
                world.log.about(Level::Warning, &envelope.id, &text);
                note_why(envelope, at, why.into());
                continue;
            }
            Ok(expansion) => {
                if is_nobody(&expansion) {
                    let shown = String::from_utf8_lossy(&address);
                    let text = format!("to=<{shown}>, stat=a list without members: nobody gets it");
                    world.log.about(Level::Warning, &envelope.id, &text);
                }
                let taken = aside(|| take(world, envelope, &mut known, at, &expansion));
                let Some((expanded, becomes)) = taken else {
                    continue;
                };
                if becomes == Becomes::Several {
                    several.push(at);
                }
                expanded
            }
            Err(error) => {
                let shown = String::from_utf8_lossy(&address);
                let (level, text, why) = match error {
                    Unexpanded::Lookup(error) => {
                        let why = error.to_string();
                        let text = format!("to={shown}, stat=Deferred: {why}");
                        (Level::Error, text, why)
                    }
                    Unexpanded::NameServerDown => {
                        let host = shown.rsplit_once('@').map_or("", |(_, host)| host);
                        let why = format!("Name server: {host}: host name lookup failure");
                        let text = format!("to=<{shown}>, dsn=4.4.3, stat=Deferred: {why}");
                        (Level::Info, text, why)
                    }
                };
                world.log.about(level, &envelope.id, &text);
                note_why(envelope, at, why);
                continue;
            }
        };
        if let Some(recipient) = envelope.recipients.get_mut(at) {
            if let Expanded::Failed { status, text } = &expanded {
                let line = format!(
                    "to=<{}>, dsn={status}, stat={text}",
                    recipient.address.shown()
                );
                world.log.about(Level::Info, &envelope.id, &line);
            }
            recipient.expanded = expanded;
            recipient.last.clear();
        }
    }
    let forwarded = forward(world, &snapshot, envelope, &mut known).await;
    several.extend(forwarded.several);
    mark_lists(world, envelope, &several);
    held.extend(forwarded.held);
    if before != counts(envelope) {
        targets = Targets::New;
    }
    Ready { held, targets }
}

/// Keeps why a recipient waits, for those who look at the queue.
fn note_why(envelope: &mut Envelope, at: usize, why: String) {
    if let Some(recipient) = envelope.recipients.get_mut(at) {
        recipient.last = why;
    }
}

/// Whether an address became nobody, not even one who can't be reached. A list may be so for
/// the moment in which it is written anew.
pub(super) fn is_nobody(expansion: &Expansion) -> bool {
    let is_somebody = |r: &Recipient| {
        let state = &r.state;
        matches!(state, State::Deliver | State::Unknown | State::Refused(_))
    };
    !expansion.recipients.iter().any(is_somebody)
}

/// What an address became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    One,
    /// Several, or a list with an owner.
    Several,
}

/// Takes what a recipient came to into the envelope; `None` where it must wait.
fn take(
    world: &World,
    envelope: &mut Envelope,
    known: &mut Known,
    at: usize,
    expansion: &Expansion,
) -> Option<(Expanded, Becomes)> {
    let failures = failures(world, expansion);
    add_targets(
        world,
        envelope,
        known,
        at,
        expansion,
        &failures,
        &Via::default(),
    );
    let mut waits = None;
    for failure in failures.iter().filter(|failure| failure.is_temporary()) {
        let (status, (who, why)) = (&failure.status, failure.parts());
        let line = format!("to={who}, dsn={status}, stat=Deferred: {why}");
        world.log.about(Level::Info, &envelope.id, &line);
        waits.get_or_insert(why);
    }
    if let Some(why) = waits {
        note_why(envelope, at, why.to_owned());
        return None;
    }
    let becomes = match is_list(expansion, &failures) {
        true => Becomes::Several,
        false => Becomes::One,
    };
    let has_owner = expansion.recipients.iter().any(|r| r.owner.is_some());
    let expanded = match (failures.as_slice(), expansion.deliver().is_empty()) {
        // The recipient himself. Of a member of a list with an owner the owner hears.
        ([only], true) if !has_owner => only.expanded(),
        _ => {
            add_failures(world, envelope, at, expansion, &failures, &Via::default());
            Expanded::Yes
        }
    };
    Some((expanded, becomes))
}

/// Whether an address became several, or a list with an owner.
pub(super) fn is_list(expansion: &Expansion, failures: &[Failure]) -> bool {
    expansion.deliver().len() + failures.len() > 1
        || expansion.recipients.iter().any(|r| r.owner.is_some())
}

/// Marks the recipients that became lists and whose sender wants to know of success.
fn mark_lists(world: &World, envelope: &mut Envelope, lists: &[usize]) {
    let privacy = world.site.options.greeting.privacy;
    if envelope.sender.0.is_empty() || privacy.has(PrivacyFlag::NoReceipts) {
        return;
    }
    for at in lists {
        if let Some(recipient) = envelope.recipients.get_mut(*at)
            && recipient.expanded == Expanded::Yes
            && recipient.notify.is_some_and(|n| n.success)
        {
            recipient.expanded = Expanded::List { told: false };
        }
    }
}

/// What is to be expanded.
pub(super) struct Asked<'a> {
    pub(super) what: What<'a>,
    /// Of the listener that took the message.
    pub(super) daemon_flags: &'a str,
}

#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// A recipient, with the names of hosts that he was accepted by.
    Recipient(&'a [u8], &'a [KeptName]),
    /// The list of a user.
    List(&'a ForwardList, &'a User),
    /// An address, as it was written.
    Address(&'a [u8]),
}

/// Why it can't be expanded now.
pub(super) enum Unexpanded {
    Lookup(LookupError),
    /// Whether the recipient's own host has another name, here perhaps, can't be told.
    NameServerDown,
}

impl Display for Unexpanded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Unexpanded::Lookup(error) => error.fmt(f),
            Unexpanded::NameServerDown => f.write_str("host name lookup failure"),
        }
    }
}

/// Expands a recipient, or the list of a user.
pub(super) async fn expansion(
    world: &Arc<World>,
    snapshot: &Snapshot,
    asked: Asked<'_>,
) -> Result<Expansion, Unexpanded> {
    let mut facts = match asked.what {
        What::Recipient(_, names) => facts_of(names),
        What::List(..) | What::Address(_) => facts_of(&[]),
    };
    let (expanded, certainty) = expansion_by(world, snapshot, &asked, &mut facts).await;
    // Members of a list don't wait for one whose name servers are down, and FallbackMXhost is
    // there for just this.
    if let (Certainty::NameServerDown, What::Recipient(address, _)) = (certainty, asked.what) {
        let (_, own) = with_names(world, &Asker::Ours, &mut facts, |names| {
            let addressing = snapshot.addressing(names, asked.daemon_flags);
            addressing.route(&in_brackets(address)).is_ok()
        })
        .await;
        let fallback = &world.site.options.delivery.fallback_mx;
        if own.certainty == Certainty::NameServerDown && fallback.is_empty() {
            return Err(Unexpanded::NameServerDown);
        }
    }
    expanded.map_err(Unexpanded::Lookup)
}

/// Expands with the names of hosts that are known, and adds those that it took.
pub(super) async fn expansion_by(
    world: &Arc<World>,
    snapshot: &Snapshot,
    Asked { what, daemon_flags }: &Asked<'_>,
    facts: &mut Facts,
) -> (Result<Expansion, LookupError>, Certainty) {
    let aliases = snapshot.alias_table();
    let (expanded, used) = with_names(world, &Asker::Ours, facts, |names| {
        let expander = Expander {
            addressing: snapshot.addressing(names, daemon_flags),
            aliases: &aliases,
            users: &world.users,
            includes: &ServerIncludes { site: &world.site },
        };
        // A list of 100,000 takes a while, and sessions are not to wait for it.
        aside(|| match what {
            // As one address, which is how RCPT took it.
            What::Recipient(address, _) => expander.expand_one(&in_brackets(address)),
            What::List(list, user) => expander.expand_for(user, &list.path, &list.text, list.trust),
            What::Address(address) => expander.expand_one(address),
        })
    })
    .await;
    (expanded, used.certainty)
}

/// An address of an expansion that comes to nothing.
pub(super) struct Failure {
    /// Its number in the expansion.
    pub(super) at: usize,
    pub(super) status: String,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn is_temporary(&self) -> bool {
        self.status.starts_with('4')
    }

    /// Who is not reached, and why.
    pub(super) fn parts(&self) -> (&str, &str) {
        let text = self.text.as_str();
        text.split_once("... ").unwrap_or((text, text))
    }

    fn expanded(&self) -> Expanded {
        Expanded::Failed {
            status: self.status.clone(),
            text: self.text.clone(),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress::Failed {
            status: self.status.clone(),
            text: self.text.clone(),
        }
    }
}

/// The addresses that come to nothing; with SoftBounce only for now.
pub(super) fn failures(world: &World, expansion: &Expansion) -> Vec<Failure> {
    let is_soft = world.site.options.delivery.soft_bounce;
    let failed = |(at, r): (usize, &Recipient)| {
        let (status, why) = match &r.state {
            State::Unknown => ("5.1.1".to_owned(), "User unknown"),
            State::Refused(why) => (refusal::status_of(&r.triple, why), why.as_str()),
            _ => return None,
        };
        Some(Failure {
            at,
            status: match is_soft {
                true => for_now(&status),
                false => status,
            },
            text: match r.place.as_ref().filter(|_| is_private(expansion, r)) {
                Some(place) => {
                    let why = if r.triple.is_error() { "refused" } else { why };
                    format!("{}: line {}... {why}", place.path, place.line)
                }
                None => format!("{r}... {why}"),
            },
        })
    };
    let recipients = expansion.recipients.iter().enumerate();
    recipients.filter_map(failed).collect()
}

/// Whether it stands in a list of a user, whose lines are told to nobody. His `.forward` file
/// stands for him.
fn is_private(expansion: &Expansion, recipient: &Recipient) -> bool {
    recipient.list_owner.is_some()
        && recipient.place.is_some()
        && !expansion.is_in_own_list(recipient)
}

/// Whose `.forward` file gave the addresses, if it was one.
#[derive(Default)]
pub(super) struct Via {
    /// The user.
    pub(super) controller: Option<String>,
    /// The sender of the copy that is forwarded, where that is the owner of a list.
    pub(super) owner: Option<Octets>,
}

/// Notes the members that come to nothing, as copies that failed, and in the log.
pub(super) fn add_failures(
    world: &World,
    envelope: &mut Envelope,
    recipient: usize,
    expansion: &Expansion,
    failures: &[Failure],
    via: &Via,
) {
    for failure in failures {
        let (status, (who, why)) = (&failure.status, failure.parts());
        let line = format!("to={who}, dsn={status}, stat={why}");
        world.log.about(Level::Info, &envelope.id, &line);
        let Some(found) = expansion.recipients.get(failure.at) else {
            continue;
        };
        let user = match envelope.recipients.get(recipient) {
            Some(listed) if is_private(expansion, found) => listed.address.clone(),
            _ => Octets::from(found.address.as_slice()),
        };
        envelope.targets.push(QueuedTarget {
            recipient,
            mailer: "error".into(),
            user,
            owner: owner_for(envelope, expansion, found.from).or_else(|| via.owner.clone()),
            progress: failure.progress(),
            ..QueuedTarget::default()
        });
    }
}

/// Adds the copies of an expansion, each once in a message.
pub(super) fn add_targets(
    world: &World,
    envelope: &mut Envelope,
    known: &mut Known,
    recipient: usize,
    expansion: &Expansion,
    failures: &[Failure],
    via: &Via,
) {
    let is_lone = via.controller.is_none() && !is_list(expansion, failures);
    let shared = triples(expansion, |r| r.state == State::Duplicate);
    let led_to = triples(expansion, |r| {
        let counts = matches!(r.state, State::Deliver | State::Duplicate);
        counts && is_user(&r.address, &Octets(plain_user(world, &r.triple)))
    });
    for found in expansion
        .recipients
        .iter()
        .filter(|r| r.state == State::Deliver)
    {
        let triple = &found.triple;
        let lists = found.controller.as_deref().map(str::to_owned);
        let user = Octets(plain_user(world, triple));
        let routed_by = match () {
            () if is_lone => RoutedBy::Recipient,
            () if led_to.contains(triple) => RoutedBy::User,
            () if shared.contains(triple) => RoutedBy::Shared,
            () => RoutedBy::Address(Octets::from(found.address.as_slice())),
        };
        let written = match (&routed_by, envelope.recipients.get(recipient)) {
            (RoutedBy::Recipient, Some(r)) if is_user(&found.address, &r.address) => None,
            (RoutedBy::User | RoutedBy::Address(_), _) => None,
            _ => Some(Octets::from(found.address.as_slice())),
        };
        let target = QueuedTarget {
            recipient,
            mailer: triple.mailer.clone(),
            host: Octets::from(triple.host.as_slice()),
            owner: owner_for(envelope, expansion, found.from).or_else(|| via.owner.clone()),
            controller: match runs_as(&triple.mailer) {
                true => lists,
                // His file is not obeyed, as if it had been.
                false if is_mailbox(world, triple) => Some(user.shown()),
                false => via.controller.clone(),
            },
            user,
            routed_by,
            written,
            ..QueuedTarget::default()
        };
        if led_to.contains(triple) {
            known.note_led_to(&target);
        }
        // Of his own mailbox a user's list has said so by itself.
        let is_own = via.controller.as_deref() == Some(target.user.shown().as_str());
        if target.mailer == world.site.mailers.local && !is_own {
            let means = match is_mailbox(world, triple) {
                true => Means::Mailbox,
                false => Means::User,
            };
            known.add_local(envelope, target, means);
        } else {
            known.add(envelope, target);
        }
    }
}

/// The triples of these recipients of an expansion.
fn triples(expansion: &Expansion, wanted: impl Fn(&Recipient) -> bool) -> HashSet<&MailerTriple> {
    let found = expansion.recipients.iter();
    found.filter(|r| wanted(r)).map(|r| &r.triple).collect()
}

/// The user, file or command of a triple, as its mailer is given it: without quotes and
/// backslashes where it has flag `s`, as those that deliver here have.
pub(super) fn plain_user(world: &World, triple: &MailerTriple) -> Vec<u8> {
    let mailer = world.site.mailers.get(&triple.mailer);
    match mailer.is_some_and(|mailer| mailer.has('s')) {
        true => strip_quotes(&triple.user).into_owned(),
        false => triple.user.clone(),
    }
}

/// Whether a triple is a user's mailbox, whatever his `.forward` says: `\name`, as an alias or a
/// client writes it.
pub(super) fn is_mailbox(world: &World, triple: &MailerTriple) -> bool {
    triple.mailer == world.site.mailers.local && triple.user.contains(&b'\\')
}

/// The owner of the nearest alias on the way that has one, who becomes the sender; the
/// null sender stays what it is (RFC 5321 section 4.5.5), so that no notice goes round
/// between lists and their owners.
fn owner_for(envelope: &Envelope, expansion: &Expansion, from: Option<usize>) -> Option<Octets> {
    if envelope.sender.0.is_empty() {
        return None;
    }
    owner_of(expansion, from)
}

fn owner_of(expansion: &Expansion, mut from: Option<usize>) -> Option<Octets> {
    while let Some(at) = from {
        let parent = expansion.recipients.get(at)?;
        if let Some(owner) = &parent.owner {
            return Some(Octets::from(owner.as_slice()));
        }
        from = parent.from;
    }
    None
}
