//! The journal: changes that are durable and do not stand in the database yet.
//!
//! ```text
//! QUEUE/journal/N      frames of changes, numbered through all files
//! ```
//! One write and one sync make a frame durable, and with it everything that came while the
//! frame before was synced. The database takes the changes in when a file is full, and
//! remembers the number up to which it has: at the start, what comes after it is read here.
//! A frame that was not finished was promised to nobody. One that is missing before others,
//! of its file or the next, was, and so that is an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmaps::store::disk::{Disk, DiskFile};

use super::change::{Change, decode};
use super::error::QueueError;
use super::segment::{Segment, Unwritten};

/// A file is full when its frames take so much.
const FULL_OCTETS: u64 = 8 * 1024 * 1024;
/// Changes that the database has not taken in may take so much; then changes wait for it.
const MAX_OCTETS: u64 = 64 * 1024 * 1024;
/// The database takes in what so many files hold, be it little: each is open. They are many
/// only where the disk fails now and then.
const FULL_FILES: usize = 8;
/// With so many, changes wait for the database.
const MAX_FILES: usize = 64;
/// Files that are kept to be written over.
const SPARE: usize = 2;

/// The journal of a queue.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    /// The file that is being written.
    current: Option<Segment>,
    /// Files that the database has not taken in yet, with the number of their last frame.
    full: Vec<(Segment, u64)>,
    /// Files to be written over.
    spare: Vec<Segment>,
    /// The number of the next frame.
    next: u64,
    generation: u64,
    /// The name of the next file.
    name: u64,
    doubt: Doubt,
}

/// Whether a frame may stand on the disk that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    None,
    /// One has the number of the next frame. As soon as this is in another file, it is void.
    OfNext,
}

/// How much of the journal waits for the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Little.
    Low,
    /// A file is full.
    Full,
    /// No more can be taken.
    Brimful,
}

impl Journal {
    /// Opens the journal of this folder, and shows every change after frame `taken`, which
    /// the database has, in order.
    pub(super) fn open(
        folder: &Path,
        disk: Arc<dyn Disk>,
        taken: u64,
        mut each: impl FnMut(Change),
    ) -> Result<Self, QueueError> {
        let mut journal = Journal {
            folder: folder.into(),
            disk,
            current: None,
            full: Vec::new(),
            spare: Vec::new(),
            next: taken + 1,
            generation: 0,
            name: 1,
            doubt: Doubt::None,
        };
        let mut files = journal.files()?;
        files.sort_by_key(|(head, _)| head.map(|head| head.generation));
        let mut heads = files.iter().filter_map(|(head, _)| *head).skip(1);
        let limits: Vec<u64> = files
            .iter()
            .map(|(head, _)| match head {
                Some(_) => heads.next().map_or(u64::MAX, |next| next.first),
                None => 0,
            })
            .collect();
        for ((head, mut segment), limit) in files.into_iter().zip(limits) {
            if let Some(head) = head {
                journal.generation = head.generation;
                journal.replay(&mut segment, head.first, limit, &mut each)?;
            }
            journal.spare.push(segment);
        }
        Ok(journal)
    }

