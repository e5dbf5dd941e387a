//! `mapctl site`: the configuration as it is understood.

use std::io::{self, Write};

use clap::Args;
use libmaps::site::{load, show};
use libmaps::sysexits::SysExit;

use super::name::SiteArgs;
use super::{Failure, Outcome, Style};
use crate::report::complain;

/// Print the effective configuration: names, listeners, tables, features, mailers, classes, options.
#[derive(Debug, Args)]
pub(crate) struct SiteCommand {
    #[command(flatten)]
    site: SiteArgs,
}

/// Prints the model; what is wrong with the configuration goes to standard error, a finding a line.
pub(crate) fn site(args: &SiteCommand, style: Style) -> Outcome {
    let loaded = load(args.site.root.as_deref(), args.site.config.as_deref())
        .map_err(|error| Failure::Other(error.exit(), error.to_string()))?;
    for finding in &loaded.diagnostics {
        complain(&[finding.to_string().as_bytes()]);
    }
    let mut out = io::stdout().lock();
    match style {
        Style::Text => write!(out, "{}", show::text(&loaded.site))?,
        Style::Json => writeln!(out, "{}", show::json(&loaded.site))?,
    }
    out.flush()?;
    Ok(match loaded.has_errors() {
        true => SysExit::Config,
        false => SysExit::Ok,
    })
}
