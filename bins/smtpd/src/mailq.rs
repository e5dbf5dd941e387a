//! mailq: what is in the queue, in the original's layout or as JSON.
//!
//! It asks the server that has the queue; where none runs, it opens the store itself.

mod export;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libmaps::site::load;
use libmaps::sysexits::SysExit;
use tools::alias_config::reason;
use tools::getopt::{self, Given, Opt, flag, long, long_value, value};
use tools::report::{asked_about_itself, complain, help};

use crate::addressee::Addressee;
use crate::clock::Civil;
use crate::queue::control::{Line, Request, ask, carry_out};
use crate::queue::{Envelope, Expanded, Hold, Progress, Queue, QueueError, QueuedTarget};

use export::Exported;

const USAGE: &str = "\
usage: mailq [--root DIR] [-C FILE] [-v] [--json] [list]
       mailq [--root DIR] [-C FILE] [--json] show ID...
       mailq [--root DIR] [-C FILE] hold|release|remove ID...
       mailq [--root DIR] [-C FILE] run
       mailq [--root DIR] [-C FILE] export DIR";

/// The options that mailq knows.
pub const OPTIONS: &[Opt] = &[
    flag(b'v', "show each copy, and when it is tried next"),
    long("json", "a JSON object a message"),
    long_value(
        "root",
        "DIR",
        "take all paths of the configuration below DIR",
    ),
    value(b'C', "FILE", "read FILE instead of /etc/mail/sendmail.mc"),
    value(b'A', "c", "-Ac is accepted, for old habits' sake"),
    value(b'b', "p", "-bp likewise"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

fn about() -> String {
    let purpose = "Shows what waits in the queue, and acts on it.";
    help(
        purpose,
        &format!("{}\n", USAGE.replacen('u', "U", 1)),
        OPTIONS,
    )
}

/// Runs mailq with these arguments (without the program's name).
pub fn mailq(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit) = asked_about_itself("mailq", &args, about) {
        return exit;
    }
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(complaint) => {
            complain(&[b"mailq: ", complaint.as_bytes(), b"\n", USAGE.as_bytes()]);
            return SysExit::Usage.into();
        }
    };
    match options.run(&mut io::stdout().lock()) {
        Ok(exit) => exit.into(),
        Err((exit, text)) => {
            complain(&[b"mailq: ", text.as_bytes()]);
            exit.into()
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

struct Options {
    root: Option<PathBuf>,
    file: Option<PathBuf>,
    format: Format,
    detail: Detail,
    task: Task,
}

/// What is to be done.
enum Task {
    /// This, in order.
    Ask(Vec<Request>),
    /// Write what waits into this folder.
    Export(PathBuf),
}

/// How much the list tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// The original's columns.
    Plain,
    /// Also priorities, the state of each copy and the next try (`-v`).
    All,
}

impl Options {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let parsed =
            getopt::parse(OPTIONS, args).map_err(|(complaint, _)| complaint.to_string())?;
        let (mut root, mut file, mut format) = (None, None, Format::Text);
        let mut detail = Detail::Plain;
        for given in parsed.given {
            match given {
                Given::Long("root", dir) => root = dir.map(PathBuf::from),
                Given::Short(b'C', name) => file = name.map(PathBuf::from),
                Given::Long("json", _) => format = Format::Json,
                Given::Short(b'v', _) => detail = Detail::All,
                // The original's: it is what this program is.
                Given::Short(b'A', Some(word)) if word == "c" => {}
                Given::Short(b'b', Some(word)) if word == "p" => {}
                Given::Short(letter, word) => {
                    let word = word.unwrap_or_default();
                    let word = word.to_string_lossy();
                    return Err(format!("-{}{word}: not understood", char::from(letter)));
                }
                Given::Long(name, _) => return Err(format!("--{name} stands alone")),
            }
        }
        let words = parsed
            .operands
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = words.collect();
        let ids = words.get(1..).unwrap_or_default().iter().cloned();
        if let Some("export") = words.first().map(String::as_str) {
            let [_, folder] = parsed.operands.as_slice() else {
                return Err("export wants a folder".into());
            };
            let task = Task::Export(folder.into());
            return Ok(Options {
                root,
                file,
                format,
                detail,
                task,
            });
        }
        let requests: Vec<Request> = match words.first().map(String::as_str) {
            None | Some("list") => vec![Request::List],
            Some("run") => vec![Request::Run],
            Some("show") => ids.map(Request::Show).collect(),
            Some("hold") => ids.map(Request::Hold).collect(),
            Some("release") => ids.map(Request::Release).collect(),
            Some("remove") => ids.map(Request::Remove).collect(),
            Some(other) => return Err(format!("{other}: not understood")),
        };
        if requests.is_empty() {
            return Err("which message?".into());
        }
        Ok(Options {
            root,
            file,
            format,
            detail,
            task: Task::Ask(requests),
        })
    }

    fn run(&self, out: &mut impl Write) -> Result<SysExit, (SysExit, String)> {
        // The words of classes that hosts share are not asked here.
        let loaded = load::load_unfilled(self.root.as_deref(), self.file.as_deref())
            .map_err(|e| (e.exit(), e.to_string()))?;
        let shown = loaded.site.queue_folder();
        let folder = loaded.site.below(shown);
        let requests = match &self.task {
            Task::Ask(requests) => requests,
            Task::Export(target) => return export_all(&folder, target, out),
        };
        let mut exit = SysExit::Ok;
        for request in requests {
            let lines = match ask(&folder, request) {
                Ok(Some(lines)) => lines,
                Ok(None) => alone(&folder, request.clone()).map_err(|e| (SysExit::NoInput, e))?,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let text = format!(
                        "{}: only root and the server's user may see the queue",
                        shown.display()
                    );
                    return Err((SysExit::NoPerm, text));
                }
                Err(error) => return Err((SysExit::TempFail, error.to_string())),
            };
            let printed = match (request, self.format) {
                (Request::List, Format::Text) => list(shown, &lines, self.detail, out),
                (_, Format::Text) => plain(&lines, out),
                (_, Format::Json) => json(&lines, out),
            };
            match printed.and_then(|()| out.flush()) {
                // A reader that has seen enough is no error.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit),
                Err(error) => {
                    let text = format!("standard output: {}", reason(&error));
                    return Err((SysExit::IoErr, text));
                }
                Ok(()) => {}
            }
            if let Some(Line::Error(text)) = lines.last() {
                complain(&[b"mailq: ", text.as_bytes()]);
                exit = SysExit::Unavailable;
            }
        }
        Ok(exit)
    }
}

