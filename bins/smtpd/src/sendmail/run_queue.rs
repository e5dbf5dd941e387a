//! `-q`: the queue is run now, all of it or a part.
//!
//! The server that has the queue is asked to. Where none runs, smtpd is called to do one run:
//! it opens the queue, takes what waits in the drop folder and tries the messages once.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Arc, RwLock};

use libmaps::site::Site;
use libmaps::site::model::options::PrivacyFlag;
use libmaps::sysexits::SysExit;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tools::report::complain;

use super::args::{CommandLine, Refusal, Talk};
use super::daemon;
use super::queue_order::Order;
use super::scene::{read_site, unreadable};
use super::submit::say;
use crate::deliver;
use crate::drop::intake::Intake;
use crate::log::clean;
use crate::log::{Log, Target};
use crate::mailq::has_queue;
use crate::queue::control::{Line, Request, ask};
use crate::queue::{Condition, Queue, QueueError, selects};
use crate::reach;
use crate::server::{self, Confinement, ServerError, Start};
use crate::sound::{SoundSite, Unsound};
use crate::throttle::Throttle;
use crate::world::{self, World};

/// Messages that are tried at one time.
const AT_ONCE: usize = 8;
/// What sendmail says to those who may not.
const NOT_ALLOWED: &str = "Program mode requires special privileges, e.g., root or TrustedUser.";

/// Runs the queue once.
///
/// # Errors
/// When the configuration or the queue can't be read, or the caller may not.
pub(super) fn run(line: &CommandLine, out: &mut dyn Write) -> Result<SysExit, Refusal> {
    let site = read_site(line)?;
    let folder = reach::queue(&site);
    let conditions = &line.queue.conditions;
    let request = match conditions.as_slice() {
        [] => Request::Run,
        some => Request::RunSome(some.to_vec()),
    };
    let by_server = match ask(&folder, &request) {
        Ok(answer) => answer,
        Err(error) => return Err(not_asked(&site, &folder, &error)),
    };
    let exit = match by_server {
        Some(answer) => match answer.last() {
            Some(Ok(Line::Error(text))) => {
                return Err(Refusal::new(SysExit::TempFail, clean(&text)));
            }
            Some(Err(error)) => return Err(not_asked(&site, &folder, &error)),
            _ => SysExit::Ok,
        },
        None if !may_enter(&folder) => {
            let denied = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(not_asked(&site, &folder, &denied));
        }
        None if line.queue_folder().is_some() && has_queue(&folder).is_ok_and(|is| !is) => {
            let text = format!("{}: there is no queue", folder.display());
            return Err(Refusal::new(SysExit::Config, text));
        }
        None => return alone(line),
    };
    if *line.order() == Order::Often && line.talk == Talk::Verbose {
        say(
            out,
            "the server (sendmail -bd) runs the queue by itself; it was run once now",
        );
    }
    Ok(exit)
}

