//! Whether a map was built from its text as it is now.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Kind;
use super::sources::Table;
use crate::map::{MapClass, MapName};
use crate::site::{Diagnostic, Place, Severity};
use crate::store::{Opened, open_any};

/// What is wrong with the map of a table that has a text.
pub(super) fn check(table: &Table) -> Option<Diagnostic> {
    let (text, map) = (table.text.as_ref()?, table.map.as_ref()?);
    let place = Place::new(text.as_path(), 0);
    let say = |severity, text: String| Some(Diagnostic::new(&place, severity, text));
    let shown = map.display();
    if !map.exists() && table.kind == Kind::Aliases {
        return Some(aliases(table, &place, map));
    }
    if !map.exists() {
        let (severity, what) = match table.spec.optional {
            true => (Severity::Warning, "none of these entries counts"),
            false => (Severity::Error, "nothing starts without it"),
        };
        let build = command(table, text);
        return say(
            severity,
            format!("{what}: {shown} is not there; build it with {build}"),
        );
    }
    let name = MapName::new(MapClass::Hash, map);
    let built = match open_any(map, name) {
        Ok(opened) => opened,
        Err(error) => return say(Severity::Error, error.to_string()),
    };
    let digest = match &built {
        Opened::Redb(map) => map.meta().source.clone(),
        _ => None,
    };
    let old = match digest {
        Some(digest) => match digest_of(text) {
            Ok(now) => now != digest,
            Err(error) => return say(Severity::Error, error.to_string()),
        },
        None => is_newer(text, map),
    };
    if !old {
        return None;
    }
    say(
        Severity::Warning,
        format!(
            "{shown} was not built from this text as it is now; run {}",
            command(table, text)
        ),
    )
}

/// What is said of an alias file without a map.
fn aliases(table: &Table, place: &Place, map: &Path) -> Diagnostic {
    let shown = map.display();
    let (severity, what) = match (table.spec.class.as_str(), table.spec.optional) {
        ("implicit", _) => (Severity::Warning, "this text is read as it stands"),
        (_, true) => (Severity::Warning, "none of these entries counts"),
        (_, false) => (Severity::Error, "nothing starts without it"),
    };
    let text = format!("{shown} is not there: {what}; build it with newaliases");
    Diagnostic::new(place, severity, text)
}

/// What builds the map.
fn command(table: &Table, text: &Path) -> String {
    let text = text.display();
    match table.kind {
        Kind::Aliases => "newaliases".to_owned(),
        _ => format!(
            "makemap {} {} < {text}",
            table.spec.class,
            text.to_string().trim_end_matches(".db")
        ),
    }
}

/// The XXH3-128 digest of a file, as maps hold it.
fn digest_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = xxhash_rust::xxh3::Xxh3::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:032x}", digest.digest128())),
            got => digest.update(buffer.get(..got).unwrap_or_default()),
        }
    }
}

fn is_newer(text: &Path, map: &Path) -> bool {
    let time = |path: &Path| std::fs::metadata(path).and_then(|facts| facts.modified());
    matches!((time(text), time(map)), (Ok(text), Ok(map)) if text > map)
}
