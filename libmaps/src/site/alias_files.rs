//! What newaliases and praliases take from the site's configuration.
//!
//! The configuration is a `sendmail.cf` or a `sendmail.mc`; from either come
//! the alias files, the names that are local, and what is allowed of files.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cf::Cf;
use super::{Site, load, options};
use crate::map::{MapClass, StoreError};
use crate::prescan::Operators;
use crate::source::aliases::{Grammar, Limits, Members};
use crate::store;
use crate::store::class::{ClassWord, Holds};
use crate::store::path::{effective_user, with_suffix};

/// The file names that are tried below the root when no configuration is named.
pub const DEFAULT_CONFIGS: [&str; 2] = ["/etc/mail/sendmail.mc", "/etc/mail/sendmail.cf"];

/// One alias file of option AliasFile: `class:-flags path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasFile {
    /// The class as written, or `implicit`.
    pub class: String,
    /// Whether it may be missing (`-o`).
    pub optional: bool,
    /// The path without the map's suffix, as written.
    pub path: PathBuf,
}

impl AliasFile {
    /// What the class is to the map tools; `None` of one that they don't know.
    #[must_use]
    pub fn row(&self) -> Option<&'static ClassWord> {
        ClassWord::find(&self.class.to_ascii_lowercase())
    }

    /// Class and file of the map itself, where its class holds entries; else as of `hash`.
    #[must_use]
    pub fn built(&self) -> (MapClass, PathBuf) {
        let name = self.path.as_os_str();
        match self.row().filter(|row| row.holds == Holds::Entries) {
            Some(row) => (row.class, row.file(name)),
            None => (MapClass::Hash, with_suffix(name, ".db")),
        }
    }

    /// Whether a map of this class is built from a text file of the same name.
    #[must_use]
    pub fn is_built(&self) -> bool {
        ["hash", "btree", "dbm", "cdb", "implicit", "pgsql", "redis"]
            .iter()
            .any(|c| self.class.eq_ignore_ascii_case(c))
    }
}

/// Where faults of an AliasFile option are found, in sendmail's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecFault(pub String);

/// The option that names them.
const FILES: &str = "AliasFile";
/// Classes that sendmail lets stand for aliases and that are not built from a file.
const UNBUILT: &[&str] = &[
    "stab", "text", "null", "nis", "nisplus", "hesiod", "ldap", "program", "switch", "socket",
    "netinfo", "ph",
];
/// Classes that have nothing to do with aliases.
const OTHER: &[&str] = &[
    "user", "dequote", "host", "bestmx", "dns", "regex", "syslog", "macro", "arith", "sequence",
    "passwd", "userdb",
];
/// The letters of map flags.
const MAP_FLAGS: &[u8] = b"NOofmAaTDdkvqszSlt";

/// Takes an AliasFile option apart.
///
/// # Errors
/// The first fault; sendmail builds nothing then.
pub fn parse_alias_option(value: &[u8]) -> Result<Vec<AliasFile>, SpecFault> {
    if value.trim_ascii().is_empty() {
        // `O AliasFile=` alone means the file of that name here.
        return Ok(vec![AliasFile {
            class: "implicit".into(),
            optional: false,
            path: "aliases".into(),
        }]);
    }
    let mut files = Vec::new();
    let mut rest = value.trim_ascii();
    while !rest.is_empty() {
        let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
        let (spec, more) = rest.split_at(end);
        files.push(parse_spec(spec.trim_ascii(), files.len())?);
        rest = more.strip_prefix(b",").unwrap_or(more).trim_ascii();
    }
    Ok(files)
}

