//! The command line of smtpd: parse, call, report.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libmaps::policy::expand::trust::Trust;
use libmaps::site::model::options::Words;
use libmaps::site::model::options::values::read_time;
use libmaps::sysexits::SysExit;
use tools::getopt::{self, Given, Opt, long, long_value, value};
use tools::report::{asked_about_itself, complain, help};

use crate::deliver::copy::{exit_of_file, write_framed_file};
use crate::deliver::lmtp_program;
use crate::deliver::run_in::run_in;
use crate::log::{Log, Target};
use crate::notify::notify;
use crate::server::{self, Confinement, ServerError, Start};

const USAGE: &str = "\
usage: smtpd [--root DIR] [-C FILE] [-q TIME] [--log stderr|syslog|journal|json] [--unconfined]
       smtpd check [--root DIR] [-C FILE]
       smtpd demo [--once]";

/// The options that smtpd knows.
pub const OPTIONS: &[Opt] = &[
    long_value(
        "root",
        "DIR",
        "take all paths of the configuration below DIR",
    ),
    value(b'C', "FILE", "read FILE instead of /etc/mail/sendmail.mc"),
    value(
        b'q',
        "TIME",
        "try a message that waits again after TIME, such as 10m",
    ),
    long_value("log", "WHERE", "stderr, syslog, journal or json"),
    long("unconfined", "keep all rights of the start"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

fn about() -> String {
    let purpose = "Receives, delivers and passes on mail, as the site's sendmail.mc wants it. `check` says how it would\n\
        start, `demo` shows it on a sample site.";
    help(
        purpose,
        &format!("{}\n", USAGE.replacen('u', "U", 1)),
        OPTIONS,
    )
}

/// Runs smtpd with these arguments (without the program's name).
pub fn smtpd(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.first().and_then(|a| a.to_str()) {
        Some("deliver-file") => return deliver_file(args.get(1..).unwrap_or_default()),
        Some(lmtp_program::WORD) => {
            return lmtp_program::deliver_lmtp(args.get(1..).unwrap_or_default());
        }
        Some("run-in") => return run_in(args.get(1..).unwrap_or_default()),
        Some("read-include") => return read_include(args.get(1..).unwrap_or_default()),
        Some("read-forward") => return read_forward(args.get(1..).unwrap_or_default()),
        Some("deliver-agent") => {
            return match Options::parse(args.get(1..).unwrap_or_default()) {
                Ok(options) => {
                    crate::agent::serve(options.root.as_deref(), options.file.as_deref())
                }
                Err(_) => SysExit::Usage.into(),
            };
        }
        Some("run-queue") => {
            return crate::sendmail::run_once(args.get(1..).unwrap_or_default());
        }
        Some("demo") => return crate::demo::demo(args.get(1..).unwrap_or_default()),
        _ => {}
    }
    if let Some(exit) = asked_about_itself("smtpd", &args, about) {
        return exit;
    }
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(complaint) => {
            complain(&[b"smtpd: ", complaint.as_bytes(), b"\n", USAGE.as_bytes()]);
            return SysExit::Usage.into();
        }
    };
    let start = Start {
        root: options.root,
        file: options.file,
        queue_interval: options.queue_interval,
        confinement: options.confinement,
    };
    if options.check {
        return crate::check::check(&start);
    }
    let log = Arc::new(Log::open(options.log));
    // Before there are threads: what is given up here, they never have.
    let prepared = match server::prepare(start, &log) {
        Ok(prepared) => prepared,
        Err(error) => return failed(&log, &error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&[format!("smtpd: {error}").as_bytes()]);
            return SysExit::OsErr.into();
        }
    };
    let ended = runtime.block_on(server::run(prepared, Arc::clone(&log)));
    // What still waits (a slow program, a sleeping client) does not hold the end up.
    runtime.shutdown_background();
    match ended {
        Ok(()) => SysExit::Ok.into(),
        Err(error) => failed(&log, &error),
    }
}

/// Whoever started the server hears why it does not run, and so does the service manager.
fn failed(log: &Log, error: &ServerError) -> ExitCode {
    log.say(crate::log::Level::Error, &error.to_string());
    let said = match error {
        ServerError::Faulty(findings) => format!("{findings}\n{error}"),
        _ => error.to_string(),
    };
    for line in said.lines() {
        notify(&format!("STATUS={line}"));
        if log.is_elsewhere() {
            complain(&[b"smtpd: ", line.as_bytes()]);
        }
    }
    exit_of(error).into()
}

fn exit_of(error: &ServerError) -> SysExit {
    match error {
        ServerError::Site(error) => error.exit(),
        ServerError::Faulty(_) | ServerError::Privilege(_) => SysExit::Config,
        ServerError::World(_) | ServerError::Reach(_) => SysExit::Config,
        ServerError::Queue(crate::queue::QueueError::InUse(_)) => SysExit::TempFail,
        ServerError::Queue(_) => SysExit::IoErr,
        ServerError::Bind { .. } => SysExit::Unavailable,
        ServerError::Io(_) | ServerError::Agent | ServerError::NotFollowed(_) => SysExit::OsErr,
        ServerError::Changed => SysExit::TempFail,
    }
}

