//! newaliases(1): builds the maps of the site's alias files. `sendmail -bi` is the same.
//!
//! As in the original all messages about alias files go to standard output,
//! and the first error gives the exit code.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use libmaps::build::aliases::{AliasReport, NoteKind, from_aliases};
use libmaps::build::{Builder, OnError, Start};
use libmaps::map::{MapClass, StoreError};
use libmaps::site::alias_files::{AliasFile, AliasSite, ConfigFault, SpecFault};
use libmaps::site::options;
use libmaps::source::aliases::{Limits, Printable};
use libmaps::store::class::Holds;
use libmaps::store::path::{Safety, folder_of};
use libmaps::store::publish::{OnDuplicate, Options};
use libmaps::store::shared::Wish;
use libmaps::sysexits::SysExit;
use serde_json::json;

use crate::alias_config::{self, Setting};
use crate::getopt::{self, Complaint, Given, Opt, flag, long, long_value, value};
use crate::report::{VERSION, complain, help, octets, print_and_end, version};
use crate::shared::Writer;

const NAME: &str = "newaliases";

/// The usage text.
pub const USAGE: &str = "\
Usage: newaliases [-v] [-C FILE] [-oAFILE | -O AliasFile=FILE] [--root DIR]
                  [--strict] [--json]
";

/// Every option; those that sendmail has for other purposes are accepted and mean nothing.
pub const OPTIONS: &[Opt] = &[
    value(b'C', "FILE", "the site's sendmail.mc or sendmail.cf"),
    value(
        b'o',
        "XVALUE",
        "set an option by its letter: -oAFILE names an alias file",
    ),
    value(
        b'O',
        "NAME=VALUE",
        "set an option: -O AliasFile=FILE names an alias file",
    ),
    flag(b'v', "say on standard error why a map could not be written"),
    long_value(
        "root",
        "DIR",
        "take all absolute paths of the site below DIR",
    ),
    long("strict", "publish nothing if a line is wrong"),
    long("json", "print a report as JSON instead of text"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
    value(b'A', "X", "accepted and ignored, as are the options below"),
    value(b'B', "TYPE", "body type"),
    value(b'b', "MODE", "mode"),
    value(b'D', "FILE", "debug output"),
    value(b'd', "LEVEL", "debug level"),
    value(b'e', "MODE", "error mode"),
    value(b'F', "NAME", "full name"),
    value(b'f', "ADDRESS", "sender"),
    flag(b'G', "gateway submission"),
    value(b'h', "HOPS", "hop count"),
    flag(b'I', "initialize aliases"),
    flag(b'i', "ignore dots"),
    value(b'L', "TAG", "tag of log lines"),
    value(b'M', "XVALUE", "macro"),
    flag(b'm', "me too"),
    value(b'N', "DSN", "delivery status notification"),
    flag(b'n', "don't alias"),
    value(b'p', "PROTOCOL", "protocol"),
    value(b'q', "X", "queue"),
    value(b'r', "ADDRESS", "sender"),
    flag(b's', "From line"),
    flag(b'T', "timeout"),
    flag(b't', "recipients from headers"),
    value(b'V', "ENVID", "envelope id"),
    value(b'X', "FILE", "traffic log"),
];

/// What a run was asked for.
struct Settings {
    config: Option<PathBuf>,
    root: Option<PathBuf>,
    options: Vec<Setting>,
    on_error: OnError,
    json: bool,
    verbose: bool,
}

/// Runs the program on its arguments (without its name).
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given = match getopt::parse(OPTIONS, args) {
        Ok(parsed) => parsed.given,
        // sendmail takes a `-C` at the end as `-C sendmail.cf`.
        Err((Complaint::NeedsArgument(b'C'), parsed)) => {
            let mut given = parsed.given;
            given.push(Given::Short(b'C', Some("sendmail.cf".into())));
            given
        }
        Err((Complaint::Invalid(c), _)) => {
            let text = format!("{NAME}: illegal option -- {}", char::from(c));
            complain(&[text.as_bytes()]);
            return SysExit::Usage.into();
        }
        Err((complaint, _)) => {
            complain(&[format!("{NAME}: {complaint}").as_bytes()]);
            return SysExit::Usage.into();
        }
    };
    let about = "Builds the maps of the site's alias files.";
    for (name, text) in [
        ("help", help(about, USAGE, OPTIONS)),
        ("version", version(NAME)),
    ] {
        if given.contains(&Given::Long(name, None)) {
            return print_and_end(NAME, &text);
        }
    }
    rebuild(&Settings::new(&given)).into()
}

