//! Publishing: a draft in the same folder, made whole, then renamed over the map.
//!
//! The order is always: take the writers' lock, make the draft with mode 0600,
//! fill and close it, give it the old file's owner and mode, fsync it, rename
//! it, fsync the folder. Whatever goes wrong before the rename leaves the old
//! map as it was and removes the draft; a draft left by a killed program is
//! removed by the next writer. So a map is at any moment the old one or the
//! new one, whole.

mod draft;
mod filled;
mod options;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::lhs::Lhs;
use crate::map::{Entry, Map, MapClass, MapName, StoreError};
use crate::store::disk::{DiskFile, patiently};
use crate::store::lock::WriterLock;
use crate::store::merge::{merge_into, merged};
use crate::store::path::{self, Access, Shape};
use crate::store::redb::{self, Change, Duplicates, Finish, Meta, RedbMap};
use crate::store::sniff::{Format, sniff_file};
use crate::store::{CdbWriter, Opened, Sink, open_any, open_file};
use draft::{Draft, Group, beside, keep_berkeley};

pub use filled::Filled;
pub use options::{Before, EditBy, Finished, Inserted, OnDuplicate, Options, Published};

/// Looks at a finished draft before it becomes the map.
pub type Check<'a> = dyn FnMut(&dyn Map) -> Result<(), StoreError> + 'a;

/// Makes a map and publishes it.
#[must_use = "dropped without publish(), the draft is removed"]
#[derive(Debug)]
pub struct Publisher {
    target: PathBuf,
    draft: Draft,
    old: Option<fs::Metadata>,
    /// The old file, open: its name may stand for another one by now.
    old_file: Option<File>,
    /// The map that is edited; `None` when a new one is made.
    base: Option<Base>,
    base_class: Option<MapClass>,
    changes: BTreeMap<Lhs, Vec<Change>>,
    options: Options,
    duplicates: Duplicates,
    group: Group,
    path_warnings: Vec<String>,
    file_warnings: Vec<String>,
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

