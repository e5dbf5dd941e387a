//! `mapctl push`, `generations`, `rollback` and `follow`: maps that hosts share.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use libmaps::build::{Builder, Start};
use libmaps::map::{Map, MapClass};
use libmaps::sasl::UserId;
use libmaps::sasl::edit::DESCRIBED;
use libmaps::sasl::key::{USER_PASSWORD, is_account};
use libmaps::site;
use libmaps::store::Opened;
use libmaps::store::path::Safety;
use libmaps::store::publish::{OnDuplicate, Options};
use libmaps::store::redb::Meta;
use libmaps::store::shared::{Connection, Wish};
use libmaps::sysexits::SysExit;
use serde_json::json;

use super::convert::compare;
use super::name::{Named, SiteArgs};
use super::{Failure, Outcome, Style};
use crate::progress::Progress;
use crate::report::VERSION;
use crate::shared::{Writer, become_mapremote, files_of, make_connection_files, run};

/// Bring a map to the engine of a shared map, as its new generation.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The map to read: class:path, or a file whose class is told by its content.
    from: OsString,
    /// Send everything, though the engine may hold most of it: after it was damaged there.
    #[arg(long)]
    full: bool,
    /// The shared map: pgsql:path, redis:path or ldap:path.
    to: OsString,
}

/// Print the generations of a shared map that its engine keeps.
#[derive(Debug, Args)]
pub(crate) struct GenerationsArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The map: class:path, or one of the site's by its name (access, aliases, ...).
    map: OsString,
}

/// Make an older generation of a shared map the current one.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The map: class:path, or one of the site's by its name (access, aliases, ...).
    map: OsString,
    /// The generation's number.
    generation: u64,
}

/// Keep the replicas of shared maps as new as the engines' maps.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Look at each map once, and end.
    #[arg(long)]
    once: bool,
    /// The maps: class:path; none: all shared maps of the site's configuration.
    maps: Vec<OsString>,
}

/// Brings a map to an engine.
pub(crate) fn push(args: &PushArgs, style: Style) -> Outcome {
    let (from, to) = (Named::parse(&args.from)?, Named::parse(&args.to)?);
    let Some(connection) = &to.shared else {
        return Err(not_shared(&args.to));
    };
    let wish = match args.full {
        true => Wish::Whole,
        false => Wish::Load,
    };
    let entries = push_map(&from, connection, wish)?;
    let mut out = io::stdout().lock();
    match style {
        Style::Json => writeln!(out, "{}", json!({"entries": entries}))?,
        Style::Text => writeln!(
            out,
            "{}: {entries} entries, compared with {}",
            connection.file.display(),
            from.path().display()
        )?,
    }
    Ok(SysExit::Ok)
}

/// Makes the content of `from` a new generation and the replica; says how many entries it has.
pub(super) fn push_map(from: &Named, connection: &Connection, wish: Wish) -> Result<u64, Failure> {
    let opened = from.open()?;
    let (class, described) = match &opened {
        Opened::Redb(map) => described(map.meta()),
        _ => (MapClass::Hash, String::new()),
    };
    let duplicates = opened.keeps_duplicates();
    let old = opened.into_map();
    let secret = described == DESCRIBED;
    // Accounts are treated as such, whatever the map they came in says of itself.
    let described = match secret || !holds_accounts(old.as_ref())? {
        true => described,
        false => DESCRIBED.to_owned(),
    };
    let writer = Writer::begin(connection, wish)?;
    let mut options = Options {
        on_duplicate: match duplicates {
            true => OnDuplicate::KeepAll,
            false => OnDuplicate::Refuse,
        },
        described,
        // The replica may be the TrustedUser's, or of a group: what the system allows counts.
        safety: Safety::SystemRules,
        ..Options::new(class, &format!("mapctl {VERSION}"))
    };
    writer.enter(&mut options);
    let mut builder = Builder::open(&connection.replica, Start::Empty, options)?;
    let mut progress = Progress::new("push", None);
    let mut read = 0;
    for entry in old.iter() {
        let entry = entry?;
        read += 1;
        let key = UserId::parse(entry.lhs.as_bytes());
        if !secret && key.is_some_and(|(_, property)| property == USER_PASSWORD) {
            let why = format!(
                "{}: passwords in clear text are not shared; mapctl convert hashes them",
                from.path().display()
            );
            return Err(Failure::Other(SysExit::DataErr, why));
        }
        progress.at(read);
        builder.put(entry.lhs.as_bytes(), entry.rhs.as_bytes(), read)?;
    }
    drop(progress);
    let (published, _) =
        builder.publish_checked(&mut |new| compare(old.as_ref(), &BTreeMap::new(), new, read))?;
    drop(writer);
    Ok(published.entries)
}

