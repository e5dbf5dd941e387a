//! `:include:` files: lists of addresses outside of the alias file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::trust::{Folders, Standing, Writers, folders_above};
use crate::site::Site;
use crate::store::path::effective_user;
use crate::way::MAX_LINKS;

/// Most octets of an include file.
pub const MAX_INCLUDE_OCTETS: u64 = 64 * 1024 * 1024;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// What is in it.
    pub text: Vec<u8>,
    /// Who may have written it, or put it there.
    pub standing: Standing,
    /// Whose it is.
    pub owner: Owner,
    /// Who may read it.
    pub readers: Readers,
}

impl Include {
    /// Whether a list of this user may include the file: it is his own, or the site's and
    /// for everybody to read.
    pub(super) fn is_open_to(&self, uid: u32) -> bool {
        match self.owner {
            Owner::User(owner) => owner == uid,
            Owner::Site => self.readers == Readers::Everybody,
        }
    }
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Root's, or that of the user as whom this process runs.
    Site,
    /// Another user's, by number: programs and files in it run with his rights.
    User(u32),
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody, and the folders above can be entered by everybody.
    Everybody,
    /// Not everybody.
    Some,
}

/// Who reads include files.
pub trait Includes {
    /// The whole file. The path is as the alias gives it; `list_owner` is the user, by number,
    /// in whose list it stands, where that is a user's.
    ///
    /// # Errors
    /// What the system says; a file that is no regular file, one behind a link that [`find_list`]
    /// does not follow, or one longer than [`MAX_INCLUDE_OCTETS`] is an error too.
    fn read(&self, path: &Path, list_owner: Option<u32>) -> io::Result<Include>;
}

/// Includes below the root folder of a site.
#[derive(Clone, Copy, Debug)]
pub struct SiteIncludes<'a> {
    /// The site.
    pub site: &'a Site,
}

impl Includes for SiteIncludes<'_> {
    fn read(&self, path: &Path, _: Option<u32>) -> io::Result<Include> {
        let path = self.site.below(path);
        let (seen, folders) = find_list(&path, self.site.root.as_deref())?;
        let facts = Facts::of(&seen, folders)?;
        let mut text = Vec::new();
        copy_whole(reopen(&seen)?, &mut text)?;
        Ok(Include::new(text, &facts))
    }
}

/// What decides who may have a file read, and what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The number of the user whose it is.
    pub uid: u32,
    /// Its mode: the bits of chmod(2).
    pub mode: u32,
    /// Who may read it.
    pub readers: Readers,
    /// Who may write to the folders above it.
    pub folders: Writers,
    /// How many names it has.
    pub links: u64,
}

impl Facts {
    /// Those of an open file, or of one that was found, below such folders.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(file: &File, folders: Writers) -> io::Result<Self> {
        let status = file.metadata()?;
        Ok(Facts {
            uid: status.uid(),
            mode: status.mode() & 0o7777,
            readers: match is_readable_by_all(file) {
                true => Readers::Everybody,
                false => Readers::Some,
            },
            folders,
            links: status.nlink(),
        })
    }
}

/// Finds a regular file, and does not open it yet: with some devices that alone does something.
/// A link is not followed.
///
/// # Errors
/// What the system says, and that it is none.
pub fn find_regular(path: &Path) -> io::Result<File> {
    let seen = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)?;
    let status = seen.metadata()?;
    if status.is_symlink() {
        return Err(not_followed());
    }
    if !status.is_file() {
        return Err(io::Error::other("Regular files only"));
    }
    Ok(seen)
}

fn not_followed() -> io::Error {
    io::Error::other("Symbolic links not allowed")
}

/// Finds a list, and who may write to the folders above it and above the links that lead to it.
///
/// A link is followed where nobody but root, this process's user and the owner of the list could
/// have put it there, or another in its place: with the rights of whoever reads the list, a user's
/// link would show him files of others.
///
/// # Errors
/// As [`find_regular`]; `ELOOP` where the links go round.
pub fn find_list(path: &Path, root: Option<&Path>) -> io::Result<(File, Writers)> {
    let mut at = path.to_path_buf();
    let mut above: Option<Folders> = None;
    for links in 0..=MAX_LINKS {
        let folders = folders_above(&at, root)?;
        match &mut above {
            Some(above) => above.and(folders),
            None => above = Some(folders),
        }
        if std::fs::symlink_metadata(&at)?.is_symlink() {
            let link = std::fs::read_link(&at)?;
            at.pop();
            at.push(link);
            continue;
        }
        let seen = find_regular(&at)?;
        let Some(above) = above else { break };
        let trusted = [0, effective_user(), seen.metadata()?.uid()];
        let only_they = above.owners.iter().all(|owner| trusted.contains(owner));
        return match links == 0 || (only_they && above.writers == Writers::Owner) {
            true => Ok((seen, above.writers)),
            false => Err(not_followed()),
        };
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Opens for reading what [`find_regular`] found: the same file, whatever the path leads to by now.
///
/// # Errors
/// What the system says.
pub fn reopen(seen: &File) -> io::Result<File> {
    let link = link_of(seen);
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&link);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(io::ErrorKind::WouldBlock, "/proc is not mounted")
        }
        _ => error,
    })
}

