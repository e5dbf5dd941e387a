//! newaliases(1); the program is `tools::newaliases`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::newaliases::run(std::env::args_os().skip(1))
}
