//! Whether a path may be trusted as a map: sendmail's `safefile` rules.
//!
//! The rules are those that makemap(8) applies and `-s` waives in part: the
//! mode bits decide even for root, links and special files are refused, and
//! root is warned of folders on the way that others can write to.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use super::disk::patiently;
use crate::map::{MapClass, StoreError};

/// Which checks a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// Symbolic and hard links are refused.
    Strict,
    /// Links are followed (`makemap -s`); all else is checked.
    LinksAllowed,
    /// What the system itself allows, root above the mode bits, as Cyrus SASL's
    /// programs do: links are followed, and one that leads nowhere is replaced.
    SystemRules,
}

/// What a caller is about to do with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it; it must exist.
    Read,
    /// Replace or change it; it may be missing.
    Write,
}

/// What a map is to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A regular file.
    File,
    /// A folder (class `sled`).
    Folder,
}

impl Shape {
    /// The shape of maps of this class.
    #[must_use]
    pub fn of(class: MapClass) -> Self {
        match class {
            MapClass::Sled => Shape::Folder,
            _ => Shape::File,
        }
    }

    /// The mode of a map whose files are to have `mode`: who may read a folder may enter it.
    #[must_use]
    pub fn mode(self, mode: u32) -> u32 {
        match self {
            Shape::File => mode,
            Shape::Folder => mode | (mode & 0o444) >> 2,
        }
    }
}

/// A path that passed the checks.
#[derive(Debug)]
pub struct Checked {
    /// The path with links resolved where [`Safety::LinksAllowed`] followed one.
    pub path: PathBuf,
    /// What stands there, or `None` where nothing does.
    pub metadata: Option<Metadata>,
    /// Lines for the administrator: `WARNING: World writable directory X`.
    pub warnings: Vec<String>,
}

const EXEC_BITS: u32 = 0o111;
/// How often a file may be replaced while it is looked at: an honest writer renames once.
const MAX_REPLACED: u32 = 100;

/// Checks `path` as `safefile` does. To root, files of the `trusted` user are as its own.
///
/// # Errors
/// [`StoreError::Unsafe`] in sendmail's words, [`StoreError::Missing`] when it
/// is to be read and is not there, and the system's own errors.
pub fn check(
    path: &Path,
    access: Access,
    safety: Safety,
    trusted: Option<u32>,
) -> Result<Checked, StoreError> {
    check_shape(path, Shape::File, access, safety, trusted)
}

/// As [`check`], of a map of any shape.
///
/// # Errors
/// As [`check`].
pub fn check_shape(
    path: &Path,
    shape: Shape,
    access: Access,
    safety: Safety,
    trusted: Option<u32>,
) -> Result<Checked, StoreError> {
    let who = Identity::effective(safety, trusted);
    let mut warnings = Vec::new();
    check_folders(path, &who, &mut warnings)?;
    let link = match patiently(|| fs::symlink_metadata(path)) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound && access == Access::Write => {
            check_folder_writable(path, &who)?;
            return Ok(Checked {
                path: path.into(),
                metadata: None,
                warnings,
            });
        }
        Err(e) => return Err(StoreError::io(path, "open", e)),
    };
    let (path, metadata) = if link.is_symlink() {
        follow(path, access, safety)?
    } else {
        (path.to_path_buf(), Some(link))
    };
    if let Some(metadata) = &metadata {
        match shape {
            Shape::File => check_file(&path, metadata, access, safety, &who)?,
            Shape::Folder => check_folder(&path, metadata, access, &who)?,
        }
    }
    if access == Access::Write {
        check_folder_writable(&path, &who)?;
    }
    Ok(Checked {
        path,
        metadata,
        warnings,
    })
}

/// As [`check_shape`], and opens the very file that was checked, if there is one: one that
/// took its place meanwhile is checked in its turn, and a link is never followed here.
///
/// # Errors
/// As [`check`]; [`StoreError::Unsafe`] for a file that is replaced again and again.
pub fn open_checked(
    path: &Path,
    shape: Shape,
    access: Access,
    safety: Safety,
    trusted: Option<u32>,
) -> Result<(Checked, Option<File>), StoreError> {
    for _ in 0..MAX_REPLACED {
        let checked = check_shape(path, shape, access, safety, trusted)?;
        let Some(metadata) = &checked.metadata else {
            return Ok((checked, None));
        };
        if let Some(file) = open_same(&checked.path, metadata)? {
            return Ok((checked, Some(file)));
        }
    }
    refuse(path, "The file is replaced again and again")
}

/// The file at `path` if it is the one that was looked at.
fn open_same(path: &Path, seen: &Metadata) -> Result<Option<File>, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = match patiently(|| options.open(path)) {
        Ok(file) => file,
        // A link, a socket, or nothing any more.
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::ELOOP | libc::ENXIO | libc::ENOENT)
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(StoreError::io(path, "open", e)),
    };
    let opened = patiently(|| file.metadata()).map_err(|e| StoreError::io(path, "stat", e))?;
    let same = (opened.dev(), opened.ino()) == (seen.dev(), seen.ino());
    Ok(same.then_some(file))
}

