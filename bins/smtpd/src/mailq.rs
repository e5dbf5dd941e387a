//! mailq: what is in the queue, in the original's layout or as JSON.
//!
//! It asks the server that has the queue; where none runs, it opens the store itself.

mod export;
mod layout;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libmaps::site::{Site, load};
use libmaps::sysexits::SysExit;
use tools::alias_config::reason;
use tools::getopt::{self, Given, Opt, flag, long, long_value, value};
use tools::report::{asked_about_itself, complain, help};

use crate::log::clean;
use crate::queue::control::{Line, Request, ask, carry_out};
use crate::queue::{Condition, Queue, QueueError, selects};

use export::Exported;
pub(crate) use layout::Detail;
use layout::{Lines, Screen, Trouble, list, plain};

const USAGE: &str = "\
usage: mailq [--root DIR] [-C FILE] [-v] [--json] [list]
       mailq [--root DIR] [-C FILE] [--json] show ID...
       mailq [--root DIR] [-C FILE] hold|release|remove ID...
       mailq [--root DIR] [-C FILE] run [ID...]
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
    value(
        b'A',
        "X",
        "c lists what no server has taken yet, m the queue alone",
    ),
    value(b'b', "p", "-bp is accepted, for old habits' sake"),
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
    let options = match Call::parse(args) {
        Ok(Call::Dropped { root, file }) => return list_dropped(root, file),
        Ok(Call::Queue(options)) => options,
        Err(complaint) => {
            complain(&[b"mailq: ", complaint.as_bytes(), b"\n", USAGE.as_bytes()]);
            return SysExit::Usage.into();
        }
    };
    // The words of classes that hosts share are not asked here.
    let loaded = load::load_unfilled(options.root.as_deref(), options.file.as_deref());
    match loaded {
        Ok(loaded) => carry(&options, &loaded.site),
        Err(error) => {
            complain(&[b"mailq: ", clean(&error.to_string()).as_bytes()]);
            error.exit().into()
        }
    }
}

/// Lists the queue of a site, those messages that the conditions select.
pub(crate) fn list_of(site: &Site, detail: Detail, conditions: Vec<Condition>) -> ExitCode {
    let options = Options {
        root: None,
        file: None,
        format: Format::Text,
        detail,
        task: Task::Ask(vec![Request::List]),
        conditions,
    };
    carry(&options, site)
}

/// What the client's queue is to sendmail; its other name lists it.
fn list_dropped(root: Option<PathBuf>, file: Option<PathBuf>) -> ExitCode {
    let mut args: Vec<OsString> = ["sendmail", "-bp", "-Ac"].map(OsString::from).into();
    for (name, value) in [("--root", root), ("-C", file)] {
        if let Some(value) = value {
            args.extend([name.into(), value.into()]);
        }
    }
    crate::sendmail::sendmail(args)
}

fn carry(options: &Options, site: &Site) -> ExitCode {
    let mut out = io::stdout().lock();
    let screen = match out.is_terminal() {
        true => Screen::Terminal,
        false => Screen::Elsewhere,
    };
    match options.run(site, screen, &mut out) {
        Ok(exit) => exit.into(),
        Err((exit, text)) => {
            complain(&[b"mailq: ", clean(&text).as_bytes()]);
            exit.into()
        }
    }
}

/// What is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    /// The server's queue.
    Queue,
    /// What no server has taken yet.
    Dropped,
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
    /// Which messages are listed; none for all.
    conditions: Vec<Condition>,
}

/// What is to be done.
enum Task {
    /// This, in order.
    Ask(Vec<Request>),
    /// Write what waits into this folder.
    Export(PathBuf),
}

/// What is asked for.
enum Call {
    /// The list of the drop folder.
    Dropped {
        root: Option<PathBuf>,
        file: Option<PathBuf>,
    },
    /// Something of the queue.
    Queue(Options),
}

