//! What makemap and editmap take from sendmail's configuration: the owner of
//! new maps, and the types of maps.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;

use crate::report::{complain, octets};

const DEFAULT_FILE: &str = "/etc/mail/sendmail.cf";

/// The lines of a `sendmail.cf` that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    trusted: Option<Vec<u8>>,
    /// Type and name, from the `K` lines.
    maps: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads the configuration as makemap(8) does: for root always, for others only when a map's
/// type is to be found there.
///
/// # Errors
/// A file that was named cannot be read; the text has the file's name. A folder reads as an
/// empty file, and the default file may be missing.
pub fn for_maps(file: Option<&OsStr>, needed: bool) -> Result<Option<Config>, String> {
    if !needed && !is_root() {
        return Ok(None);
    }
    let path = file.unwrap_or(OsStr::new(DEFAULT_FILE));
    match fs::read(path) {
        Ok(text) => Ok(Some(Config::parse(&text))),
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => Ok(Some(Config::default())),
        Err(e) if e.kind() == io::ErrorKind::NotFound && file.is_none() && !needed => {
            Ok(Some(Config::default()))
        }
        Err(e) => {
            let e = e.to_string();
            let reason = e.split(" (os error ").next().unwrap_or_default();
            Err(format!("{}: {reason}", path.display()))
        }
    }
}

/// Reads the configuration as editmap(8) does: for everybody; only the default file may be missing.
///
/// # Errors
/// As [`for_maps`].
pub fn for_editmap(file: Option<&OsStr>) -> Result<Option<Config>, String> {
    match file {
        Some(_) => for_maps(file, true),
        None => for_maps(None, false),
    }
}

impl Config {
    fn parse(text: &[u8]) -> Self {
        let mut config = Config::default();
        for line in text.split(|b| *b == b'\n') {
            if let Some(user) = line.strip_prefix(b"O TrustedUser=") {
                config.trusted = Some(user.trim_ascii().to_vec());
            } else if let Some(map) = line.strip_prefix(b"K") {
                config.maps.extend(map_of(map));
            }
        }
        config
    }

    /// The uid of TrustedUser; of one that does not exist the administrator is told.
    #[must_use]
    pub fn trusted_uid(&self) -> Option<u32> {
        let user = self.trusted.as_deref()?;
        let text = String::from_utf8_lossy(user);
        if let Ok(uid) = text.parse() {
            return Some(uid);
        }
        let uid = uid_of(user);
        if uid.is_none() {
            complain(&[b"TrustedUser: unknown user ", user]);
        }
        uid
    }

    /// The type that the configuration gives the map of this name; the first line decides.
    ///
    /// The type word `cf` asks for the name as it stands in the `K` line; with a capital in it
    /// (`CF`) folders and a `.db` at the end do not count.
    #[must_use]
    pub fn map_type(&self, word: &OsStr, name: &OsStr) -> Option<OsString> {
        let exact = word == "cf";
        let comparable = |name: &[u8]| -> Vec<u8> {
            if exact {
                return name.to_vec();
            }
            let base = name.rsplit(|b| *b == b'/').next().unwrap_or_default();
            base.strip_suffix(b".db").unwrap_or(base).to_vec()
        };
        let name = comparable(octets(name));
        let found = self.maps.iter().find(|(_, n)| comparable(n) == name);
        found.map(|(word, _)| OsString::from_vec(word.clone()))
    }
}

/// Type and name from `NAME TYPE [-FLAGS...] FILE`.
fn map_of(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut words = line
        .split(|b| b.is_ascii_whitespace())
        .filter(|w| !w.is_empty());
    words.next()?;
    let word = words.next()?.to_ascii_lowercase();
    let file = words.rfind(|w| !w.starts_with(b"-"))?;
    Some((word, file.to_vec()))
}

#[allow(unsafe_code)] // geteuid has no safe form in std
fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[allow(unsafe_code)] // getpwnam has no safe form in std; the system's user database may be anything
fn uid_of(user: &[u8]) -> Option<u32> {
    let name = CString::new(user).ok()?;
    // SAFETY: the argument is a C string, no other thread of these programs asks the user
    // database, and the result is read at once.
    unsafe { libc::getpwnam(name.as_ptr()).as_ref().map(|pw| pw.pw_uid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_from_a_configuration() {
        let config = Config::parse(
            b"#O TrustedUser=no\nO  TrustedUser = no\nO TrustedUser=7\n\
              Kaccess hash -T<TMPF> /m/access\nKup HASH /m/up\nKhost host -a<OK>\nKx\n",
        );
        assert_eq!(config.trusted_uid(), Some(7));
        let type_of = |word: &str, name: &str| config.map_type(OsStr::new(word), OsStr::new(name));
        assert_eq!(type_of("cf", "/m/access"), Some("hash".into()));
        assert_eq!(type_of("cf", "/m/up"), Some("hash".into()));
        assert_eq!(type_of("cf", "access"), None);
        assert_eq!(type_of("cf", "-a<OK>"), None);
        assert_eq!(type_of("CF", "access"), Some("hash".into()));
        assert_eq!(type_of("cF", "/other/access.db"), Some("hash".into()));
    }
}
