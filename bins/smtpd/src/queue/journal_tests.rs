//! The journal on a disk that loses power: whatever of the unsynced sectors it has kept, what
//! was answered with success is there, in order, and of the rest at most the last, whole.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use redb::StorageBackend;

use super::change::Change;
use super::error::QueueError;
use super::journal::{Journal, open_file};
use super::segment::FRAME_OCTETS;

const SECTOR: usize = 512;

/// What was done to a file.
#[derive(Clone, Debug)]
enum Deed {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

thread_local! {
    /// All that was done, in order.
    static DEEDS: RefCell<Vec<(PathBuf, Deed)>> = const { RefCell::new(Vec::new()) };
    /// Syncs up to the next one that fails.
    static FAILS: RefCell<Option<usize>> = const { RefCell::new(None) };
}

/// A file whose story is written down.
#[derive(Debug)]
struct Told(PathBuf, Box<dyn StorageBackend>);

impl Told {
    fn open(path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(Told(path.into(), open_file(path)?)))
    }

    fn tell(&self, deed: Deed) {
        DEEDS.with_borrow_mut(|deeds| deeds.push((self.0.clone(), deed)));
    }
}

impl StorageBackend for Told {
    fn len(&self) -> io::Result<u64> {
        self.1.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.1.read(offset, out)
    }

    fn set_len(&self, octets: u64) -> io::Result<()> {
        self.tell(Deed::Length(octets));
        self.1.set_len(octets)
    }

    fn sync_data(&self) -> io::Result<()> {
        let fails = FAILS.with_borrow_mut(|left| {
            let now = *left == Some(0);
            *left = left.and_then(|left| left.checked_sub(1));
            now
        });
        if fails {
            return Err(io::Error::other("the disk is gone"));
        }
        self.tell(Deed::Sync);
        self.1.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.tell(Deed::Write(offset, data.into()));
        self.1.write(offset, data)
    }
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
    Journal::open(folder, open_file, taken, |change| found.push(change))?;
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
        DEEDS.with_borrow_mut(Vec::clear);
        FAILS.with_borrow_mut(|fails| *fails = None);
        let deeds_so_far = || DEEDS.with_borrow(Vec::len);
        let mut journal = Journal::open(folder.path(), Told::open, 0, |_| {}).unwrap();
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
                Step::SyncFails => FAILS.with_borrow_mut(|fails| *fails = Some(1)),
            }
            promised.push((deeds_so_far(), all.len(), taken));
        }
        let deeds = DEEDS.with_borrow(Clone::clone);
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
    let mut journal = Journal::open(folder.path(), open_file, 0, |_| {}).unwrap();
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
fn what_stood_in_a_file_before_comes_up_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), open_file, 0, |_| {}).unwrap();
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
