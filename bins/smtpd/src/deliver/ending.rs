//! The end of an attempt: what time does to the copies that wait, the notices, and the
//! one transaction that settles all of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libmaps::opening;
use libmaps::site::model::options::PrivacyFlag;

use super::batch::Account;
use super::copy::by_helper;
use super::outcome::{Fate, Outcome};
use super::program::RunAs;
use super::shape::Shape;
use crate::clock::{Civil, now_unix};
use crate::dsn::{
    self, Action, Audience, Clerk, Form, Kind, Late, Notice, Plan, ShowActual, Written,
    duration_in_words,
};
use crate::log::Level;
use crate::macros;
use crate::queue::schedule::{Pressure, Schedule, Urgency};
use crate::queue::{Body, Envelope, Expanded, Octets, Origin, Progress, QueuedRecipient, Spool};
use crate::session::BodyKind;
use crate::world::World;

/// Waits between two tries to write the queue; the last one repeats.
const PATIENCE: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
];

/// How soon a message comes again of which some copies were tried and others found no place.
const AGAIN: Duration = Duration::from_secs(300);

/// When the message is tried next: by the schedule, or earlier where copies found no place.
/// Those that were tried are not to be tried again as soon as that.
fn next(schedule: &Schedule, envelope: &Envelope, account: Account) -> u64 {
    let by_schedule = schedule.next(envelope);
    match account.aside {
        Some(wait) if account.tried == 0 => now_unix().saturating_add(wait.as_secs().max(1)),
        Some(wait) => by_schedule.min(now_unix().saturating_add(wait.max(AGAIN).as_secs())),
        None => by_schedule,
    }
}

/// Whether time presses a message that found no place. One that a site gives up after the
/// first try (`now`) has to be tried first.
pub(super) fn must_end(world: &World, envelope: &Envelope) -> bool {
    let schedule = &world.schedule;
    match schedule.pressure(envelope, now_unix()) {
        Pressure::Wait => false,
        Pressure::GiveUp => {
            let until = schedule.give_up_unix(envelope);
            envelope.tries > 0 || until.is_some_and(|until| until >= envelope.created_unix)
        }
        Pressure::Warn | Pressure::ByExceeded | Pressure::ByReturn => true,
    }
}

/// Whether its sender wants it back rather than delivered by now (DELIVERBY, mode R).
pub(super) fn is_too_late(world: &World, envelope: &Envelope) -> bool {
    let pressure = world.schedule.pressure(envelope, now_unix());
    envelope.hold.is_none() && pressure == Pressure::ByReturn
}

/// Ends an attempt. What was done stays in memory until the queue has taken it: a full
/// disk delays that, but repeats no delivery.
pub(super) async fn end(world: &Arc<World>, mut envelope: Envelope, account: Account) {
    let schedule = &world.schedule;
    let was_tried = account.tried > 0 || account.aside.is_none();
    let remarks = match was_tried || must_end(world, &envelope) {
        true => press(world, schedule, &mut envelope),
        false => Remarks::default(),
    };
    envelope.due_unix = next(schedule, &envelope, account);
    envelope.rank = schedule.rank(&envelope);
    let plan = dsn::plan(&world.site, &envelope, remarks.late);
    let is_last = envelope.origin == Origin::LastResort && !plan.silent.is_empty();
    if is_last && drop_dead_letter(world, &envelope).await == DeadLetter::Kept {
        return keep(world, &envelope).await;
    }
    let told = told(&envelope);
    let (envelope, remarks) = (Arc::new(envelope), Arc::new(remarks));
    for wait in PATIENCE.iter().chain(std::iter::repeat(&PATIENCE[3])) {
        let notices = match write_all(world, schedule, &plan, &envelope, &remarks).await {
            Ok(notices) => notices,
            Err(error) => {
                complain(world, &envelope.id, &error);
                tokio::time::sleep(*wait).await;
                continue;
            }
        };
        let lines = log_lines(&plan, &notices);
        match world.queue.settle(&told, notices).await {
            Ok(()) => {
                for line in lines {
                    world.log.about(Level::Info, &envelope.id, &line);
                }
                return;
            }
            Err(error) => complain(world, &envelope.id, &error),
        }
        tokio::time::sleep(*wait).await;
    }
}

