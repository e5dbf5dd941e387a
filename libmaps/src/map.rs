//! Maps: keyed stores that answer exact questions.
//!
//! A lookup has three results and no two of them are ever mixed: the LHS is
//! there (`Ok(Some(rhs))`), it is not there (`Ok(None)`), or nobody can tell
//! (`Err`). [`StoreError::exit`] and [`StoreError::is_temporary`] say what the
//! third one means to a program or to an SMTP session.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::lhs::Lhs;
use crate::rhs::Rhs;
use crate::sysexits::SysExit;

/// One entry of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What is asked for.
    pub lhs: Lhs,
    /// What is answered.
    pub rhs: Rhs,
}

impl Entry {
    /// An entry of these two sides.
    pub fn new(lhs: impl Into<Lhs>, rhs: impl Into<Rhs>) -> Self {
        Entry {
            lhs: lhs.into(),
            rhs: rhs.into(),
        }
    }
}

/// The kind of a map, by the word an administrator writes.
///
/// `hash` and `btree` are the same store underneath; the word is kept in the
/// map so that a map built as one is not dumped as the other by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapClass {
    /// redb, known by sendmail's name for its unordered maps.
    Hash,
    /// redb, known by sendmail's name for its ordered maps.
    Btree,
    /// D. J. Bernstein's constant database.
    Cdb,
    /// A sled store (a folder); needs the cargo feature `sled`.
    Sled,
    /// Behind a socket, asked by the socketmap protocol.
    Socket,
    /// In memory: tests and programs that link the library.
    Memory,
    /// Shared by hosts through PostgreSQL; what is read is a replica, a redb map.
    Pgsql,
    /// Shared by hosts through Redis or Valkey; what is read is a replica, a redb map.
    Redis,
    /// Shared by hosts through LDAP; what is read is a replica, a redb map.
    Ldap,
}

impl MapClass {
    /// The word for this class, as `makemap -l` prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MapClass::Hash => "hash",
            MapClass::Btree => "btree",
            MapClass::Cdb => "cdb",
            MapClass::Sled => "sled",
            MapClass::Socket => "socket",
            MapClass::Memory => "memory",
            MapClass::Pgsql => "pgsql",
            MapClass::Redis => "redis",
            MapClass::Ldap => "ldap",
        }
    }
}

impl fmt::Display for MapClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Class and path of a map, as the administrator wrote them: `hash:/etc/mail/access`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MapName {
    /// The class.
    pub class: MapClass,
    /// The path, which may lack the `.db` or `.cdb` that the file has.
    pub path: PathBuf,
}

impl MapName {
    /// A map name.
    #[must_use]
    pub fn new(class: MapClass, path: impl Into<PathBuf>) -> Self {
        MapName {
            class,
            path: path.into(),
        }
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.class, self.path.display())
    }
}

/// The entries of a map, one by one; each may fail.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'a>;

/// Where entries are handed over, LHS and RHS, one call each.
pub type Sink<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// A keyed store that answers exact questions and never changes while it is open.
pub trait Map: Send + Sync {
    /// Exact lookup. `Ok(None)`: not in the map. `Err`: nobody can tell.
    ///
    /// In a map with duplicates this is the first of the LHS's values.
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError>;

    /// All values of an LHS, in stored order; more than one only in a map built with `-d`.
    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        Ok(self.get(lhs)?.into_iter().collect())
    }

    /// Every entry: in LHS order where the class keeps one (redb), else as stored.
    fn iter(&self) -> Entries<'_>;

    /// Hands every entry to `sink`, in the order of [`Map::iter`]; a class that can lends
    /// them from where they lie, which is the fastest way through a map.
    ///
    /// # Errors
    /// The first of the map, or of `sink`.
    fn for_each(&self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        for entry in self.iter() {
            let Entry { lhs, rhs } = entry?;
            sink(lhs.as_bytes(), rhs.as_bytes())?;
        }
        Ok(())
    }

    /// Waits until the map does nothing beside answering: one that is asked often is being read
    /// into memory meanwhile, and answers faster once it is. For those who measure answers.
    fn settle(&self) {}

    /// Class and path as the administrator wrote them.
    fn name(&self) -> &MapName;

    /// In which letters tables ask it.
    fn key_case(&self) -> KeyCase {
        KeyCase::Folded
    }
}

/// In which letters a map is asked (makemap(8), `-f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCase {
    /// In lower case.
    Folded,
    /// In those that the LHS has.
    AsGiven,
}

impl<M: Map + ?Sized> Map for &M {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        (**self).get(lhs)
    }
    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        (**self).get_all(lhs)
    }
    fn iter(&self) -> Entries<'_> {
        (**self).iter()
    }
    fn for_each(&self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        (**self).for_each(sink)
    }
    fn settle(&self) {
        (**self).settle();
    }
    fn name(&self) -> &MapName {
        (**self).name()
    }
    fn key_case(&self) -> KeyCase {
        (**self).key_case()
    }
}

impl<M: Map + ?Sized> Map for Box<M> {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        (**self).get(lhs)
    }
    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        (**self).get_all(lhs)
    }
    fn iter(&self) -> Entries<'_> {
        (**self).iter()
    }
    fn for_each(&self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        (**self).for_each(sink)
    }
    fn settle(&self) {
        (**self).settle();
    }
    fn name(&self) -> &MapName {
        (**self).name()
    }
    fn key_case(&self) -> KeyCase {
        (**self).key_case()
    }
}

