//! Building: a source, or any entries in any order, to a published map.
//!
//! What makemap and newaliases call. The target is locked and checked before
//! the first octet of the source is read; the entries are sorted in bounded
//! memory and handed to the store in order, or, for a cdb, which has none,
//! written as they come; the map changes at the very end, by a rename, or not
//! at all.

pub mod alias_text;
pub mod aliases;
mod merge;
mod record;
mod runs;
mod spill;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::map::{MapClass, StoreError};
use crate::source::map::{Grammar, Line, Lines, SourceLine};
use crate::source::{ParseError, ParseErrorKind};
use crate::store::disk::{DiskFile, patiently};
use crate::store::duplicate::{Keep, OLD_ENTRY, REMEMBERED};
use crate::store::path::folder_of;
use crate::store::publish::{Check, Filled, OnDuplicate, Options, Published, Publisher};
use crate::store::{CdbWriter, Opened};
use record::Record;
use runs::Runs;

pub use crate::store::duplicate::{Duplicate, DuplicateList};

/// Memory for entries being sorted before they go to a file, in octets.
const DEFAULT_BUDGET_OCTETS: usize = 112 << 20;

/// What is done when the source has bad lines or duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The good entries are published (makemap's way).
    PublishGood,
    /// Nothing is published (`--strict`).
    PublishNothing,
}

/// Whether the entries of the old map stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The map will hold the source's entries alone.
    Empty,
    /// The source's entries are added to those of the map (`-o`).
    FromOld,
}

/// A map being built.
pub struct Builder {
    publisher: Publisher,
    on_duplicate: OnDuplicate,
    taken: Taken,
    path: PathBuf,
    started: Instant,
}

/// The entries that were put.
enum Taken {
    /// On their way to a store that wants them sorted.
    Runs(Runs),
    /// In the draft already.
    Cdb(CdbWriter<DiskFile>),
}

/// What came of a build.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many entries the source had, bad lines not counted.
    pub read: u64,
    /// How many entries the map holds.
    pub stored: u64,
    /// The later entries of an LHS, by line, where they are an error; as many as were remembered.
    pub duplicates: DuplicateList,
    /// The bad lines, in order, as many as were remembered.
    pub errors: Vec<ParseError>,
    /// How many bad lines there were in all.
    pub error_count: u64,
    /// How long it took, from opening to the fsync of the folder.
    pub elapsed: Duration,
    /// What was published; `None` with [`OnError::PublishNothing`] after an error.
    pub published: Option<Published>,
}

impl Builder {
    /// Locks and checks `target`, a path with its suffix.
    ///
    /// # Errors
    /// As [`Publisher::create`]; with [`Start::FromOld`] also [`StoreError::Missing`], and
    /// [`StoreError::Foreign`] where the old map is of another class or was built without
    /// `-d` and is to be added to with it.
    pub fn open(target: &Path, start: Start, options: Options) -> Result<Self, StoreError> {
        let on_duplicate = options.on_duplicate;
        let class = options.class;
        let publisher = match start {
            Start::Empty => Publisher::create(target, options)?,
            Start::FromOld => Publisher::extend(target, options)?,
        };
        let taken = match class {
            MapClass::Cdb => Taken::Cdb(publisher.cdb_writer()?),
            _ => Taken::Runs(empty_runs(target)),
        };
        let mut builder = Builder {
            publisher,
            on_duplicate,
            taken,
            path: target.into(),
            started: Instant::now(),
        };
        if start == Start::FromOld {
            let old = builder.publisher.old_map(target)?.into_map();
            for entry in old.iter() {
                let entry = entry?;
                builder.put(entry.lhs.as_bytes(), entry.rhs.as_bytes(), OLD_ENTRY)?;
            }
        }
        Ok(builder)
    }

    /// The map that is to be replaced, which nobody else can write now.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none, and whatever keeps it from being read.
    pub fn old_map(&self) -> Result<Opened, StoreError> {
        self.publisher.old_map(&self.path)
    }

