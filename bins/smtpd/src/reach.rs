//! What the server opens once it serves: the folders that it is confined to.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use confine::Reach;
use libmaps::opening;
use libmaps::policy::alias_text::text_of;
use libmaps::policy::maps::{counts_file, file_of, socket_of};
use libmaps::sasl::conf::{Conf, folders};
use libmaps::site::Site;
use libmaps::site::hosts::ServiceSwitch;
use libmaps::site::load::{self, DEFAULT_FILE};
use libmaps::store::shared::Connection;
use libmaps::table::access::Tag;
use libmaps::table::tls_features::TlsFeatures;

use crate::drop::{DropId, Submit};

/// The reach of a server on this site. `file` is its configuration, where that is not the
/// usual one. Folders that are to be written to must be there already.
#[must_use]
pub fn of(site: &Site, file: Option<&Path>) -> Reach {
    let mut reach = of_site(site, file);
    reach.add(&Reach::system());
    reach
}

/// What of it this site asks for.
#[must_use]
pub fn of_site(site: &Site, file: Option<&Path>) -> Reach {
    let needs = Needs::of(site, file);
    let mut reach = Reach::new();
    needs.files.iter().for_each(|path| reach.read_file(path));
    needs
        .folders
        .iter()
        .for_each(|path| reach.read_folder(path));
    reach.write_folder(&queue(site));
    reach.write_folder(&needs.drop_folder);
    reach
}

/// What a site has the server read, and the servers of this machine that it has it ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Files; those that others replace by a rename, too.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Folders, with the files in them.
    pub(crate) folders: BTreeSet<PathBuf>,
    /// Sockets.
    pub(crate) sockets: BTreeSet<PathBuf>,
    /// The drop folder, in which users put files under names of their own.
    pub(crate) drop_folder: PathBuf,
}

/// How a file is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The configuration names it, or the folder that it is or stands in.
    Named,
    /// A user has dropped it.
    Dropped,
}

impl Needs {
    /// Those of a site. `file` is its configuration, where that is not the usual one.
    pub(crate) fn of(site: &Site, file: Option<&Path>) -> Self {
        let mut needs = Needs::default();
        needs.files.extend(site.system_files());
        let config = site.below(Path::new(DEFAULT_FILE));
        needs.files.insert(file.unwrap_or(&config).into());
        needs
            .files
            .extend(maps(site).into_iter().chain(named(site)));
        if let Ok(Some(counts)) = counts_file(site) {
            needs.files.insert(counts);
        }
        let tls = &site.options.tls;
        for folder in [&tls.ca_path, &tls.crl_path].into_iter().flatten() {
            needs.folders.insert(site.below(folder));
        }
        needs.files.extend(of_peers(site));
        logins(site, &mut needs);
        needs.drop_folder = Submit::of(site).folder_of(site);
        needs
            .sockets
            .extend(site.asked_maps().iter().filter_map(socket_of));
        needs
            .sockets
            .extend(site.mailers.defined.iter().filter_map(|mailer| {
                let mut words = mailer.arguments.split_whitespace();
                words.find(|word| *word == "FILE")?;
                Some(site.below(Path::new(words.next()?)))
            }));
        needs
    }

    /// Reads the configuration for those that it has now, and for all that it is made of.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn read(root: Option<&Path>, file: Option<&Path>) -> Result<Self, String> {
        let (needs, noted) = opening::noting(|| {
            let site = load::load(root, file)
                .map_err(|error| error.to_string())?
                .site;
            let _ = ServiceSwitch::of(&site);
            Ok::<_, String>(Needs::of(&site, file))
        });
        let mut needs = needs?;
        needs.files.extend(noted);
        Ok(needs)
    }

    /// How this file is needed, if it is.
    pub(crate) fn of_file(&self, path: &Path) -> Option<Need> {
        let is_there = |folder: &Path| self.folders.contains(folder);
        let is_dropped = path.file_name().and_then(DropId::of_file).is_some();
        if self.files.contains(path) || is_there(path) || path.parent().is_some_and(is_there) {
            Some(Need::Named)
        } else if path.parent() == Some(&self.drop_folder) && is_dropped {
            Some(Need::Dropped)
        } else {
            None
        }
    }
}

/// The folder of the queue.
#[must_use]
pub fn queue(site: &Site) -> PathBuf {
    site.below(site.queue_folder())
}

fn maps(site: &Site) -> Vec<PathBuf> {
    let files = site.asked_maps().into_iter();
    let texts = site.alias_files().into_iter();
    files
        .filter_map(|spec| file_of(site, &spec))
        .map(|(_, path)| path)
        .chain(texts.filter_map(|file| text_of(site, &file.map)))
        .collect()
}

