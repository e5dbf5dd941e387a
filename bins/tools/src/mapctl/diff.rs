//! `mapctl diff`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write};

use clap::Args;
use libmaps::sysexits::SysExit;
use serde_json::Map as Object;

use super::entry::{print_object, put, shown};
use super::name::{Named, SiteArgs};
use super::{Failure, Outcome, Style};

/// Print what was added, removed and changed between two maps.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The earlier map.
    old: OsString,
    /// The later map.
    new: OsString,
}

type Content = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Prints a line for each difference; the exit is 0 where there is none and 1 where there are.
pub(crate) fn diff(args: &DiffArgs, style: Style) -> Outcome {
    let (old, new) = (
        content(&args.old, &args.site)?,
        content(&args.new, &args.site)?,
    );
    let mut out = BufWriter::new(io::stdout().lock());
    let mut same = true;
    let keys: std::collections::BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    for lhs in keys {
        let (before, after) = (old.get(lhs), new.get(lhs));
        if before == after {
            continue;
        }
        same = false;
        match style {
            Style::Text => text(&mut out, lhs, before, after)?,
            Style::Json => json(&mut out, lhs, before, after)?,
        }
    }
    out.flush()?;
    match same {
        true => Ok(SysExit::Ok),
        false => Err(Failure::Differ),
    }
}

fn content(map: &OsStr, site: &SiteArgs) -> Result<Content, Failure> {
    let mut content = Content::new();
    for entry in Named::find(map, site)?.open()?.into_map().iter() {
        let entry = entry?;
        let values = content.entry(shown(entry.lhs.as_bytes()).to_vec());
        values
            .or_default()
            .push(shown(entry.rhs.as_bytes()).to_vec());
    }
    Ok(content)
}

fn text(
    out: &mut dyn Write,
    lhs: &[u8],
    before: Option<&Vec<Vec<u8>>>,
    after: Option<&Vec<Vec<u8>>>,
) -> io::Result<()> {
    for (sign, values) in [("- ", before), ("+ ", after)] {
        for rhs in values.into_iter().flatten() {
            out.write_all(&[sign.as_bytes(), lhs, b"\t", rhs, b"\n"].concat())?;
        }
    }
    Ok(())
}

fn json(
    out: &mut dyn Write,
    lhs: &[u8],
    before: Option<&Vec<Vec<u8>>>,
    after: Option<&Vec<Vec<u8>>>,
) -> io::Result<()> {
    let change = match (before, after) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    let mut object = Object::new();
    object.insert("change".into(), change.into());
    put(&mut object, "lhs", lhs);
    for (name, values) in [("old", before), ("new", after)] {
        if let Some(values) = values {
            put(&mut object, name, &values.join(&b'\n'));
        }
    }
    print_object(out, object)
}