/// No server runs: does the work on the store itself.
fn alone(folder: &Path, request: Request) -> Result<Vec<Line>, String> {
    if !folder.join("queue.redb").exists() {
        return Ok(vec![Line::Done]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let queue = Queue::open(folder).map_err(|e| e.to_string())?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
        let mut lines = Vec::new();
        let collect = async {
            while let Some(line) = receiver.recv().await {
                lines.push(line);
            }
        };
        tokio::join!(carry_out(&queue, request, sender), collect);
        Ok(lines)
    })
}

/// Writes what waits into a folder. No server may run: what it delivers meanwhile would be
/// delivered twice.
fn export_all(
    folder: &Path,
    target: &Path,
    out: &mut impl Write,
) -> Result<SysExit, (SysExit, String)> {
    let open = || match folder.join("queue.redb").exists() {
        true => Queue::open(folder).map(Some),
        false => Ok(None),
    };
    // A queue has a writer of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|e| (SysExit::OsErr, e.to_string()))?;
    let exported = runtime.block_on(async {
        let queue = open().map_err(|error| match error {
            QueueError::InUse(_) => {
                let text = "the server has the queue: stop it first".to_owned();
                (SysExit::TempFail, text)
            }
            other => (SysExit::NoInput, other.to_string()),
        })?;
        let Some(queue) = queue else {
            return Ok(Exported::default());
        };
        let exported = export::export(&queue, target);
        queue.close();
        exported.map_err(|e| {
            let text = format!("{}: {}", target.display(), reason(&e));
            (SysExit::CantCreate, text)
        })
    })?;
    let Exported {
        written,
        held,
        failed,
    } = exported;
    for (id, error) in &failed {
        let text = format!("mailq: {id}: {}", reason(error));
        complain(&[text.as_bytes()]);
    }
    let mut text = format!("{written} written to {}", target.display());
    if held > 0 {
        text.push_str(&format!(
            "; {held} held or quarantined, left where they are"
        ));
    }
    if !failed.is_empty() {
        text.push_str(&format!("; {} could not be written", failed.len()));
    }
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err((
            SysExit::IoErr,
            format!("standard output: {}", reason(&error)),
        )),
        _ if failed.is_empty() => Ok(SysExit::Ok),
        _ => Ok(SysExit::CantCreate),
    }
}

fn messages(lines: &[Line]) -> impl Iterator<Item = &Envelope> {
    lines.iter().filter_map(|line| match line {
        Line::Message(envelope) => Some(&**envelope),
        _ => None,
    })
}