impl Call {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let parsed =
            getopt::parse(OPTIONS, args).map_err(|(complaint, _)| complaint.to_string())?;
        let (mut root, mut file, mut format) = (None, None, Format::Text);
        let (mut detail, mut listed) = (Detail::Plain, Listed::Queue);
        for given in parsed.given {
            match given {
                Given::Long("root", dir) => root = dir.map(PathBuf::from),
                Given::Short(b'C', name) => file = name.map(PathBuf::from),
                Given::Long("json", _) => format = Format::Json,
                Given::Short(b'v', _) => detail = Detail::All,
                Given::Short(b'A', Some(word)) if word == "c" => listed = Listed::Dropped,
                Given::Short(b'A', Some(word)) if word == "m" => listed = Listed::Queue,
                // The original's: it is what this program is.
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
        if listed == Listed::Dropped {
            let lists = matches!(words.as_slice(), [] | [_]);
            if !lists || words.first().is_some_and(|word| word != "list") {
                return Err("-Ac goes with list alone".into());
            }
            if format == Format::Json {
                return Err("-Ac has no --json".into());
            }
            return Ok(Call::Dropped { root, file });
        }
        let ids = words.get(1..).unwrap_or_default().iter().cloned();
        if let Some("export") = words.first().map(String::as_str) {
            let [_, folder] = parsed.operands.as_slice() else {
                return Err("export wants a folder".into());
            };
            let task = Task::Export(folder.into());
            return Ok(Call::Queue(Options {
                root,
                file,
                format,
                detail,
                task,
                conditions: Vec::new(),
            }));
        }
        let requests: Vec<Request> = match words.first().map(String::as_str) {
            Some("list") if words.len() > 1 => {
                return Err("list shows all messages, show ID that one".into());
            }
            None | Some("list") => vec![Request::List],
            Some("run") if words.len() == 1 => vec![Request::Run],
            Some("run") => ids.map(Request::RunOne).collect(),
            Some("show") => ids.map(Request::Show).collect(),
            Some("hold") => ids.map(Request::Hold).collect(),
            Some("release") => ids.map(Request::Release).collect(),
            Some("remove") => ids.map(Request::Remove).collect(),
            Some(other) => return Err(format!("{other}: not understood")),
        };
        if requests.is_empty() {
            return Err("which message?".into());
        }
        Ok(Call::Queue(Options {
            root,
            file,
            format,
            detail,
            task: Task::Ask(requests),
            conditions: Vec::new(),
        }))
    }
}

impl Options {
    fn run(
        &self,
        site: &Site,
        screen: Screen,
        out: &mut impl Write,
    ) -> Result<SysExit, (SysExit, String)> {
        let shown = site.queue_folder();
        let folder = site.below(shown);
        let requests = match &self.task {
            Task::Ask(requests) => requests,
            Task::Export(target) => return export_all(&folder, target, out),
        };
        let mut exit = SysExit::Ok;
        for request in requests {
            let lines: Lines = match ask(&folder, request) {
                Ok(Some(answer)) => Box::new(answer),
                Ok(None) => {
                    let lines = alone(&folder, request.clone());
                    let lines = lines.map_err(|error| match error {
                        Alone::Queue(error) if error.is_denied() => denied(shown),
                        other => (other.exit(), other.to_string()),
                    })?;
                    Box::new(lines.into_iter().map(Ok))
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(denied(shown));
                }
                Err(error) => return Err((SysExit::TempFail, error.to_string())),
            };
            let lines = selected(lines, self.conditions.clone());
            let printed = match (request, self.format) {
                (Request::List, Format::Text) => list(shown, lines, self.detail, out),
                (_, Format::Text) => plain(lines, screen, out),
                (_, Format::Json) => json(lines, out),
            };
            let printed = printed.and_then(|refusal| {
                out.flush()?;
                Ok(refusal)
            });
            match printed {
                // A reader that has seen enough is no error.
                Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(exit);
                }
                Err(Trouble::Output(error)) => {
                    let text = format!("standard output: {}", reason(&error));
                    return Err((SysExit::IoErr, text));
                }
                Err(Trouble::Server(error)) => return Err((SysExit::TempFail, error.to_string())),
                Ok(Some(text)) => {
                    complain(&[b"mailq: ", clean(&text).as_bytes()]);
                    exit = SysExit::Unavailable;
                }
                Ok(None) => {}
            }
        }
        Ok(exit)
    }
}

