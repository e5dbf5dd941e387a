//! `maps_site`: a site's maps by name, and its decisions.

use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

use libmaps::site;
use libmaps::store::socketmap::Request;
use tools::serve::policy::{PolicyService, Verbosity};
use tools::serve::site_maps::{Logins, SiteMaps};

use crate::border::{
    Failure, Status, borrowed, clear, free, guarded, hand_out, hand_out_reply, octets, text,
};
use crate::map::silent;

/// `maps_site`.
pub struct CSite {
    maps: SiteMaps,
    pub(crate) policy: PolicyService,
}

fn open(root: Option<&Path>, file: Option<&Path>) -> Result<CSite, Failure> {
    let broken = |text: String| Failure(Status::Perm, text);
    let loaded = site::load(root, file).map_err(|error| broken(error.to_string()))?;
    if loaded.has_errors() {
        let faults: Vec<String> = loaded.errors().map(ToString::to_string).collect();
        return Err(broken(faults.join("\n")));
    }
    let site = Arc::new(loaded.site);
    let status = |error: libmaps::map::StoreError| match error.is_temporary() {
        true => Failure(Status::Temp, error.to_string()),
        false => broken(error.to_string()),
    };
    let maps = SiteMaps::of(&site, &[], Logins::Served, usize::MAX, silent).map_err(status)?;
    let policy = PolicyService::of(site, Verbosity::Refusals, silent).map_err(status)?;
    Ok(CSite { maps, policy })
}

/// `maps_site_open`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_site_open(
    root: *const c_char,
    file: *const c_char,
    site: *mut *mut CSite,
) -> Status {
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

/// `maps_site_lookup`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_site_lookup(
    site: *const CSite,
    map: *const c_char,
    key: *const u8,
    key_octets: usize,
    value: *mut *mut c_char,
    value_octets: *mut usize,
) -> Status {
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

/// `maps_site_close`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_site_close(site: *mut CSite) {
    // SAFETY: the caller's promise.
    unsafe { free(site) };
}