/// sendmail's layout.
fn list(folder: &Path, lines: &[Line], detail: Detail, out: &mut impl Write) -> io::Result<()> {
    let count = messages(lines).count();
    if count == 0 {
        writeln!(out, "{} is empty", folder.display())?;
        return writeln!(out, "\t\tTotal requests: 0");
    }
    let plural = if count == 1 { "" } else { "s" };
    writeln!(out, "\t\t{} ({count} request{plural})", folder.display())?;
    writeln!(
        out,
        "-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------"
    )?;
    for envelope in messages(lines) {
        entry(envelope, detail, out)?;
    }
    writeln!(out, "\t\tTotal requests: {count}")
}

fn entry(envelope: &Envelope, detail: Detail, out: &mut impl Write) -> io::Result<()> {
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
        envelope.id,
        envelope.size_octets,
        envelope.sender.shown()
    )?;
    match &envelope.hold {
        Some(Hold::Quarantined(why)) => writeln!(out, "      QUARANTINE: {why}")?,
        Some(Hold::Held) => writeln!(out, "      HELD")?,
        None => {}
    }
    if detail == Detail::All {
        writeln!(out, "      {}", next_try(envelope))?;
    }
    match detail {
        Detail::Plain => waiting(envelope, out),
        Detail::All => all_copies(envelope, out),
    }
}

/// Somebody who waits for a message.
struct Waiter<'a> {
    /// Which recipient he is or comes from.
    recipient: usize,
    /// The copy, where the recipient is known to be somebody.
    target: Option<&'a QueuedTarget>,
    /// What keeps it.
    why: Option<String>,
}

/// Who waits: recipients that nothing is known of yet, and whoever a copy that is not done goes
/// to; not those who have it, or of whom the sender has heard.
fn waiters(envelope: &Envelope) -> Vec<Waiter<'_>> {
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
            writeln!(out, "                 ({why:.60})")?;
        }
        if known.insert(who.clone()) {
            writeln!(out, "\t\t\t\t\t {who}")?;
        }
    }
    Ok(())
}

/// Every recipient with the state of each copy.
fn all_copies(envelope: &Envelope, out: &mut impl Write) -> io::Result<()> {
    for (at, recipient) in envelope.recipients.iter().enumerate() {
        if let Some(why) = trouble(envelope, at) {
            writeln!(out, "                 ({why:.60})")?;
        }
        writeln!(out, "\t\t\t\t\t <{}>", recipient.address.shown())?;
        for target in envelope.targets.iter().filter(|t| t.recipient == at) {
            writeln!(out, "\t\t\t\t\t    {}", copy(target))?;
        }
    }
    Ok(())
}

/// When a message was tried, and when it will be.
fn next_try(envelope: &Envelope) -> String {
    let time = |unix| Civil::local(unix).ctime();
    let next = match envelope.due_unix {
        0 => "next try at once".to_owned(),
        due_unix => format!("next try {}", time(due_unix)),
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
    if let Some(Expanded::Failed { text, .. }) =
        envelope.recipients.get(recipient).map(|r| &r.expanded)
    {
        return Some(text.clone());
    }
    let mut own = envelope.targets.iter().filter(|t| t.recipient == recipient);
    own.find_map(|t| match &t.progress {
        Progress::Failed { text, .. } => Some(text.clone()),
        Progress::Waiting if !t.last.is_empty() => Some(format!("Deferred: {}", t.last)),
        _ => None,
    })
}

/// A message's envelope and text.
fn plain(lines: &[Line], out: &mut impl Write) -> io::Result<()> {
    for line in lines {
        match line {
            Line::Message(envelope) => {
                entry(envelope, Detail::All, out)?;
                writeln!(out)?;
            }
            Line::Text(text) => out.write_all(&text.0)?,
            Line::Error(_) | Line::Done => {}
        }
    }
    Ok(())
}

/// A JSON object a message.
fn json(lines: &[Line], out: &mut impl Write) -> io::Result<()> {
    let mut envelope = None;
    for line in lines {
        match line {
            Line::Message(this) => {
                if let Some(before) = envelope.replace(serde_json::to_value(this)?) {
                    writeln!(out, "{before}")?;
                }
            }
            Line::Text(text) => {
                if let Some(serde_json::Value::Object(object)) = &mut envelope {
                    object.insert("text".into(), text.shown().into());
                }
            }
            Line::Error(_) | Line::Done => {}
        }
    }
    match envelope {
        Some(last) => writeln!(out, "{last}"),
        None => Ok(()),
    }
}
