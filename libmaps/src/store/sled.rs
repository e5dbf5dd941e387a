//! Class `sled`: a folder with a sled 0.34 store.
//!
//! Beside sled's own files stands `manifest`: a line `WORD TEXT` for each of
//! `format`, `duplicates`, `entries`, `options`, `source` and `program` (as in
//! a redb map's table `meta`), and a line `file DIGEST OCTETS NAME` for each
//! file, with its XXH3-128 digest.
//!
//! sled opens a store for one program at a time, writes to it even to read it,
//! and mends what is damaged by cutting it off. None of that may happen to a
//! published map, so reading works on a private copy in the folder for
//! temporary files, and the copy must agree with the manifest before sled sees
//! it. Opening costs as much as copying; hash and cdb have no such cost.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sled::{Config, Db, IVec};
use xxhash_rust::xxh3::Xxh3;

use crate::map::{Entries, Entry, Map, MapName, StoreError};
use crate::rhs::Rhs;
use crate::store::Sink;
use crate::store::redb::{Duplicates, FORMAT, Meta};

const MANIFEST: &str = "manifest";

/// What a manifest may be long; there are a dozen lines in one.
const MANIFEST_MAX_OCTETS: u64 = 1 << 20;

/// sled's cache, in octets.
const CACHE_OCTETS: u64 = 64 << 20;

/// How often a map that is replaced while it is copied is copied again.
const ATTEMPTS: u32 = 100;

/// A published sled map, open for reading; a snapshot for as long as it lives.
#[derive(Debug)]
pub struct SledMap {
    name: MapName,
    // Dropped before the copy that it stands in.
    db: Db,
    entries: u64,
    _copy: PrivateCopy,
}

impl SledMap {
    /// Opens the map in the folder at `path`.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for a folder without a manifest, [`StoreError::Corrupt`] where a
    /// file differs from it, [`StoreError::Unsupported`] for another format number.
    pub fn open(path: &Path, name: MapName) -> Result<Self, StoreError> {
        let mut attempt = 1;
        let (copy, entries) = loop {
            let folder = File::open(path).map_err(|e| StoreError::io(path, "open", e))?;
            match PrivateCopy::of(&folder, path) {
                Ok(copied) => break copied,
                // A writer exchanged the folder and is removing the old one: take the new one.
                Err(_) if replaced(&folder, path) && attempt < ATTEMPTS => attempt += 1,
                Err(e) => return Err(e),
            }
        };
        let db = guarded(path, || {
            opened(&copy.folder).map_err(|e| from_sled(path, e))
        })?;
        Ok(SledMap {
            name,
            db,
            entries,
            _copy: copy,
        })
    }

    /// How many entries the map holds.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }
}

impl Map for SledMap {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        let path = &self.name.path;
        guarded(path, || {
            let found = self.db.get(lhs).map_err(|e| from_sled(path, e))?;
            Ok(found.map(|rhs| Rhs::from(rhs.as_ref())))
        })
    }

    fn iter(&self) -> Entries<'_> {
        let path = &self.name.path;
        Box::new(self.db.iter().map(move |item: Result<(IVec, IVec), _>| {
            let (lhs, rhs) = item.map_err(|e| from_sled(path, e))?;
            Ok(Entry::new(lhs.as_ref(), rhs.as_ref()))
        }))
    }

    fn name(&self) -> &MapName {
        &self.name
    }
}

/// Fills the empty folder `draft` with what `fill` hands over; returns the number of entries.
///
/// # Errors
/// Duplicates are to be kept, which sled cannot, or the system's own errors; `path` stands in
/// them.
pub(crate) fn write(
    draft: &Path,
    path: &Path,
    meta: &Meta,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    if meta.duplicates == Duplicates::Kept {
        return Err(StoreError::Unsupported {
            path: path.into(),
            why: "a sled map holds one value a key".into(),
        });
    }
    let mut entries = 0;
    guarded(path, || {
        let db = opened(draft).map_err(|e| from_sled(path, e))?;
        fill(&mut |lhs, rhs| {
            entries += 1;
            db.insert(lhs, rhs).map_err(|e| from_sled(path, e))?;
            Ok(())
        })?;
        db.flush().map_err(|e| from_sled(path, e))?;
        drop(db);
        // What a close could not write shows only when the store is opened again.
        let stored = opened(draft).map_err(|e| from_sled(path, e))?.len() as u64;
        match stored == entries {
            true => Ok(()),
            false => Err(damaged(
                path,
                format!("{stored} of {entries} entries were stored"),
            )),
        }
    })?;
    let at = |e| StoreError::io(path, "write", e);
    let mut lines = format!(
        "format {FORMAT}\nentries {entries}\noptions {}\nsource {}\nprogram {}\n",
        meta.options,
        meta.source.as_deref().unwrap_or_default(),
        meta.program
    );
    for name in files_in(draft, Path::new("")).map_err(at)? {
        let file = File::open(draft.join(&name)).map_err(at)?;
        let (digest, octets) = copy(file, io::sink()).map_err(at)?;
        lines.push_str(&format!("file {digest} {octets} {}\n", name.display()));
    }
    File::create_new(draft.join(MANIFEST))
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(at)?;
    Ok(entries)
}

