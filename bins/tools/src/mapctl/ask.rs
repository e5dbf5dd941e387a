//! `mapctl ask`: JSON lines in, JSON lines out.

use std::io::{BufRead, Read, Write};
use std::path::PathBuf;

use libmaps::sysexits::SysExit;

use super::{Failure, Outcome};
use crate::ask::{MAX_REQUEST_OCTETS, answer};
use crate::consult::Consultant;

/// Answers requests for programs: a JSON object a line on standard input, an answer a line on standard output.
#[derive(Debug, clap::Args)]
pub(super) struct AskArgs {
    /// Take all paths of the site below this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Read the configuration from this file instead of /etc/mail/sendmail.mc.
    #[arg(short = 'C', long = "config", value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

/// Runs the command on these streams.
pub(crate) fn ask(args: &AskArgs, input: impl BufRead, mut output: impl Write) -> Outcome {
    let consultant = Consultant::open(args.root.as_deref(), args.file.as_deref())
        .map_err(|error| Failure::Other(error.exit(), error.to_string()))?;
    answer_all(&consultant, input, &mut output)?;
    Ok(SysExit::Ok)
}

fn answer_all(
    consultant: &Consultant,
    mut input: impl BufRead,
    output: &mut impl Write,
) -> std::io::Result<()> {
    let limit = MAX_REQUEST_OCTETS as u64 + 1;
    let mut line = Vec::new();
    loop {
        line.clear();
        let got = input.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if got == 0 {
            return output.flush();
        }
        if line.last() != Some(&b'\n') && got as u64 == limit {
            skip_line(&mut input)?;
        }
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        writeln!(output, "{}", answer(consultant, &line))?;
        // A program that asks one thing after the other waits for each answer.
        output.flush()?;
    }
}

/// Drops what is left of a line that is too long.
fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let block = input.fill_buf()?;
        let (used, found) = match block.iter().position(|&octet| octet == b'\n') {
            Some(at) => (at + 1, true),
            None => (block.len(), false),
        };
        input.consume(used);
        if found || used == 0 {
            return Ok(());
        }
    }
}
