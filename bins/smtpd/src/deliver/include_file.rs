//! `:include:` files, which may stand anywhere: the agent opens what the server can't.

use std::io;
use std::path::Path;

use libmaps::policy::expand::include::{Include, Includes, SiteIncludes};
use libmaps::site::Site;

use crate::agent;
use crate::aside::aside;

/// Includes below the root folder of a site, as a confined server reads them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerIncludes<'a> {
    /// The site.
    pub(crate) site: &'a Site,
}

impl Includes for ServerIncludes<'_> {
    fn read(&self, path: &Path) -> io::Result<Include> {
        aside(|| self.read_now(path))
    }
}

impl ServerIncludes<'_> {
    fn read_now(&self, path: &Path) -> io::Result<Include> {
        let read = SiteIncludes { site: self.site }.read(path);
        match (read, agent::running()) {
            (Err(error), Some(agent)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let path = self.site.below(path);
                let opened =
                    agent
                        .open_include(&path)
                        .map_err(|error| match error.raw_os_error() {
                            Some(libc::ELOOP) => io::Error::other("Symbolic links not allowed"),
                            _ => error,
                        });
                Include::of(opened?, &path)
            }
            (read, _) => read,
        }
    }
}
