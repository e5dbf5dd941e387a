//! The drop folder: where `sendmail` leaves messages for the server.
//!
//! No user can write to the queue. `sendmail` runs with the group of the drop folder
//! (set-group-ID smmsp, the folder has mode 0770), writes a file there under a name of
//! its own, syncs it and renames it; a server that runs takes it within a moment, and
//! without one it waits.
//!
//! ```text
//! FOLDER/ID.tmp    being written; one that is a day old is removed
//! FOLDER/ID.msg    complete; ID is the queue id that the message will have
//! FOLDER/ID.bad    was refused; an administrator may look. Its sender is told where the
//!                  file has an envelope
//! ```
//!
//! Files with other names (those of sendmail's own client queue) are left alone.

pub mod display;
pub mod file;
pub mod intake;
pub(crate) mod rights;
pub mod submission;
pub mod submitter;
mod take;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use libmaps::opening;
use libmaps::site::model::{Class, below};
use libmaps::site::{Site, load};

use crate::clock::Civil;

/// The folder where neither `submit.mc` nor an option names another.
pub const DEFAULT_FOLDER: &str = "/var/spool/clientmqueue";
/// Configuration of sendmail's mail submission program.
const SUBMIT_MC: &str = "/etc/mail/submit.mc";
/// The ending of a complete file.
const COMPLETE: &str = "msg";
/// The ending of a file that is being written.
const UNFINISHED: &str = "tmp";
/// The ending of a file that could not be understood.
const REFUSED: &str = "bad";
/// Characters of an id.
const ID_CHARS: usize = 14;

const DIGITS: &[u8; 60] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx";

/// What `submit.mc` says, where a site has it.
#[derive(Clone, Debug, Default)]
pub struct Submit {
    /// The drop folder, as written.
    pub folder: PathBuf,
    /// Users who may set the sender, beside those of `sendmail.mc`.
    pub trusted: Class,
}

impl Submit {
    /// Reads `submit.mc` below the site's root; without one, or where it can't be read, the
    /// defaults.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        let root = site.root.as_deref();
        let path = below(root, Path::new(SUBMIT_MC));
        let default = || Submit {
            folder: DEFAULT_FOLDER.into(),
            trusted: Class::default(),
        };
        if opening::metadata(&path).is_err() {
            return default();
        }
        match load::load(root, Some(&path)) {
            Ok(loaded) if loaded.site.features.msp.is_some() => Submit {
                folder: loaded
                    .site
                    .options
                    .queue
                    .directory
                    .unwrap_or_else(|| DEFAULT_FOLDER.into()),
                trusted: loaded.site.classes.trusted_users,
            },
            _ => default(),
        }
    }

    /// The drop folder below the site's root.
    #[must_use]
    pub fn folder_of(&self, site: &Site) -> PathBuf {
        site.below(&self.folder)
    }
}

/// The id of a dropped message. Its ninth character is a letter, where ids that the server
/// makes have a digit, so the two never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropId(Box<str>);

impl DropId {
    /// A new id: the second, and 47 random bits.
    ///
    /// # Errors
    /// When the system has no random octets.
    pub fn random() -> std::io::Result<Self> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let mut random = u64::from_le_bytes(random);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let at = Civil::utc(now);
        let digit = |n: u64| char::from(DIGITS.get((n % 60) as usize).copied().unwrap_or(b'0'));
        let mut id = String::with_capacity(ID_CHARS);
        for n in [at.year, at.month, at.day, at.hour, at.minute, at.second] {
            id.push(digit(n));
        }
        while id.len() < ID_CHARS {
            // The ninth character: a letter.
            let n = if id.len() == 8 {
                10 + random % 50
            } else {
                random
            };
            id.push(digit(n));
            random /= 60;
        }
        Ok(DropId(id.into()))
    }

    /// The id of a complete file's name; `None` for every other name.
    #[must_use]
    pub fn of_file(name: &OsStr) -> Option<Self> {
        let (id, ending) = name.to_str()?.split_once('.')?;
        (ending == COMPLETE).then(|| DropId::parse(id))?
    }

    /// An id as it is written.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let known = id.bytes().all(|c| DIGITS.contains(&c));
        let letter = id.as_bytes().get(8).is_some_and(u8::is_ascii_alphabetic);
        (id.len() == ID_CHARS && known && letter).then(|| DropId(id.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The complete file.
    #[must_use]
    pub fn complete(&self, folder: &Path) -> PathBuf {
        self.file(folder, COMPLETE)
    }

    /// The file while it is written.
    #[must_use]
    pub fn unfinished(&self, folder: &Path) -> PathBuf {
        self.file(folder, UNFINISHED)
    }

    /// The file once it was refused.
    #[must_use]
    pub fn refused(&self, folder: &Path) -> PathBuf {
        self.file(folder, REFUSED)
    }

    fn file(&self, folder: &Path, ending: &str) -> PathBuf {
        folder.join(format!("{}.{ending}", self.0))
    }
}

impl std::fmt::Display for DropId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether this is the name of a file that is being written.
fn is_unfinished(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|n| n.split_once('.'))
        .is_some_and(|(id, ending)| ending == UNFINISHED && DropId::parse(id).is_some())
}

/// Whether this is the name of a dropped file, complete or not.
pub(crate) fn is_dropped(name: &OsStr) -> bool {
    is_unfinished(name) || DropId::of_file(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_from_each_other_and_from_the_servers() {
        let made: std::collections::HashSet<_> =
            (0..10_000).map(|_| DropId::random().unwrap()).collect();
        assert_eq!(made.len(), 10_000);
        for id in &made {
            assert_eq!(DropId::parse(id.as_str()).as_ref(), Some(id));
            assert_eq!(id.as_str().len(), ID_CHARS);
        }
        let server = crate::queue::Ids::new(std::process::id()).next();
        assert_eq!(DropId::parse(&server), None);
    }

    #[test]
    fn only_names_of_the_known_shape_count() {
        let of = |name: &str| DropId::of_file(OsStr::new(name)).map(|id| id.to_string());
        assert_eq!(of("6APMRkmQa00028.msg").as_deref(), Some("6APMRkmQa00028"));
        for other in [
            "6APMRkmQ000028.msg",
            "6APMRkmQa00028.tmp",
            "6APMRkmQa00028.bad",
            "6APMRkmQa00028",
            "6APMRkmQa00028.msg.msg",
            "qf6APMRkmQ000028",
            "../APMRkmQa0002.msg",
            "6APMRkmQa0002.msg",
            ".msg",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert!(is_unfinished(OsStr::new("6APMRkmQa00028.tmp")));
        assert!(!is_unfinished(OsStr::new("other.tmp")));
    }
}
