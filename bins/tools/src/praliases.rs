//! praliases(8): prints the maps of the site's alias files, or some of their entries.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libmaps::map::{Map, MapName, StoreError};
use libmaps::rhs::Rhs;
use libmaps::site::alias_files::{
    AliasFile, AliasSite, ConfigFault, SpecFault, parse_alias_option,
};
use libmaps::site::cf::{Cf, below};
use libmaps::store;
use libmaps::store::path::{Access, Safety, check};
use libmaps::sysexits::SysExit;

use crate::alias_config;
use crate::getopt::{self, Given, Opt, Parsed, long, long_value, value};
use crate::report::{complain, finish, help, octets, print_and_end, version};

const NAME: &str = "praliases";

/// The usage text, as the original prints it.
pub const USAGE: &str = "usage: praliases [-C cffile] [-f aliasfile] [key ...]\n";

/// Every option.
pub const OPTIONS: &[Opt] = &[
    value(b'C', "FILE", "the site's sendmail.mc or sendmail.cf"),
    value(b'f', "FILE", "the alias file, instead of the site's"),
    long_value(
        "root",
        "DIR",
        "take all absolute paths of the site below DIR",
    ),
    long(
        "strict",
        "exit non-zero for a map that can't be opened and a key that is not there",
    ),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

/// What counts as a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failing {
    /// What was read half-way, and output that could not be written.
    Damage,
    /// A map that can't be opened and an absent key too.
    Everything,
}

/// Runs the program on its arguments (without its name).
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = match getopt::parse(OPTIONS, args) {
        Ok(parsed) => parsed,
        Err((complaint, _)) => {
            complain(&[format!("{NAME}: {complaint}\n{}", USAGE.trim_end()).as_bytes()]);
            return SysExit::Usage.into();
        }
    };
    let about = "Prints the site's alias maps, or the entries of some keys.";
    for (name, text) in [
        ("help", help(about, USAGE, OPTIONS)),
        ("version", version(NAME)),
    ] {
        if parsed.given.contains(&Given::Long(name, None)) {
            return print_and_end(NAME, &text);
        }
    }
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut exit = SysExit::Ok;
    let written = print_all(&parsed, &mut out, &mut exit).and_then(|()| out.flush());
    finish(NAME, written, exit)
}

fn print_all(parsed: &Parsed, out: &mut impl Write, exit: &mut SysExit) -> io::Result<()> {
    let failing = match parsed.given.contains(&Given::Long("strict", None)) {
        true => Failing::Everything,
        false => Failing::Damage,
    };
    let files = match files(parsed) {
        Ok(files) => files,
        Err((text, code)) => {
            complain(&[format!("{NAME}: {text}").as_bytes()]);
            *exit = code;
            return Ok(());
        }
    };
    for file in files {
        let known = file.is_built();
        if !known {
            let text = format!("{NAME}: Skipping non-file based alias type {}", file.class);
            complain(&[text.as_bytes()]);
            continue;
        }
        let map = match open(&file) {
            Ok(map) => map,
            Err(e) => {
                let shown = file.path.display();
                complain(&[format!("{NAME}: {shown}: open: {}", e.reason()).as_bytes()]);
                let harmless = failing == Failing::Damage && !is_damage(&e)
                    || file.optional && matches!(e, StoreError::Missing { .. });
                if !harmless {
                    note(exit, e.exit());
                }
                continue;
            }
        };
        let printed = match parsed.operands.is_empty() {
            true => print_map(map.as_ref(), out),
            false => print_keys(map.as_ref(), &parsed.operands, out, failing, exit),
        };
        match printed {
            Ok(()) => {}
            Err(Stopped::Output(e)) => return Err(e),
            Err(Stopped::Map(e)) => {
                out.flush()?;
                complain(&[format!("{NAME}: {e}").as_bytes()]);
                note(exit, e.exit());
            }
        }
    }
    Ok(())
}

fn note(exit: &mut SysExit, code: SysExit) {
    if *exit == SysExit::Ok {
        *exit = code;
    }
}

/// The original goes on, and ends with 0, where a file is missing, closed to it or no map at all.
fn is_damage(e: &StoreError) -> bool {
    let closed = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    match e {
        StoreError::Missing { .. } | StoreError::Foreign { .. } | StoreError::Unsafe { .. } => {
            false
        }
        StoreError::Io { source, .. } => !closed(source),
        _ => true,
    }
}

type Files = Result<Vec<AliasFile>, (String, SysExit)>;

