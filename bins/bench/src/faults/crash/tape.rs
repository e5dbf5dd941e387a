//! The acts in their order, and what a crash after any of them leaves.
//!
//! A crash may come after each act. What was synced by then is there. Of the rest each act may
//! be lost or not, in any combination, since a disk writes in the order that it likes: POSIX
//! promises no more. The combinations tried are those that find what is missing in practice
//! (ALICE, OSDI 2014): everything there, everything lost, each one lost, each one alone
//! there, the last write torn.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which file, whatever its name.
pub(super) type FileId = usize;

/// A disk's sector: what is written whole or not at all.
const SECTOR: usize = 512;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Create {
        name: PathBuf,
        file: FileId,
    },
    CreateFolder {
        name: PathBuf,
    },
    Write {
        file: FileId,
        offset: u64,
        octets: Arc<[u8]>,
    },
    SetLen {
        file: FileId,
        octets: u64,
    },
    /// Owner or mode: nothing here looks at them.
    Attributes,
    Sync {
        file: FileId,
    },
    /// What was not on the disk yet will never be.
    SyncFailed {
        file: FileId,
    },
    /// What will never be on the disk is no longer in memory either.
    Forgotten {
        file: FileId,
    },
    SyncFolder {
        name: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        file: FileId,
    },
    Remove {
        name: PathBuf,
        file: FileId,
    },
    /// Somebody was told something: see whoever made the recorder.
    Note,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    Folder,
    File(FileId),
}

/// The acts, and what they began with.
#[derive(Clone, Debug, Default)]
pub(super) struct Tape {
    start_names: BTreeMap<PathBuf, Node>,
    start_octets: HashMap<FileId, Vec<u8>>,
    files: usize,
    pub(super) acts: Vec<Act>,
}

impl Tape {
    pub(super) fn start_folder(&mut self, name: PathBuf) {
        self.start_names.insert(name, Node::Folder);
    }

    pub(super) fn start_file(&mut self, name: PathBuf, octets: Vec<u8>) -> FileId {
        let file = self.add_file();
        self.start_names.insert(name, Node::File(file));
        self.start_octets.insert(file, octets);
        file
    }

    /// The number that [`Tape::add_file`] will give.
    pub(super) fn next_file(&self) -> FileId {
        self.files
    }

    pub(super) fn add_file(&mut self) -> FileId {
        self.files += 1;
        self.files - 1
    }

    /// How many notes there are among the first acts.
    pub(super) fn notes(&self, acts: usize) -> usize {
        let first = self.acts.iter().take(acts);
        first.filter(|act| **act == Act::Note).count()
    }

    /// The acts among the first ones that a crash may lose.
    fn unsynced(&self, acts: usize) -> Vec<usize> {
        let first = || self.acts.iter().take(acts);
        let mut lost = Vec::new();
        for (at, act) in first().enumerate() {
            let mut later = first().skip(at + 1);
            let safe = match act {
                Act::Write { .. } => match self.writing(at, acts) {
                    Writing::OnDisk | Writing::Gone => true,
                    Writing::InMemory | Writing::Doomed => false,
                },
                Act::SetLen { file, .. } => {
                    later.any(|later| matches!(later, Act::Sync { file: synced } if synced == file))
                }
                Act::Create { name, .. }
                | Act::CreateFolder { name }
                | Act::Remove { name, .. }
                | Act::Rename { to: name, .. } => {
                    let folder = name.parent().unwrap_or(Path::new(""));
                    later.any(|later| matches!(later, Act::SyncFolder { name } if name == folder))
                }
                _ => true,
            };
            if !safe {
                lost.push(at);
            }
        }
        lost
    }

    /// What has become of a write by this act.
    fn writing(&self, write: usize, acts: usize) -> Writing {
        let Some(Act::Write { file, .. }) = self.acts.get(write) else {
            return Writing::OnDisk;
        };
        let mut writing = Writing::InMemory;
        for later in self.acts.iter().take(acts).skip(write + 1) {
            writing = match (later, writing) {
                (Act::Sync { file: own }, Writing::InMemory) if own == file => Writing::OnDisk,
                (Act::SyncFailed { file: own }, Writing::InMemory) if own == file => {
                    Writing::Doomed
                }
                (Act::Forgotten { file: own }, Writing::Doomed) if own == file => Writing::Gone,
                _ => continue,
            };
        }
        writing
    }

