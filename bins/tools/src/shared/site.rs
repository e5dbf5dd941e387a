//! The shared maps of a site.

use std::path::{Path, PathBuf};

use libmaps::policy::maps::connection_files;
use libmaps::sasl::conf::{Conf, folders};
use libmaps::site::Site;
use libmaps::store::shared::Connection;

/// The connection files of a site's shared maps and, where hosts share them, of its accounts.
#[must_use]
pub fn files_of(site: &Site) -> Vec<PathBuf> {
    let mut files = connection_files(site);
    let root = site.root.clone().unwrap_or_else(|| "/".into());
    let wanted = std::env::var_os("SASL_CONF_PATH");
    // A Sendmail.conf that can't be read is told by the server, which does not start then.
    if let Ok(conf) = Conf::read("Sendmail", &folders(wanted.as_deref(), &root)) {
        let accounts = site.below(&conf.sasldb_path);
        let is_new = |file: &Path| !files.iter().any(|other| other == file);
        if Connection::class_of(&accounts).is_some() && is_new(&accounts) {
            files.push(accounts);
        }
    }
    files
}
