//! What the server opens once it serves: the folders that it is confined to.

use confine::Reach;
use libmaps::policy::alias_text::text_of;
use libmaps::policy::maps::{connection_files, file_of};
use libmaps::site::Site;
use libmaps::site::model::MapSpec;

use super::ListenAddress;

/// The reach of a server of this site's maps, and of `more`, at these addresses.
#[must_use]
pub fn reach(site: &Site, more: &[(String, MapSpec)], addresses: &[ListenAddress]) -> Reach {
    let mut reach = Reach::system();
    for path in site.system_files() {
        reach.read_file(&path);
    }
    let files = &site.options.files;
    for path in [&files.service_switch, &files.hosts].into_iter().flatten() {
        reach.read_file(&site.below(path));
    }
    let asked = site.asked_maps();
    let specs = asked
        .iter()
        .chain(site.maps.values())
        .chain(more.iter().map(|(_, spec)| spec));
    for spec in specs {
        if let Some((_, path)) = file_of(site, spec) {
            reach.read_file(&path);
        }
        // Of a shared map the connection file, which may lie elsewhere than its replica.
        if spec.is_shared() {
            reach.read_file(&site.below(&spec.path));
        }
    }
    for file in site.alias_files() {
        if let Some(text) = text_of(site, &file.map) {
            reach.read_file(&text);
        }
    }
    for file in connection_files(site) {
        reach.read_file(&file);
    }
    for address in addresses {
        // A socket that we made is removed at the end.
        if let ListenAddress::Unix(path) = address
            && let Some(folder) = path.parent()
        {
            reach.write_folder(folder);
        }
    }
    reach
}
