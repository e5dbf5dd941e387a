//! The queue on disk: a journal, the database behind it, and a file each for large texts.
//!
//! ```text
//! QUEUE/lock           locked by the server that has the queue
//! QUEUE/journal/N      changes that are durable; see the journal's own description
//! QUEUE/queue.redb     tables `envelopes` (id -> JSON), `bodies` (id -> text), `meta`,
//!                      `progress` (id, number of a copy -> JSON of the copy)
//! QUEUE/large/ID       a large text; durable before its envelope is
//! QUEUE/incoming/ID    a text that is still being received; removed at start
//! QUEUE/secret         32 random octets, made once
//! ```
//!
//! What becomes of one copy of many is a small row of its own, so that a list of thousands
//! does not cost its whole envelope a copy; the next writing of the envelope takes the
//! rows in.

use std::collections::HashSet;
use std::fs::{self, TryLockError};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use libmaps::store::disk::Disk;
use serde::de::DeserializeOwned;

use super::base::Base;
use super::change::{Change, Piece, Text as Place};
use super::database::LOCK_PATIENCE;
use super::envelope::Envelope;
use super::error::QueueError;
use super::journal::Journal;
use super::layer::{Delta, Layer};
use super::text::Stored;

/// The open store.
#[derive(Debug)]
pub(super) struct Store {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    base: Base,
    layers: RwLock<Layers>,
    /// Why the database took nothing in last.
    trouble: Mutex<Option<String>>,
    /// Locked for as long as this is open.
    _lock: fs::File,
}

/// What the database does not have yet.
#[derive(Debug, Default)]
struct Layers {
    /// What is new.
    newest: Layer,
    /// What the database is about to take in.
    leaving: Option<Arc<Layer>>,
}

impl Store {
    /// Opens or makes the queue of this folder, repairing what a crash left: the database
    /// takes in what the journal has.
    pub(super) fn open(folder: &Path, disk: &Arc<dyn Disk>) -> Result<(Self, Journal), QueueError> {
        let journals = folder.join("journal");
        for folder in [
            folder,
            &folder.join("large"),
            &folder.join("incoming"),
            &journals,
        ] {
            make_folder(disk.as_ref(), folder)?;
        }
        let lock = lock(disk.as_ref(), &folder.join("lock"))?;
        let base = Base::open(folder.join("queue.redb"), Arc::clone(disk))?;
        let mut layer = Layer::default();
        let taken = base.taken()?;
        let journal = Journal::open(&journals, Arc::clone(disk), taken, |change| {
            layer.apply(change)
        })?;
        if journal.last() > taken {
            base.take_in(&layer, journal.last())?;
        }
        keep_names(disk.as_ref(), folder)?;
        let store = Store {
            disk: Arc::clone(disk),
            folder: folder.into(),
            base,
            layers: RwLock::default(),
            trouble: Mutex::default(),
            _lock: lock,
        };
        Ok((store, journal))
    }

    /// Shows every envelope, and removes the orphans of a crash. This comes before changes.
    pub(super) fn load(&self, mut each: impl FnMut(&Envelope)) -> Result<(), QueueError> {
        // Files that no envelope claims: nobody was told 250 for them.
        let mut orphans = self.files_in("large")?;
        self.base.each(|id, json| {
            let envelope: Envelope = parse(id, json)?;
            orphans.remove(&*envelope.id);
            each(&envelope);
            Ok(())
        })?;
        for id in orphans {
            let _ = self.disk.remove_file(&self.large(&id));
        }
        for id in self.files_in("incoming")? {
            let _ = self.disk.remove_file(&self.incoming(&id));
        }
        Ok(())
    }

