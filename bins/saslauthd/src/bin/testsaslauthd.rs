//! testsaslauthd(8): asks a saslauthd whether a password is right.

use std::process::ExitCode;

fn main() -> ExitCode {
    saslauth::client::main(std::env::args_os().collect())
}
