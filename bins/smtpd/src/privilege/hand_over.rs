//! Giving what was root's to the user that the server becomes.
//!
//! A queue that an older version, or a run as root, has left is root's. Root hands over only
//! what is known to be the server's by its name, and never by a path: each file is found
//! without following links, judged, and given by the descriptor that was judged, so that
//! nobody who could write there before has another user's file given to him.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat, statat,
};
use rustix::io::Errno;

use crate::drop::is_dropped;

/// The queue's own files, and its folders, in which all files are its own.
const FILES: [&str; 2] = ["lock", "queue.redb"];
const FOLDERS: [&str; 3] = ["journal", "large", "incoming"];
/// The mode with which a drop folder is made.
pub(crate) const DROP_FOLDER_MODE: u32 = 0o770;

/// To whom it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heir {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Gives a queue's folder and what is the server's in it: what belongs to root, or to whom the
/// folder belonged.
///
/// # Errors
/// When the system refuses, or a file has a second name or another owner.
pub(crate) fn queue(folder: &Path, heir: Heir) -> io::Result<()> {
    let top = openat(CWD, folder, folder_flags(), Mode::empty())?;
    let testator = fstat(&top)?.st_uid;
    for name in FILES {
        give_file(top.as_fd(), name.as_bytes(), testator, heir)?;
    }
    for name in FOLDERS {
        let flags = folder_flags() | OFlags::NOFOLLOW;
        let below = match openat(&top, name, flags, Mode::empty()) {
            Ok(below) => below,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(at(name.as_bytes(), error.into())),
        };
        for entry in Dir::read_from(&below)? {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(b".") {
                continue;
            }
            give_file(below.as_fd(), entry.file_name().to_bytes(), testator, heir)?;
        }
        give(&below, fstat(&below)?.st_uid, heir)?;
    }
    give(&top, testator, heir)
}

/// Whether a drop folder was made where there was nobody to give it to.
pub(crate) fn is_to_be_given(owner: (u32, u32), mode: u32) -> bool {
    owner == (0, 0) && mode & 0o7777 == DROP_FOLDER_MODE
}

/// Gives a drop folder that was made where there was nobody to give it to: root's, of root's
/// group, and closed to all others. Whose the files in it are says who sent them, so of those
/// only the group is changed.
///
/// # Errors
/// When the system refuses.
pub(crate) fn drop_folder(folder: &Path, heir: Heir) -> io::Result<()> {
    let top = openat(CWD, folder, folder_flags(), Mode::empty())?;
    let stat = fstat(&top)?;
    if !is_to_be_given((stat.st_uid, stat.st_gid), stat.st_mode) {
        return Ok(());
    }
    for entry in Dir::read_from(&top)? {
        let entry = entry?;
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        if !is_dropped(name) {
            continue;
        }
        let Some((file, stat)) = find(top.as_fd(), entry.file_name().to_bytes())? else {
            continue;
        };
        if is_plain(&stat) && stat.st_gid == 0 {
            chown(&file, None, Some(heir.gid))?;
        }
    }
    chown(&top, Some(heir.uid), Some(heir.gid))
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn give_file(
    folder: std::os::fd::BorrowedFd<'_>,
    name: &[u8],
    testator: u32,
    heir: Heir,
) -> io::Result<()> {
    let given = || -> io::Result<()> {
        // Most starts have nothing to give.
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_uid == heir.uid => return Ok(()),
            Err(Errno::NOENT) => return Ok(()),
            _ => {}
        }
        let Some((file, stat)) = find(folder, name)? else {
            return Ok(());
        };
        match stat.st_uid {
            owner if owner == heir.uid => Ok(()),
            owner if owner != 0 && owner != testator => {
                Err(io::Error::other(format!("it belongs to user {owner}")))
            }
            _ if !is_plain(&stat) => Err(io::Error::other("not a regular file of one name")),
            owner => give(&file, owner, heir),
        }
    };
    given().map_err(|error| at(name, error))
}

