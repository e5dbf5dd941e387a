//! Section `readers`: two writers and ten readers on one map.
//!
//! Each change counts one on: it reads the map's number, puts the next one under several
//! LHSs at once, and adds an LHS of its own. So a lost update is a number or an LHS that is
//! missing, and a half one is a snapshot whose numbers differ. The readers do as the server
//! does: refresh, take a snapshot, ask.

mod meter;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libmaps::live::{Live, Refresh};
use libmaps::map::{Entry, Map, MapClass, StoreError};
use libmaps::store;
use libmaps::store::publish::{OnDuplicate, Options, Publisher};

use super::report::Findings;
use super::{Effort, Lab, Section};
use meter::{Clocks, Taken};

pub(super) const SECTION: Section = Section {
    name: "readers",
    promise: "two writers and ten readers: no update lost, no wrong answer, no read held up",
    run,
};

const WRITERS: usize = 2;
const READERS: usize = 10;
/// LHSs that always have the same number.
const TWINS: usize = 8;
/// Entries that never change.
const FIXED: usize = 2_000;
/// What a read may take for the map's sake.
const LIMIT: Duration = Duration::from_millis(5);

fn run(lab: &Lab, found: &mut Findings) -> io::Result<()> {
    let lasting = match lab.effort {
        Effort::Quick => Duration::from_secs(2),
        Effort::Long => Duration::from_secs(60),
    };
    let target = lab.folder.join("m.db");
    lay_out(&target).map_err(io::Error::other)?;
    if !Clocks::of_this_thread().work() {
        found.skip("no schedstat here: reads over 5 ms are not told apart");
    }
    let live = Live::open(&target, open).map_err(io::Error::other)?;
    let stop = AtomicBool::new(false);
    let (writers, readers) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let (target, stop) = (&target, &stop);
                    move || write(target, writer, stop)
                })
            })
            .collect();
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(|| read(&live, &stop)))
            .collect();
        let begun = Instant::now();
        while begun.elapsed() < lasting && !writers.iter().any(|w| w.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::SeqCst);
        let writers: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        let readers: Vec<_> = readers.into_iter().map(|r| r.join()).collect();
        (writers, readers)
    });
    let mut changes = Vec::new();
    for writer in writers {
        let writer = writer.map_err(|_| io::Error::other("a writer panicked"))?;
        if let Some(error) = writer.error {
            found.lose(format!("a writer failed: {error}"));
        }
        changes.push(writer.changes);
    }
    found.count("changes", changes.iter().sum());
    let mut all = Reads::default();
    for reader in readers {
        all.add(reader.map_err(|_| io::Error::other("a reader panicked"))?);
    }
    // What a test's machine does besides is nobody's loss.
    if lab.effort == Effort::Long && all.held_up > 0 {
        found.lose(format!("{} reads were held up", all.held_up));
    }
    all.tell(found);
    judge_end(&target, &changes, found).map_err(io::Error::other)
}

/// How long those who opened a newer map were ready to run while others ran, all together. Who
/// waits for one of them waits for that as well, and it is not the map's doing.
static OPENERS_DELAY_NANOS: AtomicU64 = AtomicU64::new(0);

fn open(path: &Path) -> Result<Box<dyn Map>, StoreError> {
    let clocks = Clocks::of_this_thread();
    let meter = clocks.start();
    let opened = store::open(path);
    let delay = u64::try_from(meter.stop().delay.as_nanos()).unwrap_or(u64::MAX);
    OPENERS_DELAY_NANOS.fetch_add(delay, Ordering::SeqCst);
    opened
}

fn options() -> Options {
    Options {
        on_duplicate: OnDuplicate::Replace,
        ..Options::new(MapClass::Hash, "bench faults")
    }
}

fn lay_out(target: &Path) -> Result<(), StoreError> {
    let mut publisher = Publisher::create(target, options())?;
    for n in 0..FIXED {
        publisher.put(Entry::new(fixed(n).as_bytes(), n.to_string().as_bytes()))?;
    }
    for n in 0..TWINS {
        publisher.put(Entry::new(twin(n).as_bytes(), b"0".as_slice()))?;
    }
    publisher.publish().map(drop)
}

fn fixed(n: usize) -> String {
    format!("fixed{n}.example")
}

fn twin(n: usize) -> String {
    format!("twin{n}.example")
}

/// What a writer did.
struct Written {
    changes: u64,
    error: Option<StoreError>,
}

fn write(target: &Path, writer: usize, stop: &AtomicBool) -> Written {
    let mut changes = 0;
    while !stop.load(Ordering::SeqCst) {
        if let Err(error) = change(target, &format!("writer{writer}-{changes}")) {
            return Written {
                changes,
                error: Some(error),
            };
        }
        changes += 1;
    }
    Written {
        changes,
        error: None,
    }
}

fn change(target: &Path, own: &str) -> Result<(), StoreError> {
    let mut publisher = Publisher::edit(target, options())?;
    let number = match publisher.base() {
        Some(base) => number(base, &twin(0))?.unwrap_or(0),
        None => 0,
    };
    let next = (number + 1).to_string();
    for n in 0..TWINS {
        publisher.put(Entry::new(twin(n).as_bytes(), next.as_bytes()))?;
    }
    publisher.put(Entry::new(own.as_bytes(), next.as_bytes()))?;
    publisher.publish().map(drop)
}

