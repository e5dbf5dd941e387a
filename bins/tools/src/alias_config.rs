//! What newaliases and praliases share: where the configuration is, and options as words.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use libmaps::site::alias_files::DEFAULT_CONFIGS;
use libmaps::site::cf::below;
use libmaps::site::options;

/// An option of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name; empty for a letter of no meaning here.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl Setting {
    /// `-oAFILE`.
    #[must_use]
    pub fn by_letter(text: &[u8]) -> Self {
        let (letter, value) = text.split_first().unwrap_or((&0, b""));
        Setting {
            name: options::of_letter(*letter).as_bytes().to_vec(),
            value: value.to_vec(),
        }
    }

    /// `-O AliasFile=FILE`.
    #[must_use]
    pub fn by_name(text: &[u8]) -> Self {
        let mut halves = text.splitn(2, |c| *c == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        Setting {
            name: options::long_name(name),
            value: halves
                .next()
                .unwrap_or_default()
                .trim_ascii_start()
                .to_vec(),
        }
    }
}

/// The configuration: as named, else the site's `sendmail.mc`, else its `sendmail.cf`.
#[must_use]
pub fn file(named: Option<&Path>, root: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        return named.into();
    }
    let [mc, cf] = DEFAULT_CONFIGS.map(|path| below(root, Path::new(path)));
    if mc.exists() { mc } else { cf }
}

/// The system's words for an error, without its number.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The uid of a user given by name or number; `None` for one that does not exist.
#[must_use]
#[allow(unsafe_code)] // getpwnam has no safe form in std
pub fn uid_of(user: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(user);
    if let Ok(uid) = text.parse() {
        return Some(uid);
    }
    let name = CString::new(user).ok()?;
    // SAFETY: the name is a C string; the result is read at once, by the one thread there is.
    unsafe {
        libc::getpwnam(name.as_ptr())
            .as_ref()
            .map(|entry| entry.pw_uid)
    }
}

/// Octets as a word of a command line.
#[must_use]
pub fn os_string(octets: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(octets.to_vec())
}
