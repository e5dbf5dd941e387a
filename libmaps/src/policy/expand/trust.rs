//! Whether a list in a file is believed: who but its owner may have put it there.
//!
//! The rules are sendmail's, with the words of DontBlameSendmail that waive them. A sticky
//! folder counts as one that only its owners write to, as with TrustStickyBit: what stands
//! there nobody else replaces. But others may put a link there.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::site::model::options::Words;
use crate::way::Way;

/// Who may write to a file, or to the folders above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writers {
    /// Its owner alone.
    Owner,
    /// Everybody may put files into a folder, and nobody takes those of others away.
    Sticky,
    /// Its group.
    Group,
    /// Everybody.
    Everybody,
}

impl Writers {
    /// Those of a file, by the bits of chmod(2).
    #[must_use]
    pub fn of_file(mode: u32) -> Self {
        match mode {
            mode if mode & 0o002 != 0 => Writers::Everybody,
            mode if mode & 0o020 != 0 => Writers::Group,
            _ => Writers::Owner,
        }
    }

    fn of_folder(mode: u32) -> Self {
        match Writers::of_file(mode) {
            Writers::Group | Writers::Everybody if mode & 0o1000 != 0 => Writers::Sticky,
            writers => writers,
        }
    }

    /// By its number, as [`Writers::number`] gives it.
    #[must_use]
    pub fn of_number(number: u8) -> Self {
        match number {
            0 => Writers::Owner,
            1 => Writers::Sticky,
            2 => Writers::Group,
            _ => Writers::Everybody,
        }
    }

    /// A number for other processes.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Writers::Owner => 0,
            Writers::Sticky => 1,
            Writers::Group => 2,
            Writers::Everybody => 3,
        }
    }
}

/// What tells who may have put a file there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who may write to the file.
    pub file: Writers,
    /// Who may write to the folders above it.
    pub folders: Writers,
    /// How many names the file has.
    pub links: u64,
}

impl Standing {
    /// Only its owner has it in hand.
    pub const OWN: Standing = Standing {
        file: Writers::Owner,
        folders: Writers::Owner,
        links: 1,
    };
}

/// How far a list is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All of it.
    Whole,
    /// Its addresses are, and the programs and files in it are not.
    Addresses,
}

/// What of the rules DontBlameSendmail waives for one kind of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waived {
    group_folder: Option<Trust>,
    any_folder: Option<Trust>,
    group_file: Option<Trust>,
    any_file: Option<Trust>,
    links: bool,
}

impl Waived {
    /// For `.forward` files.
    #[must_use]
    pub fn for_forward(words: &Words) -> Self {
        Waived {
            group_folder: among(
                words.has("GroupWritableDirPathSafe")
                    || words.has("ForwardFileInGroupWritableDirPath"),
                Trust::Whole,
            ),
            any_folder: among(
                words.has("ForwardFileInUnsafeDirPath"),
                whole_if(words.has("ForwardFileInUnsafeDirPathSafe")),
            ),
            group_file: among(
                words.has("GroupWritableForwardFile"),
                whole_if(words.has("GroupWritableForwardFileSafe")),
            ),
            any_file: among(words.has("WorldWritableForwardFile"), Trust::Addresses),
            links: words.has("LinkedForwardFileInWritableDir"),
        }
    }

    /// For `:include:` files.
    #[must_use]
    pub fn for_include(words: &Words) -> Self {
        Waived {
            group_folder: among(
                words.has("GroupWritableDirPathSafe")
                    || words.has("IncludeFileInGroupWritableDirPath"),
                whole_if(words.has("GroupWritableDirPathSafe")),
            ),
            // IncludeFileInUnsafeDirPathSafe gives no program its right in sendmail 8.17 either.
            any_folder: among(words.has("IncludeFileInUnsafeDirPath"), Trust::Addresses),
            group_file: among(
                words.has("GroupWritableIncludeFile"),
                whole_if(words.has("GroupWritableIncludeFileSafe")),
            ),
            any_file: among(words.has("WorldWritableIncludeFile"), Trust::Addresses),
            links: words.has("LinkedIncludeFileInWritableDir"),
        }
    }

