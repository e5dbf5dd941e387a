//! What passes the border: statuses, texts, errors, panics that must not.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use libmaps::store::socketmap::Reply;

/// Grows with every function that is added; what was there stays as it was.
pub const MAPS_API_VERSION: c_int = 1;

/// What a function has to say. Only MAPS_NOTFOUND means that there is no such entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum maps_status {
    /// Done; found.
    MAPS_OK = 0,
    /// The key is not in the map, for certain.
    MAPS_NOTFOUND = 1,
    /// Nobody can tell now: keep the mail and try again.
    MAPS_TEMP = 2,
    /// Nobody can tell until somebody mends it: no such map, a bad configuration.
    MAPS_PERM = 3,
    /// The call was wrong: a null pointer, text that is not UTF-8, no protocol_state.
    MAPS_USAGE = 4,
}

/// The MAPS_API_VERSION that the library was built with.
#[unsafe(no_mangle)]
pub extern "C" fn maps_api_version() -> c_int {
    MAPS_API_VERSION
}

/// The text of this thread's last error; valid until the next call in this thread, never null.
#[unsafe(no_mangle)]
pub extern "C" fn maps_error() -> *const c_char {
    LAST.try_with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr()))
        .unwrap_or(c"".as_ptr())
}

/// A status that is no success, with its text.
pub(crate) struct Failure(pub(crate) maps_status, pub(crate) String);

/// The call itself was wrong.
pub(crate) fn usage(text: &str) -> Failure {
    Failure(maps_status::MAPS_USAGE, text.to_owned())
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// Text as C has it; what follows a NUL in it is lost.
pub(crate) fn c_text(text: &str) -> CString {
    let whole = text.split('\0').next().unwrap_or_default();
    CString::new(whole).unwrap_or_default()
}

/// A thread that is ending may have no place for it any more: a destructor of a key of its own
/// (pthread_key_create(3)) may call us late.
fn remember(text: &str) {
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = c_text(text);
        }
    });
}

/// What a panic says, said once: by the caller, if at all, and not on standard error. The hook is
/// that of the runtime in this library alone.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

/// The words of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it does not say what")
}

/// Runs the body of a function; a panic in it ends here.
pub(crate) fn guarded(body: impl FnOnce() -> Result<maps_status, Failure>) -> maps_status {
    keep_quiet();
    let done = catch_unwind(AssertUnwindSafe(body));
    let Failure(status, text) = match done {
        Ok(Ok(status)) => return status,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = format!("a fault in libmaps itself: {}", words(&*panic));
            Failure(maps_status::MAPS_TEMP, text)
        }
    };
    remember(&text);
    status
}

/// Frees a handle; one that panics while it is closed is closed enough.
///
/// # Safety
/// `handle` is null or came from `Box::into_raw`, and nobody uses it any more.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(handle) };
        let _ = catch_unwind(AssertUnwindSafe(move || drop(owned)));
    }
}

/// A text of the caller's, which is UTF-8.
///
/// # Safety
/// `text` is null or ends in a NUL, and stays while the result is used.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(usage(&format!("{what} is a null pointer")));
    }
    // SAFETY: not null; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str()
        .map_err(|_| usage(&format!("{what} is not UTF-8")))
}

/// A handle of the caller's.
///
/// # Safety
/// `handle` is null or one of ours that was not freed.
pub(crate) unsafe fn borrowed<'a, T>(handle: *const T, what: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { handle.as_ref() }.ok_or_else(|| usage(&format!("{what} is a null pointer")))
}

/// Makes a place null, so that after a failure nobody takes what stood there for a result.
///
/// # Safety
/// `place` is null or may be written to.
pub(crate) unsafe fn clear<T>(place: *mut *mut T) {
    if !place.is_null() {
        // SAFETY: not null; the rest is the caller's promise.
        unsafe { place.write(std::ptr::null_mut()) };
    }
}

/// Hands a new handle out.
///
/// # Safety
/// `place` is null or may be written to.
pub(crate) unsafe fn hand_out<T>(
    place: *mut *mut T,
    value: T,
    what: &str,
) -> Result<maps_status, Failure> {
    if place.is_null() {
        return Err(usage(&format!("{what} is a null pointer")));
    }
    // SAFETY: not null; the rest is the caller's promise.
    unsafe { place.write(Box::into_raw(Box::new(value))) };
    Ok(maps_status::MAPS_OK)
}

/// The caller's key.
///
/// # Safety
/// `key` is null, or points to so many octets that stay while the result is used.
pub(crate) unsafe fn octets<'a>(key: *const c_void, count: usize) -> Result<&'a [u8], Failure> {
    if key.is_null() {
        return match count {
            0 => Ok(&[]),
            _ => Err(usage("key is a null pointer")),
        };
    }
    if count > isize::MAX.unsigned_abs() {
        return Err(usage("key_octets is not a size"));
    }
    // SAFETY: not null, not longer than any object; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(key.cast(), count) })
}

/// Hands the value of a reply out, by malloc(3) and with a NUL at its end.
///
/// # Safety
/// `value` and `value_octets` are null or may be written to.
pub(crate) unsafe fn hand_out_reply(
    reply: Reply,
    value: *mut *mut c_char,
    value_octets: *mut usize,
) -> Result<maps_status, Failure> {
    if value.is_null() {
        return Err(usage("value is a null pointer"));
    }
    // SAFETY: not null; the rest is the caller's promise.
    unsafe { value.write(std::ptr::null_mut()) };
    let found = match reply {
        Reply::Ok(found) => found,
        Reply::NotFound => return Ok(maps_status::MAPS_NOTFOUND),
        Reply::Temp(why) | Reply::Timeout(why) => return Err(Failure(maps_status::MAPS_TEMP, why)),
        Reply::Perm(why) => return Err(Failure(maps_status::MAPS_PERM, why)),
    };
    // SAFETY: one octet more than there are holds them and the NUL; malloc's null is looked for.
    unsafe {
        let copy: *mut u8 = libc::malloc(found.len() + 1).cast();
        if copy.is_null() {
            return Err(Failure(maps_status::MAPS_TEMP, "out of memory".into()));
        }
        copy.copy_from_nonoverlapping(found.as_ptr(), found.len());
        copy.add(found.len()).write(0);
        value.write(copy.cast());
        if !value_octets.is_null() {
            value_octets.write(found.len());
        }
    }
    Ok(maps_status::MAPS_OK)
}
