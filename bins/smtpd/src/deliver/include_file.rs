//! `:include:` files, which may stand anywhere, on a server that is down or in a file system of a
//! user's own making: the agent has them read, by a process that may hang.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;

use libmaps::policy::expand::include::{
    Facts, Include, Includes, MAX_INCLUDE_OCTETS, Readers, SiteIncludes, copy_whole, find_list,
    reopen,
};
use libmaps::policy::expand::trust::Writers;
use libmaps::site::Site;
use serde::{Deserialize, Serialize};

use crate::agent::{self, Found};
use crate::aside::aside;

/// Includes below the root folder of a site, as the server reads them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerIncludes<'a> {
    /// The site.
    pub(crate) site: &'a Site,
}

impl Includes for ServerIncludes<'_> {
    fn read(&self, path: &Path, list_owner: Option<u32>) -> io::Result<Include> {
        aside(|| match agent::running() {
            Some(agent) => {
                let path = self.site.below(path);
                let (found, file) = agent.read_include(&path, list_owner)?;
                included(found, file)
            }
            None => SiteIncludes { site: self.site }.read(path, list_owner),
        })
    }
}

fn included(found: Found, file: File) -> io::Result<Include> {
    let facts = Facts {
        uid: found.uid,
        mode: found.mode,
        readers: match found.everybody {
            true => Readers::Everybody,
            false => Readers::Some,
        },
        folders: Writers::of_number(found.folders),
        links: found.links,
    };
    let mut text = Vec::new();
    file.take(MAX_INCLUDE_OCTETS).read_to_end(&mut text)?;
    Ok(Include::new(text, &facts))
}

/// What became of a list that was to be read, as the process that read it says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Read {
    /// All of it was copied.
    Whole(Found),
    /// The system's error, by number.
    Errno(i32),
    /// It is no file to be read.
    Refused(String),
    /// It can't be read now.
    Later(String),
}

/// Reads a list of a site into a file.
pub(crate) fn read_into(root: Option<&Path>, path: &Path, out: &mut impl Write) -> Read {
    let mut read = || -> io::Result<Facts> {
        let (seen, folders) = find_list(path, root)?;
        let facts = Facts::of(&seen, folders)?;
        copy_whole(reopen(&seen)?, out)?;
        out.flush()?;
        Ok(facts)
    };
    match read() {
        Ok(facts) => Read::Whole(Found {
            uid: facts.uid,
            mode: facts.mode,
            everybody: facts.readers == Readers::Everybody,
            folders: facts.folders.number(),
            links: facts.links,
        }),
        Err(error) => match error.raw_os_error() {
            Some(number) => Read::Errno(number),
            None if error.kind() == io::ErrorKind::WouldBlock => Read::Later(error.to_string()),
            None => Read::Refused(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_copied_with_what_is_known_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        std::fs::write(&list, "joe\n").unwrap();
        let mut text = Vec::new();
        let mut read = |path: &Path| read_into(Some(dir.path()), path, &mut text);
        let Read::Whole(found) = read(&list) else {
            panic!("not read");
        };
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        assert_eq!((found.folders, found.links), (0, 1));
        let none = read(&dir.path().join("none"));
        assert_eq!(none, Read::Errno(libc::ENOENT));
        assert_eq!(read(dir.path()), Read::Refused("Regular files only".into()));
        assert_eq!(text, b"joe\n");
    }
}
