//! The queue in sendmail's layout, and a message as it is.
//!
//! Strangers write addresses, programs of users their complaints, and servers their replies:
//! none of them writes to the terminal of whoever looks at the queue. Control characters are shown
//! as `\ooo`, as in the log.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use crate::addressee::Addressee;
use crate::clock::Civil;
use crate::log::clean;
use crate::queue::control::Line;
use crate::queue::{Envelope, Expanded, Hold, Progress, QueuedTarget};

/// Most octets of a list that are kept until it is known how many messages it has.
const MAX_KEPT_OCTETS: usize = 64 * 1024 * 1024;

/// Most characters of why something waits. sendmail shows 60, and of many a reason no end.
const MAX_CAUSE_CHARS: usize = 200;

/// How much the list tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The original's columns.
    Plain,
    /// Also priorities, the state of each copy and the next try (`-v`).
    All,
}

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// On a terminal.
    Terminal,
    /// In a file, or to another program.
    Elsewhere,
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server can't be understood, or breaks off.
    Server(io::Error),
    /// The output can't be written.
    Output(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Output(error)
    }
}

/// Lines of an answer, as they come.
pub(super) type Lines = Box<dyn Iterator<Item = io::Result<Line>>>;

/// sendmail's layout; what the server says it could not do comes back.
///
/// # Errors
/// When the answer or the output breaks off.
pub(super) fn list(
    folder: &Path,
    lines: Lines,
    detail: Detail,
    out: &mut impl Write,
) -> Result<Option<String>, Trouble> {
    let (mut count, mut refusal) = (0_usize, None);
    // The heading says how many there are.
    let mut kept = Some(Vec::new());
    for line in lines {
        match line.map_err(Trouble::Server)? {
            Line::Message {
                envelope,
                waits_for,
            } => {
                count += 1;
                match &mut kept {
                    Some(kept) => entry(&envelope, waits_for, detail, kept)?,
                    None => entry(&envelope, waits_for, detail, out)?,
                }
            }
            Line::Error(text) => refusal = Some(text),
            Line::Text(_) | Line::Done => {}
        }
        if let Some(text) = kept.take_if(|kept| kept.len() > MAX_KEPT_OCTETS) {
            heading(folder, &format!("more than {count} requests"), out)?;
            out.write_all(&text)?;
        }
    }
    if let Some(text) = kept {
        let plural = if count == 1 { "" } else { "s" };
        match count {
            0 => writeln!(out, "{} is empty", folder.display())?,
            _ => heading(folder, &format!("{count} request{plural}"), out)?,
        }
        out.write_all(&text)?;
    }
    writeln!(out, "\t\tTotal requests: {count}")?;
    Ok(refusal)
}

fn heading(folder: &Path, requests: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\t\t{} ({requests})", folder.display())?;
    writeln!(
        out,
        "-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------"
    )
}

/// A message, with what it waits for besides its time.
fn entry(
    envelope: &Envelope,
    waits: Option<String>,
    detail: Detail,
    out: &mut impl Write,
) -> io::Result<()> {
    let time = Civil::local(envelope.created_unix).ctime();
    let time = time.get(..16).unwrap_or(&time);
    let mark = match &envelope.hold {
        Some(Hold::Quarantined(_)) => 'Q',
        Some(Hold::Held) => 'H',
        None => ' ',
    };
    writeln!(
        out,
        "{}{mark}{:9} {time} <{}>",
        clean(&envelope.id),
        envelope.size_octets,
        clean(&envelope.sender.shown())
    )?;
    match &envelope.hold {
        Some(Hold::Quarantined(why)) => writeln!(out, "      QUARANTINE: {}", clean(why))?,
        Some(Hold::Held) => writeln!(out, "      HELD")?,
        None => {}
    }
    match (&waits, detail) {
        (_, Detail::All) => {
            let next = next_try(envelope, waits.as_deref());
            writeln!(out, "      {}", clean(&next))?;
        }
        (Some(what), Detail::Plain) => {
            writeln!(out, "                 (waits for {})", cause(what))?;
        }
        (None, Detail::Plain) => {}
    }
    match detail {
        Detail::Plain => waiting(envelope, out),
        Detail::All => all_copies(envelope, out),
    }
}

