//! Section `queue`: the server under fire. The driver is [`bench::fire`].

use std::io;
use std::time::Duration;

use bench::fire::ruin::{Skipped, few_files, full_disk};
use bench::fire::{Fire, Pauses, Totals, under_kills};

use super::report::Findings;
use super::{Effort, Lab, Section};

pub(super) const SECTION: Section = Section {
    name: "queue",
    promise: "what was answered with 250 arrives whole, whatever happens to the server",
    run,
};

/// Open files that leave room for a few sessions, and for next to none.
const FILES: [u32; 2] = [230, 48];

fn run(lab: &Lab, found: &mut Findings) -> io::Result<()> {
    let fire = |name: &str, messages, connections| -> io::Result<Fire> {
        let folder = lab.folder.join(name);
        std::fs::create_dir(&folder)?;
        Ok(Fire {
            programs: lab.programs.clone(),
            folder,
            messages,
            connections,
        })
    };
    let (messages, connections, pauses) = match lab.effort {
        Effort::Quick => {
            let (least, most) = (Duration::from_millis(150), Duration::from_millis(600));
            (
                400,
                16,
                Pauses {
                    least,
                    most,
                    kills: 12,
                },
            )
        }
        Effort::Long => {
            let (least, most) = (Duration::from_millis(500), Duration::from_secs(5));
            (
                100_000,
                50,
                Pauses {
                    least,
                    most,
                    kills: u64::MAX,
                },
            )
        }
    };
    let totals = under_kills(&fire("kills", messages, connections)?, pauses)?;
    tell("kills", &totals, found);
    found.measure(
        "longest wait for a reply",
        format!("{:.1} s", totals.longest_wait.as_secs_f64()),
    );
    let few = messages / 50 + 600;
    match full_disk(&fire("disk", few, 16)?)? {
        Ok(totals) => {
            tell("full disk", &totals, found);
            found.count("full disk: refused with 4xx", totals.not_now);
        }
        Err(Skipped(why)) => found.skip(format!("full disk: {why}")),
    }
    for files in FILES {
        let totals = few_files(&fire(&files.to_string(), few / 4, 60)?, files)?;
        tell("few files", &totals, found);
    }
    Ok(())
}

fn tell(what: &'static str, totals: &Totals, found: &mut Findings) {
    found.count("kills", totals.kills);
    found.count("messages sent", totals.sent);
    found.count("answered with 250", totals.acknowledged);
    found.count("connections broken before an answer", totals.unanswered);
    found.count("copies found", totals.found);
    found.count("duplicates after kills", totals.duplicates);
    found.count("delivered though the answer was lost", totals.taken_unheard);
    for loss in &totals.losses {
        found.lose(format!("{what}: {loss}"));
    }
    for _ in totals.losses.len() as u64..totals.lost {
        found.lose(format!("{what}: and another"));
    }
}
