//! What the programs say: version, help, errors, and the end of a run.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use libmaps::sysexits::SysExit;

use crate::getopt::Opt;

/// The version that `--version` prints.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes a line to standard error as octets, so that names that are no UTF-8 stay what they are.
pub fn complain(parts: &[&[u8]]) {
    let mut line = parts.concat();
    line.push(b'\n');
    // When even that can't be written, the exit code still tells.
    let _ = io::stderr().write_all(&line);
}

/// Ends a program whose work is done, unless its output could not be written.
///
/// A reader that went away (`| head`) is no error.
#[must_use]
pub fn finish(program: &str, written: io::Result<()>, exit: SysExit) -> ExitCode {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            let why = crate::alias_config::reason(&e);
            complain(&[format!("{program}: standard output: {why}").as_bytes()]);
            SysExit::IoErr.into()
        }
        _ => exit.into(),
    }
}

/// Prints `--version` or `--help` and ends.
#[must_use]
pub fn print_and_end(program: &str, text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    finish(program, written, SysExit::Ok)
}

/// The text of `--version`.
#[must_use]
pub fn version(program: &str) -> String {
    format!("{program} {VERSION}\n")
}

/// The text of `--help`: what the program is for, its usage, and a line for each option.
#[must_use]
pub fn help(about: &str, usage: &str, opts: &[Opt]) -> String {
    let mut text = format!("{about}\n\n{usage}\nOptions:\n");
    for opt in opts {
        let mut name = match (opt.short, opt.long) {
            (Some(c), Some(long)) => format!("-{}, --{long}", c as char),
            (Some(c), None) => format!("-{}", c as char),
            (None, Some(long)) => format!("--{long}"),
            (None, None) => continue,
        };
        if let Some(arg) = opt.arg {
            name.push(' ');
            name.push_str(arg);
        }
        text.push_str(&format!("  {name:<18}  {}\n", opt.help));
    }
    text
}

/// What a program prints that is asked about itself: `--help` or `--version` as its only argument. The originals
/// that know no long options take these for wrong letters.
#[must_use]
pub fn asked_about_itself(
    program: &str,
    args: &[OsString],
    help: impl FnOnce() -> String,
) -> Option<ExitCode> {
    match args {
        [word] if word == "--help" => Some(print_and_end(program, &help())),
        [word] if word == "--version" => Some(print_and_end(program, &version(program))),
        _ => None,
    }
}

/// The octets of an argument.
#[must_use]
pub fn octets(arg: &OsStr) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(arg)
}