/// What becomes of a message that nobody takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeadLetter {
    /// Nothing more: it is saved, or the site wants no such thing.
    Done,
    /// It could not be saved, and stays in the queue.
    Kept,
}

/// Leaves a message in the queue as it is, for its next try.
async fn keep(world: &World, envelope: &Envelope) {
    for wait in PATIENCE.iter().chain(std::iter::repeat(&PATIENCE[3])) {
        match world.queue.settle(envelope, Vec::new()).await {
            Ok(()) => return,
            Err(error) => complain(world, &envelope.id, &error),
        }
        tokio::time::sleep(*wait).await;
    }
}

/// DeadLetterDrop: the file for what nobody takes, if the site names one.
async fn drop_dead_letter(world: &Arc<World>, envelope: &Envelope) -> DeadLetter {
    let Some(path) = &world.site.options.delivery.dead_letter_drop else {
        return DeadLetter::Done;
    };
    let (path, shape) = (
        world.site.below(path),
        Shape::mailbox(&envelope.sender.shown(), now_unix()),
    );
    let text = world.queue.text(envelope);
    // Root's file, unless the site says as whom we run.
    let run_as = match world.site.options.files.run_as_user.trim() {
        "" => RunAs { uid: 0, gid: 0 },
        _ => RunAs::ourselves(),
    };
    let saved = tokio::task::spawn_blocking(move || match text {
        Ok(text) => by_helper(run_as, &["append", "fcntl"], &path, text, &shape),
        Err(error) => Outcome::deferred(error.to_string()).with_status("4.3.0"),
    });
    let outcome = saved.await.map_err(|error| error.to_string());
    let saved = match outcome {
        Ok(outcome) if outcome.fate == Fate::Sent => Ok(()),
        Ok(outcome) => Err(outcome.text),
        Err(error) => Err(error),
    };
    match saved {
        Ok(()) => {
            let text = "saved in DeadLetterDrop";
            world.log.about(Level::Notice, &envelope.id, text);
            DeadLetter::Done
        }
        Err(error) => {
            let text = format!("DeadLetterDrop: {error}; the message stays in the queue");
            world.log.about(Level::Error, &envelope.id, &text);
            DeadLetter::Kept
        }
    }
}

fn complain(world: &World, id: &str, error: &dyn std::fmt::Display) {
    let text = format!("queue: {error}");
    world.log.about(Level::Error, id, &text);
}

/// Marks everything that still waits as failed.
pub(super) fn fail_all(envelope: &mut Envelope, status: &str, text: &str) {
    for recipient in &mut envelope.recipients {
        if recipient.expanded == Expanded::No {
            recipient.expanded = Expanded::Failed {
                status: status.into(),
                text: text.into(),
            };
        }
    }
    for target in &mut envelope.targets {
        if target.progress == Progress::Waiting {
            // What the last try said explains more than that it was the last.
            let text = if target.last.is_empty() {
                text
            } else {
                &target.last
            };
            target.progress = Progress::Failed {
                status: status.into(),
                text: text.into(),
            };
        }
    }
}

/// What notices say at their ends, and whether those who wait are told of.
#[derive(Debug, Default)]
struct Remarks {
    failure: Vec<String>,
    delay: Vec<String>,
    waited: String,
    late: Option<Late>,
}

