//! What newaliases and praliases share: where the configuration is, and options as words.

use std::io;
use std::path::{Path, PathBuf};

use libmaps::site::alias_files::DEFAULT_CONFIGS;
use libmaps::site::cf::below;
use libmaps::site::options;
use libmaps::site::users::Users;

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

/// The uid of a user given by name or number; `None` for one that does not exist. With a root
/// the names are those of the passwd file below it, where there is one.
#[must_use]
pub fn uid_of(user: &[u8], root: Option<&Path>) -> Option<u32> {
    let text = std::str::from_utf8(user).ok()?;
    if let Ok(uid) = text.parse() {
        return Some(uid);
    }
    let users = Users::below(root).ok()?;
    users.get(text).ok()?.map(|user| user.uid)
}

/// Octets as a word of a command line.
#[must_use]
pub fn os_string(octets: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(octets.to_vec())
}
