//! `mapctl info`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use libmaps::map::{Map, StoreError};
use libmaps::store::Opened;
use libmaps::store::redb::FORMAT;
use libmaps::store::shared::follower_notes;
use libmaps::sysexits::SysExit;
use serde_json::{Map as Object, Value};

use super::name::{Named, SiteArgs};
use super::{Failure, Outcome, Style};

/// Where values begin, unless a property has a longer name.
const MIN_COLUMN: usize = 16;

/// Print what a map says of itself.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The map: class:path, one of the site's by its name (access, aliases, ...), or a file.
    map: OsString,
}

/// Prints a line for each property; entries of formats that do not say are counted.
pub(crate) fn info(args: &InfoArgs, style: Style) -> Outcome {
    let named = Named::find(&args.map, &args.site)?;
    let opened = named.open().map_err(|error| explained(&named, error))?;
    let mut lines: Vec<(&str, Value)> = Vec::new();
    if let Some(connection) = &named.shared {
        let server = format!("{} on {}", connection.map, connection.server.shown());
        lines.push(("shared map", server.into()));
        lines.push((
            "connection file",
            connection.file.display().to_string().into(),
        ));
    }
    lines.push(("file", named.path().display().to_string().into()));
    lines.push(("class", opened.class().as_str().into()));
    match &opened {
        Opened::Redb(map) => {
            let meta = map.meta();
            lines.push(("format", format!("redb, map format {FORMAT}").into()));
            lines.push(("duplicates", opened.keeps_duplicates().into()));
            lines.push(("entries", meta.entries.into()));
            lines.push(("options", meta.options.clone().into()));
            if let Some(source) = &meta.source {
                lines.push(("source", source.clone().into()));
            }
            lines.push(("program", meta.program.clone().into()));
            if let Some(origin) = &meta.origin {
                lines.push(("generation", origin.generation.into()));
                lines.extend(follower(named.path()));
            }
        }
        Opened::Berkeley(map) => {
            lines.push(("format", "Berkeley DB, read only".into()));
            lines.push(("duplicates", opened.keeps_duplicates().into()));
            lines.push(("entries", count(map)?.into()));
        }
        Opened::Cdb(map) => {
            lines.push(("format", "cdb".into()));
            lines.push(("entries", count(map)?.into()));
        }
        Opened::Socket(_) => lines.push(("format", "behind a socket".into())),
        _ => {}
    }
    if !matches!(opened, Opened::Socket(_)) {
        let metadata =
            std::fs::metadata(named.path()).map_err(|e| StoreError::io(named.path(), "stat", e))?;
        lines.push(("octets", metadata.len().into()));
        lines.push(("octets_on_disk", (metadata.blocks() * 512).into()));
        lines.push(("mode", format!("{:04o}", metadata.mode() & 0o7777).into()));
    }
    let mut out = io::stdout().lock();
    match style {
        Style::Json => {
            let object: Object<String, Value> =
                lines.into_iter().map(|(k, v)| (k.into(), v)).collect();
            writeln!(out, "{}", Value::Object(object))?;
        }
        Style::Text => {
            let longest = lines.iter().map(|(key, _)| key.len() + 2).max();
            let width = longest.unwrap_or_default().max(MIN_COLUMN);
            for (key, value) in lines {
                let value = match value.as_str() {
                    Some("") => "none".to_owned(),
                    Some(text) => text.to_owned(),
                    None => value.to_string(),
                };
                writeln!(
                    out,
                    "{:<width$}{value}",
                    format!("{key}:").replace('_', " ")
                )?;
            }
        }
    }
    out.flush()?;
    Ok(SysExit::Ok)
}

/// An error, with what the follower of a replica that was never made knows of that.
fn explained(named: &Named, error: StoreError) -> Failure {
    if named.shared.is_none() || !matches!(error, StoreError::Missing { .. }) {
        return error.into();
    }
    let mut text = format!("{error}: the replica was not made yet");
    for (what, value) in follower(named.path()) {
        if what == "engine error" {
            let value = value.as_str().map_or(value.to_string(), str::to_owned);
            text.push_str(&format!("; the follower met: {value}"));
        }
    }
    Failure::Other(error.exit(), text)
}

/// What the follower of a replica knows of the engine.
fn follower(replica: &Path) -> Vec<(&'static str, Value)> {
    let text = follower_notes(replica).unwrap_or_default();
    let Ok(state) = serde_json::from_slice::<Value>(&text) else {
        return Vec::new();
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let heard = state.get("heard").and_then(Value::as_u64).unwrap_or(0);
    let known = |key| state.get(key).filter(|value| !value.is_null()).cloned();
    let mut lines = vec![("seconds since heard", now.saturating_sub(heard).into())];
    lines.extend(known("current").map(|number| ("engine generation", number)));
    lines.extend(known("error").map(|error| ("engine error", error)));
    lines
}

fn count(map: &dyn Map) -> Result<u64, StoreError> {
    map.iter().try_fold(0, |n, entry| entry.map(|_| n + 1))
}
