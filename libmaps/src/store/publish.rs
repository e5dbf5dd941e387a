//! Publishing: a draft in the same folder, made whole, then renamed over the map.
//!
//! The order is always: take the writers' lock, make the draft with mode 0600,
//! fill and close it, give it the old file's owner and mode, fsync it, rename
//! it, fsync the folder. Whatever goes wrong before the rename leaves the old
//! map as it was and removes the draft; a draft left by a killed program is
//! removed by the next writer. So a map is at any moment the old one or the
//! new one, whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::lhs::Lhs;
use crate::map::{Entry, Map, MapClass, MapName, StoreError};
use crate::store::lock::WriterLock;
use crate::store::merge::{merge_into, merged};
use crate::store::path::{self, Access, Safety, folder_of};
use crate::store::redb::{self, Change, Duplicates, Meta, RedbMap};
use crate::store::{CdbWriter, Opened, Sink, open_any};

/// What becomes of a second value of one LHS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The first stays and the second is reported (makemap).
    Refuse,
    /// The second takes its place (`makemap -r`, newaliases, editmap).
    Replace,
    /// The first stays and nothing is said.
    KeepFirst,
    /// Both are kept (`makemap -d`).
    KeepAll,
}

/// What [`Publisher::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The LHS was not there.
    New,
    /// The LHS was there and has the new value now.
    Replaced,
    /// The LHS was there and keeps its value.
    Kept,
    /// The LHS was there and has one more value now.
    Added,
}

/// How a map is to be written.
#[derive(Clone, Debug)]
pub struct Options {
    /// `Hash`, `Btree`, `Cdb` or `Sled`.
    pub class: MapClass,
    /// What becomes of a second value of one LHS.
    pub on_duplicate: OnDuplicate,
    /// Which safety checks are made of the path.
    pub safety: Safety,
    /// Mode of a map that did not exist, before the umask.
    pub mode: u32,
    /// Owner of a map that did not exist (sendmail's TrustedUser); only root can give files away.
    pub owner: Option<u32>,
    /// The options it is built with, for `mapctl info`.
    pub described: String,
    /// The program that writes it, with its version.
    pub program: String,
    /// Whether an edit may copy the old file's pages.
    pub edit: EditBy,
}

/// How an edit makes its draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditBy {
    /// Copy the old file and change the copy: fast, but what was removed may still be read
    /// from unused pages.
    Copying,
    /// Write every entry anew, so that nothing of what was removed stays (passwords).
    Rewriting,
}

impl Options {
    /// The way makemap writes: duplicates refused, links refused, mode 0640.
    #[must_use]
    pub fn new(class: MapClass, program: &str) -> Self {
        Options {
            class,
            on_duplicate: OnDuplicate::Refuse,
            safety: Safety::Strict,
            mode: 0o640,
            owner: None,
            described: String::new(),
            program: program.into(),
            edit: EditBy::Copying,
        }
    }
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// How many entries the map holds.
    pub entries: u64,
    /// Where the old Berkeley DB file was kept, if the map was one.
    pub kept_berkeley: Option<PathBuf>,
}

/// Looks at a finished draft before it becomes the map.
pub type Check<'a> = dyn FnMut(&dyn Map) -> Result<(), StoreError> + 'a;

/// Makes a map and publishes it.
#[must_use = "dropped without publish(), the draft is removed"]
#[derive(Debug)]
pub struct Publisher {
    target: PathBuf,
    draft: Draft,
    old: Option<fs::Metadata>,
    /// The map that is edited; `None` when a new one is made.
    base: Option<Base>,
    base_class: Option<MapClass>,
    changes: BTreeMap<Lhs, Vec<Change>>,
    options: Options,
    duplicates: Duplicates,
    warnings: Vec<String>,
    _lock: WriterLock,
}

enum Base {
    Redb(Box<RedbMap>),
    Other(Box<dyn Map>),
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Base({})", self.map().name())
    }
}

impl Base {
    fn map(&self) -> &dyn Map {
        match self {
            Base::Redb(map) => map.as_ref(),
            Base::Other(map) => map.as_ref(),
        }
    }
}

impl Publisher {
    /// Begins a new map at `target`, a path with its suffix; the old one, if any, stays until
    /// [`Publisher::publish`].
    ///
    /// # Errors
    /// What [`path::check`] refuses, a lock that is not given up, a draft that can't be made.
    pub fn create(target: &Path, options: Options) -> Result<Self, StoreError> {
        Publisher::begin(target, options)
    }

