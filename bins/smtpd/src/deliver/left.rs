//! Processes that did not end when they were killed.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// They hang in the kernel. Where it is known what one is about, nobody else hangs there for the
/// same thing; each is waited for at last.
static LEFT: Mutex<Vec<(Option<PathBuf>, Child)>> = Mutex::new(Vec::new());

/// Leaves one behind.
pub(crate) fn behind(about: Option<&Path>, child: Child) {
    left().push((about.map(Path::to_path_buf), child));
}

/// Whether one that is about this path has not ended yet. Those that have are forgotten.
pub(crate) fn still_hangs(about: &Path) -> bool {
    let mut left = left();
    left.retain_mut(|(_, child)| !matches!(child.try_wait(), Ok(Some(_))));
    left.iter().any(|(path, _)| path.as_deref() == Some(about))
}

fn left() -> MutexGuard<'static, Vec<(Option<PathBuf>, Child)>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}