impl Settings {
    fn new(given: &[Given]) -> Self {
        let mut s = Settings {
            config: None,
            root: None,
            options: Vec::new(),
            on_error: OnError::PublishGood,
            json: false,
            verbose: false,
        };
        for given in given {
            match given {
                Given::Short(b'C', Some(file)) => s.config = Some(file.into()),
                Given::Short(b'o', Some(text)) => s.options.push(Setting::by_letter(octets(text))),
                Given::Short(b'O', Some(text)) => s.options.push(Setting::by_name(octets(text))),
                Given::Short(b'v', _) => s.verbose = true,
                Given::Long("root", Some(dir)) => s.root = Some(dir.into()),
                Given::Long("strict", _) => s.on_error = OnError::PublishNothing,
                Given::Long("json", _) => s.json = true,
                _ => {}
            }
        }
        s
    }
}

/// What is printed, and the exit code so far: the first that is not 0 stays.
struct Outcome {
    text: String,
    reports: Vec<serde_json::Value>,
    exit: SysExit,
}

impl Outcome {
    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn fail(&mut self, exit: SysExit) {
        if self.exit == SysExit::Ok {
            self.exit = exit;
        }
    }

    /// A file that nothing was built of.
    fn refuse(&mut self, file: &Path, line: std::fmt::Arguments<'_>, exit: SysExit) {
        self.say(line);
        self.reports.push(json!({
            "file": file.display().to_string(),
            "published": false,
            "error": line.to_string(),
        }));
        self.fail(exit);
    }
}

fn rebuild(settings: &Settings) -> SysExit {
    let mut outcome = Outcome {
        text: String::new(),
        reports: Vec::new(),
        exit: SysExit::Ok,
    };
    match site(settings, &mut outcome) {
        None => {}
        Some(site) => rebuild_all(settings, &site, &mut outcome),
    }
    let text = match settings.json {
        true => format!(
            "{}\n",
            json!({"files": outcome.reports, "exit": outcome.exit.code()})
        ),
        false => std::mem::take(&mut outcome.text),
    };
    // The maps are what was asked for, and they are published; a report that nobody can read
    // changes nothing about that. Only of a JSON report, asked for expressly, it is an error.
    let written = io::stdout().write_all(text.as_bytes());
    if let Err(e) = written
        && settings.json
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        complain(&[format!("{NAME}: standard output: {e}").as_bytes()]);
        outcome.fail(SysExit::IoErr);
    }
    outcome.exit
}

/// Reads the configuration; says why where that fails.
fn site(settings: &Settings, outcome: &mut Outcome) -> Option<AliasSite> {
    let root = settings.root.as_deref();
    let path = alias_config::file(settings.config.as_deref(), root);
    let named_only = settings.config.is_none() && !settings.options.is_empty() && !path.exists();
    let read = match named_only {
        // Alias files named on the command line need no configuration.
        true => Ok(AliasSite::empty(Limits::Own)),
        false => AliasSite::read(&path, root),
    };
    let shown = path.display();
    let mut site = match read {
        Ok(site) => site,
        Err(ConfigFault::Unreadable(e)) => {
            let reason = alias_config::reason(&e);
            let line = format_args!("{shown}: line 0: cannot open: {reason}");
            outcome.refuse(&path, line, SysExit::OsFile);
            return None;
        }
        Err(ConfigFault::Line(line, text)) => {
            let line = format_args!("{shown}: line {line}: {text}");
            outcome.refuse(&path, line, SysExit::Software);
            return None;
        }
    };
    if fs::metadata(&path).is_ok_and(|m| m.mode() & 0o022 != 0) {
        complain(&[format!("{shown}: WARNING: dangerous write permissions").as_bytes()]);
    }
    for (line, text) in &site.warnings {
        outcome.say(format_args!("{shown}: line {line}: {text}"));
    }
    let mut faults = std::mem::take(&mut site.faults);
    let nobody = unknown_owner(&site, root);
    faults.extend(nobody.map(|text| (site.trusted_user_line, text)));
    faults.sort();
    if let Some(((line, text), before)) = faults.split_last() {
        for (line, text) in before {
            outcome.say(format_args!("{shown}: line {line}: {text}"));
        }
        let line = format_args!("{shown}: line {line}: {text}");
        outcome.refuse(&path, line, SysExit::Software);
        return None;
    }
    let applied = apply(&settings.options, &mut site);
    let applied = applied.and_then(|()| match unknown_owner(&site, root) {
        Some(text) => Err(SpecFault(text)),
        None => Ok(()),
    });
    if let Err(SpecFault(text)) = applied {
        outcome.refuse(&path, format_args!("{text}"), SysExit::Software);
        return None;
    }
    Some(site)
}

