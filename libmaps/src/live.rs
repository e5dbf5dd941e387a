//! Live maps: a snapshot for each transaction, and the last good map kept.
//!
//! Publishing always renames, and while a snapshot keeps its file open the
//! kernel cannot give that file's inode to another. So device and inode say
//! exactly whether there is a newer map, and no clock is needed. A file that
//! is copied over a live map in place (`cp`) is outside this promise.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::map::StoreError;
use crate::opening;

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let metadata = opening::metadata(path).map_err(|e| StoreError::io(path, "stat", e))?;
        Ok(Identity(metadata.dev(), metadata.ino()))
    }
}

/// What [`Live::refresh`] found.
#[derive(Debug)]
pub enum Refresh {
    /// The file is the one that is open.
    Unchanged,
    /// A newer file is open now.
    Reloaded,
    /// A newer file is missing or broken: the last good one stays, and this is to be logged.
    KeptOld(StoreError),
}

/// How a file becomes a `T`.
type Open<T> = Box<dyn Fn(&Path) -> Result<T, StoreError> + Send + Sync>;

/// Something read from a file that others replace by rename.
pub struct Live<T> {
    path: PathBuf,
    open: Open<T>,
    current: RwLock<(Identity, Arc<T>)>,
    /// One opening at a time: it holds up nobody who only wants a snapshot, or finds that there
    /// is nothing newer.
    opening: Mutex<()>,
}

impl<T: std::fmt::Debug> std::fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<T> Live<T> {
    /// Opens `path` for the first time.
    ///
    /// # Errors
    /// Whatever `open` says: at the start there is no last good one to keep.
    pub fn open(
        path: impl Into<PathBuf>,
        open: impl Fn(&Path) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        let (identity, value) = load(&path, &open)?;
        Ok(Live {
            current: RwLock::new((identity, Arc::new(value))),
            path,
            open: Box::new(open),
            opening: Mutex::new(()),
        })
    }

    /// What is current now; it never changes in the holder's hands.
    #[must_use]
    pub fn snapshot(&self) -> Arc<T> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.1)
    }

    /// Looks whether there is a newer file, and opens it if so.
    pub fn refresh(&self) -> Refresh {
        if let Some(answer) = self.look() {
            return answer;
        }
        let one = self.opening.lock();
        let _one = one.unwrap_or_else(PoisonError::into_inner);
        // Another may have opened it while we waited.
        if let Some(answer) = self.look() {
            return answer;
        }
        match load(&self.path, &self.open) {
            Ok((identity, value)) => {
                let fresh = (identity, Arc::new(value));
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = fresh;
                Refresh::Reloaded
            }
            Err(e) => Refresh::KeptOld(e),
        }
    }

    /// What a refresh finds where nothing is to be opened.
    fn look(&self) -> Option<Refresh> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        // While it is held, its file is open and no other can have its inode.
        let (known, _held) = (current.0, Arc::clone(&current.1));
        drop(current);
        match Identity::of(&self.path) {
            Ok(found) if found == known => Some(Refresh::Unchanged),
            Ok(_) => None,
            Err(e) => Some(Refresh::KeptOld(e)),
        }
    }

    /// The path that is watched.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the file and says which one it was, even if it was replaced meanwhile.
fn load<T>(
    path: &Path,
    open: &dyn Fn(&Path) -> Result<T, StoreError>,
) -> Result<(Identity, T), StoreError> {
    loop {
        let before = Identity::of(path)?;
        let value = open(path)?;
        // While `value` holds the file open, an equal inode is the same file.
        if Identity::of(path)? == before {
            return Ok((before, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io};

    /// Holds its file open, as a store does.
    struct Text(String, #[allow(dead_code)] fs::File);

    fn read(path: &Path) -> Result<Text, StoreError> {
        let at = |e| StoreError::io(path, "read", e);
        let mut file = fs::File::open(path).map_err(at)?;
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).map_err(at)?;
        if text == "broken" {
            return Err(at(io::ErrorKind::InvalidData.into()));
        }
        Ok(Text(text, file))
    }

    #[test]
    fn who_finds_nothing_newer_does_not_wait_for_who_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        fs::write(&path, "one").unwrap();
        let live = Live::open(&path, read).unwrap();
        std::thread::scope(|scope| {
            let opening = live.opening.lock().unwrap();
            let (sent, got) = std::sync::mpsc::channel();
            let live = &live;
            scope.spawn(move || sent.send(matches!(live.refresh(), Refresh::Unchanged)));
            let waited = std::time::Duration::from_secs(20);
            let unchanged = got.recv_timeout(waited);
            drop(opening);
            assert_eq!(unchanged, Ok(true));
        });
    }

    #[test]
    fn the_last_good_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let publish = |text: &str| {
            let draft = dir.path().join("draft");
            fs::write(&draft, text).unwrap();
            fs::rename(&draft, &path).unwrap();
        };
        assert!(matches!(
            Live::open(&path, read),
            Err(StoreError::Missing { .. })
        ));
        publish("one");
        let live = Live::open(&path, read).unwrap();
        let held = live.snapshot();
        assert!(matches!(live.refresh(), Refresh::Unchanged));
        publish("two");
        assert!(matches!(live.refresh(), Refresh::Reloaded));
        assert_eq!(live.snapshot().0, "two");
        assert_eq!(held.0, "one");
        publish("broken");
        assert!(matches!(
            live.refresh(),
            Refresh::KeptOld(StoreError::Io { .. })
        ));
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            live.refresh(),
            Refresh::KeptOld(StoreError::Missing { .. })
        ));
        assert_eq!(live.snapshot().0, "two");
        publish("three");
        assert!(matches!(live.refresh(), Refresh::Reloaded));
        assert_eq!(live.snapshot().0, "three");
    }
}
