//! What is done to a disk, each act by a method of its own.
//!
//! Whoever promises that something survives a crash (the publisher, the queue of the server)
//! changes files and folders through a [`Disk`] that was handed in. The system's is [`System`];
//! another may refuse an act as a full or broken disk does, or write down the order of them.
//! Reading is no part of it: the files that it gives are the system's own.
//!
//! An act that a signal interrupts is done again (EINTR). What an act promises is what POSIX
//! says of its system call: a change is durable once it is synced, a name once its folder is.

use std::ffi::CStr;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::Arc;

/// The acts that change a disk. Their defaults are the system's.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a file that is not there yet, open for reading and writing. No link is followed.
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        patiently(|| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(mode)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)
        })
    }

    /// Opens a file for reading and writing, or makes it. No link is followed, no FIFO waited
    /// for.
    fn open_or_create(&self, path: &Path, mode: u32) -> io::Result<File> {
        patiently(|| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(mode)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
        })
    }

    /// Makes a folder that is not there yet.
    fn create_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        patiently(|| DirBuilder::new().mode(mode).create(path))
    }

    /// Takes an exclusive flock(2), or says that another has it.
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        loop {
            match file.try_lock() {
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Writes all of `octets` at `offset`.
    fn write_all_at(&self, file: &File, octets: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(octets, offset)
    }

    /// Lets the system begin to write to the disk what was written there, and waits for nothing: a
    /// sync has less to wait for then. What goes wrong is told by that sync.
    fn begin_to_sync(&self, file: &File, offset: u64, octets: u64) {
        begin_to_sync(file, offset, octets);
    }

    /// Appends what is left of `from` to `to`, both from where they stand. A hole stays one: it
    /// takes no room, and need not be written.
    fn copy(&self, from: &File, to: &File) -> io::Result<()> {
        copy_data(from, to)
    }

    /// Makes the file so many octets long; new ones are zeros.
    fn set_len(&self, file: &File, octets: u64) -> io::Result<()> {
        patiently(|| file.set_len(octets))
    }

    /// Gives the file away.
    fn set_owner(&self, file: &File, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        patiently(|| fchown(file, uid, gid))
    }

    /// Sets the mode of the file.
    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        patiently(|| file.set_permissions(Permissions::from_mode(mode)))
    }

    /// Sets an extended attribute of the file (xattr(7)).
    fn set_attribute(&self, file: &File, name: &CStr, octets: &[u8]) -> io::Result<()> {
        patiently(|| set_attribute(file, name, octets))
    }

    /// Removes an extended attribute of the file.
    fn remove_attribute(&self, file: &File, name: &CStr) -> io::Result<()> {
        patiently(|| remove_attribute(file, name))
    }

    /// Waits until what was done to the file is on the disk.
    fn sync(&self, file: &File) -> io::Result<()> {
        patiently(|| file.sync_all())
    }

    /// As [`Disk::sync`], without what is not needed to read the file again.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        patiently(|| file.sync_data())
    }

    /// Lets the system forget what it holds in memory of the file, as far as it takes that for
    /// what is on the disk. After a sync that failed it takes too much for it, and would show
    /// for as long as it runs what will be gone after a crash.
    fn forget(&self, file: &File) -> io::Result<()> {
        forget(file)
    }

    /// Waits until the names in the folder are on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let folder = patiently(|| File::open(path))?;
        patiently(|| folder.sync_all())
    }

    /// Waits until all of the file system that the file is on is on the disk: the names in a folder
    /// that may be written and not read, too.
    fn sync_file_system(&self, file: &File) -> io::Result<()> {
        patiently(|| sync_file_system(file))
    }

    /// Gives what is at `from` the name `to`; what had it is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        patiently(|| fs::rename(from, to))
    }

    /// Lets two names change places.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        patiently(|| exchange(one, other))
    }

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        patiently(|| fs::remove_file(path))
    }

    /// Removes a folder with all that is in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        patiently(|| fs::remove_dir_all(path))
    }
}

/// The disk that the system has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct System;

impl Disk for System {}

