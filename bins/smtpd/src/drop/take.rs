//! From a dropped file to a message of the queue.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use libmaps::policy::rewrite::AddressRole;
use libmaps::site::model::options::PrivacyFlag;

use super::file::{DropFault, Dropped, open};
use super::submission::{Faulty, Sender, SetBy, Submission};
use super::submitter::{Submitter, local_user, qualified};
use super::{DropId, Submit, display};
use crate::clock::{Civil, now_unix};
use crate::connection::RECEIVED;
use crate::consult::local_form;
use crate::header::{HeaderFilter, Stamp, Summary};
use crate::log::{self, Level};
use crate::macros;
use crate::queue::{Body, Envelope, Expanded, Octets, QueuedRecipient, Spool};
use crate::resolver::Asker;
use crate::session::LineCheck;
use crate::world::World;

/// Octets read at once.
const PIECE_OCTETS: usize = 64 * 1024;

/// Makes the queue hold the message of a dropped file, without letting it be tried.
///
/// # Errors
/// Why it is not taken. Of a message that the sender has to be told of the queue then holds
/// an envelope whose recipients have all failed; of any other nothing.
pub(super) async fn take(
    world: &Arc<World>,
    submit: &Submit,
    folder: &Path,
    id: &DropId,
) -> Result<(), DropFault> {
    let dropped = open(&id.complete(folder))?;
    let submitter = Submitter::of(&world.users, dropped.uid)?;
    let stamp = stamp(world, submit, id, &dropped, &submitter).await;
    let (submission, written) = (dropped.submission.clone(), now_unix());
    let spool = world.queue.spool(id.as_str());
    let limit = world.site.options.limits.max_message_octets.0;
    let filter = HeaderFilter::new(stamp.clone()).with_precedences(&world.site.precedences);
    let stored = tokio::task::spawn_blocking(move || store(dropped, filter, spool, limit));
    let stored = stored.await.map_err(std::io::Error::other)?;
    let (body, octets, summary) = match stored {
        Ok(stored) => stored,
        Err(fault) => {
            if let Some(status) = status_of(&fault) {
                let envelope = envelope(world, id, &submission, &submitter, 0, written);
                send_back(world, stamp, envelope, status, &fault).await?;
            }
            return Err(fault);
        }
    };
    let envelope = envelope(world, id, &submission, &submitter, octets, written);
    let mut envelope = Envelope {
        hops: summary.hops.saturating_add(submission.hops),
        class: summary.class,
        urgency: summary.urgency,
        ..envelope
    };
    let schedule = &world.schedule;
    envelope.due_unix = schedule.first(envelope.created_unix);
    envelope.rank = schedule.rank(&envelope);
    let text = format!(
        "from={}, size={octets}, class={}, nrcpts={}, msgid={}, relay={}",
        log::sender(&envelope.sender.shown()),
        summary.class,
        envelope.recipients.len(),
        log::message_id(&summary.message_id),
        envelope.relay
    );
    let added = world.queue.add_held_back(envelope, body).await;
    added.map_err(std::io::Error::other)?;
    world.log.about(Level::Info, id.as_str(), &text);
    for Faulty {
        address,
        status,
        text,
        ..
    } in &submission.faulty
    {
        let line = format!("to=<{}>, dsn={status}, stat={text}", address.shown());
        world.log.about(Level::Info, id.as_str(), &line);
    }
    Ok(())
}

/// The enhanced status code (RFC 3463) of a fault that the sender is told of: of a file that
/// has an envelope.
fn status_of(fault: &DropFault) -> Option<&'static str> {
    match fault {
        DropFault::Text | DropFault::Headers => Some("5.6.0"),
        DropFault::TooLarge => Some("5.3.4"),
        DropFault::Gone
        | DropFault::Io(_)
        | DropFault::Kind
        | DropFault::Shape
        | DropFault::Json(_)
        | DropFault::Submission(_) => None,
    }
}