/// Gives up what has waited too long, or finds that the sender is to be warned.
fn press(world: &World, schedule: &Schedule, envelope: &mut Envelope) -> Remarks {
    let mut remarks = Remarks::default();
    if !envelope.is_waiting() || envelope.hold.is_some() {
        return remarks;
    }
    let ages = schedule.ages(envelope);
    let late = Late {
        until_unix: schedule.give_up_unix(envelope),
    };
    let by_seconds = envelope.by.map_or(0, |(seconds, _)| seconds);
    match schedule.pressure(envelope, now_unix()) {
        Pressure::Wait => {}
        Pressure::Warn => {
            envelope.warned = true;
            remarks.late = Some(late);
            remarks.waited = duration_in_words(ages.warn);
            let waited = &remarks.waited;
            remarks
                .delay
                .push(format!("Warning: message still undelivered after {waited}"));
            if let Some(age) = ages.give_up {
                let age = duration_in_words(age);
                remarks
                    .delay
                    .push(format!("Will keep trying until message is {age} old"));
            }
        }
        Pressure::ByExceeded => {
            envelope.told_by_exceeded = true;
            remarks.late = Some(late);
            remarks.waited = duration_in_words(Duration::from_secs(by_seconds.unsigned_abs()));
            remarks.delay.push(format!(
                "Delivery time ({by_seconds}s) expired; delivery goes on"
            ));
        }
        Pressure::ByReturn => {
            remarks
                .failure
                .push(format!("Delivery time ({by_seconds}s) expired"));
            remarks
                .failure
                .push("Message will be deleted from queue".into());
            fail_all(envelope, "5.4.7", "Delivery time expired");
        }
        Pressure::GiveUp => {
            let age = duration_in_words(ages.give_up.unwrap_or_default());
            let text = format!("Message could not be delivered for {age}");
            remarks.failure.push(text.clone());
            remarks
                .failure
                .push("Message will be deleted from queue".into());
            fail_all(envelope, "4.4.7", &text);
        }
    }
    if let Some(line) = remarks.failure.first().or(remarks.delay.first()) {
        world.log.about(Level::Info, &envelope.id, line);
    }
    remarks
}

/// The envelope once everybody has heard.
fn told(envelope: &Envelope) -> Envelope {
    let mut told = envelope.clone();
    for recipient in &mut told.recipients {
        match &mut recipient.expanded {
            Expanded::List { told } => *told = true,
            failed @ Expanded::Failed { .. } => *failed = Expanded::Told,
            Expanded::No | Expanded::Yes | Expanded::Told => {}
        }
    }
    for target in &mut told.targets {
        match target.progress {
            Progress::Failed { .. } => target.progress = Progress::Told,
            Progress::Sent => target.progress = Progress::Done,
            Progress::Waiting | Progress::Done | Progress::Forwarded | Progress::Told => {}
        }
    }
    told
}

/// What the log says once the notices are in the queue.
fn log_lines(plan: &Plan, notices: &[(Envelope, Body)]) -> Vec<String> {
    let mut lines = plan.silent.clone();
    for (notice, (envelope, _)) in plan.notices.iter().zip(notices) {
        let what = match (notice.audience, notice.kind) {
            (Audience::Postmaster, _) => "postmaster notify",
            (_, Kind::Receipt) => "DSN: Return receipt",
            (_, Kind::Delay) => "DSN: Warning",
            (_, Kind::Failure) => "DSN",
        };
        let why = notice.lines.iter().find(|l| l.action == Action::Failed);
        let why = why.map_or(String::new(), |line| format!(": {}", line.text));
        lines.push(format!("{}: {what}{why}", envelope.id));
    }
    lines
}

async fn write_all(
    world: &Arc<World>,
    schedule: &Schedule,
    plan: &Plan,
    about: &Arc<Envelope>,
    remarks: &Arc<Remarks>,
) -> io::Result<Vec<(Envelope, Body)>> {
    let queue = Arc::clone(&world.queue);
    let mut written = Vec::new();
    for notice in &plan.notices {
        let (world, schedule, notice) = (Arc::clone(world), schedule.clone(), notice.clone());
        let (about, remarks) = (Arc::clone(about), Arc::clone(remarks));
        let task = tokio::task::spawn_blocking(move || {
            write_one(&world, &schedule, &notice, &about, &remarks)
        });
        match task.await.map_err(io::Error::other).flatten() {
            Ok(one) => written.push(one),
            Err(error) => {
                // All are written anew, under other ids.
                let done: &[(Envelope, Body)] = &written;
                done.iter().for_each(|(e, _)| queue.discard(&e.id));
                return Err(error);
            }
        }
    }
    Ok(written)
}

/// Whether a notice has the message that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Original {
    Returned,
    /// It can't be read to its end: whoever has to hear hears without it.
    Unreadable,
}

/// The text of a message, and whether reading it has failed.
struct Watched {
    text: Box<dyn io::Read + Send>,
    failed: Arc<AtomicBool>,
}

impl io::Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer);
        let failed = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        if read.as_ref().is_err_and(failed) {
            self.failed.store(true, Ordering::Relaxed);
        }
        read
    }
}

