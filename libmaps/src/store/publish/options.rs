//! How a map is to be written, and what was written.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::lhs::Lhs;
use crate::map::{MapClass, StoreError};
use crate::store::Opened;
use crate::store::disk::{Disk, System};
use crate::store::path::Safety;
use crate::store::shared::Origin;

/// What becomes of a second value of one LHS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The first stays and the second is reported (makemap).
    Refuse,
    /// The second takes its place (`makemap -r`, newaliases, editmap).
    Replace,
    /// The first stays and nothing is said.
    KeepFirst,
    /// Both are kept (`makemap -d`).
    KeepAll,
}

/// What [`Publisher::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The LHS was not there.
    New,
    /// The LHS was there and has the new value now.
    Replaced,
    /// The LHS was there and keeps its value.
    Kept,
    /// The LHS was there and has one more value now.
    Added,
}

/// How a map is to be written.
#[derive(Clone, Debug)]
pub struct Options {
    /// `Hash`, `Btree`, `Cdb` or `Sled`.
    pub class: MapClass,
    /// What becomes of a second value of one LHS.
    pub on_duplicate: OnDuplicate,
    /// Which safety checks are made of the path.
    pub safety: Safety,
    /// Mode of a map that did not exist, before the umask.
    pub mode: u32,
    /// Owner of a map that did not exist (sendmail's TrustedUser); only root can give files away.
    pub owner: Option<u32>,
    /// The options it is built with, for `mapctl info`.
    pub described: String,
    /// The program that writes it, with its version.
    pub program: String,
    /// Whether an edit may copy the old file's pages.
    pub edit: EditBy,
    /// What does to the disk what is to be done.
    pub disk: Arc<dyn Disk>,
    /// Of an edit that makes the map what another host built of a source: that source's digest.
    pub source: Option<String>,
    /// Which generation of a shared map this is; none of a map of this host alone.
    pub origin: Option<Origin>,
    /// What is asked before the finished draft becomes the map.
    pub before: Option<Before>,
}

/// A draft that is about to become the map.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// It.
    pub map: &'a Opened,
    /// The LHSs that an edit put or removed, in order: in all others it is the map that it takes
    /// the place of. `None` where that is not known.
    pub changed: Option<&'a [Lhs]>,
}

type Asked = dyn FnMut(Finished<'_>) -> Result<(), StoreError> + Send;

/// Sees every finished draft before it becomes the map; its error keeps the old map in place.
#[derive(Clone)]
pub struct Before(Arc<Mutex<Asked>>);

impl Before {
    /// Asks `f`.
    pub fn new(f: impl FnMut(Finished<'_>) -> Result<(), StoreError> + Send + 'static) -> Self {
        Before(Arc::new(Mutex::new(f)))
    }

    /// Shows it a draft.
    pub(super) fn ask(&self, draft: Finished<'_>) -> Result<(), StoreError> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (*asked)(draft)
    }
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Before")
    }
}

/// How an edit makes its draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditBy {
    /// Copy the old file and change the copy: fast, but what was removed may still be read
    /// from unused pages.
    Copying,
    /// Write every entry anew, so that nothing of what was removed stays (passwords). The file
    /// has holes: it seems up to twice as long as the room it takes.
    Rewriting,
}

impl Options {
    /// The way makemap writes: duplicates refused, links refused, mode 0640.
    #[must_use]
    pub fn new(class: MapClass, program: &str) -> Self {
        Options {
            class,
            on_duplicate: OnDuplicate::Refuse,
            safety: Safety::Strict,
            mode: 0o640,
            owner: None,
            described: String::new(),
            program: program.into(),
            edit: EditBy::Copying,
            disk: Arc::new(System),
            source: None,
            origin: None,
            before: None,
        }
    }
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// How many entries the map holds.
    pub entries: u64,
    /// Where the old Berkeley DB file was kept, if the map was one.
    pub kept_berkeley: Option<PathBuf>,
}
