//! What a process may open: folders to read from, folders to write to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the system's own files are, and those of its name service.
const SYSTEM: [&str; 13] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/run/systemd/userdb",
    "/run/nscd",
    "/var/cache/nscd",
    "/var/db",
    "/var/lib/extrausers",
    "/var/lib/sss",
];

/// Folders with all that is below them. A file is reached by its folder, as whoever
/// replaces it by a rename puts another file there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub(crate) read: BTreeSet<PathBuf>,
    pub(crate) write: BTreeSet<PathBuf>,
}

impl Reach {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Reach::default()
    }

    /// What the C library reads: the system's configuration, libraries, time zones and the
    /// files of name services, of which users and hosts come.
    #[must_use]
    pub fn system() -> Self {
        let mut reach = Reach::new();
        for folder in SYSTEM {
            reach.read_folder(Path::new(folder));
        }
        // Where another program writes it, it is a link to that one's folder.
        reach.read_file(Path::new("/etc/resolv.conf"));
        reach
    }

    /// All that is in this folder may be read.
    pub fn read_folder(&mut self, folder: &Path) {
        self.read.extend(real(folder));
    }

    /// This file may be read, whoever puts it there: its folder may, and that of the file
    /// which it is a symbolic link to now. A folder that is not there yet is not reached later.
    pub fn read_file(&mut self, file: &Path) {
        let above = file.parent().and_then(real);
        let target = real(file).and_then(|real| real.parent().map(Path::to_path_buf));
        self.read.extend(above);
        self.read.extend(target);
    }

    /// All that is in this folder may be read, written, made and removed.
    pub fn write_folder(&mut self, folder: &Path) {
        self.write.extend(real(folder));
    }

    /// All that another reach has, too.
    pub fn add(&mut self, other: &Reach) {
        self.read.extend(other.read.iter().cloned());
        self.write.extend(other.write.iter().cloned());
    }

    /// Whether this reach has all of another; if not, a folder that it lacks.
    ///
    /// # Errors
    /// The folder.
    pub fn covers(&self, other: &Reach) -> Result<(), PathBuf> {
        let within = |all: &BTreeSet<PathBuf>, folder: &Path| {
            folder.ancestors().any(|above| all.contains(above))
        };
        let read = other
            .read
            .iter()
            .find(|folder| !within(&self.read, folder) && !within(&self.write, folder));
        let write = other.write.iter().find(|f| !within(&self.write, f));
        match read.or(write) {
            Some(lacking) => Err(lacking.clone()),
            None => Ok(()),
        }
    }
}

/// The path without symbolic links, if there is something.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_reached_by_its_folder_and_by_that_of_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["maps", "store"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("store/access.db"), "x").unwrap();
        std::os::unix::fs::symlink(root.join("store/access.db"), root.join("maps/access.db"))
            .unwrap();
        let mut reach = Reach::new();
        reach.read_file(&root.join("maps/access.db"));
        reach.read_file(&root.join("maps/none/later.db"));
        let both = [root.join("maps"), root.join("store")];
        assert_eq!(
            reach.read,
            both.into(),
            "a folder that is not there is none"
        );
    }

    #[test]
    fn what_is_below_is_covered() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("c")).unwrap();
        let reach = |read: &[&str], write: &[&str]| {
            let mut reach = Reach::new();
            read.iter().for_each(|f| reach.read_folder(&root.join(f)));
            write.iter().for_each(|f| reach.write_folder(&root.join(f)));
            reach
        };
        let own = reach(&["a"], &["c"]);
        assert_eq!(own.covers(&own), Ok(()));
        assert_eq!(own.covers(&reach(&["a/b", "c"], &[])), Ok(()));
        assert_eq!(own.covers(&reach(&["."], &[])), Err(root.clone()));
        assert_eq!(own.covers(&reach(&[], &["a/b"])), Err(root.join("a/b")));
    }
}
