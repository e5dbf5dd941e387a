//! A draft seen by redb: a file that remembers its first failure.
//!
//! redb writes once more when a store is closed, and a close has no result: a
//! failure there would be lost and a store published that was not closed
//! cleanly. So the backend keeps the first error, and [`Failure::check`] gives
//! it to whoever closed the store.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use redb::StorageBackend;

use crate::map::StoreError;

/// A draft's file: nobody else sees it and it is synced once, by the publisher, when it is
/// whole; syncing at each of redb's commits would buy nothing.
#[derive(Debug)]
pub(super) struct DraftFile {
    file: File,
    failure: Failure,
}

/// The first error that a [`DraftFile`] met.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<OnceLock<(&'static str, io::Error)>>);

impl DraftFile {
    pub(super) fn new(file: File) -> (Self, Failure) {
        let failure = Failure::default();
        let draft = DraftFile {
            file,
            failure: failure.clone(),
        };
        (draft, failure)
    }

    fn noted<T>(&self, action: &'static str, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|e| {
            // A second error follows from the first, which is the one to tell.
            let _ = self.failure.0.set((action, copied(e)));
        })
    }
}

impl Failure {
    /// The first error, if there was one, as one of the file at `path`.
    pub(super) fn check(&self, path: &Path) -> Result<(), StoreError> {
        match self.0.get() {
            None => Ok(()),
            Some((action, e)) => Err(StoreError::io(path, action, copied(e))),
        }
    }
}

/// The same error again: errors can't be cloned, but those of the system are numbers.
fn copied(e: &io::Error) -> io::Error {
    e.raw_os_error()
        .map_or_else(|| e.kind().into(), io::Error::from_raw_os_error)
}

impl StorageBackend for DraftFile {
    fn len(&self) -> io::Result<u64> {
        self.noted("stat", self.file.metadata()).map(|m| m.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.noted("read", self.file.read_exact_at(out, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.noted("write", self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.noted("write", self.file.write_all_at(data, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_remembered() {
        let path = Path::new("m.db");
        let (draft, failure) = DraftFile::new(tempfile::tempfile().unwrap());
        draft.write(0, b"text").unwrap();
        assert!(failure.check(path).is_ok());
        assert!(draft.read(2, &mut [0; 9]).is_err());
        assert!(draft.set_len(u64::MAX).is_err());
        let error = failure.check(path).unwrap_err().to_string();
        assert!(error.starts_with("m.db: cannot read it: "), "{error}");
    }
}