/// Somebody who waits for a message.
pub(super) struct Waiter<'a> {
    /// Which recipient he is or comes from.
    pub(super) recipient: usize,
    /// The copy, where the recipient is known to be somebody.
    pub(super) target: Option<&'a QueuedTarget>,
    /// What keeps it.
    why: Option<String>,
}

/// Who waits: recipients that nothing is known of yet, and whoever a copy that is not done goes
/// to; not those who have it, or of whom the sender has heard.
pub(super) fn waiters(envelope: &Envelope) -> Vec<Waiter<'_>> {
    let mut all = Vec::new();
    for (recipient, asked) in envelope.recipients.iter().enumerate() {
        let mut wait = |target, why| {
            all.push(Waiter {
                recipient,
                target,
                why,
            })
        };
        match &asked.expanded {
            Expanded::No => wait(None, trouble(envelope, recipient)),
            Expanded::Failed { text, .. } => wait(None, Some(text.clone())),
            Expanded::Yes | Expanded::List { .. } | Expanded::Told => {}
        }
        let own = envelope.targets.iter();
        for target in own.filter(|target| target.recipient == recipient) {
            match &target.progress {
                Progress::Waiting if target.last.is_empty() => wait(Some(target), None),
                Progress::Waiting => wait(Some(target), Some(format!("Deferred: {}", target.last))),
                Progress::Failed { text, .. } => wait(Some(target), Some(text.clone())),
                Progress::Done | Progress::Sent | Progress::Forwarded | Progress::Told => {}
            }
        }
    }
    all
}

/// A line for each who waits.
fn waiting(envelope: &Envelope, out: &mut impl Write) -> io::Result<()> {
    let mut known = HashSet::new();
    for waiter in waiters(envelope) {
        let recipient = envelope.recipients.get(waiter.recipient);
        let who = match (waiter.target, recipient) {
            (Some(target), _) => Addressee::of(envelope, target).to().to_owned(),
            (None, Some(recipient)) => format!("<{}>", recipient.address.shown()),
            (None, None) => continue,
        };
        if let Some(why) = waiter.why.filter(|_| !known.contains(&who)) {
            writeln!(out, "                 ({})", cause(&why))?;
        }
        if known.insert(who.clone()) {
            writeln!(out, "\t\t\t\t\t {}", clean(&who))?;
        }
    }
    Ok(())
}

/// Why something waits, for people: as much of it as a line holds.
fn cause(why: &str) -> String {
    let why = clean(why);
    match why.char_indices().nth(MAX_CAUSE_CHARS) {
        Some((end, _)) => format!("{}...", why.get(..end).unwrap_or_default()),
        None => why,
    }
}

/// Every recipient with the state of each copy.
fn all_copies(envelope: &Envelope, out: &mut impl Write) -> io::Result<()> {
    for (at, recipient) in envelope.recipients.iter().enumerate() {
        if let Some(why) = trouble(envelope, at) {
            writeln!(out, "                 ({})", cause(&why))?;
        }
        let address = recipient.address.shown();
        writeln!(out, "\t\t\t\t\t <{}>", clean(&address))?;
        for target in envelope.targets.iter().filter(|t| t.recipient == at) {
            writeln!(out, "\t\t\t\t\t    {}", clean(&copy(target)))?;
        }
    }
    Ok(())
}

/// When a message was tried, and when it will be.
fn next_try(envelope: &Envelope, waits: Option<&str>) -> String {
    let time = |unix| Civil::local(unix).ctime();
    let next = match (waits, envelope.due_unix) {
        (Some(what), _) => format!("waits for {what}"),
        (None, 0) => "next try at once".to_owned(),
        (None, due_unix) => format!("next try {}", time(due_unix)),
    };
    match envelope.tries {
        0 => format!("not tried yet, {next}"),
        tries => format!(
            "tried {tries} time{}, last {}, {next}",
            if tries == 1 { "" } else { "s" },
            time(envelope.tried_unix)
        ),
    }
}

