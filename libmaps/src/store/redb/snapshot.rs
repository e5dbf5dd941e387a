//! A published store seen by redb: the file as it is.
//!
//! redb's own read-only opening holds flock(2) on the file for as long as the
//! snapshot lives. A published file is never changed, so no lock is needed,
//! and without one a writer that must wait for *foreign* locks is not held up
//! by our own readers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use redb::StorageBackend;

use crate::store::disk::patiently;

/// The file, which nobody changes.
#[derive(Debug)]
pub(super) struct Snapshot {
    file: File,
    len: u64,
}

impl Snapshot {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = patiently(|| file.metadata())?.len();
        Ok(Snapshot { file, len })
    }
}

impl StorageBackend for Snapshot {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        patiently(|| self.file.read_exact_at(out, offset))
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn it_is_read_and_never_written() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        let snapshot = Snapshot::new(file).unwrap();
        let mut out = vec![9; 10_000];
        snapshot.read(0, &mut out).unwrap();
        assert_eq!(out, vec![1; 10_000]);
        assert!(snapshot.read(9_999, &mut [0; 2]).is_err());
        assert!(snapshot.write(4000, &[2; 200]).is_err());
        assert!(snapshot.set_len(12_000).is_err());
        assert_eq!(snapshot.len().unwrap(), 10_000);
    }
}