fn write_one(
    world: &World,
    schedule: &Schedule,
    notice: &Notice,
    about: &Envelope,
    remarks: &Remarks,
) -> io::Result<(Envelope, Body)> {
    let failed = Arc::new(AtomicBool::new(false));
    let write = |original| write_with(world, schedule, notice, about, remarks, original, &failed);
    match write(Original::Returned) {
        Err(error) if failed.load(Ordering::Relaxed) => {
            let text = format!("queue: {error}; the notice goes without the message");
            world.log.about(Level::Error, &about.id, &text);
            write(Original::Unreadable)
        }
        written => written,
    }
}

fn write_with(
    world: &World,
    schedule: &Schedule,
    notice: &Notice,
    about: &Envelope,
    remarks: &Remarks,
    original: Original,
    failed: &Arc<AtomicBool>,
) -> io::Result<(Envelope, Body)> {
    let (site, now) = (&world.site, now_unix());
    let id = world.queue.next_id();
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let header = error_header(world);
    let clerk = Clerk {
        id: &id,
        host: &site.host_name,
        daemon: &site.error_name,
        secret: &format!("{:016x}", u64::from_be_bytes(random)),
        now_unix: now,
        date: &|unix| Civil::local(unix).rfc5322(),
        stamp: &Civil::local(now).stamp(),
        error_header: &header,
        remarks: match notice.kind {
            Kind::Failure => &remarks.failure,
            Kind::Delay => &remarks.delay,
            Kind::Receipt => &[],
        },
        waited: &remarks.waited,
        by_unix: schedule.by_unix(about),
        actual: if site
            .options
            .greeting
            .privacy
            .has(PrivacyFlag::NoActualRecipient)
        {
            ShowActual::No
        } else {
            ShowActual::Yes
        },
        form: if site.options.delivery.send_mime_errors {
            Form::Mime
        } else {
            Form::Plain
        },
    };
    let open = || -> io::Result<Box<dyn io::Read + Send>> {
        if original == Original::Unreadable {
            return Err(io::Error::other("unreadable"));
        }
        let text = world.queue.text(about).map_err(io::Error::other)?;
        Ok(Box::new(Watched {
            text: Box::new(text.into_reader()),
            failed: Arc::clone(failed),
        }))
    };
    let mut out = io::BufWriter::new(Sink(world.queue.spool(&id)));
    let written = dsn::write(&clerk, notice, about, &open, &mut out)?;
    let Sink(spool) = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let octets = spool.octets();
    let body = spool.finish()?;
    let mut envelope = envelope_of(notice, id, now, written);
    envelope.size_octets = octets;
    envelope.rank = schedule.rank(&envelope);
    Ok((envelope, body))
}

fn envelope_of(notice: &Notice, id: Box<str>, now: u64, written: Written) -> Envelope {
    let recipient = |address: &Octets| QueuedRecipient {
        address: address.clone(),
        ..QueuedRecipient::default()
    };
    Envelope {
        id,
        created_unix: now,
        body: written.eight_bits.then_some(BodyKind::EightBitMime),
        smtputf8: written.utf8_header,
        relay: "localhost".into(),
        protocol: "internal".into(),
        urgency: Urgency::Dsn,
        origin: match notice.audience {
            Audience::Sender => Origin::Notice,
            Audience::Postmaster => Origin::LastResort,
        },
        recipients: notice.to.iter().map(recipient).collect(),
        ..Envelope::default()
    }
}

/// ErrorHeader: a text, or the path of a file that holds it.
fn error_header(world: &World) -> String {
    const MAX_OCTETS: u64 = 64 * 1024;
    let option = world.site.options.delivery.error_header.as_str();
    let text = if option.starts_with('/') {
        let path = world.site.below(std::path::Path::new(option));
        let mut text = Vec::new();
        let read = opening::file(&path).and_then(|file| {
            io::Read::read_to_end(&mut io::Read::take(file, MAX_OCTETS), &mut text)
        });
        // A text that is not there is no reason to keep a sender waiting.
        read.map(|_| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    } else {
        option.to_owned()
    };
    macros::expand(&text, &|name| match name {
        "j" => Some(world.site.host_name.as_str()),
        "v" | "Z" => Some(env!("CARGO_PKG_VERSION")),
        _ => None,
    })
}

/// A spool as a writer.
struct Sink(Spool);

impl io::Write for Sink {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.push(octets)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