/// Where the system says what this file is.
fn link_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Copies a file of a size that a list may have.
///
/// # Errors
/// What the system says; a file that is longer is an error too.
pub fn copy_whole(file: File, to: &mut impl Write) -> io::Result<()> {
    let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
    if file.metadata()?.len() > MAX_INCLUDE_OCTETS {
        return Err(too_large());
    }
    match io::copy(&mut file.take(MAX_INCLUDE_OCTETS + 1), to)? {
        octets if octets > MAX_INCLUDE_OCTETS => Err(too_large()),
        _ => Ok(()),
    }
}

impl Include {
    /// A file of this text.
    #[must_use]
    pub fn new(text: Vec<u8>, facts: &Facts) -> Self {
        Include {
            text,
            standing: Standing {
                file: Writers::of_file(facts.mode),
                folders: facts.folders,
                links: facts.links,
            },
            owner: match facts.uid {
                uid if uid == 0 || uid == effective_user() => Owner::Site,
                uid => Owner::User(uid),
            },
            readers: facts.readers,
        }
    }
}

/// Whether everybody may read this file, and gets to it through the folders above the place
/// where it is now.
fn is_readable_by_all(file: &File) -> bool {
    let open = file
        .metadata()
        .is_ok_and(|status| status.mode() & 0o004 != 0);
    let place = std::fs::read_link(link_of(file));
    open && place.is_ok_and(|place| who_enters(&place) == Readers::Everybody)
}

/// Who gets to a file through the folders above it.
fn who_enters(path: &Path) -> Readers {
    let open = |folder: &Path| {
        let found = std::fs::metadata(folder);
        found.is_ok_and(|folder| folder.mode() & 0o001 != 0)
    };
    match std::fs::canonicalize(path) {
        Ok(path) if path.ancestors().skip(1).all(open) => Readers::Everybody,
        _ => Readers::Some,
    }
}

/// The lines of a file that hold addresses, each with its number.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|octet| *octet == b'\n')
        .enumerate()
        .map(|(at, line)| (at + 1, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.starts_with(b"#"))
        .map(|(number, line)| (number, without_comment(line)))
        .filter(|(_, line)| !line.is_empty())
}

/// ` #@# ` starts a comment anywhere: `#` alone may be part of a name in some encodings.
fn without_comment(line: &[u8]) -> &[u8] {
    let blank = |at: Option<usize>| {
        at.and_then(|at| line.get(at))
            .is_some_and(u8::is_ascii_whitespace)
    };
    let start = line.windows(3).enumerate().find_map(|(at, mark)| {
        let ends = line.len() == at + 3 || blank(Some(at + 3));
        (mark == b"#@#" && blank(at.checked_sub(1)) && ends).then_some(at)
    });
    match start {
        Some(at) => line.get(..at).unwrap_or_default().trim_ascii_end(),
        None => line,
    }
}

/// Whether the same may go well later, so that nobody's mail comes back for it: the errors
/// of sendmail's transienterror(), and whatever says that nobody can tell now.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::WouldBlock,
        io::ErrorKind::TimedOut,
        io::ErrorKind::Interrupted,
        io::ErrorKind::OutOfMemory,
    ];
    let numbers = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::EIO,
        libc::ESTALE,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ECONNREFUSED,
        libc::ENOSPC,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|n| numbers.contains(&n))
}