/// The state of a copy: where it goes, and what became of it.
fn copy(target: &QueuedTarget) -> String {
    let state = match &target.progress {
        Progress::Done | Progress::Sent => "sent".to_owned(),
        Progress::Forwarded => "forwarded".to_owned(),
        Progress::Failed { text, .. } => format!("failed: {text}"),
        Progress::Told => format!("failed, sender told: {}", target.last),
        Progress::Waiting if target.last.is_empty() => "waiting".to_owned(),
        Progress::Waiting => format!("waiting: {}", target.last),
    };
    let host = match target.host.shown() {
        host if host.is_empty() => String::new(),
        host => format!(" at {host}"),
    };
    let (mailer, user) = (&target.mailer, target.user.shown());
    format!("{mailer}{host} {user}: {state}")
}

/// What keeps a recipient's copies.
fn trouble(envelope: &Envelope, recipient: usize) -> Option<String> {
    let asked = envelope.recipients.get(recipient)?;
    match &asked.expanded {
        Expanded::Failed { text, .. } => return Some(text.clone()),
        Expanded::No if !asked.last.is_empty() => {
            return Some(format!("Deferred: {}", asked.last));
        }
        _ => {}
    }
    let mut own = envelope.targets.iter().filter(|t| t.recipient == recipient);
    own.find_map(|t| match &t.progress {
        Progress::Failed { text, .. } => Some(text.clone()),
        Progress::Waiting if !t.last.is_empty() => Some(format!("Deferred: {}", t.last)),
        _ => None,
    })
}

/// A message's envelope and text; what the server says it could not do comes back. A terminal is
/// shown the text without its control characters.
///
/// # Errors
/// When the answer or the output breaks off.
pub(super) fn plain(
    lines: Lines,
    screen: Screen,
    out: &mut impl Write,
) -> Result<Option<String>, Trouble> {
    let mut refusal = None;
    for line in lines {
        match (line.map_err(Trouble::Server)?, screen) {
            (
                Line::Message {
                    envelope,
                    waits_for,
                },
                _,
            ) => {
                entry(&envelope, waits_for, Detail::All, out)?;
                writeln!(out)?;
            }
            (Line::Text(text), Screen::Elsewhere) => out.write_all(&text.0)?,
            (Line::Text(text), Screen::Terminal) => on_terminal(&text.0, out)?,
            (Line::Error(text), _) => refusal = Some(text),
            (Line::Done, _) => {}
        }
    }
    Ok(refusal)
}