    /// Begins an edit of the map at `target`; of a missing map, a new one.
    ///
    /// # Errors
    /// As [`Publisher::create`], and whatever keeps the old map from being read.
    pub fn edit(target: &Path, options: Options) -> Result<Self, StoreError> {
        let mut publisher = Publisher::begin(target, options)?;
        if publisher.old.is_none() {
            return Ok(publisher);
        }
        let name = MapName::new(publisher.options.class, target);
        let opened = open_any(&publisher.target, name)?;
        publisher.base_class = Some(opened.class());
        publisher.duplicates = kept_by(&opened);
        let base = match opened {
            Opened::Redb(map) => {
                // The map keeps the way it was built.
                publisher.options.class = map.meta().class;
                publisher.options.described = map.meta().options.clone();
                Base::Redb(map)
            }
            other => Base::Other(other.into_map()),
        };
        publisher.base = Some(base);
        Ok(publisher)
    }

    /// Begins a map that will hold the old one's entries and more, all handed over to
    /// [`Publisher::publish_sorted`] by the caller.
    ///
    /// # Errors
    /// As [`Publisher::create`], [`StoreError::Missing`] where there is no old map, and
    /// [`StoreError::Foreign`] where it is of another class or was built without `-d` and
    /// [`OnDuplicate::KeepAll`] is asked for.
    pub fn extend(target: &Path, options: Options) -> Result<Self, StoreError> {
        let mut publisher = Publisher::begin(target, options)?;
        let path = publisher.target.clone();
        let name = MapName::new(publisher.options.class, target);
        let opened = open_any(&path, name)?;
        opened.expect_class(publisher.options.class, &path)?;
        let kept = kept_by(&opened);
        if kept == Duplicates::None && publisher.options.on_duplicate == OnDuplicate::KeepAll {
            return Err(StoreError::Foreign {
                path,
                why: "Invalid argument: the map was built without -d".into(),
            });
        }
        publisher.duplicates = kept;
        Ok(publisher)
    }

    fn begin(target: &Path, options: Options) -> Result<Self, StoreError> {
        let checked = path::check(target, Access::Write, options.safety, options.owner)?;
        let target = checked.path;
        let lock = WriterLock::acquire(&target, &beside(&target, ".lock"))?;
        // Another writer may have replaced the file while we waited.
        let old = path::check(&target, Access::Write, options.safety, options.owner)?.metadata;
        let draft = Draft::create(beside(&target, ".draft"))?;
        Ok(Publisher {
            target,
            draft,
            old,
            base: None,
            base_class: None,
            changes: BTreeMap::new(),
            duplicates: match options.on_duplicate {
                OnDuplicate::KeepAll => Duplicates::Kept,
                _ => Duplicates::None,
            },
            options,
            warnings: checked.warnings,
            _lock: lock,
        })
    }

    /// Lines for the administrator about the path: world-writable folders on the way.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The map that is edited, as it was before any change; `None` when a new one is made.
    #[must_use]
    pub fn base(&self) -> Option<&dyn Map> {
        self.base.as_ref().map(Base::map)
    }

    /// Refuses to edit a map of another class than the administrator said.
    ///
    /// # Errors
    /// [`StoreError::Foreign`].
    pub fn expect_class(&self, class: MapClass) -> Result<(), StoreError> {
        match &self.base_class {
            Some(found) if *found != class => Err(StoreError::Foreign {
                path: self.target.clone(),
                why: format!("Invalid argument: a {found} map, not a {class} map"),
            }),
            _ => Ok(()),
        }
    }

    /// Puts an entry, as [`Options::on_duplicate`] says.
    ///
    /// # Errors
    /// The old map cannot be asked whether it has the LHS.
    pub fn put(&mut self, entry: Entry) -> Result<Inserted, StoreError> {
        let there = self.holds(entry.lhs.as_bytes())?;
        let Entry { lhs, rhs } = entry;
        let (done, change) = match (there, self.options.on_duplicate) {
            (false, _) => (Inserted::New, Change::Set(rhs)),
            (true, OnDuplicate::Replace) => (Inserted::Replaced, Change::Set(rhs)),
            (true, OnDuplicate::KeepAll) if self.duplicates == Duplicates::Kept => {
                (Inserted::Added, Change::Add(rhs))
            }
            (true, OnDuplicate::KeepAll) => (Inserted::Replaced, Change::Set(rhs)),
            (true, OnDuplicate::Refuse | OnDuplicate::KeepFirst) => return Ok(Inserted::Kept),
        };
        self.change(lhs, change);
        Ok(done)
    }

    /// Gives an LHS this one value, whatever it had before, even where duplicates are kept.
    ///
    /// # Errors
    /// As [`Publisher::put`].
    pub fn set(&mut self, entry: Entry) -> Result<Inserted, StoreError> {
        let there = self.holds(entry.lhs.as_bytes())?;
        self.change(entry.lhs, Change::Set(entry.rhs));
        Ok(match there {
            true => Inserted::Replaced,
            false => Inserted::New,
        })
    }

