//! An alias file to its map: what newaliases and `sendmail -bi` call.
//!
//! Of several entries of one name the last is stored and the others are told,
//! with the line and the name as written. The map also gets the entry `@`, by
//! which sendmail knows that an alias map is complete.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Duration;

use super::{Builder, DuplicateList, OnError, REMEMBERED};
use crate::map::StoreError;
use crate::source::aliases::{AliasFault, Aliases, Grammar, Severity};
use crate::store::publish::Published;

/// LHS and RHS of the entry that marks a map as complete.
pub const MARK: &[u8] = b"@";

/// What came of a build.
#[derive(Clone, Debug)]
pub struct AliasReport {
    /// How many entries the source had, replaced ones too.
    pub aliases: u64,
    /// The longest RHS, in octets.
    pub longest_octets: u64,
    /// LHS and RHS of all entries, in octets.
    pub octets: u64,
    /// Faults and duplicates in the order of their lines, as many as were remembered.
    pub notes: Vec<Note>,
    /// How many faults and duplicates there were in all.
    pub note_count: u64,
    /// The first fault that is an error.
    pub first_error: Option<AliasFault>,
    /// What was published; `None` with [`OnError::PublishNothing`] after a fault or duplicate.
    pub published: Option<Published>,
    /// How long it took, from opening to the fsync of the folder.
    pub elapsed: Duration,
}

/// Something to tell about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line, from 1.
    pub line: u64,
    /// What there is to tell.
    pub kind: NoteKind,
}

/// What there is to tell about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// A fault.
    Fault(AliasFault),
    /// The name was there before; this entry took its place.
    Duplicate {
        /// The name as it was written here.
        written: Box<[u8]>,
        /// The name as it is stored.
        lhs: Box<[u8]>,
    },
}

/// Builds the map of `source`; `source_name` stands in errors.
///
/// # Errors
/// The source can't be read, or the map can't be written; the old map stays in place.
pub fn from_aliases(
    mut builder: Builder,
    mut source: File,
    source_name: &Path,
    grammar: &Grammar,
    on_error: OnError,
) -> Result<AliasReport, StoreError> {
    let on_read = |e: io::Error| StoreError::io(source_name, "read", e);
    let mut report = AliasReport {
        aliases: 0,
        longest_octets: 0,
        octets: 0,
        notes: Vec::new(),
        note_count: 0,
        first_error: None,
        published: None,
        elapsed: Duration::ZERO,
    };
    let started = builder.started();
    let mut input = Digesting::new(&source);
    let mut parser = Aliases::new(&mut input, grammar);
    while let Some(parsed) = parser.next().map_err(on_read)? {
        for fault in parsed.faults {
            report.note_fault(parsed.line, fault);
        }
        report.note_count += parsed.unlisted;
        if let Some(alias) = parsed.alias {
            builder.put(alias.lhs, alias.rhs, parsed.line)?;
            let rhs_octets = alias.rhs.len() as u64;
            report.aliases += 1;
            report.octets += alias.lhs.len() as u64 + rhs_octets;
            report.longest_octets = report.longest_octets.max(rhs_octets);
        }
    }
    if on_error == OnError::PublishNothing && report.note_count > 0 {
        report.elapsed = started.elapsed();
        return Ok(report);
    }
    builder.put(MARK, MARK, 0)?;
    let digest = input.digest();
    let (published, duplicates) = match on_error {
        OnError::PublishGood => builder.publish(Some(digest))?,
        OnError::PublishNothing => match builder.publish_unique(Some(digest))? {
            Ok(published) => (published, DuplicateList::default()),
            Err(duplicates) => {
                report
                    .note_duplicates(&mut source, grammar, &duplicates)
                    .map_err(on_read)?;
                report.elapsed = started.elapsed();
                return Ok(report);
            }
        },
    };
    report
        .note_duplicates(&mut source, grammar, &duplicates)
        .map_err(on_read)?;
    report.published = Some(published);
    report.elapsed = started.elapsed();
    Ok(report)
}

impl AliasReport {
    fn note_fault(&mut self, line: u64, fault: &AliasFault) {
        if fault.severity() == Severity::Error && self.first_error.is_none() {
            self.first_error = Some(fault.clone());
        }
        self.note(Note {
            line,
            kind: NoteKind::Fault(fault.clone()),
        });
    }

    fn note(&mut self, note: Note) {
        self.note_count += 1;
        if self.notes.len() < REMEMBERED {
            self.notes.push(note);
        }
    }

    /// Reads the source once more for the names as they were written in these lines.
    fn note_duplicates(
        &mut self,
        source: &mut File,
        grammar: &Grammar,
        duplicates: &DuplicateList,
    ) -> io::Result<()> {
        if duplicates.is_empty() {
            return Ok(());
        }
        source.rewind()?;
        let mut wanted = duplicates.iter().peekable();
        let mut parser = Aliases::new(source, grammar);
        while let Some(parsed) = parser.next()? {
            let Some(next) = wanted.peek() else { break };
            if parsed.line < next.line {
                continue;
            }
            if let Some(alias) = parsed.alias {
                self.note(Note {
                    line: parsed.line,
                    kind: NoteKind::Duplicate {
                        written: alias.written.trim_ascii_end().into(),
                        lhs: alias.lhs.into(),
                    },
                });
            }
            wanted.next();
        }
        self.note_count += duplicates.left_out();
        self.notes.sort_by_key(|note| note.line);
        Ok(())
    }
}

/// A reader that makes the digest of what it hands on.
struct Digesting<R> {
    inner: R,
    digest: xxhash_rust::xxh3::Xxh3,
}

impl<R> Digesting<R> {
    fn new(inner: R) -> Self {
        Digesting {
            inner,
            digest: xxhash_rust::xxh3::Xxh3::new(),
        }
    }

    fn digest(&self) -> String {
        format!("{:032x}", self.digest.digest128())
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.digest.update(buffer.get(..got).unwrap_or_default());
        Ok(got)
    }
}
