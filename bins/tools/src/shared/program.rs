//! Finding and running mapremote.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use libmaps::sysexits::SysExit;

/// The program's name.
const MAPREMOTE: &str = "mapremote";

/// mapremote beside the program that runs, else as PATH has it.
fn mapremote() -> OsString {
    let beside = std::env::current_exe().ok().and_then(|program| {
        let folder = program.parent()?;
        // The programs of a test stand in a folder below the others.
        let folders = [Some(folder), folder.parent()];
        let found = folders.into_iter().flatten().map(|f| f.join(MAPREMOTE));
        found
            .filter(|path| path.is_file())
            .map(PathBuf::into_os_string)
            .next()
    });
    beside.unwrap_or_else(|| MAPREMOTE.into())
}

/// Starts mapremote with a pipe to it and one from it.
///
/// # Errors
/// Why it can't be started, for people.
pub fn spawn(args: &[&OsStr]) -> Result<Child, String> {
    spawn_on(args, Stdio::piped())
}

/// Starts mapremote with this as its standard input, and a pipe from it.
///
/// # Errors
/// Why it can't be started, for people.
pub fn spawn_on(args: &[&OsStr], input: Stdio) -> Result<Child, String> {
    Command::new(mapremote())
        .args(args)
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| not_started(&e))
}

/// Runs mapremote with this program's input and output; gives its exit code.
///
/// # Errors
/// Why it can't be started, for people.
pub fn run(args: &[&OsStr]) -> Result<SysExit, String> {
    let status = Command::new(mapremote()).args(args).status();
    let status = status.map_err(|e| not_started(&e))?;
    let code = status.code().unwrap_or(SysExit::Software.code().into());
    Ok(SysExit::of_code(code).unwrap_or(SysExit::Software))
}

/// Becomes mapremote: for what goes on until it is told to end, so that whoever started this
/// program and ends it ends that. Comes back only where it can't, and says why, for people.
#[must_use]
pub fn become_mapremote(args: &[&OsStr]) -> String {
    not_started(&Command::new(mapremote()).args(args).exec())
}

fn not_started(error: &std::io::Error) -> String {
    format!("cannot run {MAPREMOTE}, which talks to the engines of shared maps: {error}")
}
