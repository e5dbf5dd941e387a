//! Building tables in place, as `makemap hash` and `newaliases` do: for the demo and tests.

use std::fs::File;
use std::path::{Path, PathBuf};

use libmaps::build::aliases::from_aliases;
use libmaps::build::{Builder, Ending, FromSource, OnError, Start, from_source};
use libmaps::map::{MapClass, StoreError};
use libmaps::source;
use libmaps::store::publish::{OnDuplicate, Options};

/// Builds `SOURCE.db` from a table's source.
///
/// # Errors
/// When the source can't be read, or the map can't be written.
pub fn build_table(source: &Path) -> Result<(), StoreError> {
    let builder = Builder::open(
        &database(source),
        Start::Empty,
        options(OnDuplicate::KeepFirst),
    )?;
    let how = FromSource {
        grammar: source::map::Grammar::default(),
        ending: Ending::Bare,
        on_error: OnError::PublishGood,
    };
    from_source(builder, open(source)?, source, how, &mut ())?;
    Ok(())
}

/// Builds `SOURCE.db` from an alias file.
///
/// # Errors
/// When the source can't be read, or the map can't be written.
pub fn build_aliases(source: &Path) -> Result<(), StoreError> {
    let builder = Builder::open(
        &database(source),
        Start::Empty,
        options(OnDuplicate::Replace),
    )?;
    let grammar = source::aliases::Grammar::default();
    from_aliases(
        builder,
        open(source)?,
        source,
        &grammar,
        OnError::PublishGood,
    )?;
    Ok(())
}

fn options(on_duplicate: OnDuplicate) -> Options {
    Options {
        on_duplicate,
        ..Options::new(MapClass::Hash, concat!("smtpd ", env!("CARGO_PKG_VERSION")))
    }
}

fn open(source: &Path) -> Result<File, StoreError> {
    File::open(source).map_err(|e| StoreError::io(source, "open", e))
}

fn database(source: &Path) -> PathBuf {
    let mut name = source.as_os_str().to_owned();
    name.push(".db");
    name.into()
}
