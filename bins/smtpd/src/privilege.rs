//! Rights: listeners that were passed to us, and the user we run as.

pub(crate) mod hand_over;

use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use libmaps::site::Site;
pub use libmaps::site::ids::{default_user_of, ids_of};
use libmaps::site::users::Users;

use crate::server::Confinement;

use hand_over::Heir;

/// The first descriptor that a service manager passes (sd_listen_fds(3)).
const FIRST_PASSED: i32 = 3;
/// More are not taken.
const MAX_PASSED: i32 = 64;

/// The listeners that a service manager passed to this process. Descriptors that are none
/// are left alone, and no program that the server starts inherits any.
#[allow(unsafe_code)] // A descriptor's number is all that the protocol gives.
#[must_use]
pub fn passed_listeners() -> Vec<TcpListener> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MAX_PASSED);
    (FIRST_PASSED..FIRST_PASSED + count)
        .filter(|fd| is_listener(*fd))
        // SAFETY: the manager gives these descriptors to this process, and nobody
        // else in it has taken them: this is called once, before any file is opened.
        .map(|fd| unsafe { TcpListener::from_raw_fd(fd) })
        .collect()
}

/// Raises the limit of open files as far as this process may, and says how far that is.
#[must_use]
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused, what was there stays.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether a descriptor is a socket that listens; it is then closed on exec.
#[allow(unsafe_code)]
fn is_listener(fd: i32) -> bool {
    let (mut listens, mut size) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: asks about a number, which need not be open; the places for the answer are ours.
    unsafe {
        let asked = libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &raw mut size,
        );
        asked == 0 && listens == 1 && libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) == 0
    }
}

/// Whom a server that root starts becomes where the site names nobody: the first that the
/// machine has. smmta is Debian's user for just this, smmsp everybody's for the drop folder;
/// nobody may be others, too. `mail` is none of them, as its group writes mailboxes.
const CANDIDATES: [&str; 3] = ["smmta", "smmsp", NOBODY];
const NOBODY: &str = "nobody";
/// Whom the kernel itself means by nobody, where the machine has no such entry.
const OVERFLOW_ID: u32 = 65_534;

/// Whom the server becomes, and his groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Becoming {
    name: String,
    choice: Choice,
    user: u32,
    group: u32,
    others: Vec<u32>,
}

/// Who chose the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// RunAsUser.
    Site,
    /// We did.
    Ours,
}

/// What a user is to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// It is his.
    Owner,
    /// It is of a group of his.
    Group,
    /// Neither.
    Other,
}

