//! Messages passed on to another host: taken, queued, delivered there, and forgotten.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::client::{Client, Message, on_one_thread};
use super::server::{Role, Server};
use super::sink::Sink;
use super::{CPU, RATE, ours, postfix};
use crate::report::{Bound, Report, Sample, Subject, Target};
use crate::setting::{Bench, Extent};
use crate::turns::{self, Contender};

/// Sessions that bring the messages.
const SESSIONS: u64 = 10;

/// From the first message that is brought to the last that arrives.
pub(super) fn run(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let messages = match bench.extent {
        Extent::Quick => 300,
        Extent::Full => 3_000,
    };
    let sink = Sink::start()?;
    let servers = Server::start_all(bench, Role::Relaying(sink.port), report)?;
    let contenders = servers.iter().map(|server| Contender {
        title: server.title.into(),
        whose: server.whose,
        run: Box::new(|| pass_on(server, &sink, messages)),
    });
    let rows = turns::take(
        bench.runs,
        SESSIONS,
        contenders.collect(),
        &mut report.skipped,
    )?;
    report.subjects.push(Subject {
        title: "messages of 1 KiB passed on".into(),
        sizes: "sessions",
        rows,
        targets: vec![Target {
            ours: ours::TITLE,
            size: SESSIONS,
            figure: RATE,
            bound: Bound::Times(2.0, postfix::TITLE),
        }],
    });
    Ok(())
}

fn pass_on(server: &Server, sink: &Sink, messages: u64) -> io::Result<Sample> {
    let server = &server.running;
    let before = server.cpu()?;
    let (begun, there) = (Instant::now(), sink.count());
    let port = server.port;
    on_one_thread(async move {
        let message = Arc::new(Message::of(1024, "joe@other.example"));
        let left = Arc::new(AtomicU64::new(messages));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..SESSIONS {
            let (message, left) = (Arc::clone(&message), Arc::clone(&left));
            tasks.spawn_local(async move {
                let mut client = Client::greeted(port).await?;
                let one_less = |left: u64| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                    .is_ok()
                {
                    client.message(&message).await?;
                }
                client.quit().await
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.map_err(io::Error::other)??;
        }
        Ok(())
    })?;
    let last = sink.wait_for(there + messages)?;
    let cpu = server.cpu()?.saturating_sub(before);
    let done = messages as f64;
    Ok(Sample(vec![
        (RATE, done / last.duration_since(begun).as_secs_f64()),
        (CPU, cpu.as_secs_f64() * 1_000_000.0 / done),
    ]))
}
