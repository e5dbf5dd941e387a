//! Messages accepted, and connections served.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::client::{Client, Message, repeat};
use super::server::{Role, Running, Server};
use super::{CPU, RATE, ours, postfix, sendmail, turn_millis};
use crate::report::{Bound, Report, Sample, Subject, Target};
use crate::setting::Bench;
use crate::turns::{self, Contender};

/// Octets of a message.
const MESSAGE_OCTETS: usize = 1024;

/// What one session does in a turn.
pub(super) type Work = fn(&Running, usize, Duration) -> io::Result<(u64, f64)>;

/// Messages of 1 KiB over connections that stay.
pub(super) fn reused(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let wanted = [
        (1, &[(5.0, sendmail::TITLE), (2.0, postfix::TITLE)]),
        (10, &[(8.0, sendmail::TITLE), (5.0, postfix::TITLE)]),
        (50, &[(15.0, sendmail::TITLE), (8.0, postfix::TITLE)]),
    ];
    let wanted = wanted.map(|(size, wanted)| (size, wanted.as_slice()));
    let title = "messages of 1 KiB accepted, a connection each that stays";
    compare(bench, report, title, &wanted, |server, sessions, time| {
        accept(server, sessions, time, MESSAGE_OCTETS)
    })
}

/// Messages of 1 KiB, each over a new connection.
pub(super) fn new_each(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let wanted: [(u64, &[_]); 1] = [(50, &[(3.0, postfix::TITLE)])];
    let title = "messages of 1 KiB accepted, a new connection each";
    compare(bench, report, title, &wanted, |server, sessions, time| {
        let port = server.port;
        let message = Arc::new(Message::of(MESSAGE_OCTETS, &server.recipient));
        let once = async move |()| {
            let mut client = Client::greeted(port).await?;
            client.message(&message).await?;
            client.quit().await?;
            Ok(((), 1))
        };
        repeat(sessions, time, async || Ok(()), once)
    })
}

/// Connections that say EHLO and QUIT.
pub(super) fn connections(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let wanted: [(u64, &[_]); 1] = [(10, &[(20.0, sendmail::TITLE), (2.0, postfix::TITLE)])];
    let title = "connections (EHLO, QUIT)";
    compare(bench, report, title, &wanted, |server, sessions, time| {
        let port = server.port;
        let once = async move |()| {
            Client::greeted(port).await?.quit().await?;
            Ok(((), 1))
        };
        repeat(sessions, time, async || Ok(()), once)
    })
}

/// Messages of so many octets over connections that stay.
pub(super) fn accept(
    server: &Running,
    sessions: usize,
    time: Duration,
    octets: usize,
) -> io::Result<(u64, f64)> {
    let port = server.port;
    let message = Arc::new(Message::of(octets, &server.recipient));
    let once = async move |mut client: Client| {
        client.message(&message).await?;
        Ok((client, 1))
    };
    repeat(
        sessions,
        time,
        async move || Client::greeted(port).await,
        once,
    )
}

/// Starts the servers, and has them do the work in turn with so many sessions at a time.
fn compare(
    bench: &Bench,
    report: &mut Report,
    title: &str,
    wanted: &[(u64, &[(f64, &'static str)])],
    work: Work,
) -> io::Result<()> {
    let servers = Server::start_all(bench, Role::Holding, report)?;
    let mut subject = Subject {
        title: title.into(),
        sizes: "sessions",
        rows: Vec::new(),
        targets: Vec::new(),
    };
    for (size, bounds) in wanted {
        let contenders = servers.iter().map(|server| Contender {
            title: server.title.into(),
            whose: server.whose,
            run: Box::new(|| measure(bench, &server.running, *size, work)),
        });
        let rows = turns::take(bench.runs, *size, contenders.collect(), &mut report.skipped)?;
        subject.rows.extend(rows);
        subject
            .targets
            .extend(bounds.iter().map(|(times, peer)| Target {
                ours: ours::TITLE,
                size: *size,
                figure: RATE,
                bound: Bound::Times(*times, peer),
            }));
    }
    report.subjects.push(subject);
    Ok(())
}

/// One turn.
pub(super) fn measure(
    bench: &Bench,
    server: &Running,
    sessions: u64,
    work: Work,
) -> io::Result<Sample> {
    let sessions = usize::try_from(sessions).map_err(io::Error::other)?;
    let before = server.cpu()?;
    let (done, seconds) = work(server, sessions, Duration::from_millis(turn_millis(bench)))?;
    let cpu = server.cpu()?.saturating_sub(before);
    let done = done as f64;
    Ok(Sample(vec![
        (RATE, done / seconds),
        (CPU, cpu.as_secs_f64() * 1_000_000.0 / done),
    ]))
}
