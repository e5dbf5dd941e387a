//! mapctl(8); the program is `tools::mapctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::mapctl::run(std::env::args_os())
}
