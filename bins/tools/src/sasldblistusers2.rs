//! sasldblistusers2(8): lists the accounts of sasldb2.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libmaps::map::Map;
use libmaps::sasl::conf::DEFAULT_SASLDB;
use libmaps::sasl::mechanism::Mechanism;
use libmaps::sasl::{SaslDb, SaslDbError, ScramHash, UserId};
use libmaps::source::csv::write_row;
use libmaps::sysexits::SysExit;
use serde_json::json;

use crate::getopt::{Given, Opt, flag, long, long_value, value};
use crate::getopt_all::{self, Event};
use crate::report::{asked_about_itself, complain, help};
use crate::sasl_site::{
    BANNER, VERSIONS, below, configuration, exit_of, program_name, shared_store, tell,
};

/// Every option.
pub const OPTIONS: &[Opt] = &[
    value(b'f', "FILE", "use FILE as sasldb"),
    flag(b'v', "print version numbers and exit"),
    flag(b'h', "print the usage"),
    flag(b'?', "print the usage"),
    long(
        "mechs",
        "a line for each mechanism by which a user can log in",
    ),
    long("json", "a JSON array for each line"),
    long("csv", "CSV with a heading"),
    long_value("root", "DIR", "take the site's paths below DIR"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

/// The usage text, as the original prints it after the program's name.
pub const USAGE: &str = "\
[-v] [[-f] sasldb]
\t-f sasldb\tuse given file as sasldb
\t-v\tprint version numbers and exit
";

fn about() -> String {
    let usage = "Usage: sasldblistusers2 [--mechs] [--json | --csv] [[-f] sasldb]\n";
    help("Lists the accounts of sasldb2.", usage, OPTIONS)
}

/// What a line says about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Properties,
    Mechanisms,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `user@realm: property`, octets as they are: what the original prints.
    Plain,
    Json,
    Csv,
}

struct Typed {
    file: Option<OsString>,
    root: PathBuf,
    subject: Subject,
    format: Format,
}

/// Runs the program; `args` begins with its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = program_name(args.next(), "sasldblistusers2");
    let args: Vec<OsString> = args.collect();
    if let Some(exit) = asked_about_itself("sasldblistusers2", &args, about) {
        return exit;
    }
    let typed = match read_options(&program, args) {
        Ok(typed) => typed,
        Err(exit) => return exit,
    };
    if let Err(error) = configuration(&program, "sasldblistusers", &typed.root) {
        complain(&[b"Couldn't initialize server API"]);
        tell(&program, &error.to_string());
        return ExitCode::FAILURE;
    }
    let path = match &typed.file {
        Some(file) if !file.is_empty() => PathBuf::from(file),
        _ => below(&typed.root, Path::new(DEFAULT_SASLDB)),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let shared = shared_store(&path, Some(&typed.root));
    // The original knows none, and scripts that ask for one want to know that it failed.
    let is_shared = !matches!(shared, Ok(None));
    let opened =
        shared.and_then(|shared| SaslDb::open(shared.as_ref().map_or(&path, |c| &c.replica)));
    let listed = match opened {
        Ok(db) => list(&db, &typed, &mut out),
        Err(error) => Err(ListError::Read(error.into())),
    };
    match listed.and_then(|bad| out.flush().map(|()| bad).map_err(ListError::Write)) {
        Ok(bad) if bad.is_empty() => ExitCode::SUCCESS,
        Ok(bad) => {
            for error in &bad {
                complain(&[format!("{program}: {error}").as_bytes()]);
            }
            ExitCode::FAILURE
        }
        Err(ListError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(ListError::Write(error)) => {
            complain(&[format!("{program}: standard output: {error}").as_bytes()]);
            SysExit::IoErr.into()
        }
        Err(ListError::Read(error)) => {
            let _ = out.flush();
            complain(&[b"listusers failed"]);
            let original = typed.format == Format::Plain && typed.subject == Subject::Properties;
            if original && !is_shared {
                tell(&program, &error.to_string());
                // The original's exit code.
                return ExitCode::SUCCESS;
            }
            complain(&[format!("{program}: {error}").as_bytes()]);
            match is_shared {
                true => exit_of(&error).into(),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// What the letters asked for last, where it is no listing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Usage,
    Unrecognized,
}

fn read_options(program: &str, args: Vec<OsString>) -> Result<Typed, ExitCode> {
    let alone = args.len() == 1;
    let (events, operands) = getopt_all::read(OPTIONS, args.iter().cloned());
    let mut wrong = None;
    let mut typed = Typed {
        file: None,
        root: PathBuf::from("/"),
        subject: Subject::Properties,
        format: Format::Plain,
    };
    let mut ours = 0;
    for event in events {
        match event {
            Event::Complaint(complaint) => {
                complain(&[format!("{program}: {complaint}").as_bytes()]);
                wrong = Some(Wrong::Unrecognized);
            }
            Event::Given(Given::Short(b'v', _)) => {
                print(&format!("{BANNER}{VERSIONS}"));
                return Err(ExitCode::SUCCESS);
            }
            Event::Given(Given::Short(b'f', file)) => typed.file = file,
            Event::Given(Given::Short(b'h', _)) => wrong = Some(Wrong::Usage),
            Event::Given(Given::Short(..)) => wrong = Some(Wrong::Unrecognized),
            Event::Given(Given::Long(name, argument)) => {
                ours += 1;
                match (name, argument) {
                    ("mechs", _) => typed.subject = Subject::Mechanisms,
                    ("json", _) => typed.format = Format::Json,
                    ("csv", _) => typed.format = Format::Csv,
                    (_, Some(root)) => typed.root = root.into(),
                    _ => wrong = Some(Wrong::Usage),
                }
            }
        }
    }
    // The original takes a plain argument only if it stands alone.
    match operands.as_slice() {
        [] => {}
        [file] if typed.file.is_none() && (alone && file != "-" || ours > 0) => {
            typed.file = Some(file.clone());
        }
        _ => wrong = wrong.or(Some(Wrong::Usage)),
    }
    let Some(wrong) = wrong else {
        return Ok(typed);
    };
    print(&format!("{BANNER}{program}: usage: {program} {USAGE}"));
    if wrong == Wrong::Unrecognized {
        print("Unrecognized command line option\n");
    }
    Err(ExitCode::FAILURE)
}

enum ListError {
    Read(SaslDbError),
    Write(io::Error),
}

impl From<SaslDbError> for ListError {
    fn from(error: SaslDbError) -> Self {
        ListError::Read(error)
    }
}

/// Lists what the store has; gives the accounts whose secrets can't be read, which are left out.
fn list<M: Map>(
    db: &SaslDb<M>,
    typed: &Typed,
    out: &mut impl Write,
) -> Result<Vec<SaslDbError>, ListError> {
    let mut bad = Vec::new();
    let word = match typed.subject {
        Subject::Properties => "property",
        Subject::Mechanisms => "mechanism",
    };
    if typed.format == Format::Csv {
        let heading = write_row(&[b"user", b"realm", word.as_bytes()]);
        out.write_all(&heading).map_err(ListError::Write)?;
    }
    let mut seen = HashSet::new();
    for line in db.listing() {
        let (user, property) = line?;
        match typed.subject {
            Subject::Properties => write_line(&user, &property, typed, out)?,
            // Only in our own stores do the records of one user stand together.
            Subject::Mechanisms if seen.contains(&user) => {}
            Subject::Mechanisms => {
                match mechanisms(db, &user) {
                    Ok(all) => {
                        for mechanism in all {
                            write_line(&user, mechanism.name().as_bytes(), typed, out)?;
                        }
                    }
                    Err(error @ SaslDbError::BadRecord { .. }) => bad.push(error),
                    Err(error) => return Err(error.into()),
                }
                seen.insert(user);
            }
        }
    }
    Ok(bad)
}

fn write_line(
    user: &UserId,
    word: &[u8],
    typed: &Typed,
    out: &mut impl Write,
) -> Result<(), ListError> {
    let (authid, realm) = (user.authid(), user.realm());
    let line = match typed.format {
        Format::Plain => [authid, b"@", realm, b": ", word, b"\n"].concat(),
        Format::Csv => write_row(&[authid, realm, word]),
        Format::Json => {
            let [authid, realm, word] = [authid, realm, word].map(latin1);
            let row = match typed.subject {
                // The fourth place is the value's, which is never shown.
                Subject::Properties => json!([authid, realm, word, null]),
                Subject::Mechanisms => json!([authid, realm, word]),
            };
            format!("{row}\n").into_bytes()
        }
    };
    out.write_all(&line).map_err(ListError::Write)
}

/// A character for each octet, so that names that are no UTF-8 can be told apart.
fn latin1(octets: &[u8]) -> String {
    octets.iter().map(|b| char::from(*b)).collect()
}

/// The mechanisms that an account's secrets can answer.
fn mechanisms<M: Map>(db: &SaslDb<M>, user: &UserId) -> Result<Vec<Mechanism>, SaslDbError> {
    let Some(secrets) = db.secrets(user)? else {
        return Ok(Vec::new());
    };
    let clear = secrets.clear.is_some();
    let answers = |mechanism: &Mechanism| match mechanism {
        Mechanism::Plain | Mechanism::Login => true,
        Mechanism::CramMd5 => clear || secrets.cram_md5.is_some(),
        Mechanism::DigestMd5 => clear || secrets.digest_md5.is_some(),
        Mechanism::Scram(hash) => clear || has(&secrets, *hash),
        _ => false,
    };
    Ok(Mechanism::ALL.into_iter().filter(answers).collect())
}

fn has(secrets: &libmaps::sasl::secret::Secrets, hash: ScramHash) -> bool {
    secrets.scram(hash).is_some()
}

fn print(text: &str) {
    // When even that can't be written, the exit code still tells.
    let _ = io::stderr().write_all(text.as_bytes());
}