/// The lines of an answer without the messages that the conditions do not select.
fn selected(lines: Lines, conditions: Vec<Condition>) -> Lines {
    if conditions.is_empty() {
        return lines;
    }
    Box::new(lines.filter(move |line| match line {
        Ok(Line::Message { envelope, .. }) => selects(&conditions, envelope),
        _ => true,
    }))
}

fn denied(queue: &Path) -> (SysExit, String) {
    let queue = queue.display();
    let text = format!("{queue}: only root and the server's user may see the queue");
    (SysExit::NoPerm, text)
}

/// Why nothing is done without a server.
#[derive(Debug, thiserror::Error)]
enum Alone {
    /// Messages are tried by a server, or by one run of sendmail.
    #[error("no server runs; sendmail -q tries once what waits, sendmail -qIID one message")]
    NobodyTries,
    /// The queue can't be opened.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The system refused something else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Alone {
    fn exit(&self) -> SysExit {
        match self {
            Alone::NobodyTries => SysExit::Unavailable,
            Alone::Queue(_) => SysExit::NoInput,
            Alone::Io(_) => SysExit::OsErr,
        }
    }
}

/// No server runs: does the work on the store itself.
fn alone(folder: &Path, request: Request) -> Result<Vec<Line>, Alone> {
    let is_there = has_queue(folder)?;
    match request {
        Request::Run | Request::RunOne(_) | Request::RunSome(_) => return Err(Alone::NobodyTries),
        Request::List if !is_there => return Ok(vec![Line::Done]),
        Request::Show(id) | Request::Hold(id) | Request::Release(id) | Request::Remove(id)
            if !is_there =>
        {
            let text = QueueError::Unknown(id).to_string();
            return Ok(vec![Line::Error(text)]);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let queue = Queue::open(folder)?;
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

/// Whether a folder holds a queue.
pub(crate) fn has_queue(folder: &Path) -> Result<bool, QueueError> {
    let store = folder.join("queue.redb");
    store
        .try_exists()
        .map_err(QueueError::io(store.as_path(), "look for"))
}

/// Writes what waits into a folder. No server may run: what it delivers meanwhile would be
/// delivered twice.
fn export_all(
    folder: &Path,
    target: &Path,
    out: &mut impl Write,
) -> Result<SysExit, (SysExit, String)> {
    let open = || match has_queue(folder)? {
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
            other if other.is_denied() => denied(folder),
            other => (SysExit::NoInput, other.to_string()),
        })?;
        let Some(queue) = queue else {
            let text = format!("{}: there is no queue", folder.display());
            return Err((SysExit::NoInput, text));
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
        complain(&[clean(&text).as_bytes()]);
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

/// A JSON object a message; what the server says it could not do comes back.
fn json(lines: Lines, out: &mut impl Write) -> Result<Option<String>, Trouble> {
    let (mut message, mut refusal) = (None, None);
    for line in lines {
        match line.map_err(Trouble::Server)? {
            Line::Message {
                envelope,
                waits_for,
            } => {
                let mut this = serde_json::to_value(envelope).map_err(io::Error::from)?;
                if let (Some(what), Some(object)) = (waits_for, this.as_object_mut()) {
                    object.insert("waits_for".into(), what.into());
                }
                if let Some(before) = message.replace(this) {
                    writeln!(out, "{before}")?;
                }
            }
            Line::Text(text) => {
                if let Some(serde_json::Value::Object(object)) = &mut message {
                    object.insert("text".into(), text.shown().into());
                }
            }
            Line::Error(text) => refusal = Some(text),
            Line::Done => {}
        }
    }
    if let Some(last) = message {
        writeln!(out, "{last}")?;
    }
    Ok(refusal)
}
