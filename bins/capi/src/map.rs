//! `maps_map`: one map by class and path.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use libmaps::site::Site;
use libmaps::site::model::MapSpec;
use libmaps::store::class::{CLASSES, Holds};
use libmaps::store::path::with_suffix;
use libmaps::store::sniff::sniff_path;
use libmaps::store::socketmap::Request;
use libmaps::store::{Format, keep_maps_in_files};
use tools::serve::site_maps::{Logins, SiteMaps};

use crate::border::{
    Failure, borrowed, clear, free, guarded, hand_out, hand_out_reply, maps_status, octets, text,
    usage,
};

/// The name of the only map in it.
const ONLY: &str = "map";

/// One map, followed as it changes.
pub struct maps_map(SiteMaps);

/// Nobody listens to a library's log; the caller sees the same by the status.
pub(crate) fn silent(_: &str) {}

pub(crate) fn open(name: &str) -> Result<SiteMaps, Failure> {
    let spec = match name.split_once(':') {
        Some((class, path)) if !class.contains('/') => MapSpec::new(class, path),
        _ => by_path(name),
    };
    if spec.path.as_os_str().is_empty() || spec.stored().is_none() && !spec.is_remote() {
        let text = format!("{name}: expected class:path, such as hash:/etc/mail/access");
        return Err(usage(&text));
    }
    keep_maps_in_files();
    let mut site = Site::default();
    site.options.files.aliases.clear();
    let more = [(ONLY.to_owned(), spec.as_built())];
    let maps = SiteMaps::of(&Arc::new(site), &more, Logins::Served, usize::MAX, silent);
    maps.map_err(|error| Failure(maps_status::MAPS_PERM, error.to_string()))
}

/// The map that a path alone means. What a file is called matters only until it is there: its
/// octets tell the class then.
fn by_path(path: &str) -> MapSpec {
    let stores = CLASSES.iter().filter(|row| row.holds == Holds::Entries);
    let mut stores = stores.filter(|row| path.ends_with(row.suffix));
    if let Some(row) = stores.next() {
        return MapSpec::new(row.word, path);
    }
    let spec = MapSpec::new("implicit", path);
    // As sasldb2; but a text beside which there is no map yet is the map's source.
    let is_map = || sniff_path(Path::new(path)).is_ok_and(Format::is_map);
    match !with_suffix(path.as_ref(), ".db").exists() && is_map() {
        true => spec.without_suffix(),
        false => spec,
    }
}

/// Opens "class:path" (hash:/etc/mail/access, cdb:..., socketmap:unix:/path:name) or a path, that
/// of a file whose octets tell its class; .db may be left out.
/// Each lookup sees the newest map that was published under the name. A map that is not there
/// is told by the first lookup, as one that goes away later is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_open(name: *const c_char, map: *mut *mut maps_map) -> maps_status {
    guarded(|| {
        // SAFETY: the caller's promises are the functions' own.
        unsafe {
            clear(map);
            let opened = open(text(name, "name")?)?;
            hand_out(map, maps_map(opened), "map")
        }
    })
}

/// Closes a map; null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_close(map: *mut maps_map) {
    // SAFETY: the caller's promise.
    unsafe { free(map) };
}

/// The value of a key, which is folded to lower case first, as maps are built; not in a map that
/// says it was built with makemap -f. The value ends in a NUL that is not counted; maps_free()
/// frees it. value_octets may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_lookup(
    map: *mut maps_map,
    key: *const c_void,
    key_octets: usize,
    value: *mut *mut c_char,
    value_octets: *mut usize,
) -> maps_status {
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

/// Frees a value that a lookup handed out; null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_free(value: *mut c_char) {
    // SAFETY: it came from malloc(3), as the caller promises; free(3) takes null.
    unsafe { libc::free(value.cast()) };
}
