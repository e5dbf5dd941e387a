//! Section `attacks`: the server under siege. The attacks are those of [`bench::siege`].

use std::io;

use bench::siege::{
    Outcome, Siege, handshakes, header_lines, login_times, recipients, slow_senders,
};

use super::report::Findings;
use super::{Effort, Lab, Section};

pub(super) const SECTION: Section = Section {
    name: "attacks",
    promise: "whoever attacks the server, others get their mail through, in bounded memory",
    run,
};

fn run(lab: &Lab, found: &mut Findings) -> io::Result<()> {
    let (slow, rounds, many, lines, flood, tries) = match lab.effort {
        Effort::Quick => (300, 1, 20_000, 100_000, 60, 20),
        Effort::Long => (10_000, 6, 100_000, 1_000_000, 2_000, 1_000),
    };
    type Attack<'a> = &'a dyn Fn(&Siege) -> io::Result<Outcome>;
    let attacks: [(&str, u32, Attack<'_>); 5] = [
        ("slow", slow, &|siege| slow_senders(siege, rounds, "")),
        ("recipients", many, &recipients),
        ("header", lines, &header_lines),
        ("handshakes", flood, &handshakes),
        ("logins", tries, &login_times),
    ];
    for (name, size, attack) in attacks {
        eprintln!("faults: attacks: {name}");
        let folder = lab.folder.join(name);
        std::fs::create_dir(&folder)?;
        let programs = lab.programs.clone();
        let outcome = attack(&Siege {
            programs,
            folder,
            size,
        })?;
        for (what, count) in outcome.counts {
            found.count(what, count);
        }
        for (what, figure) in outcome.measures {
            found.measure(what, figure);
        }
        for loss in outcome.losses {
            found.lose(format!("{name}: {loss}"));
        }
    }
    Ok(())
}
