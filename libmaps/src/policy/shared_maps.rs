//! The maps of a site that hosts share.

use std::path::{Path, PathBuf};

use crate::policy::maps::connection_files;
use crate::sasl::conf::{Conf, folders};
use crate::site::model::Site;
use crate::store::shared::Connection;

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
