//! saslauthd(8): checks passwords for programs that ask over a UNIX socket.

use std::process::ExitCode;

fn main() -> ExitCode {
    saslauth::daemon::main(std::env::args_os().collect())
}