fn parse_spec(spec: &[u8], number: usize) -> Result<AliasFile, SpecFault> {
    let fault = |text: String| Err(SpecFault(text));
    let stop = spec.iter().position(|c| b" ,/:".contains(c));
    let (class, rest) = match stop.filter(|at| spec.get(*at) == Some(&b':')) {
        Some(at) => spec.split_at(at),
        None => (&b"implicit"[..], spec),
    };
    let class = String::from_utf8_lossy(class).into_owned();
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let among = |list: &[&str]| list.iter().any(|c| c.eq_ignore_ascii_case(&class));
    if among(OTHER) {
        return fault(format!("setalias: map class {class} can't handle aliases"));
    }
    let mut file = AliasFile {
        class: class.clone(),
        optional: false,
        path: PathBuf::new(),
    };
    if !file.is_built() && !among(UNBUILT) {
        return fault(format!("setalias: unknown alias class {class}"));
    }
    for word in rest
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty())
    {
        match word {
            [b'-', flag, ..] if file.is_built() && !MAP_FLAGS.contains(flag) => {
                let flag = char::from(*flag);
                return fault(format!("Illegal option {flag} map Alias{number}"));
            }
            [b'-', b'o', ..] => file.optional = true,
            [b'-', ..] => {}
            path => {
                file.path = path_of(path);
                break;
            }
        }
    }
    if file.is_built() && file.path.as_os_str().is_empty() {
        return fault(format!("No file name for {class} map Alias{number}"));
    }
    Ok(file)
}

/// Octets as a path.
#[must_use]
pub fn path_of(octets: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(octets.to_vec()))
}

/// What the configuration says about aliases.
#[derive(Clone, Debug)]
pub struct AliasSite {
    /// The alias files, in order.
    pub files: Vec<AliasFile>,
    /// How they are read.
    pub grammar: Grammar,
    /// TrustedUser: a user's name or number.
    pub trusted_user: Option<Vec<u8>>,
    /// The line that says so; 0 of one that is not from a `sendmail.cf`.
    pub trusted_user_line: u64,
    /// The words of DontBlameSendmail, in lower case.
    pub dont_blame: Vec<String>,
    /// What could not be read on the way: line and text.
    pub warnings: Vec<(u64, String)>,
    /// `O` lines of options that there are not, and what sendmail says of them, which builds
    /// nothing then.
    pub faults: Vec<(u64, String)>,
}

/// Why a configuration is of no use.
#[derive(Debug)]
pub enum ConfigFault {
    /// It can't be read.
    Unreadable(io::Error),
    /// A line of it is wrong.
    Line(u64, String),
}

