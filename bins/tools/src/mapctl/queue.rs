//! `mapctl queue`: mailq under this roof.
//!
//! The queue belongs to the server's package; `mailq`, which lies beside this program or in
//! /usr/sbin, asks the server that has it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use libmaps::sysexits::SysExit;

use super::{Failure, Style};
use crate::report::version;

/// Arguments of `mapctl queue`.
#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    /// Take the site's paths below this folder.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The configuration, instead of /etc/mail/sendmail.mc.
    #[arg(short = 'C', value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All messages, oldest first.
    List,
    /// The envelopes and the texts of messages.
    Show {
        /// Their queue ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Do not try to deliver these.
    Hold {
        /// Their queue ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Deliver what was held or quarantined.
    Release {
        /// Their queue ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Write what waits into files, for another mail program. No server may run.
    Export {
        /// The folder, which is made where it is not there.
        folder: PathBuf,
    },
    /// Throw these away.
    Remove {
        /// Their queue ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Where the server's package puts mailq, if not beside this program.
const MAILQ: &str = "/usr/sbin/mailq";

/// Runs mailq; its exit is ours.
pub(super) fn queue(args: &QueueArgs, style: Style) -> Result<SysExit, Failure> {
    let beside = std::env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name("mailq"));
    let candidates = beside.into_iter().chain([MAILQ.into()]);
    let Some(program) = candidates.into_iter().find(|path| is_of_this_suite(path)) else {
        let text = format!("no mailq of this suite beside mapctl or in {MAILQ}");
        return Err(Failure::Other(SysExit::Unavailable, text));
    };
    let status = Command::new(program)
        .args(args.words(style))
        .status()
        .map_err(Failure::Output)?;
    let exit = status.code().and_then(SysExit::of_code);
    Ok(exit.unwrap_or(SysExit::TempFail))
}

/// Whether a file is our mailq: others of that name, which are sendmail's or call it, show the
/// queue whatever they are asked for.
fn is_of_this_suite(path: &Path) -> bool {
    let asked = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    asked.is_ok_and(|said| said.stdout == version("mailq").as_bytes())
}

impl QueueArgs {
    fn words(&self, style: Style) -> Vec<OsString> {
        let mut words = Vec::new();
        if let Some(root) = &self.root {
            words.extend(["--root".into(), root.into()]);
        }
        if let Some(file) = &self.file {
            words.extend(["-C".into(), file.into()]);
        }
        if style == Style::Json {
            words.push("--json".into());
        }
        let (verb, ids) = match &self.what {
            What::Export { folder } => {
                words.extend(["export".into(), folder.into()]);
                return words;
            }
            What::List => ("list", &[][..]),
            What::Show { ids } => ("show", ids.as_slice()),
            What::Hold { ids } => ("hold", ids.as_slice()),
            What::Release { ids } => ("release", ids.as_slice()),
            What::Remove { ids } => ("remove", ids.as_slice()),
        };
        words.push(verb.into());
        words.extend(ids.iter().map(OsString::from));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_mailq() {
        let args = QueueArgs {
            root: Some("/r".into()),
            file: None,
            what: What::Hold {
                ids: vec!["a".into(), "b".into()],
            },
        };
        let words = args.words(Style::Json);
        assert_eq!(words, ["--root", "/r", "--json", "hold", "a", "b"]);
    }
}
