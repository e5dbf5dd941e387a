//! Memory of sessions that have said EHLO and wait.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::ours;
use super::server::{ALL, Role, Running};
use super::tls;
use crate::report::{Bound, Figure, Report, Sample, Subject, Target};
use crate::setting::{Bench, Extent};
use crate::turns::{self, Contender};

/// Memory of a session, what processes share counted once.
const KIB: Figure = Figure::less("KiB a session");
/// Sessions that every server has a process for.
const SOME: u64 = 50;

/// In clear, and under TLS.
pub(super) fn run(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let (many, many_tls) = match bench.extent {
        Extent::Quick => (500, 100),
        Extent::Full => (5_000, 2_000),
    };
    let mut clear = Subject {
        title: "memory of sessions that wait".into(),
        sizes: "sessions",
        rows: Vec::new(),
        targets: vec![Target {
            ours: ours::TITLE,
            size: many,
            figure: KIB,
            bound: Bound::AtMost(16.0),
        }],
    };
    let contenders = ALL.map(|(title, whose, start)| Contender {
        title: title.into(),
        whose,
        run: Box::new(move || {
            wait(
                &Running::start(bench, Role::Holding, start)?,
                SOME,
                in_clear,
            )
        }),
    });
    let rows = turns::take(bench.runs, SOME, contenders.into(), &mut report.skipped)?;
    clear.rows.extend(rows);
    let contenders = vec![Contender::ours(ours::TITLE, || {
        let server = Running::start(bench, Role::Holding, ours::command)?;
        wait(&server, many, in_clear)
    })];
    clear.rows.extend(turns::take(
        bench.runs,
        many,
        contenders,
        &mut report.skipped,
    )?);
    report.subjects.push(clear);
    let contenders = vec![Contender::ours(ours::TITLE, || {
        let server = Running::start(bench, Role::Tls, ours::command)?;
        wait(&server, many_tls, tls::open)
    })];
    report.subjects.push(Subject {
        title: "memory of sessions that wait under TLS".into(),
        sizes: "sessions",
        rows: turns::take(bench.runs, many_tls, contenders, &mut report.skipped)?,
        targets: vec![Target {
            ours: ours::TITLE,
            size: many_tls,
            figure: KIB,
            bound: Bound::AtMost(40.0),
        }],
    });
    Ok(())
}

/// Opens so many sessions, and compares the server's memory before and after.
fn wait<S>(
    server: &Running,
    sessions: u64,
    open: impl Fn(TcpStream) -> io::Result<S>,
) -> io::Result<Sample> {
    let connect = || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        open(stream)
    };
    // What the first session brings with it is not its own.
    drop(connect()?);
    std::thread::sleep(Duration::from_millis(200));
    let before = server.memory()?;
    let all: Vec<S> = (0..sessions).map(|_| connect()).collect::<Result<_, _>>()?;
    let after = server.memory()?;
    drop(all);
    let octets = after.saturating_sub(before) as f64;
    Ok(Sample(vec![(KIB, octets / 1024.0 / sessions as f64)]))
}

fn in_clear(mut stream: TcpStream) -> io::Result<TcpStream> {
    greet(&mut stream)?;
    Ok(stream)
}

/// Reads the greeting, says EHLO and reads the reply.
pub(super) fn greet(stream: &mut TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    reply(&mut reader)?;
    stream.write_all(b"EHLO idle.bench.example\r\n")?;
    reply(&mut reader)
}

/// Reads a reply to its last line.
pub(super) fn reply(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || !line.starts_with('2') {
            return Err(io::Error::other(format!("the server said {line:?}")));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
