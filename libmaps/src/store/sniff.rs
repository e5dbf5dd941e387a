//! What a file is, by its first octets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::map::StoreError;

/// What a file seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A redb store.
    Redb,
    /// A Berkeley DB file of any version and byte order.
    Berkeley,
    /// A constant database: it has no magic, so its table of tables must fit the file.
    Cdb,
    /// A file of no octets.
    Empty,
    /// None of these.
    Unknown,
}

const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
const BERKELEY_MAGIC_AT: usize = 12;
const BERKELEY_MAGICS: [u32; 2] = [0x0006_1561, 0x0005_3162];
const CDB_HEAD_OCTETS: usize = 2048;

/// How much of a file [`sniff`] wants to see.
pub const SNIFF_OCTETS: usize = CDB_HEAD_OCTETS;

/// Tells a file of `len` octets by its `first` ones, [`SNIFF_OCTETS`] where there are as many.
#[must_use]
pub fn sniff(first: &[u8], len: u64) -> Format {
    if first.is_empty() {
        return Format::Empty;
    }
    if first.starts_with(REDB_MAGIC) {
        return Format::Redb;
    }
    let magic = first
        .get(BERKELEY_MAGIC_AT..)
        .and_then(|rest| rest.first_chunk::<4>());
    if let Some(magic) = magic
        && (BERKELEY_MAGICS.contains(&u32::from_le_bytes(*magic))
            || BERKELEY_MAGICS.contains(&u32::from_be_bytes(*magic)))
    {
        return Format::Berkeley;
    }
    if looks_like_cdb(first, len) {
        return Format::Cdb;
    }
    Format::Unknown
}

/// The 256 hash tables of a cdb stand one after the other up to the end of the file.
fn looks_like_cdb(first: &[u8], len: u64) -> bool {
    let Some(head) = first.get(..CDB_HEAD_OCTETS) else {
        return false;
    };
    let (tables, _) = head.as_chunks::<8>();
    let mut end = None;
    for table in tables {
        let (at, slots) = table.split_at(4);
        let number = |octets: &[u8]| {
            let octets = octets.first_chunk::<4>().copied().unwrap_or_default();
            u64::from(u32::from_le_bytes(octets))
        };
        let (at, slots) = (number(at), number(slots));
        if at < CDB_HEAD_OCTETS as u64 || end.is_some_and(|end| end != at) {
            return false;
        }
        end = Some(at + slots * 8);
    }
    end == Some(len)
}

/// Tells what an open file is.
///
/// # Errors
/// It cannot be read.
pub fn sniff_file(file: &File, path: &Path) -> Result<Format, StoreError> {
    let at = |e| StoreError::io(path, "read", e);
    let len = file.metadata().map_err(at)?.len();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_octets() {
        let mut empty_cdb = Vec::new();
        for _ in 0..256 {
            empty_cdb.extend_from_slice(&2048u32.to_le_bytes());
            empty_cdb.extend_from_slice(&0u32.to_le_bytes());
        }
        let mut berkeley = vec![0; 512];
        berkeley[12..16].copy_from_slice(&0x0005_3162u32.to_be_bytes());
        let cases: [(&[u8], Format); 6] = [
            (b"", Format::Empty),
            (b"redb\x1a\x0a\xa9\x0d\x0a more", Format::Redb),
            (&berkeley, Format::Berkeley),
            (&empty_cdb, Format::Cdb),
            (b"Connect:10 RELAY\n", Format::Unknown),
            (&[0; 4096], Format::Unknown),
        ];
        for (first, want) in cases {
            assert_eq!(sniff(first, first.len() as u64), want);
        }
        assert_eq!(sniff(&empty_cdb, 2049), Format::Unknown);
    }
}
