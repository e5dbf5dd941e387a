//! mapremote(8): what the other programs ask it to do.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use libmaps::map::{MapClass, StoreError};
use libmaps::store::shared::frame::{Frame, MAX_ENTRY_OCTETS};
use libmaps::store::shared::{Connection, Wish};
use libmaps::sysexits::SysExit;

use crate::count::count;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::follow::{Until, follow};
use crate::generations;
use crate::ldap::entry::{self, Changed};
use crate::ldap::{self, Directory};
use crate::log::{Log, Style};
use crate::pgsql::{Pgsql, schema};
use crate::redis::Redis;
use crate::supervise::{Followed, supervise, supervise_reader};
use crate::tidy;
use crate::write::{self, Written, write};

/// Brings maps to PostgreSQL, Redis and LDAP, and follows those that are there.
#[derive(Debug, Parser)]
#[command(name = "mapremote", version, max_term_width = 100)]
pub struct Cli {
    /// Print JSON lines instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Take absolute paths in connection files below this folder.
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the replicas of these maps as new as the engines' maps.
    Follow {
        /// Look at each map once, and end.
        #[arg(long)]
        once: bool,
        /// End when standard input does, start again what ends before, and read all anew at
        /// each line.
        #[arg(long, conflicts_with = "once")]
        with_parent: bool,
        /// Follow the shared maps that the site's configuration names.
        #[arg(long, requires = "with_parent", conflicts_with = "files")]
        site: bool,
        /// The site's configuration, instead of /etc/mail/sendmail.mc.
        #[arg(short = 'C', long, value_name = "FILE", requires = "site")]
        config: Option<PathBuf>,
        /// End when standard input does.
        #[arg(long, hide = true, conflicts_with_all = ["once", "with_parent"])]
        worker: bool,
        /// Connection files.
        #[arg(required_unless_present = "site")]
        files: Vec<PathBuf>,
    },
    /// Print the generations of a map that its engine keeps.
    Generations {
        /// Connection file.
        file: PathBuf,
    },
    /// Make an older generation the current one.
    Rollback {
        /// Connection file.
        file: PathBuf,
        /// Its number.
        generation: u64,
    },
    /// Remove what is old and need not be kept any more, in pieces with pauses between them.
    ///
    /// A writer removes a little itself and starts this for the rest.
    Tidy {
        /// Connection file.
        file: PathBuf,
    },
    /// Hold the lock of a map and take a new generation from standard input: for the programs
    /// that write maps.
    Write {
        /// What the replica is to be before, and what is sent: load, whole or edit.
        wish: String,
        /// Connection file.
        file: PathBuf,
    },
    /// Change one entry of a map in a directory: for editmap.
    Entry {
        /// Connection file, of class ldap.
        file: PathBuf,
    },
    /// Count connections together with other hosts, for the server at standard input.
    Count {
        /// Start again what ends before standard input does.
        #[arg(long)]
        with_parent: bool,
        /// The window of rates, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        window: u64,
        /// What this host is called in the engine.
        #[arg(long, hide = true)]
        host: Option<String>,
        /// Connection file, of class redis.
        file: PathBuf,
    },
    /// Print the statements that make the tables in a PostgreSQL database.
    Schema,
}