    /// How far a list is believed.
    ///
    /// # Errors
    /// Why it is not, in sendmail's words.
    pub fn judge(&self, standing: &Standing) -> Result<Trust, &'static str> {
        let in_folder = match standing.folders {
            Writers::Owner | Writers::Sticky => Trust::Whole,
            Writers::Group => self
                .group_folder
                .or(self.any_folder)
                .ok_or("Group writable directory")?,
            Writers::Everybody => self.any_folder.ok_or("World writable directory")?,
        };
        if standing.links > 1 && standing.folders != Writers::Owner && !self.links {
            return Err("Hard links not allowed");
        }
        let of_file = match standing.file {
            Writers::Owner | Writers::Sticky => Trust::Whole,
            Writers::Group => self.group_file.ok_or("Group writable file")?,
            Writers::Everybody => self.any_file.ok_or("World writable file")?,
        };
        match (in_folder, of_file) {
            (Trust::Whole, Trust::Whole) => Ok(Trust::Whole),
            _ => Ok(Trust::Addresses),
        }
    }
}

fn among(waived: bool, trust: Trust) -> Option<Trust> {
    waived.then_some(trust)
}

fn whole_if(safe: bool) -> Trust {
    match safe {
        true => Trust::Whole,
        false => Trust::Addresses,
    }
}

/// The folders above a file: those that its path names and those to which the links in it lead,
/// each with the folder in which the link stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Who may write to them, besides those whose they are.
    pub writers: Writers,
    /// Whose they are: the numbers of these users.
    pub owners: BTreeSet<u32>,
}

impl Folders {
    /// These and those.
    pub(super) fn and(&mut self, others: Folders) {
        self.writers = self.writers.max(others.writers);
        self.owners.extend(others.owners);
    }
}