/// Makes the queue hold what a notice of failure is made of. The text may be what is wrong
/// with the message, so only the fields that would have been added stand for it.
async fn send_back(
    world: &Arc<World>,
    stamp: Stamp,
    mut envelope: Envelope,
    status: &str,
    fault: &DropFault,
) -> Result<(), DropFault> {
    let mut header = Vec::new();
    // This has no field of its own, so it can't be too large.
    let _ = HeaderFilter::new(stamp).finish(&mut header);
    envelope.size_octets = header.len() as u64;
    for recipient in &mut envelope.recipients {
        recipient.expanded = Expanded::Failed {
            status: status.into(),
            text: fault.to_string(),
        };
    }
    envelope.rank = world.schedule.rank(&envelope);
    let added = world.queue.add_held_back(envelope, Body::Small(header));
    added.await.map_err(std::io::Error::other)?;
    Ok(())
}

/// Reads the text through the header filter into the spool.
fn store(
    dropped: Dropped,
    mut filter: HeaderFilter,
    mut spool: Spool,
    limit: Option<u64>,
) -> Result<(Body, u64, Summary), DropFault> {
    if limit.is_some_and(|limit| dropped.octets > limit) {
        return Err(DropFault::TooLarge);
    }
    let mut check = LineCheck::default();
    let mut left = dropped.octets;
    let mut reader = dropped.file;
    let mut piece = vec![0u8; PIECE_OCTETS];
    let mut out = Vec::new();
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(PIECE_OCTETS);
        let space = piece.get_mut(..wanted.min(PIECE_OCTETS));
        let got = reader.read(space.unwrap_or_default())?;
        if got == 0 {
            return Err(DropFault::Shape);
        }
        left -= got as u64;
        let text = piece.get(..got).unwrap_or_default();
        check.push(text);
        out.clear();
        filter.push(text, &mut out);
        spool.push(&out)?;
    }
    if check.finish().is_some() {
        return Err(DropFault::Text);
    }
    out.clear();
    let summary = filter.finish(&mut out).map_err(|_| DropFault::Headers)?;
    spool.push(&out)?;
    let octets = spool.octets();
    Ok((spool.finish()?, octets, summary))
}

/// `user@localhost`: the client, as sendmail names a process of this host.
fn relay(submitter: &Submitter) -> String {
    format!("{}@localhost", submitter.name())
}

async fn stamp(
    world: &Arc<World>,
    submit: &Submit,
    id: &DropId,
    dropped: &Dropped,
    submitter: &Submitter,
) -> Stamp {
    let submission = &dropped.submission;
    let written = dropped.written.duration_since(UNIX_EPOCH);
    let written = written.map_or(0, |d| d.as_secs()).min(now_unix());
    let now = Civil::local(written);
    let date = now.rfc5322();
    let host = &world.site.host_name;
    let from = from_address(world, submission, submitter).await;
    let name = full_name(world, submission, submitter);
    let max = world.site.options.limits.max_headers_octets.0.unwrap_or(0);
    Stamp {
        received: received(world, id, submission, submitter, &date),
        message_id: format!("<{}.{id}@{host}>", now.stamp()),
        date,
        full_name: name.and_then(|name| display::phrase(&name)),
        from,
        warnings: warning(world, submit, submission, submitter)
            .into_iter()
            .collect(),
        max_octets: usize::try_from(max).unwrap_or(usize::MAX),
    }
}

/// The address of a From field that is added; `None` for the null sender.
async fn from_address(
    world: &Arc<World>,
    submission: &Submission,
    submitter: &Submitter,
) -> Option<String> {
    let address = match &submission.sender {
        Sender::Own => submitter.name().as_bytes(),
        Sender::Set { address, .. } if address.0.is_empty() => return None,
        Sender::Set { address, .. } => &address.0,
    };
    let snapshot = world.snapshot();
    let address = local_form(
        world,
        &Asker::Ours,
        &snapshot,
        AddressRole::HeaderSender,
        address,
    )
    .await;
    let address = qualified(&world.site, &address);
    Some(String::from_utf8_lossy(&address).into_owned())
}

