//! `-bp`: what waits, in the drop folder and in the queue.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use libmaps::site::users::Users;
use libmaps::sysexits::SysExit;

use super::args::{CommandLine, Refusal};
use super::scene::{Scene, keep_own_group_only};
use super::submit::say;
use crate::clock::Civil;
use crate::drop::DropId;
use crate::drop::submitter::Submitter;

/// Prints both; of messages that no server has taken yet, only whose they are.
///
/// # Errors
/// When the configuration can't be read.
pub(super) fn run(line: &CommandLine, out: &mut dyn Write) -> Result<ExitCode, Refusal> {
    let scene = Scene::open(line)?;
    let waiting = waiting(&scene);
    let own = keep_own_group_only();
    own.map_err(|e| Refusal::new(SysExit::OsErr, e.to_string()))?;
    if !waiting.is_empty() {
        let count = waiting.len();
        let plural = if count == 1 { "" } else { "s" };
        say(out, "MSP Queue status...");
        let shown = scene.folder.display();
        say(out, &format!("\t\t{shown} ({count} request{plural})"));
        waiting.iter().for_each(|text| say(out, text));
        say(out, "MTA Queue status...");
    }
    let _ = out.flush();
    let mut args: Vec<OsString> = Vec::new();
    for (name, value) in [("--root", &line.root), ("-C", &line.config)] {
        if let Some(value) = value {
            args.push(name.into());
            args.push(value.into());
        }
    }
    // What mailq has to say it says.
    Ok(crate::mailq::mailq(args))
}

/// A line for each file that is complete, oldest first.
fn waiting(scene: &Scene) -> Vec<String> {
    let users = Users::of(&scene.site).unwrap_or(Users::System);
    let Ok(folder) = std::fs::read_dir(&scene.folder) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for entry in folder.flatten() {
        let (Some(id), Ok(metadata)) = (DropId::of_file(&entry.file_name()), entry.metadata())
        else {
            continue;
        };
        let owner = Submitter::of(&users, metadata.uid());
        let owner = owner.map_or_else(|_| metadata.uid().to_string(), |o| o.name().to_owned());
        let time = metadata.modified().ok();
        let time = time.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let time = Civil::local(time.map_or(0, |t| t.as_secs())).ctime();
        let time = time.get(..16).unwrap_or(&time);
        lines.push(format!("{id} {:9} {time} {owner}", metadata.len()));
    }
    lines.sort_unstable();
    lines
}
