//! Who submitted a message, and what that allows.

use std::io;

use libmaps::site::Site;
use libmaps::site::users::{User, Users};

use super::Submit;

/// What stands for a user who has no name here, as with sendmail.
const NOBODY: &str = "postmaster";

/// The user who owns a dropped file.
#[derive(Clone, Debug)]
pub struct Submitter {
    /// Its number.
    pub uid: u32,
    /// Its entry; `None` for a number that is nobody's.
    pub user: Option<User>,
}

impl Submitter {
    /// The user of this number: of the site's passwd file, else of the system.
    ///
    /// # Errors
    /// When nobody can tell.
    pub fn of(users: &Users, uid: u32) -> io::Result<Self> {
        let user = match users.by_uid(uid)? {
            Some(user) => Some(user),
            None => Users::System.by_uid(uid)?,
        };
        Ok(Submitter { uid, user })
    }

    /// The login name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.user.as_ref().map_or(NOBODY, |user| &user.name)
    }

    /// Whether it may set the sender freely: root, and class `t` of the site's
    /// `sendmail.mc` or `submit.mc`.
    #[must_use]
    pub fn is_trusted(&self, site: &Site, submit: &Submit) -> bool {
        let name = self.name().as_bytes();
        let listed = site.classes.trusted_users.contains(name) || submit.trusted.contains(name);
        self.uid == 0 || (self.user.is_some() && listed)
    }

    /// Whether an address is this user's own: its name, alone or at this host.
    #[must_use]
    pub fn owns(&self, site: &Site, address: &[u8]) -> bool {
        local_user(site, address) == Some(self.name().as_bytes())
    }
}

/// The user of an address that is bare or at this host's own name.
#[must_use]
pub fn local_user<'a>(site: &Site, address: &'a [u8]) -> Option<&'a [u8]> {
    let Some(at) = address.iter().rposition(|c| *c == b'@') else {
        return Some(address);
    };
    let (user, host) = (address.get(..at)?, address.get(at + 1..)?);
    let here = [site.host_name.as_str(), "localhost"];
    here.iter()
        .any(|name| host.eq_ignore_ascii_case(name.as_bytes()))
        .then_some(user)
}

/// An address with this host's name, where it has no host.
#[must_use]
pub fn qualified(site: &Site, address: &[u8]) -> Vec<u8> {
    let mut full = address.to_vec();
    if !address.is_empty() && !address.iter().any(|c| b"@!%".contains(c)) {
        full.push(b'@');
        full.extend_from_slice(site.host_name.as_bytes());
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses() {
        let site = Site {
            host_name: "mx.test.example".into(),
            ..Site::default()
        };
        let users = Users::parse(b"bob:x:2001:2001:Bob:/:/bin/sh\n");
        let bob = Submitter::of(&users, 2001).unwrap();
        for (address, own) in [
            ("bob", true),
            ("bob@mx.test.example", true),
            ("bob@MX.test.example", true),
            ("bob@localhost", true),
            ("bob@test.example", false),
            ("ann", false),
            ("x@bob@localhost", false),
            ("", false),
        ] {
            assert_eq!(bob.owns(&site, address.as_bytes()), own, "{address}");
        }
        for (address, want) in [
            ("ann", "ann@mx.test.example"),
            ("a@b", "a@b"),
            ("a!b", "a!b"),
        ] {
            assert_eq!(qualified(&site, address.as_bytes()), want.as_bytes());
        }
    }
}