/// As sendmail words the errors of the system.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn read(dir: &Path, name: &str) -> Result<Include, String> {
        let site = Site {
            root: Some(dir.to_owned()),
            ..Site::default()
        };
        let includes = SiteIncludes { site: &site };
        includes.read(Path::new(name), None).map_err(|e| words(&e))
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("list"), "joe\n").unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert_eq!(read(dir.path(), "/list").unwrap().text, b"joe\n");
        for (name, why) in [
            ("/folder", "Regular files only"),
            ("/none", "No such file or directory"),
        ] {
            assert_eq!(read(dir.path(), name).unwrap_err(), why, "{name}");
        }
    }

    #[test]
    fn a_link_is_followed_where_others_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = |name: &str, mode| {
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        std::fs::create_dir_all(at("lists/real")).unwrap();
        std::fs::create_dir(at("open")).unwrap();
        mode("lists", 0o755);
        mode("lists/real", 0o755);
        for name in ["lists/real/list", "open/list"] {
            std::fs::write(at(name), "joe\n").unwrap();
            mode(name, 0o644);
        }
        for (link, target) in [
            ("lists/link", "real/list"),
            ("lists/twice", "./link"),
            ("lists/up", "real/../real/list"),
            ("lists/round", "round"),
            ("lists/none", "nowhere"),
            ("lists/folder", "real"),
            ("lists/out", "../open/list"),
            ("open/link", "../lists/real/list"),
            ("lists/by", "../open/link"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let mut expected = vec![
            ("/lists/link", "joe\n"),
            ("/lists/twice", "joe\n"),
            ("/lists/up", "joe\n"),
            ("/lists/folder/list", "joe\n"),
            ("/lists/round", "Too many levels of symbolic links"),
            ("/lists/none", "No such file or directory"),
            ("/lists/folder", "Regular files only"),
        ];
        let said = |name: &str| match read(dir.path(), name) {
            Ok(include) => String::from_utf8(include.text).unwrap(),
            Err(why) => why,
        };
        for folder_mode in [0o755, 0o775, 0o777, 0o1777] {
            mode("open", folder_mode);
            let want = match folder_mode {
                0o755 => "joe\n",
                _ => "Symbolic links not allowed",
            };
            let by_open = ["/lists/out", "/open/link", "/lists/by"];
            expected.truncate(7);
            expected.extend(by_open.map(|name| (name, want)));
            for (name, want) in &expected {
                assert_eq!(said(name), *want, "{name} {folder_mode:o}");
            }
        }
        // A stranger's folder, where he may put a link to what only root reads.
        if effective_user() != 0 {
            return;
        }
        mode("open", 0o755);
        std::os::unix::fs::chown(at("open"), Some(12_345), None).unwrap();
        for name in ["/lists/out", "/open/link", "/lists/by"] {
            assert_eq!(said(name), "Symbolic links not allowed", "{name}");
        }
        // To his own file it may be his.
        std::os::unix::fs::chown(at("open/list"), Some(12_345), None).unwrap();
        assert_eq!(said("/lists/out"), "joe\n");
    }

    #[test]
    fn who_may_read_is_asked_of_the_file_that_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str, mode| {
            let mode = PermissionsExt::from_mode(mode);
            std::fs::set_permissions(dir.path().join(name), mode).unwrap();
        };
        mode(".", 0o755);
        for folder in ["shut", "open"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("list"), "joe\n").unwrap();
            mode(&format!("{folder}/list"), 0o644);
        }
        mode("shut", 0o700);
        mode("open", 0o755);
        symlink("shut", dir.path().join("way")).unwrap();
        let file = find_regular(&dir.path().join("way/list")).unwrap();
        std::fs::remove_file(dir.path().join("way")).unwrap();
        symlink("open", dir.path().join("way")).unwrap();
        assert!(!is_readable_by_all(&file));
        let file = find_regular(&dir.path().join("way/list")).unwrap();
        assert!(is_readable_by_all(&file));
        mode("open/list", 0o640);
        assert!(!is_readable_by_all(&file));
    }

    #[test]
    fn a_device_is_not_so_much_as_opened() {
        for path in ["/dev/null", "/dev/ptmx", "/proc"] {
            let error = find_regular(Path::new(path)).unwrap_err();
            assert_eq!(words(&error), "Regular files only", "{path}");
        }
    }

    #[test]
    fn a_fifo_does_not_hold_us_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert_eq!(read(dir.path(), "/fifo").unwrap_err(), "Regular files only");
    }

    #[test]
    fn others_who_may_write_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, "joe\n").unwrap();
        for (mode, want) in [
            (0o644, Writers::Owner),
            (0o664, Writers::Group),
            (0o646, Writers::Everybody),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let standing = read(dir.path(), "/list").unwrap().standing;
            assert_eq!(standing.file, want, "{mode:o}");
        }
        std::fs::create_dir(dir.path().join("open")).unwrap();
        std::fs::set_permissions(dir.path().join("open"), PermissionsExt::from_mode(0o777))
            .unwrap();
        std::fs::hard_link(&path, dir.path().join("open/list")).unwrap();
        let standing = read(dir.path(), "/open/list").unwrap().standing;
        assert_eq!((standing.folders, standing.links), (Writers::Everybody, 2));
    }

    #[test]
    fn comments_are_left_out() {
        let text = b"# no\nroot\r\n\njoe #@# yes\na#@# b\n";
        let all: Vec<_> = lines(text).collect();
        assert_eq!(all, [(2, &b"root"[..]), (4, b"joe"), (5, b"a#@# b")]);
    }
}
