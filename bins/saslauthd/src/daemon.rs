//! saslauthd from its command line to its end.

mod checkers;
mod rights;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use libmaps::sasl::account_file::AccountFile;
use libmaps::sasl::password::SecretBytes;
use tools::report::asked_about_itself;
use tools::serve::{Access, ListenAddress, Offer, Server as Bound};

use crate::cache::CredentialCache;
use crate::dovecot::{DEFAULT_MECHANISMS, DovecotService, LIMITS};
use crate::log::{Log, Verbosity};
use crate::mech::{self, Mechanism, Named, Watch};
use crate::notify::Notifier;
use crate::options::{self, Command, Mode, Options, below};
use crate::pool::Pool;
use crate::process::{
    DETACHED, THREADS_LIMIT, catch_signals, detach, leave_terminal, raise_descriptors, random_key,
};
use crate::run_dir::{self, PidFile, RunDir, RunDirError};
use crate::server::service::{Service, WatchedCache};
use crate::server::{Ended, Server};
use crate::starter::{self, STARTER};

use checkers::{WORKER, launch, prepare, work};
use rights::{confine, leave_root};

/// The store of `-a sasldb`.
const SASLDB: &str = "/etc/sasldb2";
/// The connection file of accounts that hosts share; where it stands they are the ones that count.
const SHARED: &str = "/etc/sasldb2.pgsql";

/// Threads for `-n 0`, which lets the original start a process for each client.
const THREADS_UNBOUNDED: usize = 32;

/// Runs saslauthd with these arguments, the program's name first.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| "saslauthd".into());
    let mut args: Vec<OsString> = args.collect();
    match args.first().and_then(|a| a.to_str()) {
        Some(WORKER) => return work(args.get(1..).unwrap_or_default()),
        Some(STARTER) => {
            return match starter::serve(args.get(1..).unwrap_or_default()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(1),
            };
        }
        Some(DETACHED) => {
            args.remove(0);
            return start(&program, args, Stage::Detached);
        }
        _ => {}
    }
    start(&program, args, Stage::First)
}

/// Which process of a daemon's start this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    Detached,
}

fn start(program: &OsStr, args: Vec<OsString>, stage: Stage) -> ExitCode {
    if let Some(exit) = asked_about_itself("saslauthd", &args, options::about) {
        return exit;
    }
    let options = match options::read(program, args.clone()) {
        Command::Run(options) => *options,
        Command::Version => {
            eprint!("{}", options::version());
            return ExitCode::SUCCESS;
        }
        Command::Usage { complaint, logged } => {
            if let Some(complaint) = complaint {
                eprintln!("{complaint}");
            }
            if let Some(line) = logged {
                Log::new(Verbosity::Normal).error(line);
            }
            eprint!("{}", options::usage());
            return ExitCode::SUCCESS;
        }
        Command::Fail(line) => {
            Log::new(Verbosity::Normal).error(line);
            return ExitCode::from(1);
        }
    };
    let log = Arc::new(Log::new(options.verbose));
    match (options.mode, stage) {
        (Mode::Daemon, Stage::First) => detach(&args).unwrap_or_else(|error| {
            log.error(format!("could not detach: {error}"));
            ExitCode::from(1)
        }),
        _ => match run(&options, &log) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(&log),
        },
    }
}

/// Why the daemon doesn't start.
enum Failure {
    /// These lines, and exit 1.
    Lines(Vec<String>),
    /// Another one runs; exit 2. The lines are for syslog.
    Running(Vec<String>),
}

impl Failure {
    fn line(text: impl Into<String>) -> Self {
        Failure::Lines(vec![text.into()])
    }

    fn tell(self, log: &Log) -> ExitCode {
        match self {
            Failure::Lines(lines) => {
                log.attach();
                for line in lines {
                    log.error(line);
                }
                ExitCode::from(1)
            }
            Failure::Running(lines) => {
                log.detach();
                for line in lines {
                    log.error(line);
                }
                log.attach();
                log.error("Cannot start saslauthd");
                log.error("Another instance of saslauthd is currently running");
                ExitCode::from(2)
            }
        }
    }
}

impl From<RunDirError> for Failure {
    fn from(error: RunDirError) -> Self {
        Failure::Lines(error.lines())
    }
}

