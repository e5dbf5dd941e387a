//! Syncs that are left out on purpose: the judges must find each.

use std::io;

use super::super::Effort;
use super::super::report::Findings;
use super::publisher::JOBS;
use super::queue::Day;
use super::recorder::{Fate, Plan};
use super::replay;
use super::tape::Act;

/// A sync that is left out, and what a judge says then.
pub(super) struct Control {
    pub(super) name: &'static str,
    /// The way to publish; `None` for the queue.
    job: Option<&'static str>,
    left_out: fn(&Act) -> bool,
    /// Words of one of the losses.
    pub(super) says: &'static str,
}

pub(super) const CONTROLS: &[Control] = &[
    Control {
        name: "of a new map's draft",
        job: Some("a new map"),
        left_out: is_file,
        says: "the map is no map",
    },
    Control {
        name: "of the draft",
        job: Some("a map made anew"),
        left_out: is_file,
        says: "the map is no map",
    },
    Control {
        name: "of a cdb's draft",
        job: Some("a cdb made anew"),
        left_out: is_file,
        says: "map",
    },
    Control {
        name: "of an edit's draft",
        job: Some("a copied edit"),
        left_out: is_file,
        says: "map",
    },
    Control {
        name: "of the map's folder",
        job: Some("a map made anew"),
        left_out: |act| matches!(act, Act::SyncFolder { .. }),
        says: "the old map is there",
    },
    Control {
        name: "of the queue's database",
        job: None,
        // It is the second file that the queue makes: behind its lock, before its journal and the
        // text of b.
        left_out: |act| *act == Act::Sync { file: 1 },
        says: "the queue can't be opened",
    },
    Control {
        name: "of the queue's journal",
        job: None,
        left_out: |act| *act == Act::Sync { file: 2 },
        says: "is lost",
    },
    Control {
        name: "of a large text",
        job: None,
        left_out: |act| *act == Act::Sync { file: 3 },
        says: "the text of message b",
    },
    Control {
        name: "of the folder of large texts",
        job: None,
        left_out: |act| matches!(act, Act::SyncFolder { name } if name.ends_with("large")),
        says: "message b is broken",
    },
    Control {
        name: "of the queue's folder",
        job: None,
        left_out: |act| matches!(act, Act::SyncFolder { name } if name.ends_with("queue")),
        says: "is lost",
    },
];

fn is_file(act: &Act) -> bool {
    matches!(act, Act::Sync { .. })
}

impl Control {
    /// What the judge finds.
    pub(super) fn losses(&self) -> io::Result<Vec<String>> {
        let left_out = self.left_out;
        let plan: Plan = Box::new(move |_, act| match left_out(act) {
            true => Fate::Pretended,
            false => Fate::Done,
        });
        // What is replayed here is no part of the report.
        let mut found = Findings::default();
        let Some(name) = self.job else {
            let day = Day::live(plan)?.map_err(io::Error::other)?;
            return replay(
                "",
                &day.tape,
                Effort::Quick,
                &mut found,
                &mut |folder, notes| day.judge(folder, notes),
            );
        };
        let job = JOBS.iter().find(|job| job.name == name);
        let job = job.ok_or(io::ErrorKind::NotFound)?;
        let run = job.run(plan)?;
        replay(
            "",
            &run.tape,
            Effort::Quick,
            &mut found,
            &mut |folder, notes| job.judge(&run, folder, notes > 0),
        )
    }
}

pub(super) fn run(found: &mut Findings) -> io::Result<()> {
    // A store that lacks a part makes redb panic, which is a loss and no news.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for control in CONTROLS {
        found.count("syncs left out on purpose", 1);
        match control
            .losses()?
            .iter()
            .any(|loss| loss.contains(control.says))
        {
            true => found.count("of these found", 1),
            false => found.lose(format!("nobody missed the sync {}", control.name)),
        }
    }
    std::panic::set_hook(told);
    Ok(())
}
