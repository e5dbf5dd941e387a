//! `mapremote follow --with-parent`: a process that does nothing but start the one which
//! follows, anew whenever it ends.
//!
//! A server that gives up its rights can't start programs any more; this
//! process keeps those it was started with. It ends when its standard input
//! does, and then so does the one that works, whose standard input is a pipe
//! from here. A line on standard input, whatever it says, means that the
//! administrator changed something: what is to be followed is found out anew,
//! here and with these rights, and never told by the server, which may be in
//! the hands of a stranger.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use libmaps::policy::shared_maps::{files_of, make_connection_files};
use libmaps::site;

use crate::fault::Fault;
use crate::log::Log;

/// The first pause before a start; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// One that ran for so long was well.
const WELL: Duration = Duration::from_secs(60);

/// What is followed.
#[derive(Clone, Debug)]
pub enum Followed {
    /// The maps of these connection files.
    Files(Vec<PathBuf>),
    /// The shared maps that a site's configuration names: this file, or the usual one.
    Site(Option<PathBuf>),
}

impl Followed {
    /// The connection files of this moment.
    fn files(&self, root: Option<&Path>) -> Result<Vec<PathBuf>, String> {
        let file = match self {
            Followed::Files(files) => return Ok(files.clone()),
            Followed::Site(file) => file.as_deref(),
        };
        let loaded = site::load::load_unfilled(root, file).map_err(|e| e.to_string())?;
        match loaded.errors().next() {
            Some(error) => Err(error.to_string()),
            None => {
                let unwritten =
                    |(file, why): (PathBuf, io::Error)| format!("{}: {why}", file.display());
                make_connection_files(&loaded.site).map_err(unwritten)?;
                Ok(files_of(&loaded.site))
            }
        }
    }
}

/// What happens to a supervisor.
enum Event {
    /// A line came on standard input.
    ReadAnew,
    /// The process that follows has ended.
    Ended(String),
}

/// Starts this program with these arguments and the files of `followed`, again and again, until
/// standard input ends.
///
/// # Errors
/// No thread can be started.
pub fn supervise(
    args: &[OsString],
    followed: &Followed,
    root: Option<&Path>,
    log: &Log,
) -> Result<(), Fault> {
    let (tell, events) = channel();
    let told = tell.clone();
    thread::Builder::new()
        .name("parent".into())
        .spawn(move || {
            hear(|| told.send(Event::ReadAnew).is_ok());
            std::process::exit(0);
        })?;
    let mut files = Vec::new();
    let mut pause = FIRST_PAUSE;
    loop {
        match followed.files(root) {
            Ok(found) => files = found,
            Err(why) => log.trouble(&format!("what is followed stays the same: {why}")),
        }
        let started = Instant::now();
        let ended = match files.is_empty() {
            true => wait_for_line(&events),
            false => one(args, &files, &tell, &events),
        };
        let Some(why) = ended else {
            pause = FIRST_PAUSE;
            continue;
        };
        log.restarted(&why);
        if started.elapsed() >= WELL {
            pause = FIRST_PAUSE;
        }
        // A line ends the pause.
        pause = match events.recv_timeout(pause) {
            Ok(_) => FIRST_PAUSE,
            Err(_) => (pause * 2).min(LONGEST_PAUSE),
        };
    }
}

/// Starts this program with these arguments, again and again, until it ends well. It reads
/// standard input itself, whose end is that of the program that started us.
///
/// # Errors
/// Never at present.
pub fn supervise_reader(args: &[OsString], log: &Log) -> Result<(), Fault> {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let why = match Command::new(program()).args(args).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("it ended with {status}"),
            Err(e) => format!("it can't be started: {e}"),
        };
        log.restarted(&why);
        if started.elapsed() >= WELL {
            pause = FIRST_PAUSE;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs the process that follows to its end; says why it ended, unless a line asked for it.
fn one(
    args: &[OsString],
    files: &[PathBuf],
    tell: &Sender<Event>,
    events: &Receiver<Event>,
) -> Option<String> {
    let input = match start(args, files, tell) {
        Ok(input) => input,
        Err(e) => return Some(format!("it can't be started: {e}")),
    };
    match events.recv() {
        Ok(Event::Ended(why)) => Some(why),
        Ok(Event::ReadAnew) | Err(_) => {
            // Without standard input it ends, in the midst of a draft as well.
            drop(input);
            while let Ok(Event::ReadAnew) = events.recv() {}
            None
        }
    }
}

fn start(args: &[OsString], files: &[PathBuf], tell: &Sender<Event>) -> io::Result<ChildStdin> {
    let mut child = Command::new(program())
        .args(args)
        .arg("--")
        .args(files)
        .stdin(Stdio::piped())
        .spawn()?;
    // wait() would close it.
    let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let tell = tell.clone();
    thread::Builder::new()
        .name("worker".into())
        .spawn(move || {
            let why = match child.wait() {
                Ok(status) => format!("it ended with {status}"),
                Err(e) => format!("it can't be waited for: {e}"),
            };
            let _ = tell.send(Event::Ended(why));
        })?;
    Ok(input)
}

fn wait_for_line(events: &Receiver<Event>) -> Option<String> {
    // This end of the channel has a sender of its own: an error can't be.
    let _ = events.recv();
    None
}

/// This program: by its name, or, where that was removed, the very file that runs.
pub(crate) fn program() -> PathBuf {
    let named = std::env::current_exe().ok().filter(|path| path.is_file());
    named.unwrap_or_else(|| "/proc/self/exe".into())
}

/// Waits until standard input ends; what comes there means nothing.
pub fn wait_for_the_end() {
    hear(|| true);
}

/// Calls `line` for each line of standard input, until that ends or `line` wants no more.
fn hear(mut line: impl FnMut() -> bool) {
    let mut octet = [0];
    loop {
        match io::stdin().read(&mut octet) {
            Ok(0) => return,
            Ok(_) if octet == *b"\n" && !line() => return,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