fn run(options: &Options, log: &Arc<Log>) -> Result<(), Failure> {
    run_dir::make(&options.run_dir)?;
    let mechanism = find_mechanism(&options.mechanism)?;
    let store = store(mechanism, options)?;
    let failed = |why| {
        let name = mechanism.name();
        Failure::Lines(vec![format!("failed to initialize mechanism {name}"), why])
    };
    let starter = launch(mechanism, options, store.path(), log).map_err(failed)?;
    let make = prepare(mechanism, options, store.path(), log, starter.as_ref()).map_err(failed)?;
    tell_options(mechanism, options, log);

    let io_failed = |error: io::Error| Failure::line(format!("could not start: {error}"));
    let (stop, stop_signal) = UnixStream::pair().map_err(io_failed)?;
    catch_signals(&stop_signal).map_err(io_failed)?;

    let (kind, pid) = match options.mode {
        Mode::Daemon => (PidFile::Daemon, std::process::id()),
        Mode::Foreground => (PidFile::Daemon, std::process::id()),
        Mode::Debug => (PidFile::Foreground, 0),
    };
    let mut dir = RunDir::enter(&options.run_dir, kind).map_err(|error| match options.mode {
        Mode::Daemon | Mode::Foreground if error.is_running() => Failure::Running(error.lines()),
        _ => Failure::from(error),
    })?;
    let cache = match options.cache {
        None => None,
        Some(size) => {
            dir.mark_cache(log)?;
            tell_cache(&size, log);
            Some(WatchedCache {
                cache: CredentialCache::new(size, &random_key().map_err(io_failed)?),
                watch: match mechanism {
                    Mechanism::Sasldb => Some(Watch::new(store.path().into())),
                    other => other
                        .source()
                        .map(|file| Watch::new(site_path(options, file))),
                },
            })
        }
    };
    if options.mode != Mode::Debug {
        log.detach();
    }
    log.info(format!("master pid is: {pid}"));
    if mechanism == Mechanism::Sasldb && store.path() != site_path(options, SASLDB) {
        log.info(format!("accounts: {}", store.path().display()));
    }
    let listener = dir.listen()?;
    log.info(format!("listening on socket: {}", dir.socket().display()));

    // Bound while that is allowed; its threads come after all that must be alone.
    let dovecot = bind_dovecot(options, &store, log)?;
    let notifier = Notifier::from_env();
    let rights = leave_root(starter.as_ref(), log);
    confine(mechanism, options, store.path(), rights, log);
    let dovecot = start_dovecot(dovecot, &stop)?;
    let connections = raise_descriptors();
    let pool = Pool::start(threads(options), make).map_err(io_failed)?;
    let host = rustix::system::uname().nodename().to_bytes().to_vec();
    let accounts = mechanism.accounts(&host);
    let log_too = Arc::clone(log);
    let service = Service::new(mechanism, accounts, options.logins, cache, log_too);
    let server = Server::new(listener, service, pool, stop, Arc::clone(log), connections);
    let server = server.map_err(io_failed)?;
    if options.mode == Mode::Daemon {
        leave_terminal().map_err(io_failed)?;
    }
    if let Some(notifier) = &notifier {
        notifier.ready();
    }
    let watched = starter.as_ref().map(|starter| starter.watched());
    let watched = watched.transpose().map_err(io_failed)?;
    let served = server.with_notifier(notifier).with_starter(watched);
    let served = served.and_then(|mut server| server.run());
    if let Some(dovecot) = dovecot {
        // If it was a signal, it has been told, too.
        let _ = (&stop_signal).write(b"e");
        let _ = dovecot.join();
    }
    if let (Some(starter), Some(path)) = (&starter, &options.dovecot) {
        // Gone already, where the server may remove it itself.
        let _ = starter.remove(&options.run_dir.join(path));
    }
    dir.remove(log);
    log.info(format!("master exited: {pid}"));
    match served {
        Ok(Ended::AsTold) => Ok(()),
        Ok(Ended::WithoutStarter) => Err(Failure::line(match mechanism.wants_process() {
            true => "the process that starts worker processes has died, so nobody can log in",
            false => "the process that keeps root's rights has died",
        })),
        Err(error) => Err(Failure::line(format!(
            "could not wait for clients: {error}"
        ))),
    }
}

