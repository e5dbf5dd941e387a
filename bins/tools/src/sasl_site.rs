//! What the password programs share: libsasl's result codes, its configuration,
//! the default realm, and where reasons go.
//!
//! The originals print one line that says little, and send the reason to the
//! system's log. So do these, and print the reason too where a person looks at
//! standard error.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use libmaps::map::{MapClass, StoreError};
use libmaps::sasl::SaslDbError;
use libmaps::sasl::conf::{self, Conf, ConfError};
use libmaps::store::class::{ClassWord, Holds};
use libmaps::store::shared::Connection;
use libmaps::sysexits::SysExit;

use crate::report::complain;

/// What the originals print of themselves before a usage text or version.
pub const BANNER: &str = "\nThis product includes software developed by Computing Services\n\
    at Carnegie Mellon University (http://www.cmu.edu/computing/).\n\n";

/// The versions that `-v` prints: those of the library whose behaviour is mirrored.
pub const VERSIONS: &str =
    "Built against SASL API version 2.1.28\nLibSasl version 2.1.28 by \"Cyrus SASL\"\n";

/// libsasl's results as far as programs end with them; the exit code is the
/// number without its minus sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SaslCode {
    /// SASL_OK.
    Ok = 0,
    /// SASL_FAIL.
    Fail = 1,
    /// SASL_NOMECH.
    NoMechanism = 4,
    /// SASL_BADPARAM.
    BadParameter = 7,
    /// SASL_CONFIGERR.
    Configuration = 100,
}

impl SaslCode {
    /// libsasl's words for it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            SaslCode::Ok => "successful result",
            SaslCode::Fail => "generic failure",
            SaslCode::NoMechanism => "no mechanism available",
            SaslCode::BadParameter => "invalid parameter supplied",
            SaslCode::Configuration => "error when parsing configuration file",
        }
    }
}

/// The last part of the name that a program was called by.
#[must_use]
pub fn program_name(arg0: Option<OsString>, default: &str) -> String {
    let path = arg0.map(PathBuf::from).unwrap_or_default();
    match path.file_name().and_then(OsStr::to_str) {
        Some(name) => name.to_owned(),
        None => default.to_owned(),
    }
}

/// A path of the site, below `root`.
#[must_use]
pub fn below(root: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(inner) => root.join(inner),
        Err(_) => path.to_path_buf(),
    }
}

/// The connection file of a shared store: `pgsql:/etc/sasldb2`, or a path that ends in
/// `.pgsql`; `None` of a store of this host alone.
///
/// # Errors
/// As [`Connection::read`]; an engine that may lose what it was told is refused.
pub fn shared_store(path: &Path, root: Option<&Path>) -> Result<Option<Connection>, StoreError> {
    let text = path.as_os_str().as_bytes();
    let colon = text.iter().position(|c| *c == b':').unwrap_or(0);
    let (word, name) = text.split_at(colon);
    let row = std::str::from_utf8(word).ok().and_then(ClassWord::find);
    let connection = match row.filter(|row| row.holds == Holds::Connection) {
        Some(row) => row.connection(OsStr::from_bytes(name.get(1..).unwrap_or_default()), root)?,
        None => match Connection::class_of(path) {
            Some(class) => Some(Connection::read(class, path, root)?),
            None => None,
        },
    };
    match connection {
        Some(connection) if connection.class != MapClass::Pgsql => {
            let why = "passwords are shared through PostgreSQL alone: this engine may lose a \
                       change that it has confirmed";
            Err(connection.error(SysExit::Config, why))
        }
        connection => Ok(connection),
    }
}

/// Reads `APPNAME.conf` as the environment and `root` say; its warnings go to the
/// system's log: files that Debian installs give some.
///
/// # Errors
/// The file is malformed or can't be read to its end.
pub fn configuration(program: &str, appname: &str, root: &Path) -> Result<Conf, ConfError> {
    let wanted = std::env::var_os("SASL_CONF_PATH").filter(|_| !runs_as_other());
    let conf = Conf::read(appname, &conf::folders(wanted.as_deref(), root))?;
    for warning in &conf.warnings {
        log(program, Severity::Warning, &warning.to_string());
    }
    Ok(conf)
}

/// The realm of a user without one: the host's name in lower case.
#[must_use]
pub fn host_realm() -> String {
    match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if !name.trim().is_empty() => name.trim().to_ascii_lowercase(),
        _ => "localhost".to_owned(),
    }
}

/// The exit code that tells of a fault of a shared store (sysexits(3)).
#[must_use]
pub fn exit_of(error: &SaslDbError) -> SysExit {
    match error {
        SaslDbError::Store(error) => error.exit(),
        SaslDbError::BadRecord { .. } => SysExit::DataErr,
        // Only where the machine lacks the memory.
        _ => SysExit::OsErr,
    }
}

/// Sends a reason to the system's log, and to standard error if that is a terminal.
pub fn tell(program: &str, reason: &str) {
    let line = log(program, Severity::Error, reason);
    if io::stderr().is_terminal() {
        complain(&[format!("{program}: {line}").as_bytes()]);
    }
}

/// Facility LOG_AUTH of RFC 3164 section 4.1.1.
const AUTH: u8 = 4 << 3;

/// How bad it is, by syslog's numbers.
#[derive(Clone, Copy)]
pub enum Severity {
    /// Something failed.
    Error = 3,
    /// Something has no effect.
    Warning = 4,
}

/// Sends a line to the system's log; gives it back as it was sent, without control characters.
pub fn log(program: &str, severity: Severity, text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // Without a logger there is nobody to tell.
    if let Ok(socket) = UnixDatagram::unbound() {
        let (priority, pid) = (AUTH | severity as u8, std::process::id());
        let message = format!("<{priority}>{program}[{pid}]: {line}");
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(message.as_bytes(), "/dev/log");
    }
    line
}

#[allow(unsafe_code)] // the user ids have no safe form in std
fn runs_as_other() -> bool {
    // SAFETY: these calls take nothing and cannot fail.
    unsafe { libc::getuid() != libc::geteuid() || libc::getgid() != libc::getegid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let name = |arg: &str| program_name(Some(arg.into()), "x");
        assert_eq!(name("/usr/sbin/saslpasswd2"), "saslpasswd2");
        assert_eq!(name("saslpasswd"), "saslpasswd");
        assert_eq!(program_name(None, "x"), "x");
        assert_eq!(
            below(Path::new("/r"), Path::new("/etc/db")),
            Path::new("/r/etc/db")
        );
        assert_eq!(below(Path::new("/r"), Path::new("db")), Path::new("db"));
        assert_eq!(host_realm(), host_realm().to_lowercase());
    }
}
