//! The programs in front, for the tests of this package: `front makemap ...` is makemap.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let name = args.next().unwrap_or_default();
    let with_name = std::iter::once(name.clone()).chain(args.by_ref());
    match name.to_str() {
        Some("smtpd") => smtpd::command::smtpd(with_name.skip(1)),
        // The server starts its agent by its own program.
        Some("deliver-agent") => smtpd::command::smtpd(with_name),
        Some("newaliases") => tools::newaliases::run(with_name.skip(1)),
        Some("saslpasswd2") => tools::saslpasswd2::run(with_name),
        Some("sasldblistusers2") => tools::sasldblistusers2::run(with_name),
        // mapctl is makemap and editmap by those names.
        _ => tools::mapctl::run(with_name),
    }
}
