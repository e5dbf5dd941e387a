//! How cost grows: more sessions, larger messages.

use std::io;

use super::accept::{Work, accept, measure};
use super::server::{Role, Server};
use super::site;
use crate::report::{Report, Subject, Whose};
use crate::setting::{Bench, Extent};
use crate::turns::{self, Contender};

/// A peer has a process for each session: so many it is asked for.
const MOST_OF_A_PEER: u64 = 100;
/// Sessions that bring large messages.
const FEW: u64 = 4;

/// Both.
pub(super) fn run(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let servers = Server::start_all(bench, Role::Holding, report)?;
    sessions(bench, &servers, report)?;
    octets(bench, &servers, report)
}

fn sessions(bench: &Bench, servers: &[Server], report: &mut Report) -> io::Result<()> {
    let most = site::most_sessions()?.min(10_000);
    let sizes: &[u64] = match bench.extent {
        Extent::Quick => &[1, 100],
        Extent::Full => &[1, 10, 100, 1_000, 5_000, most],
    };
    let mut rows = Vec::new();
    for size in sizes.iter().filter(|size| **size <= most) {
        let able = servers
            .iter()
            .filter(|server| server.whose == Whose::Ours || *size <= MOST_OF_A_PEER);
        let contenders = able.map(|server| Contender {
            title: server.title.into(),
            whose: server.whose,
            run: Box::new(|| {
                measure(bench, &server.running, *size, |server, sessions, time| {
                    accept(server, sessions, time, 1024)
                })
            }),
        });
        let taken = turns::take(bench.runs, *size, contenders.collect(), &mut report.skipped)?;
        rows.extend(taken);
    }
    report.subjects.push(Subject {
        title: "messages of 1 KiB accepted, more and more sessions".into(),
        sizes: "sessions",
        rows,
        targets: Vec::new(),
    });
    Ok(())
}

fn octets(bench: &Bench, servers: &[Server], report: &mut Report) -> io::Result<()> {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    let sizes: [(usize, Work); 6] = [
        (KIB, |server, n, time| accept(server, n, time, KIB)),
        (10 * KIB, |server, n, time| {
            accept(server, n, time, 10 * KIB)
        }),
        (100 * KIB, |server, n, time| {
            accept(server, n, time, 100 * KIB)
        }),
        (MIB, |server, n, time| accept(server, n, time, MIB)),
        (10 * MIB, |server, n, time| {
            accept(server, n, time, 10 * MIB)
        }),
        (25 * MIB, |server, n, time| {
            accept(server, n, time, 25 * MIB)
        }),
    ];
    let sizes = match bench.extent {
        Extent::Quick => sizes.get(..4).unwrap_or_default(),
        Extent::Full => &sizes,
    };
    let mut rows = Vec::new();
    for (size, work) in sizes {
        let contenders = servers.iter().map(|server| Contender {
            title: server.title.into(),
            whose: server.whose,
            run: Box::new(|| measure(bench, &server.running, FEW, *work)),
        });
        let size = *size as u64;
        rows.extend(turns::take(
            bench.runs,
            size,
            contenders.collect(),
            &mut report.skipped,
        )?);
    }
    report.subjects.push(Subject {
        title: format!("messages accepted over {FEW} sessions, larger and larger"),
        sizes: "octets",
        rows,
        targets: Vec::new(),
    });
    Ok(())
}
