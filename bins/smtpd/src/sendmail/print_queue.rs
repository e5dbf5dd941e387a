//! `-bp`: what waits, in the drop folder and in the queue.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use libmaps::site::users::Users;
use libmaps::sysexits::SysExit;
use tools::alias_config::reason;

use super::args::{CommandLine, QueueOf, Refusal, Talk};
use super::scene::{Scene, keep_own_group_only};
use super::submit::say;
use crate::clock::Civil;
use crate::drop::DropId;
use crate::drop::submitter::Submitter;
use crate::mailq::Detail;
use crate::queue::{Condition, Envelope, selects};

/// Prints both, or the one that is asked for; of messages that no server has taken yet, only
/// whose they are.
///
/// # Errors
/// When the configuration can't be read, or the drop folder can't where it alone is asked for.
pub(super) fn run(line: &CommandLine, out: &mut dyn Write) -> Result<ExitCode, Refusal> {
    if !line.operands.is_empty() {
        return Err(Refusal::usage(
            "sendmail: -bp takes no operands; mapctl queue hold|release|remove ID works on messages",
        ));
    }
    let scene = Scene::open(line)?;
    let waiting = match line.queue_of {
        QueueOf::Server => Ok(Vec::new()),
        // Of the folder of another queue nothing is dropped.
        QueueOf::Both if line.queue_folder().is_some() => Ok(Vec::new()),
        QueueOf::Both | QueueOf::Client => waiting(&scene, &line.queue.conditions),
    };
    let own = keep_own_group_only();
    own.map_err(|e| Refusal::new(SysExit::OsErr, e.to_string()))?;
    if line.queue_of == QueueOf::Client {
        let waiting = waiting.map_err(|error| {
            let text = format!("{}: {}", scene.folder.display(), reason(&error));
            Refusal::new(SysExit::NoPerm, text)
        })?;
        list(&scene, &waiting, out);
        say(out, &format!("\t\tTotal requests: {}", waiting.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let waiting = waiting.unwrap_or_default();
    if !waiting.is_empty() {
        say(out, "MSP Queue status...");
        list(&scene, &waiting, out);
        say(out, "MTA Queue status...");
    }
    let _ = out.flush();
    let detail = match line.talk {
        Talk::Verbose => Detail::All,
        Talk::Quiet => Detail::Plain,
    };
    // What mailq has to say it says.
    let conditions = line.queue.conditions.clone();
    Ok(crate::mailq::list_of(&scene.site, detail, conditions))
}

fn list(scene: &Scene, waiting: &[String], out: &mut dyn Write) {
    let shown = scene.folder.display();
    let count = waiting.len();
    if count == 0 {
        return say(out, &format!("{shown} is empty"));
    }
    let plural = if count == 1 { "" } else { "s" };
    say(out, &format!("\t\t{shown} ({count} request{plural})"));
    waiting.iter().for_each(|text| say(out, text));
}

/// A line for each file that is complete and chosen, oldest first. Of its envelope its owner is
/// known.
fn waiting(scene: &Scene, conditions: &[Condition]) -> io::Result<Vec<String>> {
    let users = Users::of(&scene.site).unwrap_or(Users::System);
    let folder = match std::fs::read_dir(&scene.folder) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut lines = Vec::new();
    for entry in folder.flatten() {
        let (Some(id), Ok(metadata)) = (DropId::of_file(&entry.file_name()), entry.metadata())
        else {
            continue;
        };
        let owner = Submitter::of(&users, metadata.uid());
        let owner = owner.map_or_else(|_| metadata.uid().to_string(), |o| o.name().to_owned());
        let known = Envelope {
            id: id.as_str().into(),
            sender: owner.as_str().into(),
            ..Envelope::default()
        };
        if !selects(conditions, &known) {
            continue;
        }
        let time = metadata.modified().ok();
        let time = time.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let time = Civil::local(time.map_or(0, |t| t.as_secs())).ctime();
        let time = time.get(..16).unwrap_or(&time);
        lines.push(format!("{id} {:9} {time} {owner}", metadata.len()));
    }
    lines.sort_unstable();
    Ok(lines)
}
