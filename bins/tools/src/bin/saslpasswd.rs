//! saslpasswd2(8) under its other name; the program is `tools::saslpasswd2`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::saslpasswd2::run(std::env::args_os())
}
