//! A published store seen by redb: the file as it is.
//!
//! redb's own read-only opening holds locks on the file for as long as the
//! snapshot lives. A published file is never changed, so no lock is needed,
//! and without one a writer that must wait for *foreign* locks is not held up
//! by our own readers. So every lock that redb asks for is granted, and nobody
//! else has one.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use super::format::HEADER_OCTETS;
use super::guard::Guard;
use crate::store::disk::patiently;

/// The file, which nobody changes.
#[derive(Debug)]
pub(super) struct Snapshot {
    file: Arc<File>,
    len: u64,
    /// What the file begins with: an opening reads parts of it several times.
    header: Vec<u8>,
    guard: Guard,
}

impl Snapshot {
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let len = patiently(|| file.metadata())?.len();
        let octets = usize::try_from(len).unwrap_or(HEADER_OCTETS);
        let mut header = vec![0; octets.min(HEADER_OCTETS)];
        patiently(|| file.read_exact_at(&mut header, 0))?;
        let guard = Guard::new(&header, len)?;
        Ok(Snapshot {
            file,
            len,
            header,
            guard,
        })
    }

    /// Whether the file is shorter than its header says. redb would tell only those who ask for
    /// what is missing.
    pub(super) fn is_cut_off(&self) -> bool {
        self.least_octets().is_some_and(|least| self.len < least)
    }

    /// How long the file must at least be. `None` where there is no header.
    ///
    /// redb's `docs/design.md` has the fields: page size at 12, then the header pages and the most
    /// data pages of a region, the number of full regions, and the data pages of the last one.
    fn least_octets(&self) -> Option<u64> {
        let field = |at: usize| {
            let octets = self.header.get(at..).and_then(|rest| rest.first_chunk())?;
            Some(u64::from(u32::from_le_bytes(*octets)))
        };
        let (page, header_pages, most) = (field(12)?, field(16)?, field(20)?);
        let (full, last) = (field(24)?, field(28)?);
        let last_pages = match last {
            0 => 0,
            pages => header_pages + pages,
        };
        let pages = full.saturating_mul(header_pages + most);
        Some(pages.saturating_add(last_pages + 1).saturating_mul(page))
    }
}

impl StorageBackend for Snapshot {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let held = self.header.get(start..start.saturating_add(out.len()));
        match held {
            Some(held) => {
                out.copy_from_slice(held);
                Ok(())
            }
            None => {
                patiently(|| self.file.read_exact_at(out, offset))?;
                self.guard.judge(offset, out)
            }
        }
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

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
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
        let snapshot = Snapshot::new(Arc::new(file)).unwrap();
        for (offset, len) in [(0, 10_000), (0, 320), (7, 9), (319, 1), (300, 40)] {
            let mut out = vec![9; len];
            snapshot.read(offset, &mut out).unwrap();
            assert_eq!(out, vec![1; len]);
        }
        assert!(snapshot.read(9_999, &mut [0; 2]).is_err());
        assert!(snapshot.write(4000, &[2; 200]).is_err());
        assert!(snapshot.set_len(12_000).is_err());
        assert_eq!(snapshot.len().unwrap(), 10_000);
        assert!(snapshot.is_cut_off());
    }
}
