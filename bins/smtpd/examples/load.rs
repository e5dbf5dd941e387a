//! Measures the server: how fast a queue is opened, how many messages a second are taken,
//! what an idle session costs.
//!
//! ```text
//! cargo run --release -p smtpd --example load -- recovery 100000
//! cargo run --release -p smtpd --example load -- accept PORT SESSIONS MESSAGES
//! cargo run --release -p smtpd --example load -- idle PORT SESSIONS PID
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use smtpd::queue::{Envelope, Octets, Queue, QueuedRecipient};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|a| a.parse::<usize>().ok());
    match (
        args.first().map(String::as_str),
        number(1),
        number(2),
        number(3),
    ) {
        (Some("recovery"), Some(messages), ..) => recovery(messages),
        (Some("accept"), Some(port), Some(sessions), Some(messages)) => {
            accept(u16::try_from(port)?, sessions, messages)
        }
        (Some("idle"), Some(port), Some(sessions), Some(pid)) => {
            idle(u16::try_from(port)?, sessions, pid)
        }
        _ => Err(
            "usage: recovery MESSAGES | accept PORT SESSIONS MESSAGES | idle PORT SESSIONS PID"
                .into(),
        ),
    }
}

/// Fills a queue, leaves it as a crash would, and opens it.
fn recovery(messages: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let queue = Queue::open(folder.path())?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..messages {
            while tasks.len() >= 512 {
                let _ = tasks.join_next().await;
            }
            let queue = Arc::clone(&queue);
            tasks.spawn(async move {
                let mut spool = queue.spool("unused");
                spool.push(&[b'x'; 1000]).unwrap();
                queue
                    .add(envelope(number), spool.finish().unwrap())
                    .await
                    .unwrap();
            });
        }
        while tasks.join_next().await.is_some() {}
    });
    // Copied while it is open, the store is what a kill would leave.
    let crashed = tempfile::tempdir()?;
    std::fs::copy(
        folder.path().join("queue.redb"),
        crashed.path().join("queue.redb"),
    )?;
    drop(queue);
    for (what, folder) in [("clean", &folder), ("crashed", &crashed)] {
        let start = Instant::now();
        let queue = Queue::open(folder.path())?;
        println!(
            "{what}: {} messages in {:.3} s",
            queue.len(),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn envelope(number: usize) -> Envelope {
    Envelope {
        id: format!("{number:014}").into(),
        created_unix: 1_795_233_730,
        sender: format!("sender{number}@b.example").as_str().into(),
        size_octets: 1000,
        relay: "client.example [127.0.0.2]".into(),
        protocol: "ESMTP".into(),
        recipients: vec![QueuedRecipient {
            address: Octets(format!("user{number}@d.example").into_bytes()),
            ..QueuedRecipient::default()
        }],
        ..Envelope::default()
    }
}

/// Sends so many messages over so many sessions at once.
fn accept(port: u16, sessions: usize, messages: usize) -> Outcome {
    let start = Instant::now();
    let threads: Vec<_> = (0..sessions)
        .map(|_| std::thread::spawn(move || send(port, messages / sessions)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a client failed")??;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{sessions} sessions: {:.0} messages/s",
        messages as f64 / seconds
    );
    Ok(())
}

fn send(port: u16, messages: usize) -> Outcome {
    let mut writer = TcpStream::connect(("127.0.0.1", port))?;
    writer.set_nodelay(true)?;
    let mut reader = BufReader::new(writer.try_clone()?);
    let mut say = |text: &str, replies: usize| -> Outcome {
        writer.write_all(text.as_bytes())?;
        for _ in 0..replies {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if !line.starts_with(['2', '3']) {
                return Err(line.into());
            }
        }
        Ok(())
    };
    say("", 1)?;
    say("HELO load.example\r\n", 1)?;
    let text = format!(
        "Subject: load\r\n\r\n{}\r\n.\r\n",
        "x".repeat(76).repeat(12)
    );
    for _ in 0..messages {
        say("MAIL FROM:<a@b.example>\r\nRCPT TO:<archive>\r\n", 2)?;
        say("DATA\r\n", 1)?;
        say(&text, 1)?;
    }
    say("QUIT\r\n", 1)
}

/// Opens sessions that say EHLO and nothing more; prints the server's memory before and after.
fn idle(port: u16, sessions: usize, pid: usize) -> Outcome {
    let before = resident_kib(pid)?;
    let mut open = Vec::new();
    for number in 0..sessions {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        stream.write_all(b"EHLO idle.example\r\n")?;
        line.clear();
        while !line.starts_with("250 ") {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(format!("session {number} was closed").into());
            }
        }
        open.push(stream);
    }
    let after = resident_kib(pid)?;
    println!("{sessions} idle sessions: {before} KiB before, {after} KiB with them");
    Ok(())
}

fn resident_kib(pid: usize) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?)
}