fn on_terminal(text: &[u8], out: &mut impl Write) -> io::Result<()> {
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let (line, end) = match line.strip_suffix(b"\n") {
            Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), "\n"),
            None => (line, ""),
        };
        let line = String::from_utf8_lossy(line);
        let words: Vec<String> = line.split('\t').map(clean).collect();
        write!(out, "{}{end}", words.join("\t"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Octets, QueuedRecipient};

    const EVIL: &str = "a\u{1b}]0;b\u{7}\r\n\u{9b}31m\u{7f}";
    const SHOWN: &str = "a\\033]0;b\\007\\015\\012\\23331m\\177";

    /// A message whose every text is a stranger's.
    fn message() -> Envelope {
        let copy = |progress, last: &str| QueuedTarget {
            mailer: EVIL.into(),
            host: Octets::from(EVIL),
            user: Octets::from(EVIL),
            progress,
            last: last.into(),
            ..QueuedTarget::default()
        };
        let failed = || Progress::Failed {
            status: EVIL.into(),
            text: EVIL.into(),
        };
        let recipient = |expanded| QueuedRecipient {
            address: Octets::from(EVIL),
            expanded,
            ..QueuedRecipient::default()
        };
        Envelope {
            id: EVIL.into(),
            sender: Octets::from(EVIL),
            hold: Some(Hold::Quarantined(EVIL.into())),
            recipients: vec![
                recipient(Expanded::Yes),
                recipient(Expanded::No),
                recipient(Expanded::Failed {
                    status: EVIL.into(),
                    text: EVIL.into(),
                }),
            ],
            targets: vec![
                copy(Progress::Waiting, EVIL),
                copy(failed(), ""),
                copy(Progress::Told, EVIL),
            ],
            ..Envelope::default()
        }
    }

    fn line(envelope: Envelope) -> Line {
        Line::Message {
            envelope: Box::new(envelope),
            waits_for: None,
        }
    }

    fn answer(lines: Vec<Line>) -> Lines {
        Box::new(lines.into_iter().map(Ok))
    }

    #[test]
    fn no_stranger_writes_to_the_terminal() {
        for detail in [Detail::Plain, Detail::All] {
            let mut out = Vec::new();
            let lines = answer(vec![line(message()), Line::Done]);
            list(Path::new("/queue"), lines, detail, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            let is_plain = |c: char| !c.is_control() || "\n\t".contains(c);
            assert!(out.chars().all(is_plain), "{out:?}");
            assert!(out.contains(SHOWN), "{out}");
        }
    }

    #[test]
    fn what_waits_for_its_dropped_file_says_so() {
        let shown = |detail| {
            let waits = Line::Message {
                envelope: Box::default(),
                waits_for: Some("a file".into()),
            };
            let lines = vec![waits, line(Envelope::default())];
            let mut out = Vec::new();
            list(Path::new("/q"), answer(lines), detail, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let all = shown(Detail::All);
        assert_eq!(all.matches("not tried yet, waits for a file").count(), 1);
        assert_eq!(all.matches("not tried yet, next try at once").count(), 1);
        let plain = shown(Detail::Plain);
        assert_eq!(
            plain.matches("                 (waits for a file)").count(),
            1
        );
    }

    #[test]
    fn a_text_is_clean_on_a_terminal_and_whole_elsewhere() {
        let text = b"Subject: x\r\n\r\n\ta\x1b[31m\xff\xc2\x9b\r\nend".to_vec();
        let shown = |screen| {
            let mut out = Vec::new();
            let lines = answer(vec![Line::Text(Octets(text.clone())), Line::Done]);
            assert!(plain(lines, screen, &mut out).unwrap().is_none());
            out
        };
        assert_eq!(shown(Screen::Elsewhere), text);
        let terminal = "Subject: x\n\n\ta\\033[31m\u{fffd}\\233\nend";
        assert_eq!(shown(Screen::Terminal), terminal.as_bytes());
    }

    #[test]
    fn why_something_waits_is_shown_to_its_end() {
        let shown = |why: &str| {
            let mut waits = Envelope::default();
            waits.recipients.push(QueuedRecipient {
                last: why.into(),
                ..QueuedRecipient::default()
            });
            let mut out = Vec::new();
            let lines = answer(vec![line(waits)]);
            list(Path::new("/q"), lines, Detail::Plain, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let why = "/usr/lib/sm.bin/smrsh: No such file or directory (os error 2)";
        assert!(shown(why).contains(&format!("                 (Deferred: {why})\n")));
        let long = shown(&"\u{e4}".repeat(1000));
        assert!(
            long.contains(&format!("{}...)\n", "\u{e4}".repeat(190))),
            "{long}"
        );
    }

    #[test]
    fn the_heading_counts() {
        let shown = |messages: usize| {
            let message = || line(Envelope::default());
            let lines = (0..messages).map(|_| message()).chain([Line::Done]);
            let mut out = Vec::new();
            let lines = answer(lines.collect());
            list(Path::new("/q"), lines, Detail::Plain, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(0), "/q is empty\n\t\tTotal requests: 0\n");
        assert!(shown(1).starts_with("\t\t/q (1 request)\n-----Q-ID"));
        assert!(shown(2).starts_with("\t\t/q (2 requests)\n-----Q-ID"));
        assert!(shown(2).ends_with("\t\tTotal requests: 2\n"));
    }
}
