//! Login shells: who has none runs no programs by his mail either.
//!
//! A user's `.forward` or list may have programs run and files written as he is. Whoever may
//! only fetch mail or put up files has no shell for that, and is given none by his mail: as
//! sendmail does, programs and files are for users whose shell stands in shells(5).

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::opening;
use crate::site::Site;
use crate::site::users::{User, Users};

/// The file of shells.
pub(super) const FILE: &str = "/etc/shells";
/// A line that makes every shell a valid one.
const ANY: &[u8] = b"/SENDMAIL/ANY/SHELL/";
/// The shells of a site without the file: those of getusershell(3), by either name.
const BUILT_IN: &[u8] = b"/bin/sh\n/usr/bin/sh\n/bin/csh\n/usr/bin/csh\n";

/// The valid shells of a site, and the users who need none.
#[derive(Clone, Debug)]
pub struct Shells<'a> {
    site: &'a Site,
    text: Vec<u8>,
}

impl<'a> Shells<'a> {
    /// Those of `/etc/shells` below the site's root; where it is not there the system's, if
    /// its users are the system's, and else those of getusershell(3).
    ///
    /// # Errors
    /// A file that is there can't be read: nobody can tell.
    pub fn of(site: &'a Site, users: &Users) -> io::Result<Self> {
        let own = site.below(Path::new(FILE));
        let systems = users.are_the_systems().then(|| FILE.into());
        for path in std::iter::once(own).chain(systems) {
            match opening::read(&path) {
                Ok(text) => return Ok(Shells { site, text }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let text = BUILT_IN.to_vec();
        Ok(Shells { site, text })
    }

    /// Whether programs and files in this user's lists count: his shell is a valid one. No shell
    /// at all is `/bin/sh`, and a trusted user (class `t`) needs none.
    #[must_use]
    pub fn allow(&self, user: &User) -> bool {
        let shell = user.shell.as_os_str().as_bytes();
        shell.is_empty()
            || self
                .site
                .classes
                .trusted_users
                .contains(user.name.as_bytes())
            || shells(&self.text).any(|valid| valid == shell || valid == ANY)
    }
}

/// The shells of a text. As for getusershell(3), what stands before a line's first slash is
/// passed over, and a blank or `#` ends the path.
fn shells(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| *octet == b'\n').filter_map(|line| {
        let line = line.split(|octet| *octet == b'#').next()?;
        let start = line.iter().position(|octet| *octet == b'/')?;
        line.get(start..)?.split(u8::is_ascii_whitespace).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, shell: &str) -> User {
        User {
            name: name.to_owned(),
            uid: 1000,
            gid: 1000,
            gecos: String::new(),
            home: "/home".into(),
            shell: shell.into(),
        }
    }

    /// Which of these shells are valid on a site whose users stand below its root.
    fn valid(file: Option<&str>, asked: &[&'static str]) -> Vec<&'static str> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        if let Some(text) = file {
            std::fs::write(root.path().join("etc/shells"), text).unwrap();
        }
        let site = Site {
            root: Some(root.path().to_owned()),
            ..Site::default()
        };
        let shells = Shells::of(&site, &Users::parse(b"")).unwrap();
        let asked = asked.iter().copied();
        asked
            .filter(|shell| shells.allow(&user("joe", shell)))
            .collect()
    }

    #[test]
    fn the_file_says_which_shells_are_valid() {
        let asked = [
            "",
            "/bin/bash",
            "/bin/zsh",
            "/bin/ash",
            "/usr/sbin/nologin",
            "bin/x",
        ];
        let text =
            "# /usr/sbin/nologin\n/bin/bash # yes\n  /bin/zsh\nsh: /bin/ash\tx\n\n/bin/false";
        let want = ["", "/bin/bash", "/bin/zsh", "/bin/ash"];
        assert_eq!(valid(Some(text), &asked), want);
        assert_eq!(valid(Some(""), &asked), [""]);
        assert_eq!(valid(Some("/SENDMAIL/ANY/SHELL/\n"), &asked), asked);
    }

    #[test]
    fn without_a_file_there_are_those_of_the_library() {
        let asked = ["", "/bin/sh", "/usr/bin/csh", "/bin/bash", "/bin/false"];
        assert_eq!(valid(None, &asked), ["", "/bin/sh", "/usr/bin/csh"]);
    }

    #[test]
    fn trusted_users_need_no_shell() {
        let mut site = Site::default();
        site.classes.trusted_users.insert(b"uucp");
        let shells = Shells {
            site: &site,
            text: b"/bin/sh\n".to_vec(),
        };
        assert!(shells.allow(&user("uucp", "/usr/sbin/nologin")));
        assert!(!shells.allow(&user("joe", "/usr/sbin/nologin")));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_file_that_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/shells")).unwrap();
        let site = Site {
            root: Some(root.path().to_owned()),
            ..Site::default()
        };
        assert!(Shells::of(&site, &Users::parse(b"")).is_err());
    }
}
