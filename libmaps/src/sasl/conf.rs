//! `Sendmail.conf` and its like: libsasl's options for one application.
//!
//! `key: value` lines; keys are letters, digits, `-` and `_` in any case; `#`
//! begins a comment line; of two equal keys the first counts. The file is
//! `APPNAME.conf` in the first folder of the search path that has a readable one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::opening;

use super::secret::{MAX_ITERATIONS, MIN_ITERATIONS};

/// Where files are looked for when `SASL_CONF_PATH` does not say.
pub const DEFAULT_FOLDERS: [&str; 4] = [
    "/etc/sasl2",
    "/etc/sasl",
    "/usr/lib/sasl2",
    "/usr/local/etc/sasl2",
];
/// `sasldb_path` when no file says.
pub const DEFAULT_SASLDB: &str = "/etc/sasldb2";
/// `saslauthd_path` when no file says: the socket itself.
pub const DEFAULT_SASLAUTHD: &str = "/var/run/saslauthd/mux";

/// `dovecot_path` when no file says: the socket of Dovecot's own clients.
pub const DEFAULT_DOVECOT: &str = "/run/dovecot/auth-client";

/// The largest file that is read, in octets.
const MAX_FILE_OCTETS: u64 = 1024 * 1024;
const FIRST_LOG_LEVEL: u8 = 1;
const LAST_LOG_LEVEL: u8 = 7;

/// What checks the password of PLAIN and LOGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PwcheckMethod {
    /// sasldb2.
    Auxprop,
    /// The daemon of that name.
    Saslauthd,
    /// Dovecot, by its authentication socket.
    Dovecot,
}

/// Whether passwords also become an `authPassword`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramSecrets {
    /// `scram_secret_generate` is on.
    Generate,
    /// It is off.
    Omit,
}

/// The options of one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// The file that was read; `None`: there was none, and all is as by default.
    pub path: Option<PathBuf>,
    /// `pwcheck_method`, asked in this order; unknown ones are left out, so it may be empty.
    pub pwcheck_method: Vec<PwcheckMethod>,
    /// Whether `auxprop_plugin` leaves sasldb in use.
    pub auxprop: Auxprop,
    /// `mech_list` as written; `None`: all.
    pub mech_list: Option<Vec<String>>,
    /// `sasldb_path`, not yet below a root.
    pub sasldb_path: PathBuf,
    /// `saslauthd_path`, not yet below a root.
    pub saslauthd_path: PathBuf,
    /// `dovecot_path`, not yet below a root.
    pub dovecot_path: PathBuf,
    /// `scram_iteration_counter`, 4096 at least.
    pub scram_iterations: u32,
    /// `scram_secret_generate`.
    pub scram_secrets: ScramSecrets,
    /// `log_level`, 0 to 7.
    pub log_level: u8,
    /// What was read and is not done, by line.
    pub warnings: Vec<ConfWarning>,
}

/// Whether the store named by `sasldb_path` is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auxprop {
    /// `auxprop_plugin` names sasldb, or nothing is said.
    Sasldb,
    /// It names others only, none of which is known here.
    Nothing,
}

impl Default for Conf {
    fn default() -> Self {
        Conf {
            path: None,
            pwcheck_method: vec![PwcheckMethod::Auxprop],
            auxprop: Auxprop::Sasldb,
            mech_list: None,
            sasldb_path: DEFAULT_SASLDB.into(),
            saslauthd_path: DEFAULT_SASLAUTHD.into(),
            dovecot_path: DEFAULT_DOVECOT.into(),
            scram_iterations: MIN_ITERATIONS,
            scram_secrets: ScramSecrets::Omit,
            log_level: FIRST_LOG_LEVEL,
            warnings: Vec::new(),
        }
    }
}

/// Something in the file that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfWarning {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// What stands there and what becomes of it.
    pub text: String,
}

impl fmt::Display for ConfWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: line {}: {}",
            self.path.display(),
            self.line,
            self.text
        )
    }
}

/// A file that can't be used; the original ends with a configuration error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfError {
    /// A line is not `key: value`.
    #[error("{}: line {line}: expected key: value", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
    },
    /// Reading stopped half-way, or the file is larger than 1 MiB.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The folders that are looked into: those of `SASL_CONF_PATH` (a list with
/// colons; the caller leaves it out where it runs set-user-id), else
/// [`DEFAULT_FOLDERS`]; each below `root`.
#[must_use]
pub fn folders(sasl_conf_path: Option<&OsStr>, root: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| match folder.strip_prefix("/") {
        Ok(inner) => root.join(inner),
        Err(_) => folder.to_path_buf(),
    };
    match sasl_conf_path {
        Some(list) => {
            let all = list
                .as_bytes()
                .split(|b| *b == b':')
                .filter(|f| !f.is_empty());
            all.map(|f| below(Path::new(OsStr::from_bytes(f))))
                .collect()
        }
        None => {
            let triplet = format!("/usr/lib/{}-linux-gnu/sasl2", std::env::consts::ARCH);
            let mut all: Vec<PathBuf> = DEFAULT_FOLDERS
                .iter()
                .map(|f| below(Path::new(f)))
                .collect();
            all.insert(2, below(Path::new(&triplet)));
            all
        }
    }
}

