//! temporary
fn main() -> std::process::ExitCode { tools::mapctl::run() }
