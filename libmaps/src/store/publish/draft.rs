//! Drafts: unfinished maps beside the map they are to become.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use crate::map::StoreError;
use crate::store::acl::Attributes;
use crate::store::disk::{Disk, DiskFile, patiently};
use crate::store::path::{Shape, folder_of};
use crate::store::sniff::{Format, sniff_file};

/// A draft on disk, removed when dropped before its rename.
#[derive(Debug)]
pub(super) struct Draft {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// The file, or the folder, open.
    file: File,
    shape: Shape,
    renamed: bool,
}

/// Which group the new file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The old one's.
    AsBefore,
    /// One of the writer's own: he owns the map, and is no member of its group.
    Ours,
}

impl Group {
    /// The permissions that let nobody in who was out: with a new group the old one's members are
    /// among the others, and others are in the new group.
    pub(super) fn mode(self, old: u32) -> u32 {
        match self {
            Group::AsBefore => old & 0o7777,
            Group::Ours => {
                let both = old >> 3 & old & 0o7;
                old & 0o700 | both << 3 | both
            }
        }
    }
}

impl Draft {
    /// Makes the draft; we hold the writers' lock, so a draft that is there is an orphan.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        shape: Shape,
    ) -> Result<Self, StoreError> {
        match remove(disk.as_ref(), &path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::io(&path, "remove", e)),
        }
        let made = match shape {
            Shape::File => disk.create(&path, 0o600),
            Shape::Folder => disk
                .create_folder(&path, 0o700)
                .and_then(|()| open_folder(&path)),
        };
        let file = made.map_err(|e| StoreError::io(&path, "create", e))?;
        Ok(Draft {
            disk: Arc::clone(disk),
            path,
            file,
            shape,
            renamed: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be read.
    pub(super) fn file(&self) -> Result<File, StoreError> {
        patiently(|| self.file.try_clone()).map_err(|e| StoreError::io(&self.path, "open", e))
    }

    /// The file, to be written.
    pub(super) fn writable(&self) -> Result<DiskFile, StoreError> {
        Ok(DiskFile::new(Arc::clone(&self.disk), self.file()?))
    }

    /// Fills the draft with the octets of a file, which was found at `from`.
    pub(super) fn copy_whole(&self, mut file: File, from: &Path) -> Result<(), StoreError> {
        let at = |action| move |e| StoreError::io(from, action, e);
        patiently(|| file.rewind()).map_err(at("read"))?;
        self.disk.copy(&file, &self.file).map_err(at("copy"))
    }

    /// Gives the draft the old file's group, if that can be.
    pub(super) fn take_group(&self, old: &fs::Metadata) -> Result<Group, StoreError> {
        let mine = patiently(|| self.file.metadata());
        let mine = mine.map_err(|e| StoreError::io(&self.path, "stat", e))?;
        if mine.gid() == old.gid() {
            return Ok(Group::AsBefore);
        }
        match self.disk.set_owner(&self.file, None, Some(old.gid())) {
            Err(e) if e.raw_os_error() == Some(libc::EPERM) && mine.uid() == old.uid() => {
                Ok(Group::Ours)
            }
            // Anything else is told when it is done for good.
            _ => Ok(Group::AsBefore),
        }
    }

    /// Gives the draft the owner, the mode, the access list and the label of the map that it
    /// replaces, or the owner and mode of a new one.
    pub(super) fn carry_owner_and_mode(
        &self,
        old: Option<(&fs::Metadata, Option<&File>)>,
        group: Group,
        options: &Options,
        target: &Path,
    ) -> Result<(), StoreError> {
        let at = |action| move |e| StoreError::io(target, action, e);
        let attributes = match old {
            // The parts of a folder have no file that they replace.
            Some((_, Some(file))) if self.shape == Shape::File => Some(Attributes::of(file)),
            _ => None,
        };
        let attributes = attributes
            .transpose()
            .map_err(at("read the access list of"))?;
        let mode = match old {
            Some((old, _)) => {
                let mode = group.mode(old.mode());
                attributes.as_ref().map_or(mode, |had| had.narrowed(mode))
            }
            None => self.shape.mode(options.mode) & !umask(),
        };
        let disk = self.disk.as_ref();
        let parts = self.parts().map_err(at("list"))?;
        for file in parts.iter().chain([&self.file]) {
            match old {
                Some((old, _)) => {
                    let mine = patiently(|| file.metadata()).map_err(at("stat"))?;
                    let has = attributes.as_ref().is_some_and(Attributes::has_list);
                    let same = (mine.uid(), mine.gid()) == (old.uid(), old.gid());
                    // Entries of an access list can't be weighed against another group.
                    if !same && (group == Group::AsBefore || has) {
                        give_away(disk, file, old).map_err(at("chown"))?;
                    }
                }
                None => {
                    if let Some(owner) = options.owner
                        && is_root()
                    {
                        let given = self.disk.set_owner(file, Some(owner), None);
                        given.map_err(at("chown"))?;
                    }
                }
            }
            let folder = patiently(|| file.metadata()).map_err(at("stat"))?.is_dir();
            let mode = match (self.shape, folder) {
                (Shape::Folder, false) => mode & 0o666,
                _ => mode,
            };
            // The mode lets a list that is there count; one that the old file had not is gone first.
            let carried = attributes.as_ref();
            let gone = carried.map_or(Ok(()), |had| had.take_foreign(disk, file));
            gone.map_err(at("remove the access list of"))?;
            disk.set_mode(file, mode).map_err(at("chmod"))?;
            let given = carried.map_or(Ok(()), |had| had.give(disk, file));
            given.map_err(at("set the access list of"))?;
        }
        Ok(())
    }

    /// What stands in the draft, open; nothing in one that is a file.
    fn parts(&self) -> io::Result<Vec<File>> {
        let mut parts = Vec::new();
        let mut folders = match self.shape {
            Shape::File => Vec::new(),
            Shape::Folder => vec![self.path.clone()],
        };
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let part = File::open(&path)?;
                if part.metadata()?.is_dir() {
                    folders.push(path);
                }
                parts.push(part);
            }
        }
        Ok(parts)
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let at = |e| StoreError::io(&self.path, "fsync", e);
        for part in self.parts().map_err(at)? {
            self.disk.sync(&part).map_err(at)?;
        }
        self.disk.sync(&self.file).map_err(at)
    }

    /// Makes the draft stand at `target`, for good; what stood there is gone.
    pub(super) fn rename_to(&mut self, target: &Path) -> Result<(), StoreError> {
        let at = |e| StoreError::io(target, "rename", e);
        // A folder can't be renamed over one that is not empty: they change places, and what is
        // the draft then is the old map.
        let replaces = self.shape == Shape::Folder && target.symlink_metadata().is_ok();
        if replaces {
            self.disk.exchange(&self.path, target).map_err(at)?;
        } else {
            self.disk.rename(&self.path, target).map_err(at)?;
        }
        self.renamed = !replaces;
        self.sync_name(target)
    }

    /// Waits until the name that the draft has now is on the disk.
    fn sync_name(&self, target: &Path) -> Result<(), StoreError> {
        let synced = match self.disk.sync_folder(&folder_of(target)) {
            // Who may write a folder need not be able to open it.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                self.disk.sync_file_system(&self.file)
            }
            done => done,
        };
        synced.map_err(|e| StoreError::io(target, "fsync the folder of", e))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = remove(self.disk.as_ref(), &self.path);
        }
    }
}