impl Conf {
    /// Reads `APPNAME.conf` from the first of `folders` that has a readable one;
    /// the defaults where none has.
    ///
    /// # Errors
    /// The file is malformed or can't be read to its end.
    pub fn read(appname: &str, folders: &[PathBuf]) -> Result<Self, ConfError> {
        for folder in folders {
            let path = folder.join(format!("{appname}.conf"));
            let Ok(file) = opening::file(&path) else {
                continue;
            };
            if !file.metadata().is_ok_and(|m| m.is_file()) {
                continue;
            }
            let mut text = Vec::new();
            let read = file.take(MAX_FILE_OCTETS + 1).read_to_end(&mut text);
            let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
            let whole = read.and_then(|n| match n as u64 > MAX_FILE_OCTETS {
                true => Err(too_large()),
                false => Ok(()),
            });
            return match whole {
                Ok(()) => Conf::parse(&path, &text),
                Err(source) => Err(ConfError::Io { path, source }),
            };
        }
        Ok(Conf::default())
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// A line without a colon after its key, or without a value.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ConfError> {
        let mut conf = Conf {
            path: Some(path.into()),
            ..Conf::default()
        };
        let mut seen = BTreeMap::new();
        for (line, text) in (1u32..).zip(text.split(|b| *b == b'\n')) {
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let (key, value) = key_and_value(text).ok_or(ConfError::Syntax {
                path: path.into(),
                line,
            })?;
            let warn = |text: String| ConfWarning {
                path: path.into(),
                line,
                text,
            };
            let first = *seen.entry(key.clone()).or_insert(line);
            let told = if first < line {
                Some(format!("{key} is set on line {first} already: ignored"))
            } else {
                conf.set(&key, value)
            };
            conf.warnings.extend(told.map(warn));
        }
        Ok(conf)
    }

    /// Takes an option; what it says about one that does nothing is a warning.
    fn set(&mut self, key: &str, value: &str) -> Option<String> {
        let words = || value.split([' ', '\t', ',']).filter(|w| !w.is_empty());
        match key {
            "pwcheck_method" => return self.set_pwcheck_method(words()),
            "auxprop_plugin" => {
                if !words().any(|w| w.eq_ignore_ascii_case("sasldb")) {
                    self.auxprop = Auxprop::Nothing;
                    return Some(format!(
                        "auxprop_plugin: none of {value} is known, only sasldb"
                    ));
                }
            }
            "mech_list" => self.mech_list = Some(words().map(str::to_owned).collect()),
            "sasldb_path" => self.sasldb_path = value.into(),
            "saslauthd_path" => self.saslauthd_path = value.into(),
            "dovecot_path" => self.dovecot_path = value.into(),
            "scram_iteration_counter" => match value.parse::<u32>() {
                Ok(n) if (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&n) => {
                    self.scram_iterations = n
                }
                _ => {
                    return Some(format!(
                        "scram_iteration_counter: expected {MIN_ITERATIONS} to {MAX_ITERATIONS}, \
                         using {MIN_ITERATIONS}"
                    ));
                }
            },
            "scram_secret_generate" => {
                if is_on(value) {
                    self.scram_secrets = ScramSecrets::Generate;
                }
            }
            "log_level" => match value.parse::<u8>() {
                Ok(n) if n <= LAST_LOG_LEVEL => self.log_level = n,
                _ => {
                    return Some(format!(
                        "log_level: expected 0 to {LAST_LOG_LEVEL}, using 1"
                    ));
                }
            },
            _ if IGNORED.contains(&key) => {
                return Some(format!("{key} has no effect in these programs: ignored"));
            }
            _ => return Some(format!("{key}: unknown option: ignored")),
        }
        None
    }

    fn set_pwcheck_method<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> Option<String> {
        let mut unknown = Vec::new();
        self.pwcheck_method.clear();
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "auxprop" => self.pwcheck_method.push(PwcheckMethod::Auxprop),
                "saslauthd" => self.pwcheck_method.push(PwcheckMethod::Saslauthd),
                "dovecot" => self.pwcheck_method.push(PwcheckMethod::Dovecot),
                _ => unknown.push(word),
            }
        }
        let unknown = unknown.join(" ");
        (!unknown.is_empty()).then(|| format!("pwcheck_method: {unknown} is not known: ignored"))
    }
}

/// Options of libsasl and its plug-ins that mean nothing here.
const IGNORED: [&str; 14] = [
    "auto_transition",
    "auxprop_plugin_path",
    "canon_user_plugin",
    "dlname",
    "keytab",
    "ldapdb_uri",
    "opiekeys",
    "otp_mda",
    "plugin_list",
    "reauth_timeout",
    "sql_engine",
    "srp_mda",
    "srvtab",
    "authdaemond_path",
];

fn key_and_value(line: &[u8]) -> Option<(String, &str)> {
    let of_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let end = line.iter().position(|b| !of_key(b))?;
    let (key, rest) = line.split_at_checked(end)?;
    let value = rest.strip_prefix(b":")?.trim_ascii();
    if key.is_empty() || value.is_empty() {
        return None;
    }
    let key = std::str::from_utf8(key).ok()?.to_ascii_lowercase();
    Some((key, std::str::from_utf8(value).ok()?))
}

/// libsasl's reading of a switch: 1, yes, true and on, by their first letters.
fn is_on(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    lower.starts_with(['1', 'y', 't']) || lower.starts_with("on")
}

#[cfg(test)]
#[path = "conf_tests.rs"]
mod tests;
