//! One command that builds a map from a source, run in a fresh folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::measure::{Run, measure, measure_within};
use crate::peers::Peer;
use crate::report::{Figure, Sample, Whose};

pub(super) const WALL: Figure = Figure::less("wall s");
pub(super) const CPU: Figure = Figure::less("CPU s");
pub(super) const PEAK: Figure = Figure::less("peak MiB");
const DISK: Figure = Figure::less("on disk MiB");

/// After so much of a processor a peer is stopped, in seconds.
const PEERS_CPU_SECONDS: u64 = 300;

/// How a program gets the source.
#[derive(Clone, Debug)]
pub(super) enum Feed {
    /// On standard input.
    Stdin(PathBuf),
    /// By name, in the folder where it builds.
    Beside(PathBuf),
}

/// A command that builds something.
#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) title: String,
    whose: Whose,
    program: Peer,
    args: Vec<OsString>,
    feed: Feed,
}

impl Build {
    /// With a program of this workspace.
    pub(super) fn ours(title: &str, program: &Path, feed: Feed) -> Self {
        Build {
            title: title.into(),
            whose: Whose::Ours,
            program: Peer {
                program: program.into(),
                root: None,
            },
            args: Vec::new(),
            feed,
        }
    }

    /// With a peer's program.
    pub(super) fn peer(title: &str, peer: &Peer, feed: Feed) -> Self {
        Build {
            title: title.into(),
            whose: Whose::APeers,
            program: peer.clone(),
            args: Vec::new(),
            feed,
        }
    }

    pub(super) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn is_ours(&self) -> bool {
        self.whose == Whose::Ours
    }

    /// Builds once, in a `folder` that is empty but for the source.
    ///
    /// # Errors
    /// The command fails, or builds nothing.
    pub(super) fn run(&self, folder: &Path) -> io::Result<Sample> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir(folder)?;
        let mut command = self.program.command();
        command
            .args(&self.args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut beside = None;
        match &self.feed {
            Feed::Stdin(source) => {
                command.stdin(File::open(source)?);
            }
            Feed::Beside(source) => {
                let to = folder.join(source.file_name().unwrap_or_default());
                fs::copy(source, &to)?;
                beside = Some(to);
            }
        }
        settle(folder)?;
        let run = match self.whose {
            Whose::Ours => measure(&mut command)?,
            Whose::APeers => measure_within(&mut command, PEERS_CPU_SECONDS)?,
        };
        let mut disk_octets = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if Some(entry.path()) != beside {
                disk_octets += entry.metadata()?.blocks() * 512;
            }
        }
        fs::remove_dir_all(folder)?;
        match disk_octets {
            0 => Err(io::Error::other(format!("{}: built nothing", self.title))),
            _ => Ok(sample(run, disk_octets)),
        }
    }
}

/// What earlier runs left to be written to the folder's file system is no business of this one;
/// that other file systems have to write can wait.
#[allow(unsafe_code)] // std has no syncfs(2)
fn settle(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    // SAFETY: the descriptor is open for as long as the call lasts.
    match unsafe { libc::syncfs(folder.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn sample(run: Run, disk_octets: u64) -> Sample {
    let mebi = |octets: u64| octets as f64 / f64::from(1 << 20);
    Sample(vec![
        (WALL, run.wall.as_secs_f64()),
        (CPU, run.cpu.as_secs_f64()),
        (PEAK, mebi(run.peak_octets)),
        (DISK, mebi(disk_octets)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peers;

    #[test]
    fn what_is_built_counts_and_the_source_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("access");
        fs::write(&source, "a OK\n").unwrap();
        let peers = Peers::open(None, Path::new("/nowhere")).unwrap();
        let sh = peers.find("any", "sh").unwrap();
        let build = |feed, script| {
            let build = Build::peer("copy", &sh, feed).args(["-c", script]);
            build.run(&folder.path().join("build"))
        };
        build(Feed::Stdin(source.clone()), "cat > m.db").unwrap();
        build(Feed::Beside(source.clone()), "cat access > m.db").unwrap();
        let nothing = build(Feed::Beside(source), "true").unwrap_err();
        assert_eq!(nothing.to_string(), "copy: built nothing");
    }
}
