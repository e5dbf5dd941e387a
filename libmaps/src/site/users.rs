//! Local users.

mod listing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

pub use self::listing::Listing;
use crate::opening::{self, Seen};
use crate::site::model::{Site, below};

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Full name and more.
    pub gecos: String,
    /// Home folder, as written.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

/// Who has a mailbox here.
#[derive(Clone, Debug)]
pub enum Users {
    /// The users of a text that was read.
    Listed(Arc<Listing>),
    /// The users of a passwd file, which is read anew when it has changed.
    File(Arc<PasswdFile>),
    /// Whomever the system's name services know.
    System,
    /// The same, with those of the passwd file as they were at one moment.
    SystemThen(Arc<Listing>),
}

impl Users {
    /// Reads the text of a passwd file; of a name that stands there twice the first line counts.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        Users::Listed(Arc::new(Listing::read(text)))
    }

    /// The users of a site: those of `/etc/passwd` below its root where that stands there, else the system's.
    pub fn of(site: &Site) -> io::Result<Self> {
        Users::below(site.root.as_deref())
    }

    /// As [`Users::of`], of a site with this root.
    ///
    /// # Errors
    /// The passwd file there can't be read.
    pub fn below(root: Option<&Path>) -> io::Result<Self> {
        if root.is_none() {
            return Ok(Users::System);
        }
        match PasswdFile::open(below(root, Path::new("/etc/passwd"))) {
            Ok(file) => Ok(Users::File(Arc::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Users::System),
            Err(error) => Err(error),
        }
    }

    /// The users of this moment, for questions that belong together: whether a passwd file has
    /// changed is looked for here, and not at each of them.
    #[must_use]
    pub fn now(&self) -> Users {
        match self {
            Users::File(file) => file.users().map_or_else(|_| self.clone(), Users::Listed),
            Users::System => users_of_system_file().map_or(Users::System, Users::SystemThen),
            Users::Listed(_) | Users::SystemThen(_) => self.clone(),
        }
    }

    /// The user of exactly this name. `Err` means that nobody can tell.
    pub fn get(&self, name: &str) -> io::Result<Option<User>> {
        match self {
            Users::Listed(users) => Ok(users.get(name).cloned()),
            Users::File(file) => Ok(file.users()?.get(name).cloned()),
            Users::System | Users::SystemThen(_) => system_user(name),
        }
    }

    /// A user of this number. `Err` means that nobody can tell. Of several in a passwd file that share
    /// a number it is the first by name.
    pub fn by_uid(&self, uid: u32) -> io::Result<Option<User>> {
        match self {
            Users::Listed(users) => Ok(first_of(users, uid)),
            Users::File(file) => Ok(first_of(&*file.users()?, uid)),
            Users::System | Users::SystemThen(_) => system_entry(|entry, buffer, octets, found| {
                // SAFETY: the pointers outlive the call, and the buffer's length is passed.
                #[allow(unsafe_code)]
                unsafe {
                    libc::getpwuid_r(uid, entry, buffer, octets, found)
                }
            }),
        }
    }

    /// All that are known to have this number: of several the name services may name only one.
    ///
    /// # Errors
    /// As [`by_uid`](Self::by_uid).
    pub fn all_of(&self, uid: u32) -> io::Result<Vec<User>> {
        let of = |users: &Listing| -> Vec<User> {
            let same = users.all().filter(|user| user.uid == uid);
            same.cloned().collect()
        };
        Ok(match self {
            Users::Listed(users) => of(users),
            Users::File(file) => of(&*file.users()?),
            Users::System | Users::SystemThen(_) => {
                let mut all = users_of_system_file().map_or_else(Vec::new, |users| of(&users));
                all.extend(self.by_uid(uid)?);
                all
            }
        })
    }

    /// Whether they are the system's, and not those of a site of its own.
    pub(crate) fn are_the_systems(&self) -> bool {
        matches!(self, Users::System | Users::SystemThen(_))
    }

    /// The login name of the first user of this full name, in letters of whatever case. Of the system's users only those
    /// of the passwd file count: name services know no full names.
    ///
    /// # Errors
    /// Nobody can tell.
    pub(crate) fn by_full_name(&self, name: &str) -> io::Result<Option<String>> {
        let of = |users: &Listing| users.by_full_name(name).map(str::to_owned);
        Ok(match self {
            Users::Listed(users) | Users::SystemThen(users) => of(users),
            Users::File(file) => of(&*file.users()?),
            Users::System => users_of_system_file().and_then(|users| of(&users)),
        })
    }

    /// Whether there is such a user. `Err` means that nobody can tell.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        match self {
            Users::Listed(users) => Ok(users.get(name).is_some()),
            Users::File(file) => Ok(file.users()?.get(name).is_some()),
            // A name that the file has needs no other service, and most names are there.
            Users::SystemThen(users) if users.get(name).is_some() => Ok(true),
            Users::SystemThen(_) => Ok(system_user(name)?.is_some()),
            Users::System => match self.now() {
                now @ Users::SystemThen(_) => now.has(name),
                _ => Ok(system_user(name)?.is_some()),
            },
        }
    }
}