fn opened(folder: &Path) -> sled::Result<Db> {
    Config::new()
        .path(folder)
        .cache_capacity(CACHE_OCTETS)
        .flush_every_ms(None)
        .open()
}

/// The names of all files in the folder `below` of `folder`, sled's `blobs` included.
fn files_in(folder: &Path, below: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() && below.as_os_str().is_empty() {
            names.extend(files_in(folder, &name)?);
        } else {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies to the end; the digest and the number of octets.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<(String, u64)> {
    let mut digest = Xxh3::new();
    let mut buffer = vec![0; 1 << 16];
    let mut octets = 0;
    loop {
        let got = match from.read(&mut buffer) {
            Ok(0) => return Ok((format!("{:032x}", digest.digest128()), octets)),
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let piece = buffer.get(..got).unwrap_or_default();
        digest.update(piece);
        to.write_all(piece)?;
        octets += got as u64;
    }
}

/// Whether another folder stands at `path` now.
fn replaced(folder: &File, path: &Path) -> bool {
    match (folder.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) != (b.dev(), b.ino()),
        _ => false,
    }
}

/// A copy of a published store that is ours alone, removed when dropped.
#[derive(Debug)]
struct PrivateCopy {
    folder: PathBuf,
}

impl PrivateCopy {
    /// Copies what the manifest of the open `folder` names, and the number of entries it tells.
    fn of(folder: &File, path: &Path) -> Result<(Self, u64), StoreError> {
        let at = |e| StoreError::io(path, "read", e);
        // The open folder stays the same one, whatever is renamed meanwhile.
        let from = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let manifest = Manifest::read(&from, path)?;
        let copy = PrivateCopy::new().map_err(|e| StoreError::io(path, "copy", e))?;
        for (digest, octets, name) in &manifest.files {
            let to = copy.folder.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(at)?;
            }
            let file = File::open(from.join(name)).map_err(at)?;
            // One octet more than there should be is enough to see that there is more.
            let file = file.take(octets.saturating_add(1));
            let to = File::create_new(to).map_err(|e| StoreError::io(path, "copy", e))?;
            let found = self::copy(file, to).map_err(|e| StoreError::io(path, "copy", e))?;
            if found != (digest.clone(), *octets) {
                let why = format!("{} is not what was published", name.display());
                return Err(damaged(path, why));
            }
        }
        Ok((copy, manifest.entries))
    }

    fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("libmaps-sled-{}-{number}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(PrivateCopy { folder }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a map's manifest says.
struct Manifest {
    entries: u64,
    /// Digest, octets and name of each file.
    files: Vec<(String, u64, PathBuf)>,
}

impl Manifest {
    fn read(folder: &Path, path: &Path) -> Result<Self, StoreError> {
        let mut text = String::new();
        let read = File::open(folder.join(MANIFEST))
            .and_then(|file| file.take(MANIFEST_MAX_OCTETS).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Foreign {
                    path: path.into(),
                    why: "Invalid argument: a folder without a sled map's manifest".into(),
                });
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                return Err(damaged(path, "its manifest is no text".into()));
            }
            Err(e) => return Err(StoreError::io(path, "read", e)),
        }
        let (mut format, mut entries, mut files) = (None, None, Vec::new());
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("format", number)) => format = number.parse::<u32>().ok(),
                Some(("entries", number)) => entries = number.parse().ok(),
                Some(("file", rest)) => {
                    files.push(file_line(rest).ok_or_else(|| {
                        damaged(path, format!("its manifest has the line {line:?}"))
                    })?)
                }
                _ => {}
            }
        }
        if let Some(other) = format.filter(|format| *format != FORMAT) {
            return Err(StoreError::Unsupported {
                path: path.into(),
                why: format!("map format {other}; this program reads format {FORMAT}"),
            });
        }
        match (format, entries) {
            (Some(_), Some(entries)) => Ok(Manifest { entries, files }),
            _ => Err(damaged(path, "its manifest is not whole".into())),
        }
    }
}

/// Digest, octets and name; the name leads nowhere but into the folder.
fn file_line(rest: &str) -> Option<(String, u64, PathBuf)> {
    let (digest, rest) = rest.split_once(' ')?;
    let (octets, name) = rest.split_once(' ')?;
    let name = PathBuf::from(name);
    let inside = name.components().all(|c| matches!(c, Component::Normal(_)));
    inside.then_some((digest.into(), octets.parse().ok()?, name))
}

fn damaged(path: &Path, why: String) -> StoreError {
    StoreError::Corrupt {
        path: path.into(),
        page: None,
        why,
    }
}

/// Runs what calls into sled, which stops with a panic on some failures of the system.
fn guarded<T>(path: &Path, f: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|_| Err(damaged(path, "the store library stopped".into())))
}

/// sled's errors in our words.
fn from_sled(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => StoreError::io(path, "read or write", source),
        sled::Error::Unsupported(why) => StoreError::Unsupported {
            path: path.into(),
            why,
        },
        other => damaged(path, other.to_string()),
    }
}

#[cfg(test)]
#[path = "sled_tests.rs"]
mod tests;
