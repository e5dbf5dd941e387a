//! A secret that lives as long as the queue.
//!
//! Whoever has no account is shown a salt that depends on it (SCRAM, RFC 5802 section 5). Were it
//! another after each restart, whoever compares would know who has none.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use libmaps::sasl::password::SecretBytes;
use libmaps::store::disk::Disk;

const OCTETS: usize = 32;

/// Reads the secret of the queue in this folder, or makes it: 32 random octets in a file `secret` that
/// only the server may read. One of another length is made anew.
///
/// # Errors
/// It can't be read or made, or the system gives no random numbers.
pub(super) fn keep(disk: &dyn Disk, folder: &Path) -> io::Result<SecretBytes> {
    let path = folder.join("secret");
    match read(&path) {
        Ok(Some(secret)) => return Ok(secret),
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = random()?;
    let draft = folder.join("secret.new");
    match disk.remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&draft, 0o600)?;
    disk.write_all_at(&file, secret.expose(), 0)?;
    disk.sync(&file)?;
    disk.rename(&draft, &path)?;
    disk.sync_folder(folder)?;
    Ok(secret)
}

/// A secret that is kept nowhere.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn random() -> io::Result<SecretBytes> {
    let mut octets = vec![0; OCTETS];
    getrandom::fill(&mut octets).map_err(io::Error::from)?;
    Ok(SecretBytes::new(octets))
}

/// What the file has, if it is whole.
fn read(path: &Path) -> io::Result<Option<SecretBytes>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let mut octets = Vec::with_capacity(OCTETS + 1);
    file.take(OCTETS as u64 + 1).read_to_end(&mut octets)?;
    Ok((octets.len() == OCTETS).then(|| SecretBytes::new(octets)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use libmaps::store::disk::System;

    use super::*;

    #[test]
    fn it_is_the_same_each_time_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = keep(&System, folder.path()).unwrap();
        assert_eq!(keep(&System, folder.path()).unwrap(), first);
        let metadata = fs::metadata(folder.path().join("secret")).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (32, 0o600));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(keep(&System, other.path()).unwrap(), first);
    }

    #[test]
    fn half_a_secret_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "short", "thirty-three octets, one too many"] {
            fs::write(folder.path().join("secret"), text).unwrap();
            fs::write(folder.path().join("secret.new"), "left behind").unwrap();
            let made = keep(&System, folder.path()).unwrap();
            assert_eq!(made.expose().len(), OCTETS, "{text}");
            assert_eq!(keep(&System, folder.path()).unwrap(), made, "{text}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("known"), [7; OCTETS]).unwrap();
        std::os::unix::fs::symlink("known", folder.path().join("secret")).unwrap();
        assert!(keep(&System, folder.path()).is_err());
    }
}
