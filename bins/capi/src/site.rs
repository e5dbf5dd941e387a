//! `maps_site`: a site's maps by name, and its decisions.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use libmaps::site;
use libmaps::store::keep_maps_in_files;
use libmaps::store::socketmap::Request;
use tools::serve::policy::{PolicyService, Verbosity};
use tools::serve::site_maps::{Logins, SiteMaps};

use crate::border::{
    Failure, borrowed, clear, free, guarded, hand_out, hand_out_reply, maps_status, octets, text,
};
use crate::map::silent;

/// A site: its configuration, its maps by name, and what decides by them.
pub struct maps_site {
    maps: SiteMaps,
    pub(crate) policy: PolicyService,
}

fn open(root: Option<&Path>, file: Option<&Path>) -> Result<maps_site, Failure> {
    keep_maps_in_files();
    let broken = |text: String| Failure(maps_status::MAPS_PERM, text);
    let loaded = site::load(root, file).map_err(|error| broken(error.to_string()))?;
    if loaded.has_errors() {
        let faults: Vec<String> = loaded.errors().map(ToString::to_string).collect();
        return Err(broken(faults.join("\n")));
    }
    let site = Arc::new(loaded.site);
    let status = |error: libmaps::map::StoreError| match error.is_temporary() {
        true => Failure(maps_status::MAPS_TEMP, error.to_string()),
        false => broken(error.to_string()),
    };
    let maps = SiteMaps::of(&site, &[], Logins::Served, usize::MAX, silent).map_err(status)?;
    let policy = PolicyService::of(site, Verbosity::Refusals, silent).map_err(status)?;
    Ok(maps_site { maps, policy })
}

/// Opens a site: the configuration in file (null: /etc/mail/sendmail.mc), all of its paths
/// taken below root (null: /). Its maps are opened, too, and followed as they change.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_site_open(
    root: *const c_char,
    file: *const c_char,
    site: *mut *mut maps_site,
) -> maps_status {
    guarded(|| {
        // SAFETY: the caller's promises are the functions' own.
        unsafe {
            clear(site);
            let path = |word: *const c_char, what| match word.is_null() {
                true => Ok(None),
                false => text(word, what).map(|word| Some(Path::new(word))),
            };
            let opened = open(path(root, "root")?, path(file, "file")?)?;
            hand_out(site, opened, "site")
        }
    })
}

/// Closes a site; null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_site_close(site: *mut maps_site) {
    // SAFETY: the caller's promise.
    unsafe { free(site) };
}

/// As maps_lookup(), in the map that the site knows as access, aliases, authinfo, domaintable,
/// genericstable, mailertable, virtusertable, or by the name of a K line.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_site_lookup(
    site: *mut maps_site,
    map: *const c_char,
    key: *const c_void,
    key_octets: usize,
    value: *mut *mut c_char,
    value_octets: *mut usize,
) -> maps_status {
    guarded(|| {
        // SAFETY: the caller's promises are the functions' own.
        unsafe {
            clear(value);
            let site = borrowed(site, "site")?;
            let request = Request {
                map: text(map, "map")?.as_bytes(),
                key: octets(key, key_octets)?,
            };
            hand_out_reply(site.maps.answer(&request), value, value_octets)
        }
    })
}