    /// What was known of its file when it was opened.
    #[must_use]
    pub fn old_metadata(&self) -> Option<&Metadata> {
        self.publisher.old_metadata()
    }

    /// What becomes of a second value and what the map says it was built with, where this is
    /// known no sooner than from [`Builder::old_map`]; before anything is put.
    pub fn adopt(&mut self, on_duplicate: OnDuplicate, described: &str) {
        self.on_duplicate = on_duplicate;
        self.publisher.keep(on_duplicate);
        self.publisher.describe(described);
    }

    /// Warnings for the administrator, as [`Publisher::warnings`] has them.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.publisher.warnings()
    }

    /// Those about the old map, as [`Publisher::file_warnings`] has them.
    #[must_use]
    pub fn file_warnings(&self) -> &[String] {
        self.publisher.file_warnings()
    }

    /// Takes an entry from `line` of the source; an entry of the old map has line 0.
    ///
    /// # Errors
    /// Memory has run out and the entries can't be written to a file either; a cdb grows too
    /// large.
    pub fn put(&mut self, lhs: &[u8], rhs: &[u8], line: u64) -> Result<(), StoreError> {
        match &mut self.taken {
            Taken::Runs(runs) => runs
                .push(Record { line, lhs, rhs })
                .map_err(|e| not_sorted(&self.path, e)),
            Taken::Cdb(writer) => writer.add_from(line, lhs, rhs),
        }
    }

    /// Publishes what was put; `digest` is that of the source, if there is one.
    ///
    /// # Errors
    /// Any of them leaves the old map in place.
    pub fn publish(self, digest: Option<String>) -> Result<(Published, DuplicateList), StoreError> {
        self.publish_with(digest, &mut |_| Ok(()))
    }

    /// As [`Builder::publish`]; `check` sees the finished draft before it becomes the map.
    ///
    /// # Errors
    /// Any of them, that of `check` included, leaves the old map in place.
    pub fn publish_checked(
        self,
        check: &mut Check<'_>,
    ) -> Result<(Published, DuplicateList), StoreError> {
        self.publish_with(None, check)
    }

    fn publish_with(
        self,
        digest: Option<String>,
        check: &mut Check<'_>,
    ) -> Result<(Published, DuplicateList), StoreError> {
        let (filled, duplicates) = self.fill(digest)?;
        let published = filled.publish(check)?;
        Ok((published, duplicates))
    }

    /// Publishes what was put if no LHS came twice; else nothing, and the later entries are
    /// given back.
    ///
    /// # Errors
    /// Any of them leaves the old map in place.
    pub fn publish_unique(
        mut self,
        digest: Option<String>,
    ) -> Result<Result<Published, DuplicateList>, StoreError> {
        self.on_duplicate = OnDuplicate::Refuse;
        let (filled, duplicates) = self.fill(digest)?;
        match duplicates.is_empty() {
            true => Ok(Ok(filled.publish(&mut |_| Ok(()))?)),
            false => Ok(Err(duplicates)),
        }
    }

    /// Finishes the draft; gives the later entries of an LHS, in the order of their lines, too.
    fn fill(self, digest: Option<String>) -> Result<(Filled, DuplicateList), StoreError> {
        let keep = match self.on_duplicate {
            OnDuplicate::Refuse | OnDuplicate::KeepFirst => Keep::First,
            OnDuplicate::Replace => Keep::Last,
            OnDuplicate::KeepAll => Keep::All,
        };
        let path = self.path;
        let mut runs = match self.taken {
            Taken::Runs(runs) => Some(runs),
            Taken::Cdb(writer) => {
                let (entries, duplicates) = writer.finish_keeping(keep)?;
                return Ok((self.publisher.filled(entries), duplicates));
            }
        };
        let mut duplicates = DuplicateList::default();
        let filled = self.publisher.fill_sorted(digest, &mut |sink| {
            if let Some(runs) = runs.take() {
                duplicates = runs.merge(keep, &|e| not_sorted(&path, e), sink)?;
            }
            Ok(())
        })?;
        Ok((filled, duplicates))
    }

    /// When the build began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }
}

