//! Which format a file has, by its first octets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::berkeley::is_berkeley;
use super::cdb::Header;
use super::disk::patiently;
use super::open_for_reading;
use crate::map::StoreError;

/// As many octets of a file as [`sniff`] looks at.
pub const SNIFF_OCTETS: usize = 2048;

/// redb's magic number.
const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// The formats that a map's file can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A redb store: classes hash and btree.
    Redb,
    /// A file of the Berkeley DB family, readable or not.
    Berkeley,
    /// A constant database, told by its tables for want of a magic number.
    Cdb,
    /// No octets at all.
    Empty,
    /// None of these.
    Unknown,
}

impl Format {
    /// Whether it is one of maps.
    #[must_use]
    pub fn is_map(self) -> bool {
        matches!(self, Format::Redb | Format::Berkeley | Format::Cdb)
    }
}

/// Tells the format from the first octets of a file, up to [`SNIFF_OCTETS`] of
/// them, and from its length.
///
/// A cdb has no magic number: its 256 tables must lie within the file and end
/// where it ends. A damaged one is therefore `Unknown`; a program that was
/// told the class opens it as such and gets the better error.
#[must_use]
pub fn sniff(first: &[u8], file_octets: u64) -> Format {
    if first.is_empty() {
        Format::Empty
    } else if first.starts_with(REDB_MAGIC) {
        Format::Redb
    } else if is_berkeley(first) {
        Format::Berkeley
    } else if Header::parse(first, file_octets).is_ok_and(|header| header.fills(file_octets)) {
        Format::Cdb
    } else {
        Format::Unknown
    }
}

/// Tells what an open file is.
///
/// # Errors
/// It cannot be read.
pub fn sniff_file(file: &File, path: &Path) -> Result<Format, StoreError> {
    let at = |e| StoreError::io(path, "read", e);
    let len = patiently(|| file.metadata()).map_err(at)?.len();
    let mut first = [0; SNIFF_OCTETS];
    let mut got = 0;
    while let Some(room) = first.get_mut(got..)
        && !room.is_empty()
    {
        match file.read_at(room, got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(at(e)),
        }
    }
    Ok(sniff(first.get(..got).unwrap_or_default(), len))
}

/// Tells what the file at `path` is.
///
/// # Errors
/// It cannot be opened or read.
pub fn sniff_path(path: &Path) -> Result<Format, StoreError> {
    sniff_file(&open_for_reading(path)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cdb(entries: &[(&str, &str)]) -> Vec<u8> {
        let out = std::io::Cursor::new(Vec::new());
        let mut writer = crate::store::CdbWriter::new(out, "t.cdb");
        for (lhs, rhs) in entries {
            writer.add(lhs.as_bytes(), rhs.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn sniff_whole(octets: &[u8]) -> Format {
        sniff(
            &octets[..octets.len().min(SNIFF_OCTETS)],
            octets.len() as u64,
        )
    }

    #[test]
    fn a_cdb_is_told_by_its_tables() {
        assert_eq!(sniff_whole(&cdb(&[])), Format::Cdb);
        let mut octets = cdb(&[("a", "1"), ("b", "2")]);
        assert_eq!(sniff_whole(&octets), Format::Cdb);
        octets.pop();
        assert_eq!(sniff_whole(&octets), Format::Unknown);
    }

    #[test]
    fn magic_numbers_of_either_byte_order() {
        let mut meta = [0; 512];
        assert_eq!(sniff_whole(&meta), Format::Unknown);
        meta[12..16].copy_from_slice(&[0x61, 0x15, 0x06, 0]);
        assert_eq!(sniff_whole(&meta), Format::Berkeley);
        meta[12..16].copy_from_slice(&[0, 0x05, 0x31, 0x62]);
        assert_eq!(sniff_whole(&meta), Format::Berkeley);
        assert_eq!(sniff_whole(b"redb\x1a\x0a\xa9\x0d\x0a rest"), Format::Redb);
    }

    #[test]
    fn text_and_nothing() {
        assert_eq!(sniff_whole(b""), Format::Empty);
        assert_eq!(
            sniff_whole(&b"example.org OK\n".repeat(500)),
            Format::Unknown
        );
    }

    #[test]
    fn zeros_are_no_cdb() {
        assert_eq!(sniff_whole(&[0; 2048]), Format::Unknown);
        assert_eq!(sniff_whole(&[0; 4096]), Format::Unknown);
    }
}
