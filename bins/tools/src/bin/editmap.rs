//! editmap(8); the program is `tools::editmap`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::editmap::run(std::env::args_os().skip(1))
}