/// Removes a file, or a folder with all that is in it.
fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match patiently(|| fs::symlink_metadata(path))?.is_dir() {
        true => disk.remove_folder(path),
        false => disk.remove_file(path),
    }
}

/// Gives a file the owner and group of the old one. An ordinary user who may write a shared map
/// can't give the new file to its owner; the group, which is what sharing goes by, is kept in
/// any case.
fn give_away(disk: &dyn Disk, file: &File, old: &fs::Metadata) -> io::Result<()> {
    disk.set_owner(file, Some(old.uid()), Some(old.gid()))
        .or_else(|_| disk.set_owner(file, None, Some(old.gid())))
}

fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
}

/// The longest file name, in octets, of the file systems in use (NAME_MAX).
const NAME_MAX: usize = 255;

/// A hidden name in the target's folder: `.access.db` and the suffix.
pub(super) fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    if name.len() + suffix.len() < NAME_MAX {
        hidden.push(name);
    } else {
        let digest = xxhash_rust::xxh3::xxh3_128(name.as_bytes());
        hidden.push(format!("{digest:032x}"));
    }
    hidden.push(suffix);
    folder_of(target).join(hidden)
}

/// How many Berkeley DB files of one name are kept.
const KEPT_FILES: u32 = 1000;

/// The first write to a Berkeley DB file keeps it as `NAME.bdb`; where that is there already, as
/// `NAME.bdb.1` and so on.
pub(super) fn keep_berkeley(
    disk: &Arc<dyn Disk>,
    target: &Path,
    old: Option<(&fs::Metadata, &File)>,
) -> Result<Option<PathBuf>, StoreError> {
    let Some((old, file)) = old.filter(|(old, _)| old.is_file()) else {
        return Ok(None);
    };
    let at = |action| move |e| StoreError::io(target, action, e);
    if sniff_file(file, target)? != Format::Berkeley {
        return Ok(None);
    }
    let name = target.as_os_str().as_bytes();
    let mut kept = name.strip_suffix(b".db").unwrap_or(name).to_vec();
    kept.extend_from_slice(b".bdb");
    let names = (0..KEPT_FILES).map(|number| {
        let mut name = kept.clone();
        if number > 0 {
            name.extend_from_slice(format!(".{number}").as_bytes());
        }
        PathBuf::from(OsString::from_vec(name))
    });
    let mut free = names.filter(|name| name.symlink_metadata().is_err());
    let Some(kept) = free.next() else {
        let full = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(StoreError::io(target, "keep the Berkeley DB file of", full));
    };
    let mut copy = Draft::create(disk, beside(&kept, ".draft"), Shape::File)?;
    let again = patiently(|| file.try_clone()).map_err(at("open"))?;
    copy.copy_whole(again, target)?;
    let _ = give_away(disk.as_ref(), &copy.file, old);
    // What a Berkeley sasldb2 holds are passwords in clear text: nobody but the owner
    // needs the old file, whatever it holds.
    copy.sync()?;
    // Before the map is replaced: a crash must not keep the one rename and lose the other.
    copy.rename_to(&kept)?;
    Ok(Some(kept))
}

#[allow(unsafe_code)] // geteuid has no safe form in std
fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The process's umask, read without changing it.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o027)
}
