//! The journal on a disk that loses power: whatever of the unsynced sectors it has kept, what
//! was answered with success is there, in order, and of the rest at most the last, whole.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use libmaps::store::disk::{Disk, System};
use proptest::prelude::*;

use super::change::Change;
use super::error::QueueError;
use super::journal::{Fill, Journal};
use super::segment::FRAME_OCTETS;

const SECTOR: usize = 512;

/// What was done to a file.
#[derive(Clone, Debug)]
enum Deed {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

/// A disk whose story is written down.
#[derive(Debug, Default)]
struct Told {
    story: Mutex<Story>,
}

#[derive(Debug, Default)]
struct Story {
    /// All that was done, in order.
    deeds: Vec<(PathBuf, Deed)>,
    /// Syncs up to the next one that fails.
    fails: Option<usize>,
    /// Files by their inodes.
    names: HashMap<u64, PathBuf>,
}

impl Told {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap()
    }

    fn tell(&self, file: &File, deed: Deed) {
        let inode = file.metadata().unwrap().ino();
        let mut story = self.story();
        let path = story.names[&inode].clone();
        story.deeds.push((path, deed));
    }
}

impl Disk for Told {
    fn open_or_create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let file = System.open_or_create(path, mode)?;
        let inode = file.metadata()?.ino();
        self.story().names.insert(inode, path.into());
        Ok(file)
    }

    fn set_len(&self, file: &File, octets: u64) -> io::Result<()> {
        self.tell(file, Deed::Length(octets));
        System.set_len(file, octets)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        let fails = {
            let mut story = self.story();
            let now = story.fails == Some(0);
            story.fails = story.fails.and_then(|left| left.checked_sub(1));
            now
        };
        if fails {
            return Err(io::Error::other("the disk is gone"));
        }
        self.tell(file, Deed::Sync);
        System.sync_data(file)
    }

    fn write_all_at(&self, file: &File, octets: &[u8], offset: u64) -> io::Result<()> {
        self.tell(file, Deed::Write(offset, octets.into()));
        System.write_all_at(file, octets, offset)
    }
}

/// A journal of the system's disk.
fn open(folder: &Path, taken: u64, each: impl FnMut(Change)) -> Result<Journal, QueueError> {
    Journal::open(folder, Arc::new(System), taken, each)
}

/// What the disk has after power was lost at this deed: everything synced, and of the rest
/// the sectors for which `keeps` says so.
fn after_crash(deeds: &[(PathBuf, Deed)], mut keeps: impl FnMut() -> bool) -> tempfile::TempDir {
    let mut files: BTreeMap<&PathBuf, (Vec<u8>, Vec<&Deed>)> = BTreeMap::new();
    for (path, deed) in deeds {
        let (octets, unsynced) = files.entry(path).or_default();
        unsynced.push(deed);
        if let Deed::Sync = deed {
            for deed in std::mem::take(unsynced) {
                do_again(octets, deed, &mut || true);
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for (path, (mut octets, unsynced)) in files {
        for deed in unsynced {
            do_again(&mut octets, deed, &mut keeps);
        }
        std::fs::write(folder.path().join(path.file_name().unwrap()), octets).unwrap();
    }
    folder
}

fn do_again(octets: &mut Vec<u8>, deed: &Deed, keeps: &mut impl FnMut() -> bool) {
    match deed {
        Deed::Sync => {}
        Deed::Length(length) => octets.resize(usize::try_from(*length).unwrap(), 0),
        Deed::Write(offset, data) => {
            let mut at = usize::try_from(*offset).unwrap();
            let mut rest = data.as_slice();
            while !rest.is_empty() {
                let (piece, others) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                if keeps() {
                    octets.resize(octets.len().max(at + piece.len()), 0);
                    octets[at..at + piece.len()].copy_from_slice(piece);
                }
                at += piece.len();
                rest = others;
            }
        }
    }
}

fn frame(number: u64, octets: usize) -> (Vec<u8>, Change) {
    let change = Change::Update(number.to_string().into(), vec![b'x'; octets].into());
    let mut frame = vec![0; FRAME_OCTETS];
    change.encode(&mut frame);
    (frame, change)
}

fn replay(folder: &Path, taken: u64) -> Result<Vec<Change>, QueueError> {
    let mut found = Vec::new();
    open(folder, taken, |change| found.push(change))?;
    Ok(found)
}

/// What is done with a journal.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    End,
    Taken,
    SyncFails,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_000usize).prop_map(Step::Append),
        2 => Just(Step::End),
        1 => Just(Step::Taken),
        1 => Just(Step::SyncFails),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_crash_loses_nothing_that_was_answered(steps in steps(), seed in any::<u64>()) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Told::default());
        let deeds_so_far = || disk.story().deeds.len();
        let told = Arc::clone(&disk) as Arc<dyn Disk>;
        let mut journal = Journal::open(folder.path(), told, 0, |_| {}).unwrap();
        let (mut all, mut taken) = (Vec::new(), 0);
        // How many deeds there were when so many frames were durable, and so many taken.
        let mut promised = vec![(0, 0, 0)];
        for step in steps {
            match step {
                Step::Append(octets) => {
                    let (mut octets, change) = frame(all.len() as u64, octets);
                    if journal.append(&mut octets).is_ok() {
                        all.push(change);
                    }
                }
                Step::End => journal.end_file(),
                Step::Taken => {
                    taken = journal.last();
                    promised.push((deeds_so_far(), all.len(), taken));
                    journal.end_file();
                    journal.taken(taken);
                }
                Step::SyncFails => disk.story().fails = Some(1),
            }
            promised.push((deeds_so_far(), all.len(), taken));
        }
        let deeds = disk.story().deeds.clone();
        let mut random = seed | 1;
        let mut coin = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % 2 == 0
        };
        for cut in 0..=deeds.len() {
            let (_, durable, taken) = promised.iter().rev().find(|p| p.0 <= cut).unwrap();
            let disk = after_crash(&deeds[..cut], &mut coin);
            let found = replay(disk.path(), *taken).unwrap();
            let at = usize::try_from(*taken).unwrap();
            prop_assert!(found.len() >= durable - at, "{} of {durable} after {at}", found.len());
            let sure = &found[..durable - at];
            prop_assert_eq!(sure, &all[at..*durable]);
            // What was not answered yet may be there, if it is whole.
            prop_assert!(found.len() <= durable - at + 1);
        }
    }
}

