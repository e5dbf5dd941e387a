//! `maps_session`: what is asked about.

use std::ffi::c_char;

use tools::serve::policy::PolicyRequest;

use crate::border::{Status, free, guarded, text, usage};

/// `maps_session`.
#[derive(Default)]
pub struct CSession(pub(crate) PolicyRequest);

/// `maps_session_new`.
#[unsafe(no_mangle)]
pub extern "C" fn maps_session_new() -> *mut CSession {
    Box::into_raw(Box::default())
}

/// `maps_session_set`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_session_set(
    session: *mut CSession,
    attribute: *const c_char,
    value: *const c_char,
) -> Status {
    guarded(|| {
        // SAFETY: the session is ours and this thread's alone, as the header demands; the
        // rest is the functions' own promise.
        unsafe {
            let session = session.as_mut();
            let session = session.ok_or_else(|| usage("session is a null pointer"))?;
            let attribute = text(attribute, "attribute")?;
            session.0.set(attribute, text(value, "value")?);
        }
        Ok(Status::Ok)
    })
}

/// `maps_session_free`.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_session_free(session: *mut CSession) {
    // SAFETY: the caller's promise.
    unsafe { free(session) };
}