impl AliasSite {
    /// What a site without a configuration has: no alias files, sendmail's defaults.
    #[must_use]
    pub fn empty(limits: Limits) -> Self {
        AliasSite {
            files: Vec::new(),
            grammar: Grammar {
                limits,
                ..Grammar::default()
            },
            trusted_user: None,
            trusted_user_line: 0,
            dont_blame: Vec::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Reads the configuration at `path`: a `.mc` by its suffix, else a `.cf`.
    ///
    /// `root` is where the site's absolute paths are taken from.
    ///
    /// # Errors
    /// The file can't be read, or its alias files make no sense.
    pub fn read(path: &Path, root: Option<&Path>) -> Result<Self, ConfigFault> {
        match path.extension().is_some_and(|e| e == "mc") {
            true => from_mc(path, root),
            false => Cf::read(path, root)
                .map_err(ConfigFault::Unreadable)
                .and_then(|cf| AliasSite::from_cf(&cf)),
        }
    }

    /// Takes what matters out of a `sendmail.cf`.
    ///
    /// # Errors
    /// Its alias files make no sense.
    pub fn from_cf(cf: &Cf) -> Result<Self, ConfigFault> {
        let mut site = AliasSite::empty(Limits::Sendmail);
        let names = &mut site.grammar.names;
        names.local_hosts.extend(cf.class_folded("w"));
        if let Some(j) = cf.macros.get("j") {
            names
                .local_hosts
                .insert(cf.expanded(j).to_ascii_lowercase());
        }
        for warning in &cf.warnings {
            site.warnings.push((warning.line, warning.text.clone()));
        }
        for option in &cf.options {
            match options::known(&option.name) {
                Some("TrustedUser") => site.trusted_user_line = option.line,
                Some(_) => {}
                // A letter that means another option has no name.
                None if option.name.is_empty() => {}
                None => {
                    let fault = options::fault(&option.name);
                    site.faults.extend(fault.map(|text| (option.line, text)));
                }
            }
            site.set(&option.name, &option.value)
                .map_err(|SpecFault(text)| ConfigFault::Line(option.line, text))?;
        }
        Ok(site)
    }

    /// Sets an option, as an `O` line or `-O` does; options of no interest here are passed over.
    ///
    /// # Errors
    /// The value makes no sense.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), SpecFault> {
        let names = &mut self.grammar.names;
        match options::known(name) {
            Some("AliasFile") => self.files.extend(parse_alias_option(value)?),
            Some("BlankSub") => names.blank = value.get(..1).unwrap_or(b" ").to_vec(),
            Some("OperatorChars") => names.operators = Operators::new(value),
            Some("CheckAliases") => {
                let on = value.first().is_none_or(|c| b"tTyY1".contains(c));
                self.grammar.members = match on {
                    true => Members::Checked,
                    false => Members::Unchecked,
                };
            }
            Some("TrustedUser") => self.trusted_user = Some(value.trim_ascii().to_vec()),
            Some("DontBlameSendmail") => {
                let words = value.split(|c| *c == b',' || c.is_ascii_whitespace());
                let words = words.map(|w| String::from_utf8_lossy(w).to_ascii_lowercase());
                self.dont_blame.extend(words.filter(|w| !w.is_empty()));
            }
            _ => {}
        }
        Ok(())
    }

    /// What a `sendmail.mc` says.
    ///
    /// # Errors
    /// Its alias files make no sense.
    pub fn of(config: &Site) -> Result<Self, SpecFault> {
        let mut site = AliasSite::rules_of(config)?;
        for option in config
            .options
            .views()
            .into_iter()
            .filter(|o| o.name == FILES)
        {
            if !option.value.is_empty() {
                site.set(option.name.as_bytes(), option.value.as_bytes())?;
            }
        }
        Ok(site)
    }

    /// How a text is read and who may write it, without a word of the alias files.
    ///
    /// # Errors
    /// Options that make no sense.
    pub fn rules_of(config: &Site) -> Result<Self, SpecFault> {
        let mut site = AliasSite::empty(Limits::Own);
        let hosts = config.classes.local_hosts.iter();
        let names = &mut site.grammar.names;
        names
            .local_hosts
            .extend(hosts.map(<[u8]>::to_ascii_lowercase));
        names
            .local_hosts
            .insert(config.host_name.to_ascii_lowercase().into_bytes());
        for option in config.options.views() {
            if !option.value.is_empty() && option.name != FILES {
                site.set(option.name.as_bytes(), option.value.as_bytes())?;
            }
        }
        Ok(site)
    }

    /// Opens the text of an alias file, unless others than its owner may write to it.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Unsafe`], and those of open(2).
    pub fn open_text(&self, path: &Path) -> Result<File, StoreError> {
        let file = store::open_for_reading(path)?;
        let metadata = file
            .metadata()
            .map_err(|e| StoreError::io(path, "stat", e))?;
        let refuse = |why| {
            Err(StoreError::Unsafe {
                path: path.into(),
                why,
            })
        };
        match metadata.mode() {
            // Root could read it all the same; a file that its owner may not read is not meant to be.
            mode if mode & 0o400 == 0 && effective_user() == 0 => {
                let denied = io::Error::from_raw_os_error(libc::EACCES);
                Err(StoreError::io(path, "open", denied))
            }
            mode if mode & 0o002 != 0 && !self.allows("WorldWritableAliasFile") => {
                refuse("World writable file")
            }
            mode if mode & 0o020 != 0 && !self.allows("GroupWritableAliasFile") => {
                refuse("Group writable file")
            }
            _ => Ok(file),
        }
    }

    /// Whether DontBlameSendmail has a word.
    #[must_use]
    pub fn allows(&self, word: &str) -> bool {
        self.dont_blame.iter().any(|w| w.eq_ignore_ascii_case(word))
    }
}

/// Reads a `sendmail.mc`.
///
/// Faults of the configuration that have nothing to do with aliases do not keep aliases from being built.
fn from_mc(path: &Path, root: Option<&Path>) -> Result<AliasSite, ConfigFault> {
    let loaded = load::load(root, Some(path)).map_err(|e| match e {
        load::SiteError::Io { source, .. } => ConfigFault::Unreadable(source),
        other => ConfigFault::Line(0, other.to_string()),
    })?;
    AliasSite::of(&loaded.site).map_err(|SpecFault(text)| ConfigFault::Line(0, text))
}
