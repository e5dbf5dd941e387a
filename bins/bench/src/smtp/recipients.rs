//! Answers to RCPT in one session, with an access table and virtual users.

use std::io;
use std::time::Duration;

use super::accept::{Work, measure};
use super::client::{Client, repeat};
use super::server::{Role, Running, Server};
use super::site::virtual_user;
use super::{RATE, ours, postfix, sendmail};
use crate::report::{Bound, Report, Subject, Target};
use crate::setting::Bench;
use crate::turns::{self, Contender};

/// Recipients of a transaction: as many as every server takes (RFC 5321 section 4.5.3.1.8).
const RECIPIENTS: u32 = 100;

/// One at a time, and fifty together.
pub(super) fn run(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let servers = Server::start_all(bench, Role::Tables, report)?;
    let mut subject = Subject {
        title: "answers to RCPT in one session, access and virtusertable on".into(),
        sizes: "in a group",
        rows: Vec::new(),
        targets: Vec::new(),
    };
    let groups: [(u64, f64, Work); 2] = [
        (1, 4.0, |server, _, time| answers(server, 1, time)),
        (50, 10.0, |server, _, time| answers(server, 50, time)),
    ];
    for (group, times, work) in groups {
        let contenders = servers.iter().map(|server| Contender {
            title: server.title.into(),
            whose: server.whose,
            run: Box::new(move || measure(bench, &server.running, 1, work)),
        });
        let rows = turns::take(bench.runs, group, contenders.collect(), &mut report.skipped)?;
        subject.rows.extend(rows);
        for peer in [sendmail::TITLE, postfix::TITLE] {
            subject.targets.push(Target {
                ours: ours::TITLE,
                size: group,
                figure: RATE,
                bound: Bound::Times(times, peer),
            });
        }
    }
    report.subjects.push(subject);
    Ok(())
}

fn answers(server: &Running, group: u32, time: Duration) -> io::Result<(u64, f64)> {
    let port = server.port;
    let open = async move || Ok((Client::greeted(port).await?, 0));
    let once = async move |(mut client, mut next): (Client, u32)| {
        client.say(b"MAIL FROM:<a@b.example>\r\n", 1, b'2').await?;
        for _ in 0..RECIPIENTS / group {
            let mut octets = Vec::new();
            for _ in 0..group {
                let command = format!("RCPT TO:<{}>\r\n", virtual_user(next));
                octets.extend_from_slice(command.as_bytes());
                next = next.wrapping_add(1);
            }
            client.say(&octets, group as usize, b'2').await?;
        }
        client.say(b"RSET\r\n", 1, b'2').await?;
        Ok(((client, next), u64::from(RECIPIENTS)))
    };
    repeat(1, time, open, once)
}