    /// What is read of a file when what is doomed is forgotten.
    pub(super) fn remembered(&self, file: FileId) -> Vec<u8> {
        let mut octets = self.start_octets.get(&file).cloned().unwrap_or_default();
        for (at, act) in self.acts.iter().enumerate() {
            match act {
                Act::SetLen {
                    file: own,
                    octets: len,
                } if *own == file => {
                    octets.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0);
                }
                Act::Write {
                    file: own,
                    offset,
                    octets: written,
                } if *own == file
                    && !matches!(
                        self.writing(at, self.acts.len()),
                        Writing::Doomed | Writing::Gone
                    ) =>
                {
                    write_at(&mut octets, *offset, written);
                }
                _ => {}
            }
        }
        octets
    }

    /// What crashes after so many acts may leave, a tree each.
    pub(super) fn crashes(&self, acts: usize, how: Combinations) -> Vec<Crash> {
        let unsynced = self.unsynced(acts);
        let all = Lost::These(unsynced.clone());
        let mut lost = vec![Lost::These(Vec::new()), all];
        let but = |keep: usize| unsynced.iter().copied().filter(|at| *at != keep).collect();
        for at in &unsynced {
            lost.push(Lost::These(vec![*at]));
        }
        let alone = match how {
            Combinations::Few => unsynced.last().into_iter().copied().collect(),
            Combinations::Many => unsynced.clone(),
        };
        lost.extend(alone.into_iter().map(|at| Lost::These(but(at))));
        let is_write = |at: &&usize| matches!(self.acts.get(**at), Some(Act::Write { .. }));
        if let Some(last) = unsynced.iter().rev().find(is_write) {
            lost.push(Lost::Torn(*last, Vec::new()));
            lost.push(Lost::Torn(*last, but(*last)));
        }
        if how == Combinations::Many {
            // Some more at random, always the same ones.
            let mut seed = acts as u64;
            for _ in 0..8 {
                let some = unsynced.iter().copied().filter(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    seed >> 63 == 1
                });
                lost.push(Lost::These(some.collect()));
            }
        }
        lost.into_iter().map(|lost| Crash { acts, lost }).collect()
    }

    /// The files and folders after a crash.
    pub(super) fn tree(&self, crash: &Crash) -> Tree {
        let (lost, torn) = match &crash.lost {
            Lost::These(lost) => (lost, None),
            Lost::Torn(at, lost) => (lost, Some(*at)),
        };
        let mut names = self.start_names.clone();
        let mut octets = self.start_octets.clone();
        for (at, act) in self.acts.iter().take(crash.acts).enumerate() {
            if lost.contains(&at) || self.writing(at, crash.acts) == Writing::Gone {
                continue;
            }
            match act {
                Act::Create { name, file } => {
                    names.insert(name.clone(), Node::File(*file));
                }
                Act::CreateFolder { name } => {
                    names.insert(name.clone(), Node::Folder);
                }
                Act::Rename { from, to, file } => {
                    if names.get(from) == Some(&Node::File(*file)) {
                        names.remove(from);
                    }
                    names.insert(to.clone(), Node::File(*file));
                }
                Act::Remove { name, file } => {
                    if names.get(name) == Some(&Node::File(*file)) {
                        names.remove(name);
                    }
                }
                Act::SetLen { file, octets: len } => {
                    let len = usize::try_from(*len).unwrap_or(usize::MAX);
                    octets.entry(*file).or_default().resize(len, 0);
                }
                Act::Write {
                    file,
                    offset,
                    octets: written,
                } => {
                    let whole = written.len();
                    let kept = match torn == Some(at) {
                        true if whole > 2 * SECTOR => (whole / 2).next_multiple_of(SECTOR),
                        true => whole / 2,
                        false => whole,
                    };
                    let file = octets.entry(*file).or_default();
                    write_at(file, *offset, written.get(..kept).unwrap_or_default());
                }
                Act::Attributes
                | Act::Sync { .. }
                | Act::SyncFailed { .. }
                | Act::Forgotten { .. }
                | Act::SyncFolder { .. }
                | Act::Note => {}
            }
        }
        // What stands in a folder whose own name is lost can't be found.
        let found = names.iter().filter(|(name, _)| {
            let mut above = name.ancestors().skip(1);
            above.all(|folder| {
                folder.as_os_str().is_empty() || names.get(folder) == Some(&Node::Folder)
            })
        });
        let files = found.map(|(name, node)| match node {
            Node::Folder => (name.clone(), None),
            Node::File(file) => {
                let octets = octets.get(file).cloned().unwrap_or_default();
                (name.clone(), Some(octets))
            }
        });
        Tree(files.collect())
    }

    /// What a crash lost, for people.
    pub(super) fn tell(&self, crash: &Crash) -> String {
        let last = crash.acts.checked_sub(1).and_then(|at| self.acts.get(at));
        let after = last.map_or_else(|| "nothing".into(), Act::tell);
        let (lost, torn) = match &crash.lost {
            Lost::These(lost) => (lost, None),
            Lost::Torn(at, lost) => (lost, Some(*at)),
        };
        let tell = |at: &usize| self.acts.get(*at).map_or_else(String::new, Act::tell);
        let mut out = format!("crash after act {} ({after})", crash.acts);
        if let Some(torn) = torn {
            out.push_str(&format!("; torn: {}", tell(&torn)));
        }
        match lost.as_slice() {
            [] => {}
            some if some.len() <= 4 => {
                let some: Vec<String> = some.iter().map(tell).collect();
                out.push_str(&format!("; lost: {}", some.join(", ")));
            }
            many => out.push_str(&format!("; lost: {} acts", many.len())),
        }
        out
    }
}

