//! `mapctl query` and `mapctl dump`.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use libmaps::map::{KeyCase, Map, StoreError};
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

/// Prints a line for each value; a key that is not there makes the exit 69. Of several alias
/// files, the first that has a key answers for it.
pub(crate) fn query(args: &QueryArgs, style: Style) -> Outcome {
    let named = Named::find_all(&args.map, &args.site)?;
    let asked = |named: Named| Asked {
        case: match args.exact {
            true => KeyCase::AsGiven,
            false => named.case,
        },
        named,
        opened: None,
    };
    let mut maps: Vec<Asked> = named.into_iter().map(asked).collect();
    let mut out = io::stdout().lock();
    let mut exit = SysExit::Ok;
    for key in &args.keys {
        let (key, found) = first_with(&mut maps, key.as_bytes())?;
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

/// A map that keys are asked of, opened for the first of them.
struct Asked {
    named: Named,
    /// How the site or the command line has its keys.
    case: KeyCase,
    opened: Option<(Box<dyn Map>, KeyCase)>,
}

impl Asked {
    fn opened(&mut self) -> Result<&(Box<dyn Map>, KeyCase), StoreError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => {
                let opened = self.named.open()?;
                let case = match self.case {
                    KeyCase::Folded => opened.key_case(),
                    KeyCase::AsGiven => KeyCase::AsGiven,
                };
                (opened.into_map(), case)
            }
        };
        Ok(self.opened.insert(opened))
    }
}

/// The values of the first map that has the key, and the key as it was asked. One of several
/// may be missing, as it may for the server.
fn first_with(maps: &mut [Asked], key: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), StoreError> {
    let mut asked = None;
    let mut missing = None;
    for map in maps {
        let (map, case) = match map.opened() {
            Ok(opened) => opened,
            Err(error @ StoreError::Missing { .. }) => {
                missing.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let key = match case {
            KeyCase::Folded => key.to_ascii_lowercase(),
            KeyCase::AsGiven => key.to_vec(),
        };
        let found = values(map.as_ref(), &key)?;
        if !found.is_empty() {
            return Ok((key, found));
        }
        asked = Some(key);
    }
    match (asked, missing) {
        (None, Some(error)) => Err(error),
        (asked, _) => Ok((asked.unwrap_or_default(), Vec::new())),
    }
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
