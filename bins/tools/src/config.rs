//! What makemap and editmap take from sendmail's configuration: the owner of
//! new maps, and the types of maps.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use libmaps::site::cf::Cf;

use crate::alias_config::{reason, uid_of};
use crate::report::{complain, octets};

/// The configuration where none is named.
pub(crate) const DEFAULT_FILE: &str = "/etc/mail/sendmail.cf";

/// What matters here of a `sendmail.cf`.
#[derive(Debug)]
pub struct Config(Cf);

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
    if Path::new(path).is_dir() {
        return Ok(Some(Config::empty()));
    }
    match Cf::read(Path::new(path), None) {
        Ok(cf) => Ok(Some(Config(cf))),
        Err(e) if e.kind() == io::ErrorKind::NotFound && file.is_none() && !needed => {
            Ok(Some(Config::empty()))
        }
        Err(e) => Err(format!("{}: {}", path.display(), reason(&e))),
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
    fn empty() -> Self {
        Config::parse(b"")
    }

    fn parse(text: &[u8]) -> Self {
        Config(Cf::parse(
            text,
            &mut |_| Err(io::ErrorKind::NotFound.into()),
        ))
    }

    /// The uid of TrustedUser; of one that does not exist the administrator is told.
    #[must_use]
    pub fn trusted_uid(&self) -> Option<u32> {
        let user = self.0.option_verbatim("TrustedUser")?.trim_ascii();
        let uid = uid_of(user, None);
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
        let found = self.0.maps.iter().find(|map| {
            let file = map.file.as_deref();
            file.is_some_and(|file| comparable(file) == name)
        });
        found.map(|map| OsString::from_vec(map.class.to_ascii_lowercase()))
    }
}

#[allow(unsafe_code)] // geteuid has no safe form in std
fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
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