/// Whether the queue is ours to open; one that is not there may be made.
fn may_enter(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn not_asked(site: &Site, folder: &Path, error: &io::Error) -> Refusal {
    let shown = folder.display();
    let is_restricted = site.options.greeting.privacy.has(PrivacyFlag::RestrictQrun);
    match error.kind() {
        io::ErrorKind::PermissionDenied if is_restricted => {
            let text = format!(
                "can not use {shown}: Permission denied\n{NOT_ALLOWED}\nYou do not have permission to process the queue"
            );
            Refusal::new(SysExit::NoPerm, text)
        }
        io::ErrorKind::PermissionDenied => {
            let text = format!("can not use {shown}: Permission denied\n{NOT_ALLOWED}");
            Refusal::new(SysExit::Config, text)
        }
        _ => Refusal::new(SysExit::TempFail, format!("{shown}: {error}")),
    }
}

/// No server runs: `smtpd run-queue` does it, for only smtpd calls itself as other users.
fn alone(line: &CommandLine) -> Result<SysExit, Refusal> {
    let conditions = serde_json::to_string(&line.queue.conditions);
    let conditions = conditions.map_err(|e| Refusal::new(SysExit::Software, e.to_string()))?;
    let program = daemon::program();
    let mut command = Command::new(&program);
    command.arg("run-queue").args(daemon::site_arguments(line));
    if line.talk == Talk::Verbose {
        command.arg("-v");
    }
    if let Some(folder) = line.queue_folder() {
        let mut word = OsString::from("-OQueueDirectory=");
        word.push(folder);
        command.arg(word);
    }
    let status = command.arg(conditions).status();
    let status = status.map_err(|e| daemon::not_started(&program, &e))?;
    // Why it did nothing it has said itself.
    Ok(daemon::exit_of(status))
}

/// `smtpd run-queue [--root DIR] [-C FILE] [-v] [-OQueueDirectory=DIR] CONDITIONS`: one run
/// without a server; the conditions are JSON.
pub fn run_once(args: &[OsString]) -> ExitCode {
    let parsed = args.split_last().and_then(|(conditions, rest)| {
        let conditions: Vec<Condition> = serde_json::from_str(conditions.to_str()?).ok()?;
        let line = CommandLine::parse(OsStr::new("sendmail"), rest.iter().cloned()).ok()?;
        Some((line, conditions))
    });
    let Some((line, conditions)) = parsed else {
        return SysExit::Usage.into();
    };
    match sound(&line).and_then(|site| run_here(&line, site, &conditions)) {
        Ok(exit) => exit.into(),
        Err(refusal) => {
            complain(&[refusal.text.as_bytes()]);
            refusal.exit.into()
        }
    }
}

/// The site, as the server itself would take it.
fn sound(line: &CommandLine) -> Result<SoundSite, Refusal> {
    let read = SoundSite::read(line.root.as_deref(), line.config.as_deref());
    let (site, _) = read.map_err(|unsound| match unsound {
        Unsound::Faulty(findings) => Refusal::new(
            SysExit::Config,
            format!(
                "{}\nthe queue is not run: the configuration has errors",
                findings.errors()
            ),
        ),
        Unsound::Unread(error) => unreadable(&error),
    })?;
    Ok(site.with_queue_folder(line.queue_folder()))
}

fn run_here(
    line: &CommandLine,
    site: SoundSite,
    conditions: &[Condition],
) -> Result<SysExit, Refusal> {
    let folder = reach::queue(&site);
    let target = match line.talk {
        Talk::Verbose => Target::Stderr,
        Talk::Quiet => "syslog".parse().unwrap_or(Target::Stderr),
    };
    let log = Arc::new(Log::open(target));
    let tls = world::open_tls(&site, &log, None);
    give_up(line, &site, &log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|e| Refusal::new(SysExit::OsErr, e.to_string()))?;
    let ran = runtime.block_on(async {
        let queue = Queue::open(&folder).map_err(|e| not_opened(&site, &folder, &e))?;
        // There are no sessions to be counted.
        let throttle = Throttle::new(site.options.limits.connection_rate_window.0, 0);
        let world = World::open(site, Arc::clone(&queue), log, throttle, tls)
            .map_err(|e| Refusal::new(SysExit::Config, e.to_string()))?;
        // What is dropped is for the site's own queue.
        if line.queue_folder().is_none() {
            Intake::open(Arc::new(RwLock::new(Arc::clone(&world))))
                .take_now()
                .await;
        }
        run_all(&world, conditions).await;
        queue.close();
        Ok(SysExit::Ok)
    });
    runtime.shutdown_background();
    ran
}

/// Another user and confinement, as the server does it.
fn give_up(line: &CommandLine, site: &SoundSite, log: &Log) -> Result<(), Refusal> {
    let start = Start {
        root: line.root.clone(),
        file: line.config.clone(),
        queue_interval: None,
        confinement: Confinement::Confined,
    };
    match server::give_up(&start, site, log) {
        Ok(_) => Ok(()),
        Err(ServerError::Queue(error)) => Err(not_opened(site, &reach::queue(site), &error)),
        Err(ServerError::Io(error)) => Err(Refusal::new(SysExit::OsErr, error.to_string())),
        Err(error) => Err(Refusal::new(SysExit::Config, error.to_string())),
    }
}

fn not_opened(site: &Site, folder: &Path, error: &QueueError) -> Refusal {
    match error {
        QueueError::InUse(_) => Refusal::new(SysExit::TempFail, error.to_string()),
        QueueError::Io { source, .. } => not_asked(site, folder, source),
        _ => Refusal::new(SysExit::IoErr, error.to_string()),
    }
}

/// Tries what is selected, and then the notices that came of it.
async fn run_all(world: &Arc<World>, conditions: &[Condition]) {
    let before: HashSet<Box<str>> = world.queue.ids().into_iter().collect();
    let selected = world.queue.take_where(|e| selects(conditions, e));
    attempt_all(world, selected).await;
    let notices = world.queue.take_where(|e| !before.contains(&e.id));
    attempt_all(world, notices).await;
}

async fn attempt_all(world: &Arc<World>, ids: Vec<Box<str>>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut tries = JoinSet::new();
    for id in ids {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let world = Arc::clone(world);
        tries.spawn(async move {
            deliver::attempt(&world, &id, None).await;
            drop(slot);
        });
    }
    while tries.join_next().await.is_some() {}
}
