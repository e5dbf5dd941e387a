//! `bench faults`: tries to break what the programs promise, and counts what was lost.
//!
//! Each promise has a section of its own in [`SECTIONS`]. A section does its worst, counts
//! what it did, and writes down each loss; one loss and the whole run has failed. A section
//! that this machine can't run says why instead, so that no run looks better than it was.

mod attacks;
mod crash;
mod publish;
mod queue;
mod readers;
mod report;

use std::io;
use std::path::PathBuf;

use report::{Findings, Report};

/// Tries to break what the programs promise; ends with an error if anything was lost.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sections to run; without one, all.
    #[arg(value_parser = names())]
    sections: Vec<String>,
    /// A sample in seconds, and not all in minutes.
    #[arg(long)]
    quick: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// The folder with the programs of this workspace; without it, where this program stands.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where to work; a folder of a real file system.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// One promise, and what is done to break it.
struct Section {
    /// The word that chooses it.
    name: &'static str,
    /// What is promised.
    promise: &'static str,
    /// Does its worst. An error: the section itself could not work.
    run: fn(&Lab, &mut Findings) -> io::Result<()>,
}

/// All sections, in the order in which they run.
const SECTIONS: &[Section] = &[
    publish::SECTION,
    crash::SECTION,
    readers::SECTION,
    queue::SECTION,
    attacks::SECTION,
];

/// What a section is given.
struct Lab {
    /// The folder with makemap, editmap and so on.
    programs: PathBuf,
    /// An empty folder of its own.
    folder: PathBuf,
    effort: Effort,
}

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// A sample, for each run of the tests.
    Quick,
    /// Everything.
    Long,
}

fn names() -> clap::builder::PossibleValuesParser {
    SECTIONS.iter().map(|section| section.name).into()
}

pub(crate) fn run(args: &Args) -> io::Result<()> {
    let scratch = match &args.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    // Servers in it are other users.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), open)?;
    let programs = match &args.programs {
        Some(programs) => programs.canonicalize()?,
        None => std::env::current_exe()?
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default(),
    };
    let mut report = Report::default();
    for section in SECTIONS {
        if !args.sections.is_empty() && !args.sections.iter().any(|name| name == section.name) {
            continue;
        }
        eprintln!("faults: {}: {}", section.name, section.promise);
        let folder = scratch.path().join(section.name);
        std::fs::create_dir(&folder)?;
        let lab = Lab {
            programs: programs.clone(),
            folder,
            effort: match args.quick {
                true => Effort::Quick,
                false => Effort::Long,
            },
        };
        let mut findings = Findings::default();
        (section.run)(&lab, &mut findings)?;
        report.add(section.name, section.promise, findings);
    }
    match args.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.text()),
    }
    match report.losses() {
        0 => Ok(()),
        losses => Err(io::Error::other(format!("{losses} losses"))),
    }
}
