//! One client that says very much.

use std::io;

use super::{Besieged, MOST_KIB, Outcome, Siege};

/// Commands sent at once.
const GROUP: u32 = 100;

/// So many RCPT in one transaction, each for another address.
///
/// # Errors
/// The server can't be started, or breaks off.
pub fn recipients(siege: &Siege) -> io::Result<Outcome> {
    let besieged = Besieged::start(siege, "", |_| Ok(()))?;
    let mut outcome = Outcome::default();
    besieged.honest(&mut outcome);
    let before = besieged.memory_kib("VmRSS:")?;
    let mut talk = besieged.connect()?;
    talk.exchange("", "220")?;
    talk.exchange("HELO many.example", "250")?;
    talk.exchange("MAIL FROM:<a@b.example>", "250")?;
    let (mut taken, mut refused) = (0, 0);
    for first in (0..siege.size).step_by(GROUP as usize) {
        let last = siege.size.min(first + GROUP);
        let lines: String = (first..last)
            .map(|n| format!("RCPT TO:<u{n}@host{n}.example>\r\n"))
            .collect();
        talk.send(lines.as_bytes())?;
        for _ in first..last {
            let reply = talk.reply()?;
            match reply.get(..4) {
                Some("250 ") => taken += 1,
                Some("452 ") => refused += 1,
                _ => outcome.losses.push(format!("RCPT was answered {reply:?}")),
            }
        }
    }
    besieged.honest(&mut outcome);
    talk.exchange("RSET", "250")?;
    talk.exchange("QUIT", "221")?;
    let grown = besieged.memory_kib("VmHWM:")?.saturating_sub(before);
    outcome.counts.push(("RCPT", u64::from(siege.size)));
    outcome.counts.push(("RCPT taken", taken));
    outcome.counts.push(("RCPT answered 452", refused));
    outcome
        .measures
        .push(("memory for the recipients", format!("{grown} KiB")));
    outcome.lose_unless(taken <= 10_000, || format!("{taken} recipients were taken"));
    outcome.lose_unless(grown < MOST_KIB, || format!("recipients took {grown} KiB"));
    Ok(outcome)
}

/// A message of so many header lines.
///
/// # Errors
/// The server can't be started, or breaks off.
pub fn header_lines(siege: &Siege) -> io::Result<Outcome> {
    let besieged = Besieged::start(siege, "", |_| Ok(()))?;
    let mut outcome = Outcome::default();
    besieged.honest(&mut outcome);
    let before = besieged.memory_kib("VmRSS:")?;
    let mut talk = besieged.connect()?;
    talk.exchange("", "220")?;
    talk.exchange("HELO many.example", "250")?;
    talk.exchange("MAIL FROM:<a@b.example>", "250")?;
    talk.exchange("RCPT TO:<archive>", "250")?;
    talk.exchange("DATA", "354")?;
    for first in (0..siege.size).step_by(GROUP as usize) {
        let last = siege.size.min(first + GROUP);
        let lines: String = (first..last).map(|n| format!("X-{n}: y\r\n")).collect();
        talk.send(lines.as_bytes())?;
    }
    talk.exchange("\r\ntext\r\n.", "552 5.6.0")?;
    talk.exchange("NOOP", "250")?;
    besieged.honest(&mut outcome);
    let grown = besieged.memory_kib("VmHWM:")?.saturating_sub(before);
    outcome.counts.push(("header lines", u64::from(siege.size)));
    outcome
        .measures
        .push(("memory for the header", format!("{grown} KiB")));
    outcome.lose_unless(grown < MOST_KIB, || format!("the header took {grown} KiB"));
    Ok(outcome)
}
