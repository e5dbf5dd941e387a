//! The publisher over a recorder.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use libmaps::build::{Builder, Start};
use libmaps::map::{Entry, MapClass, StoreError};
use libmaps::store;
use libmaps::store::disk::Disk;
use libmaps::store::publish::{EditBy, OnDuplicate, Options, Publisher};

use super::super::report::Findings;
use super::super::{Effort, Lab};
use super::recorder::{Fate, Plan, Recorder, Unsynced, no_faults};
use super::tape::{Act, Tape};
use super::{ERRORS, replay};

const BERKELEY: &[u8] = include_bytes!("../../../../../testdata/berkeley/load-hash-p512.db");

/// One way to publish.
pub(super) struct Job {
    pub(super) name: &'static str,
    /// The map's file.
    target: &'static str,
    /// Where an old Berkeley DB file is kept.
    kept: Option<&'static str>,
    lay_out: fn(&Path, Arc<dyn Disk>) -> Result<(), StoreError>,
    change: fn(&Path, Arc<dyn Disk>) -> Result<(), StoreError>,
}

pub(super) const JOBS: &[Job] = &[
    Job {
        name: "a new map",
        target: "m.db",
        kept: None,
        lay_out: |_, _| Ok(()),
        change: |target, disk| build(target, disk, MapClass::Hash, "new"),
    },
    Job {
        name: "a map made anew",
        target: "m.db",
        kept: None,
        lay_out: |target, disk| build(target, disk, MapClass::Hash, "old"),
        change: |target, disk| build(target, disk, MapClass::Btree, "new"),
    },
    Job {
        name: "a cdb made anew",
        target: "m.cdb",
        kept: None,
        lay_out: |target, disk| build(target, disk, MapClass::Cdb, "old"),
        change: |target, disk| build(target, disk, MapClass::Cdb, "new"),
    },
    Job {
        name: "a copied edit",
        target: "m.db",
        kept: None,
        lay_out: |target, disk| build(target, disk, MapClass::Hash, "old"),
        change: |target, disk| edit(target, disk, EditBy::Copying),
    },
    Job {
        name: "a rewritten edit",
        target: "m.db",
        kept: None,
        lay_out: |target, disk| build(target, disk, MapClass::Hash, "old"),
        change: |target, disk| edit(target, disk, EditBy::Rewriting),
    },
    Job {
        name: "the first write to a Berkeley file",
        target: "m.db",
        kept: Some("m.bdb"),
        lay_out: |target, _| {
            fs::write(target, BERKELEY).map_err(|e| StoreError::io(target, "write", e))
        },
        change: |target, disk| edit(target, disk, EditBy::Copying),
    },
];

fn options(disk: Arc<dyn Disk>, class: MapClass) -> Options {
    Options {
        on_duplicate: OnDuplicate::Replace,
        disk,
        ..Options::new(class, "bench faults")
    }
}

fn build(target: &Path, disk: Arc<dyn Disk>, class: MapClass, rhs: &str) -> Result<(), StoreError> {
    let mut builder = Builder::open(target, Start::Empty, options(disk, class))?;
    for n in 0..300 {
        // Some come twice, so that records of a cdb move up.
        let lhs = format!("host{}.example", n % 290);
        builder.put(lhs.as_bytes(), rhs.as_bytes(), n + 1)?;
    }
    builder.publish(None).map(drop)
}

fn edit(target: &Path, disk: Arc<dyn Disk>, edit: EditBy) -> Result<(), StoreError> {
    let options = Options {
        edit,
        ..options(disk, MapClass::Hash)
    };
    let mut publisher = Publisher::edit(target, options)?;
    publisher.put(Entry::new("added.example", "new"))?;
    publisher.remove(b"host7.example")?;
    publisher.publish().map(drop)
}

/// What a map holds, in order; `None` where there is no map.
type Content = Option<Vec<(Vec<u8>, Vec<u8>)>>;