/// Files that options name.
fn named(site: &Site) -> Vec<PathBuf> {
    let (tls, files) = (&site.options.tls, &site.options.files);
    let header = Some(PathBuf::from(&site.options.delivery.error_header));
    let named = [
        &tls.server_cert,
        &tls.server_key,
        &tls.client_cert,
        &tls.client_key,
        &tls.ca_file,
        &tls.crl_file,
        &site.options.auth.default_info,
        &files.service_switch,
        &files.hosts,
        &header.filter(|path| path.is_absolute()),
    ];
    // sendmail takes two certificates and two keys, separated by commas.
    let each = named.into_iter().flatten().flat_map(|path| {
        let text = path.to_string_lossy().into_owned();
        let parts: Vec<PathBuf> = text.split(',').map(|part| part.trim().into()).collect();
        parts
    });
    each.map(|path| site.below(&path)).collect()
}

/// Certificates and keys that the access map names for single peers. That counts only of a map
/// that nobody but root, or we ourselves, can have written: it leads to root's files.
fn of_peers(site: &Site) -> Vec<PathBuf> {
    let Some(access) = &site.features.access else {
        return Vec::new();
    };
    let file = file_of(site, &access.map).filter(|_| site.features.tls_session_features);
    let Some((_, path)) = file.filter(|(_, path)| is_ours(path)) else {
        return Vec::new();
    };
    let Ok(map) = libmaps::store::open(&path) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in map.iter().flatten() {
        let tag = entry.lhs.as_bytes().split(|octet| *octet == b':').next();
        let tag = tag.unwrap_or_default();
        let is = |of: &Tag| tag.eq_ignore_ascii_case(of.as_str().as_bytes());
        if [Tag::TlsSrvFeatures, Tag::TlsCltFeatures].iter().any(is) {
            let features = TlsFeatures::parse(&String::from_utf8_lossy(entry.rhs.as_bytes()));
            let features = features.unwrap_or_default();
            files.extend(features.files().map(|file| site.below(file)));
        }
    }
    files
}

fn is_ours(path: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    let safe = |path: &Path| {
        std::fs::metadata(path)
            .is_ok_and(|found| (found.uid() == 0 || found.uid() == us) && found.mode() & 0o022 == 0)
    };
    safe(path) && path.parent().is_some_and(safe)
}

/// Sendmail.conf, and the store and the sockets that it names. What is wrong with it is told
/// elsewhere.
fn logins(site: &Site, needs: &mut Needs) {
    let root = site.root.clone().unwrap_or_else(|| "/".into());
    let conf_path = std::env::var_os("SASL_CONF_PATH");
    let folders = folders(conf_path.as_deref(), &root);
    for folder in &folders {
        needs.files.insert(folder.join("Sendmail.conf"));
    }
    let conf = Conf::read("Sendmail", &folders).unwrap_or_default();
    let accounts = site.below(&conf.sasldb_path);
    // Accounts that hosts share are read from their replica.
    if let Ok(replica) = Connection::readable(&accounts, site.root.as_deref()) {
        needs.files.insert(replica);
    }
    needs.files.insert(accounts);
    for socket in [&conf.saslauthd_path, &conf.dovecot_path] {
        needs.sockets.insert(site.below(socket));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_of_peers_count_where_nobody_else_writes_the_map() {
        let root = tempfile::tempdir().unwrap();
        let mail = root.path().join("etc/mail");
        std::fs::create_dir_all(&mail).unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&mail, 0o755);
        let mc = |features: &str| {
            let text = format!("FEATURE(`access_db')dnl\n{features}MAILER(`local')dnl\n");
            std::fs::write(mail.join("sendmail.mc"), text).unwrap();
            load::load(Some(root.path()), None).unwrap().site
        };
        let entry =
            "TLS_Clt_Features:a.example\tCertFile=/c; KeyFile=/k\nTLS_Srv_Features:b\tFoo\n";
        std::fs::write(mail.join("access"), entry).unwrap();
        crate::tables::build_table(&mail.join("access")).unwrap();
        let map = mail.join("access.db");
        mode(&map, 0o640);
        let with = mc("FEATURE(`tls_session_features')dnl\n");
        let key = root.path().join("k");
        let needed = |site: &Site| Needs::of(site, None).of_file(&key).is_some();
        assert!(needed(&with));
        for (path, bad, good) in [(&map, 0o660, 0o640), (&mail, 0o777, 0o755)] {
            mode(path, bad);
            assert!(!needed(&with), "{}", path.display());
            mode(path, good);
        }
        assert!(needed(&with));
        assert!(!needed(&mc("")), "nothing asks for the entries");
    }
}