impl Becoming {
    /// Whom the server becomes: RunAsUser; without it an ordinary user if it is confined.
    /// Nobody where it was not started by root, or RunAsUser is root.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn of(site: &Site, confinement: Confinement) -> Result<Option<Self>, String> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        Becoming::by_root(site, confinement)
    }

    /// Whom the site names, whoever we are.
    ///
    /// # Errors
    /// When there is no such user.
    fn named(site: &Site) -> Result<Option<Self>, String> {
        let wanted = site.options.files.run_as_user.trim();
        if wanted.is_empty() {
            return Ok(None);
        }
        let (user, group) = ids_of(site, wanted)?;
        let name = wanted.split([':', '.']).next().unwrap_or(wanted);
        // A group that is named is the only one, as with sendmail.
        let others = match wanted == name {
            true => groups_of(site, name),
            false => Vec::new(),
        };
        Ok(Some(Becoming {
            name: name.into(),
            choice: Choice::Site,
            user,
            group,
            others,
        }))
    }

    /// Whom the server becomes where the site names nobody, whoever we are: not one as whom
    /// programs of aliases run, as long as there is another.
    ///
    /// # Errors
    /// When the users can't be read.
    fn by_default(site: &Site) -> Result<Self, String> {
        let users = Users::of(site).map_err(|e| format!("/etc/passwd: {e}"))?;
        let default_user = default_user_of(site).ok();
        let mut last = None;
        // The site's own users, then the machine's.
        let all = [&users, &Users::System].into_iter();
        for (users, name) in all.flat_map(|users| CANDIDATES.map(|name| (users, name))) {
            let found = users.get(name).map_err(|e| format!("{name}: {e}"))?;
            let Some(user) = found else {
                continue;
            };
            if user.uid == 0 {
                continue;
            }
            let shared = default_user.is_some_and(|(uid, _)| uid == user.uid);
            last = Some(user);
            if !shared {
                break;
            }
        }
        let (user, group, name) = last.map_or_else(
            || (OVERFLOW_ID, OVERFLOW_ID, NOBODY.to_owned()),
            |user| (user.uid, user.gid, user.name),
        );
        Ok(Becoming {
            choice: Choice::Ours,
            user,
            group,
            others: groups_of(site, &name),
            name,
        })
    }

    /// What `smtpd check` says: whom a server of this site becomes if root starts it.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn described(site: &Site) -> Result<String, String> {
        Ok(match Becoming::named(site)? {
            Some(named) => named.to_string(),
            None => {
                let ours = Becoming::by_default(site)?;
                format!("{ours} ({}, if root starts it)", ours.name)
            }
        })
    }

    /// What an administrator should know of the choice.
    #[must_use]
    pub fn warning(&self, site: &Site) -> Option<String> {
        let default_user = default_user_of(site).ok();
        let name = &self.name;
        if default_user.is_some_and(|(uid, _)| uid == self.user) {
            return Some(format!(
                "the server runs as {name}, and so do programs of aliases (DefaultUser): they can read the queue"
            ));
        }
        (self.choice == Choice::Ours && name == NOBODY).then(|| {
            "there is no user smmta or smmsp: the server runs as nobody, who may be others too; \
             make smmsp (useradd -r smmsp), or set RunAsUser"
                .to_owned()
        })
    }

    /// Whom a server of this site becomes that root starts, whoever we are. Nobody where it
    /// stays root.
    ///
    /// # Errors
    /// When there is no such user.
    pub(crate) fn by_root(site: &Site, confinement: Confinement) -> Result<Option<Self>, String> {
        let found = match (Becoming::named(site)?, confinement) {
            (None, Confinement::Confined) => Some(Becoming::by_default(site)?),
            (named, _) => named,
        };
        Ok(found.filter(|becoming| becoming.user != 0))
    }

    /// The user's name, or his number where the site gives that.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Which part of a file's mode counts for him.
    pub(crate) fn member_of(&self, owner: u32, group: u32) -> Member {
        match () {
            () if owner == self.user => Member::Owner,
            () if group == self.group || self.others.contains(&group) => Member::Group,
            () => Member::Other,
        }
    }

    /// To whom files of the server are given.
    pub(crate) fn heir(&self) -> Heir {
        Heir {
            uid: self.user,
            gid: self.group,
        }
    }

    /// Whether we chose the user: then what he needs is arranged, too.
    pub(crate) fn is_ours(&self) -> bool {
        self.choice == Choice::Ours
    }

    /// Where we chose the user he gets the group of the drop folder, to take what is dropped.
    pub(crate) fn join(&mut self, drop_folder: &Path) {
        let group = std::fs::metadata(drop_folder).map(|m| MetadataExt::gid(&m));
        if let (true, Ok(group)) = (self.is_ours(), group)
            && group != 0
            && group != self.group
            && !self.others.contains(&group)
        {
            self.others.push(group);
        }
    }

    /// Gives the queue's folder to the user, then becomes him for good.
    ///
    /// # Errors
    /// When the system refuses.
    #[allow(unsafe_code)] // setuid(2) and its like have no safe form in std.
    pub(crate) fn become_him(&self, queue: &Path) -> Result<(), String> {
        let failed = |e| format!("{}: {e}", queue.display());
        if let Some(above) = queue.parent() {
            std::fs::create_dir_all(above).map_err(failed)?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(queue) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        hand_over::queue(queue, self.heir()).map_err(failed)?;
        // SAFETY: numbers and a slice that lives; the order is groups, group, user, after
        // which nothing can be regained.
        let done = unsafe {
            libc::setgroups(self.others.len(), self.others.as_ptr()) == 0
                && libc::setgid(self.group) == 0
                && libc::setuid(self.user) == 0
        };
        if !done {
            return Err(std::io::Error::last_os_error().to_string());
        }
        match std::fs::read_dir(queue) {
            Ok(_) => Ok(()),
            Err(e) => Err(format!(
                "{}: {e}: {} can't get there through the folders above",
                queue.display(),
                self.name
            )),
        }
    }
}

impl std::fmt::Display for Becoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "uid={} gid={}", self.user, self.group)?;
        if !self.others.is_empty() {
            write!(f, " groups={:?}", self.others)?;
        }
        Ok(())
    }
}

/// The groups that list a user as their member: so he may read sasldb2 as a member of sasl.
fn groups_of(site: &Site, name: &str) -> Vec<u32> {
    let text = site
        .read_or_system(Path::new("/etc/group"))
        .unwrap_or_default();
    let member = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let group = fields.next()?.parse().ok()?;
        fields
            .next()?
            .split(',')
            .any(|m| m == name)
            .then_some(group)
    };
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(member)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_that_is_nobodys_own_is_warned_of() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let users = "mail:x:8:8::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n\
                     smmsp:x:50:50::/:/bin/false\n";
        std::fs::write(root.path().join("etc/passwd"), users).unwrap();
        let mut site = Site {
            root: Some(root.path().into()),
            ..Site::default()
        };
        site.options.files.default_user = "mail:mail".into();
        let becoming = |name: &str, choice, user| Becoming {
            name: name.into(),
            choice,
            user,
            group: user,
            others: Vec::new(),
        };
        let warning = |becoming: Becoming, want: &str| {
            let said = becoming.warning(&site).unwrap_or_default();
            assert!(
                said.contains(want) && said.is_empty() == want.is_empty(),
                "{said}"
            );
        };
        warning(becoming("smmsp", Choice::Ours, 50), "");
        warning(becoming("nobody", Choice::Ours, 65_534), "make smmsp");
        warning(becoming("nobody", Choice::Site, 65_534), "");
        warning(becoming("mail", Choice::Site, 8), "programs of aliases");
    }
}
