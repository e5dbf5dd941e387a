//! smtpd: an SMTP server that starts on a site's own `sendmail.mc`.

use std::process::ExitCode;

fn main() -> ExitCode {
    smtpd::command::smtpd(std::env::args_os().skip(1))
}