    /// The files that are there, with their headers.
    fn files(&mut self) -> Result<Vec<(Option<super::segment::Head>, Segment)>, QueueError> {
        let entries = fs::read_dir(&self.folder).and_then(Iterator::collect);
        let entries: Vec<fs::DirEntry> =
            entries.map_err(QueueError::io(&self.folder, "read folder"))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            self.name = self.name.max(name).saturating_add(1);
            let mut segment = self.open_file(&path)?;
            let head = segment.read_head();
            files.push((head.map_err(QueueError::io(&path, "read"))?, segment));
        }
        Ok(files)
    }

    fn open_file(&self, path: &Path) -> Result<Segment, QueueError> {
        self.make_segment(path)
            .map_err(QueueError::io(path, "open"))
    }

    /// Opens or makes a file. The lock of the queue keeps others away.
    fn make_segment(&self, path: &Path) -> io::Result<Segment> {
        let file = self.disk.open_or_create(path, 0o600)?;
        Segment::new(path.into(), DiskFile::new(Arc::clone(&self.disk), file))
    }

    /// Shows the changes of a file from the next frame on. From `limit` on, another file has
    /// the frames of these numbers: here they were not finished, or nobody knew.
    fn replay(
        &mut self,
        segment: &mut Segment,
        first: u64,
        limit: u64,
        each: &mut impl FnMut(Change),
    ) -> Result<(), QueueError> {
        let damaged = |number| QueueError::Journal {
            path: segment.path.clone(),
            number,
        };
        if limit <= self.next {
            return Ok(());
        }
        if first > self.next {
            return Err(damaged(self.next));
        }
        let mut expected = first;
        while expected < limit {
            let frame = segment.read_frame();
            let frame = frame.map_err(QueueError::io(&segment.path, "read"))?;
            let Some((_, octets)) = frame.filter(|(number, _)| *number == expected) else {
                let followed = segment.is_followed_by(expected + 1);
                if followed.map_err(QueueError::io(&segment.path, "read"))? {
                    return Err(QueueError::Journal {
                        path: segment.path.clone(),
                        number: expected,
                    });
                }
                break;
            };
            if expected == self.next {
                let changes = decode(&octets).ok_or_else(|| QueueError::Journal {
                    path: segment.path.clone(),
                    number: expected,
                })?;
                changes.into_iter().for_each(&mut *each);
                self.next += 1;
            }
            expected += 1;
        }
        if limit != u64::MAX && self.next < limit {
            return Err(QueueError::Journal {
                path: segment.path.clone(),
                number: self.next,
            });
        }
        Ok(())
    }

    /// The number of the last frame.
    pub(super) fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Makes a frame durable. On an error nothing of it is, unless that is
    /// [`QueueError::Doubtful`].
    pub(super) fn append(&mut self, frame: &mut Vec<u8>) -> Result<(), Arc<QueueError>> {
        let octets = frame.len();
        let appended = match self.append_once(frame) {
            // A file that could not be synced is trusted no more, and what it has from this
            // number on not either, as soon as another begins with it.
            Err(Unwritten::Sync(_)) => {
                self.doubt = Doubt::OfNext;
                self.end_file();
                frame.truncate(octets);
                self.append_once(frame)
            }
            appended => appended,
        };
        let action = match appended {
            Ok(()) => {
                self.next += 1;
                self.doubt = Doubt::None;
                return Ok(());
            }
            Err(Unwritten::Write(error)) => ("write", error),
            Err(Unwritten::Sync(error)) => {
                self.doubt = Doubt::OfNext;
                self.end_file();
                ("fsync", error)
            }
        };
        let error = QueueError::io(&self.folder, action.0)(action.1);
        Err(self.doubted(Arc::new(error)))
    }

    /// What is said of changes that failed: they may be the ones of a doubtful frame.
    pub(super) fn doubted(&self, source: Arc<QueueError>) -> Arc<QueueError> {
        match self.doubt {
            Doubt::OfNext if !source.is_doubtful() => Arc::new(QueueError::Doubtful { source }),
            _ => source,
        }
    }

    fn append_once(&mut self, frame: &mut Vec<u8>) -> Result<(), Unwritten> {
        let mut segment = match self.current.take() {
            Some(segment) => segment,
            None => self.begin_file().map_err(Unwritten::Write)?,
        };
        let appended = segment.append(self.next, frame);
        self.current = Some(segment);
        appended
    }

    fn begin_file(&mut self) -> io::Result<Segment> {
        self.generation += 1;
        if let Some(mut segment) = self.spare.pop() {
            if segment.begin(self.generation, self.next).is_ok() {
                return Ok(segment);
            }
            // A place of the disk that fails is not asked again. Its header may come up after a
            // crash all the same, and must then be older than the one of the next file.
            self.generation += 1;
            let _ = self.disk.remove_file(&segment.path);
        }
        let path = self.folder.join(self.name.to_string());
        let begun = self.make_segment(&path).and_then(|mut segment| {
            segment.begin(self.generation, self.next)?;
            self.disk.sync_folder(&self.folder)?;
            Ok(segment)
        });
        match &begun {
            Ok(_) => self.name += 1,
            Err(_) => {
                let _ = self.disk.remove_file(&path);
            }
        }
        begun
    }

    /// Whether the database should take something in, or must.
    pub(super) fn fill(&self) -> Fill {
        let waiting: u64 = self.full.iter().map(|(segment, _)| segment.octets()).sum();
        let current = self.current.as_ref().map_or(0, Segment::octets);
        let files = self.full.len();
        if waiting + current >= MAX_OCTETS || files >= MAX_FILES {
            Fill::Brimful
        } else if current >= FULL_OCTETS || files >= FULL_FILES {
            Fill::Full
        } else {
            Fill::Low
        }
    }

    /// Ends the file at hand; the next frame begins another. A file without a frame that was
    /// promised goes: nobody needs it, and where the disk fails on, there would be ever more.
    pub(super) fn end_file(&mut self) {
        let last = self.last();
        match self.current.take() {
            Some(segment) if segment.is_empty() => {
                let _ = self.disk.remove_file(&segment.path);
            }
            Some(segment) => self.full.push((segment, last)),
            None => {}
        }
    }

    /// The database has taken in all frames up to this one.
    pub(super) fn taken(&mut self, number: u64) {
        let full = std::mem::take(&mut self.full);
        for (mut segment, last) in full {
            if last > number {
                self.full.push((segment, last));
            } else if self.spare.len() < SPARE && segment.shrink(FULL_OCTETS).is_ok() {
                self.spare.push(segment);
            } else {
                let _ = self.disk.remove_file(&segment.path);
            }
        }
    }

    /// Removes all files; the database has everything.
    pub(super) fn remove(self) {
        let full = self.full.into_iter().map(|(segment, _)| segment);
        for segment in self.current.into_iter().chain(full).chain(self.spare) {
            let _ = self.disk.remove_file(&segment.path);
        }
    }
}