/// Does it again for as long as a signal interrupts it.
///
/// # Errors
/// Any but [`io::ErrorKind::Interrupted`].
pub fn patiently<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[allow(unsafe_code)] // renameat2 has no safe form in std
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let c_string = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes());
    let (a, b) = (c_string(one)?, c_string(other)?);
    let cwd = libc::AT_FDCWD;
    // SAFETY: both are C strings that live until the call is over.
    let done = unsafe { libc::renameat2(cwd, a.as_ptr(), cwd, b.as_ptr(), libc::RENAME_EXCHANGE) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(unsafe_code)] // fsetxattr has no safe form in std
fn set_attribute(file: &File, name: &CStr, octets: &[u8]) -> io::Result<()> {
    let (file, value) = (file.as_raw_fd(), octets.as_ptr().cast());
    // SAFETY: the name is a C string, the value as long as is said, and both outlive the call.
    match unsafe { libc::fsetxattr(file, name.as_ptr(), value, octets.len(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(unsafe_code)] // fremovexattr has no safe form in std
fn remove_attribute(file: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: the name is a C string that outlives the call.
    match unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As [`Disk::copy`]: each piece between two holes, which a file system that can share blocks
/// between files shares.
fn copy_data(mut from: &File, mut to: &File) -> io::Result<()> {
    let (start, end) = (
        from.stream_position()?,
        patiently(|| from.metadata())?.len(),
    );
    let shift = to.stream_position()?;
    let there = |at: u64| shift.saturating_add(at - start);
    let mut at = start;
    while let Some(piece) = data_from(from, at, end)? {
        patiently(|| from.seek(SeekFrom::Start(piece.start)))?;
        patiently(|| to.seek(SeekFrom::Start(there(piece.start))))?;
        at = piece.start;
        while at < piece.end {
            let left = piece.end - at;
            // After a signal it goes on from where both files stand then.
            let copied = patiently(|| io::copy(&mut from.take(left), &mut to).map(drop));
            copied?;
            let now = from.stream_position()?;
            if now <= at {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at = now;
        }
    }
    // A hole at the end.
    let octets = there(end.max(start));
    match patiently(|| to.metadata())?.len() < octets {
        true => patiently(|| to.set_len(octets)),
        false => Ok(()),
    }
}

/// The next piece at or behind `at` that is no hole; all that is left where the file system does
/// not tell.
fn data_from(file: &File, at: u64, end: u64) -> io::Result<Option<Range<u64>>> {
    if at >= end {
        return Ok(None);
    }
    let start = match seek_to(file, at, libc::SEEK_DATA) {
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(Some(at..end)),
        start => start?,
    };
    let hole = seek_to(file, start, libc::SEEK_HOLE)?;
    let piece = start..hole.min(end);
    Ok((!piece.is_empty()).then_some(piece))
}

#[allow(unsafe_code)] // lseek for data and holes has no safe form in std
fn seek_to(file: &File, at: u64, whence: libc::c_int) -> io::Result<u64> {
    let offset = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    patiently(|| {
        // SAFETY: the descriptor is open for as long as the call lasts.
        let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
        u64::try_from(found).map_err(|_| io::Error::last_os_error())
    })
}

#[allow(unsafe_code)] // syncfs has no safe form in std
fn sync_file_system(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the call lasts.
    match unsafe { libc::syncfs(file.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(unsafe_code)] // sync_file_range has no safe form in std
fn begin_to_sync(file: &File, offset: u64, octets: u64) {
    let (Ok(offset), Ok(octets)) = (i64::try_from(offset), i64::try_from(octets)) else {
        return;
    };
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: the descriptor is open for as long as the call lasts.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, octets, flags) };
}

#[allow(unsafe_code)] // posix_fadvise has no safe form in std
fn forget(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the call lasts.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A file that is written through a [`Disk`].
#[derive(Debug)]
pub struct DiskFile {
    disk: Arc<dyn Disk>,
    file: File,
    /// Where [`Write`] goes on.
    position: u64,
}

impl DiskFile {
    /// The file, to be written from its start.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, file: File) -> Self {
        DiskFile {
            disk,
            file,
            position: 0,
        }
    }

    /// The file, to be read.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// As [`Disk::write_all_at`].
    ///
    /// # Errors
    /// Those of write(2).
    pub fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_all_at(&self.file, octets, offset)
    }

    /// As [`Disk::begin_to_sync`].
    pub fn begin_to_sync(&self, offset: u64, octets: u64) {
        self.disk.begin_to_sync(&self.file, offset, octets);
    }

    /// As [`Disk::set_len`].
    ///
    /// # Errors
    /// Those of ftruncate(2).
    pub fn set_len(&self, octets: u64) -> io::Result<()> {
        self.disk.set_len(&self.file, octets)
    }

    /// As [`Disk::sync`].
    ///
    /// # Errors
    /// Those of fsync(2).
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }

    /// As [`Disk::sync_data`].
    ///
    /// # Errors
    /// Those of fdatasync(2).
    pub fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data(&self.file)
    }
}

impl Write for DiskFile {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all_at(octets, self.position)?;
        self.position += octets.len() as u64;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for DiskFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_interrupts_is_done_again() {
        let mut tries = 0;
        let done = patiently(|| {
            tries += 1;
            match tries {
                1..=3 => Err(io::ErrorKind::Interrupted.into()),
                _ => Ok(tries),
            }
        });
        assert_eq!(done.unwrap(), 4);
        let failed = patiently(|| Err::<(), _>(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn what_is_forgotten_is_read_from_the_disk() {
        let file = tempfile::tempfile().unwrap();
        System.write_all_at(&file, b"octets", 0).unwrap();
        System.sync(&file).unwrap();
        System.forget(&file).unwrap();
        let mut got = [0; 6];
        file.read_exact_at(&mut got, 0).unwrap();
        assert_eq!(&got, b"octets");
    }

    #[test]
    fn a_copy_has_the_octets_and_the_holes() {
        use std::os::unix::fs::MetadataExt;
        let mib = 1 << 20;
        // Where data stands in a file of four mebioctets, and where the copy begins.
        let cases: [(&[u64], u64); 6] = [
            (&[], 0),
            (&[0], 0),
            (&[3 * mib], 0),
            (&[0, 2 * mib], 0),
            (&[mib, 4 * mib - 5], 0),
            (&[mib, 4 * mib - 5], 7),
        ];
        for (data, from_start) in cases {
            let mut from = tempfile::tempfile().unwrap();
            from.set_len(4 * mib).unwrap();
            for at in data {
                from.write_all_at(b"octet", *at).unwrap();
            }
            from.seek(SeekFrom::Start(from_start)).unwrap();
            let mut to = tempfile::tempfile().unwrap();
            to.write_all(b"before").unwrap();
            System.copy(&from, &to).unwrap();
            let mut want = vec![0; (4 * mib) as usize];
            from.read_exact_at(&mut want, 0).unwrap();
            want.splice(..from_start as usize, *b"before");
            let mut got = vec![7; want.len()];
            to.read_exact_at(&mut got, 0).unwrap();
            assert!(got == want, "{data:?}");
            let (had, has) = (from.metadata().unwrap(), to.metadata().unwrap());
            assert_eq!(has.len(), want.len() as u64);
            // A file system that has no holes has none in either.
            assert!(has.blocks() <= had.blocks() + 64, "{data:?}");
        }
    }

    #[test]
    fn a_file_is_written_where_it_stands() {
        let file = tempfile::tempfile().unwrap();
        let mut written = DiskFile::new(Arc::new(System), file);
        written.write_all(b"octets").unwrap();
        written.seek(SeekFrom::Start(1)).unwrap();
        written.write_all(b"CT").unwrap();
        written.seek(SeekFrom::End(-1)).unwrap();
        written.write_all(b"S!").unwrap();
        assert!(written.seek(SeekFrom::Current(-99)).is_err());
        let mut got = [0; 7];
        written.file().read_exact_at(&mut got, 0).unwrap();
        assert_eq!(&got, b"oCTetS!");
    }
}