/// What there is to say where nobody has the name of TrustedUser, who is to own new maps.
fn unknown_owner(site: &AliasSite, root: Option<&Path>) -> Option<String> {
    let user = site.trusted_user.as_deref()?;
    let name = String::from_utf8_lossy(user);
    let unknown = alias_config::uid_of(user, root).is_none();
    unknown.then(|| format!("readcf: option TrustedUser: unknown user {name}"))
}

/// Options of the command line; an AliasFile takes the place of the configuration's.
fn apply(options: &[Setting], site: &mut AliasSite) -> Result<(), SpecFault> {
    if options.iter().any(|o| o.name == b"AliasFile") {
        site.files.clear();
    }
    for option in options {
        if let Some(text) = options::fault(&option.name)
            && !option.name.is_empty()
        {
            return Err(SpecFault(text));
        }
        site.set(&option.name, &option.value)?;
    }
    Ok(())
}

fn rebuild_all(settings: &Settings, site: &AliasSite, outcome: &mut Outcome) {
    if site.files.is_empty() {
        let path = alias_config::file(settings.config.as_deref(), settings.root.as_deref());
        let shown = path.display();
        let line = format_args!("{NAME}: {shown}: no alias file is configured");
        outcome.refuse(&path, line, SysExit::Config);
    }
    for file in &site.files {
        let mut file = file.clone();
        file.path = libmaps::site::cf::below(settings.root.as_deref(), &file.path);
        if file.is_built() || is_written(settings, &file) {
            rebuild_one(settings, site, &file, outcome);
        }
    }
}

/// Whether aliases in a directory are written of a text here: sendmail's are not.
fn is_written(settings: &Settings, file: &AliasFile) -> bool {
    let row = file.row().filter(|row| row.class == MapClass::Ldap);
    let read = row.map(|row| row.connection(file.path.as_os_str(), settings.root.as_deref()));
    match read {
        Some(Ok(Some(connection))) => connection.takes_whole_maps(),
        // A connection file that is wrong is told; without one they are sendmail's own.
        Some(Err(error)) => !matches!(error, StoreError::Missing { .. }),
        Some(Ok(None)) | None => false,
    }
}

fn rebuild_one(settings: &Settings, site: &AliasSite, file: &AliasFile, outcome: &mut Outcome) {
    let shown = file.path.display();
    let source = match site.open_text(&file.path) {
        Ok(source) => source,
        Err(StoreError::Missing { .. }) if file.optional => return,
        // Another host has the text, and a follower brings the map.
        Err(StoreError::Missing { .. }) if is_shared(file) => {
            outcome.say(format_args!(
                "{shown}: a shared map without a text on this host"
            ));
            return;
        }
        Err(e) => {
            // A missing file is no failure to a site that runs on sendmail.cf: so it always was.
            let exit = match (&e, site.grammar.limits) {
                (StoreError::Missing { .. }, Limits::Sendmail) => SysExit::Ok,
                _ => SysExit::NoInput,
            };
            let line = format_args!("{NAME}: cannot open {shown}: {}", e.reason());
            outcome.refuse(&file.path, line, exit);
            return;
        }
    };
    let opened =
        check_folders(&file.path, site, outcome).and_then(|()| open_map(settings, site, file));
    let (builder, writer) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            outcome.say(format_args!("WARNING: cannot open alias database {shown}"));
            let line = format_args!("Cannot create database for alias file {shown}");
            outcome.refuse(&file.path, line, create_exit(&e));
            if settings.verbose || is_shared(file) {
                complain(&[format!("{NAME}: {e}").as_bytes()]);
            }
            return;
        }
    };
    for warning in builder.file_warnings() {
        outcome.say(format_args!("{warning}"));
    }
    let built = from_aliases(
        builder,
        source,
        &file.path,
        &site.grammar,
        settings.on_error,
    );
    drop(writer);
    match built {
        Ok(report) => tell(&file.path, &report, outcome),
        Err(e) => outcome.refuse(
            &file.path,
            format_args!("{shown}: {}", e.reason()),
            e.exit(),
        ),
    }
}

