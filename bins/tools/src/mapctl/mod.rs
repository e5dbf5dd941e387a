//! mapctl(8): what the old tools can't do with maps.

mod ask;
mod check;
mod convert;
mod demo;
mod diff;
mod entry;
mod expand;
mod explain;
mod info;
mod name;
mod query;
mod queue;
mod rewrite;
mod serve;
mod shared;
mod site;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use libmaps::map::StoreError;
use libmaps::sysexits::SysExit;

use crate::report::{complain, finish};
use crate::{editmap, makemap};

/// Asks, dumps, compares and converts mail maps, and explains what they decide.
#[derive(Debug, Parser)]
#[command(name = "mapctl", version, max_term_width = 100)]
pub struct Cli {
    /// Print JSON lines instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the values of keys.
    Query(query::QueryArgs),
    /// Print all entries.
    Dump(query::DumpArgs),
    /// Print what a map says of itself.
    Info(info::InfoArgs),
    /// Make a map of another class, counted and compared before it is published.
    Convert(convert::ConvertArgs),
    /// Bring a map to the engine of a shared map, as its new generation.
    Push(shared::PushArgs),
    /// Print the generations of a shared map that its engine keeps.
    Generations(shared::GenerationsArgs),
    /// Make an older generation of a shared map the current one.
    Rollback(shared::RollbackArgs),
    /// Keep the replicas of shared maps as new as the engines' maps.
    Follow(shared::FollowArgs),
    /// Print what was added, removed and changed between two maps.
    Diff(diff::DiffArgs),
    /// Find what is wrong with a site or with sources of maps.
    Check(check::CheckArgs),
    /// Print the effective configuration.
    Site(site::SiteCommand),
    /// Explain every decision of an SMTP session.
    Explain(Box<explain::ExplainArgs>),
    /// Answer requests of programs, a JSON object a line.
    Ask(ask::AskArgs),
    /// Show where mail for an address ends up.
    Expand(expand::ExpandArgs),
    /// Show what an address becomes in a header or an envelope.
    Rewrite(rewrite::RewriteArgs),
    /// Answer other mail programs: lookups and decisions.
    Serve(Box<serve::ServeArgs>),
    /// Show the mail queue, and hold, release or remove what is in it.
    Queue(queue::QueueArgs),
    /// Try the tools on a sample site in a temporary folder.
    Demo(demo::DemoArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A map could not be read or written.
    Store(StoreError),
    /// Two maps are not the same: exit 1, as diff(1) has it.
    Differ,
    /// The output could not be written.
    Output(io::Error),
    /// Anything else, with its exit code.
    Other(SysExit, String),
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Failure::Store(e)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Output(e)
    }
}

/// What a command comes to.
pub(crate) type Outcome = Result<SysExit, Failure>;

/// Runs the program on its arguments, its name first.
///
/// Called as `makemap` or `editmap` it is that program: the demo calls itself so.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_else(|| "mapctl".into());
    match name.to_str() {
        Some("makemap") => return makemap::run(args),
        Some("editmap") => return editmap::run(args),
        _ => {}
    }
    let cli = match Cli::try_parse_from(std::iter::once(name).chain(args)) {
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
    let outcome = match cli.command {
        Command::Query(args) => query::query(&args, style),
        Command::Dump(args) => query::dump(&args, style),
        Command::Info(args) => info::info(&args, style),
        Command::Convert(args) => convert::convert(&args, style),
        Command::Push(args) => shared::push(&args, style),
        Command::Generations(args) => shared::generations(&args, style),
        Command::Rollback(args) => shared::rollback(&args, style),
        Command::Follow(args) => shared::follow(&args, style),
        Command::Diff(args) => diff::diff(&args, style),
        Command::Check(args) => check::check(&args, style),
        Command::Site(args) => site::site(&args, style),
        Command::Explain(args) => explain::explain(&args, style, io::stdout().lock()),
        Command::Expand(args) => expand::expand(&args, style),
        Command::Rewrite(args) => rewrite::rewrite(&args, style),
        Command::Ask(args) => ask::ask(&args, io::stdin().lock(), io::stdout().lock()),
        Command::Serve(args) => serve::serve(*args),
        Command::Queue(args) => queue::queue(&args, style),
        Command::Demo(args) => demo::demo(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mapctl", &mut script);
            io::stdout()
                .write_all(&script)
                .map_err(Failure::Output)
                .map(|()| SysExit::Ok)
        }
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(Failure::Differ) => ExitCode::from(1),
        Err(Failure::Output(e)) => finish("mapctl", Err(e), SysExit::Ok),
        Err(Failure::Store(e)) => {
            complain(&[format!("mapctl: {e}").as_bytes()]);
            e.exit().into()
        }
        Err(Failure::Other(exit, text)) => {
            complain(&[format!("mapctl: {text}").as_bytes()]);
            exit.into()
        }
    }
}