/// What a watcher of a build is told as it goes on.
pub trait Watcher {
    /// An entry was read: `-v` prints it.
    fn entry(&mut self, _lhs: &[u8], _rhs: &[u8]) {}
    /// So many octets of the source were read.
    fn progress(&mut self, _octets: u64) {}
}

impl Watcher for () {}

/// How entries of a source are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As they stand.
    Bare,
    /// With a NUL after LHS and RHS (`-N`), as alias maps have it.
    Nul,
}

/// How a source is read and what is done with it.
#[derive(Clone, Copy, Debug)]
pub struct FromSource {
    /// The grammar.
    pub grammar: Grammar,
    /// How its entries are stored.
    pub ending: Ending,
    /// What is done when it has errors.
    pub on_error: OnError,
}

/// Builds a map from a source of the map grammar; `source_name` stands in errors.
///
/// # Errors
/// The source can't be read, or the map can't be written; the old map stays in place.
pub fn from_source(
    mut builder: Builder,
    input: impl Read,
    source_name: &Path,
    how: FromSource,
    watcher: &mut dyn Watcher,
) -> Result<Report, StoreError> {
    let mut lines = Lines::new(input);
    let mut report = Report {
        read: 0,
        stored: 0,
        duplicates: DuplicateList::default(),
        errors: Vec::new(),
        error_count: 0,
        elapsed: Duration::ZERO,
        published: None,
    };
    let mut told = 0;
    loop {
        let next = lines.next();
        let next = next.map_err(|e| StoreError::io(source_name, "read", e))?;
        let Some(SourceLine { line, octets, end }) = next else {
            break;
        };
        match how.grammar.line(octets, end) {
            None => {}
            Some(Line::Entry { lhs, rhs }) => {
                watcher.entry(lhs, rhs);
                report.read += 1;
                match how.ending {
                    Ending::Bare => builder.put(lhs, rhs, line)?,
                    Ending::Nul => {
                        builder.put(&[lhs, b"\0"].concat(), &[rhs, b"\0"].concat(), line)?;
                    }
                }
            }
            Some(Line::Bad(kind)) => report.note(source_name, line, kind),
        }
        if line >= told + 10_000 {
            told = line;
            watcher.progress(lines.octets());
        }
    }
    watcher.progress(lines.octets());
    let (started, on_duplicate) = (builder.started(), builder.on_duplicate);
    let (filled, duplicates) = builder.fill(Some(lines.digest()))?;
    if on_duplicate == OnDuplicate::Refuse {
        report.duplicates = duplicates;
    }
    if how.on_error == OnError::PublishGood || report.is_clean() {
        let published = filled.publish(&mut |_| Ok(()))?;
        report.stored = published.entries;
        report.published = Some(published);
    }
    report.elapsed = started.elapsed();
    Ok(report)
}

fn empty_runs(target: &Path) -> Runs {
    let folder = folder_of(target);
    Runs::new(DEFAULT_BUDGET_OCTETS, Box::new(move || unnamed(&folder)))
}

fn not_sorted(path: &Path, e: io::Error) -> StoreError {
    StoreError::io(path, "sort the entries for", e)
}

impl Report {
    fn note(&mut self, path: &Path, line: u64, kind: ParseErrorKind) {
        self.error_count += 1;
        if self.errors.len() < REMEMBERED {
            self.errors.push(ParseError {
                path: path.into(),
                line,
                kind,
            });
        }
    }

    /// Whether the source had bad lines, or duplicates where they are errors.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.error_count == 0 && self.duplicates.is_empty()
    }
}

/// A file in `folder` that has no name and goes with the program.
fn unnamed(folder: &Path) -> io::Result<File> {
    patiently(|| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE)
            .open(folder)
    })
}

#[cfg(test)]
mod tests;
