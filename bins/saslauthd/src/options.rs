//! saslauthd's command line, as the original reads it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tools::getopt::{self, Complaint, Given, Opt, flag, long, long_value, value};
use tools::report::help;

use libmaps::sasl::mechanism::Mechanism;

use crate::cache::CacheOptions;
use crate::dovecot;
use crate::mech::{NAMES, Named};
use crate::server::service::Logins;

/// Where the socket is, unless `-m` says otherwise.
pub const DEFAULT_RUN_DIR: &str = "/var/run/saslauthd";

/// The version whose command line and protocol these are.
const VERSION: &str = "2.1.28";

/// Threads unless `-n` says otherwise.
const DEFAULT_PROCESSES: usize = 5;

/// The options that saslauthd knows.
pub const OPTIONS: [Opt; 22] = [
    value(b'a', "authmech", "mechanism"),
    flag(b'c', "cache credentials"),
    flag(b'd', "stay in the foreground and tell everything"),
    value(b'D', "path", "socket for clients of Dovecot's protocol"),
    flag(b'h', "show the usage"),
    value(b'O', "option", "option of the mechanism"),
    flag(b'l', "accepted, without effect: there is no accept lock"),
    value(b'm', "path", "run directory"),
    value(b'n', "procs", "mechanisms that run at the same time"),
    flag(b'r', "join login and realm"),
    value(b's', "kilobytes", "size of the cache"),
    value(b't', "seconds", "timeout of the cache"),
    flag(b'T', "accepted, without effect: PAM knows the time of day"),
    flag(b'v', "show version and mechanisms"),
    flag(b'V', "log more"),
    long_value("mechs", "LIST", "mechanisms of the socket that -D names"),
    long_value("realm", "NAME", "realm of its logins that name none"),
    long_value("root", "DIR", "take the site's files below DIR"),
    long(
        "foreground",
        "stay in the foreground, as service managers like it",
    ),
    long("unconfined", "keep all rights of the start"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

/// The text of `--help`.
#[must_use]
pub fn about() -> String {
    let usage = "Usage: saslauthd -a MECHANISM [options]\n";
    let text = help("Checks passwords for other programs.", usage, &OPTIONS);
    let here = |(name, named)| matches!(named, Named::Here(_)).then_some(name);
    let names: Vec<&str> = NAMES.into_iter().filter_map(here).collect();
    format!("{text}\nMechanisms: {}\n", names.join(" "))
}

/// How to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Detach.
    Daemon,
    /// Stay, and log to syslog only.
    Foreground,
    /// Stay, and tell everything on standard error.
    Debug,
}

/// A command line that starts the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `-a`, as given.
    pub mechanism: String,
    /// `-O`.
    pub mechanism_option: Option<String>,
    /// `-c`, with `-s` and `-t`.
    pub cache: Option<CacheOptions>,
    /// `-d`, `--foreground`.
    pub mode: Mode,
    /// `-V`, `-d`.
    pub verbose: Verbose,
    /// `-m`.
    pub run_dir: PathBuf,
    /// `-n`.
    pub processes: usize,
    /// `-r`.
    pub logins: Logins,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--unconfined` or not.
    pub confinement: Confinement,
    /// `-D`.
    pub dovecot: Option<PathBuf>,
    /// `--mechs`; empty: the defaults.
    pub mechs: Vec<Mechanism>,
    /// `--realm`.
    pub realm: Option<String>,
}

/// Whether the server gives up what it does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confinement {
    /// It does.
    #[default]
    Confined,
    /// It keeps all rights of the start.
    Unconfined,
}

/// Whether debug lines are wanted.
pub use crate::log::Verbosity as Verbose;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start.
    Run(Box<Options>),
    /// Show the usage and end with 0; the lines stand before it on standard error.
    Usage {
        /// getopt's complaint, with the program's name.
        complaint: Option<String>,
        /// A line of the log.
        logged: Option<&'static str>,
    },
    /// Show version and mechanisms and end with 0.
    Version,
    /// Log this and end with 1.
    Fail(&'static str),
}

/// Reads a command line; `program` is the name before getopt's complaints.
#[must_use]
pub fn read(program: &OsStr, args: impl IntoIterator<Item = OsString>) -> Command {
    let (parsed, complaint) = match getopt::parse(&OPTIONS, args) {
        Ok(parsed) => (parsed, None),
        Err((complaint, parsed)) => (parsed, Some(complaint)),
    };
    let mut reading = Reading::default();
    // What stands before a bad option counts first, as getopt(3) hands it out.
    for given in parsed.given {
        if let Some(command) = reading.take(given) {
            return command;
        }
    }
    if let Some(complaint) = complaint {
        return Command::Usage {
            complaint: Some(format!(
                "{}: {}",
                program.to_string_lossy(),
                words(&complaint)
            )),
            logged: None,
        };
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    mechanism: Option<String>,
    mechanism_option: Option<String>,
    cached: Option<()>,
    cache: CacheOptions,
    debug: Option<()>,
    foreground: Option<()>,
    verbose: Option<()>,
    run_dir: Option<PathBuf>,
    processes: Option<usize>,
    with_realm: Option<()>,
    root: Option<PathBuf>,
    confinement: Confinement,
    dovecot: Option<PathBuf>,
    mechs: Vec<Mechanism>,
    realm: Option<String>,
}

impl Reading {
    /// Takes an option; gives a command where that ends the reading.
    fn take(&mut self, given: Given) -> Option<Command> {
        let (letter, argument) = match given {
            Given::Short(letter, argument) => (letter, argument.unwrap_or_default()),
            Given::Long("root", argument) => {
                let root = PathBuf::from(argument.unwrap_or_default());
                self.root = Some(std::path::absolute(&root).unwrap_or(root));
                return None;
            }
            Given::Long("unconfined", _) => {
                self.confinement = Confinement::Unconfined;
                return None;
            }
            Given::Long("realm", argument) => {
                let realm = argument.unwrap_or_default();
                self.realm = Some(realm.to_string_lossy().into_owned());
                return None;
            }
            Given::Long("mechs", argument) => {
                let list = argument.unwrap_or_default();
                return match dovecot::mechanisms(&list.to_string_lossy()) {
                    Ok(mechs) if !mechs.is_empty() => {
                        self.mechs = mechs;
                        None
                    }
                    _ => Some(Command::Fail("--mechs names no mechanism of the library")),
                };
            }
            Given::Long("foreground", _) => {
                self.foreground = Some(());
                return None;
            }
            Given::Long(..) => {
                return Some(Command::Usage {
                    complaint: None,
                    logged: None,
                });
            }
        };
        let text = || argument.to_string_lossy().into_owned();
        match letter {
            b'a' if self.mechanism.is_some() => {
                return Some(Command::Usage {
                    complaint: None,
                    logged: None,
                });
            }
            b'a' => self.mechanism = Some(text()),
            b'c' => self.cached = Some(()),
            b'd' => self.debug = Some(()),
            b'h' => {
                return Some(Command::Usage {
                    complaint: None,
                    logged: None,
                });
            }
            b'O' => self.mechanism_option = Some(text()),
            b'D' if !argument.as_bytes().starts_with(b"/") => {
                return Some(Command::Fail("-D requires an absolute pathname"));
            }
            b'D' => self.dovecot = Some(PathBuf::from(argument)),
            b'm' if !argument.as_bytes().starts_with(b"/") => {
                return Some(Command::Fail("-m requires an absolute pathname"));
            }
            b'm' => self.run_dir = Some(PathBuf::from(argument)),
            b'n' => match number(&argument) {
                0.. => self.processes = usize::try_from(number(&argument)).ok(),
                _ => {
                    return Some(Command::Fail("invalid number of worker processes defined"));
                }
            },
            b'r' => self.with_realm = Some(()),
            b's' => match number(&argument) {
                kilobytes @ 1.. => {
                    let kilobytes = usize::try_from(kilobytes).unwrap_or(usize::MAX);
                    self.cache.slots = CacheOptions::slots_for(kilobytes.min(CACHE_LIMIT));
                }
                _ => {
                    return Some(Command::Fail("cache size must be positive and non zero"));
                }
            },
            b't' => match number(&argument) {
                seconds @ 1.. => {
                    self.cache.timeout = Duration::from_secs(seconds.unsigned_abs());
                }
                _ => return Some(Command::Fail("cache timeout must be positive")),
            },
            b'v' => return Some(Command::Version),
            b'V' => self.verbose = Some(()),
            // -l and -T have no effect.
            _ => {}
        }
        None
    }

    fn finish(self) -> Command {
        let Some(mechanism) = self.mechanism else {
            return Command::Usage {
                complaint: None,
                logged: Some("no authentication mechanism specified"),
            };
        };
        if self.dovecot.is_some() && !mechanism.eq_ignore_ascii_case("sasldb") {
            return Command::Fail("-D is for the accounts of -a sasldb");
        }
        let mode = match (self.debug, self.foreground) {
            (Some(()), _) => Mode::Debug,
            (None, Some(())) => Mode::Foreground,
            (None, None) => Mode::Daemon,
        };
        let verbose = match self.verbose.or(self.debug) {
            Some(()) => Verbose::Verbose,
            None => Verbose::Normal,
        };
        let run_dir = self.run_dir.unwrap_or_else(|| match &self.root {
            Some(root) => below(root, DEFAULT_RUN_DIR),
            None => PathBuf::from(DEFAULT_RUN_DIR),
        });
        Command::Run(Box::new(Options {
            mechanism,
            mechanism_option: self.mechanism_option,
            cache: self.cached.map(|()| self.cache),
            mode,
            verbose,
            run_dir,
            processes: self.processes.unwrap_or(DEFAULT_PROCESSES),
            logins: match self.with_realm {
                Some(()) => Logins::WithRealm,
                None => Logins::AsGiven,
            },
            root: self.root,
            confinement: self.confinement,
            dovecot: self.dovecot,
            mechs: self.mechs,
            realm: self.realm,
        }))
    }
}

/// Kilobytes of cache at most: one gigabyte.
const CACHE_LIMIT: usize = 1 << 20;

/// An absolute path of the site, taken below a root.
#[must_use]
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// getopt's words; the original knows no long options and takes the second
/// hyphen of an unknown one for a letter.
pub(crate) fn words(complaint: &Complaint) -> String {
    match complaint {
        Complaint::Unrecognized(_) => Complaint::Invalid(b'-').to_string(),
        other => other.to_string(),
    }
}

/// A number as atoi(3) reads it: what doesn't start with one is 0.
pub(crate) fn number(text: &OsStr) -> i64 {
    let text = text.to_string_lossy();
    let text = text.trim_start();
    let sign = text.starts_with(['-', '+']);
    let digits: String = text
        .chars()
        .enumerate()
        .take_while(|(i, c)| c.is_ascii_digit() || (sign && *i == 0))
        .map(|(_, c)| c)
        .collect();
    digits.parse().unwrap_or(0)
}

/// Version and mechanisms, for `-v` and after the usage.
#[must_use]
pub fn version() -> String {
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    format!(
        "saslauthd {VERSION}\nauthentication mechanisms: {}\n\n",
        names.join(" ")
    )
}

/// The usage, with version and mechanisms.
#[must_use]
pub fn usage() -> String {
    format!("{USAGE}{}", version())
}

const USAGE: &str = "\
usage: saslauthd [options]

option information:
  -a <authmech>  Selects the authentication mechanism to use.
  -c             Enable credential caching.
  -d             Debugging (don't detach from tty, implies -V)
  -r             Combine the realm with the login before passing to authentication mechanism
                 Ex. login: \"foo\" realm: \"bar\" will get passed as login: \"foo@bar\"
                 The realm name is passed untouched.
  -O <option>    Optional argument to pass to the authentication
                 mechanism.
  -l             Disable accept() locking. Increases performance, but
                 may not be compatible with some operating systems.
  -m <path>      Alternate path for the saslauthd working directory,
                 must be absolute.
  -n <procs>     Number of worker processes to create.
  -s <kilobytes> Size of the credential cache (in kilobytes)
  -t <seconds>   Timeout for items in the credential cache (in seconds)
  -v             Display version information and available mechs
  -V             Enable verbose logging
  -h             Display this message.

";

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        read(
            OsStr::new("saslauthd"),
            line.split_whitespace().map(OsString::from),
        )
    }

    fn options(line: &str) -> Options {
        match command(line) {
            Command::Run(options) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn command_lines_that_start_nothing() {
        let usage = |complaint: Option<&str>, logged| Command::Usage {
            complaint: complaint.map(str::to_owned),
            logged,
        };
        let cases = [
            (
                "",
                usage(None, Some("no authentication mechanism specified")),
            ),
            ("-h -v", usage(None, None)),
            ("-v -h -Z", Command::Version),
            ("-a x -a x", usage(None, None)),
            (
                "-a",
                usage(Some("saslauthd: option requires an argument -- 'a'"), None),
            ),
            (
                "-a x y -Z",
                usage(Some("saslauthd: invalid option -- 'Z'"), None),
            ),
            (
                "--nonsense",
                usage(Some("saslauthd: invalid option -- '-'"), None),
            ),
            (
                "-m run -a x",
                Command::Fail("-m requires an absolute pathname"),
            ),
            (
                "-n -3",
                Command::Fail("invalid number of worker processes defined"),
            ),
            (
                "-s 0",
                Command::Fail("cache size must be positive and non zero"),
            ),
            (
                "-s abc",
                Command::Fail("cache size must be positive and non zero"),
            ),
            (
                "-D auth -a sasldb",
                Command::Fail("-D requires an absolute pathname"),
            ),
            (
                "-D /auth -a pam",
                Command::Fail("-D is for the accounts of -a sasldb"),
            ),
            (
                "--mechs EXTERNAL -a sasldb",
                Command::Fail("--mechs names no mechanism of the library"),
            ),
            ("-t 0", Command::Fail("cache timeout must be positive")),
            ("-t -5", Command::Fail("cache timeout must be positive")),
        ];
        for (line, want) in cases {
            assert_eq!(command(line), want, "{line:?}");
        }
    }

    #[test]
    fn command_lines_that_start_the_daemon() {
        let plain = options("-a pam");
        assert_eq!(plain.mode, Mode::Daemon);
        assert_eq!(plain.processes, 5);
        assert_eq!(plain.run_dir, Path::new("/var/run/saslauthd"));
        assert_eq!(plain.cache, None);
        let full = options("-d -c -s 16 -t 1 -r -O x -O y -n 0 -m /r -l -T -a shadow");
        assert_eq!(full.mode, Mode::Debug);
        assert_eq!(full.verbose, Verbose::Verbose);
        let cache = full.cache.unwrap();
        assert_eq!((cache.slots, cache.timeout.as_secs()), (29, 1));
        assert_eq!(full.logins, Logins::WithRealm);
        assert_eq!(full.mechanism_option.as_deref(), Some("y"));
        assert_eq!(full.processes, 0);
        // -n is read by atoi; -s without -c makes no cache.
        assert_eq!(options("-a x -n 7seven").processes, 7);
        assert_eq!(options("-a x -n x -s 16").processes, 0);
        let rooted = options("-a x --root /site --foreground");
        assert_eq!(rooted.run_dir, Path::new("/site/var/run/saslauthd"));
        assert_eq!(rooted.mode, Mode::Foreground);
    }
}
