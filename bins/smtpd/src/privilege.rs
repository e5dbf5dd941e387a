//! Rights: listeners that were passed to us, and the user we run as.

use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use libmaps::site::Site;
use libmaps::site::users::Users;

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

/// RunAsUser, where it applies: whom the server becomes, and his groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Becoming {
    user: u32,
    group: u32,
    others: Vec<u32>,
}

impl Becoming {
    /// Whom the site names; nobody without the option, or when not started by root.
    ///
    /// # Errors
    /// When there is no such user.
    #[allow(unsafe_code)] // geteuid(2) has no safe form in std.
    pub fn of(site: &Site) -> Result<Option<Self>, String> {
        // SAFETY: takes nothing, cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        let found = Becoming::named(site)?;
        Ok(found.filter(|becoming| root && becoming.user != 0))
    }

    /// Whom the site names, whoever we are.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn named(site: &Site) -> Result<Option<Self>, String> {
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
            user,
            group,
            others,
        }))
    }

    /// Gives the queue's folder to the user, then becomes him for good.
    ///
    /// # Errors
    /// When the system refuses.
    #[allow(unsafe_code)] // setuid(2) and its like have no safe form in std.
    pub fn become_him(&self, queue: &Path) -> Result<(), String> {
        let failed = |e| format!("{}: {e}", queue.display());
        if let Some(above) = queue.parent() {
            std::fs::create_dir_all(above).map_err(failed)?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(queue) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        give(queue, self.user, self.group).map_err(failed)?;
        // SAFETY: numbers and a slice that lives; the order is groups, group, user, after
        // which nothing can be regained.
        let done = unsafe {
            libc::setgroups(self.others.len(), self.others.as_ptr()) == 0
                && libc::setgid(self.group) == 0
                && libc::setuid(self.user) == 0
        };
        if done {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error().to_string())
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

/// The folder and what lies in it belong to the user.
fn give(folder: &Path, user: u32, group: u32) -> std::io::Result<()> {
    std::os::unix::fs::lchown(folder, Some(user), Some(group))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), user, group)?;
        } else {
            std::os::unix::fs::lchown(entry.path(), Some(user), Some(group))?;
        }
    }
    Ok(())
}

/// `user`, `user:group`, or numbers.
///
/// # Errors
/// When there is no such user or group.
pub fn ids_of(site: &Site, text: &str) -> Result<(u32, u32), String> {
    let (user, group) = match text.split_once([':', '.']) {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let users = Users::of(site).map_err(|e| format!("/etc/passwd: {e}"))?;
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(uid) => (uid, None),
        Err(_) => match users.get(user).map_err(|e| e.to_string())? {
            Some(found) => (found.uid, Some(found.gid)),
            None => return Err(format!("{user}: no such user")),
        },
    };
    let gid = match group {
        Some(text) => match text.parse() {
            Ok(gid) => gid,
            Err(_) => group_of(site, text).ok_or_else(|| format!("{text}: no such group"))?,
        },
        None => own_group.ok_or_else(|| format!("{user}: which group?"))?,
    };
    Ok((uid, gid))
}

fn group_of(site: &Site, name: &str) -> Option<u32> {
    let text = site.read_or_system(Path::new("/etc/group")).ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}
