//! What goes wrong inside a Berkeley file, before the file's name is known.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::map::StoreError;

/// A failure below the border of the reader; [`Fault::at`] names the file.
#[derive(Debug)]
pub(super) enum Fault {
    /// The octets of a page contradict the format.
    Damaged { page: u32, why: Cow<'static, str> },
    /// A sound file of a kind that is not read.
    Unsupported(Cow<'static, str>),
    /// The system refused to read.
    Io(io::Error),
}

impl Fault {
    pub(super) fn damaged(page: u32, why: impl Into<Cow<'static, str>>) -> Self {
        Fault::Damaged {
            page,
            why: why.into(),
        }
    }

    /// The public error about the file `path`.
    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Fault::Damaged { page, why } => StoreError::Corrupt {
                path: path.into(),
                page: Some(page.into()),
                why: why.into_owned(),
            },
            Fault::Unsupported(why) => StoreError::Unsupported {
                path: path.into(),
                why: why.into_owned(),
            },
            Fault::Io(source) => StoreError::io(path, "read", source),
        }
    }
}
