//! `smtpd demo`: the README's first command.

use std::ffi::OsString;
use std::process::ExitCode;

use libmaps::sysexits::SysExit;

/// Runs the demo.
#[must_use]
pub fn demo(_args: &[OsString]) -> ExitCode {
    SysExit::Ok.into()
}