/// Runs the program on its arguments, its name first.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            let exit = match e.use_stderr() {
                true => SysExit::Usage,
                false => SysExit::Ok,
            };
            let _ = e.print();
            return exit.into();
        }
    };
    let style = match cli.json {
        true => Style::Json,
        false => Style::Text,
    };
    let root = cli.root.as_deref();
    let done = match &cli.command {
        Command::Write { wish, file } => return write_command(wish, file, root),
        Command::Entry { file } => return entry_command(file, root),
        Command::Schema => io::stdout()
            .write_all(schema::DDL.as_bytes())
            .map_err(Fault::from),
        Command::Follow {
            with_parent: true,
            site,
            config,
            files,
            ..
        } => {
            let followed = match site {
                true => Followed::Site(config.clone()),
                false => Followed::Files(files.clone()),
            };
            supervise(&worker(root, style), &followed, root, &Log::new(style))
        }
        Command::Count {
            with_parent,
            window,
            host,
            file,
        } => {
            let host = host.clone().map_or_else(own_name, Ok);
            host.and_then(|host| match with_parent {
                true => {
                    let args = counter(file, &host, *window, root, style);
                    supervise_reader(&args, &Log::new(style))
                }
                false => {
                    let window = Duration::from_secs(*window);
                    let connection = connection(file, root)?;
                    count(&connection, &host, window, &Log::new(style))
                }
            })
        }
        Command::Follow {
            once,
            worker,
            files,
            ..
        } => {
            let until = match (once, worker) {
                (true, _) => Until::Once,
                (false, true) => Until::ParentEnds,
                (false, false) => Until::Ever,
            };
            let read = |file: &Path| connection(file, root);
            follow(files, &read, until, Log::new(style))
        }
        Command::Generations { file } => about(file, root, About::Print(style)),
        Command::Tidy { file } => about(file, root, About::Tidy),
        Command::Rollback { file, generation } => about(file, root, About::Rollback(*generation)),
    };
    match done {
        Ok(()) => SysExit::Ok.into(),
        Err(fault) => {
            complain(&format!("mapremote: {fault}"));
            fault.exit.into()
        }
    }
}

/// The arguments, but for the files, of the process that follows for a supervisor.
fn worker(root: Option<&Path>, style: Style) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["follow".into(), "--worker".into()];
    if style == Style::Json {
        args.push("--json".into());
    }
    if let Some(root) = root {
        args.extend(["--root".into(), root.as_os_str().to_owned()]);
    }
    args
}

/// The arguments of the process that counts for a supervisor. What it calls this host stays,
/// however often it is started, so that nothing counts which one before it said.
fn counter(
    file: &Path,
    host: &str,
    window: u64,
    root: Option<&Path>,
    style: Style,
) -> Vec<OsString> {
    let window = window.to_string();
    let mut args: Vec<OsString> = ["count", "--host", host, "--window", &window]
        .map(OsString::from)
        .into();
    if style == Style::Json {
        args.push("--json".into());
    }
    if let Some(root) = root {
        args.extend(["--root".into(), root.as_os_str().to_owned()]);
    }
    args.extend(["--".into(), file.as_os_str().to_owned()]);
    args
}

/// What a host is called where hosts count together; no two are called the same.
fn own_name() -> Result<String, Fault> {
    let lot = getrandom::u32().map_err(|e| Fault::new(SysExit::OsErr, e.to_string()))?;
    Ok(format!("{}:{lot:08x}", write::host()))
}

fn complain(line: &str) {
    // When even that can't be written, the exit code still tells.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn connection(file: &Path, root: Option<&Path>) -> Result<Connection, Fault> {
    let Some(class) = Connection::class_of(file) else {
        let why = format!(
            "{}: the name of a connection file ends in .pgsql, .redis or .ldap",
            file.display()
        );
        return Err(Fault::new(SysExit::Usage, why));
    };
    Ok(Connection::read(class, file, root)?)
}

/// What is wanted of one map.
#[derive(Clone, Copy)]
enum About {
    Print(Style),
    Rollback(u64),
    Tidy,
}

fn about(file: &Path, root: Option<&Path>, what: About) -> Result<(), Fault> {
    let connection = connection(file, root)?;
    let named = |fault: Fault| Fault::new(fault.exit, format!("{}: {}", file.display(), fault.why));
    runtime()?.block_on(async {
        match connection.class {
            MapClass::Pgsql => ask::<Pgsql>(&connection, what).await,
            MapClass::Redis => ask::<Redis>(&connection, what).await,
            MapClass::Ldap => match what {
                About::Print(_) | About::Tidy => ask::<Directory>(&connection, what).await,
                About::Rollback(number) => ldap::believe(&connection, number).await,
            },
            class => Err(no_generations(class)),
        }
        .map_err(named)
    })
}

async fn ask<E: Engine>(connection: &Connection, what: About) -> Result<(), Fault> {
    match what {
        About::Print(style) => generations::print::<E>(connection, style).await,
        About::Rollback(number) => generations::rollback::<E>(connection, number).await,
        About::Tidy => tidy::finish::<E>(connection).await,
    }
}

