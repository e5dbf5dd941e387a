//! From recipients to copies: aliases, owners, includes and `.forward` files.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmaps::decision::LookupError;
use libmaps::policy::expand::include::SiteIncludes;
use libmaps::policy::expand::{Expander, Expansion, Recipient, State};
use libmaps::policy::facts::Facts;
use libmaps::policy::route::MailerTriple;
use libmaps::policy::route::canonify::Addressing;
use libmaps::site::model::options::PrivacyFlag;
use libmaps::site::users::User;

use crate::agent::{self, Reply, Request};
use crate::consult::with_names;
use crate::log::Level;
use crate::maps::Snapshot;
use crate::queue::{Envelope, Expanded, Octets, Progress, QueuedTarget};
use crate::world::World;

/// Largest `.forward` file.
const MAX_FORWARD_OCTETS: u64 = 256 * 1024;
/// Most users whose `.forward` files one message goes through.
const MAX_FORWARDS: usize = 1000;

/// Expands every recipient that was not. One whose tables can't be read waits.
pub(super) async fn expand(world: &Arc<World>, envelope: &mut Envelope) {
    let snapshot = world.snapshot();
    let mut several = Vec::new();
    for at in 0..envelope.recipients.len() {
        let Some(recipient) = envelope.recipients.get(at) else {
            break;
        };
        if recipient.expanded != Expanded::No {
            continue;
        }
        let address = recipient.address.0.clone();
        let expanded = match expansion(world, &snapshot, &address).await {
            Ok(expansion) => {
                let failures = failures(&expansion);
                add_targets(envelope, at, &expansion, &Via::default());
                if failures.iter().any(Failure::is_temporary) {
                    continue;
                }
                if is_list(&expansion, &failures) {
                    several.push(at);
                }
                match (failures.as_slice(), expansion.deliver().is_empty()) {
                    // The recipient himself.
                    ([only], true) => only.expanded(),
                    _ => {
                        for failure in &failures {
                            let Failure { status, text, .. } = failure;
                            let (who, why) = text.split_once("... ").unwrap_or((text, text));
                            let line = format!("to={who}, dsn={status}, stat={why}");
                            world.log.about(Level::Info, &envelope.id, &line);
                        }
                        add_failures(envelope, at, &expansion, &failures, &Via::default());
                        Expanded::Yes
                    }
                }
            }
            Err(error) => {
                let text = format!(
                    "to={}, stat=Deferred: {error}",
                    String::from_utf8_lossy(&address)
                );
                world.log.about(Level::Error, &envelope.id, &text);
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
        }
    }
    several.extend(forward(world, &snapshot, envelope).await);
    mark_lists(world, envelope, &several);
}

/// Whether an address became several, or a list with an owner.
fn is_list(expansion: &Expansion, failures: &[Failure]) -> bool {
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

async fn expansion(
    world: &Arc<World>,
    snapshot: &Snapshot,
    address: &[u8],
) -> Result<Expansion, LookupError> {
    let aliases = snapshot.alias_table()?;
    let mut facts = Facts::new();
    let (expanded, _) = with_names(world, &mut facts, |names| {
        let expander = Expander {
            addressing: Addressing {
                site: &world.site,
                tables: &snapshot.routes,
                names,
                daemon_flags: "",
            },
            aliases: &aliases,
            users: &world.users,
            includes: &SiteIncludes { site: &world.site },
        };
        expander.expand(address)
    })
    .await;
    expanded
}

/// An address of an expansion that comes to nothing.
struct Failure {
    /// Its number in the expansion.
    at: usize,
    status: String,
    text: String,
}

impl Failure {
    fn is_temporary(&self) -> bool {
        self.status.starts_with('4')
    }

    fn expanded(&self) -> Expanded {
        Expanded::Failed {
            status: self.status.clone(),
            text: self.text.clone(),
        }
    }

    fn progress(&self) -> Progress {
        Progress::Failed {
            status: self.status.clone(),
            text: self.text.clone(),
        }
    }
}

/// The addresses that come to nothing.
fn failures(expansion: &Expansion) -> Vec<Failure> {
    let failed = |(at, r): (usize, &Recipient)| {
        let (status, why) = match &r.state {
            State::Unknown => ("5.1.1".to_owned(), "User unknown"),
            State::Refused(why) => (refused_status(r, why), why.as_str()),
            _ => return None,
        };
        Some(Failure {
            at,
            status,
            text: format!("{r}... {why}"),
        })
    };
    let recipients = expansion.recipients.iter().enumerate();
    recipients.filter_map(failed).collect()
}

/// The status of a refusal: what the error mailer was given, else what the words say.
fn refused_status(recipient: &Recipient, why: &str) -> String {
    let given = recipient.triple.host.to_ascii_lowercase();
    let given = String::from_utf8_lossy(&given);
    let is_status = given.starts_with(['4', '5']) && given.matches('.').count() == 2;
    match &*given {
        given if recipient.triple.is_error() && is_status => given.into(),
        "tempfail" if recipient.triple.is_error() => "4.0.0".into(),
        _ if why.contains("loop") => "5.4.6".into(),
        _ => "5.1.3".into(),
    }
}

/// Whose `.forward` file gave the addresses, if it was one.
#[derive(Default)]
struct Via {
    /// The user.
    controller: Option<String>,
    /// The sender of the copy that is forwarded, where that is the owner of a list.
    owner: Option<Octets>,
}

/// Notes the members that come to nothing, as copies that failed.
fn add_failures(
    envelope: &mut Envelope,
    recipient: usize,
    expansion: &Expansion,
    failures: &[Failure],
    via: &Via,
) {
    for failure in failures {
        let Some(found) = expansion.recipients.get(failure.at) else {
            continue;
        };
        envelope.targets.push(QueuedTarget {
            recipient,
            mailer: "error".into(),
            user: Octets::from(found.address.as_slice()),
            owner: owner_for(envelope, expansion, found.from).or_else(|| via.owner.clone()),
            progress: failure.progress(),
            ..QueuedTarget::default()
        });
    }
}

/// Adds the copies of an expansion, each triple once in a message.
fn add_targets(envelope: &mut Envelope, recipient: usize, expansion: &Expansion, via: &Via) {
    let known: HashSet<(String, Octets, Octets)> = envelope
        .targets
        .iter()
        .map(|t| (t.mailer.clone(), t.host.clone(), t.user.clone()))
        .collect();
    let mut known = known;
    for found in expansion
        .recipients
        .iter()
        .filter(|r| r.state == State::Deliver)
    {
        let triple = &found.triple;
        let host = Octets::from(triple.host.as_slice());
        let user = Octets(plain_user(&triple.user));
        if !known.insert((triple.mailer.clone(), host.clone(), user.clone())) {
            continue;
        }
        envelope.targets.push(QueuedTarget {
            recipient,
            mailer: triple.mailer.clone(),
            host,
            user,
            owner: owner_for(envelope, expansion, found.from).or_else(|| via.owner.clone()),
            controller: via.controller.clone(),
            ..QueuedTarget::default()
        });
    }
}

/// The user, file or command of a triple without what only keeps the rules off it: quotes
/// around it, and a backslash before a name.
fn plain_user(user: &[u8]) -> Vec<u8> {
    let quoted = user
        .strip_prefix(b"\"")
        .and_then(|inner| inner.strip_suffix(b"\""));
    let Some(inner) = quoted else {
        return user.strip_prefix(b"\\").unwrap_or(user).to_vec();
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut octets = inner.iter();
    while let Some(&octet) = octets.next() {
        match (octet, octets.as_slice().first()) {
            (b'\\', Some(&next)) => {
                octets.next();
                out.push(next);
            }
            _ => out.push(octet),
        }
    }
    out
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

/// Replaces copies for users who forward their mail; the recipients that became several.
async fn forward(world: &Arc<World>, snapshot: &Snapshot, envelope: &mut Envelope) -> Vec<usize> {
    let mut several = Vec::new();
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    // Users whose copies went on to others: they get nothing themselves.
    let mut passed_on: HashSet<Vec<u8>> = HashSet::new();
    let mut at = 0;
    while at < envelope.targets.len() && seen.len() < MAX_FORWARDS {
        let this = at;
        at += 1;
        let Some(target) = envelope.targets.get(this) else {
            break;
        };
        let local = target.mailer == world.site.mailers.local;
        let name = target.user.shown();
        // One whose own file was obeyed before.
        let kept = target.controller.as_deref() == Some(name.as_str());
        if !local || target.progress != Progress::Waiting || kept {
            continue;
        }
        if !seen.insert(target.user.0.clone()) {
            continue;
        }
        let (recipient, detail) = (target.recipient, target.host.shown());
        let via = Via {
            controller: Some(name.clone()),
            owner: target.owner.clone(),
        };
        let Ok(Some(user)) = world.users.get(&name) else {
            continue;
        };
        let list = match forward_list(world, &user, &detail) {
            Ok(Some(list)) => list,
            Ok(None) => continue,
            Err(why) => {
                world.log.about(Level::Warning, &envelope.id, &why);
                continue;
            }
        };
        let Ok(expansion) = expansion(world, snapshot, &list).await else {
            continue;
        };
        let is_local = |triple: &MailerTriple| triple.mailer == world.site.mailers.local;
        let deliver = expansion.deliver();
        // `\name` or the user himself means: the mailbox too. And where all others have
        // passed it on already, a loop ends here.
        let keeps = deliver
            .iter()
            .any(|t| is_local(t) && plain_user(&t.user) == name.as_bytes())
            || (!deliver.is_empty()
                && deliver
                    .iter()
                    .all(|t| is_local(t) && passed_on.contains(&plain_user(&t.user))));
        let failures = failures(&expansion);
        if expansion.deliver().is_empty() && failures.is_empty() {
            // It names nobody: the mailbox it is.
            continue;
        }
        if let Some(failure) = failures.first()
            && expansion.deliver().is_empty()
        {
            if let Some(target) = envelope.targets.get_mut(this)
                && !failure.is_temporary()
            {
                target.progress = failure.progress();
            }
            continue;
        }
        add_failures(envelope, recipient, &expansion, &failures, &via);
        if let Some(target) = envelope.targets.get_mut(this) {
            if keeps {
                target.controller = Some(name.clone());
            } else {
                passed_on.insert(target.user.0.clone());
                target.progress = Progress::Done;
            }
        }
        if is_list(&expansion, &failures) {
            several.push(recipient);
        }
        add_targets(envelope, recipient, &expansion, &via);
    }
    several
}

/// The list in the user's first `.forward` file that is there and can be trusted.
fn forward_list(world: &World, user: &User, detail: &str) -> Result<Option<Vec<u8>>, String> {
    for pattern in world.site.options.files.forward_path.split(':') {
        let home = user.home.to_string_lossy();
        let value = |name: &str| match name {
            "z" => Some(home.as_ref()),
            "u" => Some(user.name.as_str()),
            "h" => Some(detail),
            "w" => Some(world.site.short_name.as_str()),
            _ => None,
        };
        let path = crate::macros::expand(pattern, &value);
        if path.is_empty() || path.contains("..") {
            continue;
        }
        let path: PathBuf = world.site.below(Path::new(&path));
        if let Some(text) = read_forward(&path, user)? {
            return Ok(Some(one_list(&text)));
        }
    }
    Ok(None)
}

/// Reads the file with the rights at hand: ours, or by the agent the user's.
fn read_forward(path: &Path, user: &User) -> Result<Option<Vec<u8>>, String> {
    let Some(agent) = agent::running() else {
        return read_trusted(path, user.uid);
    };
    let request = Request::Forward {
        path: path.into(),
        uid: user.uid,
        gid: user.gid,
    };
    match agent.run(&request, |_| Ok(())) {
        Ok(Reply::File(text)) => Ok(text),
        Ok(Reply::Refused(why)) => Err(why),
        Ok(Reply::Ended(_)) => Err("the agent did not understand".into()),
        Err(error) => Err(format!("agent: {error}")),
    }
}

/// A regular file that only its user (or root) can have written; `Ok(None)` if there is none.
///
/// # Errors
/// Why it is not trusted, or can't be read.
pub(crate) fn read_trusted(path: &Path, uid: u32) -> Result<Option<Vec<u8>>, String> {
    let shown = path.display();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let Ok(file) = opened else {
        return Ok(None);
    };
    let metadata = file
        .metadata()
        .map_err(|e| format!("forward {shown}: {e}"))?;
    if !metadata.is_file() {
        return Err(format!("forward {shown}: not a regular file"));
    }
    if metadata.uid() != uid && metadata.uid() != 0 {
        return Err(format!("forward {shown}: owned by somebody else"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!("forward {shown}: group or world writable"));
    }
    let mut text = Vec::new();
    file.take(MAX_FORWARD_OCTETS)
        .read_to_end(&mut text)
        .map_err(|e| format!("forward {shown}: {e}"))?;
    Ok(Some(text))
}

/// Lines with addresses, comments left out, as one list.
fn one_list(text: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = text
        .split(|c| *c == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .collect();
    lines.join(&b", "[..])
}