fn refuse<T>(path: &Path, why: &'static str) -> Result<T, StoreError> {
    Err(StoreError::Unsafe {
        path: path.into(),
        why,
    })
}

fn denied(path: &Path) -> StoreError {
    StoreError::io(path, "open", io::Error::from_raw_os_error(libc::EACCES))
}

fn follow(
    path: &Path,
    access: Access,
    safety: Safety,
) -> Result<(PathBuf, Option<Metadata>), StoreError> {
    if safety == Safety::Strict {
        return refuse(path, "Symbolic links not allowed");
    }
    let real = patiently(|| fs::canonicalize(path));
    let found = real.and_then(|real| patiently(|| fs::metadata(&real)).map(|m| (real, Some(m))));
    match found {
        Ok(found) => Ok(found),
        Err(e)
            if e.kind() == io::ErrorKind::NotFound
                && access == Access::Write
                && safety == Safety::SystemRules =>
        {
            Ok((path.into(), None))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && access == Access::Write => {
            let source = io::Error::from_raw_os_error(libc::EEXIST);
            Err(StoreError::io(path, "open", source))
        }
        Err(e) => Err(StoreError::io(path, "open", e)),
    }
}

fn check_file(
    path: &Path,
    metadata: &Metadata,
    access: Access,
    safety: Safety,
    who: &Identity,
) -> Result<(), StoreError> {
    if !metadata.is_file() {
        return refuse(path, "Regular files only");
    }
    // None at all has one that a writer has just replaced.
    if safety == Safety::Strict && metadata.nlink() > 1 {
        return refuse(path, "Hard links not allowed");
    }
    let wanted = match access {
        Access::Read => 0o4,
        Access::Write => {
            if safety != Safety::SystemRules && metadata.mode() & EXEC_BITS != 0 {
                return refuse(path, "Executable files not allowed");
            }
            0o6
        }
    };
    if !who.has(metadata, wanted) {
        return Err(denied(path));
    }
    Ok(())
}

fn check_folder(
    path: &Path,
    metadata: &Metadata,
    access: Access,
    who: &Identity,
) -> Result<(), StoreError> {
    if !metadata.is_dir() {
        return refuse(path, "Folders only");
    }
    let wanted = match access {
        Access::Read => 0o5,
        Access::Write => 0o7,
    };
    if !who.has(metadata, wanted) {
        return Err(denied(path));
    }
    Ok(())
}

fn check_folder_writable(path: &Path, who: &Identity) -> Result<(), StoreError> {
    let folder = folder_of(path);
    let metadata =
        patiently(|| fs::metadata(&folder)).map_err(|e| StoreError::io(path, "open", e))?;
    if !who.has(&metadata, 0o3) {
        return Err(denied(path));
    }
    Ok(())
}

/// The warnings that a check of `path` would have, also where it refuses the path.
#[must_use]
pub fn folder_warnings(path: &Path, safety: Safety, trusted: Option<u32>) -> Vec<String> {
    let mut warnings = Vec::new();
    let who = Identity::effective(safety, trusted);
    // What refuses the path is told by whoever checked it.
    let _ = check_folders(path, &who, &mut warnings);
    warnings
}

/// Walks the folders above `path`; warns root, and only root, of those that others can write to.
fn check_folders(
    path: &Path,
    who: &Identity,
    warnings: &mut Vec<String>,
) -> Result<(), StoreError> {
    let mut prefix = PathBuf::new();
    let folder = folder_of(path);
    for component in folder.components() {
        prefix.push(component);
        if component == Component::ParentDir {
            continue;
        }
        let metadata = match patiently(|| fs::metadata(&prefix)) {
            Ok(metadata) => metadata,
            Err(e) => return Err(StoreError::io(path, "open", e)),
        };
        if !metadata.is_dir() {
            let source = io::Error::from_raw_os_error(libc::ENOTDIR);
            return Err(StoreError::io(path, "open", source));
        }
        if !who.has(&metadata, 0o1) {
            return Err(denied(path));
        }
        if who.uid != 0 {
            continue;
        }
        let whose = if metadata.mode() & 0o002 != 0 {
            "World"
        } else if metadata.mode() & 0o020 != 0 {
            "Group"
        } else {
            continue;
        };
        warnings.push(format!(
            "WARNING: {whose} writable directory {}",
            prefix.display()
        ));
    }
    Ok(())
}

/// The folder that a path's last component stands in; `.` for a bare name.
#[must_use]
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The file of a map: the name as given, with `suffix` unless it ends in it already.
///
/// A name that ends in a slash, or an empty one, gives a file named just `suffix`,
/// as the originals do.
#[must_use]
pub fn with_suffix(name: &OsStr, suffix: &str) -> PathBuf {
    if name.as_bytes().ends_with(suffix.as_bytes()) {
        return PathBuf::from(name);
    }
    let mut full = name.to_owned();
    full.push(suffix);
    PathBuf::from(full)
}

/// Who we are to the file system, by mode bits; root is above them under
/// [`Safety::SystemRules`] only.
struct Identity {
    uid: u32,
    gids: Vec<u32>,
    above_the_bits: bool,
    /// Whose files are as our own.
    trusted: Option<u32>,
}

/// As whom this process acts.
#[allow(unsafe_code)] // geteuid has no safe form in std
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

impl Identity {
    #[allow(unsafe_code)] // getegid and getgroups have no safe form in std
    fn effective(safety: Safety, trusted: Option<u32>) -> Self {
        let uid = effective_user();
        // SAFETY: takes nothing and cannot fail.
        let gid = unsafe { libc::getegid() };
        let mut gids = vec![gid];
        // SAFETY: a size of 0 asks for the count alone; the pointer is not used.
        let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
        if let Ok(len) = usize::try_from(count)
            && len > 0
        {
            let mut more = vec![0; len];
            // SAFETY: the buffer holds `count` elements, which is what we say.
            let got = unsafe { libc::getgroups(count, more.as_mut_ptr()) };
            more.truncate(usize::try_from(got).unwrap_or(0));
            gids.extend(more);
        }
        Identity {
            uid,
            gids,
            above_the_bits: uid == 0 && safety == Safety::SystemRules,
            trusted: trusted.filter(|_| uid == 0),
        }
    }

    /// Whether the class of bits that applies to us holds all of `wanted` (an `rwx` triple).
    fn has(&self, metadata: &Metadata, wanted: u32) -> bool {
        let shift = if metadata.uid() == self.uid || Some(metadata.uid()) == self.trusted {
            6
        } else if self.gids.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        self.above_the_bits || (metadata.mode() >> shift) & wanted == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn outcome(path: &Path, access: Access, safety: Safety) -> String {
        match check(path, access, safety, None) {
            Ok(c) => format!("ok {}", if c.metadata.is_some() { "file" } else { "new" }),
            Err(StoreError::Unsafe { why, .. }) => why.into(),
            Err(StoreError::Io { source, .. }) => format!("{}", source.kind()),
            Err(StoreError::Missing { .. }) => "missing".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn a_map_that_was_replaced_meanwhile_is_no_hard_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        fs::write(&path, "x").unwrap();
        let held = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let found = held.metadata().unwrap();
        let who = Identity::effective(Safety::Strict, None);
        check_file(&path, &found, Access::Write, Safety::Strict, &who).unwrap();
    }

    #[test]
    fn the_rules_of_safefile() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), "x").unwrap();
        fs::write(at("two"), "x").unwrap();
        fs::hard_link(at("two"), at("three")).unwrap();
        symlink("plain", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("exec"), "x").unwrap();
        fs::set_permissions(at("exec"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(at("readonly"), "x").unwrap();
        fs::set_permissions(at("readonly"), fs::Permissions::from_mode(0o400)).unwrap();
        use Access::{Read, Write};
        use Safety::{LinksAllowed, Strict, SystemRules};
        let cases = [
            ("plain", Write, Strict, "ok file"),
            ("new", Write, Strict, "ok new"),
            ("new", Read, Strict, "missing"),
            ("no/new", Write, Strict, "missing"),
            ("link", Write, Strict, "Symbolic links not allowed"),
            ("link", Read, LinksAllowed, "ok file"),
            ("dangling", Write, LinksAllowed, "entity already exists"),
            ("dangling", Read, LinksAllowed, "missing"),
            ("two", Read, Strict, "Hard links not allowed"),
            ("two", Write, LinksAllowed, "ok file"),
            ("folder", Read, LinksAllowed, "Regular files only"),
            ("exec", Write, Strict, "Executable files not allowed"),
            ("exec", Read, Strict, "ok file"),
            ("readonly", Write, Strict, "permission denied"),
            ("readonly", Read, Strict, "ok file"),
            ("plain/x", Write, Strict, "not a directory"),
            ("link", Write, SystemRules, "ok file"),
            ("dangling", Write, SystemRules, "ok new"),
            ("two", Write, SystemRules, "ok file"),
            ("exec", Write, SystemRules, "ok file"),
            ("folder", Write, SystemRules, "Regular files only"),
        ];
        for (name, access, safety, want) in cases {
            assert_eq!(
                outcome(&at(name), access, safety),
                want,
                "{name} {access:?}"
            );
        }
    }

    #[test]
    fn the_suffix_is_added_once() {
        let cases = [
            ("access", "access.db"),
            ("access.db", "access.db"),
            ("m.DB", "m.DB.db"),
            ("", ".db"),
            ("d/", "d/.db"),
        ];
        for (name, want) in cases {
            assert_eq!(with_suffix(OsStr::new(name), ".db"), Path::new(want));
        }
    }
}
