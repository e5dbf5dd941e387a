//! Measures this workspace beside whichever peers are there, and prints how they compare.
//!
//! Each subject is a subcommand with a module of its own. Contenders take
//! turns, forwards and backwards, so that what else the machine does meets all
//! of them; medians and the medians of the turns' ratios are printed. Nothing
//! is installed: peers are looked for, and those that are not there are named.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod accounts;
mod auth;
mod decisions;
mod faults;
mod fixed;
mod import;
mod lookups;
mod maps;
mod measure;
mod peers;
mod plot;
mod report;
mod saslauthd;
mod setting;
mod smtp;
mod source;
mod stores;
mod tree;
mod turns;

use std::process::ExitCode;

use clap::Parser;

/// Measures these programs beside the peers that are there, and prints how they compare.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, clap::Subcommand)]
enum What {
    Maps(maps::Args),
    Lookups(lookups::Args),
    Decisions(decisions::Args),
    Fixed(fixed::Args),
    Import(import::Args),
    Auth(auth::Args),
    Faults(faults::Args),
    Smtp(smtp::Args),
    Plot(plot::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().what {
        What::Maps(args) => maps::run(&args),
        What::Lookups(args) => lookups::run(&args),
        What::Decisions(args) => decisions::run(&args),
        What::Fixed(args) => fixed::run(&args),
        What::Import(args) => import::run(&args),
        What::Auth(args) => auth::run(&args),
        What::Faults(args) => faults::run(&args),
        What::Smtp(args) => smtp::run(&args),
        What::Plot(args) => plot::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}
