//! `mapctl query` and `mapctl dump`.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use libmaps::map::KeyCase;
use libmaps::sysexits::SysExit;

use super::entry::{object, print_object, print_text, shown};
use super::name::{Named, SiteArgs, values};
use super::{Failure, Outcome, Style};
use crate::report::complain;

/// Print the values of keys.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Do not fold capitals in the keys.
    #[arg(short = 'f', long)]
    exact: bool,
    #[command(flatten)]
    site: SiteArgs,
    /// The map: class:path, one of the site's by its name (access, aliases, ...), or a file.
    map: OsString,
    /// The keys.
    #[arg(required = true)]
    keys: Vec<OsString>,
}

/// Print all entries.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// Print comma-separated values (RFC 4180).
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    site: SiteArgs,
    /// The map: class:path, one of the site's by its name (access, aliases, ...), or a file.
    map: OsString,
}

/// Prints a line for each value; a key that is not there makes the exit 69.
pub(crate) fn query(args: &QueryArgs, style: Style) -> Outcome {
    let named = Named::find(&args.map, &args.site)?;
    let opened = named.open()?;
    let cases = [named.case, opened.key_case()];
    let fold = !args.exact && cases == [KeyCase::Folded; 2];
    let map = opened.into_map();
    let mut out = io::stdout().lock();
    let mut exit = SysExit::Ok;
    for key in &args.keys {
        let key = match fold {
            true => key.as_bytes().to_ascii_lowercase(),
            false => key.as_bytes().to_vec(),
        };
        let found = values(map.as_ref(), &key)?;
        for rhs in &found {
            match style {
                Style::Text => print_text(&mut out, &key, rhs)?,
                Style::Json => print_object(&mut out, object(&key, Some(rhs)))?,
            }
        }
        if found.is_empty() {
            exit = SysExit::Unavailable;
            match style {
                Style::Text => complain(&[b"mapctl: ", &key, b": not in the map"]),
                Style::Json => print_object(&mut out, object(&key, None))?,
            }
        }
    }
    out.flush()?;
    Ok(exit)
}

/// Prints every entry, in the map's order.
pub(crate) fn dump(args: &DumpArgs, style: Style) -> Outcome {
    if args.csv && style == Style::Json {
        let text = "--csv and --json exclude each other".to_string();
        return Err(Failure::Other(SysExit::Usage, text));
    }
    let map = Named::find(&args.map, &args.site)?.open()?.into_map();
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if args.csv {
        let mut csv = csv::Writer::from_writer(&mut out);
        let failed = |e: csv::Error| Failure::Output(io::Error::other(e));
        csv.write_record(["lhs", "rhs"]).map_err(failed)?;
        for entry in map.iter() {
            let entry = entry?;
            let record = [shown(entry.lhs.as_bytes()), shown(entry.rhs.as_bytes())];
            csv.write_record(record).map_err(failed)?;
        }
        csv.flush()?;
    } else {
        for entry in map.iter() {
            let entry = entry?;
            let (lhs, rhs) = (shown(entry.lhs.as_bytes()), shown(entry.rhs.as_bytes()));
            match style {
                Style::Text => print_text(&mut out, lhs, rhs)?,
                Style::Json => print_object(&mut out, object(lhs, Some(rhs)))?,
            }
        }
    }
    out.flush()?;
    Ok(SysExit::Ok)
}
