//! The C libraries behind the mechanisms; all `unsafe` of this package is here.
//!
//! libcrypt and libpam are loaded when a mechanism starts, so that building
//! needs neither their headers nor their link libraries, and a machine without
//! PAM runs the other mechanisms. The types written down here are those of
//! crypt(3) and of `security/_pam_types.h` (Linux-PAM), which have not changed
//! in decades: they are part of the libraries' binary interface, `libcrypt.so.1`
//! and `libpam.so.0`.
#![allow(
    unsafe_code,
    reason = "calls into libc, libcrypt and libpam; each block says why it is sound"
)]

pub mod accounts;
pub mod crypt;
pub mod library;
pub mod pam;