#[test]
fn what_is_missing_in_the_middle_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path(), 0, |_| {}).unwrap();
    for number in 0..4 {
        journal.append(&mut frame(number, 10).0).unwrap();
        if number % 2 == 1 {
            journal.end_file();
        }
    }
    assert_eq!(replay(folder.path(), 0).unwrap().len(), 4);
    assert_eq!(replay(folder.path(), 3).unwrap().len(), 1);
    let first = folder.path().join("1");
    let mut octets = std::fs::read(&first).unwrap();
    let whole = octets.clone();
    octets[80] ^= 1;
    std::fs::write(&first, octets).unwrap();
    let error = replay(folder.path(), 0).unwrap_err();
    assert!(
        matches!(error, QueueError::Journal { number: 1, .. }),
        "{error}"
    );
    assert_eq!(
        replay(folder.path(), 2).unwrap().len(),
        2,
        "it is not needed"
    );
    std::fs::write(&first, whole).unwrap();
    std::fs::remove_file(first).unwrap();
    let error = replay(folder.path(), 0).unwrap_err();
    assert!(
        matches!(error, QueueError::Journal { number: 1, .. }),
        "{error}"
    );
}

#[test]
fn what_is_damaged_in_the_newest_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path(), 0, |_| {}).unwrap();
    let mut ends = Vec::new();
    for number in 0..4 {
        let mut frame = frame(number, 10).0;
        ends.push(ends.last().unwrap_or(&56) + frame.len());
        journal.append(&mut frame).unwrap();
    }
    let file = folder.path().join("1");
    let whole = std::fs::read(&file).unwrap();
    let with = |at: usize| {
        let mut octets = whole.clone();
        octets[at] ^= 1;
        std::fs::write(&file, octets).unwrap();
        replay(folder.path(), 0)
    };
    for (number, end) in (1..).zip(&ends[..3]) {
        let error = with(end - 1).unwrap_err();
        let named = matches!(error, QueueError::Journal { number: n, .. } if n == number);
        assert!(named, "{number}: {error}");
    }
    // The last one may not have been finished.
    assert_eq!(with(ends[3] - 1).unwrap().len(), 3);
    for at in 8..56 {
        assert!(with(at).is_err(), "header, octet {at}");
    }
    // Nor may a file have got its header.
    std::fs::write(&file, vec![0; whole.len()]).unwrap();
    assert_eq!(replay(folder.path(), 0).unwrap().len(), 0);
}

#[test]
fn a_disk_that_fails_now_and_then_leaves_few_files() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Told::default());
    let told = Arc::clone(&disk) as Arc<dyn Disk>;
    let mut journal = Journal::open(folder.path(), told, 0, |_| {}).unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    for number in 0..60 {
        disk.story().fails = Some(number % 3);
        let _ = journal.append(&mut frame(0, 10).0);
        if journal.fill() != Fill::Low {
            journal.end_file();
            journal.taken(journal.last());
        }
    }
    assert!(files() <= 11, "{} files", files());
}

#[test]
fn what_stood_in_a_file_before_comes_up_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path(), 0, |_| {}).unwrap();
    // Frames of one length: an old one stands exactly where the next is expected.
    for number in 0..4 {
        journal.append(&mut frame(number, 10).0).unwrap();
    }
    journal.end_file();
    journal.taken(4);
    journal.append(&mut frame(4, 10).0).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let found = replay(folder.path(), 4).unwrap();
    assert_eq!(found, [frame(4, 10).1]);
    journal.remove();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
