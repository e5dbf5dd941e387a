//! The folder that a demo lays its site out in.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// As many demos that left their folders can have had one process number.
const MOST_OF_A_NUMBER: u32 = 1000;

/// What becomes of the folder when the demo ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTheEnd {
    /// It goes, however the demo ends.
    Remove,
    /// It stays, for further experiments.
    Keep,
}

/// A fresh folder below the one for temporary files (`TMPDIR`, else `/tmp`).
#[derive(Debug)]
pub struct DemoFolder {
    path: PathBuf,
    at_the_end: AtTheEnd,
}

impl DemoFolder {
    /// Makes the folder `PROGRAM-demo-PID`, or with a number after it where an earlier demo, which
    /// was killed, left that.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make(program: &str, at_the_end: AtTheEnd) -> io::Result<Self> {
        Self::make_below(&env::temp_dir(), program, at_the_end)
    }

    fn make_below(parent: &Path, program: &str, at_the_end: AtTheEnd) -> io::Result<Self> {
        let name = format!("{program}-demo-{}", process::id());
        for number in 0..MOST_OF_A_NUMBER {
            let path = match number {
                0 => parent.join(&name),
                _ => parent.join(format!("{name}.{number}")),
            };
            match fs::create_dir(&path) {
                Ok(()) => return Ok(DemoFolder { path, at_the_end }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What becomes of it.
    #[must_use]
    pub fn at_the_end(&self) -> AtTheEnd {
        self.at_the_end
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        if self.at_the_end == AtTheEnd::Remove {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_demo_left_is_in_nobodys_way() {
        let parent = tempfile::tempdir().unwrap();
        let make = |at_the_end| DemoFolder::make_below(parent.path(), "x", at_the_end).unwrap();
        let first = make(AtTheEnd::Keep);
        fs::write(first.path().join("kept"), "").unwrap();
        let second = make(AtTheEnd::Remove);
        assert_ne!(first.path(), second.path());
        let (first, second) = (first.path().to_owned(), {
            let path = second.path().to_owned();
            drop((first, second));
            path
        });
        assert!(first.join("kept").exists() && !second.exists());
    }
}