struct Options {
    root: Option<PathBuf>,
    file: Option<PathBuf>,
    log: Target,
    check: bool,
    queue_interval: Option<Duration>,
    confinement: Confinement,
}

impl Options {
    fn parse(args: &[OsString]) -> Result<Self, String> {
        let mut options = Options {
            root: None,
            file: None,
            log: Target::Stderr,
            check: false,
            queue_interval: None,
            confinement: Confinement::default(),
        };
        let parsed = getopt::parse(OPTIONS, args.iter().cloned());
        let parsed = parsed.map_err(|(complaint, _)| complaint.to_string())?;
        for given in parsed.given {
            match given {
                Given::Long("unconfined", _) => options.confinement = Confinement::Unconfined,
                Given::Long("root", dir) => options.root = dir.map(PathBuf::from),
                Given::Short(b'C', file) => options.file = file.map(PathBuf::from),
                Given::Short(b'q', Some(time)) => {
                    let time = read_time(&time.to_string_lossy(), b'm');
                    options.queue_interval = Some(time.map_err(|e| format!("-q: {e}"))?);
                }
                Given::Long("log", Some(to)) => {
                    options.log = to.to_string_lossy().parse().map_err(str::to_owned)?;
                }
                Given::Long(name, _) => return Err(format!("--{name} stands alone")),
                Given::Short(letter, _) => {
                    return Err(format!("-{}: not understood", char::from(letter)));
                }
            }
        }
        match parsed.operands.as_slice() {
            [] => {}
            [word] if word == "check" => options.check = true,
            [first, word, ..] if first == "check" => return Err(not_understood(word)),
            [word, ..] => return Err(not_understood(word)),
        }
        Ok(options)
    }
}

fn not_understood(word: &OsStr) -> String {
    format!("{}: not understood", word.to_string_lossy())
}

/// `smtpd deliver-file WORDS... PATH`: the server calls itself so, as the user whose file it is.
fn deliver_file(args: &[OsString]) -> ExitCode {
    let Some((path, words)) = args.split_last() else {
        return SysExit::Usage.into();
    };
    let words: Vec<&str> = words.iter().filter_map(|w| w.to_str()).collect();
    match write_framed_file(&words, Path::new(path), std::io::stdin().lock()) {
        Ok(()) => SysExit::Ok.into(),
        Err(error) => {
            complain(&[format!("{}: {error}", Path::new(path).display()).as_bytes()]);
            exit_of_file(&words, &error).into()
        }
    }
}

/// `smtpd read-forward UID WORDS ROOT PATH`: the agent calls itself so, as the user whose file it
/// is, with the words of DontBlameSendmail. If only the addresses in it count, that is said on
/// standard error.
fn read_forward(args: &[OsString]) -> ExitCode {
    use crate::deliver::forward_file::{Rules, Unread, read_trusted};
    let [uid, words, root, path] = args else {
        return SysExit::Usage.into();
    };
    let words = words.to_string_lossy();
    let words = Words(words.split(',').map(str::to_owned).collect());
    let rules = Rules {
        root: Some(Path::new(root)),
        blame: &words,
    };
    let Some(uid) = uid.to_str().and_then(|text| text.parse().ok()) else {
        return SysExit::Usage.into();
    };
    match read_trusted(Path::new(path), uid, rules) {
        Ok(Some(list)) => {
            if list.trust == Trust::Addresses {
                complain(&[b"addresses"]);
            }
            match std::io::Write::write_all(&mut std::io::stdout().lock(), &list.text) {
                Ok(()) => SysExit::Ok.into(),
                Err(_) => SysExit::IoErr.into(),
            }
        }
        Ok(None) => SysExit::NoInput.into(),
        Err(Unread::Untrusted(why)) => {
            complain(&[why.to_string().as_bytes()]);
            SysExit::NoPerm.into()
        }
        Err(Unread::Later(why)) => {
            complain(&[why.to_string().as_bytes()]);
            SysExit::TempFail.into()
        }
    }
}

/// `smtpd read-include ROOT PATH`: the agent calls itself so. What became of it is said in JSON on
/// standard error, as the list itself goes to standard output.
fn read_include(args: &[OsString]) -> ExitCode {
    let [root, path] = args else {
        return SysExit::Usage.into();
    };
    let read = crate::agent::read_include(Some(Path::new(root)), Path::new(path));
    match serde_json::to_string(&read) {
        Ok(said) => {
            complain(&[said.as_bytes()]);
            SysExit::Ok.into()
        }
        Err(_) => SysExit::Software.into(),
    }
}