fn number(map: &dyn Map, lhs: &str) -> Result<Option<u64>, StoreError> {
    let rhs = map.get(lhs.as_bytes())?;
    Ok(rhs.and_then(|rhs| rhs.to_string().parse().ok()))
}

/// What readers did and saw.
#[derive(Default)]
struct Reads {
    reads: u64,
    reloads: u64,
    held_up: u64,
    put_off: u64,
    longest: Taken,
    longest_own: Duration,
    wrong: Vec<String>,
}

impl Reads {
    fn add(&mut self, other: Reads) {
        self.reads += other.reads;
        self.reloads += other.reloads;
        self.held_up += other.held_up;
        self.put_off += other.put_off;
        self.longest = self.longest.most(other.longest);
        self.longest_own = self.longest_own.max(other.longest_own);
        self.wrong.extend(other.wrong);
    }

    /// `openers`: how long other readers, who may have been waited for, had no processor.
    fn note(&mut self, taken: Taken, openers: Duration) {
        self.reads += 1;
        self.longest = self.longest.most(taken);
        let own = taken.wall.saturating_sub(taken.delay);
        let own = own.saturating_sub(openers);
        self.longest_own = self.longest_own.max(own);
        if own > LIMIT {
            self.held_up += 1;
        } else if taken.wall > LIMIT {
            self.put_off += 1;
        }
    }

    fn tell(self, found: &mut Findings) {
        found.count("reads", self.reads);
        found.count("newer maps opened", self.reloads);
        found.count("reads over 5 ms for the map's sake", self.held_up);
        found.count(
            "reads over 5 ms while others had the processor",
            self.put_off,
        );
        let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        found.measure("longest read, on the processor", millis(self.longest.cpu));
        found.measure("longest read, for the map's sake", millis(self.longest_own));
        found.measure("longest read, by the clock", millis(self.longest.wall));
        for wrong in self.wrong {
            found.lose(wrong);
        }
    }
}

fn read(live: &Live<Box<dyn Map>>, stop: &AtomicBool) -> Reads {
    let mut reads = Reads::default();
    let (mut turn, mut last) = (0_usize, 0);
    let clocks = Clocks::of_this_thread();
    while !stop.load(Ordering::SeqCst) {
        turn = turn.wrapping_add(1);
        let openers = OPENERS_DELAY_NANOS.load(Ordering::SeqCst);
        let meter = clocks.start();
        let refresh = live.refresh();
        let map = live.snapshot();
        let answer = map.get(fixed(turn % FIXED).as_bytes());
        let taken = meter.stop();
        let delay = OPENERS_DELAY_NANOS.load(Ordering::SeqCst) - openers;
        reads.note(taken, Duration::from_nanos(delay));
        match refresh {
            Refresh::Unchanged => {}
            Refresh::Reloaded => reads.reloads += 1,
            Refresh::KeptOld(error) => reads.wrong.push(format!("a reader kept the old: {error}")),
        }
        match answer {
            Ok(Some(rhs)) if rhs.to_string() == (turn % FIXED).to_string() => {}
            other => reads
                .wrong
                .push(format!("{}: {other:?}", fixed(turn % FIXED))),
        }
        match twins(map.as_ref().as_ref()) {
            Ok(number) if number >= last => last = number,
            Ok(number) => reads.wrong.push(format!("{number} came after {last}")),
            Err(why) => reads.wrong.push(why),
        }
        if reads.wrong.len() > 20 {
            break;
        }
        // As many reads as a busy server makes, and no more: the writers want to work too.
        std::thread::sleep(Duration::from_micros(500));
    }
    reads
}

/// The number that all twins have in this snapshot.
fn twins(map: &dyn Map) -> Result<u64, String> {
    let mut first = None;
    for n in 0..TWINS {
        let number = number(map, &twin(n)).map_err(|e| e.to_string())?;
        let number = number.ok_or_else(|| format!("{} has no number", twin(n)))?;
        if *first.get_or_insert(number) != number {
            return Err(format!("{} has {number}, another {first:?}", twin(n)));
        }
    }
    match map.get(b"nobody.example") {
        Ok(None) => Ok(first.unwrap_or(0)),
        other => Err(format!("nobody.example: {other:?}")),
    }
}

/// No update is lost, and nothing but the map is left.
fn judge_end(target: &Path, changes: &[u64], found: &mut Findings) -> Result<(), StoreError> {
    let map = store::open(target)?;
    let wanted: u64 = changes.iter().sum();
    match twins(map.as_ref()) {
        Ok(number) if number == wanted => {}
        other => found.lose(format!("{wanted} changes were made, the map has {other:?}")),
    }
    for (writer, changes) in changes.iter().enumerate() {
        for n in 0..*changes {
            let own = format!("writer{writer}-{n}");
            if map.get(own.as_bytes())?.is_none() {
                found.lose(format!("the update {own} is lost"));
            }
        }
    }
    let folder: PathBuf = store::path::folder_of(target);
    let names = std::fs::read_dir(&folder).map_err(|e| StoreError::io(&folder, "list", e))?;
    for name in names.flatten().map(|entry| entry.file_name()) {
        if Some(name.as_os_str()) != target.file_name() {
            found.lose(format!("left behind: {}", name.display()));
        }
    }
    Ok(())
}
