//! Measures builds: the tools of this workspace beside whichever peers are installed.
//!
//! Each job runs in a fresh folder, in turn with the others, so that what else
//! the machine does meets all of them; the medians are printed as a table. CPU
//! seconds and peak memory are the kernel's own count (wait4(2)).
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod accounts;
mod auth;
mod faults;
mod import;
mod job;
mod measure;
mod saslauthd;
mod source;
mod table;
mod tree;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use job::{Peers, Whose};
use measure::Run;

/// Builds maps of many entries with these tools and with the peers that are installed, and
/// prints the medians.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
    /// How many entries the source has.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u32,
    /// How many aliases newaliases is given.
    #[arg(long, default_value_t = 100_000)]
    aliases: u32,
    /// How often each job runs.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The folder with makemap and newaliases of this workspace; without it, where this program
    /// stands.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Leave the peers out.
    #[arg(long)]
    alone: bool,
    /// postmap(1), if it is not in PATH; the environment's POSTMAP names it as well.
    #[arg(long)]
    postmap: Option<PathBuf>,
    /// The folder of postfix-lmdb.so and postfix-cdb.so, for a postmap(1) that was unpacked
    /// somewhere; it is run with a configuration of its own then. Or POSTMAP_PLUGINS.
    #[arg(long)]
    postmap_plugins: Option<PathBuf>,
    /// Where to build; a folder of a real file system.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What is measured instead of builds.
#[derive(Debug, clap::Subcommand)]
enum What {
    Import(import::Args),
    Auth(auth::Args),
    Faults(faults::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.what {
        None => run(&cli),
        Some(What::Import(args)) => import::run(args),
        Some(What::Auth(args)) => auth::run(args),
        Some(What::Faults(args)) => faults::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn run(cli: &Cli) -> io::Result<()> {
    let folder = match &cli.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let programs = match &cli.programs {
        Some(programs) => programs.canonicalize()?,
        None => std::env::current_exe()?
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default(),
    };
    let peers = Peers {
        wanted: !cli.alone,
        postmap: cli.postmap.clone().or_else(|| named("POSTMAP")),
        postmap_plugins: cli
            .postmap_plugins
            .clone()
            .or_else(|| named("POSTMAP_PLUGINS")),
    };
    source::access(&folder.path().join("access"), cli.entries)?;
    source::aliases(&folder.path().join("aliases"), cli.aliases)?;
    let (mut jobs, mut skipped) = job::all(folder.path(), &programs, &peers)?;
    let mut runs: Vec<Vec<Run>> = jobs.iter().map(|_| Vec::new()).collect();
    for turn in 1..=cli.runs {
        let mut at = 0;
        while let (Some(job), Some(done)) = (jobs.get(at), runs.get_mut(at)) {
            eprintln!("run {turn} of {}: {}", cli.runs, job.title);
            match job.run() {
                Ok(run) => {
                    done.push(run);
                    at += 1;
                }
                // A peer that does not work here is left out; ours must work.
                Err(e) if job.whose == Whose::APeers => {
                    skipped.push(e.to_string());
                    jobs.remove(at);
                    runs.remove(at);
                }
                Err(e) => return Err(e),
            }
        }
    }
    let titles = jobs.iter().map(|job| (job.title.as_str(), job.group));
    let figures = titles.zip(runs.iter().map(|runs| Run::median(runs)));
    print!("{}", table::text(cli.entries, cli.aliases, figures));
    for why in skipped {
        println!("skipped: {why}");
    }
    Ok(())
}