    /// Removes an LHS with all its values; says whether it was there.
    ///
    /// # Errors
    /// As [`Publisher::put`].
    pub fn remove(&mut self, lhs: &[u8]) -> Result<bool, StoreError> {
        let there = self.holds(lhs)?;
        if there {
            self.change(Lhs::from(lhs), Change::Remove);
        }
        Ok(there)
    }

    fn change(&mut self, lhs: Lhs, change: Change) {
        let changes = self.changes.entry(lhs).or_default();
        if !matches!(change, Change::Add(_)) {
            changes.clear();
        }
        changes.push(change);
    }

    fn holds(&self, lhs: &[u8]) -> Result<bool, StoreError> {
        match self.changes.get(lhs).and_then(|all| all.last()) {
            Some(Change::Remove) => Ok(false),
            Some(Change::Set(_) | Change::Add(_)) => Ok(true),
            None => match &self.base {
                Some(base) => Ok(base.map().get(lhs)?.is_some()),
                None => Ok(false),
            },
        }
    }

    /// Makes the draft the map.
    ///
    /// # Errors
    /// Any of them leaves the old map in place.
    pub fn publish(mut self) -> Result<Published, StoreError> {
        let changes = std::mem::take(&mut self.changes);
        if let Some(Base::Redb(base)) = &self.base
            && self.options.edit == EditBy::Copying
        {
            copy_whole(&self.target, &self.draft)?;
            redb::edit(self.draft.file()?, &self.target, base.meta(), &changes)?;
            return self.finish(None);
        }
        let base = self.base.take();
        if let Some(Base::Redb(base)) = &base {
            return self
                .publish_sorted(None, &mut |sink| merge_into(sink, base.as_ref(), &changes));
        }
        let all = match &base {
            Some(base) => merged(base.map(), changes)?,
            None => merged(&crate::store::MemoryMap::new("", []), changes)?,
        };
        self.publish_sorted(None, &mut |sink| {
            for (lhs, values) in &all {
                for rhs in values {
                    sink(lhs.as_bytes(), rhs.as_bytes())?;
                }
            }
            Ok(())
        })
    }

    /// Fills the draft with what `fill` hands over in LHS order and makes it the map; changes
    /// that were put are not looked at. `source` is the digest of what it is built from.
    ///
    /// # Errors
    /// Any of them leaves the old map in place.
    pub fn publish_sorted(
        self,
        source: Option<String>,
        fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
    ) -> Result<Published, StoreError> {
        self.publish_checked(source, fill, &mut |_| Ok(()))
    }

    /// As [`Publisher::publish_sorted`]; `check` sees the finished draft before it is renamed,
    /// and its error keeps the old map in place.
    ///
    /// # Errors
    /// Any of them leaves the old map in place.
    pub fn publish_checked(
        self,
        source: Option<String>,
        fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
        check: &mut Check<'_>,
    ) -> Result<Published, StoreError> {
        let meta = Meta {
            class: self.options.class,
            duplicates: self.duplicates,
            entries: 0,
            options: self.options.described.clone(),
            source,
            program: self.options.program.clone(),
        };
        let entries = match self.options.class {
            MapClass::Hash | MapClass::Btree => {
                redb::write(self.draft.file()?, &self.target, &meta, fill)?
            }
            MapClass::Cdb => write_cdb(self.draft.file()?, &self.target, fill)?,
            class @ (MapClass::Sled | MapClass::Memory) => {
                return Err(StoreError::Unsupported {
                    path: self.target.clone(),
                    why: format!("maps of class {class} are not published as a file"),
                });
            }
        };
        let name = MapName::new(self.options.class, &self.target);
        let finished = crate::store::open_file(self.draft.file()?, &self.target, name)?;
        check(finished.into_map().as_ref())?;
        self.finish(Some(entries))
    }

    fn finish(mut self, entries: Option<u64>) -> Result<Published, StoreError> {
        let kept_berkeley = keep_berkeley(&self.target, self.old.as_ref())?;
        let entries = match entries {
            Some(entries) => entries,
            None => {
                let name = MapName::new(self.options.class, &self.target);
                RedbMap::open(self.draft.file()?, &self.target, name)?
                    .meta()
                    .entries
            }
        };
        self.carry_owner_and_mode()?;
        self.draft.sync()?;
        self.draft.rename_to(&self.target)?;
        sync_folder(&self.target)?;
        Ok(Published {
            entries,
            kept_berkeley,
        })
    }

