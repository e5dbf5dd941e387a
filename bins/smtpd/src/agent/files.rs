//! Files and sockets that the server can't have by itself.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libmaps::opening;
use libmaps::policy::expand::include::{find_regular, reopen};
use libmaps::policy::expand::trust::Trust;
use libmaps::sysexits::SysExit;
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

use super::allowed::{Allowed, Rights};
use super::brief::{self, KEPT};
use super::{Found, Reply, Text};
use crate::deliver::forward_file::{Rules, Unread, read_trusted};
use crate::deliver::include_file::{self, Read};
use crate::deliver::process::Output;
use crate::own_program;
use crate::reach::Need;

/// Longest that reading a file of a user takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest that a server of this machine is waited for.
const SOCKET_PATIENCE: Duration = Duration::from_secs(10);
/// Whose group a user has who has none.
const NO_GROUP: u32 = 65_534;

/// Reads the `.forward` file in a process that is its owner's. This one does not so much as
/// look for it: whatever hangs there, it is that one which hangs, and it is ended.
pub(super) fn forward(path: &Path, uid: u32, gid: u32, allowed: &Allowed) -> Reply {
    if allowed.rights == Rights::Own {
        return match read_trusted(path, uid, Rules::of(allowed.site())) {
            Ok(None) => Reply::File(None),
            Ok(Some(list)) => match list.trust {
                Trust::Whole => Reply::File(Some(Text(list.text))),
                Trust::Addresses => Reply::Addresses(Text(list.text)),
            },
            Err(Unread::Untrusted(why)) => Reply::Refused(why),
            Err(Unread::Later(why)) => Reply::Later(why),
        };
    }
    let blame = allowed.site().options.files.dont_blame.0.join(",");
    let words = ["read-forward", &uid.to_string(), &blame];
    let ended = ourselves(&words, path, allowed).and_then(|mut command| {
        command.uid(uid).gid(gid);
        brief::run(command, path, PATIENCE, KEPT)
    });
    match ended {
        Ok(ended) => match ended.status.code() {
            Some(0) if ended.err.is_empty() => Reply::File(Some(Text(ended.out))),
            Some(0) => Reply::Addresses(Text(ended.out)),
            Some(code) if code == i32::from(SysExit::NoInput.code()) => Reply::File(None),
            Some(code) if code == i32::from(SysExit::NoPerm.code()) => {
                Reply::Refused(String::from_utf8_lossy(&ended.err).trim().to_owned())
            }
            _ => Reply::Later(String::from_utf8_lossy(&ended.err).trim().to_owned()),
        },
        Err(error) => Reply::Later(format!("forward {}: {error}", path.display())),
    }
}

/// Reads a list for the server, in a process that may hang: with the rights of the user in
/// whose list it stands; else one that anybody may read, one that is not root's (as its owner
/// the server may do what it likes through us anyway), and of root's others only what an alias
/// names as a list. What was read is in the file.
pub(super) fn include(
    path: &Path,
    list_owner: Option<u32>,
    allowed: &Allowed,
) -> Result<(Reply, File), Reply> {
    // Whoever says that it stands in root's list is told no more for that.
    let list_owner = list_owner.filter(|uid| *uid != 0);
    let later = |why: String| Reply::Later(format!("{}: {why}", path.display()));
    let read = || -> io::Result<_> {
        let text = memfd_create("include", MemfdFlags::CLOEXEC)?;
        let mut command = ourselves(&["read-include"], path, allowed)?;
        if let (Rights::Root, Some(uid)) = (allowed.rights, list_owner) {
            command
                .uid(uid)
                .gid(allowed.group_of(uid).unwrap_or(NO_GROUP));
        }
        let said = Output::Into(text.try_clone()?);
        let ended = brief::run(command, path, PATIENCE, said)?;
        seek(&text, SeekFrom::Start(0))?;
        let told = ended.err;
        let read = serde_json::from_slice(&told)
            .map_err(|_| io::Error::other(String::from_utf8_lossy(&told).trim().to_owned()))?;
        Ok((read, text))
    };
    match read().map_err(|error| later(error.to_string()))? {
        (Read::Whole(found), text) => {
            may_have(path, list_owner, found, allowed)?;
            Ok((Reply::Included(found), File::from(text)))
        }
        (Read::Errno(number), _) => Err(Reply::Errno(number)),
        (Read::Refused(why), _) => Err(Reply::Refused(why)),
        (Read::Later(why), _) => Err(later(why)),
    }
}

fn may_have(
    path: &Path,
    list_owner: Option<u32>,
    found: Found,
    allowed: &Allowed,
) -> Result<(), Reply> {
    let is_roots = allowed.rights == Rights::Root && found.uid == 0;
    if !is_roots || found.everybody || list_owner.is_some() {
        return Ok(());
    }
    match allowed.is_listed(path).map_err(Reply::Later)? {
        true => Ok(()),
        false => Err(Reply::Refused("no alias of this site names it".into())),
    }
}

/// `smtpd read-include ROOT PATH`: this program calls itself so, as the user in whose list the file
/// stands, or as root.
#[must_use]
pub(crate) fn read_include(root: Option<&Path>, path: &Path) -> Read {
    let out = io::stdout();
    include_file::read_into(root, path, &mut out.lock())
}

/// Opens a file that the configuration names, or a folder of such files; and one that a user has
/// dropped, if it is a regular file of one name.
pub(super) fn needed(path: &Path, need: Need) -> Result<(Reply, OwnedFd), Reply> {
    let found = || -> io::Result<File> {
        if need == Need::Dropped {
            let seen = find_regular(path)?;
            return match seen.metadata()?.nlink() {
                1 => reopen(&seen),
                _ => Err(io::Error::other("not a file of one name")),
            };
        }
        let seen = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)?;
        let kind = seen.metadata()?.file_type();
        match kind.is_file() || kind.is_dir() {
            true => reopen(&seen),
            false => Err(io::Error::other("not a regular file")),
        }
    };
    found()
        .map(|file| (Reply::Opened, file.into()))
        .map_err(|error| reply_of(&error))
}

/// Connects to a server that the configuration names.
pub(super) fn connected(path: &Path) -> Result<(Reply, OwnedFd), Reply> {
    opening::connect(path, SOCKET_PATIENCE)
        .map(|stream: UnixStream| (Reply::Opened, stream.into()))
        .map_err(|error| reply_of(&error))
}

fn reply_of(error: &io::Error) -> Reply {
    match error.raw_os_error() {
        Some(number) => Reply::Errno(number),
        None if error.kind() == io::ErrorKind::Other => Reply::Refused(error.to_string()),
        None => Reply::Later(error.to_string()),
    }
}

/// This program, for a file of the site.
fn ourselves(words: &[&str], path: &Path, allowed: &Allowed) -> io::Result<Command> {
    let root = allowed.site().root.as_deref().unwrap_or(Path::new("/"));
    let mut command = Command::new(own_program::path()?);
    command.args(words).arg(root).arg(path);
    command.env_clear().current_dir("/");
    Ok(command)
}
