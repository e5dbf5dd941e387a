//! sasldblistusers2(8); the program is `tools::sasldblistusers2`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::sasldblistusers2::run(std::env::args_os())
}
