//! The mechanisms: who can tell whether a password is right.

use std::path::{Path, PathBuf};

use libmaps::opening::Seen;

use crate::answer::Answer;
use crate::backoff::Accounts;
use crate::frame::Request;

pub mod accounts;
pub mod imap;
pub mod pam;
pub mod rimap;
pub mod sasldb;
pub mod shadow;

/// Someone who can tell whether a password is right.
pub trait PasswordChecker: Send {
    /// Checks one request. May take its time, which the caller limits.
    fn check(&mut self, request: &Request) -> Answer;
}

/// The mechanisms that `-a` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The users of sasldb2.
    Sasldb,
    /// The hash in passwd(5).
    Getpwent,
    /// PAM.
    Pam,
    /// A remote IMAP server.
    Rimap,
    /// The hash in shadow(5).
    Shadow,
}

/// A name that `-a` may have, and what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// One of ours.
    Here(Mechanism),
    /// A mechanism of the original that is reached through PAM, by this module.
    ThroughPam(&'static str),
}

/// The names in the order in which `-v` lists them, which is Debian's.
pub const NAMES: [(&str, Named); 7] = [
    ("sasldb", Named::Here(Mechanism::Sasldb)),
    ("getpwent", Named::Here(Mechanism::Getpwent)),
    ("kerberos5", Named::ThroughPam("pam_krb5")),
    ("pam", Named::Here(Mechanism::Pam)),
    ("rimap", Named::Here(Mechanism::Rimap)),
    ("shadow", Named::Here(Mechanism::Shadow)),
    ("ldap", Named::ThroughPam("pam_ldap")),
];

impl Mechanism {
    /// The name, as `-a` takes it and the log shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, named)| *named == Named::Here(self))
            .map_or("", |(name, _)| name)
    }

    /// The file whose change makes cached answers worthless, where there is one.
    #[must_use]
    pub fn source(self) -> Option<&'static str> {
        match self {
            Mechanism::Sasldb => Some("/etc/sasldb2"),
            Mechanism::Getpwent => Some("/etc/passwd"),
            Mechanism::Shadow => Some("/etc/shadow"),
            Mechanism::Pam | Mechanism::Rimap => None,
        }
    }

    /// What tells an account of it, on the machine of this name.
    #[must_use]
    pub fn accounts(self, host: &[u8]) -> Accounts {
        match self {
            Mechanism::Sasldb => Accounts::ByRealm(host.to_vec()),
            Mechanism::Pam | Mechanism::Shadow | Mechanism::Getpwent | Mechanism::Rimap => {
                Accounts::ByLogin
            }
        }
    }

    /// True where C code of others answers (PAM modules, name service, crypt),
    /// which belongs into a process of its own.
    #[must_use]
    pub fn wants_process(self) -> bool {
        match self {
            Mechanism::Pam | Mechanism::Shadow | Mechanism::Getpwent => true,
            Mechanism::Rimap | Mechanism::Sasldb => false,
        }
    }
}

/// Finds a name, in any case.
#[must_use]
pub fn named(name: &str) -> Option<Named> {
    NAMES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, named)| *named)
}

/// Tells whether a file is the same as before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    path: PathBuf,
    seen: Sight,
}

/// What was seen of a file, if it was there.
pub type Sight = Option<Seen>;

impl Watch {
    /// Watches a file that may be missing.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let seen = Self::look(&path);
        Watch { path, seen }
    }

    /// True where the file is another one, or changed, since the last look.
    pub fn changed(&mut self) -> bool {
        match self.unseen() {
            Some(now) => {
                self.see(now);
                true
            }
            None => false,
        }
    }

    /// What there is to see, where that is not what was seen last.
    #[must_use]
    pub fn unseen(&self) -> Option<Sight> {
        let now = Self::look(&self.path);
        (now != self.seen).then_some(now)
    }

    /// From here on this is what was seen.
    pub fn see(&mut self, sight: Sight) {
        self.seen = sight;
    }

    fn look(path: &Path) -> Sight {
        Seen::of(path).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_in_any_case() {
        assert_eq!(named("SaslDB"), Some(Named::Here(Mechanism::Sasldb)));
        assert_eq!(named("ldap"), Some(Named::ThroughPam("pam_ldap")));
        assert_eq!(named(""), None);
        assert_eq!(Mechanism::Rimap.name(), "rimap");
    }

    #[test]
    fn a_replaced_or_changed_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut watch = Watch::new(path.clone());
        assert!(!watch.changed());
        fs::write(&path, "a").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
        fs::write(dir.path().join("g"), "b").unwrap();
        fs::rename(dir.path().join("g"), &path).unwrap();
        assert!(watch.changed());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(watch.unseen().is_some());
        assert!(watch.changed());
        assert!(watch.unseen().is_none());
    }
}