/// Where a write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    InMemory,
    OnDisk,
    /// In memory, and taken for what is on the disk.
    Doomed,
    /// Nowhere.
    Gone,
}

fn write_at(file: &mut Vec<u8>, offset: u64, octets: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(octets.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(to) = file.get_mut(start..end) {
        to.copy_from_slice(octets);
    }
}

impl Act {
    /// The act in a few words.
    pub(super) fn tell(&self) -> String {
        match self {
            Act::Create { name, .. } => format!("create {}", name.display()),
            Act::CreateFolder { name } => format!("create folder {}", name.display()),
            Act::Write {
                file,
                offset,
                octets,
            } => format!("write file {file} at {offset}, {} octets", octets.len()),
            Act::SetLen { file, octets } => format!("set length of file {file} to {octets}"),
            Act::Attributes => "owner or mode".into(),
            Act::Sync { file } => format!("sync file {file}"),
            Act::SyncFailed { file } => format!("failed sync of file {file}"),
            Act::Forgotten { file } => format!("forget file {file}"),
            Act::SyncFolder { name } => format!("sync folder /{}", name.display()),
            Act::Rename { from, to, .. } => {
                format!("rename {} to {}", from.display(), to.display())
            }
            Act::Remove { name, .. } => format!("remove {}", name.display()),
            Act::Note => "note".into(),
        }
    }
}

/// How many combinations are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combinations {
    /// All lost, none, each one, all but the last; the last write torn.
    Few,
    /// Also each one alone there, and some at random.
    Many,
}

/// A crash after so many acts.
#[derive(Clone, Debug)]
pub(super) struct Crash {
    pub(super) acts: usize,
    lost: Lost,
}

#[derive(Clone, Debug)]
enum Lost {
    These(Vec<usize>),
    /// Half of this write is there; these are lost.
    Torn(usize, Vec<usize>),
}

