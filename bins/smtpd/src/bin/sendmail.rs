//! sendmail: sends what other programs hand to it.

use std::process::ExitCode;

fn main() -> ExitCode {
    smtpd::sendmail::sendmail(std::env::args_os())
}