/// What is there, found without following a link or opening it.
fn find(folder: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => {
            let stat = fstat(&file)?;
            Ok(Some((file, stat)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_plain(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
}

fn give(file: &OwnedFd, owner: u32, heir: Heir) -> io::Result<()> {
    match owner == heir.uid {
        true => Ok(()),
        false => chown(file, Some(heir.uid), Some(heir.gid)),
    }
}

fn chown(file: &OwnedFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    Ok(chownat(file, "", uid, gid, AtFlags::EMPTY_PATH)?)
}

fn at(name: &[u8], error: io::Error) -> io::Error {
    let name = String::from_utf8_lossy(name);
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const HEIR: Heir = Heir {
        uid: 54_321,
        gid: 54_322,
    };

    fn owner(path: &Path) -> (u32, u32) {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    }

    /// A queue of root's; `None`, with a word about it, where we are not root.
    fn queue_of_root() -> Option<tempfile::TempDir> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root gives files away");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for folder in FOLDERS {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for file in ["lock", "queue.redb", "journal/1", "large/ID", "qfOLD"] {
            fs::write(dir.path().join(file), "x").unwrap();
        }
        Some(dir)
    }

    #[test]
    fn the_queues_own_files_are_given_and_no_others() {
        let Some(dir) = queue_of_root() else { return };
        queue(dir.path(), HEIR).unwrap();
        let names = ["", "lock", "queue.redb", "journal", "journal/1", "large/ID"];
        for name in names {
            assert_eq!(
                owner(&dir.path().join(name)),
                (HEIR.uid, HEIR.gid),
                "{name}"
            );
        }
        // sendmail's own.
        assert_eq!(owner(&dir.path().join("qfOLD")).0, 0);
        // Once more: nothing is to be given.
        queue(dir.path(), HEIR).unwrap();
    }

    #[test]
    fn links_and_strangers_files_are_not_given() {
        let Some(dir) = queue_of_root() else { return };
        let secret = dir.path().join("secret");
        fs::write(&secret, "root's").unwrap();
        let lock = dir.path().join("lock");
        fs::remove_file(&lock).unwrap();
        fs::hard_link(&secret, &lock).unwrap();
        let said = queue(dir.path(), HEIR).unwrap_err().to_string();
        assert_eq!(said, "lock: not a regular file of one name");
        fs::remove_file(&lock).unwrap();
        symlink(&secret, &lock).unwrap();
        let said = queue(dir.path(), HEIR).unwrap_err().to_string();
        assert_eq!(said, "lock: not a regular file of one name");
        fs::remove_file(&lock).unwrap();
        let theirs = dir.path().join("journal/2");
        fs::write(&theirs, "theirs").unwrap();
        std::os::unix::fs::chown(&theirs, Some(54_399), None).unwrap();
        let said = queue(dir.path(), HEIR).unwrap_err().to_string();
        assert_eq!(said, "2: it belongs to user 54399");
        fs::remove_file(&theirs).unwrap();
        fs::rename(dir.path().join("journal"), dir.path().join("moved")).unwrap();
        symlink("/etc", dir.path().join("journal")).unwrap();
        assert!(queue(dir.path(), HEIR).is_err());
        assert_eq!(owner(&secret).0, 0);
        assert_eq!(owner(Path::new("/etc")).0, 0);
    }

    #[test]
    fn who_dropped_a_message_stays_who_did() {
        let Some(dir) = queue_of_root() else { return };
        let mode = |mode| fs::Permissions::from_mode(mode);
        let message = dir.path().join("6APMRkmQa00028.msg");
        fs::write(&message, "x").unwrap();
        // A folder that others may write to is nobody's to give.
        fs::set_permissions(dir.path(), mode(0o777)).unwrap();
        drop_folder(dir.path(), HEIR).unwrap();
        assert_eq!(owner(dir.path()), (0, 0));
        fs::set_permissions(dir.path(), mode(DROP_FOLDER_MODE)).unwrap();
        drop_folder(dir.path(), HEIR).unwrap();
        assert_eq!(owner(dir.path()), (HEIR.uid, HEIR.gid));
        assert_eq!(owner(&message), (0, HEIR.gid));
        assert_eq!(owner(&dir.path().join("qfOLD")), (0, 0));
    }
}
