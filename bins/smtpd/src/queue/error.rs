//! What can go wrong with the queue.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::base::FORMAT;

/// Why the queue could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Another server holds the queue.
    #[error("{}: another server has this queue", .0.display())]
    InUse(PathBuf),
    /// The queue was written by a program with another format.
    #[error("{}: format {found}, but this program knows format {FORMAT}", path.display())]
    Format {
        /// The queue's file.
        path: PathBuf,
        /// The number found there.
        found: u64,
    },
    /// There is no such message.
    #[error("{0}: no such message in the queue")]
    Unknown(String),
    /// It is just being tried, and can't be changed.
    #[error("{0}: just being tried; try again in a moment")]
    Busy(String),
    /// The file that it was dropped in is still there, and until then nothing is done with it.
    #[error("{0}: waits for its dropped file to be removed; the log says what is in the way")]
    HeldBack(String),
    /// It is held or quarantined, and not tried before it is released.
    #[error("{0}: held; release lets it go")]
    Held(String),
    /// An envelope does not read.
    #[error("{id}: damaged envelope: {source}")]
    Envelope {
        /// Whose.
        id: String,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// A part of the journal that was durable is not there any more.
    #[error("{}: damaged journal: changes from number {number} on are missing", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// The first frame that is missing or can't be read.
        number: u64,
    },
    /// The store failed.
    #[error("{}: {action}: {source}", path.display())]
    Store {
        /// The queue's file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The store's own error.
        source: Box<redb::Error>,
    },
    /// The database broke off in the middle of something.
    #[error("{}: the database is damaged: {text}", path.display())]
    Damaged {
        /// The queue's file.
        path: PathBuf,
        /// What it said.
        text: String,
    },
    /// The operating system refused.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's own error.
        source: io::Error,
    },
    /// The journal could not say: it was written, and not synced. A crash decides whether it
    /// counts, until the journal takes something else.
    #[error("{source}; whether it counts is not known before the next start")]
    Doubtful {
        /// What failed last.
        source: Arc<QueueError>,
    },
    /// The queue's writer has ended because of an earlier error.
    #[error("the queue is closed")]
    Closed,
}

impl QueueError {
    /// Whether what was refused with this may stand in the queue after a crash. Then what
    /// belongs to it stays.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self, QueueError::Doubtful { .. } | QueueError::Closed)
    }

    /// Whether the caller may not read or write the queue.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match self {
            QueueError::Io { source, .. } => is_denied(source),
            QueueError::Store { source, .. } => {
                matches!(&**source, redb::Error::Io(source) if is_denied(source))
            }
            _ => false,
        }
    }

    /// Whether the disk, or what its user may have of it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            QueueError::Io { source, .. } => is_full(source),
            QueueError::Store { source, .. } => {
                matches!(&**source, redb::Error::Io(source) if is_full(source))
            }
            QueueError::Doubtful { source } => source.is_full(),
            _ => false,
        }
    }

    /// The error of a file or folder.
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(io::Error) -> QueueError {
        let path = path.into();
        move |source| QueueError::Io {
            path,
            action,
            source,
        }
    }
}

/// Whether a disk, or a user's part of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// The database answers nothing any more after one of these.
pub(super) fn is_io(error: &redb::Error) -> bool {
    use redb::Error::{DatabaseClosed, Io, PreviousIo};
    matches!(error, Io(_) | PreviousIo | DatabaseClosed)
}
