//! makemap(8); the program is `tools::makemap`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::makemap::run(std::env::args_os().skip(1))
}