fn content(target: &Path) -> Result<Content, StoreError> {
    let map = match store::open(target) {
        Ok(map) => map,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in map.iter() {
        let Entry { lhs, rhs } = entry?;
        all.push((lhs.as_bytes().to_vec(), rhs.as_bytes().to_vec()));
    }
    all.sort();
    Ok(Some(all))
}

/// One run of a job over a recorder.
pub(super) struct Run {
    pub(super) tape: Tape,
    /// How many acts there were, those included that failed.
    acts: usize,
    result: Result<(), StoreError>,
    folder: tempfile::TempDir,
    old: Content,
    new: Content,
}

impl Job {
    /// Publishes, over a disk that fails as planned.
    pub(super) fn run(&self, plan: Plan) -> io::Result<Run> {
        let folder = tempfile::tempdir()?;
        let target = folder.path().join(self.target);
        (self.lay_out)(&target, Arc::new(Unsynced)).map_err(io::Error::other)?;
        let old = content(&target).map_err(io::Error::other)?;
        let twin = tempfile::tempdir()?;
        let wanted = twin.path().join(self.target);
        (self.lay_out)(&wanted, Arc::new(Unsynced)).map_err(io::Error::other)?;
        (self.change)(&wanted, Arc::new(Unsynced)).map_err(io::Error::other)?;
        let new = content(&wanted).map_err(io::Error::other)?;
        let recorder = Arc::new(Recorder::new(folder.path(), plan)?);
        let result = (self.change)(&target, Arc::clone(&recorder) as Arc<dyn Disk>);
        if result.is_ok() {
            recorder.note();
        }
        Ok(Run {
            acts: recorder.acts(),
            tape: recorder.take(),
            result,
            folder,
            old,
            new,
        })
    }

    /// Whether a folder is as promised; `told`: whether the program said that it was done.
    pub(super) fn judge(&self, run: &Run, folder: &Path, told: bool) -> Result<(), String> {
        let target = folder.join(self.target);
        let now = content(&target).map_err(|e| format!("the map is no map: {e}"))?;
        if now != run.new && (told || now != run.old) {
            return Err(match (told, now == run.old) {
                (true, true) => "told that it was done, and the old map is there".into(),
                _ => "the map is neither the old one nor the new one".to_owned(),
            });
        }
        if let Some(kept) = self.kept {
            let copy = fs::read(folder.join(kept)).ok();
            if copy.as_deref().is_some_and(|copy| copy != BERKELEY) {
                return Err(format!("{kept} is not the old file"));
            }
            if now == run.new && copy.is_none() {
                return Err(format!("the new map is there, but not {kept}"));
            }
        }
        // The next run must work, and clear away what was left.
        (self.change)(&target, Arc::new(Unsynced)).map_err(|e| format!("the next run: {e}"))?;
        match content(&target) {
            Ok(now) if now == run.new => {}
            other => return Err(format!("the next run: another map ({})", other.is_ok())),
        }
        match left(folder) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("the next run left {}", left.join(", "))),
        }
    }

    /// Whether a run that met an error ended as promised.
    fn judge_failed(&self, run: &Run, act: &Act) -> Result<(), String> {
        let target = run.folder.path().join(self.target);
        let now = content(&target).map_err(|e| format!("the map is no map: {e}"))?;
        match &run.result {
            Ok(()) if now != run.new => return Err("success, and not the new map".into()),
            Err(_) if now != run.new && now != run.old => {
                return Err("neither the old map nor the new one".into());
            }
            Err(error) if !error.to_string().contains("m.") => {
                return Err(format!("the message names no file of the map: {error}"));
            }
            _ => {}
        }
        let left = left(run.folder.path());
        // What can't be removed is left.
        if !left.is_empty() && !matches!(act, Act::Remove { .. }) {
            return Err(format!("left {}", left.join(", ")));
        }
        self.judge(run, run.folder.path(), run.result.is_ok())
    }
}

/// Hidden files: drafts and locks.
fn left(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
}

pub(super) fn run(lab: &Lab, found: &mut Findings) -> io::Result<()> {
    for job in JOBS {
        found.count("ways to publish", 1);
        let run = job.run(no_faults())?;
        if let Err(error) = &run.result {
            return Err(io::Error::other(format!("{}: {error}", job.name)));
        }
        found.count("acts recorded", run.acts as u64);
        let losses = replay(
            job.name,
            &run.tape,
            lab.effort,
            found,
            &mut |folder, notes| job.judge(&run, folder, notes > 0),
        )?;
        losses.into_iter().for_each(|loss| found.lose(loss));
        let errors = match lab.effort {
            Effort::Quick => ERRORS.get(..1).unwrap_or_default(),
            Effort::Long => &ERRORS,
        };
        for (name, error) in errors {
            for number in 0..run.acts {
                fail(job, number, name, *error, found)?;
            }
        }
    }
    Ok(())
}

/// Lets one act fail.
fn fail(job: &Job, number: usize, name: &str, error: i32, found: &mut Findings) -> io::Result<()> {
    let failed = Arc::new(std::sync::OnceLock::new());
    let note = Arc::clone(&failed);
    let run = job.run(Box::new(move |at, act| match at == number {
        true => {
            let _ = note.set(act.clone());
            Fate::Fails(error)
        }
        false => Fate::Done,
    }))?;
    found.count("acts that failed", 1);
    let Some(act) = failed.get() else {
        return Ok(());
    };
    if let Err(why) = job.judge_failed(&run, act) {
        found.lose(format!("{}: {name} at {}: {why}", job.name, act.tell()));
    }
    Ok(())
}
