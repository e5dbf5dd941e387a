//! Who checks passwords: made at the start, in this process or in workers.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rustix::process::Signal;

use super::site_path;
use crate::ffi::crypt::Crypt;
use crate::ffi::pam::Pam;
use crate::kept::{Duty, Kept};
use crate::log::Log;
use crate::mech::accounts::Accounts;
use crate::mech::pam::PamChecker;
use crate::mech::rimap::{Remote, Rimap};
use crate::mech::sasldb::SasldbChecker;
use crate::mech::shadow::{Getpwent, ShadowChecker};
use crate::mech::{self, Mechanism, Named, PasswordChecker};
use crate::options::{Confinement, Mode, Options};
use crate::pool::MakeChecker;
use crate::run_dir;
use crate::starter::{Starter, Stderr};
use crate::worker::{self, By, REQUESTS_LIMIT, Recipe, SILENCE_LIMIT, Told, WorkerChecker};

/// First argument of a worker process; the mechanism's name follows, then `--root DIR`.
pub(super) const WORKER: &str = "--worker";

/// What starts workers where the server will not be able to, and does for one that was root's
/// what only root may.
pub(super) fn launch(
    mechanism: Mechanism,
    options: &Options,
    store: &Path,
    log: &Log,
) -> Result<Option<Arc<Starter>>, String> {
    let root = rustix::process::geteuid().is_root();
    let wanted = mechanism.wants_process() || root;
    if options.confinement == Confinement::Unconfined || !wanted {
        return Ok(None);
    }
    let mut kept = Vec::new();
    if root {
        let mut keep = |duty, path: PathBuf| kept.push(Kept { duty, path });
        for name in run_dir::FILES {
            keep(Duty::Remove, options.run_dir.join(name));
        }
        if let Some(path) = &options.dovecot {
            keep(Duty::Remove, options.run_dir.join(path));
        }
        match mechanism {
            Mechanism::Sasldb => keep(Duty::Open, store.to_owned()),
            other => {
                if let Some(file) = other.source() {
                    keep(Duty::Look, site_path(options, file));
                }
            }
        }
    }
    let arguments = match mechanism.wants_process() {
        true => {
            // Tried here, so that a missing library is known at the start.
            checker_in_process(mechanism, options.root.as_deref())?;
            worker_arguments(mechanism, options)
        }
        false => Vec::new(),
    };
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let starter = Starter::launch(&program, &arguments, stderr(options, log), kept);
    let starter = starter.map_err(|e| e.to_string())?;
    Ok(Some(Arc::new(starter)))
}

fn worker_arguments(mechanism: Mechanism, options: &Options) -> Vec<OsString> {
    let mut arguments = vec![OsString::from(WORKER), mechanism.name().into()];
    if let Some(root) = &options.root {
        arguments.extend(["--root".into(), root.clone().into_os_string()]);
    }
    arguments
}

fn stderr(options: &Options, log: &Log) -> Stderr {
    match (options.mode, log.is_verbose()) {
        (Mode::Debug | Mode::Foreground, true) => Stderr::Shown,
        _ => Stderr::Lost,
    }
}

/// A maker of checkers, after trying that one can be made.
pub(super) fn prepare(
    mechanism: Mechanism,
    options: &Options,
    store: &Path,
    log: &Arc<Log>,
    starter: Option<&Arc<Starter>>,
) -> Result<Arc<MakeChecker>, String> {
    if mechanism.wants_process() {
        let by = match starter {
            Some(starter) => By::Starter(Arc::clone(starter)),
            None => {
                checker_in_process(mechanism, options.root.as_deref())?;
                By::Ourselves
            }
        };
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let arguments = worker_arguments(mechanism, options);
        let recipe = Recipe {
            by,
            program,
            arguments,
            silence_limit: SILENCE_LIMIT,
            requests_limit: REQUESTS_LIMIT,
            told: match options.processes {
                0 => Told::No,
                _ => Told::Yes,
            },
        };
        let log = Arc::clone(log);
        let make: Arc<MakeChecker> =
            Arc::new(move || Box::new(WorkerChecker::new(recipe.clone(), Arc::clone(&log))));
        return Ok(make);
    }
    if mechanism == Mechanism::Rimap {
        let option = options.mechanism_option.as_deref().unwrap_or_default();
        let rimap = Remote::parse(option)
            .and_then(Rimap::new)
            .map_err(|e| e.to_string())?;
        return Ok(Arc::new(move || Box::new(rimap.clone())));
    }
    let path = store.to_owned();
    let host = rustix::system::uname().nodename().to_bytes().to_vec();
    let log = Arc::clone(log);
    let make: Arc<MakeChecker> =
        Arc::new(move || Box::new(SasldbChecker::new(&path, &host, Arc::clone(&log))));
    Ok(make)
}

/// A checker that runs in this process, for workers.
fn checker_in_process(
    mechanism: Mechanism,
    root: Option<&Path>,
) -> Result<Box<dyn PasswordChecker>, String> {
    let accounts = match root {
        Some(root) => Accounts::Root(root.to_owned()),
        None => Accounts::System,
    };
    let crypt = || Crypt::load().map_err(|e| e.to_string());
    match mechanism {
        Mechanism::Pam => {
            let pam = Pam::load().map_err(|e| e.to_string())?;
            Ok(Box::new(PamChecker { pam }))
        }
        Mechanism::Shadow => Ok(Box::new(ShadowChecker {
            accounts,
            crypt: crypt()?,
        })),
        Mechanism::Getpwent => Ok(Box::new(Getpwent {
            accounts,
            crypt: crypt()?,
        })),
        Mechanism::Rimap | Mechanism::Sasldb => {
            Err(format!("{} needs no process", mechanism.name()))
        }
    }
}

/// The life of a worker process; the arguments are those after `--worker`.
pub(super) fn work(args: &[OsString]) -> ExitCode {
    // A worker must not outlive its server, however that ends.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let name = args.first().and_then(|a| a.to_str()).unwrap_or_default();
    let root = args.get(2).map(PathBuf::from);
    let socket = io::stdin();
    let Some(Named::Here(mechanism)) = mech::named(name) else {
        return ExitCode::from(1);
    };
    let Ok(mut checker) = checker_in_process(mechanism, root.as_deref()) else {
        return ExitCode::from(1);
    };
    let served = rustix::io::fcntl_dupfd_cloexec(&socket, 3)
        .map_err(io::Error::from)
        .and_then(|fd| {
            // Modules that read their standard input find it empty.
            let null = std::fs::File::open("/dev/null")?;
            rustix::stdio::dup2_stdin(&null)?;
            worker::serve(&mut UnixStream::from(fd), &mut *checker)
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}