/// Whether there are records of accounts in a map.
fn holds_accounts(map: &dyn Map) -> Result<bool, Failure> {
    for entry in map.iter() {
        if is_account(entry?.lhs.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn described(meta: &Meta) -> (MapClass, String) {
    (meta.class, meta.options.clone())
}

/// Runs mapremote for one map.
pub(crate) fn generations(args: &GenerationsArgs, style: Style) -> Outcome {
    let connection = shared(&args.map, &args.site)?;
    remote("generations", style, &connection, &[])
}

/// Runs mapremote for one map.
pub(crate) fn rollback(args: &RollbackArgs, style: Style) -> Outcome {
    let connection = shared(&args.map, &args.site)?;
    let number = args.generation.to_string();
    remote("rollback", style, &connection, &[number.as_ref()])
}

fn remote(command: &str, style: Style, connection: &Connection, more: &[&OsStr]) -> Outcome {
    let mut args = vec![OsStr::new(command)];
    args.extend(json_flag(style));
    if let Some(root) = &connection.root {
        args.extend([OsStr::new("--root"), root.as_os_str()]);
    }
    args.extend([OsStr::new("--"), connection.file.as_os_str()]);
    args.extend(more);
    run(&args).map_err(|why| Failure::Other(SysExit::Unavailable, why))
}

/// Becomes mapremote, which follows the maps until it is killed.
pub(crate) fn follow(args: &FollowArgs, style: Style) -> Outcome {
    let mut files: Vec<PathBuf> = Vec::new();
    for map in &args.maps {
        files.push(shared(map, &args.site)?.file);
    }
    if args.maps.is_empty() {
        let (root, config) = (args.site.root.as_deref(), args.site.config.as_deref());
        let loaded = site::load::load_unfilled(root, config);
        let loaded = loaded.map_err(|e| Failure::Other(e.exit(), e.to_string()))?;
        make_connection_files(&loaded.site).map_err(|(file, error)| {
            let why = format!("{}: {error}", file.display());
            Failure::Other(SysExit::CantCreate, why)
        })?;
        files = files_of(&loaded.site);
        if files.is_empty() {
            let why = "the site's configuration names no shared map".to_owned();
            return Err(Failure::Other(SysExit::Config, why));
        }
    }
    let mut command = vec![OsStr::new("follow")];
    command.extend(json_flag(style));
    command.extend(args.once.then_some(OsStr::new("--once")));
    if let Some(root) = &args.site.root {
        command.extend([OsStr::new("--root"), root.as_os_str()]);
    }
    command.push(OsStr::new("--"));
    command.extend(files.iter().map(|file| file.as_os_str()));
    let why = become_mapremote(&command);
    Err(Failure::Other(SysExit::Unavailable, why))
}

fn json_flag(style: Style) -> Option<&'static OsStr> {
    (style == Style::Json).then_some(OsStr::new("--json"))
}

fn shared(map: &OsStr, site: &SiteArgs) -> Result<Connection, Failure> {
    let named = Named::find(map, site)?;
    named.shared.ok_or_else(|| not_shared(map))
}

fn not_shared(map: &OsStr) -> Failure {
    let why = format!(
        "{}: no shared map; those are named pgsql:path, redis:path or ldap:path",
        map.display()
    );
    Failure::Other(SysExit::Usage, why)
}
