//! A disk that writes down what is done to it, and fails where it is told to.
//!
//! Everything is done to real files below one folder too, so that the code under test reads
//! what it wrote. The order of the acts stands on a [`Tape`].

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libmaps::store::disk::{Disk, System};

use super::tape::{Act, FileId, Tape};

/// What becomes of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done.
    Done,
    /// It fails with this error of errno(3). A write fails half-way; a sync that fails leaves
    /// what it should have brought to the disk unwritten for good, as Linux does.
    Fails(i32),
    /// Whoever asked believes that it was done: a sync that is missing.
    Pretended,
}

/// Decides on each act, which comes with its number.
pub(super) type Plan = Box<dyn Fn(usize, &Act) -> Fate + Send + Sync>;

/// Everything goes well.
pub(super) fn no_faults() -> Plan {
    Box::new(|_, _| Fate::Done)
}

/// Writes down what is done below one folder.
pub(super) struct Recorder {
    root: PathBuf,
    plan: Plan,
    state: Mutex<State>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

struct State {
    tape: Tape,
    /// Which file has this inode now.
    files: HashMap<u64, FileId>,
    /// How many acts there were, those included that failed.
    acts: usize,
    /// Whether the plan is followed.
    planned: bool,
}

impl Recorder {
    /// Begins with what stands below `root` now, all of it on the disk.
    pub(super) fn new(root: &Path, plan: Plan) -> io::Result<Self> {
        let mut tape = Tape::default();
        let mut files = HashMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
                let metadata = fs::symlink_metadata(&path)?;
                if metadata.is_dir() {
                    tape.start_folder(name);
                    folders.push(path);
                } else {
                    files.insert(metadata.ino(), tape.start_file(name, fs::read(&path)?));
                }
            }
        }
        Ok(Recorder {
            root: root.into(),
            plan,
            state: Mutex::new(State {
                tape,
                files,
                acts: 0,
                planned: true,
            }),
        })
    }

    /// What was written down so far; the recorder begins anew with nothing.
    pub(super) fn take(&self) -> Tape {
        std::mem::take(&mut self.state().tape)
    }

    /// Marks this moment.
    pub(super) fn note(&self) {
        self.state().tape.acts.push(Act::Note);
    }

    /// How many acts there were, those that failed included.
    pub(super) fn acts(&self) -> usize {
        self.state().acts
    }

    /// From now on nothing fails any more.
    pub(super) fn heal(&self) {
        self.state().planned = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    /// Does an act of one step, or lets it fail.
    fn act(
        &self,
        make: impl FnOnce(&State) -> io::Result<Act>,
        done: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state();
        let act = make(&state)?;
        match self.fate(&mut state, &act) {
            Fate::Done => {
                done()?;
                state.tape.acts.push(act);
                Ok(())
            }
            Fate::Pretended => Ok(()),
            Fate::Fails(error) => {
                let left = match act {
                    Act::Sync { file } => Some(Act::SyncFailed { file }),
                    _ => None,
                };
                state.tape.acts.extend(left);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    fn fate(&self, state: &mut State, act: &Act) -> Fate {
        let number = state.acts;
        state.acts += 1;
        match state.planned {
            true => (self.plan)(number, act),
            false => Fate::Done,
        }
    }

    fn open(&self, path: &Path, how: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
        let mut state = self.state();
        let there = fs::symlink_metadata(path).is_ok();
        let act = Act::Create {
            name: self.name(path),
            file: state.tape.next_file(),
        };
        if let Fate::Fails(error) = self.fate(&mut state, &act) {
            return Err(io::Error::from_raw_os_error(error));
        }
        let opened = how()?;
        if !there {
            let file = state.tape.add_file();
            state.files.insert(opened.metadata()?.ino(), file);
            state.tape.acts.push(act);
        }
        Ok(opened)
    }
}

/// Which file of the tape this is.
fn id(state: &State, file: &File) -> io::Result<FileId> {
    let found = state.files.get(&file.metadata()?.ino());
    found
        .copied()
        .ok_or_else(|| io::Error::other("a file that the recorder has not seen"))
}

fn id_at(state: &State, path: &Path) -> io::Result<FileId> {
    let found = state.files.get(&fs::symlink_metadata(path)?.ino());
    found
        .copied()
        .ok_or_else(|| io::Error::other("a name that the recorder has not seen"))
}

impl Disk for Recorder {
    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.open(path, || System.create(path, mode))
    }

    fn open_or_create(&self, path: &Path, mode: u32) -> io::Result<File> {
        self.open(path, || System.open_or_create(path, mode))
    }

    fn create_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        let name = self.name(path);
        self.act(
            |_| Ok(Act::CreateFolder { name }),
            || System.create_folder(path, mode),
        )
    }

    fn write_all_at(&self, file: &File, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let act = |state: &State, octets: &[u8]| {
            Ok::<_, io::Error>(Act::Write {
                file: id(state, file)?,
                offset,
                octets: octets.into(),
            })
        };
        let whole = act(&state, octets)?;
        match self.fate(&mut state, &whole) {
            Fate::Done => {
                System.write_all_at(file, octets, offset)?;
                state.tape.acts.push(whole);
                Ok(())
            }
            Fate::Pretended => Ok(()),
            Fate::Fails(error) => {
                let (half, _) = octets.split_at(octets.len() / 2);
                System.write_all_at(file, half, offset)?;
                let half = act(&state, half)?;
                state.tape.acts.push(half);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    fn copy(&self, mut from: &File, to: &File) -> io::Result<()> {
        let mut octets = Vec::new();
        io::Read::read_to_end(&mut from, &mut octets)?;
        self.write_all_at(to, &octets, to.metadata()?.len())
    }

    fn set_len(&self, file: &File, octets: u64) -> io::Result<()> {
        self.act(
            |state| {
                let file = id(state, file)?;
                Ok(Act::SetLen { file, octets })
            },
            || System.set_len(file, octets),
        )
    }

    fn set_owner(&self, file: &File, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        self.act(|_| Ok(Act::Attributes), || System.set_owner(file, uid, gid))
    }

    fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        self.act(|_| Ok(Act::Attributes), || System.set_mode(file, mode))
    }

    // The real file is not synced: nobody pulls its plug, and syncs are slow.
    fn sync(&self, file: &File) -> io::Result<()> {
        self.act(
            |state| {
                let file = id(state, file)?;
                Ok(Act::Sync { file })
            },
            || Ok(()),
        )
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.sync(file)
    }

    fn forget(&self, file: &File) -> io::Result<()> {
        let mut state = self.state();
        let id = id(&state, file)?;
        let octets = state.tape.remembered(id);
        System.set_len(file, octets.len() as u64)?;
        System.write_all_at(file, &octets, 0)?;
        state.tape.acts.push(Act::Forgotten { file: id });
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let name = self.name(path);
        self.act(|_| Ok(Act::SyncFolder { name }), || Ok(()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let names = (self.name(from), self.name(to));
        self.act(
            |state| {
                Ok(Act::Rename {
                    file: id_at(state, from)?,
                    from: names.0,
                    to: names.1,
                })
            },
            || System.rename(from, to),
        )
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let name = self.name(path);
        self.act(
            |state| {
                let file = id_at(state, path)?;
                Ok(Act::Remove { name, file })
            },
            || System.remove_file(path),
        )
    }
}

/// A disk on which nothing is waited for: for looking at what a crash left.
#[derive(Debug)]
pub(super) struct Unsynced;

impl Disk for Unsynced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
