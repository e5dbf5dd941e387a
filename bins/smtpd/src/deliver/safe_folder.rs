//! The folder of SafeFileEnvironment, which no name of a file leads out of.
//!
//! sendmail goes there by chroot(2), which only root can. Here the way to a file is gone folder
//! by folder, each one held open and none followed by name a second time. So it ends below the
//! folder whatever anybody puts in the way meanwhile, on every kernel: links lead where they would
//! after chroot(2), and `..` does not lead above.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libmaps::site::Site;
use libmaps::way::Way;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};

/// The folder below which alone files of aliases and of users are written, where there is one.
pub(crate) fn of_site(site: &Site) -> Option<PathBuf> {
    let folder = site.options.files.safe_file_environment.as_deref();
    let folder = folder.filter(|path| *path != Path::new("/"))?;
    Some(site.below(folder))
}

/// A folder that was found.
#[derive(Debug)]
pub(super) struct Folder {
    /// It is reached while this is held.
    _held: Option<OwnedFd>,
    path: PathBuf,
}

impl Folder {
    /// The folder of this path, below `base` where there is one.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] for a path that is not below.
    pub(super) fn find(base: Option<&Path>, path: &Path) -> io::Result<Self> {
        let Some(base) = base else {
            return Ok(Folder {
                _held: None,
                path: path.to_path_buf(),
            });
        };
        let inner = path.strip_prefix(base);
        let inner = inner.map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        let held = walk(base, inner)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        if std::fs::symlink_metadata(&path).is_err() {
            // Nobody's mail comes back for that.
            let text = "/proc is not mounted";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        Ok(Folder {
            _held: Some(held),
            path,
        })
    }

    /// A name in it, by a path for this process.
    pub(super) fn join(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Its own path, for this process.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder of a path below another one.
fn walk(base: &Path, inner: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = openat(CWD, base, flags | OFlags::DIRECTORY, Mode::empty())?;
    // Those on the way here: `..` goes back to the one that was passed.
    let mut passed = vec![folder];
    let mut way = Way::new(inner);
    while let Some(name) = way.step() {
        if name == ".." {
            if passed.len() > 1 {
                passed.pop();
            }
            continue;
        }
        let Some(at) = passed.last() else {
            break;
        };
        let found = openat(at, &name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&found)?.st_mode) {
            FileType::Directory => passed.push(found),
            FileType::Symlink => {
                let target = readlinkat(&found, "", Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                if target.is_absolute() {
                    passed.truncate(1);
                }
                way.follow(target)?;
            }
            _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        }
    }
    passed.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_name_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("safe");
        for folder in ["safe/mine/box", "safe/away", "away"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("here"), folder).unwrap();
        }
        for (target, link) in [
            (dir.path().join("away"), "outside"),
            ("/away".into(), "absolute"),
            ("../away".into(), "relative"),
            ("../../../../away".into(), "above"),
            ("../mine/./box".into(), "inside"),
            ("round".into(), "round"),
            ("box/here".into(), "file"),
        ] {
            symlink(target, base.join("mine").join(link)).unwrap();
        }
        let found = |path: &str| {
            let folder = Folder::find(Some(&base), &base.join(path));
            let folder = folder.map_err(|error| error.raw_os_error().unwrap())?;
            Ok(std::fs::read_to_string(folder.join("here".as_ref())).unwrap())
        };
        for (path, want) in [
            ("mine/box", Ok("safe/mine/box")),
            ("mine/box/../../away", Ok("safe/away")),
            ("../away", Ok("safe/away")),
            ("mine/outside", Err(libc::ENOENT)),
            // As after chroot(2).
            ("mine/absolute", Ok("safe/away")),
            ("mine/relative", Ok("safe/away")),
            ("mine/above", Ok("safe/away")),
            ("mine/inside", Ok("safe/mine/box")),
            ("mine/round", Err(libc::ELOOP)),
            ("mine/file", Err(libc::ENOTDIR)),
            ("none", Err(libc::ENOENT)),
        ] {
            assert_eq!(found(path), want.map(str::to_owned), "{path}");
        }
        let outside = Folder::find(Some(&base), &dir.path().join("away"));
        assert_eq!(outside.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