impl<M: Map + ?Sized> Map for std::sync::Arc<M> {
    fn get(&self, lhs: &[u8]) -> Result<Option<Rhs>, StoreError> {
        (**self).get(lhs)
    }
    fn get_all(&self, lhs: &[u8]) -> Result<Vec<Rhs>, StoreError> {
        (**self).get_all(lhs)
    }
    fn iter(&self) -> Entries<'_> {
        (**self).iter()
    }
    fn for_each(&self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        (**self).for_each(sink)
    }
    fn settle(&self) {
        (**self).settle();
    }
    fn name(&self) -> &MapName {
        (**self).name()
    }
    fn key_case(&self) -> KeyCase {
        (**self).key_case()
    }
}

/// Why a map could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such file.
    #[error("{}: No such file or directory", path.display())]
    Missing {
        /// The file that is not there.
        path: PathBuf,
    },
    /// Another program is writing the map, or holds it open in a way that excludes us.
    #[error("{}: in use by another program", path.display())]
    InUse {
        /// The file that is held.
        path: PathBuf,
    },
    /// The file is a map, but a damaged one.
    #[error("{}: damaged: {}{why}", path.display(), page_text(*page))]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// The page where the damage was seen, in formats that have pages.
        page: Option<u64>,
        /// What is wrong there.
        why: String,
    },
    /// The file is no map, or not of the class that was asked for.
    #[error("{}: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is and what was expected.
        why: String,
    },
    /// The file is a map of a kind or format number that this program does not read.
    #[error("{}: {why}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it seems to be and what was expected.
        why: String,
    },
    /// A safety check on the path failed: a link, a world-writable folder, not a regular file.
    #[error("{}: {why}", path.display())]
    Unsafe {
        /// The path that was refused.
        path: PathBuf,
        /// The rule that refused it, in sendmail's words.
        why: &'static str,
    },
    /// There is a text that a map is built from, and no map.
    #[error("{}: {}", path.display(), not_built(text))]
    NotBuilt {
        /// The map that is not there.
        path: PathBuf,
        /// The alias file.
        text: PathBuf,
    },
    /// An entry does not fit: too long for the format.
    #[error("{}: {why}", path.display())]
    TooLarge {
        /// The map that was being written.
        path: PathBuf,
        /// The limit.
        why: String,
    },
    /// The engine that hosts share the map by could not be asked, or refused.
    #[error("{}: {why}", path.display())]
    Engine {
        /// The map's connection file, or its replica.
        path: PathBuf,
        /// What went wrong, with the engine's own words.
        why: String,
        /// What a program ends with: 75 where waiting may help.
        exit: SysExit,
    },
    /// The operating system refused.
    #[error("{}: cannot {action} it: {}", path.display(), io_reason(source))]
    Io {
        /// The file that was worked on.
        path: PathBuf,
        /// What was being done: "open", "read", "write", "fsync", "rename", ...
        action: &'static str,
        /// The system's own error.
        source: io::Error,
    },
}

/// The system's words for an error, as strerror(3) has them.
fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((reason, _)) => reason.into(),
        None => text,
    }
}

fn not_built(text: &Path) -> String {
    let text = text.display();
    format!("not there, but {text} is: run newaliases")
}

fn page_text(page: Option<u64>) -> String {
    page.map_or(String::new(), |n| format!("page {n}: "))
}

impl StoreError {
    /// An I/O error; a missing file becomes [`StoreError::Missing`].
    #[must_use]
    pub fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            return StoreError::Missing { path: path.into() };
        }
        StoreError::Io {
            path: path.into(),
            action,
            source,
        }
    }

    /// The file that the error is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            StoreError::Missing { path }
            | StoreError::InUse { path }
            | StoreError::Corrupt { path, .. }
            | StoreError::Foreign { path, .. }
            | StoreError::Unsupported { path, .. }
            | StoreError::Unsafe { path, .. }
            | StoreError::NotBuilt { path, .. }
            | StoreError::TooLarge { path, .. }
            | StoreError::Engine { path, .. }
            | StoreError::Io { path, .. } => path,
        }
    }

    /// The reason alone, without the path, for messages that name the map themselves.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            StoreError::Missing { .. } => "No such file or directory".into(),
            StoreError::InUse { .. } => "in use by another program".into(),
            StoreError::Corrupt { page, why, .. } => {
                format!("damaged: {}{why}", page_text(*page))
            }
            StoreError::Unsafe { why, .. } => (*why).into(),
            StoreError::NotBuilt { text, .. } => not_built(text),
            StoreError::Foreign { why, .. }
            | StoreError::Unsupported { why, .. }
            | StoreError::TooLarge { why, .. }
            | StoreError::Engine { why, .. } => why.clone(),
            StoreError::Io { source, .. } => io_reason(source),
        }
    }

    /// The exit code of a program that ends because of this error.
    #[must_use]
    pub fn exit(&self) -> SysExit {
        match self {
            StoreError::Missing { .. } => SysExit::NoInput,
            StoreError::InUse { .. } => SysExit::TempFail,
            StoreError::Corrupt { .. } => SysExit::IoErr,
            StoreError::Unsupported { .. } | StoreError::NotBuilt { .. } => SysExit::Config,
            StoreError::Foreign { .. } | StoreError::Unsafe { .. } => SysExit::CantCreate,
            StoreError::TooLarge { .. } => SysExit::DataErr,
            StoreError::Engine { exit, .. } => *exit,
            StoreError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => SysExit::Config,
                _ => SysExit::IoErr,
            },
        }
    }

    /// Whether waiting helps: an SMTP session answers 451 4.3.0 in any case, a
    /// caller that retries should do so only for these.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            StoreError::InUse { .. } => true,
            StoreError::Engine { exit, .. } => *exit == SysExit::TempFail,
            StoreError::Io { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}
