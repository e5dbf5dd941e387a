//! makemap(8): builds a map from its source, or dumps one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use libmaps::build::{self, Builder, Ending, FromSource, OnError, Report, Start, Watcher};
use libmaps::map::{MapClass, StoreError};
use libmaps::source::map::{EmptyRhs, Fold, Grammar};
use libmaps::store::class::{CLASSES, Listed, Reads};
use libmaps::store::path::Safety;
use libmaps::store::publish::{OnDuplicate, Options};
use libmaps::store::shared::Wish;
use libmaps::sysexits::SysExit;
use serde_json::json;

use crate::config::{self, Config};
use crate::getopt::{self, Given, Opt, Parsed, flag, long, value};
use crate::progress::Progress;
use crate::report::{VERSION, complain, finish, help, octets, print_and_end, version};
use crate::target::{Target, complain_of_opening, reason_of, split_shared, unknown_type};

const NAME: &str = "makemap";

/// The usage text, as the original prints it.
pub const USAGE: &str = "\
Usage: makemap [-C cffile] [-N] [-c cachesize] [-D commentchar]
               [-d] [-e] [-f] [-i type] [-l] [-o] [-r] [-s] [-t delimiter]
               [-u] [-v] type mapname
";

/// Every option.
pub const OPTIONS: &[Opt] = &[
    value(
        b'C',
        "FILE",
        "read TrustedUser, and map types for `cf', from FILE",
    ),
    flag(
        b'N',
        "end keys and values in a NUL, as alias maps have them",
    ),
    value(
        b'c',
        "OCTETS",
        "cache size (accepted; memory is bounded in any case)",
    ),
    value(b'D', "CHAR", "comment lines begin with CHAR instead of #"),
    flag(b'd', "keep all values of a key that comes several times"),
    flag(b'e', "accept keys without a value"),
    flag(b'f', "do not fold capitals in keys"),
    value(
        b'i',
        "TYPE",
        "type when a `cf' map is not in the configuration",
    ),
    flag(b'l', "list the types of maps and end"),
    flag(b'o', "add to the map instead of beginning anew"),
    flag(b'r', "let a later value of a key replace the earlier one"),
    flag(b's', "follow links: waive the checks against them"),
    value(
        b't',
        "CHAR",
        "CHAR stands between key and value instead of white space",
    ),
    flag(b'u', "dump the map instead of building it"),
    flag(b'v', "print each key and value as it is read"),
    long("strict", "publish nothing if a line is wrong"),
    long("json", "print a report of the build as JSON"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

#[derive(Debug)]
struct Settings {
    grammar: Grammar,
    ending: Ending,
    on_duplicate: OnDuplicate,
    start: Start,
    safety: Safety,
    on_error: OnError,
    action: Action,
    verbose: bool,
    json: bool,
    config: Option<OsString>,
    fallback: Option<OsString>,
    described: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Build,
    Dump,
    List,
}

/// Runs the program on its arguments (without its name).
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = match getopt::parse(OPTIONS, args) {
        Ok(parsed) => parsed,
        Err((complaint, _)) => {
            complain(&[format!("{NAME}: {complaint}").as_bytes()]);
            return usage();
        }
    };
    for (name, text) in [
        (
            "help",
            help(
                "Builds a map for sendmail from its source on standard input.",
                USAGE,
                OPTIONS,
            ),
        ),
        ("version", version(NAME)),
    ] {
        if parsed.given.contains(&Given::Long(name, None)) {
            return print_and_end(NAME, &text);
        }
    }
    let settings = Settings::new(&parsed);
    if settings.action == Action::List {
        let words = CLASSES.iter().filter(|row| row.listed == Listed::Yes);
        let list: String = words.map(|row| format!("{}\n", row.word)).collect();
        return print_and_end(NAME, &list);
    }
    let (word, name) = match parsed.operands.as_slice() {
        [word, name] => (word.clone(), name.clone()),
        [both] => match split_shared(both) {
            Some(both) => both,
            None => return usage(),
        },
        _ => return usage(),
    };
    match make(&settings, &word, &name) {
        Ok(exit) => exit,
        Err(exit) => exit.into(),
    }
}

fn usage() -> ExitCode {
    let _ = io::stderr().write_all(USAGE.as_bytes());
    SysExit::Usage.into()
}

impl Settings {
    fn new(parsed: &Parsed) -> Self {
        let mut s = Settings {
            grammar: Grammar::default(),
            ending: Ending::Bare,
            on_duplicate: OnDuplicate::Refuse,
            start: Start::Empty,
            safety: Safety::Strict,
            on_error: OnError::PublishGood,
            action: Action::Build,
            verbose: false,
            json: false,
            config: None,
            fallback: None,
            described: Vec::new(),
        };
        for given in &parsed.given {
            s.take(given);
        }
        s
    }

    fn take(&mut self, given: &Given) {
        match given {
            Given::Short(b'C', file) => self.config.clone_from(file),
            Given::Short(b'i', word) => self.fallback.clone_from(word),
            Given::Short(b'N', _) => self.ending = Ending::Nul,
            Given::Short(b'D', chars) => self.grammar.comment = first(chars).unwrap_or(0),
            Given::Short(b'd', _) => self.on_duplicate = OnDuplicate::KeepAll,
            Given::Short(b'e', _) => self.grammar.empty_rhs = EmptyRhs::Allowed,
            Given::Short(b'f', _) => self.grammar.fold = Fold::Keep,
            Given::Short(b'l', _) => self.action = Action::List,
            Given::Short(b'o', _) => self.start = Start::FromOld,
            Given::Short(b'r', _) if self.on_duplicate != OnDuplicate::KeepAll => {
                self.on_duplicate = OnDuplicate::Replace;
            }
            Given::Short(b's', _) => self.safety = Safety::LinksAllowed,
            Given::Short(b't', chars) => match first(chars) {
                Some(separator) => self.grammar.separator = Some(separator),
                None => complain(&[b"Invalid separator"]),
            },
            Given::Short(b'u', _) if self.action == Action::Build => self.action = Action::Dump,
            Given::Short(b'v', _) => self.verbose = true,
            Given::Long("strict", _) => self.on_error = OnError::PublishNothing,
            Given::Long("json", _) => self.json = true,
            _ => {}
        }
        if let Given::Short(c @ (b'N' | b'd' | b'e' | b'f' | b'r'), _) = given {
            self.described.push(format!("-{}", *c as char));
        }
    }
}

fn first(chars: &Option<OsString>) -> Option<u8> {
    chars.as_deref().and_then(|c| octets(c).first().copied())
}

fn make(settings: &Settings, word: &OsStr, name: &OsStr) -> Result<ExitCode, SysExit> {
    let by_config = word.eq_ignore_ascii_case("cf");
    let config = match config::for_maps(settings.config.as_deref(), by_config) {
        Ok(config) => config,
        Err(e) => {
            complain(&[format!("{NAME}: ").as_bytes(), e.as_bytes()]);
            return Err(SysExit::NoInput);
        }
    };
    let word = if by_config || word.is_empty() && config.is_some() {
        word_from_config(settings, config.as_ref(), word, name)?
    } else {
        word.to_owned()
    };
    let Some(target) = Target::new(&word, name) else {
        complain_of_opening(NAME, &word, name, unknown_type(&word));
        return Err(SysExit::CantCreate);
    };
    let target = target
        .clone()
        .resolved()
        .map_err(|e| opening(&target, &e))?;
    let trusted = config.as_ref().and_then(Config::trusted_uid);
    match settings.action {
        Action::Dump => dump(settings, &target, trusted),
        Action::Build | Action::List => build(settings, target, trusted),
    }
}

/// The type of a map that the configuration names (`makemap cf NAME`).
fn word_from_config(
    settings: &Settings,
    config: Option<&Config>,
    word: &OsStr,
    name: &OsStr,
) -> Result<OsString, SysExit> {
    if let Some(word) = config.and_then(|c| c.map_type(word, name)) {
        return Ok(word);
    }
    if let Some(word) = &settings.fallback {
        return Ok(word.clone());
    }
    let file = settings.config.as_deref();
    complain(&[
        b"makemap: mapfile ",
        octets(name),
        b": not found in ",
        octets(file.unwrap_or(OsStr::new(config::DEFAULT_FILE))),
    ]);
    Err(SysExit::DataErr)
}

fn opening(target: &Target, e: &StoreError) -> SysExit {
    complain_of_opening(
        NAME,
        OsStr::new(target.row.word),
        &target.name,
        &reason_of(e),
    );
    open_exit(e)
}

/// The exit code when a map could not be opened: 73 as the original has it, but a damaged, a
/// busy and an unreadable format have codes of their own.
#[must_use]
pub fn open_exit(e: &StoreError) -> SysExit {
    match e {
        StoreError::Corrupt { .. } => SysExit::IoErr,
        StoreError::InUse { .. } => SysExit::TempFail,
        StoreError::Unsupported { .. } => SysExit::Config,
        StoreError::Engine { exit, .. } => *exit,
        _ => SysExit::CantCreate,
    }
}

fn dump(settings: &Settings, target: &Target, trusted: Option<u32>) -> Result<ExitCode, SysExit> {
    let opened = target
        .opened(settings.safety, trusted)
        .map_err(|e| opening(target, &e))?;
    if settings.on_duplicate == OnDuplicate::KeepAll && !opened.keeps_duplicates() {
        let why = "Invalid argument: the map was built without -d";
        complain_of_opening(NAME, OsStr::new(target.row.word), &target.name, why);
        return Err(SysExit::CantCreate);
    }
    let map = opened.into_map();
    let separator = settings.grammar.separator.unwrap_or(b'\t');
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    for entry in map.iter() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                let _ = out.flush();
                complain(&[format!("{NAME}: {e}").as_bytes()]);
                return Err(e.exit());
            }
        };
        let written = out
            .write_all(without_nul(entry.lhs.as_bytes()))
            .and_then(|()| out.write_all(&[separator]))
            .and_then(|()| out.write_all(without_nul(entry.rhs.as_bytes())))
            .and_then(|()| out.write_all(b"\n"));
        if written.is_err() {
            return Ok(finish(NAME, written, SysExit::Ok));
        }
    }
    Ok(finish(NAME, out.flush(), SysExit::Ok))
}

