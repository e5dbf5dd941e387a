//! The maps of a site that hosts share.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::policy::maps::connection_files;
use crate::sasl::conf::{Conf, folders};
use crate::site::model::Site;
use crate::store::shared::Connection;

/// What a connection file that is made of the configuration begins with. Without that line it is
/// the administrator's own, and stays.
const MADE: &str = "# Made of ";

/// Makes the connection files of the maps that the configuration has by LDAP itself. One that
/// somebody has written stays as it is.
///
/// # Errors
/// The file that can't be written, and why.
pub fn make_connection_files(site: &Site) -> Result<(), (PathBuf, io::Error)> {
    for map in &site.ldap_maps {
        let file = site.below(&map.file);
        let text = format!("{MADE}{}.\n{}", map.place, map.text);
        make(&file, &text).map_err(|error| (file.clone(), error))?;
    }
    Ok(())
}

fn make(file: &Path, text: &str) -> io::Result<()> {
    match fs::read_to_string(file) {
        Ok(there) if there == text || !there.starts_with(MADE) => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    // Never through a link that somebody has put there.
    let _ = fs::remove_file(&draft);
    let done = fs::File::create_new(&draft)
        .and_then(|mut new| new.write_all(text.as_bytes()).and_then(|()| new.sync_all()))
        .and_then(|()| fs::rename(&draft, file));
    if done.is_err() {
        let _ = fs::remove_file(&draft);
    }
    done
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.ldap");
        let made = |text: &str| {
            make(&file, text).unwrap();
            fs::read_to_string(&file).unwrap()
        };
        let (old, new) = (format!("{MADE}a.\nhost a\n"), format!("{MADE}b.\nhost b\n"));
        assert_eq!(made(&old), old);
        assert_eq!(made(&new), new);
        fs::write(&file, "host own\n").unwrap();
        assert_eq!(made(&new), "host own\n");
        // And nothing else was left there.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
