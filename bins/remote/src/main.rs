//! mapremote(8); the program is `remote::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    remote::command::run(std::env::args_os())
}