/// Names, and the octets of those that are files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tree(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Tree {
    /// A number that tells trees apart.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Lays the tree out in an empty folder.
    pub(super) fn lay_out(&self, root: &Path) -> io::Result<()> {
        for (name, octets) in &self.0 {
            let path = root.join(name);
            let Some(octets) = octets else {
                std::fs::create_dir(path)?;
                continue;
            };
            let file = std::fs::File::create(path)?;
            file.set_len(octets.len() as u64)?;
            // Zeros stay holes.
            for (at, piece) in octets.chunks(4096).enumerate() {
                if piece != [0; 4096].get(..piece.len()).unwrap_or_default() {
                    file.write_all_at(piece, at as u64 * 4096)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: FileId, offset: u64, octets: &[u8]) -> Act {
        let octets = octets.into();
        Act::Write {
            file,
            offset,
            octets,
        }
    }

    fn contents(tape: &Tape, acts: usize, name: &str) -> Vec<Option<Vec<u8>>> {
        let trees = tape.crashes(acts, Combinations::Many);
        let trees = trees.iter().map(|crash| tape.tree(crash).0);
        let mut found: Vec<_> = trees
            .map(|tree| tree.get(Path::new(name)).cloned().flatten())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    fn text(octets: &str) -> Option<Vec<u8>> {
        Some(octets.into())
    }

    #[test]
    fn what_was_synced_is_there_and_the_rest_may_be() {
        let mut tape = Tape::default();
        let file = tape.add_file();
        let name = PathBuf::from("m");
        tape.acts = vec![
            Act::Create { name, file },
            write(file, 0, b"ab"),
            Act::Sync { file },
            Act::SyncFolder { name: "".into() },
            write(file, 2, b"cd"),
        ];
        assert_eq!(contents(&tape, 0, "m"), [None]);
        assert_eq!(contents(&tape, 3, "m"), [None, text("ab")]);
        assert_eq!(contents(&tape, 4, "m"), [text("ab")]);
        assert_eq!(
            contents(&tape, 5, "m"),
            [text("ab"), text("abc"), text("abcd")]
        );
    }

    #[test]
    fn what_a_failed_sync_left_out_stays_out() {
        let mut tape = Tape::default();
        let file = tape.start_file("m".into(), b"--".to_vec());
        tape.acts = vec![
            write(file, 0, b"a"),
            Act::SyncFailed { file },
            write(file, 1, b"b"),
            Act::Sync { file },
        ];
        assert_eq!(contents(&tape, 4, "m"), [text("-b"), text("ab")]);
    }

    #[test]
    fn what_is_forgotten_is_in_no_image() {
        let mut tape = Tape::default();
        let file = tape.start_file("m".into(), b"--".to_vec());
        tape.acts = vec![
            write(file, 0, b"a"),
            Act::SyncFailed { file },
            Act::Forgotten { file },
            write(file, 1, b"b"),
        ];
        assert_eq!(contents(&tape, 2, "m"), [text("--"), text("a-")]);
        assert_eq!(contents(&tape, 3, "m"), [text("--")]);
        assert_eq!(tape.remembered(file), b"-b");
        assert_eq!(contents(&tape, 4, "m"), [text("--"), text("-b")]);
    }

    #[test]
    fn a_rename_without_a_sync_of_the_folder_may_be_lost() {
        let mut tape = Tape::default();
        tape.start_file("m".into(), b"old".to_vec());
        let file = tape.start_file("d".into(), b"new".to_vec());
        tape.acts = vec![
            Act::Rename {
                from: "d".into(),
                to: "m".into(),
                file,
            },
            Act::SyncFolder { name: "".into() },
        ];
        assert_eq!(contents(&tape, 1, "m"), [text("new"), text("old")]);
        assert_eq!(contents(&tape, 2, "m"), [text("new")]);
        assert_eq!(contents(&tape, 2, "d"), [None]);
    }

    #[test]
    fn a_file_in_a_folder_whose_name_is_lost_is_lost() {
        let mut tape = Tape::default();
        let file = tape.add_file();
        tape.acts = vec![
            Act::CreateFolder { name: "q".into() },
            Act::Create {
                name: "q/m".into(),
                file,
            },
            write(file, 0, b"x"),
            Act::Sync { file },
            Act::SyncFolder { name: "q".into() },
        ];
        assert_eq!(contents(&tape, 5, "q/m"), [None, text("x")]);
        tape.acts.push(Act::SyncFolder { name: "".into() });
        assert_eq!(contents(&tape, 6, "q/m"), [text("x")]);
    }
}
