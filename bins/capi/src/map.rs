//! `maps_map`: one map by class and path.

use std::ffi::c_char;
use std::sync::Arc;

use libmaps::site::Site;
use libmaps::site::model::MapSpec;
use libmaps::store::socketmap::Request;
use tools::serve::site_maps::{Logins, SiteMaps};

use crate::border::{
    Failure, Status, borrowed, clear, free, guarded, hand_out, hand_out_reply, octets, text, usage,
};

/// The name of the only map in it.
const ONLY: &str = "map";

/// `maps_map`.
pub struct CMap(SiteMaps);

/// Nobody listens to a library's log; the caller sees the same by the status.
pub(crate) fn silent(_: &str) {}

pub(crate) fn open(name: &str) -> Result<SiteMaps, Failure> {
    let (class, path) = match name.split_once(':') {
        Some((class, path)) if !class.contains('/') => (class, path),
        _ => ("implicit", name),
    };
    let spec = MapSpec::new(class, path).as_built();
    if path.is_empty() || spec.stored().is_none() && !spec.is_remote() {
        let text = format!("{name}: expected class:path, such as hash:/etc/mail/access");
        return Err(usage(&text));
    }
    let mut site = Site::default();
    site.options.files.aliases.clear();
    let more = [(ONLY.to_owned(), spec)];
    let maps = SiteMaps::of(&Arc::new(site), &more, Logins::Served, usize::MAX, silent);
    maps.map_err(|error| Failure(Status::Perm, error.to_string()))
}

/// `maps_open`. A map that is not there is told by the first lookup, as one that goes is.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_open(name: *const c_char, map: *mut *mut CMap) -> Status {
    guarded(|| {
        // SAFETY: the caller's promises are the functions' own.
        unsafe {
            clear(map);
            let opened = open(text(name, "name")?)?;
            hand_out(map, CMap(opened), "map")
        }
    })
}

/// `maps_lookup`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_lookup(
    map: *const CMap,
    key: *const u8,
    key_octets: usize,
    value: *mut *mut c_char,
    value_octets: *mut usize,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promises are the functions' own.
        unsafe {
            clear(value);
            let map = borrowed(map, "map")?;
            let key = octets(key, key_octets)?;
            let request = Request {
                map: ONLY.as_bytes(),
                key,
            };
            hand_out_reply(map.0.answer(&request), value, value_octets)
        }
    })
}

/// `maps_close`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_close(map: *mut CMap) {
    // SAFETY: the caller's promise.
    unsafe { free(map) };
}
