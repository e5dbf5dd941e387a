//! How things are measured: the options that every subject has.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::peers::Peers;
use crate::report::Report;

/// How often each contender has its turn if nothing else is said.
const RUNS: usize = 5;

/// The options that every subject has.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Setting {
    /// Small sizes, two turns: shows that all of it works, in a minute.
    #[arg(long)]
    quick: bool,
    /// Print JSON, which `bench plot` draws, and not tables.
    #[arg(long)]
    json: bool,
    /// How often each contender has its turn; 5 without it.
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// The folder that .ci/peers unpacked peers into; what is not there is looked for in PATH.
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Leave the peers out.
    #[arg(long)]
    alone: bool,
    /// The folder with the programs of this workspace; without it, where this program stands.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where to work; a folder of a real file system.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Small sizes: `--quick`.
    Quick,
    /// What the README tells of.
    Full,
}

/// A place to measure in.
#[derive(Debug)]
pub(crate) struct Bench {
    /// How much is measured.
    pub(crate) extent: Extent,
    /// How often each contender has its turn.
    pub(crate) runs: usize,
    /// Whom to compare with.
    pub(crate) peers: Peers,
    /// The folder with this workspace's programs.
    programs: PathBuf,
    folder: TempDir,
}

impl Setting {
    /// Makes the place.
    ///
    /// # Errors
    /// A folder that was named is not there.
    pub(crate) fn open(&self) -> io::Result<Bench> {
        let extent = match self.quick {
            true => Extent::Quick,
            false => Extent::Full,
        };
        let folder = match &self.folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let programs = match &self.programs {
            Some(programs) => programs.canonicalize()?,
            None => std::env::current_exe()?
                .parent()
                .map(PathBuf::from)
                .unwrap_or_default(),
        };
        let peers = match self.alone {
            true => Peers::none(),
            false => Peers::open(self.peers.as_deref(), &programs)?,
        };
        Ok(Bench {
            extent,
            runs: self.runs.unwrap_or(match extent {
                Extent::Quick => 2,
                Extent::Full => RUNS,
            }),
            peers,
            programs,
            folder,
        })
    }

    /// Prints what was found out, as tables or as JSON.
    pub(crate) fn print(&self, report: &Report) {
        match self.json {
            true => println!("{:#}", report.json()),
            false => print!("{}", report.text()),
        }
    }
}

impl Bench {
    /// The folder to work in, which is removed at the end.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file or folder in [`Bench::folder`].
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program of this workspace.
    ///
    /// # Errors
    /// It is not built.
    pub(crate) fn program(&self, name: &str) -> io::Result<PathBuf> {
        let program = self.programs.join(name);
        match program.is_file() {
            true => Ok(program),
            false => Err(io::Error::other(format!(
                "{}: not there; build it first (cargo build --release --workspace)",
                program.display()
            ))),
        }
    }
}