    fn carry_owner_and_mode(&self) -> Result<(), StoreError> {
        let file = &self.draft.file;
        let at = |action| move |e| StoreError::io(&self.target, action, e);
        let mode = match &self.old {
            Some(old) => {
                let mine = file.metadata().map_err(at("stat"))?;
                if (mine.uid(), mine.gid()) != (old.uid(), old.gid()) {
                    // An ordinary user who may write a shared map can't give the new file to its
                    // owner; the group, which is what sharing goes by, is kept in any case.
                    fchown(file, Some(old.uid()), Some(old.gid()))
                        .or_else(|_| fchown(file, None, Some(old.gid())))
                        .map_err(at("chown"))?;
                }
                old.mode() & 0o7777
            }
            None => {
                if let Some(owner) = self.options.owner
                    && is_root()
                {
                    fchown(file, Some(owner), None).map_err(at("chown"))?;
                }
                self.options.mode & !umask()
            }
        };
        file.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(at("chmod"))
    }
}

fn kept_by(opened: &Opened) -> Duplicates {
    match opened.keeps_duplicates() {
        true => Duplicates::Kept,
        false => Duplicates::None,
    }
}

/// A draft on disk, removed when dropped before its rename.
#[derive(Debug)]
struct Draft {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Draft {
    /// Makes the draft; we hold the writers' lock, so a draft that is there is an orphan.
    fn create(path: PathBuf) -> Result<Self, StoreError> {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::io(&path, "remove", e)),
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|e| StoreError::io(&path, "create", e))?;
        Ok(Draft {
            path,
            file,
            renamed: false,
        })
    }

    fn file(&self) -> Result<File, StoreError> {
        self.file
            .try_clone()
            .map_err(|e| StoreError::io(&self.path, "open", e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_all()
            .map_err(|e| StoreError::io(&self.path, "fsync", e))
    }

    fn rename_to(&mut self, target: &Path) -> Result<(), StoreError> {
        fs::rename(&self.path, target).map_err(|e| StoreError::io(target, "rename", e))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The longest file name, in octets, of the file systems in use (NAME_MAX).
const NAME_MAX: usize = 255;

/// A hidden name in the target's folder: `.access.db` and the suffix.
fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default();
    let mut hidden = std::ffi::OsString::from(".");
    if name.len() + suffix.len() < NAME_MAX {
        hidden.push(name);
    } else {
        let digest = xxhash_rust::xxh3::xxh3_128(name.as_bytes());
        hidden.push(format!("{digest:032x}"));
    }
    hidden.push(suffix);
    folder_of(target).join(hidden)
}

/// The first write to a Berkeley DB file keeps it as `NAME.bdb`; one that is there already stays.
fn keep_berkeley(target: &Path, old: Option<&fs::Metadata>) -> Result<Option<PathBuf>, StoreError> {
    let Some(old) = old else { return Ok(None) };
    let at = |action| move |e| StoreError::io(target, action, e);
    let file = File::open(target).map_err(at("open"))?;
    if crate::store::sniff::sniff_file(&file, target)? != crate::store::sniff::Format::Berkeley {
        return Ok(None);
    }
    let name = target.as_os_str().as_bytes();
    let mut kept = name.strip_suffix(b".db").unwrap_or(name).to_vec();
    kept.extend_from_slice(b".bdb");
    let kept = PathBuf::from(std::ffi::OsString::from_vec(kept));
    if kept.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let mut copy = Draft::create(beside(&kept, ".draft"))?;
    io::copy(&mut &file, &mut &copy.file).map_err(at("copy"))?;
    if fchown(&copy.file, Some(old.uid()), Some(old.gid())).is_err() {
        let _ = fchown(&copy.file, None, Some(old.gid()));
    }
    // What a Berkeley sasldb2 holds are passwords in clear text: nobody but the owner
    // needs the old file, whatever it holds.
    copy.sync()?;
    copy.rename_to(&kept)?;
    Ok(Some(kept))
}

fn write_cdb(
    file: File,
    path: &Path,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut writer = CdbWriter::new(file, path);
    let mut entries = 0;
    fill(&mut |lhs, rhs| {
        entries += 1;
        writer.add(lhs, rhs)
    })?;
    writer.finish()?;
    Ok(entries)
}

fn copy_whole(from: &Path, draft: &Draft) -> Result<(), StoreError> {
    let at = |action| move |e| StoreError::io(from, action, e);
    let old = File::open(from).map_err(at("open"))?;
    io::copy(&mut &old, &mut &draft.file).map_err(at("copy"))?;
    Ok(())
}

fn sync_folder(target: &Path) -> Result<(), StoreError> {
    File::open(folder_of(target))
        .and_then(|folder| folder.sync_all())
        .map_err(|e| StoreError::io(target, "fsync the folder of", e))
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

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