/// The users of the system's passwd file, where the name services ask that file: they exist,
/// whatever other services say.
fn users_of_system_file() -> Option<Arc<Listing>> {
    static SERVICES: LazyLock<Option<Watched<bool>>> =
        LazyLock::new(|| Watched::open("/etc/nsswitch.conf".into(), asks_file).ok());
    static USERS: LazyLock<Option<PasswdFile>> =
        LazyLock::new(|| PasswdFile::open("/etc/passwd".into()).ok());
    let (Some(services), Some(users)) = (&*SERVICES, &*USERS) else {
        return None;
    };
    let asks = services.now().is_ok_and(|asks| *asks);
    asks.then(|| users.users().ok()).flatten()
}

/// Whether nsswitch.conf(5) has `files` asked for users, and nothing done but to ask on.
fn asks_file(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("passwd:"));
    let line = line
        .and_then(|line| line.split('#').next())
        .unwrap_or_default();
    !line.contains('[') && line.split_whitespace().any(|word| word == "files")
}

/// A passwd file and what it said when it was read last.
#[derive(Debug)]
pub struct PasswdFile(Watched<Listing>);

/// A file, read anew when it has changed.
#[derive(Debug)]
struct Watched<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> T,
    read: Mutex<(Seen, Arc<T>)>,
}

impl PasswdFile {
    /// Reads the file.
    fn open(path: PathBuf) -> io::Result<Self> {
        Watched::open(path, Listing::read).map(PasswdFile)
    }

    /// The users as they are now. A file that has gone is an error, never "no such user".
    fn users(&self) -> io::Result<Arc<Listing>> {
        self.0.now()
    }
}

impl<T> Watched<T> {
    fn open(path: PathBuf, parse: fn(&[u8]) -> T) -> io::Result<Self> {
        let seen = Seen::of(&path)?;
        let read = Arc::new(parse(&opening::read(&path)?));
        Ok(Watched {
            path,
            parse,
            read: Mutex::new((seen, read)),
        })
    }

    /// What it says now.
    fn now(&self) -> io::Result<Arc<T>> {
        let seen = Seen::of(&self.path)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != seen {
            *read = (seen, Arc::new((self.parse)(&opening::read(&self.path)?)));
        }
        Ok(Arc::clone(&read.1))
    }
}

fn first_of(users: &Listing, uid: u32) -> Option<User> {
    let same = users.all().filter(|user| user.uid == uid);
    same.min_by(|a, b| a.name.cmp(&b.name)).cloned()
}

/// Asks the system's name services for a name.
fn system_user(name: &str) -> io::Result<Option<User>> {
    let Ok(wanted) = std::ffi::CString::new(name) else {
        return Ok(None);
    };
    system_entry(|entry, buffer, octets, found| {
        // SAFETY: the pointers outlive the call, and the buffer's length is passed.
        #[allow(unsafe_code)]
        unsafe {
            libc::getpwnam_r(wanted.as_ptr(), entry, buffer, octets, found)
        }
    })
}