/// sendmail gives 70 whatever the reason; a busy map is worth another try.
fn create_exit(e: &StoreError) -> SysExit {
    match e {
        StoreError::InUse { .. } => SysExit::TempFail,
        StoreError::Engine { exit, .. } => *exit,
        _ => SysExit::Software,
    }
}

/// Root does not write maps into folders where others could put something else in their place.
fn check_folders(path: &Path, site: &AliasSite, outcome: &mut Outcome) -> Result<(), StoreError> {
    let here = PathBuf::from(".");
    if !is_root() || site.allows("MapInUnsafeDirPath") {
        return Ok(());
    }
    let sticky_is_safe = site.allows("TrustStickyBit") || site.grammar.limits == Limits::Own;
    let mut prefix = PathBuf::new();
    for component in folder_of(path).components() {
        prefix.push(component);
        let at = if component == Component::CurDir {
            &here
        } else {
            &prefix
        };
        let mode = fs::metadata(at).map_or(0, |m| m.mode());
        let whose = match mode {
            mode if mode & 0o1000 != 0 && sticky_is_safe => continue,
            mode if mode & 0o002 != 0 => "World",
            mode if mode & 0o020 != 0 && !site.allows("GroupWritableDirPathSafe") => "Group",
            _ => continue,
        };
        outcome.say(format_args!(
            "WARNING: {whose} writable directory {}",
            at.display()
        ));
        return Err(StoreError::Unsafe {
            path: path.into(),
            why: "World or group writable directory",
        });
    }
    Ok(())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn is_shared(file: &AliasFile) -> bool {
    file.row().is_some_and(|row| row.holds == Holds::Connection)
}

fn open_map(
    settings: &Settings,
    site: &AliasSite,
    file: &AliasFile,
) -> Result<(Builder, Option<Writer>), StoreError> {
    let connection = match file.row() {
        Some(row) => row.connection(file.path.as_os_str(), settings.root.as_deref())?,
        None => None,
    };
    let (class, target) = file.built();
    let mut options = Options {
        on_duplicate: OnDuplicate::Replace,
        safety: match site.allows("WriteMapToSymlink") || site.allows("LinkedMapInWritableDir") {
            true => Safety::LinksAllowed,
            false => Safety::Strict,
        },
        owner: site
            .trusted_user
            .as_deref()
            .and_then(|user| alias_config::uid_of(user, settings.root.as_deref())),
        ..Options::new(class, &format!("{NAME} {VERSION}"))
    };
    let Some(connection) = connection else {
        return Ok((Builder::open(&target, Start::Empty, options)?, None));
    };
    let writer = Writer::begin(&connection, Wish::Load)?;
    writer.enter(&mut options);
    let builder = Builder::open(&connection.replica, Start::Empty, options)?;
    Ok((builder, Some(writer)))
}

fn tell(path: &Path, report: &AliasReport, outcome: &mut Outcome) {
    let shown = path.display();
    let mut notes = Vec::new();
    for note in &report.notes {
        let text = match &note.kind {
            NoteKind::Fault(fault) => fault.to_string(),
            NoteKind::Duplicate { written, lhs } => format!(
                "{}... Warning: duplicate alias name {}",
                Printable(written),
                Printable(lhs)
            ),
        };
        outcome.say(format_args!("{shown}: line {}: {text}", note.line));
        notes.push(json!({"line": note.line, "text": text}));
    }
    let untold = report.note_count - report.notes.len() as u64;
    if untold > 0 {
        outcome.say(format_args!("{shown}: and {untold} more lines"));
    }
    match &report.published {
        Some(_) => outcome.say(format_args!(
            "{shown}: {} aliases, longest {} bytes, {} bytes total",
            report.aliases, report.longest_octets, report.octets
        )),
        None => outcome.say(format_args!("{shown}: not rebuilt")),
    }
    let exit = match (&report.first_error, &report.published) {
        (Some(fault), _) => fault.exit(),
        (None, None) => SysExit::DataErr,
        (None, Some(_)) => SysExit::Ok,
    };
    outcome.fail(exit);
    let kept = report
        .published
        .as_ref()
        .and_then(|p| p.kept_berkeley.as_ref());
    outcome.reports.push(json!({
        "file": path.display().to_string(),
        "read": report.aliases,
        "stored": report.published.as_ref().map_or(0, |p| p.entries),
        "published": report.published.is_some(),
        "longest_octets": report.longest_octets,
        "octets": report.octets,
        "notes": notes,
        "note_count": report.note_count,
        "kept_berkeley": kept.map(|path| path.display().to_string()),
        "seconds": report.elapsed.as_secs_f64(),
    }));
}
