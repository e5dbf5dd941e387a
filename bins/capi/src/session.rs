//! `maps_session`: what is asked about.

use std::ffi::c_char;

use tools::serve::policy::PolicyRequest;

use crate::border::{free, guarded, maps_status, text, usage};

/// What is known of the client, the sender and the recipient that are asked about.
#[derive(Default)]
pub struct maps_session(pub(crate) PolicyRequest);

/// A session of which nothing is known yet.
#[unsafe(no_mangle)]
pub extern "C" fn maps_session_new() -> *mut maps_session {
    Box::into_raw(Box::default())
}

/// Says one thing of a session. The attributes are those of Postfix's policy protocol; needed
/// are protocol_state (CONNECT, HELO, EHLO, MAIL or RCPT) and client_address, and from MAIL on
/// sender, at RCPT recipient. client_name only if it was verified. A value may be set again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_session_set(
    session: *mut maps_session,
    attribute: *const c_char,
    value: *const c_char,
) -> maps_status {
    guarded(|| {
        // SAFETY: the session is ours and this thread's alone, as the header demands; the
        // rest is the functions' own promise.
        unsafe {
            let session = session.as_mut();
            let session = session.ok_or_else(|| usage("session is a null pointer"))?;
            let attribute = text(attribute, "attribute")?;
            session.0.set(attribute, text(value, "value")?);
        }
        Ok(maps_status::MAPS_OK)
    })
}

/// Frees a session; null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn maps_session_free(session: *mut maps_session) {
    // SAFETY: the caller's promise.
    unsafe { free(session) };
}