/// An entry of the system's users, as `ask` (getpwnam_r or getpwuid_r, the one way to them) finds it.
fn system_entry(
    ask: impl FnOnce(
        *mut libc::passwd,
        *mut libc::c_char,
        libc::size_t,
        *mut *mut libc::passwd,
    ) -> libc::c_int,
) -> io::Result<Option<User>> {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt;

    // Entries larger than this are not users one delivers to.
    let mut buffer: Vec<libc::c_char> = Vec::with_capacity(64 * 1024);
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut found: *mut libc::passwd = std::ptr::null_mut();
    let code = ask(
        entry.as_mut_ptr(),
        buffer.as_mut_ptr(),
        buffer.capacity(),
        &raw mut found,
    );
    if found.is_null() {
        return match code {
            0 | libc::ENOENT | libc::ESRCH => Ok(None),
            code => Err(io::Error::from_raw_os_error(code)),
        };
    }
    // A non-null result says that the entry is filled and its strings are NUL-terminated inside `buffer`.
    #[allow(unsafe_code)]
    let (entry, text) = unsafe {
        let entry = entry.assume_init();
        let text = |p: *const libc::c_char| {
            if p.is_null() {
                Vec::new()
            } else {
                CStr::from_ptr(p).to_bytes().to_vec()
            }
        };
        (
            entry,
            [
                text(entry.pw_name),
                text(entry.pw_gecos),
                text(entry.pw_dir),
                text(entry.pw_shell),
            ],
        )
    };
    let [name, gecos, home, shell] = text;
    Ok(Some(User {
        name: String::from_utf8_lossy(&name).into_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        gecos: String::from_utf8_lossy(&gecos).into_owned(),
        home: OsStr::from_bytes(&home).into(),
        shell: OsStr::from_bytes(&shell).into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines_are_read_and_others_passed_over() {
        let users = Users::parse(
            b"root:x:0:0:root:/root:/bin/sh\n# comment\njoe:x:1000:1001:Joe,,,:/home/joe:\njoe:x:5:5::/:/x\nbroken:x\nbad:x:no:1::/:\n",
        );
        let joe = users.get("joe").unwrap().unwrap();
        assert_eq!(
            (joe.uid, joe.gid, joe.gecos.as_str()),
            (1000, 1001, "Joe,,,")
        );
        assert_eq!(joe.home, Path::new("/home/joe"));
        assert!(users.has("root").unwrap());
        assert_eq!(
            users.by_uid(1000).unwrap().map(|u| u.name),
            Some("joe".to_owned())
        );
        assert_eq!(users.by_uid(5).unwrap(), None);
        for absent in ["broken", "bad", "JOE", "", "# comment"] {
            assert!(!users.has(absent).unwrap(), "{absent}");
        }
    }

    #[test]
    fn services_that_ask_the_file() {
        for (text, wanted) in [
            ("group: x\npasswd:         files systemd\n", true),
            (" passwd: sss files # all\n", true),
            ("passwd: sss [SUCCESS=return] files\n", false),
            ("passwd: ldap # files\n", false),
            ("passwd: compat\n", false),
            ("# passwd: files\n", false),
        ] {
            assert_eq!(asks_file(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn the_system_knows_root_and_not_nonsense() {
        assert!(Users::System.has("root").unwrap());
        assert!(!Users::System.has("no-such-user-here").unwrap());
        assert_eq!(Users::System.get("root").unwrap().map(|u| u.uid), Some(0));
        assert_eq!(Users::System.get("no-such-user-here").unwrap(), None);
        assert_eq!(Users::System.get("with\0nul").unwrap(), None);
        let root = Users::System.by_uid(0).unwrap();
        assert_eq!(root.map(|u| u.home), Some("/root".into()));
        assert_eq!(Users::System.by_uid(4_294_967_000).unwrap(), None);
    }
}