/// The full name that was given, else that of the local user whose address the sender is.
fn full_name(world: &World, submission: &Submission, submitter: &Submitter) -> Option<String> {
    if let Some(name) = &submission.full_name {
        return Some(name.shown());
    }
    let user = match &submission.sender {
        Sender::Own => submitter.user.clone(),
        Sender::Set { address, .. } if submitter.owns(&world.site, &address.0) => {
            submitter.user.clone()
        }
        Sender::Set { address, .. } => {
            let name = local_user(&world.site, &address.0)?;
            world.users.get(std::str::from_utf8(name).ok()?).ok()?
        }
    }?;
    display::of_gecos(&user.gecos, &user.name)
}

/// PrivacyOptions `authwarnings`: what recipients should know about the sender.
fn warning(
    world: &World,
    submit: &Submit,
    submission: &Submission,
    submitter: &Submitter,
) -> Option<String> {
    let privacy = world.site.options.greeting.privacy;
    let (host, user) = (&world.site.host_name, submitter.name());
    if !privacy.has(PrivacyFlag::AuthWarnings) {
        return None;
    }
    if submission.session.is_some() {
        return (submitter.uid != 0).then(|| format!("{host}: {user} owned process doing -bs"));
    }
    let Sender::Set { address, by } = &submission.sender else {
        return None;
    };
    if submitter.is_trusted(&world.site_now(), submit) || submitter.owns(&world.site, &address.0) {
        return None;
    }
    let letter = if *by == SetBy::R { 'r' } else { 'f' };
    let shown = if address.0.is_empty() {
        "<>".to_owned()
    } else {
        address.shown()
    };
    Some(format!(
        "{host}: {user} set sender to {shown} using -{letter}"
    ))
}

fn received(
    world: &World,
    id: &DropId,
    submission: &Submission,
    submitter: &Submitter,
    date: &str,
) -> String {
    let client = relay(submitter);
    let only = match submission.recipients.as_slice() {
        [only] => Some(format!("<{}>", only.address.shown())),
        _ => None,
    };
    let spoken = submission.session.as_ref();
    let value = |name: &str| match name {
        "s" => spoken.map(|s| &*s.helo),
        "_" => Some(client.as_str()),
        "j" => Some(world.site.host_name.as_str()),
        "v" | "Z" => Some(env!("CARGO_PKG_VERSION")),
        "r" => spoken.map(|s| s.protocol.as_str()),
        "i" => Some(id.as_str()),
        "u" => only.as_deref(),
        "b" => Some(date),
        _ => None,
    };
    macros::expand(RECEIVED, &value)
}

fn envelope(
    world: &World,
    id: &DropId,
    submission: &Submission,
    submitter: &Submitter,
    octets: u64,
    now: u64,
) -> Envelope {
    let site = &world.site;
    let sender = match &submission.sender {
        Sender::Own => qualified(site, submitter.name().as_bytes()),
        Sender::Set { address, .. } => qualified(site, &address.0),
    };
    let good = submission.recipients.iter().map(|wanted| QueuedRecipient {
        address: Octets(qualified(site, &wanted.address.0)),
        notify: wanted.notify,
        orcpt: wanted.orcpt.clone(),
        ..QueuedRecipient::default()
    });
    let recipients = good.chain(submission.faulty.iter().map(failed));
    let protocol = submission.session.as_ref().map(|s| s.protocol.as_str());
    Envelope {
        id: id.as_str().into(),
        created_unix: now,
        sender: Octets(sender),
        size_octets: octets,
        body: submission.body,
        ret: submission.ret,
        envid: submission.envid.clone(),
        by: submission.by,
        auth: None,
        smtputf8: submission.smtputf8,
        relay: relay(submitter),
        protocol: protocol.unwrap_or_default().to_owned(),
        recipients: recipients.collect(),
        ..Envelope::default()
    }
}

/// A recipient whose address is wrong. It has failed already, so that it is told of and never
/// routed, whatever it is.
fn failed(faulty: &Faulty) -> QueuedRecipient {
    QueuedRecipient {
        address: faulty.address.clone(),
        notify: faulty.notify,
        expanded: Expanded::Failed {
            status: faulty.status.clone().into(),
            text: format!("{}... {}", faulty.address.shown(), faulty.text),
        },
        ..QueuedRecipient::default()
    }
}