/// The octets up to the NUL that `-N` adds, or to any other: what C would print.
fn without_nul(octets: &[u8]) -> &[u8] {
    octets.split(|b| *b == 0).next().unwrap_or_default()
}

fn build(settings: &Settings, target: Target, trusted: Option<u32>) -> Result<ExitCode, SysExit> {
    let writer = target
        .writer(match settings.start {
            Start::Empty => Wish::Load,
            Start::FromOld => Wish::Edit,
        })
        .map_err(|e| opening(&target, &e))?;
    let mut class = target.new_class();
    if settings.start == Start::FromOld && target.row.reads == Reads::Any {
        // `implicit` takes the map as it is.
        class = target
            .opened(settings.safety, trusted)
            .map_err(|e| opening(&target, &e))?
            .class();
    }
    let mut options = Options {
        on_duplicate: settings.on_duplicate,
        safety: settings.safety,
        owner: trusted,
        described: settings.described.join(" "),
        ..Options::new(class, &format!("{NAME} {VERSION}"))
    };
    if let Some(writer) = &writer {
        writer.enter(&mut options);
    }
    let builder = Builder::open(&target.path, settings.start, options).map_err(|e| {
        target.warn_of_path(settings.safety, trusted);
        opening(&target, &e)
    })?;
    for warning in builder.warnings() {
        complain(&[warning.as_bytes()]);
    }
    let (input, total) = standard_input()?;
    let mut watcher = Watch {
        out: settings
            .verbose
            .then(|| BufWriter::with_capacity(1 << 16, io::stdout().lock())),
        written: Ok(()),
        progress: Progress::new(NAME, total),
    };
    let how = FromSource {
        grammar: settings.grammar,
        ending: settings.ending,
        on_error: settings.on_error,
    };
    let report = build::from_source(builder, input, Path::new(&target.name), how, &mut watcher);
    let written = watcher.end();
    drop(writer);
    let report = report.map_err(|e| {
        complain(&[format!("{NAME}: {e}").as_bytes()]);
        e.exit()
    })?;
    tell_errors(&target, &report);
    let exit = match report.is_clean() {
        true => SysExit::Ok,
        false => SysExit::DataErr,
    };
    let written = match settings.json {
        true => written.and_then(|()| print_json(&target, class, &report, exit)),
        false => written,
    };
    Ok(finish(NAME, written, exit))
}