/// The file that `-a sasldb` reads: what `-O` names, else the accounts that hosts share, where
/// their connection file stands, else this host's own. Of shared accounts it is the replica. An
/// old store beside a connection file may have passwords in it that were taken away since.
fn store(mechanism: Mechanism, options: &Options) -> Result<AccountFile, Failure> {
    let own = site_path(options, SASLDB);
    let named = match &options.mechanism_option {
        _ if mechanism != Mechanism::Sasldb => return Ok(AccountFile::Own(own)),
        Some(path) if path.starts_with('/') => site_path(options, path),
        // The original takes any word, and does nothing with it.
        _ => {
            let shared = site_path(options, SHARED);
            match shared.exists() {
                true => shared,
                false => own,
            }
        }
    };
    let file = AccountFile::of(&named, options.root.as_deref());
    let file = file.map_err(|error| Failure::line(error.to_string()))?;
    // What is not there now can't be read later: the process is confined to folders that are.
    let folder = file.path().parent().filter(|folder| !folder.is_dir());
    match folder {
        Some(folder) if matches!(file, AccountFile::Replica(_)) => Err(Failure::line(format!(
            "{}: no such folder, where the replica of {} is to be",
            folder.display(),
            named.display()
        ))),
        _ => Ok(file),
    }
}

/// Binds the socket of Dovecot's protocol, if that is wanted.
fn bind_dovecot(
    options: &Options,
    store: &AccountFile,
    log: &Arc<Log>,
) -> Result<Option<Bound>, Failure> {
    let Some(path) = &options.dovecot else {
        return Ok(None);
    };
    let failed = |error: &dyn std::fmt::Display| Failure::line(format!("-D: {error}"));
    let offered = match options.mechs.is_empty() {
        true => DEFAULT_MECHANISMS.to_vec(),
        false => options.mechs.clone(),
    };
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let realm = options.realm.clone().unwrap_or(host);
    let store = store.clone();
    let key = SecretBytes::new(random_key().map_err(|e| failed(&e))?.to_vec());
    let service = DovecotService::new(store, &realm, offered, key, Arc::clone(log));
    let offer = Offer {
        service: Arc::new(service),
        address: ListenAddress::Unix(path.clone()),
    };
    // As with the socket of saslauthd's own protocol the folder decides who may ask.
    let access = Access {
        mode: 0o777,
        group: None,
        clients: Vec::new(),
    };
    let report = Arc::clone(log);
    let bound = Bound::bind(
        vec![offer],
        &access,
        Arc::new(move |text: &str| report.info(text)),
    );
    bound.map(Some).map_err(|error| failed(&error))
}

/// Starts the thread that serves it.
fn start_dovecot(
    server: Option<Bound>,
    stop: &UnixStream,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(server) = server else {
        return Ok(None);
    };
    let failed = |error: io::Error| Failure::line(format!("-D: {error}"));
    let stop = stop.try_clone().map_err(failed)?;
    let thread = std::thread::Builder::new().name("dovecot".into());
    let started = thread.spawn(move || server.run(LIMITS, &stop));
    started.map(Some).map_err(failed)
}

fn find_mechanism(name: &str) -> Result<Mechanism, Failure> {
    match mech::named(name) {
        Some(Named::Here(mechanism)) => Ok(mechanism),
        Some(Named::ThroughPam(module)) => Err(Failure::Lines(vec![
            format!("failed to initialize mechanism {}", name.to_lowercase()),
            format!("it is reached through PAM here: use -a pam, and {module} in /etc/pam.d"),
        ])),
        None => Err(Failure::line(format!(
            "unknown authentication mechanism: {name}"
        ))),
    }
}

fn site_path(options: &Options, path: &str) -> PathBuf {
    match &options.root {
        Some(root) => below(root, path),
        None => PathBuf::from(path),
    }
}

fn threads(options: &Options) -> usize {
    match (options.processes, options.mode) {
        (0, Mode::Debug) => 1,
        (0, _) => THREADS_UNBOUNDED,
        (n, _) => n.min(THREADS_LIMIT),
    }
}

fn tell_options(mechanism: Mechanism, options: &Options, log: &Log) {
    let option = match (&options.mechanism_option, mechanism) {
        (None, _) => "NULL",
        // The original cuts the port off before it shows the host.
        (Some(o), Mechanism::Rimap) => o.split('/').next().unwrap_or_default(),
        (Some(o), _) => o,
    };
    log.debug(format!("num_procs  : {}", options.processes));
    log.debug(format!("mech_option: {option}"));
    log.debug(format!("run_path   : {}", options.run_dir.display()));
    log.debug(format!("auth_mech  : {}", mechanism.name()));
}

fn tell_cache(size: &crate::cache::CacheOptions, log: &Log) {
    log.debug(format!("timeout    : {} seconds", size.timeout.as_secs()));
    log.debug(format!("cache table: {} slots", size.slots));
    log.debug(format!("cache table: {} buckets", size.buckets()));
}