/// The folders above a file. The root of a site is where it begins; what is above that is not the
/// site's.
///
/// # Errors
/// What the system says of a folder; `ELOOP` where the links go round.
pub fn folders_above(file: &Path, root: Option<&Path>) -> io::Result<Folders> {
    let root = root.unwrap_or(Path::new("/"));
    let folder = file.parent().unwrap_or(file);
    let (mut at, inner) = match folder.strip_prefix(root) {
        Ok(inner) => (root.to_path_buf(), inner),
        Err(_) => (PathBuf::from("/"), folder),
    };
    let mut way = Way::new(inner);
    let mut folders = Folders {
        writers: Writers::Owner,
        owners: BTreeSet::from([std::fs::metadata(&at)?.uid()]),
    };
    while let Some(name) = way.step() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let found = std::fs::symlink_metadata(&next)?;
        if !found.is_symlink() {
            folders.writers = folders.writers.max(Writers::of_folder(found.mode()));
            folders.owners.insert(found.uid());
            at = next;
            continue;
        }
        let link = std::fs::read_link(&next)?;
        way.follow(&link)?;
        if link.is_absolute() {
            at = PathBuf::from("/");
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn words(text: &str) -> Words {
        Words(text.split(' ').map(str::to_owned).collect())
    }

    /// What is made of a `.forward` and of an include that stands so.
    fn judged(blame: &str, file: u32, folder: u32, links: u64) -> [String; 2] {
        let standing = Standing {
            file: Writers::of_file(file),
            folders: Writers::of_folder(folder),
            links,
        };
        let words = words(blame);
        [Waived::for_forward(&words), Waived::for_include(&words)].map(|waived| {
            match waived.judge(&standing) {
                Ok(trust) => format!("{trust:?}"),
                Err(why) => why.to_owned(),
            }
        })
    }

    #[test]
    fn lists_stand_as_with_sendmail() {
        const IN_GROUP: &str =
            "ForwardFileInGroupWritableDirPath IncludeFileInGroupWritableDirPath";
        const ANYWHERE: &str = "forwardfileinunsafedirpath includefileinunsafedirpath";
        const LINKED: &str = "ForwardFileInUnsafeDirPath IncludeFileInUnsafeDirPath \
                              LinkedForwardFileInWritableDir LinkedIncludeFileInWritableDir";
        const FILE: &str = "GroupWritableForwardFile GroupWritableIncludeFile";
        const SAFE: &str = "ForwardFileInUnsafeDirPath ForwardFileInUnsafeDirPathSafe \
                            IncludeFileInUnsafeDirPath IncludeFileInUnsafeDirPathSafe";
        let (whole, addresses) = ("Whole", "Addresses");
        let (group, world) = ("Group writable directory", "World writable directory");
        let linked = "Hard links not allowed";
        for (blame, file, folder, links, forward, include) in [
            ("safe", 0o644, 0o755, 1, whole, whole),
            ("safe", 0o644, 0o755, 2, whole, whole),
            ("safe", 0o644, 0o775, 1, group, group),
            ("safe", 0o644, 0o777, 1, world, world),
            ("safe", 0o644, 0o1777, 1, whole, whole),
            ("safe", 0o644, 0o1777, 2, linked, linked),
            (
                "safe",
                0o664,
                0o755,
                1,
                "Group writable file",
                "Group writable file",
            ),
            (
                "safe",
                0o666,
                0o755,
                1,
                "World writable file",
                "World writable file",
            ),
            (IN_GROUP, 0o644, 0o775, 1, whole, addresses),
            (IN_GROUP, 0o644, 0o777, 1, world, world),
            (ANYWHERE, 0o644, 0o775, 1, addresses, addresses),
            (ANYWHERE, 0o644, 0o777, 1, addresses, addresses),
            (ANYWHERE, 0o644, 0o777, 2, linked, linked),
            (LINKED, 0o644, 0o777, 2, addresses, addresses),
            (SAFE, 0o644, 0o777, 1, whole, addresses),
            ("GroupWritableDirPathSafe", 0o644, 0o775, 1, whole, whole),
            (FILE, 0o664, 0o755, 1, addresses, addresses),
            (
                FILE,
                0o666,
                0o755,
                1,
                "World writable file",
                "World writable file",
            ),
        ] {
            let want = [forward, include].map(str::to_owned);
            let case = format!("{blame} {file:o} {folder:o} {links}");
            assert_eq!(judged(blame, file, folder, links), want, "{case}");
        }
    }

    #[test]
    fn every_folder_on_the_way_counts_and_those_of_links_do() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let folder = |name: &str, mode| {
            let path = root.join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        folder("safe", 0o755);
        folder("safe/in", 0o755);
        folder("group", 0o2775);
        folder("group/in", 0o755);
        folder("all", 0o777);
        folder("all/in", 0o700);
        folder("sticky", 0o1777);
        symlink(root.join("safe/in"), root.join("all/link")).unwrap();
        symlink("../all/link", root.join("safe/far")).unwrap();
        symlink("../safe", root.join("safe/near")).unwrap();
        symlink("round", root.join("safe/round")).unwrap();
        let above =
            |name: &str| folders_above(&root.join(name), Some(root)).map(|folders| folders.writers);
        for (name, want) in [
            ("list", Writers::Owner),
            ("safe/in/list", Writers::Owner),
            ("safe/near/in/list", Writers::Owner),
            ("sticky/list", Writers::Sticky),
            ("group/in/list", Writers::Group),
            ("all/in/list", Writers::Everybody),
            ("all/link/list", Writers::Everybody),
            ("safe/far/list", Writers::Everybody),
        ] {
            assert_eq!(above(name).unwrap(), want, "{name}");
        }
        assert!(above("safe/round/list").is_err());
        assert!(above("none/list").is_err());
    }
}
