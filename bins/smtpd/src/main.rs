//! smtpd: an SMTP server that starts on a site's own `sendmail.mc`.

use std::process::ExitCode;

/// Texts and envelopes are made by one thread and forgotten by another, which the C library's
/// allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    smtpd::command::smtpd(std::env::args_os().skip(1))
}
