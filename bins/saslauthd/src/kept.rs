//! Files that a server which was root's at its start still needs at times, and which its starter
//! keeps for it.
//!
//! The list is made at the start and told to the starter by its arguments: the server names a
//! file by its place there, and can name no other.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use libmaps::opening::{self, Opener};

use crate::starter::Starter;

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Removed at the end, if it is the one that the server made.
    Remove,
    /// Opened for reading.
    Open,
    /// Looked at, whether it has changed; its octets stay unseen.
    Look,
}

/// A file, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What.
    pub duty: Duty,
    /// Where; absolute.
    pub path: PathBuf,
}

impl Kept {
    pub(crate) fn to_argument(&self) -> OsString {
        let letter = match self.duty {
            Duty::Remove => "R",
            Duty::Open => "O",
            Duty::Look => "L",
        };
        let mut argument = OsString::from(letter);
        argument.push(&self.path);
        argument
    }

    pub(crate) fn of_argument(argument: &OsStr) -> Option<Self> {
        let (letter, path) = argument.as_bytes().split_first()?;
        let duty = match letter {
            b'R' => Duty::Remove,
            b'O' => Duty::Open,
            b'L' => Duty::Look,
            _ => return None,
        };
        let path = PathBuf::from(OsStr::from_bytes(path));
        Some(Kept { duty, path })
    }
}

/// The starter's side: the list, and which files the server has made.
#[derive(Debug)]
pub(crate) struct Keeping(Vec<(Kept, Option<(u64, u64)>)>);

impl Keeping {
    pub(crate) fn new(kept: impl IntoIterator<Item = Kept>) -> Self {
        Keeping(kept.into_iter().map(|kept| (kept, None)).collect())
    }

    /// What stands there now is the server's.
    pub(crate) fn claim(&mut self, at: u32) -> io::Result<()> {
        let (path, made) = self.find(at, |duty| duty == Duty::Remove)?;
        *made = Some(identity(path)?);
        Ok(())
    }

    /// Removes what was claimed, unless somebody has put another one there.
    pub(crate) fn remove(&mut self, at: u32) -> io::Result<()> {
        let (path, made) = self.find(at, |duty| duty == Duty::Remove)?;
        match *made == Some(identity(path)?) {
            true => fs::remove_file(path),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Opens it, as far as its duty allows.
    pub(crate) fn open(&mut self, at: u32) -> io::Result<File> {
        let look = self.find(at, |duty| duty == Duty::Look).is_ok();
        let (path, _) = self.find(at, |duty| duty != Duty::Remove)?;
        let flags = match look {
            true => libc::O_PATH,
            false => libc::O_NONBLOCK | libc::O_NOCTTY,
        };
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags).open(path)
    }

    fn find(
        &mut self,
        at: u32,
        fits: impl Fn(Duty) -> bool,
    ) -> io::Result<(&Path, &mut Option<(u64, u64)>)> {
        let at = usize::try_from(at).ok();
        let found = at.and_then(|at| self.0.get_mut(at));
        match found {
            Some((kept, made)) if fits(kept.duty) => Ok((&kept.path, made)),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

static KEEPER: OnceLock<Arc<Starter>> = OnceLock::new();

/// From here on this starter is asked for what this process is denied.
pub(crate) fn ask(starter: &Arc<Starter>) {
    let _ = KEEPER.set(Arc::clone(starter));
    opening::ask_when_denied(Opener {
        file: |path| match KEEPER.get() {
            Some(starter) => starter.open(path),
            None => Err(io::ErrorKind::PermissionDenied.into()),
        },
        socket: |_| Err(io::ErrorKind::PermissionDenied.into()),
    });
}

/// Removes a file, by this process or, where it may not, by its starter.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match (fs::remove_file(path), KEEPER.get()) {
        (Err(error), Some(starter)) if error.kind() == io::ErrorKind::PermissionDenied => {
            starter.remove(path)
        }
        (removed, _) => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn each_file_has_its_duty_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["mux", "sasldb2", "shadow"] {
            fs::write(at(name), name).unwrap();
        }
        let kept = [
            (Duty::Remove, "mux"),
            (Duty::Open, "sasldb2"),
            (Duty::Look, "shadow"),
        ];
        let kept = kept.map(|(duty, name)| {
            let path = at(name);
            let kept = Kept { duty, path };
            assert_eq!(Kept::of_argument(&kept.to_argument()), Some(kept.clone()));
            kept
        });
        let mut keeping = Keeping::new(kept);
        let kind = |done: io::Result<()>| done.err().map(|e| e.raw_os_error());
        let refused = Some(Some(libc::EINVAL));
        for other in [1, 2, 3, u32::MAX] {
            assert_eq!(kind(keeping.claim(other)), refused);
            assert_eq!(kind(keeping.remove(other)), refused);
        }
        assert_eq!(kind(keeping.open(0).map(drop)), refused);
        let mut text = String::new();
        keeping.open(1).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "sasldb2");
        let mut shadow = keeping.open(2).unwrap();
        assert_eq!(shadow.metadata().unwrap().len(), 6);
        assert!(shadow.read_to_string(&mut text).is_err());
        // Only what the server made is removed.
        assert!(keeping.remove(0).is_err());
        keeping.claim(0).unwrap();
        fs::write(at("other"), "of another server").unwrap();
        fs::rename(at("other"), at("mux")).unwrap();
        assert!(keeping.remove(0).is_err());
        keeping.claim(0).unwrap();
        keeping.remove(0).unwrap();
        assert!(!at("mux").exists());
    }
}
