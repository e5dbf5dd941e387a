//! praliases(8); the program is `tools::praliases`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::praliases::run(std::env::args_os().skip(1))
}
