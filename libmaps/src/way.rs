//! The way to a file, name by name, over the symbolic links on it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};

/// Most symbolic links on the way to a file, as for the kernel.
pub const MAX_LINKS: usize = 40;

/// The names that are still ahead, `..` among them. Where the way goes back to the root, for a path
/// that begins there, is for who walks to know.
#[derive(Debug)]
pub struct Way {
    left: VecDeque<OsString>,
    links: usize,
}

impl Way {
    /// The names of a path.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let mut way = Way {
            left: VecDeque::new(),
            links: 0,
        };
        way.put(path);
        way
    }

    /// The next name.
    pub fn step(&mut self) -> Option<OsString> {
        self.left.pop_front()
    }

    /// The last name was a symbolic link, which leads there: those names come first.
    ///
    /// # Errors
    /// `ELOOP`: there were too many links.
    pub fn follow(&mut self, link: &Path) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        self.put(link);
        Ok(())
    }

    fn put(&mut self, path: &Path) {
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => self.left.push_front(name.to_owned()),
                Component::ParentDir => self.left.push_front("..".into()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_come_before_what_is_left() {
        let mut way = Way::new(Path::new("/a/./link/z"));
        let mut gone = Vec::new();
        while let Some(name) = way.step() {
            if name == "link" {
                way.follow(Path::new("../b/c")).unwrap();
            }
            gone.push(name);
        }
        assert_eq!(gone, ["a", "link", "..", "b", "c", "z"]);
        let mut round = Way::new(Path::new("round"));
        let ends = std::iter::from_fn(|| {
            round.step()?;
            Some(round.follow(Path::new("round")))
        });
        let error = ends.take(1000).find_map(Result::err).unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
