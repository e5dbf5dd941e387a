//! How a map is to be written, and what was written.

use std::path::PathBuf;
use std::sync::Arc;

use crate::map::MapClass;
use crate::store::disk::{Disk, System};
use crate::store::path::Safety;

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
