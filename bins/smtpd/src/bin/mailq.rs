//! mailq: shows the queue, and holds, releases or removes what is in it.

use std::process::ExitCode;

fn main() -> ExitCode {
    smtpd::mailq::mailq(std::env::args_os().skip(1))
}
