//! Section `crash`: the power goes at any moment, or the disk fails, without strace(1).
//!
//! The publisher and the queue run over a [`recorder`] that writes down what they do to the
//! disk. Then every prefix of it is replayed, with what was not synced by then lost in many
//! combinations ([`tape`]), and what is left is judged. And each act in turn fails.

mod controls;
mod ledger;
mod publisher;
mod queue;
mod recorder;
mod tape;

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::report::Findings;
use super::{Effort, Lab, Section};
use tape::{Act, Combinations, Tape};

pub(super) const SECTION: Section = Section {
    name: "crash",
    promise: "after a loss of power: the old map or the new one, and every message taken, whole",
    run,
};

/// Errors that a disk gives.
const ERRORS: [(&str, i32); 3] = [
    ("EIO", libc::EIO),
    ("ENOSPC", libc::ENOSPC),
    ("EDQUOT", libc::EDQUOT),
];

fn run(lab: &Lab, found: &mut Findings) -> io::Result<()> {
    publisher::run(lab, found)?;
    queue::run(lab, found)?;
    // The tests try these by themselves.
    match lab.effort {
        Effort::Quick => Ok(()),
        Effort::Long => controls::run(found),
    }
}

/// Judges what is left of a crash: the folder, and how many notes were made before it.
type Judge<'a> = dyn FnMut(&Path, usize) -> Result<(), String> + 'a;

/// Replays prefixes of a tape, and has each different outcome judged; the losses.
fn replay(
    what: &str,
    tape: &Tape,
    effort: Effort,
    found: &mut Findings,
    judge: &mut Judge<'_>,
) -> io::Result<Vec<String>> {
    let (mut seen, mut losses) = (HashSet::new(), Vec::new());
    let how = match effort {
        Effort::Quick => Combinations::Few,
        Effort::Long => Combinations::Many,
    };
    for acts in 0..=tape.acts.len() {
        if effort == Effort::Quick && !is_telling(tape, acts) {
            continue;
        }
        found.count("prefixes replayed", 1);
        for crash in tape.crashes(acts, how) {
            found.count("crash images", 1);
            let tree = tape.tree(&crash);
            if !seen.insert((tree.digest(), tape.notes(acts))) {
                continue;
            }
            found.count("different crash images judged", 1);
            let folder = tempfile::tempdir()?;
            tree.lay_out(folder.path())?;
            if let Err(why) = judged(judge, folder.path(), tape.notes(acts)) {
                losses.push(format!("{what}: {}: {why}", tape.tell(&crash)));
            }
        }
    }
    Ok(losses)
}

/// A program that panics over what it finds has lost it.
fn judged(judge: &mut Judge<'_>, folder: &Path, notes: usize) -> Result<(), String> {
    let verdict = catch_unwind(AssertUnwindSafe(|| judge(folder, notes)));
    verdict.unwrap_or_else(|_| Err("it panicked".into()))
}

/// Whether most is unsynced here, or something has just been promised: what a sample is of.
fn is_telling(tape: &Tape, acts: usize) -> bool {
    let at = |at: usize| tape.acts.get(at);
    let syncs = |act: Option<&Act>| matches!(act, Some(Act::Sync { .. } | Act::SyncFolder { .. }));
    acts == tape.acts.len()
        || syncs(at(acts))
        || acts.checked_sub(1).is_some_and(|last| {
            matches!(at(last), Some(Act::Note | Act::Rename { .. })) || syncs(at(last))
        })
}

#[cfg(test)]
mod tests;