    fn files_in(&self, name: &str) -> Result<HashSet<String>, QueueError> {
        let folder = self.folder.join(name);
        let names = fs::read_dir(&folder).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        });
        names.map_err(QueueError::io(folder, "read folder"))
    }

    /// Large texts go to their place before an envelope says that they are there; whether
    /// any did. Their folder is to be synced then.
    pub(super) fn place_large(&self, changes: &[Change]) -> Result<bool, QueueError> {
        let mut placed = false;
        for change in changes {
            if let Change::Add(id, _, Place::Large) = change {
                let (from, to) = (self.incoming(id), self.large(id));
                self.disk
                    .rename(&from, &to)
                    .map_err(QueueError::io(to, "rename"))?;
                placed = true;
            }
        }
        Ok(placed)
    }

    /// Makes the names of placed texts durable.
    pub(super) fn sync_large(&self) -> Result<(), QueueError> {
        let folder = self.folder.join("large");
        let synced = self.disk.sync_folder(&folder);
        synced.map_err(QueueError::io(folder, "fsync"))
    }

    /// Takes in changes that the journal has.
    pub(super) fn apply(&self, changes: impl Iterator<Item = Change>) {
        let mut gone = Vec::new();
        {
            let layers = self.layers.write();
            let mut layers = layers.unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                if let Change::Remove(id) = &change {
                    gone.push(id.clone());
                }
                layers.newest.apply(change);
            }
        }
        for id in gone {
            let _ = self.disk.remove_file(&self.large(&id));
        }
    }

    /// What is new becomes what the database is to take in, unless it still has to take
    /// something else in: that is given then.
    pub(super) fn leaving(&self) -> Arc<Layer> {
        let layers = self.layers.write();
        let mut layers = layers.unwrap_or_else(PoisonError::into_inner);
        if let Some(leaving) = &layers.leaving {
            return Arc::clone(leaving);
        }
        let leaving = Arc::new(std::mem::take(&mut layers.newest));
        layers.leaving = Some(Arc::clone(&leaving));
        leaving
    }

    /// The database takes in what is leaving, with which all frames up to this number are.
    pub(super) fn take_in(&self, layer: &Layer, number: u64) -> Result<(), QueueError> {
        let taken = self.base.take_in(layer, number);
        let text = taken.as_ref().err().map(ToString::to_string);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = text;
        taken?;
        let layers = self.layers.write();
        layers.unwrap_or_else(PoisonError::into_inner).leaving = None;
        Ok(())
    }

    /// Why the database took nothing in when it was last asked to.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The envelope of this id, with what became of its copies since it was written.
    pub(super) fn envelope(&self, id: &str) -> Result<Envelope, QueueError> {
        let unknown = || QueueError::Unknown(id.into());
        let (mut found, mut newer) = (None, Vec::new());
        {
            let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
            for layer in [Some(&layers.newest), layers.leaving.as_deref()] {
                match layer.and_then(|layer| layer.get(id)) {
                    None => continue,
                    Some(Delta::Removed) => return Err(unknown()),
                    Some(Delta::Changed(changed)) => {
                        newer.push(changed.notes.clone());
                        found.clone_from(&changed.envelope);
                    }
                }
                if found.is_some() {
                    break;
                }
            }
        }
        let mut envelope: Envelope;
        match found {
            Some(json) => envelope = parse(id, &json)?,
            None => {
                let stored = self.base.envelope(id)?.ok_or_else(unknown)?;
                envelope = parse(id, &stored.envelope)?;
                put_notes(&mut envelope, stored.notes)?;
            }
        }
        for notes in newer.into_iter().rev() {
            put_notes(&mut envelope, notes)?;
        }
        Ok(envelope)
    }

    /// The text of this id: from memory, from the database, or from its file.
    pub(super) fn text(&self, id: &str) -> Result<Stored, QueueError> {
        {
            let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
            for layer in [Some(&layers.newest), layers.leaving.as_deref()] {
                match layer.and_then(|layer| layer.get(id)) {
                    None => {}
                    Some(Delta::Removed) => return Err(QueueError::Unknown(id.into())),
                    Some(Delta::Changed(changed)) => {
                        if let Some(text) = &changed.text {
                            return Ok(Stored::Memory(Cursor::new(Arc::clone(text))));
                        }
                    }
                }
            }
        }
        if let Some(text) = self.base.text(id)? {
            return Ok(Stored::Memory(Cursor::new(text.into())));
        }
        let path = self.large(id);
        match fs::File::open(&path) {
            Ok(file) => Ok(Stored::File(file)),
            Err(source) => Err(QueueError::io(path, "open")(source)),
        }
    }

    /// Removes the files of a large text whose message the store has not taken. Where
    /// nobody can tell, they stay until the next start.
    pub(super) fn discard(&self, id: &str) {
        if matches!(self.envelope(id), Err(QueueError::Unknown(_))) {
            let _ = self.disk.remove_file(&self.incoming(id));
            let _ = self.disk.remove_file(&self.large(id));
        }
    }

    /// The folder of the queue.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn incoming(&self, id: &str) -> PathBuf {
        self.folder.join("incoming").join(id)
    }

    fn large(&self, id: &str) -> PathBuf {
        self.folder.join("large").join(id)
    }
}

/// What became of copies is put into an envelope.
fn put_notes(
    envelope: &mut Envelope,
    notes: impl IntoIterator<Item = (u32, Piece)>,
) -> Result<(), QueueError> {
    for (at, json) in notes {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(target) = envelope.targets.get_mut(at) {
            *target = parse(&envelope.id, &json)?;
        }
    }
    Ok(())
}

/// Makes the folder of a queue, where it is not there.
pub(super) fn make_folder(disk: &dyn Disk, path: &Path) -> Result<(), QueueError> {
    make_with_mode(disk, path, 0o700)
}

/// The folders above it are passed through by others.
fn make_with_mode(disk: &dyn Disk, path: &Path, mode: u32) -> Result<(), QueueError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_with_mode(disk, above, 0o755)?;
    }
    match disk.create_folder(path, mode) {
        Err(source) if !path.is_dir() => Err(QueueError::Io {
            path: path.into(),
            action: "make folder",
            source,
        }),
        _ => keep_name(disk, path),
    }
}

/// Takes the lock of the queue. That of the database is not enough: it is free while the
/// database is opened anew, and the journal takes mail all the same.
fn lock(disk: &dyn Disk, path: &Path) -> Result<fs::File, QueueError> {
    let file = disk.open_or_create(path, 0o600);
    let file = file.map_err(QueueError::io(path, "open"))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match disk.try_lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => return Err(QueueError::InUse(path.into())),
            Err(TryLockError::Error(error)) => return Err(QueueError::io(path, "lock")(error)),
        }
    }
}

/// Makes the names of the queue's folders, its database and its journal durable: what stands in a file
/// is safe only if its name is. Whoever made them may have been killed before it came to that.
fn keep_names(disk: &dyn Disk, folder: &Path) -> Result<(), QueueError> {
    let journals = folder.join("journal");
    let synced = disk.sync_folder(&journals);
    synced.map_err(QueueError::io(journals, "fsync"))?;
    keep_name(disk, &folder.join("large"))?;
    keep_name(disk, folder)
}

fn keep_name(disk: &dyn Disk, path: &Path) -> Result<(), QueueError> {
    let above = match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    match disk.sync_folder(above) {
        Ok(()) => Ok(()),
        // A user's own queue may stand in a folder that he can't read.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(source) => Err(QueueError::Io {
            path: above.into(),
            action: "fsync",
            source,
        }),
    }
}

fn parse<T: DeserializeOwned>(id: &str, json: &[u8]) -> Result<T, QueueError> {
    serde_json::from_slice(json).map_err(|source| QueueError::Envelope {
        id: id.into(),
        source,
    })
}
