//! What the server opens once it serves: the folders that it is confined to.

use std::path::{Path, PathBuf};

use confine::Reach;
use libmaps::policy::maps::file_of;
use libmaps::sasl::conf::{Conf, folders};
use libmaps::site::Site;
use libmaps::site::load::DEFAULT_FILE;
use libmaps::store::shared::Connection;

use crate::drop::Submit;

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
    let mut reach = Reach::new();
    // Some of these are taken below the root only where they stand there.
    for path in [
        "/etc/passwd",
        "/etc/group",
        "/etc/hosts",
        "/etc/resolv.conf",
    ] {
        reach.read_file(Path::new(path));
        reach.read_file(&site.below(Path::new(path)));
    }
    let config = site.below(Path::new(DEFAULT_FILE));
    reach.read_file(file.unwrap_or(&config));
    for path in maps(site).iter().chain(&named(site)) {
        reach.read_file(path);
    }
    let tls = &site.options.tls;
    for folder in [&tls.ca_path, &tls.crl_path].into_iter().flatten() {
        reach.read_folder(&site.below(folder));
    }
    logins(site, &mut reach);
    reach.write_folder(&queue(site));
    reach.write_folder(&Submit::of(site).folder_of(site));
    reach
}

/// The folder of the queue.
#[must_use]
pub fn queue(site: &Site) -> PathBuf {
    let folder = site.options.queue.directory.as_deref();
    site.below(folder.unwrap_or(Path::new("/var/spool/mqueue")))
}

fn maps(site: &Site) -> Vec<PathBuf> {
    let features = &site.features;
    let access = features.access.as_ref().map(|access| &access.map);
    let others = [
        &features.authinfo,
        &features.mailertable,
        &features.virtusertable,
        &features.genericstable,
        &features.domaintable,
    ];
    let of_features = access.into_iter().chain(others.into_iter().flatten());
    let aliases = site.alias_files();
    of_features
        .chain(aliases.iter().map(|file| &file.map))
        .filter_map(|spec| file_of(site, spec))
        .map(|(_, path)| path)
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

/// Sendmail.conf, and the store that it names. What is wrong with it is told elsewhere.
fn logins(site: &Site, reach: &mut Reach) {
    let root = site.root.clone().unwrap_or_else(|| "/".into());
    let conf_path = std::env::var_os("SASL_CONF_PATH");
    let folders = folders(conf_path.as_deref(), &root);
    for folder in &folders {
        reach.read_file(&folder.join("Sendmail.conf"));
    }
    let conf = Conf::read("Sendmail", &folders).unwrap_or_default();
    let accounts = site.below(&conf.sasldb_path);
    // Accounts that hosts share are read from their replica.
    if let Ok(replica) = Connection::readable(&accounts, site.root.as_deref()) {
        reach.read_file(&replica);
    }
    reach.read_file(&accounts);
}