/// Standard input without a buffer of its own, and its length if it is a file.
fn standard_input() -> Result<(File, Option<u64>), SysExit> {
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let input = input.map_err(|e| {
        complain(&[format!("{NAME}: standard input: {e}").as_bytes()]);
        SysExit::NoInput
    })?;
    let total = input.metadata().ok().filter(|m| m.is_file());
    Ok((input, total.map(|m| m.len())))
}

/// What is printed while the source is read.
struct Watch<'a> {
    out: Option<BufWriter<io::StdoutLock<'a>>>,
    written: io::Result<()>,
    progress: Progress,
}

impl Watcher for Watch<'_> {
    fn entry(&mut self, lhs: &[u8], rhs: &[u8]) {
        let Some(out) = &mut self.out else { return };
        if self.written.is_ok() {
            let line = [b"key=`", lhs, b"', val=`", rhs, b"'\n"].concat();
            self.written = out.write_all(&line);
        }
    }

    fn progress(&mut self, octets: u64) {
        self.progress.at(octets);
    }
}

impl Watch<'_> {
    fn end(self) -> io::Result<()> {
        self.written?;
        self.out.map_or(Ok(()), |mut out| out.flush())
    }
}

/// Every bad line and every duplicate, in the order of their lines.
fn tell_errors(target: &Target, report: &Report) {
    let mut errors = report.errors.iter().peekable();
    let mut duplicates = report.duplicates.iter().peekable();
    let mut text = Vec::new();
    loop {
        let (line, what) = match (errors.peek(), duplicates.peek()) {
            (Some(e), d) if d.is_none_or(|d| e.line <= d.line) => {
                let what = e.kind.to_octets();
                (errors.next().map_or(0, |e| e.line), what)
            }
            (_, Some(d)) => {
                let what = [b"key ".as_slice(), without_nul(&d.lhs), b": duplicate key"].concat();
                (duplicates.next().map_or(0, |d| d.line), what)
            }
            (_, None) => break,
        };
        text.extend_from_slice(b"makemap: ");
        text.extend_from_slice(octets(&target.name));
        text.extend_from_slice(format!(": line {line}: ").as_bytes());
        text.extend_from_slice(&what);
        text.push(b'\n');
    }
    let untold = report.error_count - report.errors.len() as u64 + report.duplicates.left_out();
    if untold > 0 {
        text.extend_from_slice(format!("{NAME}: and {untold} more lines\n").as_bytes());
    }
    let _ = io::stderr().write_all(&text);
}

fn print_json(target: &Target, class: MapClass, report: &Report, exit: SysExit) -> io::Result<()> {
    let errors: Vec<_> = report
        .errors
        .iter()
        .map(|e| json!({"line": e.line, "error": e.kind.to_string()}))
        .collect();
    let duplicates: Vec<_> = report
        .duplicates
        .iter()
        .map(|d| json!({"line": d.line, "lhs": String::from_utf8_lossy(without_nul(&d.lhs))}))
        .collect();
    let kept = report
        .published
        .as_ref()
        .and_then(|p| p.kept_berkeley.as_ref());
    let word = match target.shared {
        Some(_) => target.row.word,
        None => class.as_str(),
    };
    let report = json!({
        "map": format!("{word}:{}", target.name.display()),
        "read": report.read,
        "stored": report.stored,
        "published": report.published.is_some(),
        "duplicates": duplicates,
        "duplicate_count": report.duplicates.count(),
        "errors": errors,
        "error_count": report.error_count,
        "kept_berkeley": kept.map(|path| path.display().to_string()),
        "seconds": report.elapsed.as_secs_f64(),
        "exit": exit.code(),
    });
    writeln!(io::stdout(), "{report}")
}
