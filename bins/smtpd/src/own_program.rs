//! The program that runs at this moment, for starting it once more.

use std::io;
use std::path::PathBuf;

/// Names the very file that runs, also where a newer one has taken its place on disk.
const SELF: &str = "/proc/self/exe";

/// The path by which a child process finds this program.
///
/// # Errors
/// When the system can't tell.
pub fn path() -> io::Result<PathBuf> {
    let this = PathBuf::from(SELF);
    if this.exists() {
        return Ok(this);
    }
    std::env::current_exe()
}

/// Whether a path is this program's: by the name above or its own.
#[must_use]
pub fn is(path: &std::path::Path) -> bool {
    path == std::path::Path::new(SELF) || std::env::current_exe().is_ok_and(|own| own == path)
}