    /// Begins an edit of the map at `target`; of a missing map or an empty file, a new one.
    ///
    /// # Errors
    /// As [`Publisher::create`], and whatever keeps the old map from being read.
    pub fn edit(target: &Path, options: Options) -> Result<Self, StoreError> {
        let mut publisher = Publisher::begin(target, options)?;
        // Only now, under the lock, is it known what stands there.
        if publisher.holds_nothing()? {
            return Ok(publisher);
        }
        let opened = publisher.old_map(target)?;
        publisher.base_class = Some(opened.class());
        publisher.duplicates = kept_by(&opened);
        let base = match opened {
            Opened::Redb(map) => {
                // The map keeps the way it was built.
                publisher.options.class = map.meta().class;
                publisher.options.described = map.meta().options.clone();
                match publisher.options.edit {
                    EditBy::Copying => Base::Redb(map),
                    EditBy::Rewriting => Base::Redb(Box::new(publisher.to_scan(map.name())?)),
                }
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
        let opened = publisher.old_map(target)?;
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

    /// The old map, by the name that the caller has for it.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none, and whatever keeps it from being read.
    pub(crate) fn old_map(&self, target: &Path) -> Result<Opened, StoreError> {
        let name = MapName::new(self.options.class, target);
        open_file(self.old_file()?, &self.target, name)
    }

    /// The old map, open for a rewriting edit, which reads every entry once.
    fn to_scan(&self, name: &MapName) -> Result<RedbMap, StoreError> {
        RedbMap::open_to_scan(self.old_file()?, &self.target, name.clone())
    }

    /// Whether there is no old map: no file, or one without an octet.
    fn holds_nothing(&self) -> Result<bool, StoreError> {
        match (&self.old, &self.old_file) {
            (Some(old), Some(file)) if old.is_file() => {
                Ok(sniff_file(file, &self.target)? == Format::Empty)
            }
            (old, _) => Ok(old.is_none()),
        }
    }

    fn old_file(&self) -> Result<File, StoreError> {
        let path = &self.target;
        match &self.old_file {
            Some(file) => {
                patiently(|| file.try_clone()).map_err(|e| StoreError::io(path, "open", e))
            }
            None => Err(StoreError::Missing { path: path.clone() }),
        }
    }

    fn begin(target: &Path, options: Options) -> Result<Self, StoreError> {
        let shape = Shape::of(options.class);
        let (safety, trusted) = (options.safety, options.owner);
        let checked = path::check_shape(target, shape, Access::Write, safety, trusted)?;
        let target = checked.path;
        let lock = WriterLock::acquire(&options.disk, &target, &beside(&target, ".lock"))?;
        // Another writer may have replaced the file while we waited.
        let (again, old_file) = path::open_checked(&target, shape, Access::Write, safety, trusted)?;
        if again.path != target {
            return Err(StoreError::Unsafe {
                path: target,
                why: "Symbolic links not allowed",
            });
        }
        let old = again.metadata;
        if let (None, Some(file)) = (&options.origin, &old_file) {
            refuse_replica(file, &target)?;
        }
        let draft = Draft::create(&options.disk, beside(&target, ".draft"), shape)?;
        let mut file_warnings = Vec::from_iter(other_names(&target, old.as_ref()));
        let group = match &old {
            Some(old) => draft.take_group(old)?,
            None => Group::AsBefore,
        };
        if let (Group::Ours, Some(old)) = (group, &old) {
            let (path, had, has) = (target.display(), old.mode() & 0o777, group.mode(old.mode()));
            file_warnings.push(format!(
                "WARNING: {path}: only its group's members can keep its group: \
                 mode {has:04o} instead of {had:04o}"
            ));
        }
        Ok(Publisher {
            target,
            draft,
            old,
            old_file,
            base: None,
            base_class: None,
            changes: BTreeMap::new(),
            duplicates: kept_of(options.on_duplicate),
            options,
            group,
            path_warnings: checked.warnings,
            file_warnings,
            _lock: lock,
        })
    }

    /// Lines for the administrator: [`Publisher::file_warnings`], and before them those about the
    /// path, which name world-writable folders on the way.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let all = self.path_warnings.iter().chain(&self.file_warnings);
        all.map(String::as_str)
    }

    /// That the old map has other names (hard links), which keep its content; that the new one
    /// can't have its group.
    #[must_use]
    pub fn file_warnings(&self) -> &[String] {
        &self.file_warnings
    }

    /// What is known of the file that is replaced, be it an empty one.
    #[must_use]
    pub fn old_metadata(&self) -> Option<&fs::Metadata> {
        self.old.as_ref()
    }

    /// The map that is edited, as it was before any change; `None` when a new one is made.
    #[must_use]
    pub fn base(&self) -> Option<&dyn Map> {
        self.base.as_ref().map(Base::map)
    }

    /// What becomes of a second value, where only the old map tells; before anything was put.
    pub fn keep(&mut self, on_duplicate: OnDuplicate) {
        self.options.on_duplicate = on_duplicate;
        self.duplicates = kept_of(on_duplicate);
    }

    /// What the new map says it was built with, in the place of what the old one said.
    pub fn describe(&mut self, options: &str) {
        options.clone_into(&mut self.options.described);
    }

    /// The options that the map which is edited says it was built with; `None` where it says
    /// none, or a new one is made.
    #[must_use]
    pub fn base_described(&self) -> Option<&str> {
        match &self.base {
            Some(Base::Redb(map)) => Some(&map.meta().options),
            _ => None,
        }
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
            self.draft.copy_whole(self.old_file()?, &self.target)?;
            let meta = Meta {
                source: self.options.source.clone(),
                origin: self.options.origin.clone(),
                program: match &self.options.origin {
                    Some(_) => self.options.program.clone(),
                    None => base.meta().program.clone(),
                },
                ..base.meta().clone()
            };
            redb::edit(self.draft.writable()?, &self.target, &meta, &changes)?;
            let changed: Vec<Lhs> = changes.into_keys().collect();
            return self.finish(None, Some(&changed));
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
        self.fill_sorted(source, fill)?.publish(&mut |_| Ok(()))
    }

    /// As [`Publisher::publish_sorted`], but for the last step: the draft is finished, and not
    /// the map yet.
    ///
    /// # Errors
    /// Any of them leaves the old map in place.
    pub fn fill_sorted(
        self,
        source: Option<String>,
        fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
    ) -> Result<Filled, StoreError> {
        let meta = Meta {
            class: self.options.class,
            duplicates: self.duplicates,
            entries: 0,
            options: self.options.described.clone(),
            source,
            program: self.options.program.clone(),
            origin: self.options.origin.clone(),
        };
        let entries = match self.options.class {
            MapClass::Hash | MapClass::Btree => {
                let finish = match self.options.edit {
                    EditBy::Copying => Finish::FewHoles,
                    EditBy::Rewriting => Finish::AsGrown,
                };
                redb::write(self.draft.writable()?, &self.target, &meta, finish, fill)?
            }
            MapClass::Cdb => write_cdb(self.cdb_writer()?, fill)?,
            #[cfg(feature = "sled")]
            MapClass::Sled => {
                crate::store::sled::write(self.draft.path(), &self.target, &meta, fill)?
            }
            class => {
                return Err(StoreError::Unsupported {
                    path: self.target.clone(),
                    why: format!("this program does not write maps of class {class}"),
                });
            }
        };
        Ok(self.filled(entries))
    }

    /// Where the entries of a cdb can be written as they come, in any order; once it is
    /// finished, [`Publisher::filled`] says so.
    ///
    /// # Errors
    /// The draft can't be opened once more.
    pub(crate) fn cdb_writer(&self) -> Result<CdbWriter<DiskFile>, StoreError> {
        Ok(CdbWriter::new(self.draft.writable()?, &self.target))
    }

    /// Takes the draft, finished by the caller, for one of so many entries.
    pub(crate) fn filled(self, entries: u64) -> Filled {
        Filled::new(self, entries)
    }

    /// The finished draft, open.
    fn finished(&self) -> Result<Opened, StoreError> {
        let name = MapName::new(self.options.class, &self.target);
        match Shape::of(self.options.class) {
            Shape::File => open_file(self.draft.file()?, &self.target, name),
            Shape::Folder => open_any(self.draft.path(), name),
        }
    }

    fn finish(
        mut self,
        entries: Option<u64>,
        changed: Option<&[Lhs]>,
    ) -> Result<Published, StoreError> {
        let entries = match entries {
            Some(entries) => entries,
            None => {
                let name = MapName::new(self.options.class, &self.target);
                RedbMap::open(self.draft.file()?, &self.target, name)?
                    .meta()
                    .entries
            }
        };
        let old = self.old.as_ref().map(|old| (old, self.old_file.as_ref()));
        self.draft
            .carry_owner_and_mode(old, self.group, &self.options, &self.target)?;
        self.draft.sync()?;
        // All that can fail has been done, but for the renames: what hosts share is current on all
        // of them once this was asked.
        if let Some(before) = &self.options.before {
            let map = &self.finished()?;
            before.ask(Finished { map, changed })?;
        }
        // No earlier: each run that failed would leave one more copy.
        let disk = &self.options.disk;
        let old = self.old.as_ref().zip(self.old_file.as_ref());
        let placed = keep_berkeley(disk, &self.target, old).and_then(|kept_berkeley| {
            self.draft.rename_to(&self.target)?;
            Ok(kept_berkeley)
        });
        let kept_berkeley = match (placed, &self.options.before) {
            (Ok(kept), _) => kept,
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => {
                return Err(StoreError::Engine {
                    path: self.target.clone(),
                    why: format!(
                        "the engine has the new generation, and it is current, but not on this \
                         host, where a follower brings it: {error}"
                    ),
                    exit: error.exit(),
                });
            }
        };
        Ok(Published {
            entries,
            kept_berkeley,
        })
    }
}

fn other_names(target: &Path, old: Option<&fs::Metadata>) -> Option<String> {
    let old = old.filter(|old| old.is_file() && old.nlink() > 1)?;
    let (path, others) = (target.display(), old.nlink() - 1);
    Some(format!(
        "WARNING: {path} has {others} more names (hard links), which keep the old content"
    ))
}

/// A replica of a shared map is changed by writers of that map alone: what another wrote would be
/// on this host only, and gone with the next generation.
fn refuse_replica(file: &File, target: &Path) -> Result<(), StoreError> {
    let Ok(file) = patiently(|| file.try_clone()) else {
        return Ok(());
    };
    match open_file(file, target, MapName::new(MapClass::Hash, target)) {
        Ok(Opened::Redb(map)) if map.meta().origin.is_some() => Err(StoreError::Foreign {
            path: target.into(),
            why: "a replica of a shared map; write to the map that its connection file names"
                .into(),
        }),
        _ => Ok(()),
    }
}

fn kept_of(on_duplicate: OnDuplicate) -> Duplicates {
    match on_duplicate {
        OnDuplicate::KeepAll => Duplicates::Kept,
        _ => Duplicates::None,
    }
}

fn kept_by(opened: &Opened) -> Duplicates {
    match opened.keeps_duplicates() {
        true => Duplicates::Kept,
        false => Duplicates::None,
    }
}

fn write_cdb(
    mut writer: CdbWriter<DiskFile>,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut entries = 0;
    fill(&mut |lhs, rhs| {
        entries += 1;
        writer.add(lhs, rhs)
    })?;
    writer.finish()?;
    Ok(entries)
}

#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;