fn files(parsed: &Parsed) -> Files {
    let last = |letter| {
        let mut given = parsed.given.iter().rev();
        given.find_map(|g| match g {
            Given::Short(c, Some(arg)) if *c == letter => Some(arg.as_os_str()),
            _ => None,
        })
    };
    let root = parsed.given.iter().rev().find_map(|g| match g {
        Given::Long("root", Some(dir)) => Some(PathBuf::from(dir)),
        _ => None,
    });
    match last(b'f') {
        Some(spec) => Ok(named(spec)),
        None => of_site(last(b'C').map(Path::new), root.as_deref()),
    }
}

/// `-f`: the same words as in option AliasFile; a class that is not known is skipped later.
fn named(spec: &OsStr) -> Vec<AliasFile> {
    match parse_alias_option(octets(spec)) {
        Ok(files) => files,
        Err(SpecFault(_)) => {
            let text = spec.to_string_lossy();
            let (class, path) = text.split_once(':').unwrap_or(("implicit", &text));
            vec![AliasFile {
                class: class.into(),
                optional: false,
                path: path.trim().into(),
            }]
        }
    }
}

fn of_site(config: Option<&Path>, root: Option<&Path>) -> Files {
    let path = alias_config::file(config, root);
    let unreadable = |e: &io::Error| {
        let text = format!("{}: {}", path.display(), alias_config::reason(e));
        (text, SysExit::NoInput)
    };
    let files = match path.extension().is_some_and(|e| e == "mc") {
        true => match AliasSite::read(&path, root) {
            Ok(site) => site.files,
            Err(ConfigFault::Unreadable(e)) => return Err(unreadable(&e)),
            Err(ConfigFault::Line(line, text)) => {
                let text = format!("{}: line {line}: {text}", path.display());
                return Err((text, SysExit::Config));
            }
        },
        false => {
            let cf = Cf::read(&path, root).map_err(|e| unreadable(&e))?;
            let options = cf.options.iter().filter(|o| o.name == b"AliasFile");
            // An empty option names nothing that praliases could print.
            let options = options.filter(|o| !o.value.trim_ascii().is_empty());
            options
                .flat_map(|o| {
                    // Of an option that goes on in the next line praliases reads the first alone.
                    let first = o.value.split(|c| *c == b'\n').next().unwrap_or_default();
                    named(&alias_config::os_string(first))
                })
                .collect()
        }
    };
    let below = |mut file: AliasFile| {
        file.path = below(root, &file.path);
        file
    };
    Ok(files.into_iter().map(below).collect())
}

fn open(file: &AliasFile) -> Result<Box<dyn Map>, StoreError> {
    let (class, path) = file.built();
    // The mode decides even for root, as it does for sendmail.
    check(&path, Access::Read, Safety::LinksAllowed, None)?;
    Ok(store::open_any(&path, MapName::new(class, &path))?.into_map())
}

/// Why printing a map ended early.
enum Stopped {
    Output(io::Error),
    Map(StoreError),
}

impl From<io::Error> for Stopped {
    fn from(e: io::Error) -> Self {
        Stopped::Output(e)
    }
}

impl From<StoreError> for Stopped {
    fn from(e: StoreError) -> Self {
        Stopped::Map(e)
    }
}

fn print_map(map: &dyn Map, out: &mut impl Write) -> Result<(), Stopped> {
    for entry in map.iter() {
        let entry = entry?;
        print_entry(entry.lhs.as_bytes(), entry.rhs.as_bytes(), out)?;
    }
    Ok(())
}

fn print_keys(
    map: &dyn Map,
    keys: &[OsString],
    out: &mut impl Write,
    failing: Failing,
    exit: &mut SysExit,
) -> Result<(), Stopped> {
    for key in keys {
        let key = octets(key);
        match find(map, key)? {
            Some(rhs) => print_entry(key, rhs.as_bytes(), out)?,
            None => {
                out.write_all(&[key, b": No such key\n"].concat())?;
                if failing == Failing::Everything {
                    note(exit, SysExit::Unavailable);
                }
            }
        }
    }
    Ok(())
}

/// A key as it stands, and folded as sendmail asks for it; with and without the NUL that
/// sendmail's own maps have at the end.
fn find(map: &dyn Map, key: &[u8]) -> Result<Option<Rhs>, StoreError> {
    let folded = key.to_ascii_lowercase();
    for key in [key, &folded] {
        if let Some(rhs) = map.get(key)? {
            return Ok(Some(rhs));
        }
        if let Some(rhs) = map.get(&[key, b"\0"].concat())? {
            return Ok(Some(rhs));
        }
    }
    Ok(None)
}

fn print_entry(lhs: &[u8], rhs: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(without_nul(lhs))?;
    out.write_all(b":")?;
    out.write_all(without_nul(rhs))?;
    out.write_all(b"\n")
}

fn without_nul(octets: &[u8]) -> &[u8] {
    octets.strip_suffix(b"\0").unwrap_or(octets)
}