fn no_generations(class: MapClass) -> Fault {
    let why = format!("maps of class {class} have no generations");
    Fault::new(SysExit::Config, why)
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Ok(runtime?)
}

/// The writer's other half: what is wrong goes to the writer, which tells it in its own way.
fn write_command(wish: &str, file: &Path, root: Option<&Path>) -> ExitCode {
    let done = Wish::parse(wish)
        .ok_or_else(|| Fault::new(SysExit::Usage, "expected load, whole or edit"))
        .and_then(|wish| {
            let class = Connection::class_of(file);
            let connection = Connection::read(class.unwrap_or(MapClass::Pgsql), file, root)
                .map_err(|e: StoreError| Fault::new(e.exit(), e.reason()))?;
            let runtime = runtime()?;
            let done = runtime.block_on(write_to(&connection, wish));
            // A thread that waits for a writer which never comes ends with the process.
            runtime.shutdown_background();
            done
        });
    match done {
        Ok(()) => SysExit::Ok.into(),
        Err(fault) => {
            let line = format!("error {} {fault}\n", fault.exit.code());
            let _ = io::stdout().write_all(line.as_bytes());
            fault.exit.into()
        }
    }
}

/// As [`write_command`], of one entry: a frame on standard input, without a value to delete it.
fn entry_command(file: &Path, root: Option<&Path>) -> ExitCode {
    let change = || {
        let class = Connection::class_of(file);
        let Some(class @ MapClass::Ldap) = class else {
            return Err(Fault::new(SysExit::Usage, "expected a map of class ldap"));
        };
        let connection = Connection::read(class, file, root)
            .map_err(|e: StoreError| Fault::new(e.exit(), e.reason()))?;
        let mut octets = Vec::new();
        let input = io::stdin().lock();
        input.take(MAX_ENTRY_OCTETS).read_to_end(&mut octets)?;
        let Some((frame, [])) = Frame::split(&octets)? else {
            return Err(Fault::new(SysExit::Usage, "expected one entry"));
        };
        let changed = entry::change(&connection, frame.lhs, frame.rhs);
        runtime()?.block_on(changed)
    };
    let (line, exit) = match change() {
        Ok(Changed::Done) => ("done\n".to_owned(), SysExit::Ok),
        Ok(Changed::Absent) => ("absent\n".to_owned(), SysExit::Ok),
        Err(fault) => {
            let line = format!("error {} {fault}\n", fault.exit.code());
            (line, fault.exit)
        }
    };
    let _ = io::stdout().write_all(line.as_bytes());
    exit.into()
}

async fn write_to(connection: &Connection, wish: Wish) -> Result<(), Fault> {
    match connection.class {
        MapClass::Pgsql => write_and_tidy::<Pgsql>(connection, wish).await,
        MapClass::Redis => write_and_tidy::<Redis>(connection, wish).await,
        MapClass::Ldap => write_to_directory(connection, wish).await,
        class => Err(no_generations(class)),
    }
}

async fn write_to_directory(connection: &Connection, wish: Wish) -> Result<(), Fault> {
    let written = ldap::write(connection, wish, io::stdin(), io::stdout()).await?;
    if let Written::Nothing = written {
        return Ok(());
    }
    // The directory has the map, and this host, too; what is not told now a follower will.
    if let Err(fault) = ldap::bring(connection).await {
        complain(&format!(
            "mapremote: {}: {fault}",
            connection.file.display()
        ));
    }
    Ok(())
}

async fn write_and_tidy<E: Engine>(connection: &Connection, wish: Wish) -> Result<(), Fault> {
    let written = write::<E>(connection, wish, io::stdin(), io::stdout()).await?;
    if let Written::Nothing = written {
        return Ok(());
    }
    if let Err(fault) = tidy::begin::<E>(connection).await {
        let file = connection.file.display();
        complain(&format!(
            "mapremote: {file}: old generations are not removed: {fault}"
        ));
    }
    Ok(())
}
