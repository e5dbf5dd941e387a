//! `-q`: the queue is run now, all of it or a part.
//!
//! The server that has the queue is asked to; where none runs, this process opens the queue,
//! takes what waits in the drop folder and tries the messages once.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, RwLock};

use libmaps::sysexits::SysExit;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::args::{CommandLine, Refusal, Talk};
use super::queue_order::Order;
use super::scene::read_site;
use super::submit::say;
use crate::deliver;
use crate::drop::intake::{self, Intake};
use crate::log::{Log, Target};
use crate::privilege;
use crate::queue::control::{Line, Request, ask};
use crate::queue::{Condition, Queue, QueueError};
use crate::throttle::Throttle;
use crate::world::World;

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
    let directory = site.options.queue.directory.clone();
    let folder = site.below(&directory.unwrap_or_else(|| "/var/spool/mqueue".into()));
    let conditions = &line.queue.conditions;
    let request = match conditions.as_slice() {
        [] => Request::Run,
        some => Request::RunSome(some.to_vec()),
    };
    let by_server = match ask(&folder, &request) {
        Ok(lines) => lines,
        Err(error) => return Err(not_asked(&folder, &error)),
    };
    let exit = match by_server {
        Some(lines) => match lines.last() {
            Some(Line::Error(text)) => return Err(Refusal::new(SysExit::TempFail, text.as_str())),
            _ => SysExit::Ok,
        },
        None => alone(line, site, &folder, conditions)?,
    };
    if *line.order() == Order::Often && line.talk == Talk::Verbose {
        say(
            out,
            "the server (sendmail -bd) runs the queue by itself; it was run once now",
        );
    }
    Ok(exit)
}

fn not_asked(folder: &Path, error: &io::Error) -> Refusal {
    let shown = folder.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let text = format!("can not use {shown}: Permission denied\n{NOT_ALLOWED}");
            Refusal::new(SysExit::Config, text)
        }
        _ => Refusal::new(SysExit::TempFail, format!("{shown}: {error}")),
    }
}

/// No server runs.
fn alone(
    line: &CommandLine,
    site: libmaps::site::Site,
    folder: &Path,
    conditions: &[Condition],
) -> Result<SysExit, Refusal> {
    intake::prepare(&site);
    let dropped = privilege::drop_to(&site, folder);
    dropped.map_err(|e| Refusal::new(SysExit::Config, e))?;
    let target = match line.talk {
        Talk::Verbose => Target::Stderr,
        Talk::Quiet => Target::Syslog,
    };
    let log = Arc::new(Log::open(target));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|e| Refusal::new(SysExit::OsErr, e.to_string()))?;
    let ran = runtime.block_on(async {
        let queue = Queue::open(folder).map_err(|e| not_opened(folder, &e))?;
        let throttle = Throttle::new(site.options.limits.connection_rate_window.0);
        let world = World::open(site, Arc::clone(&queue), log, throttle)
            .map_err(|e| Refusal::new(SysExit::Config, e.to_string()))?;
        Intake::open(Arc::new(RwLock::new(Arc::clone(&world))))
            .take_now()
            .await;
        attempt_all(&world, conditions).await;
        queue.close();
        Ok(SysExit::Ok)
    });
    runtime.shutdown_background();
    ran
}

fn not_opened(folder: &Path, error: &QueueError) -> Refusal {
    match error {
        QueueError::InUse(_) => Refusal::new(SysExit::TempFail, error.to_string()),
        QueueError::Io { source, .. } => not_asked(folder, source),
        _ => Refusal::new(SysExit::IoErr, error.to_string()),
    }
}

async fn attempt_all(world: &Arc<World>, conditions: &[Condition]) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut tries = JoinSet::new();
    for id in world.queue.take_selected(conditions) {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let world = Arc::clone(world);
        tries.spawn(async move {
            deliver::attempt(&world, &id).await;
            drop(slot);
        });
    }
    while tries.join_next().await.is_some() {}
}
