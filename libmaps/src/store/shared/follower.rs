//! What a follower notes beside the replica it keeps.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most octets of its notes that are read.
const MAX_OCTETS: u64 = 64 << 10;

/// Where a follower notes what it knows of the engine: of `access.pgsql.db`,
/// `.access.pgsql.db.follower`, a JSON object.
#[must_use]
pub fn follower_file(replica: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(replica.file_name().unwrap_or_default());
    name.push(".follower");
    replica.with_file_name(name)
}

/// What the follower of a replica has noted. Who may write in the folder may be somebody else: no
/// link is followed, nothing waited for, and no more read than a follower writes.
///
/// # Errors
/// When it can't be read.
pub fn follower_notes(replica: &Path) -> io::Result<Vec<u8>> {
    let mut notes = Vec::new();
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(follower_file(replica))?
        .take(MAX_OCTETS)
        .read_to_end(&mut notes)?;
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn notes_are_read_and_what_others_put_there_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let replica = folder.path().join("access.pgsql.db");
        let notes = folder.path().join(".access.pgsql.db.follower");
        assert!(follower_notes(&replica).is_err());
        fs::write(&notes, "{}").unwrap();
        assert_eq!(follower_notes(&replica).unwrap(), b"{}");
        fs::write(&notes, vec![b' '; 100_000]).unwrap();
        assert_eq!(follower_notes(&replica).unwrap().len() as u64, MAX_OCTETS);
        fs::remove_file(&notes).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &notes).unwrap();
        assert!(follower_notes(&replica).is_err());
        fs::remove_file(&notes).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&notes).status();
        assert!(made.unwrap().success());
        assert_eq!(follower_notes(&replica).unwrap_or_default(), b"");
    }
}
