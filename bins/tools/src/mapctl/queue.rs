//! `mapctl queue`: mailq under this roof.
//!
//! The queue belongs to the server's package; `mailq`, which lies beside this program or on
//! the path, asks the server that has it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Subcommand};
use libmaps::sysexits::SysExit;

use super::{Failure, Style};

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
    /// The envelope and the text of a message.
    Show {
        /// Its queue id.
        id: String,
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
    /// Throw these away.
    Remove {
        /// Their queue ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Runs mailq; its exit is ours.
pub(super) fn queue(args: &QueueArgs, style: Style) -> Result<SysExit, Failure> {
    let beside = std::env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name("mailq"));
    let program = beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| "mailq".into());
    let status = Command::new(program)
        .args(args.words(style))
        .status()
        .map_err(Failure::Output)?;
    Ok(match status.code() {
        Some(0) => SysExit::Ok,
        Some(64) => SysExit::Usage,
        Some(66) => SysExit::NoInput,
        Some(69) => SysExit::Unavailable,
        _ => SysExit::TempFail,
    })
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
            What::List => ("list", &[][..]),
            What::Show { id } => ("show", std::slice::from_ref(id)),
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
